"""Plan: from what the target lacks to quotas, and from what is still missing to the tasks of one round.

    quotas  gather  deficits -> quota per cell (discipline x level), what is accepted and missing, which cells
                    are given up, how many tasks each cell gets now, and the tasks as a readable table `plan`
    tasks   map     one task record per row, with the texts of its seeds

Quota. A cell weighs w = deficit ^ sharpness x STEM weight x level weight x importance of the discipline, with
deficit = 1 - shrunk accuracy of the probe (or its upper end). Quotas are whole numbers that sum to `items`,
with quota = clamp(level * w, floor, cap) (`text/allot.py`): never falling when the deficit rises.

Round. missing = quota - accepted (by obtained labels). A cell's yield is estimated from earlier rounds,
y = (hits + 5 Y) / (tasks + 5), where hits are accepted items that were asked for in this cell and landed in
it, and Y = (all hits + 20 expected_yield) / (all tasks + 20). It gets ceil(missing / y) tasks, within limits.
A cell is given up after `give_up_after` rounds with tasks and without a hit, or when no seed can feed it.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from boostqa.flows.supply import Seed, Supply, seed_rows
from boostqa.flows.tasks import PLAN, Draw, edited_rows, task_record, task_rows
from boostqa.record import Record
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.table import schema_of, tally, unrevoked
from boostqa.taxonomy import DISCIPLINES, OTHER, levels, load
from boostqa.text.allot import allot
from boostqa.text.intervals import Share, shrink

if TYPE_CHECKING:
    import pyarrow as pa

Cell = tuple[str, str]
"""(discipline, level)."""
Stock = dict[str, Counter[str]]
"""Discipline -> number of its seeds by `stem`."""
_PRIOR_ALL, _PRIOR_CELL = 20, 5
"""Tasks that the expected yield counts for, overall and per cell."""


class PlanConfig(StageConfig):
    """How much of what is wanted, and how the tasks of a round are made."""

    items: int = Field(default=1000, ge=1, json_schema_extra={"identity": "grow"})
    """Accepted items wanted in all (items). May be raised later; the run then continues."""
    rounds: int = Field(default=5, ge=1, json_schema_extra={"identity": "grow"})
    """Rounds at most until `items` is reached; counted anew when `items` is raised or a source is added."""
    strategy: Literal["deficit", "uniform", "proportional", "stem_focused"] = "deficit"
    """What weighs: the probe's deficit; nothing (all cells alike); the number of seeds; STEM and level."""
    deficit: Literal["mean", "upper"] = "mean"
    """1 - shrunk accuracy, or 1 - the lower end of its 95% interval, which favours cells known little."""
    sharpness: float = Field(default=1.0, ge=0)
    """Exponent of the deficit; above 1 spends more on the weakest cells."""
    stem_weight: dict[str, float] = {"core": 2.0, "extended": 1.5, "no": 1.0}
    """Weight of a discipline by the `stem` of its seeds' fields (mean over the seeds)."""
    levels: dict[str, float] = {"H1": 0.5, "H2": 0.75, "H3": 1.0, "H4": 1.25, "H5": 1.25}
    """Weight of each level; a level that is absent or 0 is not asked for."""
    disciplines: dict[str, float] = {}
    """Importance by discipline, 1 where not named. One without seeds is added: others' seeds feed it."""
    min_per_cell: int = Field(default=0, ge=0)
    """Floor of each cell's quota (items); lowered openly where `items` does not suffice."""
    max_per_cell: int | None = Field(default=None, ge=1)
    """Cap of each cell's quota (items); raised openly where the caps leave `items` unplaced."""
    expected_yield: float = Field(default=0.5, gt=0, le=1)
    """Accepted items per task before anything was measured."""
    min_tasks: int = Field(default=1, ge=1)
    """Tasks of a round at least, unless nothing is missing."""
    max_tasks: int = Field(default=100_000, ge=1)
    """Tasks of a round at most."""
    max_tasks_per_seed: int = Field(default=8, ge=1)
    """Tasks that one seed may lead, over all rounds."""
    give_up_after: int = Field(default=2, ge=1)
    """Rounds in which a cell may have tasks without a single hit before it is given up."""
    shard_size: int = Field(default=200, ge=1)
    """Tasks per shard (records); small ones spread a round over workers, large ones make fewer files."""
    draw: Draw = Draw()
    """How a task's route, strategy, grade, language and question type are drawn."""
    edited: str | None = Field(default=None, json_schema_extra={"identity": "free"})
    """An edited plan (CSV or Parquet, as a run writes it): its rows for a round replace the drawn ones."""

    @field_validator("disciplines")
    @classmethod
    def _known_disciplines(cls, value: dict[str, float]) -> dict[str, float]:
        known = [entry.name for entry in load().disciplines]
        unknown = sorted(name for name, weight in value.items() if name not in known or not weight >= 0)
        if unknown:
            raise ValueError(f"plan.disciplines: {unknown[0]!r}; known: {', '.join(known)}")
        return value

    @field_validator("levels")
    @classmethod
    def _known_levels(cls, value: dict[str, float]) -> dict[str, float]:
        known = [entry.name for entry in levels()]
        unknown = sorted(set(value) - set(known))
        if unknown or not any(weight > 0 for weight in value.values()):
            raise ValueError(f"plan.levels: {unknown or value}; give weights for some of {', '.join(known)}")
        return value


class Plan(Stage):
    """Makes the tasks of one round."""

    name: ClassVar[str] = "plan"
    Config = PlanConfig
    assets: ClassVar[tuple[str, ...]] = ("prompts/strategies.yaml", DISCIPLINES)
    config: PlanConfig

    def steps(self) -> tuple[Step, ...]:
        """See the module's docstring."""
        return (Gather("quotas", self._quotas), Map("tasks", self._tasks, over="quotas"))

    def wanted(self, kit: Kit) -> bool:
        """Whether something is missing that another round may bring."""
        cells, _ = self._balance(kit)
        return any(cell["missing"] and not cell["given_up"] for cell in cells) and not self._spent(kit)

    def _spent(self, kit: Kit) -> bool:
        return len(self._campaign(kit)) >= self.config.rounds

    def _campaign(self, kit: Kit) -> list[State]:
        """Plans made towards the present goal; a raised quota or a further source begins a new one."""
        goal, found = self._goal(kit), []
        for state in reversed(kit.read_states("plans", "quotas")):
            if state["goal"] != goal:
                break
            found.append(state)
        return found[::-1]

    def _goal(self, kit: Kit) -> dict[str, int]:
        return {"items": self.config.items, "heads": len(kit.read_states("probe", "cells"))}

    def _quotas(self, kit: Kit) -> State:
        supply = self._supply(kit)
        cells, notes = self._balance(kit)
        self._size(cells)
        rows: list[dict[str, Any]] | None = None
        if self.config.edited:
            rows = edited_rows(self.config.edited, kit.round, supply)
        drawn = rows is None
        if rows is None:
            rows = task_rows(cells, supply, self.config.draw, kit.round)
        else:
            notes.append(f"the tasks of this round were read from {self.config.edited}")
        made = Counter((row["discipline"], row["level"]) for row in rows)
        for cell in cells:
            cell["tasks"] = made[cell["discipline"], cell["level"]]
            # A row that a person took out of the plan says nothing about seeds.
            starved = drawn and cell["missing"] and cell["wanted_tasks"] and not cell["tasks"]
            if starved and not cell["given_up"]:
                cell |= {"given_up": True, "reason": "no_seed: every seed that could feed it is used up"}
        reach = Counter(row["reach"] for row in rows)
        if reach["any"]:
            notes.append(f"{reach['any']} tasks are fed by seeds of other disciplines, for want of their own")
        return {
            "round": kit.round,
            "goal": self._goal(kit),
            "items": self.config.items,
            "cells": cells,
            "quota": sum(cell["quota"] for cell in cells),
            "accepted": sum(cell["accepted"] for cell in cells),
            "missing": sum(cell["missing"] for cell in cells),
            "tasks": len(rows),
            "reach": dict(sorted(reach.items())),
            "given_up": [
                {key: cell[key] for key in ("discipline", "level", "missing", "reason")}
                for cell in cells
                if cell["given_up"]
            ],
            "notes": notes,
            "shards": [
                {
                    "name": f"part-{i:05d}",
                    "start": start,
                    "stop": min(start + self.config.shard_size, len(rows)),
                }
                for i, start in enumerate(range(0, len(rows), self.config.shard_size))
            ],
            "plan": _plan_table(rows),
            # For people: edit it and give it back with `boostqa run --plan`.
            "files": {"plan.csv": _plan_csv(rows)},
        }

    # ---- what there is

    def _supply(self, kit: Kit) -> Supply:
        """All seeds that may be used, with what each of them has and how often it led a task."""
        used: Counter[str] = Counter()
        for state in kit.read_states("plans", "quotas"):
            used.update(seeds.split(" ")[0] for seeds in state["plan"].column("seeds").to_pylist())
        columns = ["id", "language", "question_type", "labels", "source"]
        found: list[Seed] = []
        for ref, table in kit.read_kept("seeds", [*columns, "question", "answer", "passage", "formula"]):
            found += [seed for seed in seed_rows(ref, table, used) if seed.id not in kit.revoked]
        return Supply(found, self.config.max_tasks_per_seed)

    def _stock(self, kit: Kit) -> Stock:
        """How many seeds that may be used each discipline has, by their `stem`."""
        stock: Stock = {}
        for _, table in kit.read_kept("seeds", ["id", "parents", "labels"]):
            found = tally(unrevoked(table, kit.revoked), "labels.discipline", "labels.stem")
            for (discipline, stem), count in found.items():
                stock.setdefault(discipline or OTHER, Counter())[stem or "no"] += count
        return stock

    def _deficits(self, kit: Kit, cells: Iterable[Cell]) -> dict[Cell, Share]:
        """Shrunk accuracy per cell from all probes so far; cells that were not probed get their parents'."""
        counts = dict.fromkeys(cells, (0.0, 0.0))
        for state in kit.read_states("probe", "cells"):
            for row in state["cells"]:
                key = row["discipline"], row["level"]
                won, n = counts.get(key, (0.0, 0.0))
                counts[key] = won + row["correct"], n + row["n"]
        return shrink(counts)[0]

    # ---- what is wanted

    def _balance(self, kit: Kit) -> tuple[list[dict[str, Any]], list[str]]:
        """One row per cell (deficit, quota, accepted, missing, yield, given up), and notes for people."""
        stock = self._stock(kit)
        keys = self._cells(stock)
        shares, notes = self._deficits(kit, keys), []
        if not any(share.n for share in shares.values()):
            notes.append("the probe measured nothing: every cell counts as half known")
        rows = [self._cell(key, shares[key], stock.get(key[0], Counter())) for key in keys]
        accepted, hits = self._accepted(kit)
        plans = kit.read_states("plans", "quotas")
        before = {(c["discipline"], c["level"]): c["quota"] for c in plans[-1]["cells"]} if plans else {}
        if plans and before.keys() == set(keys) and plans[-1]["goal"] == self._goal(kit):
            quotas = [before[key] for key in keys]
        else:
            held = [min(accepted[key], before.get(key, 0)) for key in keys]
            quotas = self._fill([row["weight"] for row in rows], held, notes)
        for row, quota in zip(rows, quotas, strict=True):
            key = row["discipline"], row["level"]
            row |= {"quota": quota, "accepted": accepted[key], "missing": max(0, quota - accepted[key])}
        self._yields(rows, plans, hits)
        self._give_up(rows, self._campaign(kit), hits)
        return rows, notes

    def _cells(self, stock: Stock) -> list[Cell]:
        names = set(stock) | set(self.config.disciplines)
        chosen = sorted(name for name in names - {OTHER} if self.config.disciplines.get(name, 1.0) > 0)
        return [
            (name, level.name)
            for name in chosen
            for level in levels()
            if self.config.levels.get(level.name, 0) > 0
        ]

    def _cell(self, key: Cell, share: Share, seeds: Counter[str]) -> dict[str, Any]:
        """The cell's row, without its quota; `seeds` are those of its discipline by `stem`."""
        config, (discipline, level) = self.config, key
        deficit = 1 - (share.mean if config.deficit == "mean" else share.low)
        weights, count = config.stem_weight, seeds.total()
        stem = sum(weights.get(name, 1.0) * n for name, n in seeds.items()) / count if count else None
        if stem is None:
            stem = weights.get("no", 1.0)
        factors = {
            "deficit": deficit**config.sharpness * stem * config.levels[level],
            "stem_focused": stem * config.levels[level],
            "proportional": float(count) * config.levels[level],
            "uniform": 1.0,
        }
        return {
            "discipline": discipline,
            "level": level,
            "n": share.n,
            "accuracy": share.mean,
            "deficit": deficit,
            "seeds": count,
            "weight": factors[config.strategy] * config.disciplines.get(discipline, 1.0),
        }

    def _fill(self, weights: list[float], held: list[int], notes: list[str]) -> list[int]:
        """Quotas that sum to `items`. What is accepted within an earlier quota is never taken back."""
        if not weights:
            notes.append("no cell: there are no seeds with a discipline, and plan.disciplines names none")
            return []
        total, count = self.config.items, len(weights)
        floor = min(self.config.min_per_cell, max(0, total - sum(held)) // count)
        if floor < self.config.min_per_cell:
            notes.append(
                f"plan.min_per_cell lowered from {self.config.min_per_cell} to {floor}: {count} cells"
            )
        cap = max(self.config.max_per_cell or total, -(-total // count))
        if self.config.max_per_cell and cap > self.config.max_per_cell:
            notes.append(f"plan.max_per_cell raised from {self.config.max_per_cell} to {cap}: {count} cells")
        floors = [max(floor, own) for own in held]
        return allot(weights, max(total, sum(floors)), floors, [max(cap, low) for low in floors])

    def _accepted(self, kit: Kit) -> tuple[Counter[Cell], Counter[tuple[Cell, int]]]:
        """Accepted items by obtained cell, and by (cell, round) those that were asked for in that cell."""
        accepted: Counter[Cell] = Counter()
        hits: Counter[tuple[Cell, int]] = Counter()
        names = [f"{group}.{name}" for group in ("labels", "requested") for name in ("discipline", "level")]
        for _, table in kit.read_kept("accepted", ["id", "labels", "requested", "round", "parents"]):
            found = tally(unrevoked(table, kit.revoked), *names, "round")
            for (discipline, level, asked, at, round_), count in found.items():
                accepted[discipline or OTHER, level or "unknown"] += count
                if (discipline, level) == (asked, at):
                    hits[(asked, at), round_ or 0] += count
        return accepted, hits

    def _yields(
        self, rows: list[dict[str, Any]], plans: list[State], hits: Counter[tuple[Cell, int]]
    ) -> None:
        tasks: Counter[Cell] = Counter()
        for state in plans:
            for cell in state["cells"]:
                tasks[cell["discipline"], cell["level"]] += cell["tasks"]
        won: Counter[Cell] = Counter()
        for (key, _), count in hits.items():
            won[key] += count
        overall = (won.total() + _PRIOR_ALL * self.config.expected_yield) / (tasks.total() + _PRIOR_ALL)
        for row in rows:
            key = row["discipline"], row["level"]
            row["yield"] = (won[key] + _PRIOR_CELL * overall) / (tasks[key] + _PRIOR_CELL)

    def _give_up(
        self, rows: list[dict[str, Any]], campaign: list[State], hits: Counter[tuple[Cell, int]]
    ) -> None:
        tried: dict[Cell, list[int]] = {}
        lost: dict[Cell, str] = {}
        for state in campaign:
            for cell in state["cells"]:
                key = cell["discipline"], cell["level"]
                if cell["tasks"]:
                    tried.setdefault(key, []).append(state["round"])
                if cell["given_up"]:
                    lost[key] = cell["reason"]
        for row in rows:
            key = row["discipline"], row["level"]
            last = tried.get(key, [])[-self.config.give_up_after :]
            if len(last) == self.config.give_up_after and not any(hits[key, number] for number in last):
                lost.setdefault(
                    key, f"no_hit: {len(last)} rounds with tasks brought nothing that landed in it"
                )
            given_up = bool(row["missing"]) and key in lost
            row |= {"given_up": given_up, "reason": lost[key] if given_up else ""}

    def _size(self, rows: list[dict[str, Any]]) -> None:
        """How many tasks each cell gets in this round."""
        wanted = [
            0 if row["given_up"] else math.ceil(row["missing"] / min(1.0, row["yield"])) for row in rows
        ]
        total = sum(wanted)
        fitting = min(max(total, self.config.min_tasks), self.config.max_tasks)
        if total and fitting != total:
            caps = [fitting if number else 0 for number in wanted]
            wanted = allot([float(number) for number in wanted], fitting, caps=caps)
        for row, number in zip(rows, wanted, strict=True):
            row["wanted_tasks"] = number

    # ---- tasks

    def _tasks(self, shard: dict[str, Any], kit: Kit) -> Iterable[Record]:
        rows = kit.state("quotas")["plan"].slice(shard["start"], shard["stop"] - shard["start"]).to_pylist()
        ids: dict[str, set[str]] = {}
        for row in rows:
            for seed, ref in zip(row["seeds"].split(" "), row["refs"].split(" "), strict=True):
                ids.setdefault(ref, set()).add(seed)
        seeds = kit.lookup("seeds", ids)
        return [
            task_record(row, [seeds[name] for name in row["seeds"].split(" ")], kit.entry) for row in rows
        ]


def _plan_table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=schema_of(PLAN))


def _plan_csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(PLAN), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
