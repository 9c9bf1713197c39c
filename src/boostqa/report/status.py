"""`boostqa status`: the numbers of a run as a table in the terminal, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from boostqa.report.facts import by_source
from boostqa.report.numbers import collect
from boostqa.run import Run


def print_status(path: Path, *, as_json: bool, sources: bool = False) -> None:
    """Prints the state of the run in `path`; with `sources`, also what each source gave and why the rest went."""
    run = Run.open(path)
    numbers = collect(run)
    if sources:
        numbers["sources"] = by_source(run)
    if as_json:
        print(msgspec.json.encode(numbers).decode())
        return
    if sources:
        _print_sources(numbers["sources"])
    print_table(numbers)


def _print_sources(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("source", "records", "kept", "dropped", "why"):
        table.add_column(title, justify="right" if title in ("records", "kept", "dropped") else "left")
    for row in rows:
        why = ", ".join(f"{reason} {count:,}" for reason, count in row["dropped"].items())
        numbers = (row["records"], row["kept"], sum(row["dropped"].values()))
        table.add_row(row["source"], *(f"{number:,}" for number in numbers), why)
    Console(highlight=False, markup=False).print(table)
    print()


def print_table(numbers: dict[str, Any]) -> None:
    """Stages with counts, tokens, time and money; then the sums and the warnings."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("stage", "in", "kept", "dropped", "calls", "tokens", "cost", "time"):
        table.add_column(title, justify="left" if title == "stage" else "right")
    for row in numbers["entries"]:
        counts, spending = row["counts"] or {}, row["spending"] or {}
        tokens = spending.get("prompt_tokens", 0) + spending.get("completion_tokens", 0)
        mark = (
            "" if row["done"] else f" ({row['shards_done']} shards so far)" if row["counts"] else " (waits)"
        )
        table.add_row(
            f"{row['segment']}/{row['entry']}{mark}",
            _count(counts.get("inputs") or counts.get("born")),
            _count(counts.get("kept")),
            _count(counts.get("dropped")),
            _count(spending.get("requests")),
            _count(tokens or None),
            money(spending["cost"]) if spending else "",
            f"{row['seconds']:.1f} s" if row["seconds"] is not None else "",
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    spending = numbers["spending"]
    console.print(
        f"\naccepted {numbers['accepted']:,}, released {_count(numbers['released']) or 'not yet'}; "
        f"{spending['requests']:,} calls, {spending['prompt_tokens']:,} prompt and "
        f"{spending['completion_tokens']:,} generated tokens; cost {money(spending['cost'], spending['currency'])}, "
        f"per accepted item {per_item(numbers)}"
    )
    left = numbers["left_open"]
    if left["requests"]:
        console.print(
            f"{left['requests']:,.0f} calls were broken off by kills and may have cost up to "
            f"{money(left['money'], spending['currency'])} and {left['tokens']:,.0f} tokens more, "
            "which counts as spent"
        )
    console.print(_pace(numbers))
    for batch in numbers["batches"]:
        console.print(
            f"batch {batch['id'] or '(not yet started)'}: {batch['requests']:,} calls of {batch['model']}"
        )
    for warning in numbers["warnings"]:
        console.print(f"warning: {warning}")
    state = (
        "running"
        if numbers["running"]
        else "complete"
        if numbers["complete"]
        else "not complete; `boostqa run` goes on"
    )
    console.print(f"state: {state}")


def _pace(numbers: dict[str, Any]) -> str:
    """One sentence on rate and time left; what is not known says so."""
    pace, left = numbers["pace"], numbers["hours_left"]
    time = (
        "unknown"
        if left is None
        else f"about {left:.1f} hours"
        if left >= 1
        else f"about {left * 60:.0f} minutes"
    )
    if pace is None:
        return f"no session yet; time left {time}"
    cost = money(pace["cost_per_hour"], numbers["spending"]["currency"])
    return (
        f"latest session: {pace['calls_per_second']:,.2f} calls/s, {pace['tokens_per_second']:,.0f} tokens/s, "
        f"cost per hour {cost}; time left {time}"
    )


def per_item(numbers: dict[str, Any]) -> str:
    """What an accepted item cost; a dash while there is none."""
    if not numbers["accepted"]:
        return "–"
    return money(numbers["cost_per_accepted"], numbers["spending"]["currency"])


def money(value: float | None, currency: str = "") -> str:
    """An amount for people; an unknown one says so, and a small one is not rounded to nothing."""
    if value is None:
        return "unknown"
    digits = 2 if value >= 1 else 4 if value >= 0.001 else 6
    amount = f"{value:,.{digits}f}"
    return f"{amount.rstrip('0').rstrip('.') if value < 1 else amount} {currency}".strip()


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
