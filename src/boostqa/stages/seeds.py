"""Reads the recipe's sources into seed records: question-answer pairs as they are, long texts as passages.

Every row, page or document that is read leaves a record, kept or dropped with a reason, so the counts add up
to the files. A row that cannot be read is `malformed_row` with file and line; a file of rows that is broken
for more than half of them stops the run, as it was most likely taken for a format that it is not.

The files are read twice: once to count (so that shards hold about `shard_size` records and broken files are
found first), once to make records. Both passes stream, and a shard of the second begins where its part of the
file does, not at the file's beginning (save for JSON arrays and packed files, which
have to be gone through up to there: use plain JSON lines, Parquet or Arrow for what is large). Ids depend on
the source's name, the file's name under the source's path, the row and the content, so neither the place of
the files nor the size of shards matters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from itertools import islice
from typing import Any, ClassVar

from pydantic import Field, model_validator

from boostqa import hub, licences, readers
from boostqa.errors import UserError
from boostqa.flows.intake import Intake
from boostqa.flows.repeats import Ids
from boostqa.flows.vocabulary import CONSTANTS, remedy, settle
from boostqa.inputs import InputFile, expand, fingerprint, locate, packed, size_of
from boostqa.readers import BadRow, Limits, Place, Raw
from boostqa.readers.items import Numbers
from boostqa.record import Record
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.taxonomy import DISCIPLINES
from boostqa.text import chunk

COUNT_BYTES = 64 * 2**20
"""Bytes of files that one counting task takes."""
_NAMED = 10
"""Rows with an earlier row's id that a warning names; the history of each names it, too."""
FILE_BYTES = 2**16
"""What opening a file costs, in bytes read."""

_PIECES: Mapping[str, str] = {
    "source": "string",
    "file": "string",
    "start": "int64",
    "stop": "int64",
    "from_item": "int64",
    "from_line": "int64",
    "from_byte": "int64",
    "from_member": "int64",
    "good": "int64",
    "bad": "int64",
    "weight": "int64",
    "in_rows": "bool",
    "trouble": "string",
    "repeats": "string",
    "counted": "string",
}


class SourceConfig(StageConfig):
    """One entry of `seeds.sources`."""

    name: str = Field(min_length=1)
    """Name by which reports, data cards and caps call the source; it must be its own."""
    path: str = Field(min_length=1, json_schema_extra={"identity": "free"})
    """A file, a folder or a glob, relative to the recipe's folder; or one of these as a URL, such as
    s3://bucket/folder/*.jsonl or hf://datasets/owner/name. Its content makes the fingerprint."""
    config: str | None = None
    """Configuration of a data set given as hf://datasets/OWNER/NAME, or cloned from there; null: its only one."""
    split: str | None = None
    """Split of such a data set; null: its only one."""
    license: str = Field(min_length=1)
    """SPDX id such as CC-BY-4.0, or the licence's own words; descendants inherit it. A row with a column `license`
    has that one instead."""
    format: str | None = None
    """One of jsonl, json, csv, tsv, parquet, arrow, markdown, html, pdf, epub, docx, text, warc; null: told from
    each file. Of an archive (zip, tar), the format of its members."""
    columns: dict[str, str | list[str]] = {}
    """Our name of a column -> the file's, such as {question: prompt, choices: [A, B, C]}; usual names are
    found without."""
    constants: dict[str, str | list[str]] = {}
    """Gold labels for rows that have none of their own: discipline, field, secondary_fields, level, grade,
    knowledge_points; also language (ISO 639-1) and question_type."""
    priority: float = 0.0
    """Which source wins among duplicates: the higher one."""
    max_items: int | None = Field(default=None, ge=1)
    """Rows, pages or documents that are taken, from the first file's beginning; null: all."""

    @model_validator(mode="before")
    @classmethod
    def _licence_is_stated(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and not data.get("license"):
            raise ValueError(
                f"source {data.get('name')!r} has no license; give an SPDX id such as CC-BY-4.0, "
                "or the licence's own words"
            )
        return data

    @model_validator(mode="after")
    def _names_are_known(self) -> SourceConfig:
        if unknown := sorted(set(self.constants) - set(CONSTANTS)):
            raise ValueError(
                f"source {self.name!r}: constants {unknown} are not known; use {', '.join(CONSTANTS)}"
            )
        for key, value in self.constants.items():
            for text in [value] if isinstance(value, str) else value:
                if settle(key, text) is None:
                    raise ValueError(
                        f"source {self.name!r}: {key}: {text!r} is not known; {remedy(key, text)}"
                    )
        if self.format is not None and self.format not in readers.FORMATS:
            raise ValueError(
                f"source {self.name!r}: format {self.format!r} is not known; use {', '.join(readers.FORMATS)}"
            )
        return self


class LimitsConfig(StageConfig):
    """How large things in a source may be before they are dropped and named."""

    line_mb: int = Field(default=16, ge=1, le=1024)
    """A line, row or JSON element, in MB (2^20 bytes)."""
    document_mb: int = Field(default=64, ge=1, le=2047)
    """A file, member or page that is read whole (text, Markdown, HTML, PDF, EPUB, DOCX), unpacked, in MB."""
    expansion: int = Field(default=300, ge=2)
    """How many bytes may come out of a packed one, once more than `document_mb` have come."""

    def limits(self) -> Limits:
        """The same in bytes."""
        return Limits(self.line_mb * 2**20, self.document_mb * 2**20, self.expansion)


class SeedsConfig(StageConfig):
    """Section `seeds` of a recipe."""

    sources: list[SourceConfig] = Field(min_length=1, json_schema_extra={"identity": "grow"})
    """Where seeds come from. A further source continues a finished run; what is here of each counts for the
    fingerprint through `Seeds.identity`."""
    passage_tokens: int = Field(default=400, ge=50, le=8000)
    """Longest passage, in tokens (estimated: four bytes, or one Chinese character, each)."""
    min_quality: float = Field(default=0.0, ge=0.0, le=1.0)
    """Passages of lower quality, 0..1, are dropped, besides those with a named problem."""
    mask_personal: bool = True
    """Whether e-mail addresses, phone numbers and public IP addresses are masked."""
    limits: LimitsConfig = LimitsConfig()
    """How large things in a source may be; a zip bomb breaks them, and so does a file that is one line."""
    shard_size: int = Field(default=2000, ge=1, le=100_000)
    """Records that a shard is to hold, about; stages with model calls want 1,000 to 5,000."""
    licence_allow: list[str] | None = None
    """Licences that sources may have, and rows that state one of their own; null: any."""


class Seeds(Stage):
    """See the module docstring; what is dropped and why is in `flows/intake.py`."""

    name: ClassVar[str] = "seeds"
    version: ClassVar[int] = 3
    Config: ClassVar[type[StageConfig]] = SeedsConfig
    assets: ClassVar[tuple[str, ...]] = (DISCIPLINES,)
    config: SeedsConfig

    def steps(self) -> tuple[Step, ...]:
        """Which files there are, how many items they have, how they make shards, and the records."""
        return (
            Gather("files", self._files),
            Map("count", self._count, over="files", rows=_PIECES),
            Gather("listing", self._listing),
            Map("read", self._read, over="listing"),
        )

    def identity(self) -> dict[str, Any]:
        """For each source its settings, and its files as [name, size, sampled hash]."""
        return {
            source.name: {
                "settings": source.model_dump(mode="json", exclude={"path"}),
                "files": [fingerprint(file) for file in _files_of(source)],
            }
            for source in self.config.sources
        }

    def check(self) -> None:
        """See `check` below."""
        check(self.config)

    def _source(self, name: str) -> SourceConfig:
        return next(source for source in self.config.sources if source.name == name)

    def _items(self, source: SourceConfig, path: str, place: Place) -> Iterator[Raw | BadRow]:
        return readers.open(path, source.format, source.columns or None, place, self.config.limits.limits())

    def _files(self, kit: Kit) -> State:
        found = [(source.name, file) for source in self.config.sources for file in _files_of(source)]
        groups = packed(found, lambda one: size_of(one[1].path) + FILE_BYTES, COUNT_BYTES)
        shards = [[[name, file.name] for name, file in group] for group in groups]
        return {"shards": [{"name": _part(i), "files": files} for i, files in enumerate(shards)]}

    def _count(self, shard: dict[str, Any], kit: Kit) -> Iterator[dict[str, Any]]:
        """Pieces of the files of one shard, each of about `shard_size` records."""
        for name, file in shard["files"]:
            source = self._source(name)
            path = locate(source.path, file)
            ids, numbers = Ids(), Numbers()
            # Which ids were there before is known at the file's end.
            pieces = list(self._pieces(source, file, path, ids, numbers))
            repeats = ids.repeats()
            for piece in pieces:
                mine = range(piece["start"], piece["stop"])
                piece["repeats"] = json.dumps({i: repeats[i] for i in mine if i in repeats})
                piece["counted"] = numbers.from_1
                yield piece

    def _pieces(
        self, source: SourceConfig, file: str, path: str, ids: Ids, numbers: Numbers
    ) -> Iterator[dict[str, Any]]:
        in_rows = (source.format or readers.sniff(path)) in readers.ROWS
        place = Place()
        piece = _piece(source.name, file, 0, place, in_rows)
        for number, item in enumerate(self._items(source, path, place)):
            numbers.add(item)
            if isinstance(item, Raw):
                ids.add(number, item)
                piece["good"] += 1
            elif item.reason != "empty_file":
                piece["bad"] += 1
                piece["trouble"] = piece["trouble"] or f"line {item.line}: {item.reason}: {item.excerpt}"
            piece["weight"] += self._weight(item)
            piece["stop"] = number + 1
            if piece["weight"] >= self.config.shard_size:
                yield piece
                piece = _piece(source.name, file, number + 1, place, in_rows)
        if piece["weight"]:
            yield piece

    def _weight(self, item: Raw | BadRow) -> int:
        """Records that an item will become, about."""
        if isinstance(item, Raw) and not item.question:
            return 1 + chunk.estimate_tokens(item.passage) // self.config.passage_tokens
        return 1

    def _listing(self, kit: Kit) -> State:
        pieces = [row for table in kit.batches("count") for row in table.to_pylist()]
        order = {source.name: i for i, source in enumerate(self.config.sources)}
        pieces.sort(key=lambda piece: (order[piece["source"]], piece["file"], piece["start"]))
        _refuse_broken(pieces)
        counts: dict[str, dict[str, int]] = {}
        parts: list[dict[str, Any]] = []
        shared: list[str] = []
        for source in self.config.sources:
            mine = [piece for piece in pieces if piece["source"] == source.name]
            good, bad = sum(piece["good"] for piece in mine), sum(piece["bad"] for piece in mine)
            if not good:
                trouble = next(
                    (f", first {piece['file']}: {piece['trouble']}" for piece in mine if piece["trouble"]), ""
                )
                raise UserError(
                    f"seeds.sources: {source.name!r}: {source.path}: no readable item ({bad} broken{trouble}); "
                    "correct the path, the format or the columns"
                )
            counts[source.name] = {"good": good, "bad": bad}
            shared += _shared(mine)
            parts += _first(mine, source.max_items)
        keys = ("source", "file", "start", "stop", *(name for name in _PIECES if "from_" in name), "repeats")
        groups = packed(parts, lambda piece: int(piece["weight"]), self.config.shard_size)
        shards = [[{key: piece[key] for key in keys} for piece in group] for group in groups]
        return {
            "shards": [{"name": _part(i), "parts": part} for i, part in enumerate(shards)],
            "counts": counts,
            "shared_ids": shared,
        }

    def _read(self, shard: dict[str, Any], kit: Kit) -> Iterator[Record]:
        for part in shard["parts"]:
            source = self._source(part["source"])
            intake = self._intake(source, kit.entry)
            place = Place(part["from_item"], part["from_line"], part["from_byte"], part["from_member"])
            start, stop = part["start"] - place.items, part["stop"] - place.items
            items = self._items(source, locate(source.path, part["file"]), place)
            mine = enumerate(islice(items, start, stop), start=part["start"])
            repeats = {int(number): tuple(found) for number, found in json.loads(part["repeats"]).items()}
            yield from intake.records(mine, part["file"], repeats)

    def _intake(self, source: SourceConfig, entry: str) -> Intake:
        return Intake(
            entry=entry,
            source=source.name,
            license=licences.canonical(source.license),
            priority=source.priority,
            constants=source.constants,
            passage_tokens=self.config.passage_tokens,
            min_quality=self.config.min_quality,
            mask_personal=self.config.mask_personal,
            licence_allow=_allowed(self.config),
        )


def check(config: SeedsConfig) -> None:
    """Looks at names, licences and files, and at the first item of each source; for validation.

    Raises:
        UserError: a name used twice, a licence that is not allowed, or files that are missing or unreadable.
    """
    allowed = _allowed(config)
    seen: set[str] = set()
    for i, source in enumerate(config.sources):
        if source.name in seen:
            raise UserError(
                f"seeds.sources[{i}].name: {source.name!r} is used twice; give each source its own name"
            )
        seen.add(source.name)
        if allowed is not None and licences.canonical(source.license) not in allowed:
            raise UserError(
                f"seeds.sources[{i}].license: {source.name!r} is under {source.license!r}, which "
                "seeds.licence_allow does not list; remove the source or extend the list"
            )
        if not licences.may_adapt(source.license):
            raise UserError(
                f"seeds.sources[{i}].license: {source.name!r} is under {source.license!r}, which forbids "
                "adaptations, and all that is written from a seed is one; remove the source"
            )
        files = _files_of(source, f"seeds.sources[{i}].path")
        limits = config.limits.limits()
        item = next(readers.open(files[0].path, source.format, source.columns or None, limits=limits), None)
        if len(files) == 1 and isinstance(item, BadRow) and item.line == 0 and not item.member:
            raise UserError(
                f"seeds.sources[{i}].path: {files[0].path}: {item.reason}: {item.excerpt}; "
                "correct the file or its `format`, or leave the source out"
            )


def _allowed(config: SeedsConfig) -> frozenset[str] | None:
    names = config.licence_allow
    return None if names is None else frozenset(licences.canonical(name) for name in names)


def _part(number: int) -> str:
    return f"part-{number:05d}"


def _files_of(source: SourceConfig, key: str = "") -> list[InputFile]:
    key = key or f"seeds.sources: {source.name!r}: path"
    if source.config or source.split or hub.is_data_set(source.path):
        return hub.expand_split(source.path, source.config, source.split, key)
    return expand(source.path, key)


def _piece(source: str, file: str, start: int, place: Place, in_rows: bool) -> dict[str, Any]:
    """A piece of a file that begins at item `start`, with nothing in it yet."""
    row = (source, file, start, start, *astuple(place), 0, 0, 0, in_rows, "", "{}", "")
    return dict(zip(_PIECES, row, strict=True))


def _refuse_broken(pieces: list[dict[str, Any]]) -> None:
    """Raises for a file of rows of which more than half cannot be read, or with answers that look counted from 1."""
    totals: dict[tuple[str, str], tuple[int, int, str]] = {}
    for piece in pieces:
        if piece["counted"]:
            raise UserError(
                f"seeds.sources: {piece['source']!r}: {piece['file']}: {piece['counted']}, and no answer is 0; name "
                "the column of answers counted from 1, `columns: {answer_number: NAME}`, or correct the row"
            )
        if piece["in_rows"]:
            good, bad, trouble = totals.get((piece["source"], piece["file"]), (0, 0, ""))
            sums = (good + piece["good"], bad + piece["bad"], trouble or piece["trouble"])
            totals[piece["source"], piece["file"]] = sums
    for (source, file), (good, bad, trouble) in totals.items():
        if bad > good:
            raise UserError(
                f"seeds.sources: {source!r}: {file}: {bad} of {good + bad} rows cannot be read, first {trouble}; "
                "correct the file, its `format` or its `columns`, or leave the source out"
            )


def _shared(pieces: list[dict[str, Any]]) -> list[str]:
    """A sentence on each file of one source in which rows of other content share an id, which all stay."""
    found: dict[str, list[tuple[int, int]]] = {}
    for piece in pieces:
        for line, first, same in json.loads(piece["repeats"]).values():
            if not same:
                found.setdefault(piece["file"], []).append((line, first))
    return [
        f"{pieces[0]['source']}: {file}: rows with an earlier row's id and other content, all kept ({len(lines)}): "
        + ", ".join(f"line {line} (as line {first})" for line, first in lines[:_NAMED])
        + (", ..." if len(lines) > _NAMED else "")
        for file, lines in found.items()
    ]


def _first(pieces: list[dict[str, Any]], limit: int | None) -> Iterator[dict[str, Any]]:
    """The pieces up to `limit` items, the last one cut short."""
    left = limit
    for piece in pieces:
        if left is None:
            yield piece
        elif left > 0:
            yield {**piece, "stop": min(piece["stop"], piece["start"] + left)}
            left -= piece["stop"] - piece["start"]
