"""Readers: one function per input format, each a stream of `Raw` items and `BadRow`s with flat memory.

Formats are told by content first and by ending second. Local paths for now; everything is opened through
fsspec, so that other file systems are a change in `files.py` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from boostqa.errors import UserError
from boostqa.readers.files import Place, head
from boostqa.readers.items import BadRow, Columns, Raw, check_columns

__all__ = ["FORMATS", "BadRow", "Columns", "Place", "Raw", "open", "sniff"]

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "markdown", "html", "pdf", "text")

_ENDINGS = {
    "jsonl": "jsonl", "ndjson": "jsonl", "json": "json", "csv": "csv", "tsv": "tsv", "tab": "tsv",
    "parquet": "parquet", "md": "markdown", "markdown": "markdown", "html": "html", "htm": "html",
    "xhtml": "html", "pdf": "pdf", "txt": "text", "text": "text",
}  # fmt: skip
_PACKED = re.compile(r"\.(?:gz|gzip|zst|zstd|bz2)$", re.IGNORECASE)
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)


def sniff(path: str) -> str:
    """The format of a file, one of FORMATS, by its first bytes and then its ending.

    Raises:
        UserError: if the file cannot be opened or its format is not known.
    """
    name = _PACKED.sub("", path.rstrip("/"))
    ending = _ENDINGS.get(name.rpartition(".")[2].lower()) if "." in name.rpartition("/")[2] else None
    start = head(path).removeprefix(b"\xef\xbb\xbf")
    if start.startswith(b"%PDF-"):
        return "pdf"
    if start.startswith(b"PAR1"):
        return "parquet"
    if _HTML.match(start):
        return "html"
    if ending in ("csv", "tsv", "markdown", "text", "html", "pdf", "parquet"):
        return ending
    if start.lstrip().startswith((b"{", b"[")):
        return _json_kind(start.lstrip())
    if ending is not None:
        return ending
    if b"\x00" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: format not known; name it with `format:`, one of {', '.join(FORMATS)}")
    return "text"


def _json_kind(start: bytes) -> str:
    """One object that closes on the first line, with more behind it, is JSON lines."""
    first, newline, rest = start.partition(b"\n")
    if start.startswith(b"["):
        return "json"
    if not newline:
        return "jsonl"
    return "jsonl" if first.rstrip().endswith(b"}") or rest.lstrip().startswith(b"{") else "json"


def open(  # noqa: A001  (read as `readers.open`)
    path: str,
    format: str | None = None,  # noqa: A002
    columns: Columns | None = None,
    place: Place | None = None,
) -> Iterator[Raw | BadRow]:
    """Items of one file, in order; a file without any is the one bad row `empty_file`.

    `columns` maps our names to the file's: {"question": "prompt", "choices": ["A", "B", "C"], ...}; what it
    does not name is looked for under its usual names (`items.USUAL`). Only tables and JSON have columns.
    `place` says where to begin and is moved on with the items, for formats of which a part can be read.

    Raises:
        UserError: at once for a missing file, an unknown format or an unknown key in `columns`; on the first
            item for a missing extra or a column that the file does not have.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"{path}: format: {format!r} is not known; use one of {', '.join(FORMATS)}")
    check_columns(path, columns)
    found = format or sniff(path)
    if format is not None:
        head(path, 1)
    return _items(path, _reader(found, columns, place))


def _reader(
    name: str, columns: Columns | None, place: Place | None
) -> Callable[[str], Iterator[Raw | BadRow]]:
    from boostqa.readers import html, jsonl, markdown, pdf, plain, tables

    readers: dict[str, Callable[[str], Iterator[Raw | BadRow]]] = {
        "jsonl": partial(jsonl.read_jsonl, columns=columns, place=place),
        "json": partial(jsonl.read_json, columns=columns),
        "csv": partial(tables.read_csv, columns=columns, place=place),
        "tsv": partial(tables.read_csv, columns=columns, delimiter="\t", place=place),
        "parquet": partial(tables.read_parquet, columns=columns, place=place),
        "markdown": markdown.read_markdown,
        "html": html.read_html,
        "pdf": pdf.read_pdf,
        "text": plain.read_text,
    }
    return readers[name]


def _items(path: str, reader: Callable[[str], Iterator[Raw | BadRow]]) -> Iterator[Raw | BadRow]:
    empty = not head(path, 1)
    found = False
    for item in () if empty else reader(path):
        found = True
        yield item
    if not found:
        yield BadRow(line=0, reason="empty_file", excerpt=path.rpartition("/")[2])
