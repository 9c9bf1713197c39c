from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boostqa.text import tokens as bulk
from boostqa.text.normalise import words
from boostqa.text.tokens import tokens, word_hashes

# What decides in context, and one of each kind of character that is treated by itself.
ODD = "aZ0159 .,-/+*^=<>%|~$_\\(){}!\n\t\0é中文，。％－½²ﬁßİ\u0301\u2028\u3000−–×≤\u00ad\u0663\U00020000😀\ue000𝟘かカｶ한"
MARKS = "(){}!|_^-/ 15a+×\u00b2中,."
TEXT = st.text(alphabet=ODD) | st.text(alphabet=MARKS) | st.text()


def expected(texts: list[str]) -> list[list[str]]:
    return [words(text) for text in texts]


@settings(max_examples=400, deadline=None)
@given(st.lists(TEXT, max_size=6))
@example(["1,234,567.5 and 3,14 and 12,3456", "a -  5 / 6", "-", "", "x/-3", "5/--3", "a- ", "7"])
@example([",123", "1,", "234", "1,234", "5.", "5", ".5", "- ", " 5", "中", "1,234"])
@example(
    [
        "(2+3)*4",
        "2 + ( 3*4 )",
        "{{1},2}",
        "5! 5 !",
        "|x|<3",
        "x^{2} x_{12} x^{-3} (1234) (12345)",
        "-(x) -(xy)",
    ]
)
@example(
    [
        "a   (   5",
        "x(          5",
        "5          )",
        "(    ×",
        "×(",
        "2⁵ 10⁻¹²",
        "!",
        "((1))",
        "^{a}",
        "-_5",
        "-|",
        "\x1f(a",
        "é\x1f(a",
        "×{中(",
    ]
)
@example(["ab" * 40 + " " + "ab" * 40 + "c", "é" * 30, "\ud800x"])
def test_tokens_are_those_of_words(texts: list[str]) -> None:
    found = tokens(texts)
    want = expected(texts)
    assert np.diff(found.starts).tolist() == [len(one) for one in want]
    flat = [word for one in want for word in one]
    assert found.hashes.tolist() == word_hashes(flat).tolist()
    assert found.numbers().tolist() == [i for i, word in enumerate(flat) if "0" <= word[0] <= "9"]


def test_hashes_tell_words_apart_and_stay_the_same_for_ever() -> None:
    base = [
        "a",
        "b",
        "ab",
        "ba",
        "abcdefgh",
        "abcdefghi",
        "abcdefgha",
        "a" * 16,
        "a" * 17,
        "中",
        "文",
        "-",
        "+",
    ]
    assert len(set(word_hashes(base).tolist())) == len(base)
    assert hex(int(word_hashes(["photosynthesis"])[0])) == "0x16ff5f79949fcd9d"


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"Text {i}, of 1,{i:03d} words – or “so”. " * (i % 7) for i in range(50)] + ["光合作用 " * 9]
    whole = tokens(texts)
    monkeypatch.setattr(bulk, "BLOCK", 100)
    again = tokens(texts)
    assert len(list(bulk.blocks(texts))) > 10
    for name in ("hashes", "starts", "lead"):
        assert getattr(again, name).tolist() == getattr(whole, name).tolist()


def test_arrow_arrays_of_any_kind() -> None:
    texts = ["zero", "One, two", None, "三 four", ""]
    want = tokens([text or "" for text in texts])
    array = pa.array(texts)
    for form in (array, pa.chunked_array([array[:2], array[2:]]), array.cast(pa.large_string())):
        found = tokens(form)
        assert found.hashes.tolist() == want.hashes.tolist()
        assert found.starts.tolist() == want.starts.tolist()
    assert np.diff(tokens(array[1:4]).starts).tolist() == [2, 0, 2]
    assert tokens(pa.array([], pa.string())).starts.tolist() == [0]
    assert tokens([]).hashes.tolist() == []
