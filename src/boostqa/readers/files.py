"""Opening files: compression, line and size limits, text encodings. The only place that touches storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from boostqa.errors import UserError
from boostqa.text.surrogates import joined

MAX_LINE = 16 * 2**20
"""Bytes of a line, row or JSON element; a longer one is a bad row and is never held in memory."""
MAX_DOCUMENT = 64 * 2**20
"""Bytes, after unpacking, of a file that has to be read whole (Markdown, HTML, text, PDF)."""

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK = 2**20


@dataclass
class Place:
    """Where reading a file can begin again: the last such place at or before the next item.

    A reader begins there and moves it on as it goes. The beginning of the file for formats that can only be
    read from there (whole documents, and JSON arrays).
    """

    items: int = 0
    """Items before it; a reader that begins here yields the item of this number (from 0) first."""
    line: int = 0
    """Lines before it; in Parquet row groups."""
    byte: int = 0
    """Offset in the unpacked file; 0 where the format needs none."""


class DamagedError(Exception):
    """The rest of a compressed file cannot be unpacked; becomes a bad row, never leaves the package."""


class Guarded:
    """A binary stream whose unpacking errors are `DamagedError`."""

    def __init__(self, stream: IO[bytes], errors: tuple[type[Exception], ...]) -> None:
        self._stream, self._errors = stream, errors

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all for -1."""
        try:
            return self._stream.read(size)
        except self._errors as error:
            raise DamagedError(str(error)) from error

    def readline(self, size: int = -1) -> bytes:
        """Up to the next line's end, at most `size` bytes."""
        try:
            return self._stream.readline(size)
        except self._errors as error:
            raise DamagedError(str(error)) from error

    def tell(self) -> int:
        """Offset in the unpacked stream, in bytes."""
        return self._stream.tell()

    def seek(self, offset: int) -> None:
        """Goes to an offset; a compressed stream is unpacked up to there, but not read."""
        try:
            self._stream.seek(offset)
        except self._errors as error:
            raise DamagedError(str(error)) from error

    def close(self) -> None:
        """Closes the stream."""
        self._stream.close()

    def __enter__(self) -> Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_bytes(path: str) -> Guarded:
    """The file's bytes, unpacked when they are gzip, bzip2 or zstd (told by content).

    Raises:
        UserError: if there is no such file or it may not be read.
    """
    import zlib

    stream = _open(path)
    first = stream.read(4)
    stream.seek(0)
    kind = next((name for magic, name in _MAGIC.items() if first.startswith(magic)), None)
    errors: tuple[type[Exception], ...] = (EOFError, OSError, zlib.error)
    if kind == "gzip":
        import gzip

        return Guarded(cast("IO[bytes]", gzip.GzipFile(fileobj=stream, mode="rb")), errors)
    if kind == "bz2":
        import bz2

        return Guarded(cast("IO[bytes]", bz2.BZ2File(stream, "rb")), errors)
    if kind == "zstd":
        from backports import zstd

        return Guarded(cast("IO[bytes]", zstd.ZstdFile(stream, "rb")), (*errors, zstd.ZstdError))
    return Guarded(stream, ())


def _open(path: str) -> IO[bytes]:
    import fsspec

    try:
        return cast("IO[bytes]", fsspec.open(path, "rb").open())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path in the recipe") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder; name the files in it, such as {path}/*.jsonl") from error
    except PermissionError as error:
        raise UserError(f"{path}: may not be read; check its permissions") from error
    except (ValueError, ImportError) as error:
        raise UserError(f"{path}: cannot be opened ({error}); give a local path") from error


def head(path: str, size: int = 65536) -> bytes:
    """The first bytes of a file after unpacking; fewer where it is damaged."""
    with open_bytes(path) as stream:
        try:
            return stream.read(size)
        except DamagedError:
            return b""


def lines(stream: Guarded, number: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """(1-based number, line without its end); None in place of a line longer than MAX_LINE.

    `number` is that of the line before the stream's position.

    Raises:
        DamagedError: where a compressed stream breaks off; the lines before it have been yielded.
    """
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
            yield number, None
        else:
            yield number, line.rstrip(b"\r\n")


def read_whole(path: str) -> bytes | None:
    """The whole file after unpacking, or None if it is larger than MAX_DOCUMENT.

    Raises:
        DamagedError: if it cannot be unpacked to its end.
    """
    with open_bytes(path) as stream:
        data = stream.read(MAX_DOCUMENT + 1)
    return None if len(data) > MAX_DOCUMENT else data


def decode(data: bytes) -> str:
    """Text of a document: UTF-8, UTF-16 with a mark, GB 18030 if that gives Chinese, else Windows-1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("gb18030")
        if sum("\u4e00" <= char <= "\u9fff" for char in text) > 0.2 * len(text):
            return text
    except UnicodeDecodeError:
        pass
    # One bad byte must not turn a UTF-8 document into another alphabet.
    text = data.decode("utf-8", "replace")
    return text if text.count("\ufffd") < max(2, len(text) // 200) else data.decode("cp1252", "replace")


def excerpt(value: Any) -> str:
    """Beginning of a bad row for its report, at most 200 characters."""
    text = value[:800].decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = joined(" ".join(text[:400].split()))
    return text if len(text) <= 200 else text[:199] + "…"
