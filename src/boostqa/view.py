"""What one task may read of the run: `stage.Shards` over the run folder and the order of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from boostqa.pipeline import PIPELINE, Entry, number, part_of
from boostqa.record import Record
from boostqa.run import Run
from boostqa.shard import EntryFolder, read_parquet
from boostqa.stage import State
from boostqa.table import from_table

if TYPE_CHECKING:
    import pyarrow as pa

INPUT = "input"
"""Reserved name among `reads`: the entry's own input in this segment."""


def entry_folder(run: Run, segment: str, entry: Entry) -> EntryFolder:
    """Folder of `entry` in `segment`."""
    return run.folder(segment, number(entry), entry.name)


def sources_of(entry: Entry, segment: str, segments: list[str], name: str) -> list[tuple[str, Entry]]:
    """The (segment, entry) pairs behind a logical name, oldest first: what stands before this place in the run."""
    if name == INPUT:
        return [(segment, other) for other in PIPELINE if other.ref == f"{entry.part}/{entry.input}"]
    refs = entry.reads[name]
    before = segments[: segments.index(segment)] if segment in segments else segments
    found = []
    for place in [*before, segment]:
        for other in PIPELINE:
            earlier = place != segment or number(other) < number(entry)
            if other.ref in refs and other.part == part_of(place) and earlier:
                found.append((place, other))
    return found


class View:
    """Read access of one entry in one segment."""

    def __init__(self, run: Run, entry: Entry, segment: str, segments: list[str]) -> None:
        self.run = run
        self.entry = entry
        self.segment = segment
        self.segments = segments
        self.folder = entry_folder(run, segment, entry)

    def _folders(self, name: str) -> list[EntryFolder]:
        pairs = sources_of(self.entry, self.segment, self.segments, name)
        return [entry_folder(self.run, segment, entry) for segment, entry in pairs]

    def input_folder(self) -> EntryFolder:
        """Folder of the entry whose kept records are this one's input."""
        return self._folders(INPUT)[0]

    def rows(self, step: str, shard: str, columns: list[str] | None) -> pa.Table:
        """Rows of an earlier step for one shard."""
        return read_parquet(self.folder.rows(step, shard), columns)

    def batches(self, step: str, columns: list[str] | None) -> Iterator[pa.Table]:
        """Rows of an earlier step, shard by shard."""
        return _rows(self.folder, step, columns)

    def state(self, step: str) -> State:
        """State of an earlier gather of this entry."""
        return cached_state(self.folder, step)

    def read_states(self, name: str, step: str) -> list[State]:
        """States of a gather of the entries behind `name`."""
        return [cached_state(folder, step) for folder in self._folders(name) if folder.state(step).exists()]

    def read_rows(self, name: str, step: str, columns: list[str] | None) -> Iterator[pa.Table]:
        """Rows of a step of the entries behind `name`."""
        for folder in self._folders(name):
            yield from _rows(folder, step, columns)

    def read_kept(self, name: str, columns: list[str] | None) -> Iterator[tuple[str, pa.Table]]:
        """Kept records behind `name` with their shard references."""
        return self._read(name, "kept", columns)

    def read_dropped(self, name: str, columns: list[str] | None) -> Iterator[tuple[str, pa.Table]]:
        """Dropped records behind `name` with their shard references."""
        return self._read(name, "dropped", columns)

    def _read(self, name: str, half: str, columns: list[str] | None) -> Iterator[tuple[str, pa.Table]]:
        for folder in self._folders(name):
            base = folder.path.relative_to(self.run.root)
            for shard in sorted(folder.done("kept")):
                yield f"{base}/{shard}", read_parquet(folder.path / half / f"{shard}.parquet", columns)

    def lookup(self, name: str, ids: Mapping[str, Iterable[str]]) -> dict[str, Record]:
        """Kept records by shard reference -> ids; `name` only says whose references these are."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = {}
        for ref, wanted in ids.items():
            base, shard = ref.rsplit("/", 1)
            table = read_parquet(EntryFolder(self.run.root / base).kept(shard))
            chosen = pa.array(sorted(wanted), pa.string())
            for record in from_table(table.filter(pc.is_in(table.column("id"), value_set=chosen))):
                found[record.id] = record
        return found

    def load(self, refs: Iterable[str]) -> list[Record]:
        """All kept records of the referenced shards."""
        return [record for path in self.paths(refs) for record in from_table(read_parquet(path))]

    def paths(self, refs: Iterable[str]) -> list[Path]:
        """Files behind shard references."""
        split = [ref.rsplit("/", 1) for ref in refs]
        return [EntryFolder(self.run.root / base).kept(shard) for base, shard in split]


def _rows(folder: EntryFolder, step: str, columns: list[str] | None) -> Iterator[pa.Table]:
    for shard in sorted(folder.done(f"state/{step}")):
        yield read_parquet(folder.rows(step, shard), columns)


def cached_state(folder: EntryFolder, step: str) -> State:
    """A gather's state; the latest few stay in memory, since every shard of a step reads the same one."""
    return dict(_state(folder.path, step, folder.state(step).stat().st_mtime_ns))


@lru_cache(maxsize=8)
def _state(path: Path, step: str, _changed: int) -> State:
    return EntryFolder(path).read_state(step)
