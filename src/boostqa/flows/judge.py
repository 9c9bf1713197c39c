"""Judging a question with its answer by a rubric, pessimistically: of several verdicts the worst one stands.

The judge sees the item and nothing of its origin: no request, no seed, no writer's thought. A call that
failed is a verdict without a word, never an exception. Knows nothing of stages, nor of what a verdict leads
to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from boostqa.flows.solve import object_schema
from boostqa.llm.model import Model, Reply, Request
from boostqa.prompts import render

_WORST_FIRST = ("ill_posed", "wrong", "correct")
_SCHEMA = object_schema(
    {
        "reason": {"type": "string"},
        "verdict": {"type": "string", "enum": ["correct", "wrong", "ill_posed"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
    }
)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one model said in one call."""

    model: str
    """Name of the model in the recipe."""
    family: str
    verdict: str = ""
    """correct, wrong or ill_posed; empty where the call gave none."""
    score: int = 0
    """1 (useless) to 5 (excellent); 0 where the call gave none."""
    reason: str = ""
    reply: Reply


async def judge(
    model: Model,
    question: str,
    answer: str,
    *,
    choices: Sequence[str] = (),
    solution: str = "",
    samples: int = 1,
    max_tokens: int = 2048,
) -> list[Verdict]:
    """`samples` independent verdicts of `model`, all at once, in the order of their sample index.

    Raises:
        Stop: as `Model.chat`.
    """
    request = Request(
        messages=render("judge", question=question, choices=list(choices), answer=answer, solution=solution),
        max_tokens=max_tokens,
        temperature=0.0 if samples == 1 else 0.7,
        schema=_SCHEMA,
        schema_name="judge",
    )
    requests = [msgspec.structs.replace(request, sample=index) for index in range(samples)]
    replies = await asyncio.gather(*(model.chat(item) for item in requests))
    return [_verdict(model, reply) for reply in replies]


def _verdict(model: Model, reply: Reply) -> Verdict:
    data: dict[str, Any] = reply.data if reply.ok and isinstance(reply.data, dict) else {}
    verdict = str(data.get("verdict", ""))
    if verdict not in _WORST_FIRST:
        return Verdict(model=model.name, family=model.family, reply=reply)
    score = data.get("score", 0)
    return Verdict(
        model=model.name,
        family=model.family,
        verdict=verdict,
        score=score if isinstance(score, int) else 0,
        reason=str(data.get("reason", "")).strip(),
        reply=reply,
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The verdict that stands: any found error outweighs all praise; None where no call gave a verdict."""
    given = [item for item in verdicts if item.verdict]
    return min(given, key=lambda item: (_WORST_FIRST.index(item.verdict), item.score), default=None)
