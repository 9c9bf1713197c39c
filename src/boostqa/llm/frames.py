"""Bytes of a ledger file: checksummed zstd frames, each behind a small skippable frame with its length.

    file    := frame*
    frame   := skippable{magic, 8, compressed length, number of lines}  zstd-1 with checksum{JSON lines}

Skippable frames are ignored by every zstd tool, so `zstd -dc FILE` prints the lines; the length lets a
reader find the end of a frame without decompressing it and see where a torn tail begins. A file is never
opened again for appending: what follows a torn tail would be lost to readers that stop there.
Knows nothing of what a line holds.
"""

from __future__ import annotations

import os
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC = 0x184D2A50
_HEADER = struct.Struct("<IIII")
_OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}
SUFFIX = ".jsonl.zst"
KEY_AT = len('{"k":"')
"""Where the key begins in a line; it is always the first field, 32 hexadecimal digits."""


def encode_frame(lines: Sequence[bytes]) -> bytes:
    """One frame of `lines` (JSON without line ends)."""
    body = zstd.compress(b"\n".join(lines) + b"\n", options=_OPTIONS)
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


def read_frames(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Offset and lines of each whole frame; stops quietly where a kill tore the file."""
    with path.open("rb") as file:
        while True:
            offset = file.tell()
            lines = _read(file)
            if lines is None:
                return
            yield offset, lines


def whole_bytes(path: Path) -> int:
    """Length of the part of the file that consists of whole frames, in bytes."""
    end = 0
    with path.open("rb") as file:
        while _read(file) is not None:
            end = file.tell()
    return end


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
