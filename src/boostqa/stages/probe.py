"""Probe: what the target model can and cannot do, per discipline and level, on items that are never seeds.

    items   map      held-out items, by cell, and whether they can be checked
    index   gather   n-grams of the held-out questions (`flows/contamination.py`)
    chosen  gather   share of each cell's items that is asked, so that large cells do not eat the budget
    ask     map      one row per item: right or wrong (or a share of attempts), bits per byte, method
    cells   gather   the matrix: n, accuracy, shrunk accuracy with a 95% interval (`text/intervals.py`), notes
    decide  map      held-out items are dropped, and what gives one of them away; all others go on as seeds

How an item is asked, and what is done where an endpoint cannot do it, stands in `flows/probing.py`. A call
that failed leaves the item unscored and counted, never wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
from pydantic import Field

from boostqa.flows.contamination import index_of
from boostqa.flows.indexed import Item, answer_text, build
from boostqa.flows.probing import Manner, Method, ask, checkable
from boostqa.identity import unit
from boostqa.record import Record
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.taxonomy import OTHER, levels
from boostqa.text.allot import even_shares
from boostqa.text.intervals import Share, shrink, wilson

HELD_OUT, OVERLAP = "held_out", "holdout_overlap"
UNKNOWN_LEVEL = "unknown"

_ROWS = {
    "id": "string",
    "discipline": "string",
    "field": "string",
    "level": "string",
    "grade": "string",
    "language": "string",
    "method": "string",
    "attempts": "int64",
    "truncated": "int64",
    "correct": "double",
    "choice_logprob": "double",
    "bits": "double",
    "answer_bytes": "int64",
    "bits_per_byte": "double",
    "can_score": "bool",
    "note": "string",
}


_QUESTIONS = {"id": "string", "question": "string", "answer": "string", "choices": "list<string>"}


class _Overlap(msgspec.Struct, frozen=True):
    """How a held-out question is looked for in seeds: as benchmarks are by default (`decontaminate`)."""

    ngram: int = 13
    short_ngram: int = 8
    short_cjk_ngram: int = 10
    threshold: float = 0.5


class ProbeConfig(StageConfig):
    """What is held out and how the target is asked."""

    share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the duplicate clusters of question seeds that is held out, by the cluster's hash (0..1)."""
    max_items: int | None = Field(default=2000, ge=0)
    """Held-out items that are asked (items per head), spread evenly over cells; null: all."""
    samples: int = Field(default=1, ge=1)
    """Attempts per item; for multiple choice with the options rotated each time."""
    methods: list[Method] = ["likelihood", "choice", "generate"]
    """Allowed methods, the preferred one first."""
    short: bool = True
    """Ask for the answer alone; False lets the target work the solution out first."""
    max_tokens: int = Field(default=256, ge=1)
    """Limit of a generated answer (tokens)."""

    def manner(self) -> Manner:
        """How each item is asked."""
        return Manner(
            methods=tuple(self.methods), samples=self.samples, short=self.short, max_tokens=self.max_tokens
        )


class Probe(Stage):
    """Asks the target held-out items and keeps them from ever becoming seeds.

    Drops: `held_out`, and `holdout_overlap` for a seed that contains a held-out question.
    """

    name: ClassVar[str] = "probe"
    version: ClassVar[int] = 2
    Config = ProbeConfig
    roles: ClassVar[tuple[str, ...]] = ("target",)
    assets: ClassVar[tuple[str, ...]] = ("prompts/solve.j2", "prompts/solve_short.j2")
    config: ProbeConfig

    def steps(self) -> tuple[Step, ...]:
        """See the module's docstring."""
        return (
            Map("items", self._items, rows={"cell": "string", "checkable": "bool", **_QUESTIONS}),
            Gather("index", self._index),
            Gather("chosen", self._chosen),
            Map("ask", self._ask, takes="record", rows=_ROWS),
            Gather("cells", self._cells),
            Map("decide", self._decide),
        )

    def _held(self, record: Record) -> bool:
        """Whether the record is held out: a matter of its duplicate cluster alone, never of the target.

        A question without an answer is held out with its cluster: it asks what the others of it ask.
        """
        is_question = bool(record.question)
        return is_question and unit("holdout", record.dup_cluster or record.id) < self.config.share

    def _items(self, records: list[Record], kit: Kit) -> Iterable[dict[str, Any]]:
        return [
            {
                "cell": _cell(record),
                "checkable": checkable(record),
                "id": record.id,
                "question": record.question,
                "answer": answer_text(record.choices, record.answer),
                "choices": record.choices,
            }
            for record in records
            if self._held(record)
        ]

    def _index(self, kit: Kit) -> State:
        columns = list(_QUESTIONS)
        rows = (row for table in kit.batches("items") for row in table.select(columns).to_pylist())
        return build((Item(benchmark="held-out", **row) for row in rows), _Overlap())

    def _chosen(self, kit: Kit) -> State:
        counts: Counter[str] = Counter()
        held = 0
        for table in kit.batches("items"):
            held += len(table)
            counts.update(
                row["cell"] for row in table.select(["cell", "checkable"]).to_pylist() if row["checkable"]
            )
        wanted = counts.total() if self.config.max_items is None else self.config.max_items
        return {"held_out": held, "checkable": counts.total(), "shares": even_shares(counts, wanted)}

    async def _ask(self, record: Record, kit: Kit) -> list[dict[str, Any]]:
        targets = kit.all_models("target")
        if not targets or not self._held(record) or not checkable(record):
            return []
        if unit("probe", record.id) >= kit.state("chosen")["shares"].get(_cell(record), 0.0):
            return []
        found = await ask(targets[0], record, self.config.manner(), kit.rng(record.id))
        labels = record.labels
        return [
            {
                "id": record.id,
                "discipline": labels.discipline or OTHER,
                "field": labels.field or OTHER,
                "level": labels.level or UNKNOWN_LEVEL,
                "grade": labels.grade,
                "language": record.language,
                "can_score": targets[0].abilities.score,
                "bits_per_byte": found.bits / found.answer_bytes
                if found.bits and found.answer_bytes
                else None,
                **msgspec.structs.asdict(found),
            }
        ]

    def _cells(self, kit: Kit) -> State:
        rows = [row for table in kit.batches("ask") for row in table.to_pylist()]
        rows.sort(key=lambda row: row["id"])
        scored = [row for row in rows if row["correct"] is not None]
        counts: dict[tuple[str, str], tuple[float, float]] = {}
        for discipline in sorted({row["discipline"] for row in rows}):
            for level in levels():
                counts[discipline, level.name] = (0.0, 0.0)
        for row in scored:
            key = row["discipline"], row["level"]
            won, n = counts.get(key, (0.0, 0.0))
            counts[key] = won + row["correct"], n + 1
        cells, disciplines, overall = shrink(counts)
        bits = _bits(rows, lambda row: (row["discipline"], row["level"]))
        return {
            "cells": [
                {"discipline": d, "level": level, **_plain(share, counts[d, level][0])}
                | {"bits_per_byte": bits.get((d, level))}
                for (d, level), share in cells.items()
            ],
            "disciplines": [{"discipline": d, **_plain(share, None)} for d, share in disciplines.items()],
            "overall": _plain(overall, None) | {"bits_per_byte": _bits(rows, lambda _: "all").get("all")},
            "by": {name: _margin(scored, name) for name in ("level", "field", "grade", "language", "method")},
            "asked": len(rows),
            "scored": len(scored),
            "truncated": sum(row["truncated"] for row in rows),
            "unscored": dict(sorted(Counter(r["note"] for r in rows if r["correct"] is None).items())),
            "held_out": kit.state("chosen")["held_out"],
            "checkable": kit.state("chosen")["checkable"],
            "notes": self._notes(rows),
        }

    def _notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """What the matrix does not say by itself."""
        if not rows:
            return [
                "nothing was asked: no target, or no held-out item that can be checked; all cells count alike"
            ]
        notes = []
        if not any(row["can_score"] for row in rows):
            notes.append("bits per byte are not available: the target's endpoint scores no given text")
        if any(row["method"] == "choice" for row in rows):
            notes.append(
                "multiple choice by the probabilities of the letters, not by the likelihood of the options"
            )
        if any(row["method"] == "generate" for row in rows):
            notes.append(
                "generated answers compared by rule; another wording of a right answer may count as wrong"
            )
        cut = sum(row["truncated"] for row in rows)
        if cut:
            notes.append(
                f"{cut} attempts were cut off before an answer; they count as wrong only where the target was "
                "to work the solution out (probe.short: false); raise probe.max_tokens"
            )
        return notes

    def _decide(self, records: list[Record], kit: Kit) -> Iterable[Record]:
        asked = {row["id"]: row["correct"] for row in kit.rows("ask").to_pylist()}
        index = index_of(kit.state("index"), _Overlap())
        for record in records:
            if not self._held(record):
                score, name = index.score(_item(record))
                if score >= _Overlap().threshold:
                    record = record.drop(kit.entry, OVERLAP, f"{name} score {score:.2f}")
                yield record
                continue
            right = asked.get(record.id)
            scored = record if right is None else record.score(probe_correct=right)
            cluster = record.dup_cluster or record.id
            yield scored.drop(
                kit.entry, HELD_OUT, f"cluster {cluster} is in the hold-out of {self.config.share:g}"
            )


def _cell(record: Record) -> str:
    return f"{record.labels.discipline or OTHER} / {record.labels.level or UNKNOWN_LEVEL}"


def _item(record: Record) -> Item:
    """A seed, as the held-out questions are looked for in it."""
    return Item(
        id=record.id,
        benchmark="",
        question=record.question,
        passage=record.passage,
        choices=record.choices,
        answer=answer_text(record.choices, record.answer),
    )


def _plain(share: Share, correct: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {"n": share.n} if correct is None else {"n": share.n, "correct": correct}
    return found | {"accuracy": share.raw, "shrunk": share.mean, "low": share.low, "high": share.high}


def _bits(rows: list[dict[str, Any]], key: Any) -> dict[Any, float]:
    """Bits per byte by group: all bits over all bytes, so that long answers weigh more than short ones."""
    sums: dict[Any, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        if row["bits"] is not None and row["answer_bytes"]:
            sums[key(row)][0] += row["bits"]
            sums[key(row)][1] += row["answer_bytes"]
    return {name: bits / size for name, (bits, size) in sums.items()}


def _margin(rows: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """n, accuracy and Wilson's interval by one column alone."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        sums[row[name] or "-"][0] += row["correct"]
        sums[row[name] or "-"][1] += 1
    return {
        key: {"n": n, "accuracy": won / n, **dict(zip(("low", "high"), wilson(won, n), strict=True))}
        for key, (won, n) in sorted(sums.items())
    }
