"""report.html: one file that shows a whole run; opens offline, needs no script, and trusts no text in it.

Puts numbers, facts and samples into `page.html.j2`. Every text is escaped by the template engine
(autoescape); control characters are replaced, long texts cut.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from boostqa.pipeline import Part, part_of
from boostqa.report import charts, sections, trust
from boostqa.report.annotation import kept
from boostqa.report.facts import Released, by_source, items_of, released_of, seeds_of, states
from boostqa.report.numbers import collect
from boostqa.report.samples import Example, Taken, accepted_samples, contaminated, drop_examples, in_turns
from boostqa.report.setup import read_setup
from boostqa.report.status import money, per_item
from boostqa.run import Run

_HERE = Path(__file__).parent
ACCEPTED, REJECTED, HITS = 20, 8, 2
"""How many samples, rejected items, and contaminated items of each benchmark and part are shown."""
_PARTS: tuple[Part, ...] = ("head", "round")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
"""Characters that HTML forbids, and those that turn the direction of what follows them."""


def render(run: Run) -> str:
    """The page of a run in any state."""
    return _environment().get_template("page.html.j2").render(context(run))


def context(run: Run) -> dict[str, Any]:
    """Everything that the page shows, by the name of its section."""
    numbers, setup = collect(run), read_setup(run)
    rows = numbers["entries"]
    seeds, items, released = seeds_of(run), items_of(run), released_of(run)
    examples = drop_examples(run)
    probe = states(run, "head", "probe", "cells")
    plans = states(run, "round", "plan", "quotas")
    plan = plans[-1]["cells"] if plans else []
    cells = sections.probe_cells(probe)
    wanted = [(cell["discipline"], cell["level"]) for cell in plan if cell["quota"]]
    # The two matrices stand side by side, so they have the same rows.
    order = setup.disciplines
    names = sections.disciplines(order, (key for key in cells if cells[key]["n"]), wanted, released.cells)
    return {
        "css": Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        "numbers": numbers,
        "setup": setup,
        "rounds": sum(part_of(segment["name"]) == "round" for segment in run.segments),
        "seeds": seeds,
        "items": items,
        "released": released,
        "tiles": tiles(numbers, released),
        "flow": sections.flow(rows),
        "matrix": sections.matrix(cells, plan, seeds, names),
        "idle": [name for name in sections.disciplines(order, seeds.cells) if name not in names],
        "probe": probe[-1] if probe else None,
        "delivery": sections.delivery(plan, items.accepted_cells, released, names),
        "plan": plans[-1] if plans else None,
        "levels": {
            "accepted": sections.level_matrix(items.accepted_levels),
            "verified": sections.level_matrix(items.verified_levels),
        },
        "meters": trust.meters(items, states(run, "head", "annotate", "fit")),
        "drops": sections.drops(rows, examples),
        "sources": by_source(run),
        "ladder": trust.ladder(rows),
        "evidence": trust.evidence(released),
        "spending": sections.spending(rows),
        "annotation": kept(run.root),
        "agreement": trust.agreement(states(run, "head", "annotate", "fit")),
        "comparisons": comparisons(seeds, released),
        "audit": trust.contamination(_indexes(run), rows, items, partial(_hits, run)),
        "samples": accepted_samples(run, ACCEPTED),
        "rejected": rejected(examples),
        "sessions": run.info["sessions"],
        "fingerprints": {key: entry["fingerprint"] for key, entry in run.info["entries"].items()},
        "version": run.info["version"],
        "python": platform.python_version(),
        "folder": run.root.resolve().name,
    }


def tiles(numbers: dict[str, Any], released: Released) -> list[dict[str, str]]:
    """The key numbers at the top of the page."""
    spending = numbers["spending"]
    written = sum(
        row["counts"]["inputs"] for row in numbers["entries"] if row["entry"] == "refine" and row["counts"]
    )
    share = (
        f"{numbers['accepted'] / written:.0%} of {written:,} written" if written else "nothing written yet"
    )
    fields = sum(count > 0 for name, count in released.by["field"].items() if name != "Other")
    tokens = spending["prompt_tokens"] + spending["completion_tokens"]
    seconds = sum(row["seconds"] or 0 for row in numbers["entries"])
    return [
        {
            "value": f"{released.total:,}",
            "name": "released items",
            "note": f"about {released.tokens:,} tokens of text",
        },
        {"value": f"{numbers['accepted']:,}", "name": "accepted", "note": share},
        {"value": f"{fields:,}", "name": "fields", "note": f"{len(released.by['language'])} languages"},
        {
            "value": f"{spending['requests']:,}",
            "name": "model calls",
            "note": f"{tokens:,} tokens paid or computed",
        },
        {
            "value": money(spending["cost"], spending["currency"]),
            "name": "cost",
            "note": f"{per_item(numbers)} per accepted item",
        },
        {"value": duration(seconds), "name": "work", "note": "sum over the stages, which overlap"},
    ]


def comparisons(seeds: Any, released: Released) -> list[dict[str, Any]]:
    """Tables of released items against seeds by discipline, field, grade and language."""
    found = []
    for name, title, order in (
        ("field", "Fields", ()),
        ("language", "Languages", ()),
        ("discipline", "Disciplines", ()),
        ("grade", "Grades", sections.grade_order()),
        ("question_type", "Question types", ()),
    ):
        rows = sections.comparison(name, seeds, released, order)
        found.append({"title": title, "rows": rows, "both": name in seeds.by})
    return found


def rejected(examples: list[Example]) -> list[Example]:
    """A few dropped items of the rounds, each for another reason where there are enough reasons."""
    made = {e.record.id: e for e in examples if e.part == "round" and e.record.kind == "qa"}
    groups: dict[str, list[str]] = {}
    for identifier, example in sorted(made.items()):
        groups.setdefault(example.reason, []).append(identifier)
    return [made[identifier] for identifier in in_turns(groups, REJECTED)]


def _indexes(run: Run) -> list[dict[str, Any]]:
    return [state for part in _PARTS for state in states(run, part, "decontaminate", "index")]


def _hits(run: Run, part: Part, names: Collection[str]) -> dict[str, Taken]:
    return contaminated(run, part, names, HITS)


# Words and numbers for people


def clean(text: Any, limit: int = 600) -> str:
    """A text for the page: control characters replaced, cut at `limit` characters."""
    whole = str(text or "")
    plain = _CONTROL.sub("\ufffd", whole[:limit]).strip()
    return plain if len(whole) <= limit else f"{plain} … (cut; {len(whole):,} characters)"


def percent(value: float | None) -> str:
    """A share in 0..1 as a whole percentage; a dash where there is none."""
    return "–" if value is None else f"{value:.0%}"


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {rest:02d} s"


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": clean,
        "percent": percent,
        "duration": duration,
        "words": sections.words,
        "count": count,
        "number": lambda value: "–" if value is None else f"{value:,}",
        "kind": lambda evidence: evidence.split(":", 1)[0],
    }
    environment.globals |= {"money": money, "per_item": per_item, "fall": charts.FALL}
    return environment
