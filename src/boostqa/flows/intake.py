"""From what a reader yields to seed records: cleaning, masking, language, quality, gold labels.

Every item leaves at least one record, kept or dropped with a reason: `malformed_row`, `no_text`,
`low_quality`, what `text.quality` names, `licence_not_allowed` and `licence_no_derivatives` where a row
states a licence of its own, and what readers say of a whole page or file, such as `scanned_page`. Text is
repaired and personal data masked; language is detected where neither row nor source says it. Labels that come
with a row, or with its source as constants, go to `gold` and never to `labels`, as far as they are ours (see
`flows/vocabulary.py`).
Knows nothing of paths, files' formats and shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from boostqa import licences
from boostqa.flows.repeats import Repeat
from boostqa.flows.vocabulary import GOLD, settle
from boostqa.identity import digest
from boostqa.inputs import packed
from boostqa.readers.items import BadRow, Raw
from boostqa.record import Event, Labels, Record, Source
from boostqa.text import boilerplate, chunk, language, normalise, quality, questions
from boostqa.text.measures import measure

MALFORMED = (
    "malformed_json",
    "not_an_object",
    "ragged_row",
    "malformed_csv",
    "no_question_or_text",
    "answer_not_in_choices",
    "bad_variables",
)
"""What readers say of a row that is not what it should be; their other reasons stand for themselves."""


_BATCH = 1_000_000
"""Characters of texts that are judged together, about."""


@dataclass(frozen=True)
class Intake:
    """What holds for all items of one source."""

    entry: str
    """Pipeline entry, for drops and history."""
    source: str
    license: str
    priority: float
    """Written to `scores` unless 0; a higher one wins among duplicates."""
    constants: Mapping[str, str | list[str]]
    """Gold labels, language and question type of rows that have none of their own."""
    passage_tokens: int
    min_quality: float
    """Quality of a passage, 0..1, below which it is dropped."""
    mask_personal: bool
    licence_allow: frozenset[str] | None = None
    """Canonical licences that a row may state of itself; None for any."""

    def records(
        self,
        items: Iterable[tuple[int, Raw | BadRow]],
        file: str,
        repeats: Mapping[int, Repeat] | None = None,
    ) -> Iterator[Record]:
        """The records of items of `file`, each with its number (from 0); at least one of each, in order.

        `repeats` says of which items an earlier one has the id, by number.
        """
        for batch in packed(items, lambda one: _weight(one[1]), _BATCH):
            again = repeats or {}
            rows = [(_Row(self, file, number, item, again.get(number)), item) for number, item in batch]
            pieces = [row.pieces(item) for row, item in rows]
            judged = iter(self._judged([piece for found in pieces for piece in found]))
            for (row, item), found in zip(rows, pieces, strict=True):
                yield from row.records(item, [(piece, next(judged)) for piece in found])

    def _judged(self, pieces: list[_Piece]) -> list[tuple[str | None, quality.Verdict]]:
        """Language and verdict of passages; all at once, as this is many times cheaper."""
        texts = [piece.text for piece in pieces]
        if not texts:
            return []
        prose = quality.prose_of(texts)
        measures = measure(prose)
        codes = [
            piece.language or language.settled(bare) or _detected(piece.text)
            for piece, bare in zip(pieces, measures, strict=True)
        ]
        return list(zip(codes, quality.judge(texts, prose, measures, codes), strict=True))


@dataclass(frozen=True)
class _Piece:
    """A cleaned passage."""

    text: str
    line: int
    heading: tuple[str, ...]
    masked: int
    language: str | None
    """What its row or source says."""


def _weight(item: Raw | BadRow) -> int:
    return 1000 + len(item.passage) if isinstance(item, Raw) else 1000


def _detected(text: str) -> str | None:
    code, _ = language.detect(text)
    return None if code == language.UNKNOWN else code


class _Row:
    """Makes the records of one item of a file."""

    def __init__(
        self, intake: Intake, file: str, ordinal: int, item: Raw | BadRow, repeat: Repeat | None
    ) -> None:
        self.intake, self.ordinal, self.repeat = intake, ordinal, repeat
        self.file = f"{file}/{item.member}" if item.member else file
        self.masked = 0

    def pieces(self, item: Raw | BadRow) -> list[_Piece]:
        """The passages of an item that has text and no question."""
        if isinstance(item, BadRow) or item.question:
            return []
        stated = self._settled("language", item.language)
        text, _ = boilerplate.without(item.passage)
        # Cleaned piece by piece, because cleaning the whole would move the lines.
        found = chunk.passages(text, self.intake.passage_tokens)
        texts = normalise.repair_all([passage.text for passage in found])
        masked = quality.mask_all(texts) if self.intake.mask_personal else [(text, 0) for text in texts]
        return [
            _Piece(text, item.line or passage.line, passage.heading_path, count, stated)
            for passage, (text, count) in zip(found, masked, strict=True)
        ]

    def records(
        self, item: Raw | BadRow, passages: list[tuple[_Piece, tuple[str | None, quality.Verdict]]]
    ) -> Iterator[Record]:
        """The records of an item, at least one; `passages` are its `pieces` with language and verdict."""
        if isinstance(item, BadRow):
            excerpt = normalise.squeeze(item.excerpt)
            reason = "malformed_row" if item.reason in MALFORMED else item.reason
            evidence = f"{self.file}:{item.line}: {item.reason}: {excerpt}"
            yield self._born(item.line, "malformed", excerpt).drop(self.intake.entry, reason, evidence)
            return
        made = [self._pair(item)] if item.question else self._passages(item, passages)
        problem = self._licence_problem(item) or self._repeat_problem(item)
        for record in made:
            free = problem is None or record.dropped
            yield record if free else record.drop(self.intake.entry, *problem or ("", ""))

    def _licence_problem(self, raw: Raw) -> tuple[str, str] | None:
        """Reason and evidence where a row's own licence forbids what its source's does not."""
        if not raw.license:
            return None
        evidence = f"{self.file}:{raw.line or 1}: {raw.license[:100]}"
        if not licences.may_adapt(raw.license):
            return "licence_no_derivatives", evidence
        allowed = self.intake.licence_allow
        if allowed is not None and licences.canonical(raw.license) not in allowed:
            return "licence_not_allowed", evidence
        return None

    def _repeat_problem(self, raw: Raw) -> tuple[str, str] | None:
        """Reason and evidence for a row that is an earlier one of its file again, id and all."""
        if self.repeat is None or not self.repeat[2]:
            return None
        line, first, _ = self.repeat
        return "duplicate_id", f"{self.file}:{line}: id {raw.id[:60]!r} and the same content as line {first}"

    def _pair(self, raw: Raw) -> Record:
        # What a question is about belongs to it: it must do without its row.
        asked = "\n\n".join(filter(None, (raw.context, raw.passage, raw.question)))
        question, answer, solution = map(self._clean, (asked, raw.answer, raw.solution))
        choices = [self._clean(choice) for choice in raw.choices]
        code = self._language(raw, "\n".join((question, *choices, solution)))
        record = self._born(
            raw.line,
            question,
            choices,
            answer,
            raw=raw,
            question=question,
            choices=choices,
            answer=answer,
            solution=solution,
            formula=raw.formula,
            variables=raw.variables,
            question_type=self._question_type(raw),
            language=code,
        )
        # A question without an answer is still worth writing others from; it only has no checked answer.
        found = questions.qa_problems(question, answer, code or "en")
        return self._judged(record, [one for one in found if one != "empty_answer"], question)

    def _passages(
        self, raw: Raw, passages: list[tuple[_Piece, tuple[str | None, quality.Verdict]]]
    ) -> Iterator[Record]:
        if not passages:
            evidence = f"{self.file}:{raw.line or 1}: {len(raw.passage)} characters without a paragraph"
            yield self._born(raw.line, "empty", raw=raw).drop(self.intake.entry, "no_text", evidence)
        for number, (piece, (code, verdict)) in enumerate(passages):
            self.masked = piece.masked
            record = self._born(
                piece.line,
                number,
                piece.text,
                raw=raw,
                heading=piece.heading,
                passage=piece.text,
                language=code,
            ).score(quality=verdict.score)
            problems = list(verdict.problems)
            if not problems and quality.is_references(piece.text, piece.heading):
                problems = ["references"]
            if not problems and verdict.score < self.intake.min_quality:
                evidence = f"quality {verdict.score:.3f} below {self.intake.min_quality}"
                yield record.drop(self.intake.entry, "low_quality", evidence)
            else:
                yield self._judged(record, problems, piece.text)

    def _judged(self, record: Record, problems: list[str], text: str) -> Record:
        if not problems:
            return record
        where = f"{self.file}:{record.source.line}" if record.source else self.file
        evidence = f"{where}: {', '.join(problems)}: {normalise.squeeze(text)[:120]}"
        return record.drop(self.intake.entry, problems[0], evidence)

    def _clean(self, text: str) -> str:
        text = normalise.repair(text)
        if self.intake.mask_personal:
            text, count = quality.mask_personal(text)
            self.masked += count
        return text

    def _language(self, raw: Raw, text: str) -> str | None:
        return self._settled("language", raw.language) or _detected(text)

    def _question_type(self, raw: Raw) -> str | None:
        found = self._settled("question_type", raw.question_type)
        # Without its options a question is not one of multiple choice, whatever the file calls it.
        return None if found == "multiple_choice" and not raw.choices else found

    def _settled(self, name: str, stated: str | None) -> str | None:
        """What the row says, else what its source says, in our words; None where neither is ours."""
        constant = self.intake.constants.get(name)
        values = (stated, constant if isinstance(constant, str) else None)
        return next((ours for value in values if value and (ours := settle(name, value))), None)

    def _born(
        self,
        line: int | None,
        *key: Any,
        raw: Raw | None = None,
        heading: tuple[str, ...] = (),
        **fields: Any,
    ) -> Record:
        """A seed whose id depends on the source, the file, the row and `key`."""
        # White space of pages (U+00A0) must not make two of the same heading.
        path = [normalise.squeeze(part) for part in [*(raw.heading if raw else ()), *heading]]
        notes = [f"{self.masked} masked"] if self.masked else []
        if self.repeat is not None and not self.repeat[2] and raw:
            notes.append(f"id {raw.id[:60]!r} stands at line {self.repeat[1]}, too, with other content")
        origin = Source(
            name=self.intake.source,
            license=licences.canonical(raw.license) if raw and raw.license else self.intake.license,
            file=self.file,
            line=line,
            heading=[part for i, part in enumerate(path) if part and (i == 0 or part != path[i - 1])],
            url=raw.url if raw else None,
        )
        return Record(
            id=digest("seed", self.intake.source, self.file, self.ordinal, *key),
            kind="seed",
            source=origin,
            gold=self._gold(raw) if raw else None,
            scores={"priority": self.intake.priority} if self.intake.priority else {},
            history=[Event(stage=self.intake.entry, action="born", detail="; ".join(notes))],
            **fields,
        )

    def _gold(self, raw: Raw) -> Labels | None:
        """Labels of the row, else of the source; None where neither has one of our vocabulary."""
        gold: dict[str, str | list[str]] = {}
        for name, value in [*self.intake.constants.items(), *raw.gold.items()]:
            values = [value] if isinstance(value, str) else value
            if name in GOLD and (ours := [one for text in values if (one := settle(name, text))]):
                gold[name] = ours if name in ("secondary_fields", "knowledge_points") else ours[0]
        return msgspec.convert({**gold, "labeller": "gold"}, Labels) if gold else None
