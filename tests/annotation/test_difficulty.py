import random

import numpy as np
import pytest

from boostqa.annotation.difficulty import Item, fit_meter, shape
from boostqa.annotation.evaluation import spearman

TOPICS = [("add", 0), ("multiply", 1), ("divide", 2), ("integrate", 3), ("diagonalise", 4)]


def items(n, seed=0):
    """Questions whose hardness is their topic plus their number of steps."""
    rng = random.Random(seed)
    found, target = [], []
    for _ in range(n):
        topic, base = rng.choice(TOPICS)
        steps = rng.randrange(4)
        question = f"How do you {topic} the values in case {rng.randrange(1000)}?"
        found.append(Item(question, (), "Then we go on. " * steps))
        target.append(base + steps)
    return found, target


def test_topic_and_shape_are_both_learned():
    known, target = items(300)
    meter = fit_meter(known, target)
    new, truth = items(200, seed=1)
    assert spearman(meter.predict(new), truth)[0] > 0.9
    words_alone = fit_meter([Item(item.question) for item in known], target)
    assert spearman(words_alone.predict(new), truth)[0] < spearman(meter.predict(new), truth)[0] - 0.1


def test_the_scale_is_that_of_the_target_and_order_does_not_matter():
    known, target = items(200)
    meter, turned = fit_meter(known, target), fit_meter(known[::-1], target[::-1])
    assert np.allclose(meter.predict(known), turned.predict(known))
    assert float(np.mean(meter.predict(known))) == pytest.approx(np.mean(target), abs=0.1)
    assert meter.predict([Item("")]).shape == (1,)
    assert np.isfinite(meter.predict([Item("")])).all()


def test_shape_is_bounded_on_hostile_text():
    long = shape(Item("9" * 100_000 + "\\a" * 50_000, ("x" * 100_000,), "." * 100_000))
    assert len(long) == len(shape(Item(""))) == 16
    assert np.isfinite(long).all()


def test_too_little_to_fit():
    with pytest.raises(ValueError, match="needs 20 items and 2 values, got 5 and 1"):
        fit_meter([Item("a")] * 5, [1.0] * 5)
