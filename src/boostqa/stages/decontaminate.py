"""Drops what a benchmark asks: training on it would spoil every later measurement.

The index holds the question side of benchmark items (files of the recipe and the package's own list) and of
the probe's held-out items. A record's score `contamination` is the largest over the items, by the rules of
`flows/contamination.py`; `contamination_stem` is the largest share of a question alone, whatever its options;
`contamination_answer` the largest such share of an item whose answer the record gives as well. All are stored for
every record, so a stricter cut needs no rerun.

An empty or broken benchmark is an error and never a pass, and in every shard planted items go the same way
as records and must be caught. Knows nothing of what a record is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from boostqa import readers
from boostqa.errors import UserError
from boostqa.flows.contamination import Found, index_of
from boostqa.flows.indexed import Item, answer_text, build
from boostqa.inputs import InputFile, expand, fingerprint
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.table import with_drops, with_scores
from boostqa.text.normalise import words

if TYPE_CHECKING:
    import pyarrow as pa

BUILTIN = "taxonomy/builtin_benchmark.jsonl"
SCORES = ("contamination", "contamination_stem", "contamination_answer")
"""What every record gets; see `flows.contamination.Found`."""


class DecontaminateConfig(StageConfig):
    """Section `decontaminate` of a recipe; it holds for seeds and for what was synthesised."""

    benchmarks: list[str] = Field(default=[], json_schema_extra={"identity": "free"})
    """Files, folders or globs of benchmark items with question, choices and answer; a list adds up.
    Their content counts for the fingerprint, their place does not."""
    builtin: bool = True
    """Whether the package's own short list of items is indexed too."""
    ngram: int = Field(default=13, ge=5, le=50)
    """Tokens per n-gram for questions that have as many."""
    short_ngram: int = Field(default=8, ge=3, le=50)
    """Words per n-gram for shorter questions."""
    short_cjk_ngram: int = Field(default=10, ge=3, le=50)
    """Characters per n-gram for shorter Chinese questions."""
    threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    """Containment, above 0 and up to 1, from which a record is dropped."""
    answer_threshold: float | None = Field(default=0.5, gt=0.0, le=1.0)
    """`contamination_answer` from which a record is dropped although its `contamination` is lower: a stem such as
    "which of these is true" with the very answer, but without the options; null: never by its answer."""


class Decontaminate(Stage):
    """See the module docstring. Drops: `contaminated`."""

    name: ClassVar[str] = "decontaminate"
    version: ClassVar[int] = 4
    Config: ClassVar[type[StageConfig]] = DecontaminateConfig
    assets: ClassVar[tuple[str, ...]] = (BUILTIN,)
    config: DecontaminateConfig

    def steps(self) -> tuple[Step, ...]:
        """The index, then a verdict per record."""
        return (Gather("index", self._index), Map("decide", self._decide, takes="table"))

    def identity(self) -> dict[str, Any]:
        """Name, size and sampled hash of every benchmark file."""
        return {"benchmarks": [fingerprint(file) for file in _files(self.config)]}

    def check(self) -> None:
        """See `check` below."""
        check(self.config)

    def _index(self, kit: Kit) -> State:
        items = [item for source in _benchmarks(self.config) for item in source]
        items += _held_out(kit)
        return build(items, self.config)

    def _decide(self, table: pa.Table, kit: Kit) -> pa.Table:
        import numpy as np

        index = index_of(kit.state("index"), self.config)
        index.check_canaries()
        scores = {name: np.zeros(len(table)) for name in SCORES}
        drops = {}
        for row, found in index.find_in(table).items():
            for name, value in zip(SCORES, (found.score, found.stem, found.answer), strict=True):
                scores[name][row] = round(value, 6)
            if evidence := self._evidence(found):
                drops[row] = ("contaminated", evidence)
        return with_drops(with_scores(table, **scores), kit.entry, drops)

    def _evidence(self, found: Found) -> str:
        """Which item makes a record go, and by what; empty if none does."""
        if round(found.score, 6) >= self.config.threshold:
            return f"{found.name} score {found.score:.2f}"
        limit = self.config.answer_threshold
        if limit is not None and round(found.answer, 6) >= limit:
            return f"{found.answered} with its answer {found.answer:.2f}"
        return ""


def check(config: DecontaminateConfig) -> None:
    """Looks at every benchmark file and at the first item of each; for validation, before anything runs.

    Raises:
        UserError: no benchmark at all, a file that is missing, empty or of no known form.
    """
    for items in _benchmarks(config):
        next(iter(items))


def _files(config: DecontaminateConfig) -> list[InputFile]:
    """The benchmark files of the recipe; their names are the benchmarks' names, so they must differ.

    Raises:
        UserError: a missing file, an empty folder or glob, or two files of one name.
    """
    files: dict[str, InputFile] = {}
    for i, path in enumerate(config.benchmarks):
        key = f"decontaminate.benchmarks[{i}]"
        for file in expand(path, key):
            if file.name in files and files[file.name].path != file.path:
                raise UserError(
                    f"{key}: {path}: another benchmark is called {file.name!r} too; "
                    "rename one, or give the folder above both"
                )
            files[file.name] = file
    return list(files.values())


def _benchmarks(config: DecontaminateConfig) -> Iterator[Iterator[Item]]:
    """The items of each benchmark.

    Raises:
        UserError: no benchmark at all; also while iterating, see `_read`.
    """
    if not config.builtin and not config.benchmarks:
        raise UserError(
            "decontaminate.benchmarks: [] with builtin: false leaves nothing to compare with; "
            "list benchmark files or set builtin: true"
        )
    if config.builtin:
        path = Path(__file__).parent.parent / BUILTIN
        yield _read(InputFile("builtin.jsonl", str(path)))
    for file in _files(config):
        yield _read(file)


def _read(file: InputFile) -> Iterator[Item]:
    """Items of one file.

    Raises:
        UserError: a broken row, an item without question, or no item at all: a partial index is no index.
    """
    name = file.name.split(".")[0]
    found = False
    for number, raw in enumerate(readers.open(file.path), start=1):
        line = raw.line or number
        if isinstance(raw, readers.BadRow):
            raise UserError(
                f"{file.path}:{line}: benchmark row is broken ({raw.reason}: {raw.excerpt}); "
                "correct or remove it, a partial index would let items through"
            )
        if not words(raw.question):
            raise UserError(
                f"{file.path}:{line}: benchmark item has no question; give it a `question` column"
            )
        found = True
        yield Item(
            id=cast("str", getattr(raw, "id", "")) or f"{file.name}:{line}",
            benchmark=name,
            question=raw.question,
            choices=raw.choices,
            answer=answer_text(raw.choices, raw.answer),
        )
    if not found:
        raise UserError(
            f"{file.path}: the benchmark has no items; remove it from decontaminate.benchmarks or fill it"
        )


def _held_out(kit: Kit) -> list[Item]:
    """The probe's held-out records as items of a benchmark named `heldout`."""
    columns = ["id", "question", "choices", "answer", "passage", "dropped"]
    items = []
    for _, table in kit.read_dropped("heldout", columns):
        for row in table.to_pylist():
            if row["dropped"]["reason"] != "held_out":
                continue
            choices = row["choices"] or []
            items.append(
                Item(
                    id=row["id"],
                    benchmark="heldout",
                    question=row["question"] or row["passage"] or "",
                    choices=choices,
                    answer=answer_text(choices, row["answer"] or ""),
                )
            )
    return [item for item in items if words(item.question)]
