import random

import msgspec

from boostqa.annotation.difficulty import Item
from boostqa.annotation.levels import LEAST, Levelled, fit_levels, level_meter

LEVELS = ("H1", "H2", "H3", "H4", "H5")


def examples(n, weights=(1, 1, 1, 1, 1), seed=0):
    """The harder, the more steps, but so noisily that guesses lie near the middle."""
    rng = random.Random(seed)
    found = []
    for i in range(n):
        level = rng.choices(range(5), weights)[0]
        steps = max(0, round(20 + 4 * level + rng.gauss(0, 6)))
        item = Item(f"How is it in case {rng.randrange(10_000)}?", (), "So it goes on. " * steps)
        found.append(Levelled(id=f"{seed}-{i}", item=item, level=LEVELS[level]))
    return found


def test_levels_come_out_as_often_as_they_are():
    state, weights = fit_levels(examples(900))
    meter = level_meter(state, weights)
    new = examples(600, seed=1)
    shown = meter.predict([example.item for example in new])
    levels = [level for _, level in shown]
    rounded = [f"H{min(5, max(1, round(value)))}" for value, _ in shown]

    # Each is a fifth of the examples; rounded, H1 and H5 would nearly die out.
    assert all(0.1 < levels.count(name) / 600 < 0.3 for name in LEVELS)
    assert max(rounded.count("H1"), rounded.count("H5")) / 600 < 0.1
    same = sum(level == example.level for level, example in zip(levels, new, strict=True)) / 600
    seen = state["held_out"]
    assert 120 < seen["n"] < 240
    assert abs(seen["same"] / seen["n"] - same) < 0.12
    assert seen["spearman"] > 0.5


def test_the_meter_comes_back_from_plain_data_and_does_not_depend_on_order():
    known = examples(200)
    state, weights = fit_levels(known)
    turned, others = fit_levels(known[::-1])
    assert state == turned
    plain = msgspec.json.decode(msgspec.json.encode(state))
    items = [example.item for example in known[:20]]
    shown = level_meter(plain, weights).predict(items)
    assert shown == level_meter(turned, others).predict(items)
    assert len({level for _, level in shown}) > 2
    assert level_meter(state, weights).predict([]) == []


def test_a_level_that_no_example_has_is_never_given():
    state, weights = fit_levels(examples(300, weights=(3, 3, 0, 0, 0)))
    shown = level_meter(state, weights).predict([example.item for example in examples(200, seed=2)])
    assert {level for _, level in shown} == {"H1", "H2"}


def test_too_little_is_said():
    for few in (examples(LEAST - 1), examples(300, weights=(1, 0, 0, 0, 0)), []):
        state, weights = fit_levels(few)
        assert (state, weights) == ({"examples": len(few), "fitted": False}, None)
