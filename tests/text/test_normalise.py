from __future__ import annotations

import unicodedata

import pytest

from boostqa.text.normalise import cjk_share, fold, repair, repair_all, words


def test_repair_mends_encoding_and_keeps_content() -> None:
    assert repair("schÃ¶n\r\nok\x00") == "schön\nok"
    assert repair("a &lt; b") == "a < b"
    assert repair("全角ＡＢ，$x_1$ “q”") == "全角ＡＢ，$x_1$ “q”"


def test_repair_twice_is_once() -> None:
    text = "Ã©tude e\u0301 \u200bx\x1b"
    assert repair(repair(text)) == repair(text)


def test_fold_forgets_width_case_punctuation_and_space() -> None:
    assert fold("Ｈello， World！") == fold("hello world") == "hello world"
    assert fold("中 国 人。") == "中国人"
    assert fold("1,000,000 m") == "1000000 m"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3+5", "3-5"), ("1.5", "15"), ("3/4", "34"), ("x<3", "x>3"), ("-5", "5"),
        ("What is (2+3)*4?", "What is 2+(3*4)?"), ("What is 3² + 4²?", "What is 32 + 42?"), ("2⁵", "25"), ("2ⁿ", "2n"),
        ("{1,2}", "{{1},2}"), ("5!", "5"), ("$x^{2y}$", "$x^2y$"), ("|x|<3", "x<3"), ("|x| ≤ 3", "x ≤ 3"),
        ("(a+b)*c", "a+(b*c)"), ("8-(x+1)", "8(x+1)"), ("6/(x+1)", "6(x+1)"), ("(1,2)", "[1,2]"), ("5(-3)", "5-3"),
    ],
)  # fmt: skip
def test_fold_keeps_what_changes_a_calculation(left: str, right: str) -> None:
    assert fold(left) != fold(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("x²", "x^2"), ("x^{2}", "x^2"), ("10⁻³", "10^{-3}"), ("a_{1}", "a_1"), ("( 2 + 3 )*4", "(2+3) * 4"),
        ("(1) one (2) two", "1. one; 2. two"), ("so (it is said)!", "so it is said"), ("f(x)=2", "f x = 2"),
    ],
)  # fmt: skip
def test_fold_forgets_brackets_that_change_nothing(left: str, right: str) -> None:
    assert fold(left) == fold(right)


@pytest.mark.parametrize(
    "text",
    [
        "(2+3)*4 = 5!",
        "{{1},2} |x| < 3",
        "x^{2y} 2⁵",
        "3 - 5 = -2.",
        "Straße ﬁne",
        "a/b 1/2",
        "中 国 3+4",
        "x² ≤ 1,000.5",
    ],
)
def test_fold_twice_is_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_words_are_characters_in_chinese() -> None:
    assert words("求 x+1 的值") == ["求", "x", "+", "1", "的", "值"]
    assert words("") == []


def test_cjk_share() -> None:
    assert cjk_share("hello") == 0.0
    assert cjk_share("中国人") == 1.0
    assert cjk_share("123") == 0.0


TEXTS = [
    "plain", "  edges \n", "schÃ¶n", "a &lt; b & c &amp d", "x\r\ny\x00z\x1b[0m", "e\u0301 \u212b \uac00\u11a8 \uf900", "“q”— “—”",
    "a\u2028b\u200b\ufeff", "naïve café — ok", "\x85 \x93", "Ã©tude", "œuvre cœur", "\ud83d", "全角ＡＢ，“引”——", "×² ½", "a&#39;b",
]  # fmt: skip


def test_what_is_left_alone_is_what_ftfy_would_leave_alone() -> None:
    """`repair` looks for signs of damage first; where it sees none, ftfy must have nothing to do."""
    from boostqa.text import normalise

    for text in [
        *TEXTS,
        *(f"A{char}b {char}{char}" for char in map(chr, range(1, 0x2700)) if char not in "\r\x0b\x0c"),
    ]:
        full = normalise._CONTROL.sub("", normalise._line_ends(normalise._fixed(text)))
        assert repair(text) == unicodedata.normalize("NFC", full).strip(), ascii(text)


def test_repairing_many_is_repairing_each() -> None:
    chars = [f"A{chr(i)}b {chr(i)}{chr(i)}" for i in range(1, 0x2FFFF) if not 0xD800 <= i <= 0xDFFF]
    assert repair_all(chars) == list(map(repair, chars))
    assert repair_all(TEXTS) == list(map(repair, TEXTS))
