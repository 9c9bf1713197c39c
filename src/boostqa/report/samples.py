"""Which items a report shows: chosen by hash, never by taste, and spread over fields and drop reasons.

Ids are hashes, so the smallest ids of a group are a random sample of it, the same at every look. Nothing that was
taken down is shown.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from boostqa.pipeline import Part, entries
from boostqa.record import Record
from boostqa.report.facts import flat, release_files, shards
from boostqa.run import Run
from boostqa.shard import read_parquet
from boostqa.table import from_table, unrevoked

_REASONS = 200
"""Groups (stage, reason) for which an example is kept; reasons are few, this only guards memory."""


@dataclass(frozen=True)
class Example:
    """A dropped record that stands for all that were dropped at one place for one reason."""

    part: Part
    entry: str
    reason: str
    record: Record


def accepted_samples(run: Run, wanted: int) -> list[Record]:
    """Up to `wanted` released records (accepted ones while there is no release), in turns over the fields."""
    groups: dict[str, list[str]] = defaultdict(list)
    files = release_files(run)
    name = "field" if files else "labels.field"
    for path in files or shards(run, "round", "decontaminate"):
        table = unrevoked(flat(path, ["id", "parents", name]), run.revoked)
        columns = (table.column(column).to_pylist() for column in ("id", name))
        for identifier, group in zip(*columns, strict=True):
            best = groups[group or ""]
            if len(best) < wanted or identifier < best[-1]:
                insort(best, identifier)
                del best[wanted:]
    chosen = in_turns(groups, wanted)
    found = _records(shards(run, "round", "decontaminate"), chosen)
    return [found[identifier] for identifier in chosen if identifier in found]


def drop_examples(run: Run) -> list[Example]:
    """One dropped record per place in the pipeline and reason."""
    best: dict[tuple[Part, str, str], tuple[str, Path]] = {}
    parts: tuple[Part, ...] = ("head", "round", "release")
    for part in parts:
        for entry in entries(part):
            for path in shards(run, part, entry.name, "dropped"):
                for reason, identifier in _smallest(path, run.revoked):
                    key = part, entry.name, reason
                    if (key in best or len(best) < _REASONS) and (identifier, path) < best.get(
                        key, ("~", path)
                    ):
                        best[key] = identifier, path
    wanted: dict[Path, list[str]] = defaultdict(list)
    for identifier, path in best.values():
        wanted[path].append(identifier)
    found = {path: _records([path], ids) for path, ids in wanted.items()}
    return [
        Example(part=part, entry=entry, reason=reason, record=found[path][identifier])
        for (part, entry, reason), (identifier, path) in best.items()
    ]


@dataclass
class Taken:
    """What the items of one benchmark took out."""

    count: int = 0
    by_answer: int = 0
    """Those of them that went by their answer and not by their question."""
    answer: float = 0.0
    """Their largest `contamination_answer`, 0..1."""
    examples: list[Record] = field(default_factory=list)


def contaminated(run: Run, part: Part, benchmarks: Collection[str], wanted: int) -> dict[str, Taken]:
    """Benchmark -> what its items took out, with up to `wanted` examples, those of the smallest ids.

    Evidence begins with the benchmark's name; the longest that fits counts.
    """
    names = sorted(benchmarks, key=len, reverse=True)
    taken: dict[str, Taken] = defaultdict(Taken)
    best: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in shards(run, part, "decontaminate", "dropped"):
        columns = ["id", "parents", "dropped.reason", "dropped.evidence", "scores"]
        table = unrevoked(flat(path, columns), run.revoked).drop_columns("parents")
        for row in table.to_pylist(maps_as_pydicts="strict"):
            if row["dropped.reason"] != "contaminated":
                continue
            evidence = row["dropped.evidence"] or ""
            name = next(
                (name for name in names if evidence.startswith(f"{name} ")), evidence.partition(" ")[0]
            )
            one = taken[name]
            one.count += 1
            one.by_answer += " with its answer " in evidence
            one.answer = max(one.answer, row["scores"].get("contamination_answer", 0.0))
            best[name] = sorted([*best[name], (row["id"], path)])[:wanted]
    chosen = [one for group in best.values() for one in group]
    found = _records({path for _, path in chosen}, [identifier for identifier, _ in chosen])
    for name, one in taken.items():
        one.examples = [found[identifier] for identifier, _ in best[name]]
    return dict(taken)


def in_turns(groups: dict[str, list[str]], wanted: int) -> list[str]:
    """One of each group, then another of each, until there are enough; groups by their first member."""
    rows = sorted(groups.values())
    turns = max(map(len, rows), default=0)
    return [row[turn] for turn in range(turns) for row in rows if turn < len(row)][:wanted]


def _smallest(path: Path, revoked: Collection[str]) -> Iterable[tuple[str, str]]:
    """(reason, smallest id) of a file of dropped records, without those that were taken down."""
    table = unrevoked(flat(path, ["id", "parents", "dropped.reason"]), revoked)
    rows = table.group_by("dropped.reason").aggregate([("id", "min")])
    return [(row["dropped.reason"], row["id_min"]) for row in rows.to_pylist()]


def _records(paths: Iterable[Path], ids: list[str]) -> dict[str, Record]:
    """The records of some ids, found in the files; a file is read whole only where one of them is in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(ids, pa.string())
    found: dict[str, Record] = {}
    for path in paths:
        mask = pc.is_in(read_parquet(path, ["id"]).column("id"), value_set=wanted)
        if pc.any(mask).as_py():
            found |= {record.id: record for record in from_table(read_parquet(path).filter(mask))}
    return found
