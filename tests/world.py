"""A whole small run against the fake provider as a separate process: recipe, seeds, benchmark, server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fake_seeds import benchmark_rows, seed_rows, write_jsonl

WRITE = {
    "wrong_answer": 0.15,
    "easier": 0.35,
    "leak": 0.04,
    "copy": 0.04,
    "passage_reference": 0.04,
    "duplicate": 0.06,
}
TARGET = {"default": 0.92, "cells": {"Science": 0.05}}
MODELS: dict[str, Any] = {
    "fake-teacher": {"dialect": "deepseek", "ability": {"default": 0.9}, "write": WRITE},
    "fake-refiner": {"dialect": "deepseek", "thinking": False},
    "fake-solver": {"dialect": "vllm", "ability": {"default": 0.85, "cells": {"*/H5": 0.5, "*/H4": 0.65}}},
    "fake-judge": {"dialect": "openai"},
    "fake-target": {"dialect": "vllm", "ability": TARGET},
}


class Server:
    """The fake provider behind a URL; `stats` and `control` talk to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.base = url.removesuffix("/v1")

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.base}/fake/stats", timeout=10) as reply:
            return json.load(reply)

    def control(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        request = urllib.request.Request(
            f"{self.base}/fake/control", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


@contextmanager
def fake_server(folder: Path, **config: Any) -> Iterator[Server]:
    """Starts the server with `MODELS` (or others given) and ends it by its process."""
    path = folder / "fake.json"
    path.write_text(json.dumps({"models": MODELS} | config))
    process = subprocess.Popen(
        [sys.executable, "-m", "boostqa.llm.fake", "--config", str(path), "--with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Server(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


def make_recipe(folder: Path, url: str, *, seeds: int = 240, items: int = 40, **sections: Any) -> Path:
    """Writes seeds, benchmark and recipe.yaml; `sections` are merged over the defaults."""
    write_jsonl(folder / "seeds.jsonl", seed_rows(seeds))
    write_jsonl(folder / "benchmark.jsonl", benchmark_rows(30))

    def model(name: str) -> dict[str, Any]:
        dialect = MODELS[name]["dialect"]
        return {"base_url": url, "model": name, "dialect": dialect, "give_up_after": 5.0}

    recipe: dict[str, Any] = {
        "name": "world",
        "seeds": {
            "sources": [{"name": "world", "path": "seeds.jsonl", "license": "CC0-1.0"}],
            "shard_size": 60,
        },
        "models": {name.removeprefix("fake-"): model(name) for name in MODELS},
        "roles": {
            "annotator": "judge",
            "target": "target",
            "teacher": "teacher",
            "refiner": "refiner",
            "solvers": ["solver"],
            "judge": "judge",
        },
        "decontaminate": {"benchmarks": ["benchmark.jsonl"]},
        "plan": {"items": items, "rounds": 3, "shard_size": 20},
    }
    for name, value in sections.items():
        recipe[name] = {**recipe.get(name, {}), **value} if isinstance(value, dict) else value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def boostqa(
    *words: str | Path, check: int | None = 0, timeout: float = 120, **keywords: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "boostqa.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        **keywords,
    )
    if check is not None:
        assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def data_bytes(run: Path) -> dict[str, bytes]:
    """All data files of a run: kept and dropped records of every entry, and the data set."""
    folders = ("kept", "dropped", "data")
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*.parquet"))
        if path.parent.name in folders
    }
