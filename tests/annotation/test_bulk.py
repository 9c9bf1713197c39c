from boostqa.annotation.bulk import Guess, chosen


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
