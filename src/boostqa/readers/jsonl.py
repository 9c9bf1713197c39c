"""JSON lines and JSON: one object a line, an array of objects, or one object with a list of them inside."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from boostqa.readers.files import Place, Stream, UnreadableError, decode, excerpt, refuse_utf16
from boostqa.readers.items import BadRow, Columns, Raw, item

_CHUNK = 2**20
_LISTS = ("data", "rows", "examples", "items", "questions", "records", "train")


def read_jsonl(stream: Stream, columns: Columns | None, place: Place) -> Iterator[Raw | BadRow]:
    """One item per non-empty line, from `place` on.

    Bad lines: `malformed_json`, `null_bytes`, `other_encoding`, `not_an_object`, `line_too_long`.
    """
    refuse_utf16(stream)
    stream.data.seek(place.byte)
    for number, line in stream.lines(place.line, blank=False):
        if line is not None and not line.strip():
            continue
        place.items, place.line, place.byte = place.items + 1, number, stream.data.tell()
        if line is None:
            excess = f"more than {stream.limits.line} bytes"
            yield BadRow(line=number, reason="line_too_long", excerpt=excess)
        else:
            yield _line(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, number, columns)


def _line(line: bytes, number: int, columns: Columns | None) -> Raw | BadRow:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            # The standard library reads the NaN that pandas writes.
            row = json.loads(line, parse_constant=lambda _: None)
        except UnicodeDecodeError:
            return BadRow(line=number, reason="other_encoding", excerpt=excerpt(line))
        except (ValueError, RecursionError):
            reason = "null_bytes" if b"\x00" in line else "malformed_json"
            return BadRow(line=number, reason=reason, excerpt=excerpt(line.replace(b"\x00", b"")))
    return _row(row, number, columns)


def _row(row: Any, number: int, columns: Columns | None) -> Raw | BadRow:
    if not isinstance(row, dict):
        # What is in a list is not shown: it may be nested deeper than Python writes.
        what = f"a list of {len(row)}" if isinstance(row, list) else row
        return BadRow(line=number, reason="not_an_object", excerpt=excerpt(what))
    return item(row, number, columns)


def read_json(stream: Stream, columns: Columns | None, place: Place) -> Iterator[Raw | BadRow]:
    """Objects of an array (streamed), or of a list inside one object (read whole); `line` is their number.

    What turns out to be JSON lines, of which the first is longer than `HEAD`, is read as such.
    """
    refuse_utf16(stream)
    start = stream.head().removeprefix(codecs.BOM_UTF8).lstrip()
    rows = _elements(stream) if start.startswith(b"[") else _object(stream, b"\n" not in start)
    if place.byte or rows is None:
        yield from read_jsonl(stream, columns, place)
        return
    for number, row in enumerate(rows, 1):
        yield row if isinstance(row, BadRow) else _row(row, number, columns)


def _object(stream: Stream, long: bool) -> Iterable[Any] | None:
    """The list inside the file's one object, or the object itself; None where it may be of JSON lines.

    `long` says that the file's first line is long, so that there may be more of them.
    """
    try:
        text = decode(stream.whole())
        table = json.loads(text, parse_constant=lambda _: None)
    except UnreadableError:
        if long:
            return None
        raise
    except (ValueError, RecursionError) as error:
        if long and "\n" in text.strip():
            return None
        return [BadRow(line=0, reason="malformed_json", excerpt=excerpt(error))]
    inner = _inner(table)
    return [table] if inner is None else _asked(inner)


def _inner(table: Any) -> list[Any] | None:
    """The first list of objects under one of the usual names; a row may well have a list of words."""
    for name in _LISTS if isinstance(table, dict) else ():
        rows = table.get(name)
        if isinstance(rows, list) and (not rows or any(isinstance(row, dict) for row in rows)):
            return rows
    return None


def _asked(rows: list[Any]) -> Iterator[Any]:
    """The rows; of articles whose paragraphs have questions, as SQuAD nests them, a row for each question."""
    for row in rows:
        paragraphs = row.get("paragraphs") if isinstance(row, dict) else None
        if not isinstance(paragraphs, list):
            yield row
            continue
        for paragraph in paragraphs:
            about = paragraph if isinstance(paragraph, dict) else {}
            for asked in about.get("qas") or [about]:
                if not isinstance(asked, dict):
                    yield asked
                elif not asked.get("is_impossible"):
                    yield {"title": row.get("title"), "context": about.get("context"), **asked}


def _elements(stream: Stream) -> Iterator[Any]:
    """Elements of a JSON array, holding one of them at a time; a broken one ends the file as a BadRow."""
    decoder, utf8 = (
        json.JSONDecoder(parse_constant=lambda _: None),
        codecs.getincrementaldecoder("utf-8-sig")("replace"),
    )
    buffer, position, number, want = utf8.decode(stream.data.read(_CHUNK)).lstrip(), 1, 0, _CHUNK
    while True:
        while position < len(buffer) and buffer[position] in " \t\r\n,":
            position += 1
        if position < len(buffer) and buffer[position] == "]":
            return
        reason = "malformed_json"
        try:
            row, position = decoder.raw_decode(buffer, position)
        except (json.JSONDecodeError, RecursionError):
            try:
                more = stream.data.read(want)
            except UnreadableError as error:
                more, reason = b"", error.args[0]
            buffer, position = buffer[position:] + utf8.decode(more, not more), 0
            if not more or len(buffer) > stream.limits.line:
                reason = "line_too_long" if more else reason
                yield BadRow(line=number + 1, reason=reason, excerpt=excerpt(buffer))
                return
            # Twice as much each time, so that a large element is not parsed once per small chunk.
            want = max(_CHUNK, len(buffer))
            continue
        number, want = number + 1, _CHUNK
        yield row
