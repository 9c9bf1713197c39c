import numpy as np

from boostqa.annotation.features import rows, take


def columns(text):
    return set(rows([text]).columns.tolist())


def test_rows_do_not_depend_on_their_company():
    texts = ["The cats run home.", "", "猫跑了。x = 3", "   ", "The cats run home.", "\x00zero\x00", "😀 ok"]
    whole = rows(texts)
    for i, text in enumerate(texts):
        alone = rows([text])
        assert np.array_equal(take(whole, np.array([i])).columns, alone.columns), text
        assert np.array_equal(take(whole, np.array([i])).values, alone.values)
    assert whole.starts[2] == whole.starts[1]
    assert np.all(whole.values >= 1)


def test_case_width_and_the_digits_of_numbers_make_no_difference():
    assert columns("The ＡＣＩＤ has pH 37") == columns("the acid has ph 52")
    assert columns("pH 3") != columns("pH 37")
    assert columns("x = 3") != columns("x 3")


def test_order_and_stems_are_seen():
    assert columns("dog bites man") != columns("man bites dog")
    shared = columns("oxidation") & columns("oxidants")
    assert len(shared) == 1
    assert not columns("cat") & columns("catalysis")


def test_han_gives_characters_pairs_and_triples():
    assert len(columns("光合作用")) == 4 + 3 + 2
    assert columns("光合") <= columns("光合作用")


def test_counts_are_dampened():
    found = rows(["wave " * 100])
    assert found.values.max() == np.float32(1 + np.log(100))


def test_many_texts_in_batches_and_long_ones_cut():
    texts = [f"word{i} and more" for i in range(600)]
    whole = rows(texts)
    assert len(whole.starts) == 601
    assert np.array_equal(take(whole, np.array([599])).columns, rows(texts[599:]).columns)
    assert len(columns("ab " * 10_000)) == len(columns("ab " * 5_000))
    assert rows([]).starts.tolist() == [0]
