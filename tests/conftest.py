"""Shared set-up of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from boostqa import taxonomy

ROOT = Path(__file__).parent.parent
LONG = (
    "tests/report/",
    "test_estimate.py",
    "test_planted_wrong.py",
    "test_hostile_formulas",
    "test_throttle_simulated.py",
    "test_fault_matrix.py",
    "test_batch.py",
    "test_benchmarks.py",
    "test_replicas.py",
    "test_fake_server.py",
    "test_examples.py",
    "test_bad_input.py",
    "test_seed_formats.py",
    "test_irt.py",
    "test_overlap.py",
    "_outage_shorter_",
    "_others_end_and_are_booked",
    "test_planted.py",
)
"""Parts of test ids that take seconds each; `make unit` leaves them to `make test`."""
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(part in item.nodeid for part in LONG):
            item.add_marker(pytest.mark.long)
        if item.get_closest_marker("shared_data") and not SHARED_DATA.is_dir():
            item.add_marker(
                pytest.mark.skip(reason=f"needs {SHARED_DATA}, which is not part of the repository")
            )


@pytest.fixture(autouse=True)
def builtin_taxonomy() -> Iterator[None]:
    """No test sees the taxonomy of a recipe that another one has read."""
    yield
    taxonomy.use(None)


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def shared_data() -> Path:
    """Real data beside the repository; only for tests marked `shared_data`."""
    return SHARED_DATA
