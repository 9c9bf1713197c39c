"""A tiny model whose answers a test writes itself: task name -> reply, or a function of the request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from boostqa.llm.model import Abilities, Outcome, Reply, Request

Answer = Mapping[str, Any] | Outcome | Callable[[Request], Any]


class Scripted:
    """Answers `chat` by `schema_name`; counts what it was asked."""

    def __init__(self, name: str = "teacher", family: str | None = None, **answers: Answer) -> None:
        self.name, self.id, self.family = name, f"{name}-id", family or name
        self.abilities = Abilities(json_schema=True, logprobs=True)
        self.answers = answers
        self.asked: list[Request] = []

    async def chat(self, request: Request) -> Reply:
        self.asked.append(request)
        answer = self.answers[request.schema_name]
        if callable(answer) and not isinstance(answer, Outcome):
            answer = answer(request)
        if isinstance(answer, Outcome):
            return Reply(outcome=answer, error="planned")
        return Reply(outcome=Outcome.OK, data=dict(answer), reasoning="a thought")

    async def complete(self, request: Request) -> Reply:
        raise NotImplementedError

    async def score(self, prefix: str, continuations: list[str]) -> None:
        raise NotImplementedError

    def count(self, task: str) -> int:
        return sum(request.schema_name == task for request in self.asked)


def section(request: Request, title: str) -> str:
    """Text under `## title` in the last message."""
    found = re.search(
        rf"^## {title}\n(.*?)(?=\n## |\Z)", request.messages[-1].content, re.DOTALL | re.MULTILINE
    )
    return found[1].strip() if found else ""
