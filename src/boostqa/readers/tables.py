"""CSV, TSV and Parquet: rows under named columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from boostqa.errors import UserError
from boostqa.readers.files import MAX_LINE, DamagedError, excerpt, lines, open_bytes
from boostqa.readers.items import BadRow, Columns, Raw, check_columns, item

_BATCH = 512


def read_csv(
    path: str, columns: Columns | None = None, delimiter: str | None = None
) -> Iterator[Raw | BadRow]:
    """One item per row under a header line; `line` is where the row starts.

    Bad rows: `ragged_row` (another number of cells than the header), `malformed_csv`, `line_too_long`,
    `damaged_file`.

    Raises:
        UserError: if there is no header, or `columns` names a column that it does not have.
    """
    csv.field_size_limit(MAX_LINE)
    with open_bytes(path) as stream:
        numbered = lines(stream)
        first = next(numbered, (0, b""))[1] or b""
        header_line = first.decode("utf-8-sig", "replace")
        delimiter = delimiter or max(",\t;", key=header_line.count)
        header = [cell.strip() for cell in next(csv.reader([header_line], delimiter=delimiter), [])]
        if not any(header):
            raise UserError(
                f"{path}: line 1 has no column names; the first line of a CSV file must be its header"
            )
        check_columns(path, columns, header)
        yield from _rows(numbered, header, columns, delimiter)


def _rows(
    numbered: Iterator[tuple[int, bytes | None]], header: list[str], columns: Columns | None, delimiter: str
) -> Iterator[Raw | BadRow]:
    bad: list[BadRow] = []

    def texts() -> Iterator[str]:
        number = 1
        try:
            for number, line in numbered:
                if line is None:
                    bad.append(
                        BadRow(line=number, reason="line_too_long", excerpt=f"more than {MAX_LINE} bytes")
                    )
                yield (line or b"").decode("utf-8", "replace") + "\n"
        except DamagedError as error:
            bad.append(BadRow(line=number + 1, reason="damaged_file", excerpt=excerpt(error)))

    reader = csv.reader(texts(), delimiter=delimiter)
    start = 2
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield BadRow(line=start, reason="malformed_csv", excerpt=excerpt(error))
            row = []
        yield from bad
        bad.clear()
        if row is None:
            return
        if any(row):
            if len(row) != len(header):
                text = f"{len(row)} cells under {len(header)} columns: {row}"
                yield BadRow(line=start, reason="ragged_row", excerpt=excerpt(text))
            else:
                yield item(dict(zip(header, row, strict=True)), start, columns)
        start = reader.line_num + 2


def read_parquet(path: str, columns: Columns | None = None) -> Iterator[Raw | BadRow]:
    """One item per row, `line` is its number; a broken file is the bad row `damaged_file`.

    Raises:
        UserError: if `columns` names a column that the file does not have.
    """
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    with fsspec.open(path, "rb") as stream:
        number = 0
        try:
            table = pq.ParquetFile(stream)
            check_columns(path, columns, table.schema_arrow.names)
            for batch in table.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield item(row, number, columns)
        except (pa.ArrowException, OSError) as error:
            yield BadRow(line=number, reason="damaged_file", excerpt=excerpt(error))
