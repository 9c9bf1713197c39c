"""Texts made to be slow, or just odd: twice as much of them takes about twice as long, not four times."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from boostqa.readers import exercises
from boostqa.readers.files import UnreadableError
from boostqa.readers.html import read_html
from boostqa.readers.markdown import read_markdown
from boostqa.text import chunk, quality, questions
from boostqa.text.measures import measure

SIZE = 60_000
"""Characters of the shorter text. What takes quadratic time needs seconds for it."""
QUICK = 0.15
"""CPU seconds up to which the longer text is read in time, whatever the ratio to the shorter."""


def cut(text: str) -> None:
    """Into passages, of which each is judged."""
    found = [passage.text for passage in chunk.passages(text, 400)]
    prose = quality.prose_of(found)
    quality.judge(found, prose, measure(prose), ["en"] * len(found))


def judged(text: str) -> None:
    """As one passage."""
    prose = quality.prose_of([text])
    quality.judge([text], prose, measure(prose), ["en"])


def asked(text: str) -> None:
    """As a question and as an answer."""
    questions.qa_problems(text, "b")
    questions.qa_problems("Why is it so?", text)


def page(text: str) -> None:
    """As a page, which may be refused."""
    with contextlib.suppress(UnreadableError):
        list(read_html(f"<html><body>{text}</body></html>".encode()))


def book(text: str) -> None:
    """As Markdown that asks something."""
    list(read_markdown(f"{text}\nQ: Why?\nA: So.\n".encode()))


QUESTION = (
    '<p itemtype="http://schema.org/Question"><b itemprop="name">a</b>'
    '<i itemprop="acceptedAnswer"><b itemprop="text">b</b></i></p>'
)
TABLE: list[tuple[Callable[[str], object], str, Callable[[int], str]]] = [
    (asked, " ", lambda n: f"Why is it so{' ' * n}x"),
    (asked, "\n", lambda n: "The table shown above" + "\n" * n + "x"),
    (asked, "[your ", lambda n: "[your " * (n // 6)),
    (asked, "<question ", lambda n: "<question " * (n // 10)),
    (asked, "![", lambda n: "Of the figure below" + "![" * (n // 2)),
    (book, "# ###x", lambda n: f"# {'#' * n}x"),
    (book, "# spaces x", lambda n: f"# a{' ' * n}x"),
    (book, "title", lambda n: f"---\ntitle: a{' ' * n}b\n---"),
    (cut, "\\[ lines", lambda n: "\\[ aaaaaaaaaaaaaaaaa\n" * (n // 20)),
    (cut, "\\begin lines", lambda n: "\\begin{align} aaa aaaa aaaaa\n" * (n // 29)),
    (cut, "\\(", lambda n: "cost \\( and " * (n // 12)),
    (cut, "\\begin", lambda n: "cost \\begin{a} and " * (n // 19)),
    (
        cut,
        "closed before",
        lambda n: (
            "".join(f"\\end{{a{i}}} " for i in range(n // 28))
            + "".join(f"\\begin{{a{i}}} " for i in range(n // 28))
        ),
    ),
    (cut, "fenced \\[", lambda n: "~~~\n" + "some words are here x \\[ aaaa\n" * (n // 30) + "~~~\n"),
    (cut, "item with \\[", lambda n: "- start\n" + "  some words are here x \\[ aaaa\n" * (n // 32)),
    (cut, "hashes", lambda n: "# " + "#" * n + "x"),
    (judged, "\\[ and $$", lambda n: "\\[ $$x$$ " * (n // 9)),
    (judged, "\\[", lambda n: "some words are here x \\[ aaaa\n" * (n // 30)),
    (exercises.pairs, "answer", lambda n: "answer " * n),
    (exercises.pairs, "# in one line", lambda n: "# " * (n // 2)),
    (
        exercises.pairs,
        "exercises",
        lambda n: "".join(
            f"## {title}\n" + "".join(f"{i // 900 + 1}.{i % 900 + 1}. Why {i}?\n" for i in range(n // 30))
            for title in ("Exercises", "Answers")
        ),
    ),
    (
        exercises.pairs,
        "one exercise",
        lambda n: "## Exercises\n1. Why?\n" + "Yes\n" * (n // 8) + "## Answers\n1. It is.\n" * (n // 40),
    ),
    (exercises.pairs, "FAQ", lambda n: "# FAQ\n" + "".join(f"## Why {i}?\nAs is.\n" for i in range(n // 20))),
    (page, "JSON-LD", lambda n: "acceptedAnswer" + "<script type=application/ld+json>x " * (n // 34)),
    (page, "JSON-LD in one tag", lambda n: "acceptedAnswer<script " + "application/ld+json " * (n // 20)),
    (page, "microdata", lambda n: QUESTION * (n // len(QUESTION))),
    (page, "div", lambda n: "<div>x" * (n // 6)),
]


@pytest.mark.parametrize(
    ("read", "make"), [pytest.param(a, c, id=f"{a.__name__}: {b!r}") for a, b, c in TABLE]
)
def test_twice_as_much_takes_about_twice_as_long(
    read: Callable[[str], object], make: Callable[[int], str]
) -> None:
    short, long = make(SIZE), make(2 * SIZE)
    seen = []
    # Again where it was not in time, as the machine may have been busy with something else.
    for _ in range(4):
        seen.append((_seconds(read, short), _seconds(read, long)))
        least = [min(times) for times in zip(*seen, strict=True)]
        if least[1] <= max(QUICK, 3 * least[0]):
            return
    raise AssertionError(f"CPU seconds of {SIZE} and {2 * SIZE} characters: {seen}")


def _seconds(read: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    read(text)
    return time.process_time() - start


def test_a_page_of_very_deep_elements_is_refused() -> None:
    deep, flat = "<div>some text " * 600, "<table>" + "<tr><td><div>some text</td></tr>" * 600 + "</table>"
    with pytest.raises(UnreadableError, match="nested_too_deep"):
        list(read_html(f"<html><body>{deep}</body></html>".encode()))
    assert list(read_html(f"<html><body>{flat}</body></html>".encode()))
