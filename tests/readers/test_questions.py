"""Questions with answers that texts and pages hold without saying `Q:` and `A:`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boostqa import readers
from boostqa.readers import Raw

CHAPTER = """# Motion

Speed is distance over time.

## Exercises

1. How far does a train at 50 km/h go in two hours?
2. Which is a unit of speed?
   A. metre
   B. metre per second
3. Which has no answer below?
4. Prove that
   it stops.

## Answers to selected exercises

1. 100 km
2. B
4. It loses
   its energy.

# Heat

Heat flows.
"""


def _read(path: Path) -> list[Raw]:
    return [item for item in readers.open(str(path)) if isinstance(item, Raw)]


def test_exercises_with_answers_in_a_later_section(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(CHAPTER)
    *pairs, rest = _read(path)
    assert [(pair.question, pair.choices, pair.answer, pair.line) for pair in pairs] == [
        ("How far does a train at 50 km/h go in two hours?", [], "100 km", 7),
        ("Which is a unit of speed?", ["metre", "metre per second"], "B", 8),
        ("Prove that\n   it stops.", [], "It loses\n   its energy.", 12),
    ]
    assert pairs[0].heading == ["Motion", "Exercises"]
    assert "no answer below" in rest.passage
    assert "Heat flows." in rest.passage
    assert "100 km" not in rest.passage
    assert rest.passage.count("\n") == CHAPTER.count("\n")


def test_chinese_exercises_in_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(
        "第一章 力学\n习题\n1、光速约为多少？\n2、水的沸点是多少？\n参考答案\n1、每秒三十万公里\n2、一百度\n"
    )
    assert [(item.question, item.answer) for item in _read(path)[:2]] == [
        ("光速约为多少？", "每秒三十万公里"), ("水的沸点是多少？", "一百度"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "# Exercises\n\n1. One?\n\n# Exercises\n\n1. Another?\n\n# Answers\n\n1. Whose?\n2. None",
        "# Exercises\n\n1. One?\n2. Two?\n\n# Notes\n\n1. a\n2. b",
        "1. First do this.\n2. Then that.\n\n# Solutions\n\n1. a\n2. b",
        "# What is light?\n\nIt is a wave.\n\n# History\n\nLong.\n\n# Who knew?\n\nHuygens did.",
    ],
)
def test_what_is_in_doubt_stays_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(text)
    assert [item.question for item in _read(path)] == [""]


def test_sections_of_a_faq(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "# Frequently asked questions\n\n## What is light?\n\nA wave.\n\nAnd more.\n\n## Is it fast?\n\nYes.\n"
    )
    assert [(item.question, item.answer, item.heading) for item in _read(path)] == [
        ("What is light?", "A wave.\n\nAnd more.", ["Frequently asked questions"]),
        ("Is it fast?", "Yes.", ["Frequently asked questions"]),
    ]


THREAD = {
    "@type": "QAPage",
    "mainEntity": {
        "@type": "Question",
        "name": "Why is the sky blue?",
        "text": "<p>I see it &amp; wonder.</p>",
        "acceptedAnswer": {"@type": "Answer", "text": "Because of<br>scattering."},
        "suggestedAnswer": [{"@type": "Answer", "text": "The sea."}],
    },
}
BODY = (
    "<main><h1>Why is the sky blue?</h1><p>I see it and wonder, as do many others.</p><p>The sea.</p></main>"
)


def test_a_thread_gives_its_accepted_answer_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    script = f'<script type="application/ld+json">{json.dumps(THREAD)}</script>'
    path.write_text(f"<html><head><title>Sky</title>{script}</head><body>{BODY}</body></html>")
    (pair,) = _read(path)
    assert pair.question == "Why is the sky blue?\n\nI see it & wonder."
    assert pair.answer == "Because of\nscattering."
    open_ = {**THREAD, "mainEntity": {"@type": "Question", "name": "Why?", "suggestedAnswer": []}}
    path.write_text(
        f"<html><head>{script.replace(json.dumps(THREAD), json.dumps(open_))}</head><body>{BODY}</body></html>"
    )
    assert [item.question for item in _read(path)] == [""]


def test_a_thread_in_microdata(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        """<html itemscope itemtype="https://schema.org/QAPage"><body><main><div itemscope itemprop="mainEntity"
        itemtype="https://schema.org/Question"><h1 itemprop="name">Is light fast?</h1><div itemprop="text"><p>How fast?</p></div>
        <div itemprop="suggestedAnswer" itemscope itemtype="https://schema.org/Answer"><p itemprop="text">No.</p></div>
        <div itemprop="acceptedAnswer" itemscope itemtype="https://schema.org/Answer"><span>12</span><div itemprop="text">
        <p>Very: <code>c</code>.</p></div></div></div></main></body></html>"""
    )
    (pair,) = _read(path)
    assert (pair.question, pair.answer) == ("Is light fast?\n\nHow fast?", "Very: c.")


def test_a_faq_page_keeps_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    page = {"@graph": [{"@type": ["FAQPage"], "mainEntity": [THREAD["mainEntity"]]}]}
    script = f'<script type="application/ld+json">{json.dumps(page)}</script>'
    path.write_text(f"<html><head>{script}</head><body>{BODY}</body></html>")
    assert [bool(item.question) for item in _read(path)] == [True, False]


def test_dotted_numbers_small_options_and_an_end_of_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "chapter.md"
    path.write_text(
        "## Exercises\n\n1. What does a wave carry?\n2. Which of these is a speed?\n   (a) 3 m\n   (b) 3 m/s\n\n"
        "**2.1** Why does a gun kick?\n\n**2.2** How fast is it?\n   (a) In air?\n   (b) In water?\n\n"
        "## Answers\n\n1. Energy.\n2. (b)\n\n**2.1** Momentum is kept.\n\n**2.2** (a) 2 m/s (b) 1 m/s\n\n"
        "| wave | speed |\n| --- | --- |\n| sound | 340 m/s |\n",
        encoding="utf-8",
    )
    *pairs, rest = [one for one in readers.open(str(path)) if isinstance(one, Raw)]
    assert [(one.question, one.choices, one.answer) for one in pairs] == [
        ("What does a wave carry?", [], "Energy."),
        ("Which of these is a speed?", ["3 m", "3 m/s"], "B"),
        ("Why does a gun kick?", [], "Momentum is kept."),
        ("How fast is it?\n   (a) In air?\n   (b) In water?", [], "(a) 2 m/s (b) 1 m/s"),
    ]
    assert "| sound | 340 m/s |" in rest.passage
