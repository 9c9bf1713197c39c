"""Reading ledgers: sidecars of closed files, every entry for a person, sums for budgets.

A sidecar holds the sums of one file's lines as a line of JSON, a line with the checksums of that and of the rest,
then the keys with their frames' offsets. It is derived: deleting it loses nothing, and where it is damaged (it is not
synced: a power cut may leave zeros) the file itself is read. Reading works while a run is writing, too: a torn tail is
where it stops.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from boostqa.errors import StorageStop
from boostqa.llm.budget import Amount
from boostqa.llm.frames import SUFFIX, read_frames
from boostqa.llm.lines import Line, LineSum, Totals

_OFFSET = struct.Struct("<Q")
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
    totals: dict[str, Totals]
    """By name of the model in the recipe."""


class Sums(msgspec.Struct):
    """What the lines of one ledger file come to."""

    totals: dict[str, Totals]
    """By name of the model in the recipe."""
    keys: list[tuple[bytes, int]] = []
    """Key (16 bytes) and offset of its frame; the first answer to a key only. Filled by `scan` alone."""


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a ledger file lies."""
    return path.with_name(path.name + ".idx")


def write_sidecar(path: Path, size: int, keys: list[tuple[bytes, int]], totals: dict[str, Totals]) -> None:
    """Write the sidecar of the closed ledger file `path`, whole or not at all.

    Raises:
        StorageStop: when the disk is full or not writable.
    """
    first: dict[bytes, int] = {}
    for key, offset in keys:
        first.setdefault(key, offset)
    head = msgspec.json.encode(_SidecarHead(size=size, totals=totals))
    body = b"".join(key + _OFFSET.pack(offset) for key, offset in sorted(first.items()))
    temp = path.with_name(f"{path.name}.idx.{os.getpid()}.tmp")
    with storage(temp):
        temp.write_bytes(b"%s\n%s%s\n%s" % (head, _check(head), _check(body), body))
        os.replace(temp, sidecar_path(path))


def _check(data: bytes) -> bytes:
    """Checksum, 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(data).encode()


def finish_file(
    fd: int, path: Path, size: int, keys: list[tuple[bytes, int]], totals: dict[str, Totals]
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


def _sidecar(path: Path, *, body: bool) -> tuple[_SidecarHead, bytes] | None:
    """Head and, if wanted, keys of a sidecar; None where it is absent or does not fit its file."""
    try:
        with sidecar_path(path).open("rb") as file:
            line, checks = file.readline()[:-1], file.readline()[:-1]
            keys = file.read() if body else b""
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    if _check(line) != checks[:16] or (body and _check(keys) != checks[16:]):
        return None
    try:
        head = msgspec.json.decode(line, type=_SidecarHead)
    except msgspec.DecodeError:  # of another version
        return None
    return (head, keys) if head.size == size else None


def read_sidecar(path: Path) -> Sums | None:
    """The sums of ledger file `path` from its sidecar; None where there is none or it does not fit the file."""
    found = _sidecar(path, body=False)
    return None if found is None else Sums(totals=found[0].totals)


def read_keys(path: Path) -> bytes:
    """Keys (16 bytes) and offsets of their frames (8 bytes), from the sidecar where there is one that fits."""
    found = _sidecar(path, body=True)
    if found is not None:
        return found[1]
    return b"".join(key + _OFFSET.pack(offset) for key, offset in scan(path).keys)


def scan(path: Path) -> Sums:
    """Keys and sums read from the ledger file itself."""
    keys: dict[bytes, int] = {}
    totals: dict[str, Totals] = {}
    for offset, lines in read_frames(path):
        for data in lines:
            line = _sum_decoder.decode(data)
            totals.setdefault(line.name, Totals()).add(line)
            if not line.err:
                keys.setdefault(bytes.fromhex(line.k), offset)
    return Sums(totals=totals, keys=list(keys.items()))


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
        side = read_sidecar(path) or scan(path)
        for name, part in side.totals.items():
            result.setdefault((segment, entry, name), Totals()).merge(part)
    return result


def spent(run_dir: Path) -> Amount:
    """What the run was charged on its budgets so far, call by call the same as in the session that paid."""
    amount = Amount()
    for part in totals(run_dir).values():
        amount += Amount(money=part.used_money, tokens=part.used_tokens, requests=part.requests)
    return amount
