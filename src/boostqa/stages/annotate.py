"""Annotate: what every seed is about, how hard it is and for whom; paid for a sample, learned for the rest.

    strata   map      which stratum (source, language, kind) an item belongs to, whether it brought labels
    sample   gather   share of each stratum that a model labels; the choice itself is by the hash of the id
    label    map      the model's labels of the sample, gold labels beside them
    fit      gather   agreement with gold; classifiers distilled from these and earlier labels
    apply    map      every item labelled, or dropped with the reason

A label by a model (or, where the recipe says so, the gold one) stands; the others get the classifier's.
Where that is not sure enough, the field is "Other": never a confident guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from pydantic import Field

from boostqa.annotation.bulk import HEADS, Guess, guesses
from boostqa.annotation.trust import agreement_with_gold, calibrated, confidence_of, share_of
from boostqa.flows.label import ASSETS, Labelling, combined_level, label, placed, text_of
from boostqa.identity import unit
from boostqa.record import Labels, Record
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.taxonomy import OTHER, grades, levels, load
from boostqa.text.allot import even_shares

if TYPE_CHECKING:
    import pyarrow as pa

    from boostqa.annotation.classifier import Encoder

UNLABELLED = "unlabelled"
NOT_SELF_CONTAINED = "not_self_contained"

_FIT_CHARS = 4000
"""Characters of a text that the classifier reads: the beginning says what it is about."""
_FIT_ITEMS = 20_000
"""Seeds with labels of their own, about, whose texts are kept for the classifier; more teach it little."""
_ROWS = {
    "id": "string",
    "text": "string",
    "language": "string",
    "field": "string",
    "discipline": "string",
    "confidence": "double",
    "field_second": "string",
    "second_confidence": "double",
    "secondary_fields": "list<string>",
    "level": "string",
    "grade": "string",
    "knowledge_points": "list<string>",
    "question_type": "string",
    "found_language": "string",
    "self_contained": "bool",
    "labeller": "string",
    "failure": "string",
    "gold_discipline": "string",
    "gold_field": "string",
    "gold_level": "string",
    "gold_grade": "string",
}


class AnnotateConfig(StageConfig):
    """What is paid for and what is learned."""

    passes: Literal[1, 2] = 1
    """Calls per item: 1 asks for everything at once; 2 asks for the field, then the level (small models)."""
    sample: int = Field(default=2000, ge=0)
    """Items per head of the run that a model labels (items); spread evenly over sources and languages."""
    votes: int = Field(default=1, ge=1)
    """Samples of each call; the majority stands."""
    min_confidence: float = Field(default=0.4, ge=0, le=1)
    """Probability under which the classifier's field becomes "Other" (0..1)."""
    use_gold: bool = False
    """Take labels that came with a seed instead of paying; only what they lack is asked for."""
    gold_checked: int = Field(default=50, ge=0)
    """With `use_gold`: fully labelled seeds that the model labels all the same, to measure it (items)."""
    min_fit: int = Field(default=200, ge=10)
    """Labelled items without which no classifier is fitted (items)."""
    encoder: Literal["none", "e5-small"] = "none"
    """Sentence vectors beside the classifier's words: better labels, some thousand times slower (an extra)."""
    drop_not_self_contained: bool = True
    """Drop question seeds that need something which is not there, as found in one pass."""


class Annotate(Stage):
    """Labels every seed."""

    name: ClassVar[str] = "annotate"
    Config = AnnotateConfig
    roles: ClassVar[tuple[str, ...]] = ("annotator",)
    assets: ClassVar[tuple[str, ...]] = ASSETS
    config: AnnotateConfig

    def steps(self) -> tuple[Step, ...]:
        """See the module's docstring."""
        return (
            Map("strata", self._strata, rows={"stratum": "string", "complete": "bool"}),
            Gather("sample", self._sample),
            Map("label", self._label, takes="record", rows=_ROWS),
            Gather("fit", self._fit),
            Map("apply", self._apply),
        )

    def _strata(self, records: list[Record], kit: Kit) -> Iterable[dict[str, Any]]:
        for record in records:
            yield {"stratum": _stratum(record), "complete": self._free(record)}

    def _sample(self, kit: Kit) -> State:
        paid: Counter[str] = Counter()
        free = 0
        for table in kit.batches("strata"):
            for row in table.to_pylist():
                free += row["complete"]
                paid[row["stratum"]] += not row["complete"]
        shares = even_shares(paid, self.config.sample)
        return {
            "items": free + paid.total(),
            "strata": [
                {"stratum": name, "items": count, "share": shares.get(name, 0.0)}
                for name, count in sorted(paid.items())
            ],
            "gold_share": min(1.0, self.config.gold_checked / free) if free else 0.0,
            "text_share": min(1.0, _FIT_ITEMS / max(1, free + paid.total())),
        }

    async def _label(self, record: Record, kit: Kit) -> list[dict[str, Any]]:
        """At most one row: what the model says (if asked) and what came with the seed (if anything)."""
        free, state = self._free(record), kit.state("sample")
        share = state["gold_share"]
        if not free:
            stratum = _stratum(record)
            share = next((s["share"] for s in state["strata"] if s["stratum"] == stratum), 0.0)
        asked, gold = unit("annotate", record.id) < share, _gold(record)
        if not asked and not (self.config.use_gold and gold.field):
            return []
        found = Labelling()
        if asked:
            # An item that is labelled to check the annotator must not be told the answer.
            known = gold if self.config.use_gold and not free else None
            found = await self._asked(record, kit, known)
        taught = asked or unit("fit", record.id) < state["text_share"]
        return [_row(record, found, gold, text_of(record)[:_FIT_CHARS] if taught else None)]

    async def _asked(self, record: Record, kit: Kit, known: Labels | None) -> Labelling:
        """The model's labels; what it was told and did not find itself is left out."""
        config = self.config
        annotator = kit.model("annotator")
        found = await label(annotator, record, passes=config.passes, votes=config.votes, known=known)
        if known is None or not known.field or config.passes == 1:
            return found
        labels = msgspec.structs.replace(found.labels, field=None, discipline=None, stem=None)
        return msgspec.structs.replace(found, labels=labels)

    def _fit(self, kit: Kit) -> State:
        asked: list[dict[str, Any]] = []
        labelled = failed = 0
        # Without texts, and of rows that nobody was asked about only the number: there may be very many.
        for row in _label_rows(table.drop_columns(["text"]) for table in kit.batches("label")):
            labelled += bool(self._stands(row, "field"))
            failed += bool(row["failure"])
            if row["labeller"]:
                asked.append(row)
        items = kit.state("sample")["items"]
        state: State = {
            "items": items,
            "labelled": labelled,
            "failed": failed,
            "agreement": agreement_with_gold(asked),
            "confidence": confidence_of(asked),
            "heads": {},
        }
        if labelled == items:
            return state | {"classifier": "not needed: every item has a label of its own"}
        tables = chain(kit.batches("label"), kit.read_rows("labelled", "label"))
        usable = [row for row in _label_rows(tables) if row["text"] and self._stands(row, "field")]
        usable.sort(key=lambda row: row["id"])
        spoken = Counter(row["language"] for row in usable)
        state["languages"] = sorted(name for name, count in spoken.items() if name and count >= 5)
        if len(usable) < self.config.min_fit:
            least = self.config.min_fit
            why = f"not fitted: {len(usable)} labelled items, annotate.min_fit is {least}"
            return state | {"classifier": why}
        for head in HEADS:
            state |= self._fit_head(head, usable, state["heads"])
        return state | {"classifier": "fitted"}

    def _fit_head(self, head: str, rows: list[dict[str, Any]], heads: dict[str, Any]) -> State:
        from boostqa.annotation.classifier import fit

        known = [(row["text"], found) for row in rows if (found := self._stands(row, head) or OTHER) != OTHER]
        if len({found for _, found in known}) < 2 or len(known) < 10:
            heads[head] = {"fitted": False, "examples": len(known)}
            return {}
        texts, labels = [text for text, _ in known], [found for _, found in known]
        classifier, trial = fit(texts, labels, encoder=self.encoder())
        plain = classifier.to_state()
        weights = plain.pop("weights")
        heads[head] = plain | {
            "fitted": True,
            "examples": len(known),
            "tested": share_of(trial.correct, len(trial.truth)),
            "calibration_error": round(trial.calibration_error, 4),
        }
        return {f"{head}_weights": weights}

    def encoder(self) -> Encoder | None:
        """What the recipe adds to the classifier's words, loaded once for each process."""
        from boostqa.annotation.encoder import encoder

        return None if self.config.encoder == "none" else encoder(self.config.encoder)

    def _apply(self, records: list[Record], kit: Kit) -> Iterable[Record]:
        rows = {row["id"]: row for row in _label_rows([kit.rows("label")])}
        guesses = _Guesses(records, rows, kit.state("fit"), self)
        curve = kit.state("fit")["confidence"]["curve"]
        for record in records:
            row = rows.get(record.id)
            if row and self._sure_not_alone(row, record):
                yield record.drop(kit.entry, NOT_SELF_CONTAINED, f"says {row['labeller']}")
                continue
            labels = self._own_labels(row, curve) if row else Labels()
            labels = guesses.fill(record, labels)
            if labels.field is None:
                why = row["failure"] if row else ""
                seen = why or f"not in the sample; classifier {kit.state('fit')['classifier']}"
                yield record.drop(kit.entry, UNLABELLED, seen)
                continue
            kind = "multiple_choice" if record.choices else row["question_type"] if row else None
            yield record.edit(
                kit.entry,
                "labelled",
                f"{labels.field} {labels.level or '-'} {labels.grade or '-'} by {labels.labeller}",
                labels=labels,
                question_type=record.question_type or (kind if record.question else None),
                language=record.language or (row["found_language"] if row else None),
            )

    def _own_labels(self, row: dict[str, Any], curve: list[float] | None) -> Labels:
        """Labels of a record that was labelled itself, by a model or by whoever made the seed."""
        field = self._stands(row, "field")
        if field is None:
            return Labels()
        gold = self.config.use_gold and row["gold_field"] is not None
        level = self._stands(row, "level")
        return Labels(
            **placed(field, load()),
            field_confidence=1.0 if gold else calibrated(row["confidence"], curve),
            field_second=None if gold else row["field_second"],
            field_second_confidence=None if gold else row["second_confidence"],
            secondary_fields=row["secondary_fields"] or [],
            level=combined_level(level, None, None),
            level_rubric=level,
            grade=self._stands(row, "grade"),
            knowledge_points=row["knowledge_points"] or [],
            labeller="gold" if gold else row["labeller"],
        )

    def _stands(self, row: dict[str, Any], head: str) -> str | None:
        """The label of a row that counts: gold where the recipe takes it, else the model's."""
        gold: str | None = row[f"gold_{head}"] if self.config.use_gold else None
        return gold or row[head]

    def _free(self, record: Record) -> bool:
        """Whether nothing need be paid for the record, because its own labels are taken and complete."""
        gold = _gold(record)
        return self.config.use_gold and None not in (gold.field, gold.level, gold.grade)

    def _sure_not_alone(self, row: dict[str, Any], record: Record) -> bool:
        asked = self.config.drop_not_self_contained and self.config.passes == 1
        return asked and row["self_contained"] is False and bool(record.question)


class _Guesses:
    """The classifiers' labels of one shard, made for all records that need one at once."""

    def __init__(
        self, records: list[Record], rows: dict[str, dict[str, Any]], state: State, stage: Annotate
    ) -> None:
        self.found: dict[str, Guess] = {}
        whole = {i for i, row in rows.items() if all(row[h] or row[f"gold_{h}"] for h in HEADS)}
        if whole.issuperset(record.id for record in records):
            return
        from boostqa.annotation.classifier import Classifier

        heads = {}
        for head, plain in state["heads"].items():
            if plain["fitted"]:
                weights = {"weights": state[f"{head}_weights"]}
                made = stage.encoder() if plain.get("encoder") else None
                heads[head] = Classifier.from_state(plain | weights, made)
        texts = [text_of(record)[:_FIT_CHARS] for record in records]
        languages = [record.language for record in records]
        known, least = set(state.get("languages", ())), stage.config.min_confidence
        found = guesses(heads, texts, languages, known, least, load()) if heads else []
        self.found = {record.id: guess for record, guess in zip(records, found, strict=False)}

    def fill(self, record: Record, labels: Labels) -> Labels:
        """`labels` with what is missing filled in by the classifiers, where there are any."""
        guess = self.found.get(record.id, Guess())
        if labels.field is None and guess.field:
            labels = msgspec.structs.replace(
                labels,
                field=guess.field,
                discipline=guess.discipline,
                stem=load().stem(guess.field) if guess.field != OTHER else None,
                field_confidence=guess.confidence,
                field_second=guess.second,
                field_second_confidence=guess.second_confidence,
                labeller="classifier",
            )
        if labels.field is None:
            return labels
        if labels.level is None and guess.level:
            labels = msgspec.structs.replace(labels, level=guess.level, level_rubric=guess.level)
        return (
            labels if labels.grade or not guess.grade else msgspec.structs.replace(labels, grade=guess.grade)
        )


def _stratum(record: Record) -> str:
    source = record.source.name if record.source else None
    return f"{source or '-'} / {record.language or '-'} / {'question' if record.question else 'passage'}"


def _gold(record: Record) -> Labels:
    """Labels that came with the seed, in the taxonomy's spelling; what it does not know is left out."""
    gold, tree = record.gold or Labels(), load()
    field = tree.find(gold.field) if gold.field else None
    discipline = tree.parent(field) if field else gold.discipline
    return Labels(
        field=field,
        discipline=discipline if discipline in {entry.name for entry in tree.disciplines} else None,
        level=gold.level if gold.level in {entry.name for entry in levels()} else None,
        grade=gold.grade if gold.grade in {entry.name for entry in grades()} else None,
        knowledge_points=gold.knowledge_points,
    )


def _row(record: Record, found: Labelling, gold: Labels, text: str | None) -> dict[str, Any]:
    labels = found.labels
    return {
        "id": record.id,
        "text": text,
        "language": record.language or found.language,
        "field": labels.field,
        "discipline": labels.discipline,
        "confidence": labels.field_confidence,
        "field_second": labels.field_second,
        "second_confidence": labels.field_second_confidence,
        "secondary_fields": labels.secondary_fields,
        "level": labels.level_rubric,
        "grade": labels.grade,
        "knowledge_points": labels.knowledge_points or gold.knowledge_points,
        "question_type": found.question_type,
        "found_language": found.language,
        "self_contained": found.self_contained,
        "labeller": labels.labeller,
        "failure": found.failure,
        **{f"gold_{name}": getattr(gold, name) for name in ("discipline", "field", "level", "grade")},
    }


def _label_rows(tables: Iterable[pa.Table]) -> Iterable[dict[str, Any]]:
    for table in tables:
        yield from table.to_pylist()
