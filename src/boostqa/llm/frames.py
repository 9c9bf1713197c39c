"""Bytes of a ledger file: checksummed zstd frames, each behind a small skippable frame with its length.

    file    := frame*
    frame   := skippable{magic, 8, compressed length, number of lines}  zstd-1 with checksum{JSON lines}

Skippable frames are ignored by every zstd tool, so `zstd -dc FILE` prints the lines; the length lets a
reader find the end of a frame without decompressing it and see where a torn tail begins. Readers pass over
what is damaged. A file is never opened again for appending.
Knows nothing of what a line holds.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC = 0x184D2A50
_HEADER = struct.Struct("<IIII")
_MARK = struct.pack("<II", _MAGIC, 8)
_CHUNK = 1 << 20
_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}
_local = threading.local()
SUFFIX = ".jsonl.zst"
KEY_AT = len('{"k":"')
"""Where the key begins in a line; it is always the first field, 32 hexadecimal digits."""


def encode_frame(lines: Sequence[bytes]) -> bytes:
    """One frame of `lines` (JSON without line ends)."""
    # One compressor for all frames of a thread: setting one up costs as much as compressing a line or two.
    compressor = _local.__dict__.get("compressor")
    if compressor is None:
        compressor = _local.compressor = zstd.ZstdCompressor(options=_OPTIONS)
    body = compressor.compress(b"\n".join((*lines, b"")), zstd.ZstdCompressor.FLUSH_FRAME)
    return _HEADER.pack(_MAGIC, 8, len(body), len(lines)) + body


def _read(file: BinaryIO) -> list[bytes] | None:
    """The lines of the frame at the file's position; None at the end, and at a short or damaged frame."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, size, length, count = _HEADER.unpack(header)
    if magic != _MAGIC or size != 8:
        return None
    body = file.read(length)
    if len(body) < length:
        return None
    try:
        lines = zstd.decompress(body).split(b"\n")
    except zstd.ZstdError:
        return None
    lines.pop()
    return lines if len(lines) == count else None


class Stretch(NamedTuple):
    """A part of a ledger file: one whole frame, or bytes that hold none."""

    offset: int
    length: int
    """Bytes."""
    lines: list[bytes]
    """Of a whole frame; empty otherwise."""
    state: Literal["whole", "torn", "damaged"]
    """torn: the end of a file whose writer was killed, lost power, or is at work. damaged: anything else that
    cannot be read; the frames behind it can be."""


def survey(path: Path) -> Iterator[Stretch]:
    """The whole file, stretch by stretch, as long as it was when this began; memory holds one frame."""
    size = path.stat().st_size
    at = 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            lines = _read(file)
            if lines is not None:
                end = file.tell()
                yield Stretch(at, end - at, lines, "whole")
            else:
                end = _next_whole(file, at + 1, size)
                torn = end == size and _unfinished(file, at, size)
                yield Stretch(at, end - at, [], "torn" if torn else "damaged")
            at = end


def _unfinished(file: BinaryIO, at: int, size: int) -> bool:
    """Whether what begins at `at` is a frame of which the end is missing (or never reached the medium: zeros)."""
    file.seek(at)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return True
    magic, inner, length, _ = _HEADER.unpack(header)
    if (magic, inner) == (_MAGIC, 8):
        return bool(at + _HEADER.size + length > size)
    rest = iter(lambda: file.read(_CHUNK), b"")
    return not any(header) and not any(any(part) for part in rest)


def _next_whole(file: BinaryIO, start: int, size: int) -> int:
    """Where the next readable frame begins; `size` where there is none."""
    at = start
    while at < size:
        file.seek(at)
        part = file.read(_CHUNK)
        found = part.find(_MARK)
        if found < 0:
            at += max(1, len(part) - len(_MARK) + 1)
            continue
        file.seek(at + found)
        if _read(file) is not None:
            return at + found
        at += found + 1
    return size


def read_frames(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Offset and lines of each whole frame; passes quietly over what a kill or a bad disk left in between."""
    return ((part.offset, part.lines) for part in survey(path) if part.state == "whole")


class FrameCache:
    """Lines by key of frames read lately, bounded by bytes: replay goes in about the order of writing."""

    def __init__(self, max_bytes: int = 16 << 20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._frames: OrderedDict[tuple[Path, int], dict[bytes, bytes]] = OrderedDict()

    def line(self, path: Path, offset: int, key: str) -> bytes | None:
        """The first line with `key` in the frame at `offset`; None when the frame cannot be read."""
        place = (path, offset)
        lines = self._frames.get(place)
        if lines is None:
            lines = self._load(place)
        else:
            self._frames.move_to_end(place)
        return lines.get(key.encode())

    def _load(self, place: tuple[Path, int]) -> dict[bytes, bytes]:
        try:
            with place[0].open("rb") as file:
                file.seek(place[1], os.SEEK_SET)
                found = _read(file) or []
        except FileNotFoundError:
            found = []
        lines: dict[bytes, bytes] = {}
        for line in found:
            lines.setdefault(line[KEY_AT : KEY_AT + 32], line)
        self._frames[place] = lines
        self._bytes += sum(map(len, lines.values()))
        while self._bytes > self._max_bytes and len(self._frames) > 1:
            _, old = self._frames.popitem(last=False)
            self._bytes -= sum(map(len, old.values()))
        return lines
