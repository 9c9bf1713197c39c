from __future__ import annotations

import re

from boostqa.text import chunk, quality
from boostqa.text.spans import spans, without

OPENING = re.compile(r"\(|\[|\*\w+\*")
CLOSING = {"(": re.compile(r"\)"), "[": re.compile(r"\]")}


def _spans(text: str) -> list[str]:
    found = spans(text, OPENING, lambda opening: CLOSING.get(opening[0]))
    return [text[start:end] for start, end in found]


def test_what_opens_closes_at_the_first_mark_of_its_kind() -> None:
    assert _spans("a (b [c) d] *e* (f") == ["(b [c)", "*e*"]
    assert _spans("( ( [a] ( b") == ["[a]"]
    assert _spans("(a (b) c)") == ["(a (b)"]
    assert _spans("") == []


def test_spans_are_taken_out() -> None:
    text = "a (b) c [d] e"
    assert without(text, spans(text, OPENING, lambda opening: CLOSING.get(opening[0])), "-") == "a - c - e"


def test_code_formulas_and_rows_are_taken_out_of_prose() -> None:
    texts = [
        "a ```b $c``` d $e$ f $$g$h$$ i \\(j\\) k \\[l\nm\\] n",
        "a \\begin{align}b\\end{cases} c \\begin{theorem}d\\end{theorem} \\[ e $f$",
        "a\n| b | c |\n>>> d = 1\n1\n\ne ``` f",
        "$5 and $$ and \\( and nothing",
    ]
    # Long texts are read in another way than short ones.
    tail = " ." * quality._RE2_LONGEST
    assert [
        text.replace(tail, "") for text in quality.prose_of([text + "\n" + tail for text in texts[1:2]])
    ] == [text + "\n" for text in quality.prose_of(texts[1:2])]
    assert quality.prose_of(texts) == [
        "a   d   f   i   k   n",
        "a   c \\begin{theorem}d\\end{theorem} \\[ e  ",
        "a\n \n \n\ne  ",
        " $ and \\( and nothing",
    ]


def test_sentences_in_an_environment_are_not_cut_apart() -> None:
    formula = "\\begin{proof} One. Two. Three. \\end{proof}"
    text = f"Some words are here. {formula} And more of them follow here. " * 3
    assert sum(formula in passage.text for passage in chunk.passages(text, 30)) == 3
    assert all(
        passage.text.count("\\begin") == passage.text.count("\\end") for passage in chunk.passages(text, 30)
    )
