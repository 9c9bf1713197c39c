"""The items of benchmarks that a recipe names: files, folders and globs, or tasks by the field's names for them.

A task is a line of `taxonomy/tasks.yaml`: a data set of the hub, its split, its columns. Knows nothing of how items
are compared with records.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from boostqa import hub, readers
from boostqa.errors import UserError
from boostqa.flows.indexed import Item, answer_text
from boostqa.inputs import InputFile, expand
from boostqa.text.normalise import words

TASKS = "taxonomy/tasks.yaml"
BUILTIN = "taxonomy/builtin_benchmark.jsonl"
PLACES = 3
"""Odd rows of a benchmark that are named; the others are only counted."""
_ONE_ROW = frozenset({"no_question_or_text", "bad_variables", "malformed_row", "not_an_object", "ragged_row"})
"""Reasons for which a reader gives up one row; for others it may give up all that would follow."""


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `tasks.yaml`; its keys are explained there."""

    hub: str | list[str] = []
    configs: list[str] | None = None
    of: int = 0
    """How many configurations there are, where all are read and the number is known."""
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
    task: bool = False
    """Whether it is part of a data set of the hub, in which nobody can correct a row."""


class Odd(NamedTuple):
    """A row of a benchmark that is not indexed as a whole."""

    benchmark: str
    place: str
    """File and line, and what is wrong with the row."""
    left_out: bool
    """Whether nothing of it is indexed; else all but its answer is."""


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
        for file in hub.download(repo, task.configs, task.splits, mirror, f"{key}: {name}", task.of):
            yield Source(name, InputFile(below + file.name, file.path), task.columns, f"{key}: {name}", True)


def read(source: Source) -> Iterator[Item | Odd]:
    """Items of one file, and its odd rows.

    A row of which nothing but the answer is wrong (some test splits hide theirs) is both: an item without its answer,
    and odd. A row that asks nothing is left out where nobody can correct it, in the data set of a task.

    Raises:
        UserError: a row that asks nothing in a file of one's own, more such rows than items in that of a task, or a
            file that is damaged or empty: a partial index is no index.
    """
    file, items, left_out = source.file, 0, 0
    for number, raw in enumerate(readers.open(file.path, columns=source.columns or None), start=1):
        line = raw.line or number
        wrong = f"{raw.reason}: {raw.excerpt}" if isinstance(raw, readers.BadRow) else ""
        asks = bool(words(raw.question))
        alone = not isinstance(raw, readers.BadRow) or raw.reason in _ONE_ROW
        if not asks and not (source.task and alone):
            raise UserError(
                f"{source.key}: {file.path}:{line}: benchmark row is broken ({wrong or 'no question'}); "
                "correct or remove it, a partial index would let items through"
            )
        if wrong or not asks:
            left_out += not asks
            yield Odd(source.benchmark, f"{file.name}:{line}: {wrong or 'no question'}", not asks)
        if asks:
            items += 1
            yield _item(raw, source.benchmark, f"{file.name}:{line}")
    if left_out > items:
        raise UserError(
            f"{source.key}: {file.path}: the benchmark has {items} items and {left_out} rows that ask nothing; "
            "remove it from decontaminate.benchmarks, or name its files with a `question` column each"
        )


def odd_rows(rows: Iterable[Item | Odd]) -> dict[str, dict[str, Any]]:
    """Benchmark -> its odd rows: how many have `no_answer`, how many are `left_out`, and the `places` of the first."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if isinstance(row, Odd):
            mine = found.setdefault(row.benchmark, {"no_answer": 0, "left_out": 0, "places": []})
            mine["left_out" if row.left_out else "no_answer"] += 1
            mine["places"] = [*mine["places"], row.place][:PLACES]
    return found


def _item(raw: readers.Raw | readers.BadRow, benchmark: str, place: str) -> Item:
    known, answer = ("", "") if isinstance(raw, readers.BadRow) else (raw.id, raw.answer)
    return Item(
        id=known or place,
        benchmark=benchmark,
        question=raw.question,
        choices=raw.choices,
        answer=answer_text(raw.choices, answer),
    )
