"""Reading ledgers: sidecars of closed files, the index by key, every entry for a person, sums for budgets.

A sidecar holds the keys of one file with their frames' offsets, and the sums of its lines. The index merges
all files that exist when a run starts (its own and those of `--reuse`) into one sorted file that every
worker maps into memory: a look-up touches about 25 of its pages, however many keys there are.
Both are derived: deleting them loses nothing. Reading works while a run is writing, too: a torn tail is
where it stops.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from boostqa.errors import StorageStop
from boostqa.llm.budget import Amount
from boostqa.llm.frames import SUFFIX, FrameCache, read_frames
from boostqa.llm.lines import Line, LineSum, Totals

_PLACE = struct.Struct("<IQ")
_OFFSET = struct.Struct("<Q")
_KEY = 16
_decoder = msgspec.json.Decoder(Line)
_sum_decoder = msgspec.json.Decoder(LineSum)


def storage_stop(error: OSError, path: Path) -> StorageStop:
    """The stop for an `OSError` at `path`, with place, cause and remedy."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        remedy = "free some space and run the same command again"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        remedy = "make it readable and writable and run the same command again"
    else:
        remedy = "see to the disk and run the same command again"
    return StorageStop(f"{path}: cannot read or write the ledger: {error.strerror or error}; {remedy}")


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turns an `OSError` into a `StorageStop` that names the file in question, `path` where none is known."""
    try:
        yield
    except OSError as error:
        raise storage_stop(error, Path(error.filename or path)) from error


class _SidecarHead(msgspec.Struct):
    size: int
    """Length of the ledger file in bytes, all whole frames."""
    keys: int
    totals: dict[str, Totals]
    """By name of the model in the recipe."""


class Sidecar(msgspec.Struct):
    """Keys and sums of one ledger file."""

    keys: list[tuple[bytes, int]]
    """Key (16 bytes) and offset of its frame; the first answer to a key only."""
    totals: dict[str, Totals]


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a ledger file lies."""
    return path.with_name(path.name + ".idx")


def write_sidecar(path: Path, size: int, keys: list[tuple[str, int]], totals: dict[str, Totals]) -> None:
    """Write the sidecar of the closed ledger file `path`, whole or not at all.

    Raises:
        StorageStop: when the disk is full or not writable.
    """
    first: dict[bytes, int] = {}
    for key, offset in keys:
        first.setdefault(bytes.fromhex(key), offset)
    head = msgspec.json.encode(_SidecarHead(size=size, keys=len(first), totals=totals))
    body = b"".join(key + _OFFSET.pack(offset) for key, offset in sorted(first.items()))
    temp = path.with_name(f"{path.name}.idx.{os.getpid()}.tmp")
    with storage(temp):
        temp.write_bytes(head + b"\n" + body)
        os.replace(temp, sidecar_path(path))


def finish_file(
    fd: int, path: Path, size: int, keys: list[tuple[str, int]], totals: dict[str, Totals]
) -> None:
    """Sync and close the ledger file `path`, whose descriptor is `fd`, and its folder, and write the sidecar."""
    os.fsync(fd)
    os.close(fd)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    write_sidecar(path, size, keys, totals)


def read_sidecar(path: Path, *, with_keys: bool = True) -> Sidecar | None:
    """The sidecar of ledger file `path`; None where it is absent or does not fit the file."""
    try:
        with sidecar_path(path).open("rb") as file:
            head = msgspec.json.decode(file.readline(), type=_SidecarHead)
            body = file.read() if with_keys else b""
        size = path.stat().st_size
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    step = _KEY + _OFFSET.size
    if head.size != size or (with_keys and len(body) != head.keys * step):
        return None
    keys = [
        (body[at : at + _KEY], _OFFSET.unpack_from(body, at + _KEY)[0]) for at in range(0, len(body), step)
    ]
    return Sidecar(keys=keys, totals=head.totals)


def scan(path: Path) -> Sidecar:
    """Keys and sums read from the ledger file itself."""
    keys: dict[bytes, int] = {}
    totals: dict[str, Totals] = {}
    for offset, lines in read_frames(path):
        for data in lines:
            line = _sum_decoder.decode(data)
            totals.setdefault(line.name, Totals()).add(line)
            if not line.err:
                keys.setdefault(bytes.fromhex(line.k), offset)
    return Sidecar(keys=list(keys.items()), totals=totals)


def build_index(target: Path, files: Iterable[Path]) -> Index:
    """Merge the keys of `files` into a sorted index at `target` (replaced whole) and open it.

    Where two files answer the same key, the earlier in `files` counts. Files without a usable sidecar (a
    killed attempt, a run in progress) are scanned.

    Raises:
        StorageStop: when a file cannot be read, or the index cannot be written.
    """
    with storage(target):
        return _build_index(target, files)


def _build_index(target: Path, files: Iterable[Path]) -> Index:
    paths: list[str] = []
    keys: list[bytes] = []
    offsets: list[list[int]] = []
    for path in files:
        side = read_sidecar(path) or scan(path)
        if side.keys:
            keys.append(b"".join(key for key, _ in side.keys))
            offsets.append([offset for _, offset in side.keys])
            paths.append(str(path.resolve()))
    # A first start has nothing to merge and need not load numpy for it.
    sorted_keys, places = _merge(keys, offsets) if paths else (b"", b"")
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    with temp.open("wb") as file:
        file.write(msgspec.json.encode({"keys": len(sorted_keys) // _KEY, "files": paths}) + b"\n")
        file.write(sorted_keys)
        file.write(places)
    os.replace(temp, target)
    return Index(target)


def _merge(keys: list[bytes], offsets: list[list[int]]) -> tuple[bytes, bytes]:
    """Keys in order and their places, from the keys and offsets of each file; the first of equal keys stays."""
    import numpy as np

    places: list[np.ndarray] = []
    for number, found in enumerate(offsets):
        place = np.empty(len(found), dtype=np.dtype([("file", "<u4"), ("offset", "<u8")]))
        place["file"] = number
        place["offset"] = found
        places.append(place)
    all_keys = np.frombuffer(b"".join(keys), dtype="S16")
    order = np.argsort(all_keys, kind="stable")
    sorted_keys = all_keys[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = sorted_keys[1:] != sorted_keys[:-1]
    return sorted_keys[first].tobytes(), np.concatenate(places)[order][first].tobytes()


class _Keys:
    """The sorted keys of a mapped index as a sequence, for `bisect`."""

    def __init__(self, data: mmap.mmap, start: int, count: int) -> None:
        self._data, self._start, self._count = data, start, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> bytes:
        at = self._start + i * _KEY
        return self._data[at : at + _KEY]


class Index:
    """Read access to what `build_index` wrote; every process opens its own.

    Raises:
        FileNotFoundError: when there is no index at `path`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            head = msgspec.json.decode(file.readline())
            start = file.tell()
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._files = [Path(name) for name in head["files"]]
        self._keys = _Keys(self._data, start, head["keys"])
        self._places = start + head["keys"] * _KEY
        self._cache = FrameCache()

    def __len__(self) -> int:
        return len(self._keys)

    def lookup(self, key: str) -> Line | None:
        """The recorded answer to `key` (32 hexadecimal digits), or None."""
        wanted = bytes.fromhex(key)
        at = bisect_left(self._keys, wanted)
        if at == len(self._keys) or self._keys[at] != wanted:
            return None
        number, offset = _PLACE.unpack_from(self._data, self._places + at * _PLACE.size)
        data = self._cache.line(self._files[number], offset, key)
        return None if data is None else _decoder.decode(data)

    def close(self) -> None:
        """Unmap the file."""
        self._data.close()


def lines_of(path: Path) -> Iterator[Line]:
    """All lines of one ledger file, errors included."""
    for _, lines in read_frames(path):
        for data in lines:
            yield _decoder.decode(data)


def ledger_files(run_dir: Path) -> list[Path]:
    """The ledger files of a run, sorted by path, so by segment, entry, step, shard and attempt."""
    return sorted((run_dir / "ledger").glob("*/*/*/*.[0-9]*" + SUFFIX))


def split_name(path: Path) -> tuple[str, int]:
    """Shard and number of the attempt from the name of a ledger file."""
    shard, _, attempt = path.name.removesuffix(SUFFIX).rpartition(".")
    return shard, int(attempt)


def entries(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Every line of the ledger as plain data, with `segment`, `entry`, `step` and `shard` added."""
    for path in ledger_files(run_dir):
        segment, entry, step = path.parts[-4:-1]
        shard, attempt = split_name(path)
        place = {"segment": segment, "entry": entry, "step": step, "shard": shard, "attempt": attempt}
        for line in lines_of(path):
            yield place | msgspec.to_builtins(line)


def totals(run_dir: Path) -> dict[tuple[str, str, str], Totals]:
    """Sums per (segment, entry, name of the model in the recipe) over all attempts."""
    result: dict[tuple[str, str, str], Totals] = {}
    for path in ledger_files(run_dir):
        segment, entry = path.parts[-4:-2]
        side = read_sidecar(path, with_keys=False) or scan(path)
        for name, part in side.totals.items():
            result.setdefault((segment, entry, name), Totals()).merge(part)
    return result


def spent(run_dir: Path) -> Amount:
    """What the run was charged on its budgets so far, call by call the same as in the session that paid."""
    amount = Amount()
    for part in totals(run_dir).values():
        amount += Amount(money=part.used_money, tokens=part.used_tokens, requests=part.requests)
    return amount


def index_run(run_dir: Path, reuse: list[Path] | None = None) -> Index:
    """Index all answers that `run_dir` and the runs in `reuse` have paid for.

    Call it when no process writes to `run_dir`: attempts that were killed get their sidecar here, so that
    the next start need not scan them again. Workers open the result with `Index(index_path(run_dir))`.

    Raises:
        StorageStop: when the disk is full, not readable or not writable.
    """
    own = ledger_files(run_dir)
    for path in own:
        with storage(path):
            if read_sidecar(path, with_keys=False) is None:
                side = scan(path)
                # The size of the whole file, torn tail included: the file will not change any more.
                keys = [(key.hex(), offset) for key, offset in side.keys]
                write_sidecar(path, path.stat().st_size, keys, side.totals)
    others = [path for run in reuse or [] for path in ledger_files(run)]
    return build_index(index_path(run_dir), [*own, *others])


def index_path(run_dir: Path) -> Path:
    """Where a run keeps its index."""
    return run_dir / "ledger" / "index.bin"
