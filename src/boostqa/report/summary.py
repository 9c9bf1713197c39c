"""The last words of `boostqa run`: what came out, what it cost, where it is, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from boostqa.report.numbers import collect
from boostqa.report.setup import SMALL_MODEL, Setup, read_setup
from boostqa.report.status import money, print_table
from boostqa.run import Run


def print_summary(root: Path, report: Path, *, as_json: bool) -> None:
    """Prints the summary of the run in `root` for a person, or everything as JSON on one line."""
    run = Run.open(root)
    found = summary(run, report)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    print_table(found)
    print()
    for name in ("report", "dataset", "card"):
        if found[name]:
            print(f"{name + ':':9}{found[name]}")
    for line in found["next"]:
        print(f"next:    {line}")


def summary(run: Run, report: Path) -> dict[str, Any]:
    """The numbers of a run (see `numbers.collect`), with the places of its results and the next steps."""
    numbers, setup = collect(run), read_setup(run)
    dataset = run.root / "dataset"
    there = (dataset / "manifest.json").exists()
    return numbers | {
        "report": str(report),
        "dataset": str(dataset) if there else None,
        "card": str(dataset / "README.md") if there else None,
        "next": next_steps(run, numbers, setup),
    }


def next_steps(run: Run, numbers: dict[str, Any], setup: Setup) -> list[str]:
    """What a person can do now, the most useful first."""
    steps = [f"open {run.root / 'report.html'} in a browser"]
    if numbers["released"]:
        steps.append(f'load_dataset("parquet", data_dir="{run.root / "dataset"}")')
    if not numbers["complete"]:
        steps.append("boostqa run on this folder, without --until, does what is missing")
    elif numbers["short"]:
        steps.append(
            f"{numbers['short']:,} of {numbers['quota']:,} planned items are missing: raise plan.rounds, "
            "give more seeds of "
            "those fields, or name a stronger teacher; the same command then goes on from here"
        )
    if setup.writer and setup.writer["embedded"]:
        small = f" ({SMALL_MODEL})" if setup.writer["id"] == SMALL_MODEL else ""
        steps.append(
            f"the embedded model{small} wrote this: it shows the machine, not the quality; name a strong "
            "teacher under "
            "roles.teacher for data worth training on"
        )
    elif numbers["spending"]["cost"] is None:
        steps.append(f"the cost is {money(None)}: give models.NAME.prices to see it and to use budget.money")
    return steps
