"""JSON lines and JSON: one object a line, an array of objects, or one object with a list of them inside."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from boostqa.readers.files import (
    MAX_LINE,
    DamagedError,
    Place,
    decode,
    excerpt,
    lines,
    open_bytes,
    read_whole,
)
from boostqa.readers.items import BadRow, Columns, Raw, item

_CHUNK = 2**20
_LISTS = ("data", "rows", "examples", "items", "questions", "records", "train")


def read_jsonl(
    path: str, columns: Columns | None = None, place: Place | None = None
) -> Iterator[Raw | BadRow]:
    """One item per non-empty line, from `place` on.

    Bad lines: `malformed_json`, `not_an_object`, `line_too_long`, `damaged_file`.
    """
    place = place or Place()
    number = place.line
    with open_bytes(path) as stream:
        try:
            stream.seek(place.byte)
            for number, line in lines(stream, place.line):
                if line is not None and not line.strip():
                    continue
                place.items, place.line, place.byte = place.items + 1, number, stream.tell()
                if line is None:
                    yield BadRow(line=number, reason="line_too_long", excerpt=f"more than {MAX_LINE} bytes")
                elif number == 1 and line.startswith(codecs.BOM_UTF8):
                    yield _line(line.removeprefix(codecs.BOM_UTF8), number, columns)
                else:
                    yield _line(line, number, columns)
        except DamagedError as error:
            yield BadRow(line=number + 1, reason="damaged_file", excerpt=excerpt(error))


def _line(line: bytes, number: int, columns: Columns | None) -> Raw | BadRow:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            # The standard library reads the NaN that pandas writes.
            row = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return BadRow(line=number, reason="malformed_json", excerpt=excerpt(line))
    return _row(row, number, columns)


def _row(row: Any, number: int, columns: Columns | None) -> Raw | BadRow:
    if not isinstance(row, dict):
        return BadRow(line=number, reason="not_an_object", excerpt=excerpt(row))
    return item(row, number, columns)


def read_json(path: str, columns: Columns | None = None) -> Iterator[Raw | BadRow]:
    """Objects of an array (streamed), or of a list inside one object (read whole); `line` is their number."""
    with open_bytes(path) as stream:
        try:
            start = stream.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
        except DamagedError as error:
            yield BadRow(line=0, reason="damaged_file", excerpt=excerpt(error))
            return
        if start.startswith(b"["):
            for number, row in enumerate(_elements(stream, start), 1):
                if isinstance(row, BadRow):
                    yield row
                else:
                    yield _row(row, number, columns)
            return
    yield from _object(path, columns)


def _object(path: str, columns: Columns | None) -> Iterator[Raw | BadRow]:
    try:
        data = read_whole(path)
        if data is None:
            yield BadRow(
                line=0, reason="file_too_large", excerpt="one JSON object; use JSON lines for large data"
            )
            return
        table = json.loads(decode(data), parse_constant=lambda _: None)
    except DamagedError as error:
        yield BadRow(line=0, reason="damaged_file", excerpt=excerpt(error))
        return
    except (ValueError, RecursionError) as error:
        yield BadRow(line=0, reason="malformed_json", excerpt=excerpt(error))
        return
    inner = (
        next((table[name] for name in _LISTS if isinstance(table.get(name), list)), None)
        if isinstance(table, dict)
        else None
    )
    for number, row in enumerate(inner if inner is not None else [table], 1):
        yield _row(row, number, columns)


def _elements(stream: Any, start: bytes) -> Iterator[Any]:
    """Elements of a JSON array, holding one of them at a time; a broken one ends the file as a BadRow."""
    decoder, utf8 = (
        json.JSONDecoder(parse_constant=lambda _: None),
        codecs.getincrementaldecoder("utf-8")("replace"),
    )
    buffer, position, number, want = utf8.decode(start), 1, 0, _CHUNK
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
                more = stream.read(want)
            except DamagedError:
                more, reason = b"", "damaged_file"
            buffer, position = buffer[position:] + utf8.decode(more, not more), 0
            if not more or len(buffer) > MAX_LINE:
                yield BadRow(
                    line=number + 1, reason="line_too_long" if more else reason, excerpt=excerpt(buffer)
                )
                return
            # Twice as much each time, so that a large element is not parsed once per small chunk.
            want = max(_CHUNK, len(buffer))
            continue
        number, want = number + 1, _CHUNK
        yield row
