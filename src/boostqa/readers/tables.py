"""Tables under named columns: CSV, TSV, Parquet and Arrow (files and streams)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any

from boostqa.errors import UserError
from boostqa.readers.files import (
    HEAD,
    Limits,
    Place,
    Stream,
    UnreadableError,
    decode,
    encoding_of,
    excerpt,
    refuse_utf16,
)
from boostqa.readers.items import BadRow, Columns, Raw, check_columns, item

_BATCH = 512
_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)
"""The line by which Excel says how a table's cells are told apart."""


def read_csv(
    stream: Stream, columns: Columns | None, place: Place, delimiter: str | None = None
) -> Iterator[Raw | BadRow]:
    """One item per row under a header line, from `place` on; `line` is where the row starts.

    Bad rows: `ragged_row` (another number of cells than the header), `malformed_csv`, `line_too_long`,
    `null_bytes`, `other_encoding` (than that of most lines at the file's beginning).

    Raises:
        UserError: if there is no header, or `columns` names a column that it does not have.
    """
    csv.field_size_limit(stream.limits.line)
    refuse_utf16(stream)
    encoding = encoding_of(stream.head()[:HEAD])
    first = next(stream.lines(), (0, b""))[1] or b""
    header_line = first.decode(encoding, "replace").removeprefix("\ufeff")
    lead = 1
    if named := _SEPARATOR.fullmatch(header_line):
        delimiter, lead = named[1], 2
        header_line = (next(stream.lines(), (0, b""))[1] or b"").decode(encoding, "replace")
    delimiter = delimiter or max(",\t;", key=header_line.count)
    header = [cell.strip() for cell in next(csv.reader([header_line], delimiter=delimiter), [])]
    if not any(header):
        raise UserError(
            f"{stream.name}: line {lead} has no column names; the first line of a CSV file must be its header"
        )
    check_columns(stream.name, columns, header)
    if not place.line:
        place.line, place.byte = lead, stream.data.tell()
    stream.data.seek(place.byte)
    for number, row in _Rows(stream, place, encoding).read(delimiter):
        if isinstance(row, BadRow):
            yield row
        elif len(row) != len(header):
            text = f"{len(row)} cells under {len(header)} columns: {row}"
            yield BadRow(line=number, reason="ragged_row", excerpt=excerpt(text))
        else:
            yield item(dict(zip(header, row, strict=True)), number, columns)


class _Rows:
    """Rows that are not empty and what cannot be read, each with its line, from `place` on."""

    def __init__(self, stream: Stream, place: Place, encoding: str) -> None:
        self.stream, self.place, self.encoding = stream, place, encoding
        self.bad: list[BadRow] = []
        self.broken: UnreadableError | None = None

    def read(self, delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
        place = self.place
        begin, items = place.line + 1, place.items
        reader = csv.reader(self._texts(begin - 1), delimiter=delimiter)
        row: list[str] | None = []
        while row is not None:
            start = begin + reader.line_num
            place.items, place.line, place.byte = items, start - 1, self.stream.data.tell()
            found: list[list[str] | BadRow] = []
            try:
                row = next(reader, None)
            except csv.Error as error:
                found.append(BadRow(line=start, reason="malformed_csv", excerpt=excerpt(error)))
                row = []
            found += self.bad
            if row and any(row) and not self.bad:
                found.append(row)
            self.bad.clear()
            yield from ((start, one) for one in found)
            items += len(found)
        if self.broken:
            raise self.broken

    def _texts(self, number: int) -> Iterator[str]:
        try:
            for number, line in self.stream.lines(number):  # noqa: B020
                yield self._text(number, line) + "\n"
        except UnreadableError as error:
            self.broken = error

    def _text(self, number: int, line: bytes | None) -> str:
        reason, what = "", b""
        if line is None:
            reason, what = "line_too_long", f"more than {self.stream.limits.line} bytes".encode()
        elif b"\x00" in line:
            reason, what = "null_bytes", line.replace(b"\x00", b"")
        else:
            try:
                return line.decode(self.encoding)
            except UnicodeDecodeError:
                reason, what = "other_encoding", line
        self.bad.append(BadRow(line=number, reason=reason, excerpt=excerpt(what)))
        # A quote that a row opens before this line is closed by one in it, as far as that can be told.
        return '"' * ((line or b"").count(b'"') % 2)


def read_parquet(stream: Stream, columns: Columns | None, place: Place) -> Iterator[Raw | BadRow]:
    """One item per row from the row group of `place` on, `line` is its number.

    Raises:
        UserError: if `columns` names a column that the file does not have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Kept as numbers of entries, values that say the same need no memory of their own.
        table = pq.ParquetFile(stream.seekable())
        leaves = [table.schema.column(i) for i in range(table.metadata.num_columns)]
        words = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        table = pq.ParquetFile(stream.seekable(), read_dictionary=words)
        check_columns(stream.name, columns, table.schema_arrow.names)
        names = _class_names(table.schema_arrow)
        number = sum(table.metadata.row_group(group).num_rows for group in range(place.line))
        before = place.items - number
        for group in range(place.line, table.num_row_groups):
            place.items, place.line = before + number, group
            _check_group(table.metadata.row_group(group), stream.limits)
            for batch in table.iter_batches(_BATCH, row_groups=[group]):
                for row in _rows(batch, stream.limits.line):
                    number += 1
                    yield _item(row, names, number, columns)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error


def read_arrow(stream: Stream, columns: Columns | None, place: Place) -> Iterator[Raw | BadRow]:
    """One item per row of an Arrow IPC file or stream, as `datasets` saves them; `line` is its number.

    Raises:
        UserError: if `columns` names a column that the file does not have.
    """
    import pyarrow as pa

    before = place.items
    try:
        if stream.head().startswith(b"ARROW1"):
            table = pa.ipc.open_file(stream.seekable())
            batches = (table.get_batch(i) for i in range(place.line, table.num_record_batches))
            number = sum(table.get_batch(i).num_rows for i in range(place.line))
        else:
            table = batches = pa.ipc.open_stream(stream.data)
            number = sum(next(batches).num_rows for _ in range(place.line))
        check_columns(stream.name, columns, table.schema.names)
        names = _class_names(table.schema)
        before -= number
        for group, batch in enumerate(batches, place.line):
            place.items, place.line = before + number, group
            for start in range(0, batch.num_rows, _BATCH):
                for row in _rows(batch.slice(start, _BATCH), stream.limits.line):
                    number += 1
                    yield _item(row, names, number, columns)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error


def _check_group(group: Any, limits: Limits) -> None:
    """Raises `UnreadableError` where a row group of Parquet becomes more than `limits` allow, by its own word."""
    parts = [group.column(i) for i in range(group.num_columns)]
    size = sum(part.total_uncompressed_size for part in parts)
    if size > limits.document + limits.ratio * sum(part.total_compressed_size for part in parts):
        raise UnreadableError("expands_too_much", f"more than {limits.ratio} times its packed size")


def _rows(batch: Any, limit: int) -> Iterator[dict[str, Any] | None]:
    """Rows of a record batch, None for one of more than `limit` bytes; made a few at a time by their size."""
    import numpy as np

    sizes = sum((_sizes(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))
    start = 0
    while start < batch.num_rows:
        total = np.cumsum(sizes[start:])
        count = int(np.searchsorted(total, limit, "right"))
        if count:
            yield from batch.slice(start, count).to_pylist()
        else:
            yield None
        start += count or 1


def _sizes(array: Any) -> Any:
    """Bytes of each value of an Arrow array, numbers as 8, with what lists and structs hold."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        entries = np.append(_sizes(array.dictionary), 0)
        return entries[pc.fill_null(array.indices, len(entries) - 1).to_numpy(zero_copy_only=False)] + 8
    if kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        return pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64) + 8
    if pa.types.is_struct(kind):
        return sum((_sizes(part) for part in array.flatten()), np.full(len(array), 8, np.int64))
    if pa.types.is_map(kind):
        ends = array.offsets.to_numpy()
        sums = np.append(0, np.cumsum(_sizes(array.keys) + _sizes(array.items)))
        return sums[ends[1:]] - sums[ends[:-1]] + 8
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lengths, dtype=np.int64)
        sums = np.append(0, np.cumsum(_sizes(array.flatten())))
        return sums[ends] - sums[ends - lengths] + 8
    if pa.types.is_fixed_size_binary(kind):
        return np.full(len(array), kind.byte_width, np.int64)
    return np.full(len(array), 8, np.int64)


def _item(
    row: dict[str, Any] | None, names: dict[str, list[str]], number: int, columns: Columns | None
) -> Raw | BadRow:
    if row is None:
        return BadRow(
            line=number, reason="line_too_long", excerpt="a row of more bytes than the limit of lines"
        )
    return item(_named(row, names), number, columns)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Column -> names of its classes, where `datasets` wrote them beside a column of numbers."""
    import json

    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def _named(row: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """The row with names for numbers of classes, and with text for bytes."""
    row = {name: _decoded(value) for name, value in row.items()}
    for column, words in names.items():
        value = row.get(column)
        if isinstance(value, int) and 0 <= value < len(words):
            row[column] = words[value]
    return row


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return decode(value)
    if isinstance(value, list):
        return [_decoded(part) for part in value] if value and not isinstance(value[0], (str, int)) else value
    return {key: _decoded(part) for key, part in value.items()} if isinstance(value, dict) else value
