"""Which seeds feed which task: own field first, then discipline, then any; least used first, then by hash.

Strategies that keep the seed's question (their answer is the seed's) also keep its field and level, so for
them only seeds of the wanted discipline and level will do. Seeds are linked only where licences may meet.
Asks no model and reads no file: seeds come in as rows, and what was chosen goes out.
"""

from __future__ import annotations

import heapq
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.identity import unit
from boostqa.licences import compatible
from boostqa.prompts import Strategy
from boostqa.taxonomy import OTHER

if TYPE_CHECKING:
    import pyarrow as pa

_LOOKED_AT = 200
"""Seeds that a search for a further seed looks at."""


class Seed(msgspec.Struct, kw_only=True, gc=False):
    """What choosing needs to know of a seed; there is one for every seed of the run, hence small."""

    id: str
    ref: str
    """Reference of its shard."""
    discipline: str
    field: str
    level: str | None = None
    grade: str | None = None
    language: str | None = None
    license: str | None = None
    stem: str | None = None
    question_type: str | None = None
    has: frozenset[str] = frozenset()
    """Which of question, answer, passage and formula it has."""
    points: tuple[str, ...] = ()
    """Knowledge points."""
    used: int = 0
    """Tasks that it leads, earlier rounds included."""
    order: float = 0.0
    """0..1 by the hash of its id."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a task needs of its leading seed."""

    discipline: str
    field: str | None
    level: str
    language: str | None
    """None: any."""
    strategy: Strategy


class Supply:
    """The seeds of a run, handed out so that each leads at most `cap` tasks."""

    def __init__(self, seeds: Sequence[Seed], cap: int) -> None:
        self.seeds = sorted(seeds, key=lambda seed: (seed.order, seed.id))
        self.by_id = {seed.id: seed for seed in self.seeds}
        self.cap = cap
        self._lines: dict[tuple[Any, ...], list[tuple[int, float, str]]] = {}
        self._by_discipline: dict[str, list[Seed]] = defaultdict(list)
        self._by_point: dict[str, list[Seed]] = defaultdict(list)
        for seed in self.seeds:
            self._by_discipline[seed.discipline].append(seed)
            for point in seed.points:
                self._by_point[point.casefold()].append(seed)

    def fields(self, discipline: str) -> list[str]:
        """Fields of a discipline that have seeds, in an order of their own per discipline."""
        names = {seed.field for seed in self._by_discipline[discipline]}
        return sorted(names, key=lambda name: unit("field", discipline, name))

    def take(self, wish: Wish) -> tuple[Seed, str] | None:
        """The leading seed for a task and how near it is (field, discipline or any); None if none will do."""
        for how, key in _tiers(wish):
            seed = self._next(key, wish.strategy.needs)
            if seed is not None:
                return seed, how
        return None

    def _next(self, key: tuple[str | None, ...], needs: list[str]) -> Seed | None:
        name = (*key, *needs)
        if name not in self._lines:
            self._lines[name] = [(seed.used, seed.order, seed.id) for seed in self._matching(key, needs)]
            heapq.heapify(self._lines[name])
        line = self._lines[name]
        while line:
            used, order, identifier = line[0]
            seed = self.by_id[identifier]
            if seed.used >= self.cap:
                heapq.heappop(line)
            elif seed.used != used:
                # It was handed out through another line meanwhile.
                heapq.heapreplace(line, (seed.used, order, identifier))
            else:
                seed.used += 1
                heapq.heapreplace(line, (seed.used, order, identifier))
                return seed
        return None

    def _matching(self, key: tuple[str | None, ...], needs: list[str]) -> Iterable[Seed]:
        discipline, field, level, language = key
        for seed in self._by_discipline[discipline] if discipline else self.seeds:
            fits = seed.field == field or field is None
            fits = fits and (seed.level == level or level is None)
            fits = fits and (seed.language == language or language is None)
            if fits and seed.has.issuperset(needs):
                yield seed

    def linked(self, lead: Seed, count: int) -> list[Seed]:
        """At most `count` further seeds that share a knowledge point with `lead` and may be used with it.

        Of a point that many seeds share only some are looked at, other ones for each leading seed.
        """
        chosen = [lead]
        for seed in self._near(lead):
            if len(chosen) > count:
                break
            if seed not in chosen and all(self.may_meet(seed, other) for other in chosen):
                chosen.append(seed)
        return chosen[1:]

    def _near(self, lead: Seed) -> Iterable[Seed]:
        """Some seeds of each of its points, from a place in their (hashed) order that `lead` decides."""
        starts = {point.casefold(): unit("link", lead.id, point.casefold()) for point in lead.points}
        for point in sorted(starts, key=lambda point: starts[point]):
            line = self._by_point[point]
            for step in range(min(len(line), _LOOKED_AT)):
                yield line[(int(starts[point] * len(line)) + step) % len(line)]

    def across(self, lead: Seed) -> Seed | None:
        """A seed of another discipline that may be used with `lead`; None where a short search finds none."""
        start = int(unit("across", lead.id, lead.used) * len(self.seeds))
        for step in range(min(len(self.seeds), _LOOKED_AT)):
            seed = self.seeds[(start + step) % len(self.seeds)]
            if seed.discipline != lead.discipline and self.may_meet(seed, lead):
                return seed
        return None

    @staticmethod
    def may_meet(one: Seed, other: Seed) -> bool:
        """Whether the two seeds' licences allow one text made from both."""
        return compatible(one.license, other.license)


def _tiers(wish: Wish) -> Iterable[tuple[str, tuple[str | None, ...]]]:
    """(how near, (discipline, field, level, language)) from the nearest to the farthest that will do."""
    where, field, language = wish.discipline, wish.field, wish.language
    if wish.strategy.checked:
        yield "field", (where, field, wish.level, language)
        yield "discipline", (where, None, wish.level, language)
        return
    for spoken in dict.fromkeys((language, None)):
        yield "field", (where, field, None, spoken)
        yield "discipline", (where, None, None, spoken)
    yield "any", (None, None, None, None)


def seed_rows(ref: str, table: pa.Table, used: Mapping[str, int]) -> Iterable[Seed]:
    """Kept seeds as the supply wants them; of texts (where the table has them) only whether there are any."""
    import pyarrow.compute as pc

    parts = [name for name in ("question", "answer", "passage", "formula") if name in table.column_names]
    there = {name: pc.greater(pc.binary_length(table.column(name)), 0).to_pylist() for name in parts}
    plain = table.select(["id", "language", "question_type", "labels", "source"]).to_pylist()
    one: dict[Any, Any] = {}
    for i, row in enumerate(plain):
        labels, source = row["labels"], row["source"] or {}
        has = frozenset(name for name in parts if there[name][i])
        yield Seed(
            id=row["id"],
            ref=ref,
            discipline=sys.intern(labels["discipline"] or OTHER),
            field=sys.intern(labels["field"] or OTHER),
            level=_interned(labels["level"]),
            grade=_interned(labels["grade"]),
            language=_interned(row["language"]),
            license=_interned(source.get("license")),
            stem=_interned(labels["stem"]),
            question_type=_interned(row["question_type"]),
            has=one.setdefault(has, has),
            points=tuple(map(sys.intern, labels["knowledge_points"] or ())),
            used=used.get(row["id"], 0),
            order=unit("plan", row["id"]),
        )


def _interned(text: str | None) -> str | None:
    """The one copy of a word that very many seeds share."""
    return text and sys.intern(text)
