from __future__ import annotations

import random

import pytest

from boostqa.text.chunk import estimate_tokens, passages

DOCUMENT = """# Book

Intro paragraph one.

## Motion

Speed is distance over time. It is written $v = s / t. x$ here. A third sentence follows now.

$$
E = mc^2

+ 0
$$

```python
# not a heading

x = 1
```

| a | b |
| - | - |
| 1 | 2 |

- first item
- second item
  goes on

Setext
------
Last words.
"""


def test_blocks_are_never_cut_and_know_their_headings() -> None:
    found = passages(DOCUMENT, 24)
    texts = [passage.text for passage in found]
    assert any("$$\nE = mc^2\n\n+ 0\n$$" in text for text in texts)
    assert any("```python\n# not a heading\n\nx = 1\n```" in text for text in texts)
    assert any("| a | b |\n| - | - |\n| 1 | 2 |" in text for text in texts)
    assert any("- second item\n  goes on" in text for text in texts)
    assert found[0].heading_path == ("Book",)
    assert found[1].heading_path == ("Book", "Motion")
    assert found[-1].heading_path == ("Book", "Setext")
    assert found[-1].text == "Last words."


def test_lines_point_into_the_document() -> None:
    lines = DOCUMENT.split("\n")
    for passage in passages(DOCUMENT, 24):
        assert lines[passage.line - 1].startswith(passage.text.split("\n")[0][:10])


def test_nothing_is_lost_and_the_budget_holds() -> None:
    text = " ".join(f"Sentence number {i} has the formula $a_{i} = b. c$ in it." for i in range(200))
    found = passages(text, 64)
    assert all(estimate_tokens(passage.text) <= 64 for passage in found)
    assert " ".join(passage.text for passage in found) == text
    assert all(passage.text.count("$") % 2 == 0 for passage in found)


def test_chinese_is_cut_at_sentences_and_one_long_line_at_spaces() -> None:
    found = passages("这是一个关于力学的句子。" * 60, 50)
    assert all(passage.text.endswith("。") and estimate_tokens(passage.text) <= 50 for passage in found)
    words = passages("word " * 2000, 100)
    assert len(words) > 20
    assert all(estimate_tokens(passage.text) <= 100 for passage in words)


def test_overlap_repeats_whole_blocks() -> None:
    text = "\n\n".join(f"Paragraph {i} is about as long as the others are." for i in range(8))
    found = passages(text, 40, overlap=14)
    assert found[1].text.split("\n\n")[0] == found[0].text.split("\n\n")[-1]
    assert passages("", 10) == []


def test_an_unclosed_fence_does_not_swallow_the_document() -> None:
    found = passages("```\ncode\n\n# Heading\n\ntext", 100)
    assert found[-1].heading_path == ("Heading",)


WHOLE = [
    "$$\n\\sum_{i=1}^n x_i. A = b\n\n= c\n$$",
    "\\[\nx = y. Z\n\n+ 1\n\\]",
    "\\begin{align}\n a &= b. C\\\\\n\n c &= d\n\\end{align}",
    "```python\nx = 1. Y\n\n# no heading\n- no item\n```",
    "| a. B | b |\n| --- | --- |\n| 1. One | 2 |",
    "- an item. It has sentences. And more of them, so that it would be cut if it could.\n  It goes on here.",
    "1. First. Then more of it. Then $x = y. Z$ in it.",
]


@pytest.mark.parametrize("seed", range(40))
def test_nothing_whole_is_ever_cut(seed: int) -> None:
    random_ = random.Random(seed)
    blocks = []
    for i in range(30):
        kind = random_.random()
        if kind < 0.5:
            blocks.append(random_.choice(WHOLE).replace("x", f"x_{i}"))
        elif kind < 0.9:
            blocks.append(
                " ".join(
                    f"Sentence {i} of {j} has $a_{j} = b. C$ and `c. D`."
                    for j in range(random_.randint(1, 9))
                )
            )
        else:
            blocks.append(f"## Heading {i}")
    glue = random_.choice(["\n\n", "\n"]) if seed % 3 else "\n\n"
    found = passages(glue.join(blocks), random_.choice([10, 25, 60]))
    texts = [passage.text for passage in found]
    for block in blocks:
        if block.startswith("#") or block[0].isupper():
            continue
        assert any(block in text for text in texts), block
    assert all(text.count("$") % 2 == 0 and text.count("`") % 2 == 0 for text in texts)


def test_each_passage_knows_the_headings_above_it() -> None:
    found = passages("# A\n\none\n\n### B\n\ntwo\n\n## C\n\nthree\n\n# D\n\nfour", 5)
    assert [passage.heading_path for passage in found] == [("A",), ("A", "B"), ("A", "C"), ("D",)]


def test_a_short_end_of_a_section_takes_from_what_is_before_it() -> None:
    paragraph = "A sentence of some length that says a thing or two about the matter at hand."
    text = "# One\n\n" + "\n\n".join([paragraph] * 5 + ["The end."])
    found = passages(text, 101)
    assert [passage.text.count("matter") for passage in found] == [3, 2]
    assert found[-1].text.endswith("The end.")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("\\section{On light}\n\nIt is fast.", ("On light",)),
        ("\\section*{On $c^{2}$}\nIt is fast.", ("On $c^{2}$",)),
        ("=====\nLight\n=====\n\nIt is fast.", ("Light",)),
        ("Light\n=====\n\nSpeed\n~~~~~\n\nIt is fast.", ("Light", "Speed")),
        ("Light\n=====\n\nSpeed\n^^^^^\n\nIt is fast.", ("Light", "Speed")),
    ],
)
def test_headings_of_other_markups_are_known(text: str, path: tuple[str, ...]) -> None:
    (found,) = passages(text, 200)
    assert (found.heading_path, found.text) == (path, "It is fast.")


def test_a_fence_under_a_line_is_no_heading() -> None:
    (found,) = passages("Run this now:\n~~~\nmake it\n~~~", 200)
    assert found.heading_path == ()
    assert "make it" in found.text


def test_a_session_of_python_stays_whole() -> None:
    session = "\n".join(f">>> print({i}). Next one" for i in range(60))
    assert [passage.text for passage in passages(f"Prose before it.\n\n{session}\n\nProse behind.", 60)] == [
        "Prose before it.",
        session,
        "Prose behind.",
    ]
