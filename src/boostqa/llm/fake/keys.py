"""Answer keys: what is true of questions that are not of the world, read from files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

_LETTERS = "ABCDEFGHIJ"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of an answer key; files may have more columns."""

    question: str = ""
    answer: str = ""
    choices: list[str] = []
    field: str = ""
    level: str = ""
    grade: str = ""
    question_type: str = ""
    language: str = ""
    formula: str = ""
    variables: dict[str, float] = {}
    solution: str = ""


def read_keys(path: Path) -> list[Key]:
    """Answer keys from JSONL, or CSV with options in columns A, B, ...; rows without question are skipped.

    Raises:
        OSError: when the file cannot be read.
        ValueError: when a line is no JSON object.
    """
    rows: Iterable[dict[str, Any]]
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        rows = [
            row | {"choices": [row[c] for c in _LETTERS if row.get(c)]}
            for row in csv.DictReader(text.splitlines())
        ]
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    wanted = set(Key.__struct_fields__)
    clean = [{k: v for k, v in row.items() if k in wanted and v not in (None, "")} for row in rows]
    return [msgspec.convert(row, Key) for row in clean if row.get("question")]
