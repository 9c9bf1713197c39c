"""CSV, TSV and Parquet: rows under named columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from boostqa.errors import UserError
from boostqa.readers.files import MAX_LINE, DamagedError, Guarded, Place, excerpt, lines, open_bytes
from boostqa.readers.items import BadRow, Columns, Raw, check_columns, item

_BATCH = 512


def read_csv(
    path: str, columns: Columns | None = None, delimiter: str | None = None, place: Place | None = None
) -> Iterator[Raw | BadRow]:
    """One item per row under a header line, from `place` on; `line` is where the row starts.

    Bad rows: `ragged_row` (another number of cells than the header), `malformed_csv`, `line_too_long`,
    `damaged_file`.

    Raises:
        UserError: if there is no header, or `columns` names a column that it does not have.
    """
    csv.field_size_limit(MAX_LINE)
    with open_bytes(path) as stream:
        first = next(lines(stream), (0, b""))[1] or b""
        header_line = first.decode("utf-8-sig", "replace")
        delimiter = delimiter or max(",\t;", key=header_line.count)
        header = [cell.strip() for cell in next(csv.reader([header_line], delimiter=delimiter), [])]
        if not any(header):
            raise UserError(
                f"{path}: line 1 has no column names; the first line of a CSV file must be its header"
            )
        check_columns(path, columns, header)
        place = place or Place()
        if not place.line:
            place.line, place.byte = 1, stream.tell()
        stream.seek(place.byte)
        for number, row in _rows(stream, place, delimiter):
            if isinstance(row, BadRow):
                yield row
            elif len(row) != len(header):
                text = f"{len(row)} cells under {len(header)} columns: {row}"
                yield BadRow(line=number, reason="ragged_row", excerpt=excerpt(text))
            else:
                yield item(dict(zip(header, row, strict=True)), number, columns)


def _rows(stream: Guarded, place: Place, delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Rows that are not empty and what cannot be read, each with its line, from `place` on."""
    begin, items = place.line + 1, place.items
    bad: list[BadRow] = []

    def texts() -> Iterator[str]:
        number = begin - 1
        try:
            for number, line in lines(stream, begin - 1):
                if line is None:
                    bad.append(
                        BadRow(line=number, reason="line_too_long", excerpt=f"more than {MAX_LINE} bytes")
                    )
                yield (line or b"").decode("utf-8", "replace") + "\n"
        except DamagedError as error:
            bad.append(BadRow(line=number + 1, reason="damaged_file", excerpt=excerpt(error)))

    reader = csv.reader(texts(), delimiter=delimiter)
    row: list[str] | None = []
    while row is not None:
        start = begin + reader.line_num
        place.items, place.line, place.byte = items, start - 1, stream.tell()
        found: list[list[str] | BadRow] = []
        try:
            row = next(reader, None)
        except csv.Error as error:
            found.append(BadRow(line=start, reason="malformed_csv", excerpt=excerpt(error)))
            row = []
        found += bad
        bad.clear()
        if row and any(row):
            found.append(row)
        yield from ((start, one) for one in found)
        items += len(found)


def read_parquet(
    path: str, columns: Columns | None = None, place: Place | None = None
) -> Iterator[Raw | BadRow]:
    """One item per row from the row group of `place` on, `line` is its number.

    A broken file is the bad row `damaged_file`.

    Raises:
        UserError: if `columns` names a column that the file does not have.
    """
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    with fsspec.open(path, "rb") as stream:
        place = place or Place()
        number = place.items
        try:
            table = pq.ParquetFile(stream)
            check_columns(path, columns, table.schema_arrow.names)
            for group in range(place.line, table.num_row_groups):
                place.items, place.line = number, group
                for batch in table.iter_batches(_BATCH, row_groups=[group]):
                    for row in batch.to_pylist():
                        number += 1
                        yield item(row, number, columns)
        except (pa.ArrowException, OSError) as error:
            yield BadRow(line=number, reason="damaged_file", excerpt=excerpt(error))
