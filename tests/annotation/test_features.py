import numpy as np

from boostqa.annotation.features import FORM, rows, take


def columns(text):
    """Columns of the words."""
    return {column for column in rows([text]).columns.tolist() if column < FORM}


def form(text):
    """Columns of marks, lengths and line ends."""
    return {column for column in rows([text]).columns.tolist() if column >= FORM}


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
    assert len(columns("光合作用")) == 4 + 3 + 2 + 4, "characters, pairs, triples, and the first one to four"
    assert columns("光合") <= columns("光合作用")


def test_how_a_text_begins_is_seen():
    same = columns("which of these acids is strong")
    assert len(columns("strong is which of these acids") ^ same) > len(
        columns("which of these acids strong is") ^ same
    )


def test_form_is_marks_lines_and_length_and_tells_nothing_of_words():
    assert form("dog bites man") == form("cat likes tin")
    assert form("Is it so?") != form("Is it so.")
    assert form("a = b") < form("a = b, c = d") | form("a = b")
    assert form("one line") != form("one\nline")
    assert form("wave") != form("wave " * 10)
    assert not form(" \n ")
    assert not columns(" \n ")


def test_codes_have_no_words():
    codes = [
        "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgdGV4dA",
        "9f86d081884c7d659a2feaa0c55ad015",
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    ]
    for code in codes:
        assert not columns(code), code
        assert columns(f"What is {code} in words?") == columns("What is (!) in words?")
        assert form(code)
    written = [
        "antidisestablishmentarianism",
        "1-chloro-2-methylpropane",
        "state-of-the-art-technology",
        "x1+x2+x3+x4+x5+x6+x7+x8",
        "H2SO4+2NaOH=Na2SO4+2H2O",
        "calculateTotalPriceForOrder",
    ]
    for text in written:
        assert columns(text), text


def test_counts_are_dampened():
    found = rows(["wave " * 100])
    assert found.values.max() == np.float32(1 + np.log(100))


def test_many_texts_in_batches_and_long_ones_cut():
    texts = [f"word{i} and more" for i in range(600)]
    whole = rows(texts)
    assert len(whole.starts) == 601
    assert np.array_equal(take(whole, np.array([599])).columns, rows(texts[599:]).columns)
    assert columns("ab " * 10_000) == columns("ab " * 5_000)
    assert rows([]).starts.tolist() == [0]
