"""Sections on trust: verification ladder, evidence, agreement with gold labels, contamination audit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

from boostqa.annotation.trust import reliability
from boostqa.pipeline import Part
from boostqa.report import charts
from boostqa.report.facts import Items, Released
from boostqa.report.samples import Taken
from boostqa.report.sections import words
from boostqa.text.intervals import wilson

RUNGS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Form",
        "complete, in its language, self-contained, no leak, no copy of its seed",
        (
            "broken_structure",
            "wrong_language",
            "passage_reference",
            "answer_leak",
            "seed_copy",
            "off_variant",
        ),
    ),
    (
        "Answer",
        "the seed's checked answer, a formula, or independent solutions speak against it",
        ("wrong_answer",),
    ),
    ("Judge", "a reading by a rubric found an error", ("ill_posed", "judge_rejected")),
    ("Evidence", "nothing independent of the writer vouches for the answer", ("no_evidence", "contradicted")),
    ("Calls", "no solver and no judge could be reached, or no annotator", ("call_failed", "unlabelled")),
    ("Level", "far easier than it was asked to be", ("below_level",)),
)
"""Rung of verify, what stopping there means, and its drop reasons."""

EVIDENCE = {
    "seed_answer": "the checked answer of the seed whose question was asked again",
    "symbolic": "a formula or symbolic check",
    "solver": "independent solutions by another model than the writer",
    "judge": "a reading by a judge of another family than the writer",
}


def ladder(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many items reached verify and at which rung the others ended."""
    reasons: Counter[str] = Counter()
    inputs = kept = 0
    for row in rows:
        if row["entry"] == "verify" and row["counts"]:
            reasons.update(row["counts"]["reasons"])
            inputs += row["counts"]["inputs"]
            kept += row["counts"]["kept"]
    named = {reason for _, _, group in RUNGS for reason in group}
    others = tuple(sorted(set(reasons) - named))
    found = []
    for name, about, group in (*RUNGS, ("Other", "any other reason", others)):
        fell = sum(reasons[reason] for reason in group)
        if fell or name != "Other":
            detail = [(words(reason), reasons[reason]) for reason in group if reasons[reason]]
            found.append(
                {
                    "name": name,
                    "about": about,
                    "fell": fell,
                    "reasons": detail,
                    "svg": charts.bar(fell, inputs),
                }
            )
    return {"inputs": inputs, "kept": kept, "rungs": found}


def evidence(released: Released) -> list[dict[str, Any]]:
    """Kinds of evidence and the number of released items that have them."""
    kinds = [*EVIDENCE, *sorted(set(released.evidence) - set(EVIDENCE))]
    return [
        {
            "name": words(kind),
            "about": EVIDENCE.get(kind, ""),
            "count": released.evidence[kind],
            "svg": charts.bar(released.evidence[kind], released.total),
        }
        for kind in kinds
        if released.evidence[kind] or kind in EVIDENCE
    ]


def agreement(states: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Annotator against gold labels over all segments: name, n, correct, interval; without gold none."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for state in states:
        for head, found in state.get("agreement", {}).items():
            sums[head][0] += found["correct"]
            sums[head][1] += found["n"]
            sums[head][2] += found.get("within_one", 0)
    rows = []
    for head, (correct, n, near) in sums.items():
        if n:
            low, high = wilson(correct, n)
            text = f"{head}: {correct} of {n}, 95% interval {low:.0%} to {high:.0%}"
            svg = charts.interval(low, high, correct / n, text)
            rows.append(
                {"name": head, "n": n, "correct": correct, "low": low, "high": high, "svg": svg, "near": near}
            )
    return rows


def meters(items: Items, states: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far two meters of difficulty agree: name, n, same, near, spearman; only pairs that some items have.

    The rubric's level beside the measured one on verified items, and beside the distilled meter's on labelled seeds
    that were kept out of its fit (those of the latest head with a meter).
    """
    found = {"rubric and solvers' tries, verified items": reliability(items.meters)}
    for state in states:
        if held_out := state.get("meter", {}).get("held_out"):
            found["rubric and distilled meter, seeds held out"] = held_out
    return [{"name": name, **row} for name, row in found.items() if row]


Hits = Callable[[Part, Collection[str]], dict[str, Taken]]


def contamination(
    states: list[dict[str, Any]], rows: list[dict[str, Any]], items: Items, hits: Hits
) -> dict[str, Any]:
    """What was indexed, whether planted items were found, and what each benchmark took out, with examples."""
    benchmarks: dict[str, int] = {}
    odd: dict[str, dict[str, Any]] = {}
    canaries = 0
    for state in states:
        benchmarks |= state["benchmarks"]
        odd |= state["odd"]
        canaries = max(canaries, len(state["canaries"]))
    seeds, written = hits("head", benchmarks), hits("round", benchmarks)
    places = [row for row in rows if row["entry"] == "decontaminate" and row["counts"]]
    table = []
    for name in sorted({*benchmarks, *seeds, *written}):
        one, other = seeds.get(name, Taken()), written.get(name, Taken())
        row = {"name": name, "items": benchmarks.get(name, 0), "seeds": one.count, "written": other.count}
        row |= {"by_answer": one.by_answer + other.by_answer, "answer": max(one.answer, other.answer)}
        table.append({**row, "odd": odd.get(name), "examples": one.examples + other.examples})
    return {
        "benchmarks": table,
        "canaries": canaries,
        "shards": sum(row["shards_done"] for row in places),
        "hits": sum(row["counts"]["reasons"].get("contaminated", 0) for row in places),
        "checked": sum(row["counts"]["inputs"] for row in places),
        "largest": items.contamination,
        "largest_answer": items.answer_overlap,
    }
