"""`boostqa status`: rate, time left and cost, each of which says so when it is not known."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from boostqa.report.facts import FREE, by_source
from boostqa.report.numbers import collect
from boostqa.report.status import print_status
from boostqa.run import Run
from report.small_run import SmallRun


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def with_sessions(run: Run, *spans: tuple[float, float | None]) -> Run:
    now = time.time()
    sessions: list[dict[str, Any]] = []
    for start, end in spans:
        sessions.append({"start": stamp(now + start)} | ({} if end is None else {"end": stamp(now + end)}))
    run.info["sessions"] = sessions
    run.save()
    return Run.open(run.root)


def test_an_unknown_price_is_unknown_everywhere(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(finished.root, as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "cost unknown, per accepted item unknown" in shown
    assert "cost per hour unknown; time left about 0 minutes" in shown
    assert collect(finished)["pace"]["cost_per_hour"] is None


def test_rate_and_time_left_of_a_run_that_was_stopped(tmp_path: Path) -> None:
    run = with_sessions(
        SmallRun(tmp_path / "run").build(rounds=1, release=False), (-7200, -3600), (-100, None)
    )
    numbers = collect(run)
    assert not numbers["complete"]
    calls, tokens = (numbers["spending"][name] for name in ("requests", "completion_tokens"))
    # All of the ledger was written a moment ago, so in the latest session.
    assert numbers["pace"]["calls_per_second"] == pytest.approx(calls / 100, rel=0.05)
    assert numbers["pace"]["tokens_per_second"] > tokens / 110
    assert numbers["short"] > 0
    per_item = (3600 + 100) / 3600 / numbers["accepted"]
    assert numbers["hours_left"] == pytest.approx(numbers["short"] * per_item, rel=0.05)


def test_before_the_first_item_the_time_left_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = SmallRun(tmp_path / "run")
    made.head()
    assert collect(made.run)["hours_left"] is None
    print_status(made.run.root, as_json=False)
    assert "time left unknown" in " ".join(capsys.readouterr().out.split())


def test_sources_show_what_was_kept_and_why_the_rest_went(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {row["entry"]: row["counts"] for row in collect(finished)["entries"] if row["segment"] == "head"}
    found = by_source(finished)
    assert sum(row["records"] for row in found) == rows["seeds"]["kept"] + rows["seeds"]["dropped"]
    assert sum(row["kept"] for row in found) == rows["decontaminate"]["kept"]
    reasons: Counter[str] = Counter()
    for row in found:
        reasons.update(row["dropped"])
    told: Counter[str] = Counter()
    for entry in FREE:
        told.update(rows[entry].get("reasons", {}))
    assert reasons == told
    print_status(finished.root, as_json=False, sources=True)
    shown = capsys.readouterr().out
    assert all(row["source"] in shown and f"{row['records']:,}" in shown for row in found)
