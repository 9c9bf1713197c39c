"""One finished run for all tests of this folder, since making it costs most of their time."""

from __future__ import annotations

import pytest

from boostqa.report import write_report
from boostqa.run import Run
from report.small_run import SmallRun


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with its report and card."""
    made = SmallRun(tmp_path_factory.mktemp("runs") / "small", name='"odd: | name # <b>"').build()
    write_report(made.root)
    return made
