"""Labelled files: items with the labels that came with them, in the taxonomy's words, and what was not of it.

Reads every format of `readers`. A label outside the taxonomy is counted by its value and left out, never guessed at; so
is a row without text. Knows nothing of classifiers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from boostqa import readers
from boostqa.errors import UserError
from boostqa.flows.vocabulary import settle
from boostqa.readers.items import BadRow, Raw
from boostqa.taxonomy import Taxonomy, crosswalk, grades, levels
from boostqa.text import language
from boostqa.text.normalise import repair


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a file."""

    id: str
    """The file's own, else `file:line`."""
    text: str
    """Question with its options, or passage; what a classifier reads."""
    question: str
    choices: list[str]
    solution: str
    language: str | None
    labels: dict[str, str]
    """Those of `field`, `discipline`, `level` and `grade` that the row has and the taxonomy knows."""


class Items(msgspec.Struct, kw_only=True):
    """What was read, and what could not be used."""

    items: list[Item] = []
    outside: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(label, value) that the taxonomy does not have, and in how many rows."""
    bad: list[str] = []
    """Places and reasons of rows that could not be read, the first 20."""
    bad_count: int = 0
    empty: int = 0
    """Rows without question and text."""

    def outside_lines(self, most: int = 20) -> list[str]:
        """What a person should see of the labels outside the taxonomy, the most frequent first."""
        listed = [f"{name} {value!r}: {count}" for (name, value), count in self.outside.most_common(most)]
        rest = len(self.outside) - len(listed)
        return [*listed, f"and {rest} more"] if rest > 0 else listed


def read_items(paths: Iterable[Path], tree: Taxonomy, benchmark: str | None = None) -> Items:
    """Items of labelled files in any format of `readers`.

    Args:
        paths: the files.
        tree: whose words labels must be in, in English or Chinese; levels and grades are the package's own.
        benchmark: a name of the taxonomy's crosswalk: what the column `field` or `subject` holds are its subjects.

    Raises:
        UserError: if a file cannot be read, or the benchmark is not known.
    """
    found = Items()
    for path in paths:
        for place, raw in enumerate(readers.open(str(path)), start=1):
            if isinstance(raw, BadRow):
                found.bad_count += 1
                if len(found.bad) < 20:
                    found.bad.append(f"{path}:{raw.line}: {raw.reason}: {raw.excerpt[:80]}")
                continue
            item = _item(raw, f"{path.name}:{raw.line or place}", found, tree, benchmark)
            if item.text:
                found.items.append(item)
            else:
                found.empty += 1
    if not found.items:
        names = ", ".join(str(path) for path in paths)
        raise UserError(f"{names}: no row with a question or text; {found.bad_count} rows could not be read")
    return found


def _item(raw: Raw, place: str, found: Items, tree: Taxonomy, benchmark: str | None) -> Item:
    question, choices = repair(raw.question), [repair(choice) for choice in raw.choices]
    text = "\n".join([question, *choices, repair(raw.passage)]).strip()
    # Options without a question say nothing that could be relied on.
    text = text if question or raw.passage.strip() else ""
    code = settle("language", raw.language) if raw.language else None
    if code is None and text:
        guessed, _ = language.detect(text)
        code = None if guessed == language.UNKNOWN else guessed
    return Item(
        id=raw.id or place,
        text=text,
        question=question,
        choices=choices,
        solution=raw.solution,
        language=code,
        labels=_labels(raw, found, tree, benchmark),
    )


def _labels(raw: Raw, found: Items, tree: Taxonomy, benchmark: str | None) -> dict[str, str]:
    known = {
        "discipline": {entry.name for entry in tree.disciplines},
        "level": {entry.name for entry in levels()},
        "grade": {entry.name for entry in grades()},
    }
    labels = {}
    for name in ("field", "discipline", "level", "grade"):
        value = raw.gold.get(name)
        if not isinstance(value, str) or not value.strip():
            continue
        if name == "field":
            ours = crosswalk(benchmark, value) if benchmark else tree.find(value)
        else:
            ours = value if value in known[name] else settle(name, value)
        if (
            ours is None
            or (name != "field" and ours not in known[name])
            or (name == "field" and ours not in tree)
        ):
            found.outside[name, value.strip()[:80]] += 1
        else:
            labels[name] = ours
    if "field" in labels:
        labels["discipline"] = tree.parent(labels["field"])
    return labels
