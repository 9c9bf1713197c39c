"""Labels as rows, one an item: what a model said of it beside what came with it; and what a classifier adds to labels.

Knows nothing of samples, shards or steps.
"""

from __future__ import annotations

from typing import Any

import msgspec

from boostqa.annotation.bulk import Guess
from boostqa.annotation.difficulty import Item
from boostqa.annotation.distil import FIT_CHARS
from boostqa.flows.label import Labelling, combined_level, text_of
from boostqa.record import Labels, Record
from boostqa.taxonomy import OTHER, grades, levels, load

ROWS = {
    "id": "string",
    "text": "string",
    "asked": "string",
    "choices": "list<string>",
    "solution": "string",
    "language": "string",
    "field": "string",
    "discipline": "string",
    "confidence": "double",
    "field_second": "string",
    "second_confidence": "double",
    "secondary_fields": "list<string>",
    "level": "string",
    "grade": "string",
    "knowledge_points": "list<string>",
    "question_type": "string",
    "found_language": "string",
    "self_contained": "bool",
    "labeller": "string",
    "failure": "string",
    "gold_discipline": "string",
    "gold_field": "string",
    "gold_level": "string",
    "gold_grade": "string",
}
"""Column -> Arrow type name."""


def gold_of(record: Record) -> Labels:
    """Labels that came with the seed, in the taxonomy's spelling; what it does not know is left out."""
    gold, tree = record.gold or Labels(), load()
    field = tree.find(gold.field) if gold.field else None
    discipline = tree.parent(field) if field else gold.discipline
    return Labels(
        field=field,
        discipline=discipline if discipline in {entry.name for entry in tree.disciplines} else None,
        level=gold.level if gold.level in {entry.name for entry in levels()} else None,
        grade=gold.grade if gold.grade in {entry.name for entry in grades()} else None,
        knowledge_points=gold.knowledge_points,
    )


def row_of(record: Record, found: Labelling, gold: Labels, *, taught: bool) -> dict[str, Any]:
    """A row: what a model found, the gold labels, and the texts where the item is to teach classifier and meter."""
    labels, item = found.labels, item_of(record)
    return {
        "id": record.id,
        "text": text_of(record)[:FIT_CHARS] if taught else None,
        "asked": item.question if taught else None,
        "choices": list(item.choices) if taught else None,
        "solution": item.solution if taught else None,
        "language": record.language or found.language,
        "field": labels.field,
        "discipline": labels.discipline,
        "confidence": labels.field_confidence,
        "field_second": labels.field_second,
        "second_confidence": labels.field_second_confidence,
        "secondary_fields": labels.secondary_fields,
        "level": labels.level_rubric,
        "grade": labels.grade,
        "knowledge_points": labels.knowledge_points or gold.knowledge_points,
        "question_type": found.question_type,
        "found_language": found.language,
        "self_contained": found.self_contained,
        "labeller": labels.labeller,
        "failure": found.failure,
        **{f"gold_{name}": getattr(gold, name) for name in ("discipline", "field", "level", "grade")},
    }


def item_of(record: Record) -> Item:
    """What the difficulty meter reads of a record."""
    asked = "\n".join(filter(None, (record.question, record.passage)))
    return Item(asked[:FIT_CHARS], record.choices, record.solution[:FIT_CHARS])


def filled(labels: Labels, guess: Guess, metered: str | None) -> Labels:
    """`labels` with what is missing taken from what the classifiers and, for the level, the meter say."""
    if labels.field is None and guess.field:
        labels = msgspec.structs.replace(
            labels,
            field=guess.field,
            discipline=guess.discipline,
            stem=load().stem(guess.field) if guess.field != OTHER else None,
            field_confidence=guess.confidence,
            field_second=guess.second,
            field_second_confidence=guess.second_confidence if guess.second else None,
            labeller="classifier",
        )
    if labels.field is None:
        return labels
    if labels.level is None:
        level = combined_level(None, None, None, metered or guess.level)
        labels = msgspec.structs.replace(labels, level=level)
    if labels.grade is None and guess.grade:
        labels = msgspec.structs.replace(labels, grade=guess.grade)
    return labels
