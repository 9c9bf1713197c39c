"""The items of benchmarks that a recipe names: files, folders and globs, or tasks by the field's names for them.

A task is a line of `taxonomy/tasks.yaml`: a data set of the hub, its split, its columns. Knows nothing of how items
are compared with records.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from boostqa import hub, readers
from boostqa.errors import UserError
from boostqa.flows.indexed import Item, answer_text
from boostqa.inputs import InputFile, expand
from boostqa.text.normalise import words

TASKS = "taxonomy/tasks.yaml"
BUILTIN = "taxonomy/builtin_benchmark.jsonl"


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `tasks.yaml`; its keys are explained there."""

    hub: str | list[str] = []
    configs: list[str] | None = None
    splits: list[str] = []
    columns: dict[str, str | list[str]] = {}
    tasks: list[str] = []
    elsewhere: str = ""


class Source(NamedTuple):
    """A file of a benchmark, and how it is read."""

    benchmark: str
    file: InputFile
    """Its name is that of the task with the file's name below it."""
    columns: dict[str, str | list[str]]
    key: str
    """The recipe key that named it."""


@cache
def tasks() -> dict[str, Task]:
    """All tasks by name."""
    text = (files("boostqa") / TASKS).read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Task])


def is_task(name: str) -> bool:
    """Whether an entry is the name of a task, known or not: one word, and so no path of a resolved recipe."""
    return not set(name) & set("/\\*?[.~:")


def sources(benchmarks: Sequence[str], mirror: str | None, key: str) -> list[Source]:
    """The files of all benchmarks, in order; no two have one name.

    Raises:
        UserError: an unknown task (with the nearest known one), a data set that cannot be had, a missing file, an
            empty folder or glob, or two files of one name.
    """
    found: dict[str, Source] = {}
    for i, name in enumerate(benchmarks):
        place = f"{key}[{i}]"
        for source in _task(name, mirror, place) if is_task(name) else _files(name, place):
            other = found.setdefault(source.file.name, source)
            if other.file.path != source.file.path:
                raise UserError(
                    f"{place}: {name}: another benchmark is called {source.file.name!r} too; "
                    "rename one, or give the folder above both"
                )
    return list(found.values())


def builtin() -> Source:
    """The package's own short list."""
    path = Path(__file__).parent.parent / BUILTIN
    return Source("builtin", InputFile("builtin.jsonl", str(path)), {}, "decontaminate.builtin")


def _files(path: str, key: str) -> Iterator[Source]:
    for file in expand(path, key):
        yield Source(file.name.split(".")[0], file, {}, key)


def _task(name: str, mirror: str | None, key: str) -> Iterator[Source]:
    known = tasks()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(sorted(known))}"
        raise UserError(f"{key}: {name!r} is neither a file nor a task whose items are known; {hint}")
    task = known[name]
    if task.elsewhere:
        raise UserError(
            f"{key}: {name} is not on the hub but at {task.elsewhere}; name its files here instead of it"
        )
    for other in task.tasks:
        yield from _task(other, mirror, key)
    for repo in [task.hub] if isinstance(task.hub, str) else task.hub:
        below = f"{name}/" if isinstance(task.hub, str) else f"{name}/{repo.rpartition('/')[2]}/"
        for file in hub.download(repo, task.configs, task.splits, mirror, f"{key}: {name}"):
            yield Source(name, InputFile(below + file.name, file.path), task.columns, f"{key}: {name}")


def read(source: Source) -> Iterator[Item]:
    """Items of one file.

    Raises:
        UserError: a broken row, an item without question, or no item at all: a partial index is no index.
    """
    file, found = source.file, False
    for number, raw in enumerate(readers.open(file.path, columns=source.columns or None), start=1):
        line = raw.line or number
        if isinstance(raw, readers.BadRow):
            raise UserError(
                f"{source.key}: {file.path}:{line}: benchmark row is broken ({raw.reason}: {raw.excerpt}); "
                "correct or remove it, a partial index would let items through"
            )
        if not words(raw.question):
            raise UserError(
                f"{source.key}: {file.path}:{line}: benchmark item has no question; give it a `question` column"
            )
        found = True
        yield Item(
            id=raw.id or f"{file.name}:{line}",
            benchmark=source.benchmark,
            question=raw.question,
            choices=raw.choices,
            answer=answer_text(raw.choices, raw.answer),
        )
    if not found:
        raise UserError(
            f"{file.path}: the benchmark has no items; remove it from decontaminate.benchmarks or fill it"
        )
