"""Labelled files, read and written: items with the labels that came with them; labels in blocks.

Reads every format of `readers`. A label outside the taxonomy is counted by its value and left out, never guessed at; so
is a row without text. Labels are written block by block, so that memory does not grow with the rows. What is known of a
row only when all are read (whether a model should be asked) is added by a second pass over what was written, and the
file appears under its name when it is whole. Knows nothing of classifiers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa import readers
from boostqa.errors import UserError
from boostqa.flows.vocabulary import settle
from boostqa.readers.items import BadRow, Raw
from boostqa.taxonomy import Taxonomy, crosswalk, grades, levels
from boostqa.text import language
from boostqa.text.normalise import repair

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


_OUTSIDE = 10_000
"""Different labels outside the taxonomy that are told apart."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a file."""

    id: str
    """The file's own, else `file:line`."""
    text: str
    """Question with its options, or passage; what a classifier reads."""
    question: str
    choices: list[str]
    solution: str
    language: str | None
    labels: dict[str, str]
    """Those of `field`, `discipline`, `level` and `grade` that the row has and the taxonomy knows."""


class Items(msgspec.Struct, kw_only=True):
    """What was read, and what could not be used."""

    items: list[Item] = []
    outside: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """(label, value) that the taxonomy does not have, and in how many rows."""
    bad: list[str] = []
    """Places and reasons of rows that could not be read, the first 20."""
    bad_count: int = 0
    empty: int = 0
    """Rows without question and text."""

    def outside_lines(self, most: int = 20) -> list[str]:
        """What a person should see of the labels outside the taxonomy, the most frequent first."""
        listed = [f"{name} {value!r}: {count}" for (name, value), count in self.outside.most_common(most)]
        rest = len(self.outside) - len(listed)
        return [*listed, f"and {rest} more"] if rest > 0 else listed


def read_items(paths: Iterable[Path], tree: Taxonomy, benchmark: str | None = None) -> Items:
    """Items of labelled files in any format of `readers`, all of them held.

    Args:
        paths: the files.
        tree: whose words labels must be in, in English or Chinese; levels and grades are the package's own.
        benchmark: a name of the taxonomy's crosswalk: what the column `field` or `subject` holds are its subjects.

    Raises:
        UserError: if a file cannot be read, the benchmark is not known, or no row has a question or text.
    """
    found = Items()
    found.items.extend(stream_items(paths, tree, found, benchmark))
    return found


def stream_items(
    paths: Iterable[Path], tree: Taxonomy, found: Items, benchmark: str | None = None
) -> Iterator[Item]:
    """As `read_items`, one item after another; what could not be used is counted in `found`, which holds no items."""
    names, count = [str(path) for path in paths], 0
    for name in names:
        for place, raw in enumerate(readers.open(name), start=1):
            if isinstance(raw, BadRow):
                found.bad_count += 1
                if len(found.bad) < 20:
                    found.bad.append(f"{name}:{raw.line}: {raw.reason}: {raw.excerpt[:80]}")
                continue
            item = _item(raw, f"{Path(name).name}:{raw.line or place}", found, tree, benchmark)
            if item.text:
                count += 1
                yield item
            else:
                found.empty += 1
    if not count:
        raise UserError(
            f"{', '.join(names)}: no row with a question or text; {found.bad_count} rows could not be read"
        )


def _item(raw: Raw, place: str, found: Items, tree: Taxonomy, benchmark: str | None) -> Item:
    question, choices = repair(raw.question), [repair(choice) for choice in raw.choices]
    text = "\n".join([question, *choices, repair(raw.passage)]).strip()
    # Options without a question say nothing that could be relied on.
    text = text if question or raw.passage.strip() else ""
    code = settle("language", raw.language) if raw.language else None
    if code is None and text:
        guessed, _ = language.detect(text)
        code = None if guessed == language.UNKNOWN else guessed
    return Item(
        id=raw.id or place,
        text=text,
        question=question,
        choices=choices,
        solution=raw.solution,
        language=code,
        labels=_labels(raw, found, tree, benchmark),
    )


def _labels(raw: Raw, found: Items, tree: Taxonomy, benchmark: str | None) -> dict[str, str]:
    known = {
        "discipline": {entry.name for entry in tree.disciplines},
        "level": {entry.name for entry in levels()},
        "grade": {entry.name for entry in grades()},
    }
    labels = {}
    for name in ("field", "discipline", "level", "grade"):
        value = raw.gold.get(name)
        if not isinstance(value, str) or not value.strip():
            continue
        if name == "field":
            ours = crosswalk(benchmark, value) if benchmark else tree.find(value)
        else:
            ours = value if value in known[name] else settle(name, value)
        if (
            ours is None
            or (name != "field" and ours not in known[name])
            or (name == "field" and ours not in tree)
        ):
            key = name, value.strip()[:80]
            # A column that holds something else entirely must not fill the memory.
            found.outside[
                key if key in found.outside or len(found.outside) < _OUTSIDE else (name, "...")
            ] += 1
        else:
            labels[name] = ours
    if "field" in labels:
        labels["discipline"] = tree.parent(labels["field"])
    return labels


_COLUMNS = {
    "id": "string",
    "language": "string",
    "field": "string",
    "discipline": "string",
    "confidence": "double",
    "second": "string",
    "second_confidence": "double",
    "level": "string",
    "grade": "string",
    "why": "string",
    "stem": "string",
}
"""Column -> Arrow type name."""


class Sink:
    """A file of labels under way; use it with `with`.

    Raises:
        UserError: on every use, if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Opens it; `.parquet` is Parquet, any other ending JSON lines."""
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._marked = path.with_name(f"{path.name}.marked")
        self._parquet = path.suffix == ".parquet"
        self._encoder = msgspec.json.Encoder()
        self._asked: Collection[int] = ()

    def __enter__(self) -> Sink:
        """The sink."""
        with _told(self._path):
            self._file = self._part.open("wb")
            self._writer = _writer(self._file, asked=False) if self._parquet else None
        return self

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds rows with the columns of labels; one that a row lacks is null (Parquet) or left out (JSON)."""
        import pyarrow as pa

        with _told(self._path):
            if self._writer:
                self._writer.write_table(pa.Table.from_pylist(rows, schema=_schema(asked=False)))
            else:
                self._file.writelines(self._encoder.encode(row) + b"\n" for row in rows)

    def mark(self, places: Collection[int]) -> None:
        """The rows, from 0, that get `"ask": true` in the end; in Parquet the others get false."""
        self._asked = places

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts the file in its place, or takes it away if something went wrong."""
        with _told(self._path):
            try:
                with self._file:
                    if self._writer:
                        self._writer.close()
                if kind is None and self._asked:
                    (self._mark_table if self._parquet else self._mark_lines)(frozenset(self._asked))
                if kind is None:
                    self._part.replace(self._path)
            finally:
                for rest in (self._part, self._marked):
                    rest.unlink(missing_ok=True)

    def _mark_lines(self, asked: Collection[int]) -> None:
        with self._part.open("rb") as lines, self._marked.open("wb") as file:
            for place, line in enumerate(lines):
                file.write(line[:-2] + b',"ask":true}\n' if place in asked else line)
        self._marked.replace(self._part)

    def _mark_table(self, asked: Collection[int]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        seen = 0
        with (
            self._marked.open("wb") as file,
            _writer(file, asked=True) as writer,
            pq.ParquetFile(self._part) as table,
        ):
            for batch in table.iter_batches(batch_size=65_536):
                flags = pa.array([place in asked for place in range(seen, seen + len(batch))])
                writer.write_table(pa.Table.from_batches([batch]).append_column("ask", flags))
                seen += len(batch)
        self._marked.replace(self._part)


class _told:  # noqa: N801  (used as a statement)
    """Turns what the disk says into an error that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            why = error.strerror or error
            raise UserError(f"{self._path}: cannot be written ({why}); choose another file") from None


def _schema(*, asked: bool) -> pa.Schema:
    import pyarrow as pa

    columns = [(name, pa.type_for_alias(kind)) for name, kind in _COLUMNS.items()]
    return pa.schema([*columns, ("ask", pa.bool_())] if asked else columns)


def _writer(file: Any, *, asked: bool) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, _schema(asked=asked))
