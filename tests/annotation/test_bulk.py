import random

from boostqa.annotation.bulk import Choice, Guess, chosen


def guess(field, first, second=0.0, why=""):
    return Guess(field=field, confidence=first, second_confidence=second, level="H1", why=why)


def test_the_unsure_and_the_rare_are_chosen():
    found = [guess("Physics", 0.9) for _ in range(50)]
    found += [
        guess("Physics", 0.5, 0.48),
        guess("Law", 0.95),
        guess("History", 0.97),
        guess("Physics", 0.6, 0.1),
    ]
    found += [guess("Other", 0.9, why="unknown_language")]
    # Two by doubt (a strange language, a close race), then one each of the cells with one item.
    assert chosen(found, 4) == [50, 51, 52, 54]
    assert chosen(found, 0) == []
    assert chosen(found, 1000) == list(range(len(found)))


def test_no_cell_takes_all():
    found = [guess(f"F{i // 3}", 0.9) for i in range(9)] + [guess("big", 0.8) for _ in range(100)]
    rare = [i for i in chosen(found, 12) if i < 9]
    assert rare == [0, 1, 3, 4, 6, 7]
    assert chosen([], 5) == []


def test_a_stream_is_chosen_from_as_a_list_is_without_being_held():
    rng = random.Random(0)
    found = [
        Guess(field=rng.choice("AABBBBC"), level=rng.choice(["H1", "H2"]), confidence=rng.randrange(10) / 10)
        for _ in range(500)
    ]
    for count in (0, 1, 7, 60, 500, 900):
        choice = Choice(count)
        for guess in found:
            choice.add(guess)
        places = choice.places()
        assert places == by_sorting(found, count), count
        assert len(places) == min(count, 500)


def by_sorting(found, count):
    """The rule, word by word, over the whole list."""
    order = sorted(range(len(found)), key=lambda i: (found[i].confidence, i))
    taken = set(order[: (count + 1) // 2])
    cells = {}
    for place in order:
        cells.setdefault((found[place].field, found[place].level), []).append(place)
    ranked = sorted(cells.values(), key=lambda places: (len(places), places[0]))
    for turn in range(len(found)):
        for places in ranked:
            if turn < len(places) and len(taken) < count:
                taken.add(places[turn])
    return sorted(taken)
