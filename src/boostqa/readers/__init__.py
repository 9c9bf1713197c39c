"""Readers: one function per input format, each a stream of `Raw` items and `BadRow`s with flat memory.

Formats are told by content first and by ending second. A reader of rows gets a stream, one of documents the
bytes of a whole file, one of containers a function that reads what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from boostqa.errors import UserError
from boostqa.readers.files import Limits, Place, Stream, UnreadableError, excerpt, open_stream
from boostqa.readers.formats import DOCUMENTS, FORMATS, ROWS, format_by_name, format_of
from boostqa.readers.items import ODD_INPUT, BadRow, Columns, Raw, check_columns

__all__ = ["FORMATS", "ROWS", "BadRow", "Columns", "Limits", "Place", "Raw", "open", "sniff"]

_MEMBERS = ("zip", "tar")


def sniff(path: str) -> str | None:
    """The format of a file, one of FORMATS, by its first bytes and then its ending; None if it is not known.

    Raises:
        UserError: if the file cannot be opened.
    """
    with open_stream(path) as stream:
        return format_of(stream)


def open(  # noqa: A001  (read as `readers.open`)
    path: str,
    format: str | None = None,  # noqa: A002
    columns: Columns | None = None,
    place: Place | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Iterator[Raw | BadRow]:
    """Items of one file, in order; a file without any is the one bad row `empty_file`.

    `columns` maps our names to the file's: {"question": "prompt", "choices": ["A", "B", "C"], ...}; what it
    does not name is looked for under its usual names (`items.USUAL`). Only tables and JSON have columns.
    `place` says where to begin and is moved on with the items, for formats of which a part can be read.
    `format` is that of the members where the file is an archive.

    A file that cannot be read to its end is a bad row, too: `damaged_file`, `expands_too_much`,
    `file_too_large`, `unknown_format`, `password_protected`, ...

    Raises:
        UserError: at once for a missing file or an unknown format or key in `columns`; on the first item for
            a missing extra or a column that the file does not have.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"{path}: format: {format!r} is not known; use one of {', '.join(FORMATS)}")
    check_columns(path, columns)
    return _file(open_stream(path, limits), format, columns, place or Place())


def _file(stream: Stream, form: str | None, columns: Columns | None, place: Place) -> Iterator[Raw | BadRow]:
    with stream:
        found = False
        for item in _items(stream, form, columns, place):
            found = True
            yield item
        if not found:
            yield BadRow(line=0, reason="empty_file", excerpt=stream.name.rpartition("/")[2])


def _items(
    stream: Stream, form: str | None, columns: Columns | None, place: Place, inside: bool = False
) -> Iterator[Raw | BadRow]:
    """Items of a stream that may be an archive's member; what cannot be read ends it with a bad row."""
    try:
        if not stream.data.peek(1):
            return
        found = format_of(stream)
        if found == "html" and form is None and format_by_name(stream.name) in ROWS:
            what = "an HTML page under the name of a table, such as a server's error message"
            raise UnreadableError("html_not_rows", what)
        if found not in _MEMBERS:
            found = form or found
        if found in _MEMBERS and inside:
            raise UnreadableError("nested_archive", "an archive in an archive; unpack it first")
        yield from _by_format(stream, found, (form, columns, place))
    except UnreadableError as error:
        yield BadRow(line=_next_line(place), reason=error.args[0], excerpt=error.args[1])
    except ODD_INPUT as error:
        what = excerpt(f"{type(error).__name__}: {error}")
        yield BadRow(line=_next_line(place), reason="damaged_file", excerpt=what)


def _next_line(place: Place) -> int:
    return place.line + 1 if place.line else 0


def _by_format(
    stream: Stream, found: str | None, how: tuple[str | None, Columns | None, Place]
) -> Iterator[Raw | BadRow]:
    from boostqa.readers import archives, jsonl, tables, warc

    form, columns, place = how
    if found is None:
        ending = format_by_name(stream.name)
        what = f"it does not begin as {ending} does; " if ending else ""
        raise UnreadableError(
            "unknown_format", f"{what}if it is one of {', '.join(FORMATS)}, say so with `format:`"
        )
    if found in _MEMBERS:
        read = partial(_items, form=form, columns=columns, place=place, inside=True)
        members = archives.zip_members if found == "zip" else archives.tar_members
        yield from archives.read_members(members(stream), read, place, stream.limits)
    elif found == "warc":
        yield from warc.read_warc(stream, place)
    elif found in DOCUMENTS:
        yield from _document(found, stream.whole(), stream)
    else:
        rows: dict[str, Callable[[Stream, Columns | None, Place], Iterator[Raw | BadRow]]] = {
            "jsonl": jsonl.read_jsonl,
            "json": jsonl.read_json,
            "csv": tables.read_csv,
            "tsv": partial(tables.read_csv, delimiter="\t"),
            "parquet": tables.read_parquet,
            "arrow": tables.read_arrow,
        }
        yield from rows[found](stream, columns, place)


def _document(found: str, data: bytes, stream: Stream) -> Iterator[Raw | BadRow]:
    from boostqa.readers import docx, epub, html, markdown, pdf

    if found == "epub":
        return epub.read_epub(data, stream.limits)
    if found == "docx":
        return docx.read_docx(data, stream.limits)
    documents: dict[str, Callable[[bytes], Iterator[Raw | BadRow]]] = {
        "markdown": markdown.read_markdown,
        "text": markdown.read_markdown,
        "html": html.read_html,
        "pdf": pdf.read_pdf,
    }
    return documents[found](data)
