"""Measuring prompts without sending them: flows are run with a model that listens and never answers.

What is heard is exact: which requests a flow sends for a record, how long they are, where they begin alike.
How long the replies would be is a guess, which stands here as a table. Knows nothing of stages or money.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from boostqa.estimate.spans import Span
from boostqa.llm.client import abilities_of, policy_of
from boostqa.llm.config import ModelConfig
from boostqa.llm.dialects import DIALECTS, chat_body, thinks
from boostqa.llm.model import Outcome, Reply, Request
from boostqa.record import Record, SeedText
from boostqa.text.chunk import estimate_tokens


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow asks by one prompt."""

    task: str
    """Name of the prompt, or `score`."""
    requests: float
    """Per record."""
    prompt: float
    """Prompt tokens of one request (bytes/4; one per Chinese character)."""
    shared: float
    """Of these, tokens at the beginning that all requests share, so that a prefix cache may have them."""
    completion: Span
    """Generated tokens of one request, thought included: a guess."""


REPLY = {
    "label": Span(70, 120, 250),
    "label_discipline": Span(5, 10, 20),
    "label_field": Span(5, 10, 20),
    "label_level": Span(20, 30, 60),
    "solve": Span(150, 400, 1200),
    "solve_short": Span(4, 10, 60),
    "write": Span(150, 350, 900),
    "harden": Span(250, 600, 1500),
    "vary": Span(25, 60, 150),
    "vary_numbers": Span(30, 70, 150),
    "distract": Span(20, 45, 100),
    "refine": Span(150, 400, 1000),
    "judge": Span(50, 120, 300),
    "score": Span.of(1),
}
"""Guess: tokens of a reply by prompt, without the thought."""
THOUGHT = Span(400, 2000, 8000)
"""Guess: tokens of a thought before the reply, where the model thinks."""


class Ear:
    """A model that notes what it is asked and answers nothing."""

    def __init__(self, name: str, config: ModelConfig) -> None:
        self.name = name
        self.id = config.model_id
        self.family = config.family or name
        self.abilities = abilities_of(config)
        self.heard: list[Request] = []

    async def chat(self, request: Request) -> Reply:
        """Notes the request; the reply is a failure, which flows can live with."""
        self.heard.append(request)
        return Reply(outcome=Outcome.FAILED, error="not sent")

    async def complete(self, request: Request) -> Reply:
        """As `chat`."""
        return await self.chat(request)

    async def score(self, prefix: str, continuations: list[str]) -> None:
        """Notes one request for the prefix and one for each continuation."""
        for text in ["", *continuations]:
            self.heard.append(Request(prompt=prefix + text, max_tokens=1, schema_name="score"))


Flow = Callable[[Ear, Record], Awaitable[Any]]


def hear(name: str, config: ModelConfig, flow: Flow, records: Sequence[Record]) -> list[Heard]:
    """What `flow` asks the model called `name` when it is run once for each record."""
    ear = Ear(name, config)
    asyncio.run(_run(flow, ear, records))
    by_task: dict[str, list[Request]] = defaultdict(list)
    for request in ear.heard:
        by_task[request.schema_name].append(request)
    found = []
    for task, requests in by_task.items():
        texts = [_text(config, request) for request in requests]
        lengths = [estimate_tokens(text) for text in texts]
        tightest = min(requests, key=lambda request: request.max_tokens)
        found.append(
            Heard(
                task=task,
                requests=len(requests) / len(records),
                prompt=sum(lengths) / len(lengths),
                shared=float(min(estimate_tokens(_shared(texts)), *lengths)),
                completion=_completion(config, task, tightest),
            )
        )
    return found


async def _run(flow: Flow, ear: Ear, records: Sequence[Record]) -> None:
    for record in records:
        await flow(ear, record)


def _text(config: ModelConfig, request: Request) -> str:
    """What the endpoint reads: all turns, with the schema where the dialect puts it there."""
    if request.prompt is not None:
        return request.prompt
    dialect = DIALECTS[config.dialect_name]
    body = chat_body(dialect, policy_of(config, dialect), request)
    return "\n".join(turn["content"] for turn in body["messages"])


def _shared(texts: Sequence[str]) -> str:
    """The beginning that all texts have in common."""
    first, last = min(texts), max(texts)
    pairs = zip(first, last, strict=False)
    return first[: next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))]


def _completion(config: ModelConfig, task: str, request: Request) -> Span:
    reply = REPLY.get(task, REPLY["write"]).capped(request.max_tokens)
    asked = msgspec.structs.replace(request, think=config.think) if request.think is None else request
    if request.prompt is not None or not thinks(DIALECTS[config.dialect_name], asked):
        return reply
    return reply.plus(THOUGHT.capped(config.think_tokens))


def filler(tokens: float) -> str:
    """Text of about so many tokens."""
    return ("word " * int(tokens * 4 / 5)).strip()


def seed_text(record: Record) -> SeedText:
    """A seed as a task carries it."""
    return SeedText(
        id=record.id,
        question=record.question,
        choices=record.choices,
        answer=record.answer,
        solution=record.solution,
        passage=record.passage,
        formula=record.formula,
        variables=record.variables,
    )


def stand_in(record: Record) -> Record:
    """A stand-in for an item made from a seed: the seed's question, or words of a usual length."""
    return msgspec.structs.replace(
        record,
        kind="qa",
        question=record.question or filler(60) + "?",
        answer=record.answer or filler(8),
        solution=filler(REPLY["solve"].mid),
        passage="",
        seeds=[seed_text(record)],
    )
