"""Bytes of files: compression told by content, limits on lines, sizes and expansion, text encodings.

Knows nothing of formats. What breaks limits or cannot be unpacked is an `UnreadableError`, which
`readers.open` turns into a bad row.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from boostqa.inputs import open_file
from boostqa.text.surrogates import joined

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK = 2**20
_BUFFER = 2**18
HEAD = 2**16
"""Bytes of a file by which its format is told."""


@dataclass(frozen=True)
class Limits:
    """How large things may be before they are named and left out; all in bytes but `ratio`."""

    line: int = 16 * 2**20
    """A line, row or JSON element; a longer one is never held in memory."""
    document: int = 64 * 2**20
    """A file or member that has to be read whole, after unpacking: text, Markdown, HTML, PDF, EPUB, DOCX."""
    ratio: int = 300
    """Bytes after unpacking for each packed one, beyond the first `document` bytes."""


@dataclass
class Place:
    """Where reading a file can begin again: the last such place at or before the next item.

    A reader begins there and moves it on as it goes. The beginning of the file for formats that can only be
    read from there (whole documents, and JSON arrays).
    """

    items: int = 0
    """Items before it; a reader that begins here yields the item of this number (from 0) first."""
    line: int = 0
    """Lines before it; in Parquet row groups, in Arrow batches, in WARC records."""
    byte: int = 0
    """Offset in the unpacked file, in WARC in the packed one; 0 where the format needs none."""
    member: int = 0
    """Members before it, in a zip or tar file."""


class UnreadableError(Exception):
    """Why the rest of a file cannot be read: `args` are a reason and an excerpt. Never leaves the package."""


class _Source(io.RawIOBase):
    """A binary stream as `io.BufferedReader` wants it, with its errors named and its expansion limited."""

    def __init__(
        self, stream: IO[bytes], limits: Limits, packed: io.BufferedReader[Any] | None = None
    ) -> None:
        self._stream, self._limits, self._packed = stream, limits, packed
        self._read = getattr(stream, "read1", stream.read)
        self._position, self._broken = 0, ""
        self.moved = False
        """Whether somebody else has read from the stream since, who went to another place in it."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    @property
    def lendable(self) -> bool:
        """Whether one can go anywhere in the stream."""
        return self._stream.seekable()

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as the stream goes; what came before a broken place is delivered first."""
        filled = 0
        while filled < len(buffer) and not self._broken:
            part = self._part(len(buffer) - filled)
            if not part:
                break
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        if self._broken and not filled:
            reason, _, excerpt = self._broken.partition(":")
            raise UnreadableError(reason, excerpt)
        self._position += filled
        return filled

    def lend(self) -> IO[bytes]:
        """The stream itself, at its beginning."""
        self.moved = True
        self._stream.seek(0)
        return self._stream

    def _part(self, size: int) -> bytes:
        if self._packed is not None:
            limits = self._limits
            allowed = limits.document + limits.ratio * self._packed.tell()
            if self._position > allowed:
                self._broken = f"expands_too_much:more than {limits.ratio} times its packed size"
                return b""
        try:
            if self.moved:
                self._stream.seek(self._position)
                self.moved = False
            return cast("bytes", self._read(size))
        except UnreadableError as error:
            self._broken = ":".join(error.args)
        except _unpacking_errors() as error:
            self._broken = f"damaged_file:{excerpt(error)}"
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Forward by reading; backward, where the stream can, by going to its beginning."""
        if whence != 0:
            raise io.UnsupportedOperation("seek from elsewhere than the start")
        if offset < self._position:
            self._position, self._broken = self._stream.seek(0), ""
        elif self._packed is None and self._stream.seekable():
            self._position = self._stream.seek(offset)
        scratch = bytearray(_CHUNK)
        while self._position < offset:
            if not self.readinto(memoryview(scratch)[: min(_CHUNK, offset - self._position)]):
                break
        return self._position

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _unpacking_errors() -> tuple[type[Exception], ...]:
    import tarfile
    import zipfile
    import zlib

    from backports import zstd

    return EOFError, OSError, zlib.error, zstd.ZstdError, zipfile.BadZipFile, tarfile.TarError


class Stream:
    """The bytes of a file, or of an archive's member, after unpacking, read from front to end."""

    def __init__(self, name: str, stream: IO[bytes], limits: Limits = Limits()) -> None:
        self.name, self.limits = name, limits
        self._copy: tempfile.SpooledTemporaryFile[bytes] | None = None
        self.packed: io.BufferedReader[Any] = io.BufferedReader(_Source(stream, limits), _BUFFER)
        """The bytes as they are stored."""
        self.data = self.packed
        kind = next((kind for magic, kind in _MAGIC.items() if self._first(4).startswith(magic)), None)
        self.packing = kind
        """gzip, bz2 or zstd; None for bytes that are not packed."""
        if kind is not None:
            self.data = io.BufferedReader(_Source(_unpacker(kind, self.packed), limits, self.packed), _BUFFER)

    def _first(self, size: int) -> bytes:
        try:
            return self.data.peek(size)[:size]
        except UnreadableError:
            return b""

    def head(self) -> bytes:
        """The first bytes, at most `HEAD`, without moving on; fewer where the file is damaged."""
        return self._first(HEAD)

    def lines(self, number: int = 0, blank: bool = True) -> Iterator[tuple[int, bytes | None]]:
        """(1-based number, line without its end); None in place of a line longer than `limits.line`.

        `number` is that of the line before the stream's position. Without `blank`, empty lines are passed over
        many at a time, as a bomb may be made of nothing else.

        Raises:
            UnreadableError: where a compressed stream breaks off (the lines before it have been yielded), and
                where lines end as they did on old computers.
        """
        limit = self.limits.line
        start = self.head()
        if start.count(b"\r") > 1 and b"\n" not in start:
            raise UnreadableError(
                "odd_line_ends", "lines end in carriage returns alone; save it with line feeds"
            )
        while line := self.data.readline(limit + 1):
            number += 1
            if not blank and line == b"\n":
                ahead = self.data.peek()
                empty = len(ahead) - len(ahead.lstrip(b"\n"))
                number += len(self.data.read(empty))
            elif len(line) > limit:
                while line and not line.endswith(b"\n"):
                    line = self.data.readline(_CHUNK)
                yield number, None
            else:
                yield number, line.rstrip(b"\r\n")

    def whole(self) -> bytes:
        """All bytes from here on.

        Raises:
            UnreadableError: `file_too_large` for more than `limits.document`, or why it cannot be unpacked.
        """
        data = self.data.read(self.limits.document + 1)
        if len(data) > self.limits.document:
            raise UnreadableError("file_too_large", f"more than {self.limits.document} bytes; split the file")
        return data

    def seekable(self, stored: bool = False) -> IO[bytes]:
        """The unpacked bytes as a file in which one can go anywhere; a copy on disk where need be.

        With `stored`, the bytes as they are stored. Closed with the stream.
        """
        source = self.packed.raw
        if (stored or self.data is self.packed) and isinstance(source, _Source) and source.lendable:
            return source.lend()
        self._copy = tempfile.SpooledTemporaryFile(max_size=self.limits.document)  # noqa: SIM115
        data = self.packed if stored else self.data
        data.seek(0)
        while part := data.read(_CHUNK):
            self._copy.write(part)
        self._copy.seek(0)
        return cast("IO[bytes]", self._copy)

    def close(self) -> None:
        """Closes the file."""
        self.data.close()
        self.packed.close()
        if self._copy is not None:
            self._copy.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unpacker(kind: str, packed: io.BufferedReader[Any]) -> IO[bytes]:
    if kind == "gzip":
        import gzip

        return cast("IO[bytes]", gzip.GzipFile(fileobj=packed, mode="rb"))
    if kind == "bz2":
        import bz2

        return cast("IO[bytes]", bz2.BZ2File(packed, "rb"))
    from backports import zstd

    return cast("IO[bytes]", zstd.ZstdFile(packed, "rb"))


def open_stream(path: str, limits: Limits = Limits()) -> Stream:
    """The bytes of a local file or an fsspec URL, unpacked when they are gzip, bzip2 or zstd.

    Raises:
        UserError: if there is no such file or it may not be read.
    """
    return Stream(path, open_file(path), limits)


_HAN = re.compile("[\u4e00-\u9fff]")


def is_utf16(start: bytes) -> bool:
    """Whether bytes are UTF-16: by their mark, or as every second one of plain text is zero."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    halves = start[:64:2], start[1:64:2]
    return len(start) >= 8 and any(halves[0]) != any(halves[1])


def refuse_utf16(stream: Stream) -> None:
    """Raises `UnreadableError` where rows that are read line by line are in UTF-16."""
    if is_utf16(stream.head()):
        raise UnreadableError("other_encoding", "UTF-16; save the file as UTF-8")


def encoding_of(sample: bytes) -> str:
    """Name of the encoding that most lines with non-ASCII bytes of a sample are in.

    UTF-8, or UTF-16 with a mark, or GB 18030 if that gives Chinese, else Windows-1252.
    """
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if sample.isascii():
        return "utf-8"
    good, bad = 0, []
    # A sample may end inside a character.
    for line in sample.split(b"\n")[: -1 if b"\n" in sample else None]:
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            good += 1
        except UnicodeDecodeError:
            bad.append(line)
    if good >= len(bad):
        return "utf-8"
    text = b"\n".join(bad).decode("gb18030", "replace")
    return (
        "gb18030"
        if len(_HAN.findall(text)) > 0.2 * len(text) and text.count("\ufffd") <= len(text) / 200
        else "cp1252"
    )


def decode(data: bytes) -> str:
    """Text of a document in its `encoding_of`; bytes that are in another become U+FFFD."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode(encoding_of(data), "replace")
    # A single line with one bad byte must not turn into another alphabet.
    mended = data.decode("utf-8-sig", "replace")
    return mended if mended.count("\ufffd") < max(2, len(mended) // 200) else text


def excerpt(value: Any) -> str:
    """Beginning of a bad row for its report, at most 200 characters."""
    text = value[:800].decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = joined(" ".join(text[:400].split()))
    return text if len(text) <= 200 else text[:199] + "…"
