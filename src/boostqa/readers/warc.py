"""WARC and WET: web pages as crawlers keep them, one record after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from boostqa.readers.files import Place, Stream, UnreadableError, excerpt
from boostqa.readers.html import read_html
from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import read_markdown
from boostqa.readers.pdf import read_pdf

_DOCUMENTS = {
    "text/html": read_html,
    "application/xhtml+xml": read_html,
    "text/plain": read_markdown,
    "text/markdown": read_markdown,
    "application/pdf": read_pdf,
}


def read_warc(stream: Stream, place: Place) -> Iterator[Raw | BadRow]:
    """Items of the pages of all responses, resources and conversions, `line` is the record's number.

    Bad rows: `http_status` (not 200), `unsupported_type`, `file_too_large`, and those of the pages.
    """
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    file = stream.seekable(stored=True)
    file.seek(place.byte)
    number, count = place.line, place.items
    try:
        for record in ArchiveIterator(file, record_types=wanted, auto_decode="all", fsspec_args=False):
            place.items, place.line, place.byte = count, number, record.stream_pos
            number += 1
            for item in _page(record, stream.limits.document):
                count += 1
                if isinstance(item, BadRow):
                    yield msgspec.structs.replace(item, line=number)
                else:
                    url = item.url or record.headers.get("WARC-Target-URI")
                    yield msgspec.structs.replace(item, line=number, url=url)
    except (OSError, ValueError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error


def _page(record: Any, limit: int) -> Iterator[Raw | BadRow]:
    address = excerpt(record.headers.get("WARC-Target-URI") or "")
    kind = record.headers.get("Content-Type") or ""
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
    found = False
    try:
        for item in read(data):
            found = True
            yield item
    except UnreadableError as error:
        found = True
        yield BadRow(line=0, reason=error.args[0], excerpt=error.args[1])
    if not found:
        yield BadRow(line=0, reason="empty_page", excerpt=address)
