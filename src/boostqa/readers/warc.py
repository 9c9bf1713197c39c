"""WARC and WET: web pages as crawlers keep them, one record after the other."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any

import msgspec

from boostqa.readers.files import Place, Stream, UnreadableError, excerpt
from boostqa.readers.html import read_html
from boostqa.readers.items import ODD_INPUT, BadRow, Raw
from boostqa.readers.markdown import read_markdown
from boostqa.readers.pdf import read_pdf

_DOCUMENTS = {
    "text/html": read_html,
    "application/xhtml+xml": read_html,
    "text/plain": read_markdown,
    "text/markdown": read_markdown,
    "application/pdf": read_pdf,
}


_STARTS = (b"WARC/", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")
"""What a record begins with where reading can begin: plain, or a gzip or zstd member of its own."""


def read_warc(stream: Stream, place: Place) -> Iterator[Raw | BadRow]:
    """Items of the pages of all responses, resources and conversions, `line` is the record's number.

    Bad rows: `http_status` (not 200), `unsupported_type`, `file_too_large`, and those of the pages.

    Raises:
        UnreadableError: `damaged_file` where it breaks off; of a record that is not whole nothing is kept.
    """
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = (WarcRecordType.response, WarcRecordType.resource, WarcRecordType.conversion)
    # What FastWARC cannot unpack (bzip2) it gets unpacked, the rest as it is stored: places are offsets in it.
    file = stream.seekable(stored=stream.packing != "bz2")
    file.seek(place.byte)
    number, count, start = place.line, place.items, place.byte
    try:
        for record in ArchiveIterator(file, parse_http=False, fsspec_args=False):
            _whole(record, stream.limits.document)
            if _starts(file, record.stream_pos):
                start = record.stream_pos
                if record.record_type in wanted:
                    place.items, place.line, place.byte = count, number, start
            if record.record_type not in wanted:
                continue
            number += 1
            for item in _items(record, stream.limits.document):
                count += 1
                if isinstance(item, BadRow):
                    yield msgspec.structs.replace(item, line=number)
                else:
                    url = item.url or record.headers.get("WARC-Target-URI")
                    yield msgspec.structs.replace(item, line=number, url=url)
    except (OSError, ValueError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error
    _check_end(file, start)


def _check_end(file: IO[bytes], start: int) -> None:
    """Raises `UnreadableError` where gzip members break off: FastWARC takes that for their end."""
    file.seek(start)
    if file.read(3) != _STARTS[1]:
        return
    file.seek(start)
    try:
        with gzip.GzipFile(fileobj=file) as rest:
            while rest.read(2**20):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error


def _whole(record: Any, limit: int) -> None:
    """Reads the record's body into memory, unless it is beyond the limit.

    Raises:
        UnreadableError: if the header or the body breaks off.
    """
    size = record.content_length
    if record.headers.get("Content-Length") is None:
        raise UnreadableError("damaged_file", "a record without its length; the file breaks off")
    if size <= limit:
        record.freeze()
        if record.content_length < size:
            what = f"a record of {size} bytes breaks off after {record.content_length}"
            raise UnreadableError("damaged_file", what)


def _with_http(message: bytes) -> Any:
    """A record of its own with an HTTP message: what cannot be unpacked in it stays out of the file's stream."""
    from fastwarc.warc import ArchiveIterator

    head = "WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http; msgtype=response\r\n"
    start = f"{head}Content-Length: {len(message)}\r\n\r\n".encode()
    return next(ArchiveIterator(BytesIO(start + message), auto_decode="all", fsspec_args=False))


def _starts(file: IO[bytes], position: int) -> bool:
    """Whether a record begins at this offset; it does not where many are packed as one."""
    here = file.tell()
    file.seek(position)
    start = file.read(5)
    file.seek(here)
    return start.startswith(_STARTS)


def _items(record: Any, limit: int) -> Iterator[Raw | BadRow]:
    """Items of a record's page; one that cannot be read is a bad row, and the records behind it are read."""
    found = False
    try:
        for item in _page(record, limit):
            found = True
            yield item
    except UnreadableError as error:
        found = True
        yield BadRow(line=0, reason=error.args[0], excerpt=error.args[1])
    except ODD_INPUT as error:
        found = True
        yield BadRow(line=0, reason="damaged_page", excerpt=excerpt(f"{type(error).__name__}: {error}"))
    if not found:
        address = excerpt(record.headers.get("WARC-Target-URI") or "")
        yield BadRow(line=0, reason="empty_page", excerpt=address)


def _page(record: Any, limit: int) -> Iterator[Raw | BadRow]:
    address = excerpt(record.headers.get("WARC-Target-URI") or "")
    kind = record.headers.get("Content-Type") or ""
    if record.content_length > limit:
        yield BadRow(line=0, reason="file_too_large", excerpt=f"more than {limit} bytes: {address}")
        return
    if record.is_http:
        record = _with_http(record.reader.read())
    if record.http_headers is not None:
        status = record.http_headers.status_code
        if status != 200:
            yield BadRow(line=0, reason="http_status", excerpt=f"{status} {address}")
            return
        kind = record.http_content_type or "text/html"
    read = _DOCUMENTS.get(kind.partition(";")[0].strip().lower())
    if read is None:
        yield BadRow(line=0, reason="unsupported_type", excerpt=f"{excerpt(kind)} {address}")
        return
    data = record.reader.read(limit + 1)
    if len(data) > limit:
        yield BadRow(line=0, reason="file_too_large", excerpt=f"more than {limit} bytes: {address}")
        return
    yield from read(data)
