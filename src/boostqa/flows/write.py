"""Writing drafts: one call to a writer, and what came of it; new numbers for a problem with a formula.

A draft is a question with its answer as the writer gave it, not yet a record and not yet believed. A call
that gave none is a draft with a `failure`, never an exception. Knows nothing of stages.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from boostqa.flows.asked import numbers_of
from boostqa.flows.solve import object_schema
from boostqa.flows.variant import renumbered
from boostqa.llm.model import Message, Model, Outcome, Reply, Request
from boostqa.prompts import LETTERS, Strategy, grade_rubric, level_rubric, render, type_rubric
from boostqa.record import Requested, SeedText
from boostqa.text.answers import evaluate

FAILURES = {
    Outcome.FAILED: "call_failed",
    Outcome.TRUNCATED: "truncated",
    Outcome.MALFORMED: "malformed",
    Outcome.REFUSED: "refused",
}
"""Outcome of a call that gave nothing -> drop reason of the task that it was for."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What one call wrote; `failure` is set where there is nothing to use."""

    prompt: str
    """Name of the prompt that wrote the question."""
    question: str = ""
    choices: list[str] = []
    answer: str = ""
    solution: str = ""
    mechanism: str = ""
    """Where the hardness lies, in the writer's words (high_difficulty)."""
    reply: Reply
    failure: str = ""
    """A drop reason of `FAILURES`, or empty."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask a writer: the settings that every writing call shares."""

    sample: int = 0
    """Index among several drafts for one prompt."""
    temperature: float = 0.7
    max_tokens: int = 4096


_TEXT = {"type": "string", "minLength": 1}


def _written(multiple_choice: bool, hard: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"mechanism": {"type": "string"}} if hard else {}
    fields["question"] = _TEXT
    answer: dict[str, Any] = _TEXT
    if multiple_choice:
        fields["choices"] = {"type": "array", "items": _TEXT, "minItems": 4, "maxItems": 4}
        answer = {"type": "string", "enum": list(LETTERS[:4])}
    return object_schema({**fields, "solution": {"type": "string"}, "answer": answer})


async def write(
    model: Model,
    seeds: Sequence[SeedText],
    requested: Requested,
    strategy: Strategy,
    *,
    call: Call,
    earlier: Sequence[str] = (),
    seed_limit: int = 8000,
) -> Draft:
    """A draft by the prompts `write` and `harden`.

    Args:
        model: the writer.
        seeds: material, the leading seed first.
        requested: what is wished for.
        strategy: how to go about it; its `prompt` decides which prompt is used.
        call: settings of the call.
        earlier: questions already written for the same task with how often they were solved (`harden`).
        seed_limit: characters of each seed that are shown at most.

    Raises:
        Stop: as `Model.chat`.
    """
    variables: dict[str, Any] = {
        "seeds": [describe(seed, seed_limit) for seed in seeds],
        "request": request_lines(requested, strategy, seeds),
    }
    if strategy.prompt == "harden":
        variables["earlier"] = list(earlier)
    schema = _written(requested.question_type == "multiple_choice", strategy.prompt == "harden")
    reply, data = await _ask(model, strategy.prompt, render(strategy.prompt, **variables), schema, call)
    return _draft(strategy.prompt, reply, data)


async def vary(model: Model, seed: SeedText, *, call: Call, prompt: str = "vary") -> Draft:
    """The seed's question in other words; answer, options and solution are the seed's. Raises as `write`.

    The writer does not see the answer: what it does not know it cannot give away. `prompt` is the wording of
    the task: `vary`, or one of `vary_name` and `vary_point`, whose examples all show one and the same turn,
    which is what tiny models can follow.
    """
    messages = render(prompt, question=seed.question)
    reply, data = await _ask(model, "vary", messages, object_schema({"question": _TEXT}), call)
    known = {"answer": seed.answer, "choices": seed.choices, "solution": seed.solution}
    return _draft(prompt, reply, {**data, **known} if data else data)


async def vary_numbers(
    model: Model, seed: SeedText, new: Mapping[str, float], *, call: Call, answer: bool = False
) -> Draft:
    """The seed's problem in other words with new values of its variables.

    The numbers are replaced before the writer sees the problem; `answer` asks for its own answer too, else
    the draft has none. Raises as `write`.
    """
    fields = {"question": _TEXT, "answer": _TEXT} if answer else {"question": _TEXT}
    messages = render("vary_numbers", question=renumbered(seed, new), answer_wanted=answer)
    reply, data = await _ask(model, "vary_numbers", messages, object_schema(fields), call)
    return _draft("vary_numbers", reply, data)


async def distract(model: Model, question: str, answer: str, *, call: Call) -> Draft:
    """Three wrong options in `choices`, without the right one. Raises as `write`."""
    schema = object_schema({"distractors": {"type": "array", "items": _TEXT, "minItems": 3, "maxItems": 3}})
    messages = render("distract", question=question, answer=answer)
    reply, data = await _ask(model, "distract", messages, schema, call)
    known = {"question": question, "answer": answer, "choices": data.get("distractors")}
    return _draft("distract", reply, known if data else data)


async def _ask(
    model: Model, name: str, messages: tuple[Message, ...], schema: dict[str, Any], call: Call
) -> tuple[Reply, dict[str, Any]]:
    request = Request(
        messages=messages,
        max_tokens=call.max_tokens,
        temperature=call.temperature,
        schema=schema,
        schema_name=name,
        sample=call.sample,
    )
    reply = await model.chat(request)
    return reply, reply.data if reply.ok and isinstance(reply.data, dict) else {}


def _draft(prompt: str, reply: Reply, data: Mapping[str, Any]) -> Draft:
    if not reply.ok:
        return Draft(prompt=prompt, reply=reply, failure=FAILURES[reply.outcome])
    choices = data.get("choices") or []
    if not str(data.get("question", "")).strip() or not isinstance(choices, list):
        return Draft(prompt=prompt, reply=reply, failure="malformed")
    return Draft(
        prompt=prompt,
        question=str(data["question"]).strip(),
        choices=[str(choice).strip() for choice in choices],
        answer=str(data.get("answer", "")).strip(),
        solution=str(data.get("solution", "")).strip(),
        mechanism=str(data.get("mechanism", "")).strip(),
        reply=reply,
    )


def describe(seed: SeedText, limit: int = 8000) -> str:
    """A seed as prompts show it, cut to `limit` characters at a line or word."""
    parts = [seed.passage] if seed.passage else []
    if seed.question:
        parts.append(f"Question: {seed.question}")
        parts += [f"{letter}. {choice}" for letter, choice in zip(LETTERS, seed.choices, strict=False)]
        parts.append(f"Answer: {seed.answer}")
    if seed.solution:
        parts.append(f"Solution: {seed.solution}")
    text = "\n".join(part for part in parts if part)
    if len(text) <= limit:
        return text
    cut = text[:limit]
    return cut[: max(cut.rfind("\n"), cut.rfind(" "), limit // 2)] + " […]"


def request_lines(requested: Requested, strategy: Strategy, seeds: Sequence[SeedText] = ()) -> dict[str, str]:
    """The `## Request` section of writing prompts: what varies between the tasks of one seed, key -> line.

    Seeds of other fields make the question one that crosses fields; they are named in `secondary_fields`.
    """
    others = dict.fromkeys(seed.field for seed in seeds if seed.field and seed.field != requested.field)
    lines = {
        "discipline": requested.discipline,
        "field": requested.field,
        "secondary_fields": ", ".join(name for name in others if name) if len(seeds) > 1 else "",
        "level": requested.level,
        "level_means": level_rubric(requested.level),
        "grade": requested.grade,
        "grade_means": grade_rubric(requested.grade),
        "language": requested.language,
        "question_type": requested.question_type,
        "question_type_means": type_rubric(requested.question_type),
        "strategy": strategy.name,
        "instruction": strategy.instruction,
    }
    return {key: value for key, value in lines.items() if value}


def new_numbers(seed: SeedText, rng: random.Random, tries: int = 400) -> dict[str, float] | None:
    """New values for the seed's variables, near the old ones, with a result as nice as before.

    Integers stay integers and decimals keep their number of places, signs stay, no old number and no number
    twice is used, and the result is an integer where it was one, else has no more places than it had (at most
    three). None where no such values were found, the seed's own values do not evaluate, or a value does not
    stand in the seed's question exactly once.
    """
    old = seed.variables
    printed = numbers_of(seed.question)
    # Each value must be found once, or nobody can tell which of the printed numbers a variable means.
    if not old or any(printed.count(value) != 1 for value in old.values()):
        return None
    try:
        before = evaluate(seed.formula, old)
        renumbered(seed, old)
    except ValueError:
        return None
    for _ in range(tries):
        new = {name: _near(value, rng) for name, value in old.items()}
        if len(set(new.values())) < len(new) or set(printed) & set(new.values()):
            continue
        try:
            result = evaluate(seed.formula, new)
        except ValueError:
            continue
        alike = _places(result) <= min(_places(before), 3) and (result > 0) == (before > 0)
        if alike and result not in new.values():
            return new
    return None


def _near(value: float, rng: random.Random) -> float:
    places = min(_places(value), 6)
    unit = 10.0**-places
    # Round tens and hundreds stay round, so that 120 becomes 90 or 150 and not 117.
    while places <= 0 and unit * 10 < abs(value) and value % (unit * 10) == 0:
        unit *= 10
    steps = max(2, round(abs(value) / unit))
    low = max(1, math.ceil(steps / 2))
    high = max(6, 2 * steps) if steps < 50 else round(1.6 * steps)
    return round(math.copysign(rng.randint(low, high) * unit, value or 1.0), max(places, 0))


def _places(value: float) -> int:
    """Decimal places of a number as printed with nine digits; 99 for what is not a short decimal."""
    for places in range(7):
        if math.isclose(round(value, places), value, rel_tol=1e-9):
            return places
    return 99
