"""The run's index: every key that it, and the runs of `--reuse`, have an answer to, with the place of the answer.

    index.bin    head | records sorted by key: key 16 bytes, number of the file 4, offset of its frame 8 | files as JSON

Merged from the sidecars of all ledger files when a run starts and mapped into memory by every worker: a look-up touches
about 25 pages, however many keys there are. "Never pay twice" rests on it, so its head holds a checksum of all the
rest, which every start compares before it takes the file of the last one. Derived: deleting it loses nothing, and one
that is damaged, cut short or of another version is made anew.

Memory: who has it open holds some 300 bytes for each ledger file. To make it takes sorted runs on disk, some 50 MB and
8 kB for each 262,144 keys (16 MB at 500 million); beyond 500 million the stretches that are merged at a time grow, too.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import xxhash

from boostqa.errors import StorageStop
from boostqa.llm.frames import FrameCache
from boostqa.llm.ledger_files import (
    ledger_files,
    read_keys,
    read_sidecar,
    scan,
    storage,
    write_sidecar,
)
from boostqa.llm.lines import Line

if TYPE_CHECKING:
    import numpy as np

_HEAD = struct.Struct("<8sQQQ")
"""Magic, XXH3 of all that follows the head, number of records, where the list of files begins."""
_MAGIC = b"bqindex3"
_PLACE = struct.Struct("<IQ")
_KEY = 16
_STEP = _KEY + _PLACE.size
AT_ONCE = 1 << 18
"""Keys in memory at a time while an index is made, at most 2^32: about 20 MB with what sorting needs."""
_PARTS = 2048
"""Parts of equal width of all possible keys; as many of the next parts as have `AT_ONCE` keys, and at least one, are
merged at a time."""
_CHUNK = 1 << 20
_decoder = msgspec.json.Decoder(Line)


class _File(msgspec.Struct, frozen=True, array_like=True):
    path: str
    size: int
    """Bytes, by which a file that has changed is known."""


class _Records:
    """The sorted keys of a mapped index as a sequence, for `bisect`."""

    def __init__(self, data: mmap.mmap, count: int) -> None:
        self._data, self._count = data, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> bytes:
        at = _HEAD.size + i * _STEP
        return self._data[at : at + _KEY]


class Index:
    """Read access to what `build_index` wrote and has checked; every process opens its own.

    Raises:
        StorageStop: when the file is absent, cannot be read, or is no whole index of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage(path), path.open("rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or not head.startswith(_MAGIC):
                raise self._damaged()
            _, digest, count, names = _HEAD.unpack(head)
            if names != _HEAD.size + count * _STEP:
                raise self._damaged()
            try:
                file.seek(names)
                self.files = msgspec.json.decode(file.read(), type=list[_File])
            except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError) as error:
                raise self._damaged() from error
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._digest: int = digest
        self._keys = _Records(self._data, count)
        self._cache = FrameCache()

    def __len__(self) -> int:
        return len(self._keys)

    def _find(self, key: str) -> int | None:
        wanted = bytes.fromhex(key)
        at = bisect_left(self._keys, wanted)
        return at if at < len(self._keys) and self._keys[at] == wanted else None

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def _damaged(self) -> StorageStop:
        return StorageStop(
            f"{self._path}: damaged or of another version; run the same command again, which makes it anew"
        )

    def is_whole(self) -> bool:
        """Whether every byte is as it was written; reads the whole file."""
        with storage(self._path), self._path.open("rb") as file:
            return _digest_of(file) == self._digest

    def lookup(self, key: str) -> Line | None:
        """The recorded answer to `key` (32 hexadecimal digits), or None.

        Raises:
            StorageStop: when the index was damaged since the start that checked it.
        """
        at = self._find(key)
        if at is None:
            return None
        number, offset = _PLACE.unpack_from(self._data, _HEAD.size + at * _STEP + _KEY)
        if number >= len(self.files) or offset >= self.files[number].size:
            raise self._damaged()
        data = self._cache.line(Path(self.files[number].path), offset, key)
        return None if data is None else _decoder.decode(data)

    def close(self) -> None:
        """Unmap the file."""
        self._data.close()


def build_index(target: Path, files: Iterable[Path]) -> Index:
    """Merge the keys of `files` into a sorted index at `target` (replaced whole) and open it.

    Where two files answer the same key, the earlier in `files` counts. Files without a usable sidecar (a
    killed attempt, a run in progress) are scanned. A whole index of just these files is left as it is.

    Raises:
        StorageStop: when a file cannot be read, or the index cannot be written.
    """
    with storage(target):
        listed = [_File(str(path.resolve()), path.stat().st_size) for path in files]
        try:
            known = Index(target)
            if known.files == listed and known.is_whole():
                return known
            known.close()
        except StorageStop:  # there is none that can be used
            pass
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        with temp.open("w+b") as file:
            file.seek(_HEAD.size)
            count = _merge_all(file, listed)
            names = file.tell()
            file.write(msgspec.json.encode(listed))
            digest = _digest_of(file)
            file.seek(0)
            file.write(_HEAD.pack(_MAGIC, digest, count, names))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, target)
        return Index(target)


def _digest_of(file: BinaryIO) -> int:
    """XXH3 of what follows the head: 14 GB, the index of 500 million answers, in seconds."""
    state = xxhash.xxh3_64()
    file.seek(_HEAD.size)
    while part := file.read(_CHUNK):
        state.update(part)
    return state.intdigest()


def _merge_all(out: BinaryIO, files: list[_File]) -> int:
    """Write the records of all files in order, the first of equal keys only; returns how many."""
    blocks = _blocks(files)
    first = next(blocks, None)
    if first is None:  # a first start has nothing to merge and need not load numpy for it
        return 0
    with tempfile.TemporaryFile(prefix="boostqa-index-", dir=Path(out.name).parent) as scratch:
        # All runs but the last have `AT_ONCE` records, so where each part of each begins needs four bytes.
        bounds = [_sorted_run(scratch, first), *(_sorted_run(scratch, block) for block in blocks)]
        return sum(_merged(scratch, bounds, span, out) for span in _spans(bounds))


def _dtype() -> Any:
    import numpy as np

    return np.dtype([("high", ">u8"), ("low", ">u8"), ("file", "<u4"), ("offset", "<u8")])


def _blocks(files: list[_File]) -> Iterator[np.ndarray]:
    """The records of all files in turn, `AT_ONCE` at a time."""
    waiting: list[np.ndarray] = []
    count = 0
    for number, file in enumerate(files):
        keys = read_keys(Path(file.path))
        while keys:
            taken = keys[: (AT_ONCE - count) * (_KEY + 8)]
            keys = keys[len(taken) :]
            waiting.append(_records(taken, number))
            count += len(waiting[-1])
            if count == AT_ONCE:
                yield _joined(waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _records(keys: bytes, number: int) -> np.ndarray:
    import numpy as np

    found = np.frombuffer(keys, dtype=np.dtype([("high", ">u8"), ("low", ">u8"), ("offset", "<u8")]))
    records = np.empty(len(found), dtype=_dtype())
    records["high"], records["low"], records["offset"] = found["high"], found["low"], found["offset"]
    records["file"] = number
    return records


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    import numpy as np

    # Into an array of ours: left to itself it would turn the order of the bytes.
    return np.concatenate(parts, out=np.empty(sum(map(len, parts)), dtype=_dtype()))


def _in_order(records: np.ndarray) -> np.ndarray:
    """By key; of equal keys the earlier record stays the earlier."""
    import numpy as np

    return records[np.lexsort((records["low"].astype(np.uint64), records["high"].astype(np.uint64)))]


def _sorted_run(scratch: BinaryIO, block: np.ndarray) -> np.ndarray:
    """Write one run; returns which of its records is the first of each part of the keys, and how many there are."""
    import numpy as np

    block = _in_order(block)
    scratch.write(block.tobytes())
    scratch.flush()  # it is read behind the back of the buffer
    limits = np.arange(1, _PARTS, dtype=np.uint64) << np.uint64(64 - _PARTS.bit_length() + 1)
    places = np.searchsorted(block["high"].astype(np.uint64), limits)
    return np.array([0, *places, len(block)], dtype=np.uint32)


def _spans(bounds: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """(first part, behind the last) of stretches of keys that have at most `AT_ONCE` records or one part, in order."""
    import numpy as np

    sizes = np.zeros(_PARTS, dtype=np.int64)
    for run in bounds:
        sizes += np.diff(run)
    start, size = 0, 0
    for part, here in enumerate(sizes.tolist()):
        if size and size + here > AT_ONCE:
            yield start, part
            start, size = part, 0
        size += here
    yield start, _PARTS


def _merged(scratch: BinaryIO, bounds: list[np.ndarray], span: tuple[int, int], out: BinaryIO) -> int:
    """Write one stretch of the keys from all runs; returns how many."""
    import numpy as np

    first, last = span
    handle = scratch.fileno()
    parts = []
    for number, run in enumerate(bounds):
        begin, end = int(run[first]), int(run[last])
        parts.append(os.pread(handle, (end - begin) * _STEP, (number * AT_ONCE + begin) * _STEP))
    records = _in_order(np.frombuffer(b"".join(parts), dtype=_dtype()))
    fresh = np.ones(len(records), dtype=bool)
    fresh[1:] = (records["high"][1:] != records["high"][:-1]) | (records["low"][1:] != records["low"][:-1])
    records = records[fresh]
    out.write(records.tobytes())
    return len(records)


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
            if read_sidecar(path) is None:
                side = scan(path)
                # The size of the whole file, torn tail included: the file will not change any more.
                write_sidecar(path, path.stat().st_size, side.keys, side.totals)
    others = [path for run in reuse or [] for path in ledger_files(run)]
    return build_index(index_path(run_dir), [*own, *others])


def index_path(run_dir: Path) -> Path:
    """Where a run keeps its index."""
    return run_dir / "ledger" / "index.bin"
