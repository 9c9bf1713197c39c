"""Annotate: what every seed is about, how hard it is and for whom; paid for a sample, learned for the rest.

    strata   map      which stratum (source, language, kind) an item belongs to, whether it brought labels
    sample   gather   share of each stratum that a model labels; the choice itself is by the hash of the id
    label    map      the model's labels of the sample, gold labels beside them
    draft    gather   classifiers distilled from these and earlier labels           } only where there
    doubt    map      what they say of a pool of the other items                    } is a second sample
    choose   gather   which of the pool a model labels: the least sure, rare cells  }
    ask      map      the model's labels of these                                   }
    fit      gather   agreement with gold; classifiers distilled from all labels
    apply    map      every item labelled, or dropped with the reason

The pool is chosen by the hash of the id and bounded, so that no gather holds every item. Agreement and calibration
are counted on the first sample alone: the second one was chosen for being hard.

A label by a model (or, where the recipe says so, the gold one) stands; the others get the classifier's.
Where that is not sure enough, the field is "Other": never a confident guess. The level of the others is what the
difficulty meter shows (kept apart, as the score `level_meter`); without a meter it is the classifier's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from pydantic import Field

from boostqa.annotation.bulk import HEADS, Guess, chosen, guesses
from boostqa.annotation.difficulty import Item
from boostqa.annotation.distil import FIT_CHARS, FITTED, Example, classifiers, distilled, meter_of
from boostqa.annotation.rows import ROWS, filled, gold_of, item_of, row_of
from boostqa.annotation.trust import agreement_with_gold, calibrated, confidence_of
from boostqa.flows.label import ASSETS, Labelling, combined_level, joined, label, placed, text_of
from boostqa.identity import unit
from boostqa.record import Labels, Record
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.taxonomy import load
from boostqa.text.allot import even_shares

if TYPE_CHECKING:
    import pyarrow as pa

    from boostqa.annotation.classifier import Encoder

UNLABELLED = "unlabelled"
NOT_SELF_CONTAINED = "not_self_contained"

_FIT_ITEMS = 20_000
"""Seeds with labels of their own, about, whose texts are kept for the classifier; more teach it little."""
_POOL = 20_000
"""Items, about, among which the second sample is chosen, and at least `_POOL_TIMES` as many as it has."""
_POOL_TIMES = 10
_DOUBTS = {
    "id": "string",
    "field": "string",
    "level": "string",
    "confidence": "double",
    "second_confidence": "double",
    "why": "string",
}


class AnnotateConfig(StageConfig):
    """What is paid for and what is learned."""

    passes: Literal[1, 2, 3] = 1
    """Calls per item: 1 asks for everything at once; 2 (small models) for the field and the level apart; 3 for the
    discipline, then one of its fields, and the level."""
    sample: int = Field(default=2000, ge=0)
    """Items per head of the run that a model labels (items); spread evenly over sources and languages."""
    second_sample: int | None = Field(default=None, ge=0)
    """Further items per head, chosen where a classifier learns most from them (items); None: `sample` / 4."""
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

    @property
    def second(self) -> int:
        """Items of the second sample; 0: there is none."""
        return self.sample // 4 if self.second_sample is None else self.second_sample


class Annotate(Stage):
    """Labels every seed."""

    name: ClassVar[str] = "annotate"
    version: ClassVar[int] = 2
    Config = AnnotateConfig
    roles: ClassVar[tuple[str, ...]] = ("annotator",)
    assets: ClassVar[tuple[str, ...]] = ASSETS
    config: AnnotateConfig

    def steps(self) -> tuple[Step, ...]:
        """See the module's docstring."""
        seen = ("id", "question", "choices", "passage", "language")
        second = (
            Gather("draft", self._draft),
            Map("doubt", self._doubt, takes="table", rows=_DOUBTS, columns=seen),
            Gather("choose", self._choose),
            Map("ask", self._ask, takes="record", rows=ROWS),
        )
        return (
            Map("strata", self._strata, rows={"stratum": "string", "complete": "bool"}),
            Gather("sample", self._sample),
            Map("label", self._label, takes="record", rows=ROWS),
            *(second if self.config.second else ()),
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
        asked, gold = unit("annotate", record.id) < share, gold_of(record)
        if not asked and not (self.config.use_gold and gold.field):
            return []
        found = Labelling()
        if asked:
            # An item that is labelled to check the annotator must not be told the answer.
            known = gold if self.config.use_gold and not free else None
            found = await self._asked(record, kit, known)
        taught = asked or unit("fit", record.id) < state["text_share"]
        return [row_of(record, found, gold, taught=taught)]

    async def _asked(self, record: Record, kit: Kit, known: Labels | None) -> Labelling:
        """The model's labels; what it was told and did not find itself is left out."""
        config = self.config
        annotator = kit.model("annotator")
        found = await label(annotator, record, passes=config.passes, votes=config.votes, known=known)
        if known is None or not known.field or config.passes == 1:
            return found
        labels = msgspec.structs.replace(found.labels, field=None, discipline=None, stem=None)
        return msgspec.structs.replace(found, labels=labels)

    def _draft(self, kit: Kit) -> State:
        """The classifiers of the first sample, and the share of the other items that they are asked about."""
        items, tables = kit.state("sample")["items"], [table.select(["id"]) for table in kit.batches("label")]
        others = items - sum(len(table) for table in tables)
        pool = max(_POOL, _POOL_TIMES * self.config.second)
        state = self._distilled(kit, ("label",)) if others else {"classifier": "not needed", "heads": {}}
        return state | {"pool_share": min(1.0, pool / max(1, others))}

    def _doubt(self, table: pa.Table, kit: Kit) -> list[dict[str, Any]]:
        """What the first classifiers say of those items of the pool that have no labels."""
        state = kit.state("draft")
        if state["classifier"] != FITTED:
            return []
        known = set(kit.rows("label", ["id"])["id"].to_pylist())
        ids = table["id"].to_pylist()
        share = state["pool_share"]
        places = [i for i, own in enumerate(ids) if own not in known and unit("second", own) < share]
        rows = table.take(places).to_pylist()
        texts = [joined(row["question"], row["choices"], row["passage"])[:FIT_CHARS] for row in rows]
        found = self._guesses(state, texts, [row["language"] for row in rows])
        return [
            {"id": row["id"]} | {name: getattr(guess, name) for name in _DOUBTS if name != "id"}
            for row, guess in zip(rows, found, strict=True)
        ]

    def _choose(self, kit: Kit) -> State:
        """The ids of the second sample, sorted."""
        pool = sorted(_label_rows(kit.batches("doubt")), key=lambda row: row["id"])
        found = [Guess(**{name: row[name] for name in _DOUBTS if name != "id"}) for row in pool]
        places = chosen(found, min(self.config.second, len(pool)))
        return {"pool": len(pool), "ids": [pool[place]["id"] for place in places]}

    async def _ask(self, record: Record, kit: Kit) -> list[dict[str, Any]]:
        """The model's labels of an item of the second sample."""
        ids = kit.state("choose")["ids"]
        place = bisect_left(ids, record.id)
        if ids[place : place + 1] != [record.id]:
            return []
        gold = gold_of(record)
        found = await self._asked(record, kit, gold if self.config.use_gold else None)
        return [row_of(record, found, gold, taught=True)]

    @property
    def _paid(self) -> tuple[str, ...]:
        """The steps whose rows are labels."""
        return ("label", "ask") if self.config.second else ("label",)

    def _fit(self, kit: Kit) -> State:
        first: list[dict[str, Any]] = []
        labelled = failed = 0
        # Without texts, and of rows that nobody was asked about only the number: there may be very many.
        for step in self._paid:
            for row in _label_rows(table.drop_columns(["text"]) for table in kit.batches(step)):
                labelled += bool(self._stands(row, "field"))
                failed += bool(row["failure"])
                if row["labeller"] and step == "label":
                    first.append(row)
        items = kit.state("sample")["items"]
        state: State = {
            "items": items,
            "labelled": labelled,
            "failed": failed,
            "second": len(kit.state("choose")["ids"]) if self.config.second else 0,
            "agreement": agreement_with_gold(first),
            "confidence": confidence_of(first),
            "heads": {},
        }
        if labelled == items:
            return state | {"classifier": "not needed: every item has a label of its own"}
        if self.config.second and not state["second"]:
            return state | {name: found for name, found in kit.state("draft").items() if name != "pool_share"}
        return state | self._distilled(kit, self._paid)

    def _distilled(self, kit: Kit, steps: tuple[str, ...]) -> State:
        """Classifiers of all labels of these steps, and of what earlier heads paid for."""
        earlier = (kit.read_rows("labelled", step) for step in ("label", "ask"))
        tables = chain(*(kit.batches(step) for step in steps), *earlier)
        examples = [
            Example(
                id=row["id"],
                text=row["text"],
                language=row["language"],
                labels={head: self._stands(row, head) for head in HEADS},
                item=Item(row["asked"], row["choices"], row["solution"]),
            )
            for row in _label_rows(tables)
            if row["text"] and self._stands(row, "field")
        ]
        return distilled(examples, self.config.min_fit, self.encoder)

    def encoder(self) -> Encoder | None:
        """What the recipe adds to the classifier's words, loaded once for each process."""
        from boostqa.annotation.encoder import encoder

        return None if self.config.encoder == "none" else encoder(self.config.encoder)

    def _guesses(self, state: State, texts: list[str], languages: list[str | None]) -> list[Guess]:
        """What the classifiers of a state say; empty where there are none."""
        heads, known = classifiers(state, self.encoder), set(state.get("languages", ()))
        least = self.config.min_confidence
        return guesses(heads, texts, languages, known, least, load()) if heads else []

    def _apply(self, records: list[Record], kit: Kit) -> Iterable[Record]:
        rows = {row["id"]: row for row in _label_rows(kit.rows(step) for step in self._paid)}
        found: list[Guess] = []
        whole = {i for i, row in rows.items() if all(row[h] or row[f"gold_{h}"] for h in HEADS)}
        if not whole.issuperset(record.id for record in records):
            texts = [text_of(record)[:FIT_CHARS] for record in records]
            found = self._guesses(kit.state("fit"), texts, [record.language for record in records])
        guessed = {record.id: guess for record, guess in zip(records, found, strict=False)}
        metered = self._metered(records, rows, guessed, kit.state("fit"))
        curve = kit.state("fit")["confidence"]["curve"]
        for record in records:
            row = rows.get(record.id)
            if row and self._sure_not_alone(row, record):
                yield record.drop(kit.entry, NOT_SELF_CONTAINED, f"says {row['labeller']}")
                continue
            labels = self._own_labels(row, curve) if row else Labels()
            shown, level = metered.get(record.id, (None, None))
            labels = filled(labels, guessed.get(record.id, Guess()), level)
            if labels.field is None:
                why = row["failure"] if row else ""
                seen = why or f"not in the sample; classifier {kit.state('fit')['classifier']}"
                yield record.drop(kit.entry, UNLABELLED, seen)
                continue
            kind = "multiple_choice" if record.choices else row["question_type"] if row else None
            if shown is not None:
                record = record.score(level_meter=shown)
            yield record.edit(
                kit.entry,
                "labelled",
                f"{labels.field} {labels.level or '-'} {labels.grade or '-'} by {labels.labeller}",
                labels=labels,
                question_type=record.question_type or (kind if record.question else None),
                language=record.language or (row["found_language"] if row else None),
            )

    def _metered(
        self, records: list[Record], rows: dict[str, Any], guessed: dict[str, Guess], state: State
    ) -> dict[str, tuple[float, str]]:
        """What the difficulty meter shows of records without a level of their own, in a language that it knows."""
        meter = meter_of(state)
        own = {i for i, row in rows.items() if self._stands(row, "field") and self._stands(row, "level")}
        open_ = [r for r in records if r.id not in own and guessed.get(r.id, Guess()).level]
        if meter is None or not open_:
            return {}
        found = meter.predict([item_of(record) for record in open_])
        return {record.id: shown for record, shown in zip(open_, found, strict=True)}

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
        gold = gold_of(record)
        return self.config.use_gold and None not in (gold.field, gold.level, gold.grade)

    def _sure_not_alone(self, row: dict[str, Any], record: Record) -> bool:
        asked = self.config.drop_not_self_contained and self.config.passes == 1
        return asked and row["self_contained"] is False and bool(record.question)


def _stratum(record: Record) -> str:
    source = record.source.name if record.source else None
    return f"{source or '-'} / {record.language or '-'} / {'question' if record.question else 'passage'}"


def _label_rows(tables: Iterable[pa.Table]) -> Iterable[dict[str, Any]]:
    for table in tables:
        yield from table.to_pylist()
