"""Seeds and benchmark items from the fake provider's world, and requests to it.

`seed_rows` gives rows whose labels are true by construction, so that a test can compare what a stage found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from boostqa.llm.fake import FakeServer, Wish, World, read_config
from boostqa.llm.fake.reply import Replier
from boostqa.llm.fake.world import GRADES, LEVELS, rng

FIELDS = (
    "Mathematics",
    "Physics",
    "Chemistry",
    "Biology",
    "Law",
    "History",
    "Clinical Medicine",
    "Applied Economics",
)
TYPES = ("calculation", "multiple_choice", "open", "true_false")


def seed_rows(
    count: int,
    *,
    fields: Sequence[str] = FIELDS,
    levels: Sequence[str] = LEVELS,
    languages: Sequence[str] = ("en", "en", "zh"),
    types: Sequence[str] = ("calculation", "calculation", "multiple_choice"),
    seed: int = 0,
    salt: str = "seed",
) -> list[dict[str, Any]]:
    """`count` question-answer rows that go round fields and levels; another `salt` gives other questions."""
    world = World(seed)
    rows = []
    for i in range(count):
        source = rng(seed, salt, i)
        field, level = fields[i % len(fields)], levels[(i // len(fields)) % len(levels)]
        language, kind = languages[i % len(languages)], types[(i // 2) % len(types)]
        grade = GRADES[min(LEVELS.index(level), 4)]
        made = world.make(source, field, level, Wish(language=language, question_type=kind, grade=grade))
        row: dict[str, Any] = {
            "question": made.question,
            "answer": made.answer,
            "solution": made.solution,
            "field": field,
            "level": level,
            "grade": grade,
            "question_type": kind,
            "language": language,
        }
        if made.choices:
            row["choices"] = made.choices
        elif kind == "calculation":
            row |= {"formula": made.formula, "variables": made.variables}
        rows.append(row)
    return rows


def passage_rows(count: int, *, fields: Sequence[str] = FIELDS, language: str = "en") -> list[dict[str, Any]]:
    """`count` passages with their fields."""
    world = World()
    return [
        {
            "passage": world.passage(rng("passage", i), fields[i % len(fields)], language),
            "field": fields[i % len(fields)],
        }
        for i in range(count)
    ]


def benchmark_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """`count` benchmark items that no seed and no model of the same world is likely to hit by chance."""
    rows = seed_rows(count, seed=seed, salt="benchmark", types=("calculation", "multiple_choice"))
    return [
        {
            "id": f"world/{i:03}",
            "question": r["question"],
            "choices": r.get("choices", []),
            "answer": r["answer"],
        }
        for i, r in enumerate(rows)
    ]


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows and return the path."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def messages(task: str, user: str) -> list[dict[str, str]]:
    """Messages of one task, its sections in `user`."""
    return [
        {"role": "system", "content": f"Task: {task}\nReply with JSON."},
        {"role": "user", "content": user},
    ]


def asked(row: dict[str, Any]) -> str:
    """The sections that show a row to a solver."""
    text = f"## Question\n{row['question']}"
    if row.get("choices"):
        text += "\n\n## Choices\n" + "\n".join(
            f"{k}. {v}" for k, v in zip("ABCD", row["choices"], strict=True)
        )
    return text


CHAT = {"messages": messages("solve", "## Question\nWho?")}
"""The body of some chat call, but for its model."""


def replier(**persona: Any) -> Replier:
    """Replies of one model called `m`, without a server."""
    return Replier(read_config({"models": {"m": {"dialect": "vllm", **persona}}}, "test"))


def serve(
    config: dict[str, Any], test: Callable[[FakeServer, Callable[..., Awaitable[Any]]], Awaitable[None]]
) -> None:
    """Run `test(server, post)`; `post(path, body)` gives (status, headers, body bytes)."""

    async def run() -> None:
        async with FakeServer(config) as server, aiohttp.ClientSession() as session:

            async def post(path: str, body: Any, **headers: str) -> tuple[int, Any, bytes]:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                async with session.post(server.url + path, data=data, headers=headers) as reply:
                    return reply.status, reply.headers, await reply.read()

            await test(server, post)

    asyncio.run(run())
