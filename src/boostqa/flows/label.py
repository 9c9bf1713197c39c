"""Labelling an item: field, level, grade, question type, by a model under a constrained schema.

One pass asks for everything at once (strong models). Two passes ask small models for the field alone, shown
by one example a field, and then for level and grade. Three passes ask for the discipline first, then for one of
its fields: each choice is short, but a wrong discipline cannot be mended. A call that failed
is a `Labelling` with a `failure`, never an exception. Knows nothing of stages.

The level that counts (`Labels.level`) is never a silent mixture. The rubric's level is kept in
`level_rubric`, the one from solvers' pass rates in `level_measured` with its standard error `level_se`
(in levels), and

    level = level_measured   where level_se <= 0.75 (three attempts or more on the same side, as a rule)
            level_rubric     else, or where nothing was measured
            level_measured   where there is no rubric label either
            distilled        without both: what meter or classifier learned from the levels of other items, if any
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from boostqa.flows.solve import object_schema
from boostqa.flows.vocabulary import iso_code
from boostqa.llm.model import Model, Reply, Request
from boostqa.prompts import render
from boostqa.record import Labels, Record
from boostqa.taxonomy import OTHER, Taxonomy, grades, levels, question_types
from boostqa.taxonomy import load as load_taxonomy

MEASURED_COUNTS = 0.75
"""Largest standard error, in levels, at which the measured level counts instead of the rubric's."""
PROMPTS = ("label", "label_discipline", "label_field", "label_level")
_VAGUE = ("General Knowledge", "Interdisciplinary")
"""Fields that small models choose whenever they are unsure; they are not offered to them."""
ASSETS = (
    *(f"prompts/{name}.j2" for name in PROMPTS),
    *(f"taxonomy/{name}.yaml" for name in ("disciplines", "levels", "grades", "types")),
)
"""Files that a stage which labels depends on."""
_SHOWN = 6000
"""Characters of a passage or solution that a labeller sees; the beginning says what it is about."""


class Labelling(msgspec.Struct, frozen=True, kw_only=True):
    """What a model found an item to be."""

    labels: Labels = Labels()
    question_type: str | None = None
    language: str | None = None
    self_contained: bool | None = None
    """Whether the question can be understood without anything else; None where nobody said."""
    failure: str = ""
    """Why something is missing: the outcomes of the calls that did not give a label."""


def combined_level(
    rubric: str | None, measured: str | None, error: float | None, distilled: str | None = None
) -> str | None:
    """The level that counts, by the rule at the top. `error` is in levels."""
    sure = measured is not None and error is not None and error <= MEASURED_COUNTS
    found = measured if sure or rubric is None else rubric
    return distilled if found is None else found


async def label(
    model: Model,
    record: Record,
    *,
    passes: int = 1,
    votes: int = 1,
    known: Labels | None = None,
    taxonomy: Taxonomy | None = None,
) -> Labelling:
    """Labels of a question-answer pair or passage, as `model` sees it.

    Args:
        model: the annotator.
        record: what to label; its request, seeds and earlier labels are not shown.
        passes: 1 for one call, 2 for field and level apart, 3 for discipline, one of its fields, and level.
        votes: samples of each call; the most frequent label wins, for levels and grades the median.
        known: labels that need not be asked for (such as gold ones); with two passes their calls are saved.
        taxonomy: disciplines and fields; None for the built-in ones.

    Raises:
        Stop: as `Model.chat`.
    """
    tree = taxonomy or load_taxonomy()
    if passes == 1:
        return await _whole(model, record, votes, tree)
    return await _stepwise(model, record, votes, tree, known or Labels(), by_discipline=passes == 3)


def text_of(record: Record) -> str:
    """The text that says what an item is about: question with options, or passage. Not its answer."""
    return joined(record.question, record.choices, record.passage)


def joined(question: str | None, choices: Sequence[str] | None, passage: str | None) -> str:
    """As `text_of`, from the columns of a table of records."""
    return "\n".join([question or "", *(choices or ()), passage or ""]).strip()


async def _whole(model: Model, record: Record, votes: int, tree: Taxonomy) -> Labelling:
    messages = render("label", static=_static(tree), **_shown(record))
    replies = await _ask(model, "label", messages, _schema(tree), votes, 400)
    found = [reply.data for reply in replies if reply.ok]
    if not found:
        return Labelling(failure=_failures(replies))
    field, share = _majority([item["field"] for item in found])
    backing = [item for item in found if item["field"] == field]
    confidence = share * math.fsum(item["confidence"] for item in backing) / len(backing)
    level = _median([item["level"] for item in found], [entry.name for entry in levels()])
    second, doubt = _second(found, field)
    others = [name for name in backing[0]["secondary_fields"] if name != field and name != OTHER]
    own, _ = _majority([item["self_contained"] for item in found])
    return Labelling(
        labels=Labels(
            **placed(field, tree),
            field_confidence=round(min(1.0, max(0.0, confidence)), 4),
            field_second=second,
            field_second_confidence=doubt,
            secondary_fields=list(dict.fromkeys(others)),
            level=level,
            level_rubric=level,
            grade=_median([item["grade"] for item in found], [entry.name for entry in grades()]),
            knowledge_points=[" ".join(p.split())[:80] for p in backing[0]["knowledge_points"] if p.strip()],
            labeller=f"llm:{model.name}",
        ),
        question_type=_majority([item["question_type"] for item in found])[0],
        language=iso_code(str(backing[0]["language"])),
        self_contained=own,
    )


def _second(found: Sequence[dict[str, Any]], field: str) -> tuple[str | None, float | None]:
    """The runner-up of all samples and its mean confidence: their other choices count as much as their second ones."""
    sums: Counter[str] = Counter()
    for item in found:
        sums[item["field"]] += item["confidence"]
        if item["second_field"] != item["field"]:
            sums[item["second_field"]] += item["second_confidence"]
    del sums[field]
    sums.pop(OTHER, None)
    if not sums:
        return None, None
    name, total = max(sorted(sums.items()), key=lambda pair: pair[1])
    return name, round(min(1.0, total / len(found)), 4)


async def _stepwise(
    model: Model, record: Record, votes: int, tree: Taxonomy, known: Labels, *, by_discipline: bool
) -> Labelling:
    field = _placed_field if by_discipline else _field
    (labels, problem), (rest, other) = await asyncio.gather(
        field(model, record, votes, tree, known), _level(model, record, votes, known)
    )
    labels = msgspec.structs.replace(
        labels,
        level=rest.get("level"),
        level_rubric=rest.get("level"),
        grade=rest.get("grade"),
        labeller=f"llm:{model.name}",
    )
    return Labelling(
        labels=labels,
        question_type=rest.get("question_type"),
        self_contained=rest.get("self_contained"),
        failure="; ".join(filter(None, (problem, other))),
    )


async def _placed_field(
    model: Model, record: Record, votes: int, tree: Taxonomy, known: Labels
) -> tuple[Labels, str]:
    """As `_field`, but one of the fields of the discipline that the model names first."""
    sure = None
    if not known.field and not known.discipline:
        offered = [d for d in tree.disciplines if any(f.name not in _VAGUE for f in tree.of(d.name))]
        offered = offered or list(tree.disciplines)
        schema = object_schema({"discipline": {"type": "string", "enum": [entry.name for entry in offered]}})
        lines = "\n".join(f"- {entry.name}: {entry.about}" for entry in offered)
        messages = render("label_discipline", static={"disciplines": lines}, **_shown(record))
        replies = await _ask(model, "label_discipline", messages, schema, votes, 40)
        found = [reply.data["discipline"] for reply in replies if reply.ok]
        # Where the discipline fails, all fields are offered.
        if found:
            discipline, sure = _majority(found)
            known = msgspec.structs.replace(known, discipline=discipline)
    labels, problem = await _field(model, record, votes, tree, known)
    if sure is not None and labels.field_confidence is not None:
        labels = msgspec.structs.replace(labels, field_confidence=sure * labels.field_confidence)
    return labels, problem


async def _field(
    model: Model, record: Record, votes: int, tree: Taxonomy, known: Labels
) -> tuple[Labels, str]:
    """The field, its confidence by the share of votes (None with one), and why it is missing."""
    if known.field:
        return Labels(**placed(known.field, tree)), ""
    fields = [entry.name for entry in (tree.of(known.discipline) if known.discipline else tree.fields)]
    fields = [name for name in fields if name not in _VAGUE] or fields
    if len(fields) == 1:
        return Labels(**placed(fields[0], tree), field_confidence=1.0 if votes > 1 else None), ""
    schema = object_schema({"field": {"type": "string", "enum": fields}})
    replies = await _ask(model, "label_field", render("label_field", **_shown(record)), schema, votes, 40)
    found = [reply.data["field"] for reply in replies if reply.ok]
    if not found:
        return Labels(discipline=known.discipline), _failures(replies)
    field, share = _majority(found)
    return Labels(**placed(field, tree), field_confidence=share if len(found) > 1 else None), ""


async def _level(model: Model, record: Record, votes: int, known: Labels) -> tuple[dict[str, Any], str]:
    if known.level and known.grade:
        return {}, ""
    shown = render("label_level", **_shown(record))
    replies = await _ask(model, "label_level", shown, object_schema(_common()), votes, 60)
    found = [reply.data for reply in replies if reply.ok]
    if not found:
        return {}, _failures(replies)
    return {
        "level": _median([item["level"] for item in found], [entry.name for entry in levels()]),
        "grade": _median([item["grade"] for item in found], [entry.name for entry in grades()]),
        "question_type": _majority([item["question_type"] for item in found])[0],
        "self_contained": _majority([item["self_contained"] for item in found])[0],
    }, ""


def placed(field: str, tree: Taxonomy) -> dict[str, Any]:
    """A field with what follows from it: its discipline and stem, as keywords of `Labels`."""
    return {"field": field, "discipline": tree.parent(field), "stem": tree.stem(field)}


async def _ask(
    model: Model, name: str, messages: Any, schema: dict[str, Any], votes: int, max_tokens: int
) -> list[Reply]:
    request = Request(
        messages=messages,
        max_tokens=max_tokens,
        temperature=0.0 if votes == 1 else 0.7,
        schema=schema,
        schema_name=name,
    )
    requests = [msgspec.structs.replace(request, sample=index) for index in range(votes)]
    return list(await asyncio.gather(*(model.chat(item) for item in requests)))


def _majority(values: Sequence[Any]) -> tuple[Any, float]:
    # Counter keeps the order of first appearance, so the earlier sample wins a tie.
    value, count = Counter(values).most_common(1)[0]
    return value, count / len(values)


def _median(values: Sequence[str], order: Sequence[str]) -> str:
    places = sorted(order.index(value) for value in values)
    return order[places[(len(places) - 1) // 2]]


def _failures(replies: Sequence[Reply]) -> str:
    return "; ".join(sorted({f"{reply.outcome}: {reply.error[:160]}" for reply in replies if not reply.ok}))


def _shown(record: Record) -> dict[str, Any]:
    answer = record.answer
    return {
        "question": record.question,
        "choices": record.choices,
        "answer": answer,
        "solution": record.solution[:_SHOWN] if record.solution.strip() != answer.strip() else "",
        "passage": record.passage[:_SHOWN],
    }


def _common() -> dict[str, Any]:
    return {
        "level": {"type": "string", "enum": [entry.name for entry in levels()]},
        "grade": {"type": "string", "enum": [entry.name for entry in grades()]},
        "question_type": {"type": "string", "enum": [entry.name for entry in question_types()]},
        "self_contained": {"type": "boolean"},
    }


def _schema(tree: Taxonomy) -> dict[str, Any]:
    field = {"type": "string", "enum": [*(entry.name for entry in tree.fields), OTHER]}
    common = _common()
    return object_schema(
        {
            "field": field,
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "second_field": field,
            "second_confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "secondary_fields": {"type": "array", "items": field, "maxItems": 2},
            "level": common["level"],
            "grade": common["grade"],
            "question_type": common["question_type"],
            "language": {"type": "string", "minLength": 2},
            "self_contained": common["self_contained"],
            "knowledge_points": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        }
    )


@cache
def _rubrics() -> dict[str, str]:
    level_lines = []
    for entry in levels():
        level_lines.append(f"{entry.name} {entry.title}. {entry.about}")
        level_lines += [f"  - {sign}" for sign in entry.signs]
        level_lines += [f"  Example: {e.question} -> {e.answer}. {e.why}" for e in entry.examples]
    return {
        "levels": "\n".join(level_lines),
        "grades": "\n".join(f"- {entry.name}: {entry.about} {entry.knowledge}" for entry in grades()),
        "types": "\n".join(f"- {entry.name}: {entry.about}" for entry in question_types()),
    }


def _static(tree: Taxonomy) -> dict[str, str]:
    lines = []
    for discipline in tree.disciplines:
        lines.append(f"{discipline.name}: {discipline.about}")
        lines += [f"- {field.name}: {field.about}" for field in tree.of(discipline.name)]
    return {"fields": "\n".join(lines), **_rubrics()}
