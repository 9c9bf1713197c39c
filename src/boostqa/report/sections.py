"""The report's sections as plain data: what `page.html.j2` shows, computed from numbers, facts and states."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from boostqa.pipeline import part_of
from boostqa.report import charts
from boostqa.report.facts import NOT_KNOWN, Pair, Released, Seeds
from boostqa.report.samples import Example
from boostqa.taxonomy import OTHER, grades, levels

LEVELS = tuple(level.name for level in levels())

ABOUT = {
    "seeds": "reads the sources",
    "dedup": "keeps one of each",
    "decontaminate": "takes out what benchmarks ask",
    "annotate": "finds field, level and grade",
    "probe": "asks the target, holds items out",
    "plan": "asks for what is missing",
    "synthesize": "writes questions and answers",
    "refine": "a second model checks each answer",
    "verify": "lets through what evidence supports",
    "dataset": "releases exactly the planned number",
}
"""Pipeline entry -> what it does, in a few words."""


def words(reason: str) -> str:
    """A snake_case constant for people."""
    return reason.replace("_", " ")


def flow(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One group per segment: its stages with counts, top reasons and a picture."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["counts"]:
            groups[row["segment"]].append(row)
    found = []
    last = [name for name in groups if part_of(name) == "round"][-1:]
    rounds = sum(part_of(name) == "round" for name in groups)
    for segment, members in groups.items():
        totals = [row["counts"]["kept"] + row["counts"]["dropped"] for row in members]
        stages = []
        for i, row in enumerate(members):
            counts = row["counts"]
            after = totals[i + 1] if i + 1 < len(members) else None
            name = row["entry"]
            title = f"{name}: {counts['kept']:,} kept, {counts['dropped']:,} dropped"
            reasons = Counter(counts["reasons"]).most_common()
            stages.append(
                {
                    "name": name,
                    "about": ABOUT.get(name, ""),
                    "counts": counts,
                    "done": row["done"],
                    "reasons": [(words(reason), n) for reason, n in reasons[:3]],
                    "more": sum(n for _, n in reasons[3:]),
                    "svg": charts.flow(counts["kept"], counts["dropped"], after, max(totals), title),
                }
            )
        shown = part_of(segment) != "round" or rounds <= 3 or segment in last
        found.append(
            {"title": _title(segment), "stages": stages, "open": shown, "kept": stages[-1]["counts"]["kept"]}
        )
    return found


def _title(segment: str) -> str:
    if segment == "head":
        return "Seeds"
    if segment == "release":
        return "Release"
    kind, _, number = segment.partition("-")
    return f"Round {number}" if kind == "round" else f"Further seeds {number}"


def probe_cells(states: Iterable[dict[str, Any]]) -> dict[Pair, dict[str, Any]]:
    """(discipline, level) -> n, accuracy, shrunk, low, high over all heads; the latest estimate stands."""
    found: dict[Pair, dict[str, Any]] = {}
    for state in states:
        for cell in state["cells"]:
            key = cell["discipline"], cell["level"]
            before = found.get(key, {"n": 0, "correct": 0.0})
            n, correct = before["n"] + cell["n"], before["correct"] + cell.get("correct", 0.0)
            estimate = cell if cell["n"] or key not in found else before
            found[key] = {**estimate, "n": n, "correct": correct, "accuracy": correct / n if n else None}
    return found


def disciplines(order: list[str], *groups: Iterable[Pair]) -> list[str]:
    """Disciplines of any of the cells, in the given order, others after them."""
    there = {name for group in groups for name, _ in group}
    return [*(name for name in order if name in there), *sorted(there - set(order), key=_others_last)]


def _others_last(name: str) -> tuple[bool, str]:
    return name in (OTHER, NOT_KNOWN), name


def matrix(
    probe: Mapping[Pair, Mapping[str, Any]], plan: list[dict[str, Any]], seeds: Seeds, names: list[str]
) -> dict[str, Any]:
    """Rows of the deficit matrix: per cell deficit (0..1), its shade, accuracy, interval, n and seeds."""
    planned = {(cell["discipline"], cell["level"]): cell for cell in plan}
    columns = columns_of(probe, planned)
    measured = [1 - cell["shrunk"] for cell in probe.values() if cell["n"]]
    least, span = min(measured, default=0.0), max(measured, default=1.0) - min(measured, default=0.0)
    rows = []
    for name in names:
        cells = []
        for level in columns:
            found, asked = probe.get((name, level), {}), planned.get((name, level), {})
            n = found.get("n") or 0
            deficit: float | None = 1 - found["shrunk"] if n else asked.get("deficit")
            text = f"{name} {level}: {n:g} items, estimate {found.get('shrunk', 0):.0%}"
            cells.append(
                {
                    "level": level,
                    "n": n,
                    "deficit": deficit,
                    "shade": _shade(1 - found["shrunk"], least, span) if n else 0.0,
                    "accuracy": found.get("accuracy") if n else None,
                    "low": found.get("low"),
                    "high": found.get("high"),
                    "seeds": seeds.cells.get((name, level), 0),
                    "svg": charts.interval(found["low"], found["high"], found["shrunk"], text) if n else "",
                }
            )
        rows.append({"name": name, "cells": cells})
    return {"columns": columns, "rows": rows}


def _shade(deficit: float, least: float, span: float) -> float:
    """0..1; stretched over what was measured, unless all cells are about alike."""
    return 0.12 + 0.88 * (deficit - least) / span if span > 0.1 else deficit


def delivery(
    plan: list[dict[str, Any]], accepted: Mapping[Pair, int], released: Released, names: list[str]
) -> dict[str, Any]:
    """Rows of quota against delivered per cell, and whether the goals were met."""
    planned = {(cell["discipline"], cell["level"]): cell for cell in plan}
    delivered = released.cells if released.total else accepted
    columns = columns_of(planned, delivered)
    rows = []
    for name in names:
        cells = []
        for level in columns:
            cell = planned.get((name, level), {})
            quota, got = cell.get("quota", 0), delivered.get((name, level), 0)
            cells.append(
                {
                    "level": level,
                    "quota": quota,
                    "got": got,
                    "given_up": bool(cell.get("given_up")) and got < quota,
                    "svg": charts.bar(got, quota or got) if quota or got else "",
                }
            )
        rows.append({"name": name, "cells": cells})
    quota = sum(cell["quota"] for cell in plan)
    filled = sum(min(cell["quota"], delivered.get(key, 0)) for key, cell in planned.items())
    return {
        "columns": columns,
        "rows": rows,
        "quota": quota,
        "filled": filled,
        "met": bool(quota) and filled >= quota,
    }


def columns_of(*groups: Iterable[Pair]) -> list[str]:
    """H1..H5, and what else stands for a level in the cells."""
    there = {level for group in groups for _, level in group}
    return [*LEVELS, *sorted(there - set(LEVELS))]


def level_matrix(pairs: Mapping[Pair, int]) -> dict[str, Any]:
    """Requested against obtained level: picture, table, and how often the wish was met."""
    rows = [level for level in (*LEVELS, NOT_KNOWN) if any(wish == level for wish, _ in pairs)]
    columns = [*LEVELS, *([NOT_KNOWN] if any(got == NOT_KNOWN for _, got in pairs) else [])]
    short = {NOT_KNOWN: "none"}
    renamed = {(short.get(wish, wish), short.get(got, got)): n for (wish, got), n in pairs.items()}
    compared = {(w, g): n for (w, g), n in pairs.items() if w in LEVELS and g in LEVELS}
    total = sum(compared.values())
    return {
        "total": sum(pairs.values()),
        "compared": total,
        "exact": sum(n for (w, g), n in compared.items() if w == g),
        "below": sum(n for (w, g), n in compared.items() if g < w),
        "above": sum(n for (w, g), n in compared.items() if g > w),
        "columns": columns,
        "rows": [(wish, [pairs.get((wish, got), 0) for got in columns]) for wish in rows],
        "svg": charts.bubbles(
            renamed,
            [short.get(r, r) for r in rows],
            [short.get(c, c) for c in columns],
            ("asked for", "obtained"),
        )
        if pairs
        else "",
    }


def drops(rows: list[dict[str, Any]], examples: list[Example]) -> list[dict[str, Any]]:
    """Every (part, stage, reason) with its number over all segments and one example, most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        for reason, number in (row["counts"] or {}).get("reasons", {}).items():
            counts[part_of(row["segment"]), row["entry"], reason] += number
    by_key = {(str(e.part), e.entry, e.reason): e.record for e in examples}
    most = max(counts.values(), default=0)
    parts = {"head": "seeds", "round": "rounds", "release": "release"}
    return [
        {
            "part": parts[key[0]],
            "entry": key[1],
            "reason": words(key[2]),
            "count": number,
            "svg": charts.bar(number, most),
            "record": by_key.get(key),
        }
        for key, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def comparison(
    name: str, seeds: Seeds, released: Released, order: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Shares of released items and of seeds per value of a label."""
    ours, theirs = released.by[name], seeds.by.get(name, Counter())
    values = [value for value in order if ours[value] or theirs[value]]
    rest = [v for v in {*ours, *theirs} if v not in values]
    values += sorted(rest, key=lambda v: (v in (OTHER, NOT_KNOWN), -ours[v], -theirs[v], v))
    all_ours, all_theirs = ours.total() or 1, theirs.total() or 1
    most = max([0.0, *(ours[v] / all_ours for v in values), *(theirs[v] / all_theirs for v in values)])
    return [
        {
            "name": value,
            "released": ours[value],
            "seeds": theirs[value],
            "svg": charts.bar(ours[value] / all_ours, most, second=theirs[value] / all_theirs),
        }
        for value in values
    ]


def grade_order() -> list[str]:
    """Grades from primary to professional."""
    return [grade.name for grade in grades()]


def spending(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Calls, tokens, seconds and money by stage (over all segments) and by model; unknown money is None."""
    stages: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["counts"] and not row["spending"]:
            continue
        part = part_of(row["segment"])
        prefix = {"head": "seeds", "round": "rounds", "release": "release"}[part]
        place = stages.setdefault(f"{prefix} · {row['entry']}", {"seconds": 0.0})
        place["seconds"] += row["seconds"] or 0.0
        for model, part_spent in row["models"].items():
            _add(place, part_spent)
            _add(models.setdefault(model, {}), part_spent)
    by_stage = [{"name": name, **sums} for name, sums in stages.items()]
    by_model = [{"name": name, **sums} for name, sums in sorted(models.items())]
    for group in (by_stage, by_model):
        most = max((item.get("tokens", 0) for item in group), default=0)
        for item in group:
            item["svg"] = charts.bar(item.get("tokens", 0), most) if item.get("tokens") else Markup("")
    return {"stages": by_stage, "models": by_model}


def _add(sums: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name in ("requests", "prompt_tokens", "cached_tokens", "completion_tokens"):
        sums[name] = sums.get(name, 0) + part[name]
    sums["tokens"] = sums["prompt_tokens"] + sums["completion_tokens"]
    before, one, other = sums.get("cost", 0.0), sums.get("currency", ""), part.get("currency", "")
    # One unknown part makes the whole unknown, and so does another currency.
    unknown = before is None or part["cost"] is None or "" != one != other != ""
    sums["cost"] = None if unknown else before + part["cost"]
    sums["currency"] = one or other
