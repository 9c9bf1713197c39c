"""From cells to tasks: drawing route, strategy, grade, language and type; reading an edited plan back.

A task is one row of the plan, readable by a person; everything in it that is drawn depends on the hash of
round, cell and number alone. Asks no model.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from boostqa.errors import UserError
from boostqa.flows.supply import Seed, Supply, Wish
from boostqa.flows.vocabulary import iso_code
from boostqa.identity import digest, unit
from boostqa.prompts import Strategy, strategies
from boostqa.record import Event, Record, Requested, SeedText
from boostqa.taxonomy import OTHER, grades, levels, load, question_types
from boostqa.text.allot import choose

PLAN = {
    "task": "string",
    "round": "int64",
    "discipline": "string",
    "field": "string",
    "level": "string",
    "grade": "string",
    "language": "string",
    "question_type": "string",
    "route": "string",
    "strategy": "string",
    "seeds": "string",
    "refs": "string",
    "reach": "string",
    "seed_use": "int64",
}
"""Columns of the plan. `seeds` and `refs` (their shards) are separated by spaces, the leading seed first;
`reach` says how near that one is (field, discipline, any, edited), `seed_use` how often it led before."""
STEM_TYPES = frozenset({"calculation", "proof", "code_reading"})
"""Question types that only fields of core or extended STEM are asked for."""
ROUTES = ("multi_grade", "high_difficulty")


class Draw(BaseModel):
    """Weights from which each task is drawn; all weights are relative, 0 excludes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    high_difficulty_share: float = Field(default=0.8, ge=0, le=1)
    """Share of the tasks at `hard_levels` that take the route high_difficulty, not multi_grade (0..1)."""
    hard_levels: list[str] = ["H4", "H5"]
    """Levels for which the route high_difficulty is meant."""
    strategies: dict[str, float] = {}
    """Weights of strategies (`prompts/strategies.yaml`), per route; without any: write, or all mechanisms."""
    grades: dict[str, dict[str, float]] = {
        "H1": {"primary": 3, "middle": 3, "high": 2, "undergraduate": 1},
        "H2": {"primary": 2, "middle": 3, "high": 3, "undergraduate": 2},
        "H3": {"middle": 2, "high": 4, "undergraduate": 4, "graduate": 1},
        "H4": {"high": 2, "undergraduate": 5, "graduate": 3, "professional": 1},
        "H5": {"high": 1, "undergraduate": 3, "graduate": 5, "professional": 2},
    }
    """Weights of grades for each level."""
    languages: dict[str, float] = {}
    """Weights of languages (ISO 639-1); empty: each task has its leading seed's language."""
    question_types: dict[str, float] = {
        "multiple_choice": 4,
        "calculation": 3,
        "short_answer": 2,
        "open": 1,
        "true_false": 1,
        "proof": 0.5,
        "case_analysis": 0.5,
        "code_reading": 0,
    }
    """Weights of question types; calculation, proof and code_reading are for STEM fields only."""
    seeds_per_task: int = Field(default=1, ge=1, le=5)
    """Seeds per prompt; further ones share a knowledge point with the leading one, and licences may meet."""
    cross_discipline_share: float = Field(default=0.0, ge=0, le=1)
    """Share of tasks that get one more seed, from another discipline (0..1)."""

    @field_validator("strategies", "question_types")
    @classmethod
    def _known(cls, value: dict[str, float], info: Any) -> dict[str, float]:
        known = list(strategies()) if info.field_name == "strategies" else [t.name for t in question_types()]
        for name, weight in value.items():
            if name not in known or not weight >= 0:
                raise ValueError(f"plan.draw.{info.field_name}: {name}: {weight}; {_near(name, known)}")
        return value

    @field_validator("grades")
    @classmethod
    def _known_grades(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        known = [entry.name for entry in grades()]
        for level in levels():
            weights = value.get(level.name)
            if not weights or set(weights) - set(known) or not any(weight > 0 for weight in weights.values()):
                wanted = f"weights for some of {', '.join(known)}"
                raise ValueError(f"plan.draw.grades.{level.name}: {weights}; give {wanted}")
        return value


def task_rows(
    cells: Iterable[Mapping[str, Any]], supply: Supply, draw: Draw, round_: int
) -> list[dict[str, Any]]:
    """Rows of `PLAN`: for each cell as many as its `wanted_tasks`, fewer where no seed can feed it any more.

    Tasks of one leading seed stand together, so that its prompts leave together.
    """
    rows = []
    for cell in cells:
        discipline = cell["discipline"]
        named = supply.fields(discipline) or [field.name for field in load().of(discipline)]
        fields = [name for name in named if name != OTHER] or named
        start = int(unit("start", round_, discipline, cell["level"]) * len(fields))
        for number in range(cell["wanted_tasks"]):
            key = (round_, discipline, cell["level"], number)
            row = _row(key, fields[(start + number) % len(fields)], supply, draw)
            if row is None:
                break
            rows.append(row)
    return sorted(rows, key=lambda row: (row["refs"], row["seeds"], row["task"]))


def _row(key: tuple[int, str, str, int], field: str, supply: Supply, draw: Draw) -> dict[str, Any] | None:
    round_, discipline, level, _ = key
    hard = level in draw.hard_levels and unit("route", *key) < draw.high_difficulty_share
    language = choose(draw.languages, unit("language", *key)) if draw.languages else None
    for strategy in _strategies(draw, ROUTES[hard], unit("strategy", *key)):
        wish = Wish(discipline=discipline, field=field, level=level, language=language, strategy=strategy)
        found = supply.take(wish)
        if found:
            break
    else:
        return None
    lead, reach = found
    used = lead.used - 1
    others = [] if strategy.checked else _others(key, lead, supply, draw)
    seeds = [lead, *others]
    grade = choose(draw.grades[level], unit("grade", *key))
    return {
        "task": digest("task", *key, strategy.name, [seed.id for seed in seeds]),
        "round": round_,
        "discipline": discipline,
        "field": lead.field if (strategy.checked or reach == "discipline") and lead.field != OTHER else field,
        "level": level,
        "grade": (lead.grade if strategy.checked else None) or grade,
        "language": (lead.language if strategy.checked else language) or lead.language or "en",
        "question_type": _type(strategy, lead, draw, field, unit("type", *key)),
        "route": strategy.route,
        "strategy": strategy.name,
        "seeds": " ".join(seed.id for seed in seeds),
        "refs": " ".join(seed.ref for seed in seeds),
        "reach": reach,
        "seed_use": used,
    }


def _strategies(draw: Draw, route: str, point: float) -> list[Strategy]:
    """The drawn strategy of a route, then the others by weight, for seeds that cannot feed the first."""
    known = {name: item for name, item in strategies().items() if item.route == route}
    weights = {name: draw.strategies[name] for name in known if draw.strategies.get(name, 0) > 0}
    if not weights:
        weights = {"write": 1.0} if route == "multi_grade" else dict.fromkeys(known, 1.0)
    first = choose(weights, point)
    rest = sorted((name for name in weights if name != first), key=lambda name: (-weights[name], name))
    return [known[name] for name in (first, *rest)]


def _others(key: tuple[int, str, str, int], lead: Seed, supply: Supply, draw: Draw) -> list[Seed]:
    others = supply.linked(lead, draw.seeds_per_task - 1) if draw.seeds_per_task > 1 else []
    if unit("across", *key) < draw.cross_discipline_share:
        far = supply.across(lead)
        if far is not None and all(supply.may_meet(far, other) for other in others):
            others.append(far)
    return others


def _type(strategy: Strategy, lead: Seed, draw: Draw, field: str, point: float) -> str | None:
    if len(strategy.question_types) == 1:
        return strategy.question_types[0]
    if strategy.checked:
        return lead.question_type
    weights = {
        name: weight
        for name, weight in draw.question_types.items()
        if name in (strategy.question_types or draw.question_types)
        and (name not in STEM_TYPES or (field in load() and load().stem(field) != "no"))
    }
    return choose(weights, point) if any(weights.values()) else "open"


def task_record(row: Mapping[str, Any], seeds: Sequence[Record], entry: str) -> Record:
    """The task of one row of the plan, with its seeds' texts."""
    return Record(
        id=row["task"],
        kind="task",
        parents=[seed.id for seed in seeds],
        language=row["language"],
        question_type=row["question_type"],
        requested=Requested(
            discipline=row["discipline"],
            field=row["field"],
            level=row["level"],
            grade=row["grade"],
            language=row["language"],
            question_type=row["question_type"],
            route=row["route"],
            strategy=row["strategy"],
        ),
        seeds=[_seed_text(seed) for seed in seeds],
        scores={"seed_use": float(row["seed_use"])},
        round=row["round"],
        history=[Event(stage=entry, action="born", detail=f"seed from {row['reach']}")],
    )


def _seed_text(seed: Record) -> SeedText:
    return SeedText(
        id=seed.id,
        question=seed.question,
        choices=seed.choices,
        answer=seed.answer,
        solution=seed.solution,
        passage=seed.passage,
        formula=seed.formula,
        variables=seed.variables,
        language=seed.language,
        field=seed.labels.field,
        level=seed.labels.level,
        grade=seed.labels.grade,
        source=seed.source.name if seed.source else None,
        license=seed.source.license if seed.source else None,
        cluster=seed.dup_cluster,
    )


def edited_rows(path: str, round_: int, supply: Supply) -> list[dict[str, Any]] | None:
    """The rows of an edited plan that are meant for this round, checked; None where it has none.

    Raises:
        UserError: names file, row, column, value and what is known: a missing column, an unknown label, a
            field of another discipline, a language that is no code, a seed that is not there (or was taken
            down) or lacks what the strategy needs, seeds whose licences may not meet.
    """
    rows = [(n, row) for n, row in _read(path) if str(row["round"]) == str(round_)]
    made = []
    for n, row in rows:
        place = f"{path}: row {n}"
        _check(place, row)
        seeds = _named_seeds(place, row, supply)
        used = seeds[0].used
        seeds[0].used += 1
        plain = {name: str(row[name] or "") or None for name in PLAN if PLAN[name] == "string"}
        made.append(
            plain
            | {
                "task": digest(
                    "task", round_, n, {name: plain[name] for name in sorted(plain) if name != "refs"}
                ),
                "round": round_,
                "seeds": " ".join(seed.id for seed in seeds),
                "refs": " ".join(seed.ref for seed in seeds),
                "reach": "edited",
                "seed_use": used,
            }
        )
    return made or None


def _named_seeds(place: str, row: Mapping[str, Any], supply: Supply) -> list[Seed]:
    """The seeds of one row of an edited plan, by the rules that hold for drawn ones; `_check` comes first."""
    seeds: list[Seed] = []
    for name in str(row["seeds"] or "").split():
        if name not in supply.by_id:
            raise UserError(f"{place}: seeds: {name!r} is not a seed of this run; remove the row")
        seed = supply.by_id[name]
        for other in seeds:
            if not supply.may_meet(seed, other):
                licences = f"{other.license} and {seed.license}"
                raise UserError(
                    f"{place}: seeds: {other.id!r} and {name!r} may not be used together ({licences}); "
                    "remove one of them"
                )
        seeds.append(seed)
    if not seeds:
        raise UserError(f"{place}: seeds: empty; a task needs at least one seed id")
    strategy = str(row["strategy"] or "")
    lacking = [need for need in strategies()[strategy].needs if need not in seeds[0].has] if strategy else []
    if lacking:
        raise UserError(
            f"{place}: strategy: {strategy!r} needs a seed with {' and '.join(lacking)}, which "
            f"{seeds[0].id!r} has not; choose another seed or strategy"
        )
    return seeds


def _read(path: str) -> Iterable[tuple[int, dict[str, Any]]]:
    """(row number as a spreadsheet shows it, row) of a CSV or Parquet file."""
    try:
        if path.endswith(".parquet"):
            import pyarrow.parquet as pq

            rows = pq.read_table(path).to_pylist()
        else:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a plan ({error}); give the plan.csv of a run") from None
    missing = sorted({"round", "seeds", *_CHECKED} - set(rows[0] if rows else ()))
    if missing:
        raise UserError(f"{path}: columns {', '.join(missing)} are missing; start from the plan.csv of a run")
    return enumerate(rows, start=2)


_CHECKED = ("discipline", "field", "level", "grade", "question_type", "route", "strategy", "language")


def _check(place: str, row: Mapping[str, Any]) -> None:
    tree = load()
    known = {
        "discipline": [entry.name for entry in tree.disciplines],
        "field": [entry.name for entry in tree.fields],
        "level": [entry.name for entry in levels()],
        "grade": [entry.name for entry in grades()],
        "question_type": [entry.name for entry in question_types()],
        "route": list(ROUTES),
        "strategy": list(strategies()),
    }
    for column, names in known.items():
        value = str(row[column] or "")
        if value not in names and (value or column in ("discipline", "level", "route")):
            raise UserError(f"{place}: {column}: {value!r} is not known; {_near(value, names)}")
    if iso_code(str(row["language"] or "")) != row["language"]:
        raise UserError(f"{place}: language: {row['language']!r} is no ISO 639-1 code, such as en or zh")
    if row["field"] and tree.parent(row["field"]) != row["discipline"]:
        parent = tree.parent(row["field"])
        raise UserError(
            f"{place}: field: {row['field']!r} belongs to {parent!r}, not to {row['discipline']!r}"
        )
    if row["strategy"] and strategies()[row["strategy"]].route != row["route"]:
        route = strategies()[row["strategy"]].route
        raise UserError(
            f"{place}: strategy: {row['strategy']!r} is of the route {route!r}, not {row['route']!r}"
        )


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=2)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
