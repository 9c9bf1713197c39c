"""What people see of a run: report.html, the data set's card, summary, status and lineage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boostqa.run import Run


def write_report(run_path: Path) -> Path:
    """Writes RUN/report.html of a run in any state, and the card where there is a data set; returns its path.

    Raises:
        UserError: when the folder is no run.
        StorageStop: when a file cannot be written.
    """
    from boostqa.report.card import write_card
    from boostqa.report.html import render
    from boostqa.run import Run
    from boostqa.shard import put

    run = Run.open(run_path)
    write_card(run)
    path = run.root / "report.html"
    put(path, render(run).encode(), replace=True)
    return path


def finish(run: Run, *, as_json: bool = False) -> None:
    """After a session: writes report and card, and prints what came out and what can be done next.

    Raises:
        StorageStop: when a file cannot be written.
    """
    from boostqa.report.summary import print_summary

    print_summary(run.root, write_report(run.root), as_json=as_json)
