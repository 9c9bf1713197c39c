"""What the shards of a run say in sums: read column by column, one file at a time, so memory stays flat.

Works on a run of any state: what is not there yet is simply not counted. Knows nothing of pages or cards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostqa.pipeline import Part, entries, part_of
from boostqa.run import Run
from boostqa.shard import EntryFolder, get_json, read_parquet
from boostqa.table import tally as count_rows
from boostqa.view import entry_folder

if TYPE_CHECKING:
    import pyarrow as pa

NOT_KNOWN = "not labelled"
"""Stands for an absent label in every count."""
LABELS = ("discipline", "field", "level", "grade")
RELEASED = (
    *LABELS,
    "language",
    "question_type",
    "stem",
    "route",
    "strategy",
    "teacher",
    "refiner",
    "license",
)
"""Columns of the data set that are counted by value."""
FREE = ("seeds", "dedup", "decontaminate")
"""Entries of the head that ask no model; what is left after them is a seed."""
Pair = tuple[str, str]


@dataclass
class Seeds:
    """Labelled seeds, held-out ones included."""

    total: int = 0
    by: dict[str, Counter[str]] = field(default_factory=dict)
    """discipline, field, level, grade, language, source -> value -> seeds."""
    cells: Counter[Pair] = field(default_factory=Counter)
    """(discipline, level) -> seeds."""


@dataclass
class Items:
    """What the rounds made: verified (kept by verify) and accepted (kept by the whole round)."""

    verified_levels: Counter[Pair] = field(default_factory=Counter)
    """(requested level, obtained level) -> verified items."""
    meters: Counter[Pair] = field(default_factory=Counter)
    """(level by the rubric, level by solvers) -> verified items."""
    accepted_levels: Counter[Pair] = field(default_factory=Counter)
    accepted_cells: Counter[Pair] = field(default_factory=Counter)
    """(discipline, level) -> accepted items."""
    contamination: float | None = None
    """Largest contamination score among accepted items, 0..1."""
    answer_overlap: float | None = None
    """The same of `contamination_answer`."""


@dataclass
class Released:
    """The data set."""

    total: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    by: dict[str, Counter[str]] = field(default_factory=dict)
    """Column of `RELEASED` -> value -> items."""
    cells: Counter[Pair] = field(default_factory=Counter)
    evidence: Counter[str] = field(default_factory=Counter)
    """Kind of evidence (`solver` for `solver:<model>`) -> items that have it; an item may have several."""
    supports: Counter[str] = field(default_factory=Counter)
    """`1`, `2`, `3+` pieces of evidence -> items."""
    sources: Counter[str] = field(default_factory=Counter)
    """Seed source -> items made from its seeds; an item may stand on several."""
    tokens: int = 0
    bytes: int = 0
    """Size of the files on disk."""


def seeds_of(run: Run) -> Seeds:
    """Counts the labelled seeds of all heads."""
    found = Seeds(by={name: Counter() for name in (*LABELS, "language", "source")})
    columns = [*(f"labels.{name}" for name in LABELS), "language", "source.name"]
    for path in shards(run, "head", "annotate"):
        table = flat(path, columns)
        found.total += len(table)
        for name in LABELS:
            tally(found.by[name], table, f"labels.{name}")
        tally(found.by["language"], table, "language")
        tally(found.by["source"], table, "source.name")
        tally_pairs(found.cells, table, "labels.discipline", "labels.level")
    return found


def by_source(run: Run) -> list[dict[str, Any]]:
    """One row a source, by name: `source`, `records` read, `kept` so far, and `dropped` as {reason: records}.

    Of the reasons, over all of `FREE` that are done, the most frequent comes first.
    """
    kept: Counter[str] = Counter()
    stopped: Counter[str] = Counter()
    drops: Counter[Pair] = Counter()
    for path in shards(run, "head", FREE[0]):
        tally(kept, flat(path, ["source.name"]), "source.name")
    for stage in FREE:
        for path in shards(run, "head", stage, "dropped"):
            tally_pairs(drops, flat(path, ["source.name", "dropped.reason"]), "source.name", "dropped.reason")
        if stage == FREE[0]:
            for (name, _), count in drops.items():
                stopped[name] += count
    return [_row(name, kept[name], stopped[name], drops) for name in sorted({*kept, *stopped})]


def _row(name: str, passed: int, stopped: int, drops: Counter[Pair]) -> dict[str, Any]:
    """Of `passed` records that the first stage kept and `stopped` that it dropped, what became of them."""
    reasons = Counter({reason: count for (source, reason), count in drops.items() if source == name})
    return {
        "source": name,
        "records": passed + stopped,
        "kept": passed + stopped - reasons.total(),
        "dropped": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    }


def items_of(run: Run) -> Items:
    """Counts what the rounds verified and accepted."""
    import pyarrow.compute as pc

    found = Items()
    wish, got = "requested.level", "labels.level"
    for path in shards(run, "round", "verify"):
        meters = ("labels.level_rubric", "labels.level_measured")
        table = flat(path, [wish, got, *meters])
        tally_pairs(found.verified_levels, table, wish, got)
        tally_pairs(found.meters, table, *meters)
    for path in shards(run, "round", "decontaminate"):
        table = flat(path, [wish, got, "labels.discipline", "scores"])
        tally_pairs(found.accepted_levels, table, wish, got)
        tally_pairs(found.accepted_cells, table, "labels.discipline", got)
        for score, name in (("contamination", "contamination"), ("contamination_answer", "answer_overlap")):
            largest = pc.max(pc.map_lookup(table.column("scores"), score, "first")).as_py()
            if largest is not None:
                setattr(found, name, max(largest, getattr(found, name) or 0.0))
    return found


def released_of(run: Run) -> Released:
    """Counts the data set."""
    import pyarrow.compute as pc

    found = Released(by={name: Counter() for name in RELEASED})
    for path in release_files(run):
        table = read_parquet(path, [*RELEASED, "tokens", "evidence", "source"])
        found.total += len(table)
        found.splits[path.name.split("-")[0]] += len(table)
        found.bytes += path.stat().st_size
        found.tokens += pc.sum(table.column("tokens")).as_py() or 0
        for name in RELEASED:
            tally(found.by[name], table, name)
        tally_pairs(found.cells, table, "discipline", "level")
        for row in _counted([table.column("evidence")]):
            found.evidence.update({kind_of(name): row[-1] for name in row[0] or []})
            found.supports["3+" if len(row[0] or []) > 2 else str(len(row[0] or []))] += row[-1]
        for row in _counted([table.column("source")]):
            found.sources.update(dict.fromkeys(row[0] or [], row[-1]))
    return found


def kind_of(evidence: str) -> str:
    """`solver` of `solver:<model>`; `seed_answer` of itself."""
    return evidence.split(":", 1)[0]


def states(run: Run, part: Part, name: str, step: str) -> list[dict[str, Any]]:
    """States of a gather in all segments that have it, oldest first; without their tables."""
    paths = [folder.state(step) for folder in folders(run, part, name)]
    return [get_json(path) for path in paths if path.exists()]


def folders(run: Run, part: Part, name: str) -> Iterator[EntryFolder]:
    """Folders of one entry in all segments of its part, oldest first."""
    entry = next(entry for entry in entries(part) if entry.name == name)
    for segment in [*(segment["name"] for segment in run.segments), "release"]:
        if part_of(segment) == part:
            yield entry_folder(run, segment, entry)


def shards(run: Run, part: Part, name: str, half: str = "kept") -> Iterator[Path]:
    """Committed files of one entry in all segments of its part, oldest first."""
    for folder in folders(run, part, name):
        for shard in sorted(folder.done("kept")):
            yield folder.path / half / f"{shard}.parquet"


def release_files(run: Run) -> list[Path]:
    """Files of the data set, once it is complete: a half-written one is none."""
    folder = run.root / "dataset"
    return sorted((folder / "data").glob("[!.]*.parquet")) if (folder / "manifest.json").exists() else []


def flat(path: Path, columns: list[str]) -> pa.Table:
    """Some columns of a file; `labels.level` is the column of that member of the struct."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_parquet(path, columns)
    found = {}
    for name in columns:
        first, *rest = name.split(".")
        found[name] = pc.struct_field(table.column(first), rest) if rest else table.column(first)
    return pa.table(found)


def tally(into: Counter[str], table: pa.Table, name: str) -> None:
    """Adds the number of rows per value of a column."""
    for value, count in _counted([table.column(name)]):
        into[value or NOT_KNOWN] += count


def tally_pairs(into: Counter[Pair], table: pa.Table, left: str, right: str) -> None:
    """Adds the number of rows per pair of values of two columns."""
    for one, other, count in _counted([table.column(left), table.column(right)]):
        into[one or NOT_KNOWN, other or NOT_KNOWN] += count


def _counted(columns: list[Any]) -> Iterator[tuple[Any, ...]]:
    """(value, ..., rows) for every distinct row of some columns; lists count as values."""
    import pyarrow as pa

    if pa.types.is_list(columns[0].type):
        lists = Counter(tuple(value or ()) for value in columns[0].to_pylist())
        yield from lists.items()
        return
    names = [str(i) for i in range(len(columns))]
    for values, rows in count_rows(pa.table(dict(zip(names, columns, strict=True))), *names).items():
        yield (*values, rows)
