"""A run in numbers: plain data read off manifests and ledger, for status, summary and report alike.

Works on a run of any state, also while another process writes to it. A cost that is not known is None,
never 0.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec

from boostqa.llm.batch_state import Store, batch_folder
from boostqa.llm.budget import Amount
from boostqa.llm.leases import left_open
from boostqa.llm.ledger_files import ledger_files, read_sidecar, scan, totals
from boostqa.llm.lines import Totals
from boostqa.pipeline import entries, part_of
from boostqa.run import Run
from boostqa.shard import Counts, get_json
from boostqa.view import entry_folder


def collect(run: Run) -> dict[str, Any]:
    """Everything that `status --json` prints: see the keys below; counts are records, time is seconds."""
    spending = totals(run.root)
    rows = [
        _entry(run, segment, entry.name, spending)
        for segment in [*(s["name"] for s in run.segments), "release"]
        for entry in entries(part_of(segment))
    ]
    sums = Totals()
    for part in spending.values():
        sums.merge(part)
    complete = bool(rows) and rows[-1]["done"] and not run.is_running()
    accepted = sum(r["counts"]["kept"] for r in rows if r["counts"] and _is_last_of_round(r))
    plan = _latest_plan(run)
    short = _short(run, plan)
    return {
        "run": str(run.root),
        "running": run.is_running(),
        "complete": complete,
        "segments": run.segments,
        "entries": rows,
        "spending": _spending(sums),
        "left_open": _left_open(run, sums),
        "batches": _batches(run),
        "accepted": accepted,
        "released": (rows[-1]["counts"] or {}).get("kept"),
        "cost_per_accepted": sums.cost / accepted if accepted and sums.cost is not None else None,
        "cells": plan.get("cells", []),
        "given_up": plan.get("given_up", []),
        "quota": plan.get("quota"),
        "short": short,
        "pace": _pace(run),
        "hours_left": 0.0 if complete else _hours_left(run, accepted, short),
        "sessions": run.info["sessions"],
        "warnings": [*_warnings(rows, plan), *_shared_ids(run)],
    }


def _is_last_of_round(row: dict[str, Any]) -> bool:
    return part_of(row["segment"]) == "round" and row["entry"] == entries("round")[-1].name


def _entry(run: Run, segment: str, name: str, spending: dict[tuple[str, str, str], Totals]) -> dict[str, Any]:
    entry = next(e for e in entries(part_of(segment)) if e.name == name)
    folder = entry_folder(run, segment, entry)
    manifest = folder.manifest()
    own = {
        model: part for (place, other, model), part in spending.items() if (place, other) == (segment, name)
    }
    total = Totals()
    for part in own.values():
        total.merge(part)
    return {
        "segment": segment,
        "entry": name,
        "done": manifest is not None,
        "shards_done": len(folder.done("kept")),
        "counts": manifest["counts"] if manifest else _counts_so_far(folder),
        "seconds": run.info["entries"].get(f"{segment}/{name}", {}).get("seconds"),
        "spending": _spending(total) if own else None,
        "models": {model: _spending(part) for model, part in sorted(own.items())},
    }


def _counts_so_far(folder: Any) -> dict[str, Any] | None:
    shards = folder.done("kept")
    if not shards:
        return None
    counts = Counts()
    for shard in shards:
        counts += folder.counts(shard)
    return dict(msgspec.to_builtins(counts))


def _spending(total: Totals) -> dict[str, Any]:
    return {
        "requests": total.requests,
        "prompt_tokens": total.prompt,
        "cached_tokens": total.cached,
        "completion_tokens": total.completion,
        "cost": total.cost,
        "currency": "" if total.mixed else total.currency,
    }


def _left_open(run: Run, sums: Totals) -> dict[str, float | None]:
    """Most that calls may have cost which a kill broke off, of which no ledger tells; counts against the budgets."""
    ledger = Amount(money=sums.used_money, tokens=sums.used_tokens, requests=sums.requests)
    found = left_open(run.root, None if run.is_running() else ledger)
    # Where prices are unknown or in several currencies, so is this.
    return msgspec.structs.asdict(found) | ({} if sums.cost is not None else {"money": None})


def _batches(run: Run) -> list[dict[str, Any]]:
    """Batches at the providers, oldest first."""
    return [
        {
            "model": state.model,
            "requests": len(state.keys),
            "step": state.step,
            "id": state.batch_id,
            "since": state.since,
        }
        for state in Store(batch_folder(run.root)).states()
        if state.step != "done"
    ]


def _pace(run: Run) -> dict[str, Any] | None:
    """Means of the latest session: calls and tokens per second, cost per hour (None: unknown); None: no session yet.

    Rests on the ledger files that were written to since it began; a session never goes on with an older one's file.
    """
    spans = _sessions(run)
    if not spans:
        return None
    start, end = spans[-1]
    seconds = max(1.0, end - start)
    sums = Totals()
    for path in ledger_files(run.root):
        if path.stat().st_mtime >= start:
            for part in (read_sidecar(path) or scan(path)).totals.values():
                sums.merge(part)
    return {
        "seconds": seconds,
        "calls_per_second": sums.requests / seconds,
        "tokens_per_second": (sums.prompt + sums.completion) / seconds,
        "cost_per_hour": None if sums.cost is None else sums.cost / seconds * 3600,
    }


def _hours_left(run: Run, accepted: int, short: int | None) -> float | None:
    """What is missing at the pace of all sessions so far, the head included; None: nothing to go by yet."""
    if short is None or not accepted:
        return None
    return sum(end - start for start, end in _sessions(run)) / 3600 * short / accepted


def _sessions(run: Run) -> list[tuple[float, float]]:
    """(start, end) of each session, seconds since 1970 UTC; now for one that runs."""

    def seconds(stamp: str) -> float:
        return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()

    spans = []
    for session in run.info["sessions"]:
        start = seconds(session["start"])
        spans.append((start, max(start, seconds(session["end"]) if "end" in session else time.time())))
    return spans


def _latest_plan(run: Run) -> dict[str, Any]:
    plan = entries("round")[0]
    for segment in reversed(run.segments):
        if part_of(segment["name"]) == "round":
            path = entry_folder(run, segment["name"], plan).state("quotas")
            if path.exists():
                return dict(get_json(path))
    return {}


def _short(run: Run, plan: dict[str, Any]) -> int | None:
    """Planned items that are not there: after the release, or else as the latest round found it; None: no plan."""
    if not plan:
        return None
    path = entry_folder(run, "release", entries("release")[0]).state("select")
    cuts = get_json(path)["cuts"] if path.exists() else []
    released = {(cut["discipline"], cut["level"]): cut["released"] for cut in cuts}
    short = 0
    for cell in plan["cells"]:
        got = released.get((cell["discipline"], cell["level"]), 0)
        short += max(0, cell["quota"] - got) if path.exists() else cell["missing"]
    return short


def _shared_ids(run: Run) -> list[str]:
    """What the seeds' listings say of rows that share an id; empty for most."""
    found = []
    seeds = entries("head")[0]
    for segment in run.segments:
        path = entry_folder(run, segment["name"], seeds).state("listing")
        if part_of(segment["name"]) == "head" and path.exists():
            found += get_json(path).get("shared_ids", [])
    return found


def _warnings(rows: list[dict[str, Any]], plan: dict[str, Any]) -> list[str]:
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update((row["counts"] or {}).get("reasons", {}))
    warnings = []
    if reasons["internal_error"]:
        warnings.append(
            f"{reasons['internal_error']} records were dropped as internal_error: a bug of boostqa"
        )
    for cell in plan.get("given_up", []):
        warnings.append(
            f"given up: {cell['discipline']} {cell['level']}, {cell['missing']} short ({cell['reason']})"
        )
    return warnings
