"""Shards on disk: how they are committed, what an entry's folder holds, and how fates are checked.

The file system is the only truth about progress. A shard is done when its output file exists; an entry is
done when its manifest exists, written last. Commits are put-if-absent (temporary file, fsync, link, fsync of
the folder): the loser of a race throws its copy away. Nothing here knows of stages' logic, models or order.

    <entry folder>/kept/part-00000.parquet     records that go on; its existence means that the shard is done
                   dropped/part-00000.parquet  records that ended here, each with reason and evidence
                   state/<step>/...            rows of steps in between; state/<step>.json of gathers
                   manifest.json               counts, reasons, fingerprint; written last
"""

from __future__ import annotations

import errno
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.errors import ContractError, StorageStop, UserError
from boostqa.record import Record
from boostqa.table import compression, from_table, record_schema, schema_of, to_table

if TYPE_CHECKING:
    import pyarrow as pa

COUNTS = "boostqa.counts"
GROUPS = "boostqa.groups"
STORAGE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
}
"""What a full, broken or forbidden disk says."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns a full or unwritable disk into `StorageStop`.

    Raises:
        StorageStop: naming the file, the system's reason, and that the run can be resumed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in STORAGE_ERRORS:
            raise StorageStop(
                f"{path}: cannot write ({error.strerror}); free space or fix permissions, then run the same command"
            ) from error
        raise


def put(path: Path, data: bytes, *, replace: bool = False) -> bool:
    """Writes `path` whole or not at all, durable when it returns; False when it existed and `replace` is off."""
    if not replace and path.exists():
        return False
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
            _sync_folder(path.parent)
            return True
        finally:
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes temporary files that killed processes left below `folder`."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_json(path: Path, value: Any, *, replace: bool = True) -> bool:
    """`put` of readable JSON with sorted keys."""
    data = msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1)
    return put(path, data + b"\n", replace=replace)


def get_json(path: Path) -> Any:
    """Reads what `put_json` wrote.

    Raises:
        UserError: when the file is not JSON: it was edited or comes from elsewhere.
    """
    try:
        return msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise UserError(
            f"{path}: not readable as JSON ({error}); restore it or start a new run folder"
        ) from error


def parquet_bytes(table: pa.Table, level: int = 1) -> bytes:
    """A Parquet file of a table, by zstd at `level`; equal tables give equal bytes.

    Work tables are read once or twice, and level 1 without dictionaries is written three times as fast as level 3.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, use_dictionary=level > 1, **compression(table.schema, level))
    return bytes(sink.getvalue())


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file, without scanning its folder."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read(columns=columns)


class Counts(msgspec.Struct, kw_only=True):
    """What became of the records of a shard or entry: inputs + born = kept + dropped + spent."""

    inputs: int = 0
    born: int = 0
    kept: int = 0
    dropped: int = 0
    spent: int = 0
    reasons: dict[str, int] = {}
    """Drop reason -> number of records."""

    def __add__(self, other: Counts) -> Counts:
        reasons = Counter(self.reasons)
        reasons.update(other.reasons)
        return Counts(
            inputs=self.inputs + other.inputs,
            born=self.born + other.born,
            kept=self.kept + other.kept,
            dropped=self.dropped + other.dropped,
            spent=self.spent + other.spent,
            reasons=dict(sorted(reasons.items())),
        )

    def check(self, where: str) -> Counts:
        """Returns itself if the sum holds.

        Raises:
            ContractError: with all five numbers, if records were lost or doubled.
        """
        if self.inputs + self.born != self.kept + self.dropped + self.spent:
            raise ContractError(f"{where}: fates do not add up: {msgspec.to_builtins(self)}")
        return self


def fates(inputs: Iterable[tuple[str, str]], outputs: list[Record], where: str) -> Counts:
    """Derives every record's fate from the (id, kind) of the inputs and what came out.

    Raises:
        ContractError: an id twice in the output, or an input that vanished (only a task with children may).
    """
    pairs = list(inputs)
    kinds = dict(pairs)
    if len(kinds) != len(pairs):
        double = next(i for i, n in Counter(i for i, _ in pairs).items() if n > 1)
        raise ContractError(f"{where}: record {double} went in twice")
    seen = {record.id for record in outputs}
    if len(seen) != len(outputs):
        double = next(i for i, n in Counter(r.id for r in outputs).items() if n > 1)
        raise ContractError(f"{where}: record {double} came out twice")
    parents = {parent for record in outputs if record.id not in kinds for parent in record.parents}
    spent = 0
    for identifier, kind in kinds.items():
        if identifier in seen:
            continue
        if kind != "task" or identifier not in parents:
            raise ContractError(f"{where}: {kind} {identifier} went in and has no fate")
        spent += 1
    dropped = [record for record in outputs if record.dropped is not None]
    reasons = Counter(record.dropped.reason for record in outputs if record.dropped is not None)
    return Counts(
        inputs=len(kinds),
        born=len(seen - kinds.keys()),
        kept=len(outputs) - len(dropped),
        dropped=len(dropped),
        spent=spent,
        reasons=dict(sorted(reasons.items())),
    ).check(where)


class EntryFolder:
    """Folder of one pipeline entry in one segment: its shards, rows, states and manifest."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def kept(self, shard: str) -> Path:
        """File of kept records; its existence means that the shard is done."""
        return self.path / "kept" / f"{shard}.parquet"

    def dropped(self, shard: str) -> Path:
        """File of dropped records of the shard."""
        return self.path / "dropped" / f"{shard}.parquet"

    def rows(self, step: str, shard: str) -> Path:
        """File of a step in between."""
        return self.path / "state" / step / f"{shard}.parquet"

    def state(self, step: str) -> Path:
        """File of a gather."""
        return self.path / "state" / f"{step}.json"

    @property
    def manifest_path(self) -> Path:
        """Written last; its existence means that the entry is done."""
        return self.path / "manifest.json"

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None while the entry is not done."""
        return get_json(self.manifest_path) if self.manifest_path.exists() else None

    def done(self, folder: str) -> set[str]:
        """Names of the shards committed in `kept` or `state/<step>`."""
        path = self.path / folder
        if not path.is_dir():
            return set()
        return {p.stem for p in path.iterdir() if p.suffix == ".parquet" and not p.name.startswith(".")}

    def commit_records(self, shard: str, inputs: Iterable[tuple[str, str]], outputs: list[Record]) -> Counts:
        """Checks the fates and commits kept and dropped records of one shard.

        Raises:
            ContractError: see `fates`.
            StorageStop: disk full or not writable.
        """
        counts = fates(inputs, outputs, f"{self.path.name}/{shard}")
        kept = to_table(record for record in outputs if record.dropped is None)
        self.commit_tables(shard, counts, kept, to_table(r for r in outputs if r.dropped is not None))
        return counts

    def commit_tables(self, shard: str, counts: Counts, kept: pa.Table, dropped: pa.Table) -> None:
        """Commits kept and dropped records that were counted already."""
        metadata = {**record_schema().metadata, COUNTS: msgspec.json.encode(counts, order="sorted")}
        # Kept goes last and only once: its existence is what "done" means.
        for path, table in ((self.dropped(shard), dropped), (self.kept(shard), kept)):
            data = parquet_bytes(table.cast(record_schema()).replace_schema_metadata(metadata))
            put(path, data, replace=table is dropped)

    def counts(self, shard: str) -> Counts:
        """Counts of a committed shard, from its file's footer."""
        import pyarrow.parquet as pq

        metadata = pq.read_schema(self.kept(shard)).metadata
        return msgspec.json.decode(metadata[COUNTS.encode()], type=Counts)

    def commit_rows(self, step: str, shard: str, rows: Any, columns: Mapping[str, str]) -> None:
        """Commits rows (a table or dicts) of a step in between under the step's schema."""
        put(self.rows(step, shard), parquet_bytes(rows_table(rows, columns)))

    def commit_split(self, step: str, shard: str, rows: pa.Table, key: str, partitions: int) -> None:
        """Commits rows split by `key` modulo `partitions`, one row group a partition."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts = (rows.column(key).to_numpy() % partitions).astype("uint16")
        order = parts.argsort(kind="stable")
        rows, bounds = rows.take(pa.array(order)), parts[order].searchsorted(range(partitions + 1)).tolist()
        sink, groups = pa.BufferOutputStream(), []
        # Hashes do not become smaller by packing.
        with pq.ParquetWriter(sink, rows.schema, compression="none", use_dictionary=False) as writer:
            for partition, (start, end) in enumerate(pairwise(bounds)):
                if start < end:
                    writer.write_table(rows.slice(start, end - start), row_group_size=end - start)
                    groups.append(partition)
            writer.add_key_value_metadata({GROUPS: msgspec.json.encode(groups).decode()})
        put(self.rows(f"{step}.split", shard), sink.getvalue().to_pybytes())

    def read_split(self, step: str, shards: Iterable[str], partition: int) -> pa.Table:
        """All rows of one partition, in the order of the shards."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = []
        for shard in shards:
            file = pq.ParquetFile(self.rows(f"{step}.split", shard))
            groups = msgspec.json.decode(file.metadata.metadata[GROUPS.encode()])
            chosen = [groups.index(partition)] if partition in groups else []
            tables.append(file.read_row_groups(chosen))
        return pa.concat_tables(tables)

    def commit_state(self, step: str, state: Mapping[str, Any]) -> None:
        """Commits a gather's state: JSON, with tables as Parquet files beside it."""
        import pyarrow as pa

        plain = {}
        for key, value in state.items():
            if key == "files":
                for name, text in value.items():
                    put(self.path / name, text.encode(), replace=True)
            elif isinstance(value, pa.Table):
                put(self.path / "state" / f"{step}.{key}.parquet", parquet_bytes(value), replace=True)
                plain[key] = {"$table": f"{step}.{key}.parquet"}
            else:
                plain[key] = value
        put_json(self.state(step), plain, replace=False)

    def read_state(self, step: str) -> dict[str, Any]:
        """A gather's state with its tables."""
        state = get_json(self.state(step))
        for key, value in state.items():
            if isinstance(value, dict) and "$table" in value:
                state[key] = read_parquet(self.path / "state" / value["$table"])
        return dict(state)

    def rows_on_disk(self, shard: str) -> int:
        """Kept rows in the file's footer."""
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self.kept(shard)).num_rows)

    def commit_manifest(
        self, shards: list[str], identity: Mapping[str, Any], fingerprint: str, expected: int | None = None
    ) -> Counts:
        """Sums the shards' counts, checks them against the files, and writes the manifest.

        `expected` is the number of records that the entry before kept, where there is one.

        Raises:
            ContractError: counts that do not add up, or a dropped file that does not belong to its kept file.
        """
        import pyarrow.parquet as pq

        total = Counts()
        files = {}
        for shard in shards:
            counts = self.counts(shard)
            on_disk = self.rows_on_disk(shard), pq.read_metadata(self.dropped(shard)).num_rows
            if on_disk != (counts.kept, counts.dropped):
                raise ContractError(
                    f"{self.path.name}/{shard}: {on_disk} kept and dropped rows on disk, "
                    f"but {(counts.kept, counts.dropped)} were counted"
                )
            files[shard] = {
                "kept": counts.kept,
                "dropped": counts.dropped,
                "bytes": self.kept(shard).stat().st_size,
            }
            total += counts
        if expected is not None and total.inputs != expected:
            raise ContractError(
                f"{self.path.name}: {expected} records were kept before, {total.inputs} came in"
            )
        manifest = {
            "fingerprint": fingerprint,
            "identity": identity,
            "counts": msgspec.to_builtins(total.check(self.path.name)),
            "shards": files,
        }
        # All shards are in, so what a killed process left half-written belongs to nobody.
        sweep(self.path)
        put_json(self.manifest_path, manifest, replace=False)
        return total


def rows_table(rows: Any, columns: Mapping[str, str]) -> pa.Table:
    """Rows (a table or an iterable of dicts) under the fixed schema of their step."""
    import pyarrow as pa

    schema = schema_of(columns)
    if isinstance(rows, pa.Table):
        return rows.select(schema.names).cast(schema)
    return pa.Table.from_pylist(list(rows), schema=schema)


def read_records(path: Path) -> list[Record]:
    """All records of one kept or dropped file."""
    return from_table(read_parquet(path))
