"""The example seeds keep what examples/README.md promises of them."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from boostqa import taxonomy
from boostqa.text.ngrams import word_ngrams

SEEDS = Path(__file__).parents[2] / "examples" / "seeds"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def jsonl(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SEEDS / name).read_text(encoding="utf-8").splitlines()]


def table() -> list[dict[str, Any]]:
    with (SEEDS / "humanities.csv").open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row["choices"] = [row.pop(letter) for letter in "ABCD"] if row["A"] else []
    return rows


def labelled() -> list[dict[str, Any]]:
    return [*jsonl("science.jsonl"), *table(), *jsonl("zh.jsonl")]


def markdown() -> list[tuple[str, str]]:
    return re.findall(r"^\*\*Q:\*\* (.+)\n\*\*A:\*\* (.+)$", (SEEDS / "textbook.md").read_text("utf-8"), re.M)


def numeric() -> list[dict[str, Any]]:
    return [row for row in labelled() if row.get("formula")]


def jaccard(left: str, right: str) -> float:
    a, b = set(word_ngrams(left, 5).tolist()), set(word_ngrams(right, 5).tolist())
    return len(a & b) / len(a | b)


def test_there_are_enough_of_them() -> None:
    rows = labelled()
    tax = taxonomy.load()
    assert len(rows) + len(markdown()) >= 60
    assert sum(row["language"] == "zh" for row in rows) >= 12
    assert len({row["field"] for row in rows}) >= 14
    assert len({tax.parent(row["field"]) for row in rows}) >= 7
    assert {row["grade"] for row in rows} >= {"primary", "middle", "high", "undergraduate", "graduate"}
    assert {row["level"] for row in rows} == {"H1", "H2", "H3", "H4", "H5"}
    assert len(numeric()) >= 24
    assert len({row["field"] for row in numeric()}) >= 8


def test_labels_are_names_of_the_taxonomy() -> None:
    tax = taxonomy.load()
    grades = {grade.name for grade in taxonomy.grades()}
    types = {entry.name for entry in taxonomy.question_types()}
    for row in labelled():
        assert row["field"] in tax, row
        assert row["grade"] in grades, row
        assert row["question_type"] in types, row
        assert (row["question_type"] == "multiple_choice") == bool(row.get("choices")), row
        assert row["solution"], row


@pytest.mark.parametrize("row", numeric(), ids=lambda row: row["question"][:40])
def test_numeric_seed_is_right(row: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z0-9+\-*/(). ]+", row["formula"])
    value = eval(row["formula"], {"__builtins__": {}, "sqrt": math.sqrt}, row["variables"])
    assert value == pytest.approx(float(row["answer"]), rel=1e-9)
    assert Counter(map(float, NUMBER.findall(row["question"]))) == Counter(
        map(float, row["variables"].values())
    )
    assert max(Counter(row["variables"].values()).values()) == 1
    assert row["answer"] in row["solution"]


def test_answers_are_short_and_not_in_the_question() -> None:
    for row in [*labelled(), *({"question": q, "answer": a} for q, a in markdown())]:
        if row.get("choices"):
            assert row["answer"] in "ABCD"
        elif row["answer"] not in ("true", "false"):
            assert len(row["answer"]) <= 40
            alone = rf"(?<![\w.]){re.escape(row['answer'])}(?![\w.])"
            assert not re.search(alone, row["question"], re.I), row


def test_planted_duplicates_stand_alone() -> None:
    questions = [row["question"] for row in labelled()] + [question for question, _ in markdown()]
    pairs = [(round(jaccard(a, b), 2), a, b) for i, a in enumerate(questions) for b in questions[i + 1 :]]
    alike = sorted(pair for pair in pairs if pair[0] > 0.2)
    assert len(alike) == 2
    assert alike[1][0] == 1.0
    assert alike[1][1] == alike[1][2] == "Which planet of the solar system is closest to the Sun?"
    assert 0.85 <= alike[0][0] < 1.0
    assert "chain rule" in alike[0][1]


def test_one_seed_is_an_item_of_the_builtin_benchmark() -> None:
    items = [json.loads(line) for line in taxonomy.builtin_benchmark().read_text("utf-8").splitlines()]
    seeds = [row["question"] for row in labelled()] + [question for question, _ in markdown()]
    hits = [(seed, item) for seed in seeds for item in items if jaccard(seed, item["question"]) > 0.2]
    assert len(hits) == 1
    seed, item = hits[0]
    assert item["id"] == "builtin/001"
    assert seed.startswith("A farmer has 17 sheep")
    assert seed != item["question"]


def test_no_passage_holds_a_benchmark_question() -> None:
    names = ("textbook.md", "zh_textbook.md", "encyclopaedia.html")
    grams = {g for name in names for g in word_ngrams((SEEDS / name).read_text("utf-8"), 8).tolist()}
    for line in taxonomy.builtin_benchmark().read_text("utf-8").splitlines():
        assert not grams & set(word_ngrams(json.loads(line)["question"], 8).tolist())
