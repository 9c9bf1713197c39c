"""Recipes made to run against the fake provider: the same recipe with other addresses and smaller numbers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from boostqa.llm.fake import FakeServer
from boostqa.recipe import Recipe, dump

ROOT = Path(__file__).parent.parent
KEY = "a-key-for-tests"
KEY_VARIABLE = "BOOSTQA_TEST_KEY"


@contextmanager
def serving(config: dict[str, Any]) -> Iterator[FakeServer]:
    """The fake provider in a thread of its own, since a session needs the main one for its signals."""
    ready, box = threading.Event(), {}

    async def serve() -> None:
        async with FakeServer(config) as server:
            box.update(server=server, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            ready.set()
            await box["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield box["server"]
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join()


def fake_config(recipe: Recipe, *keys: Path) -> dict[str, Any]:
    """Personas under the recipe's model ids, strict in its dialects; `keys` hold the answers."""
    abilities = {"target": {"default": 0.5, "cells": {"Physics": 0.2}}, "solvers": {"default": 0.8}}
    personas: dict[str, Any] = {}
    for role in type(recipe.roles).model_fields:
        for name in recipe.roles.of(role):
            model = recipe.models[name]
            persona = personas.setdefault(model.model_id, {"dialect": model.dialect_name})
            if role in abilities:
                persona["ability"] = abilities[role]
            if role == "teacher":
                persona["write"] = {"wrong_answer": 0.1, "easier": 0.3, "leak": 0.05, "copy": 0.05}
    return {"models": personas, "api_key": KEY, "answer_keys": [str(path) for path in keys]}


def write_small(
    path: Path, recipe: Recipe, url: str, items: int, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Writes the recipe with every address replaced, few items wanted, and `changes` by section."""
    data = yaml.safe_load(dump(recipe))
    for name, model in data["models"].items():
        model |= {"base_url": url, "dialect": recipe.models[name].dialect_name, "api_key_env": KEY_VARIABLE}
    data["plan"] |= {"items": items, "rounds": 2}
    data["synthesize"] |= {"hard_candidates": 2, "hard_attempts": 1, "solver_samples": 2}
    for section, fields in (changes or {}).items():
        data[section] |= fields
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
