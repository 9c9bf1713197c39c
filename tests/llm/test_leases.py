"""What a start had on the wire when it was killed counts as spent at the next one; after a clean end nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from boostqa.errors import StorageStop
from boostqa.llm.budget import Amount
from boostqa.llm.leases import Meter, begin, left_open, meter_path, read_change, read_meter


def amount(value: float) -> Amount:
    return Amount(money=value / 64, tokens=value * 10, requests=value)


def meter(run: Path, worker: str = "worker-0") -> Meter:
    path = meter_path(run, worker)
    assert path is not None
    return Meter(path)


def test_what_is_metered_and_not_in_the_ledger_is_left_open(tmp_path: Path) -> None:
    assert meter_path(tmp_path, "worker-0") is None
    assert begin(tmp_path, Amount()) == Amount()
    first, second = meter(tmp_path), meter(tmp_path, "worker-1")
    first.add(amount(30))  # three calls settled, four on the wire
    first.add(amount(10), 4)
    second.add(amount(5))
    assert left_open(tmp_path) == Amount()  # while it is at work
    assert left_open(tmp_path, amount(30)) == amount(45)
    assert begin(tmp_path, amount(30)) == amount(45)
    # The next start has lines of its own; what was left open before stays so.
    meter(tmp_path).add(amount(7))
    assert left_open(tmp_path, amount(37)) == amount(45)
    assert left_open(tmp_path) == amount(45)
    assert begin(tmp_path, amount(35)) == amount(47)
    assert sorted(path.name for path in (tmp_path / "ledger" / "leases").iterdir()) == ["2.json"]


def test_a_clean_end_leaves_nothing_whatever_sums_are_rounded_to(tmp_path: Path) -> None:
    begin(tmp_path, amount(1e6))
    own = meter(tmp_path)
    ledger = amount(1e6)
    for n in range(1, 2000):
        cost = Amount(money=n / 7e6, tokens=n / 3, requests=1)
        own.add(amount(3))
        own.add(cost)
        own.add(amount(3), -1)
        ledger += cost
    assert begin(tmp_path, ledger) == Amount()


def test_a_successor_of_a_dead_worker_keeps_what_that_one_had_on_the_wire(tmp_path: Path) -> None:
    begin(tmp_path, Amount())
    meter(tmp_path).add(amount(3))
    again = meter(tmp_path)
    again.add(amount(4))
    path = meter_path(tmp_path, "worker-0")
    assert path is not None
    assert read_meter(path) == amount(7)
    again.close()
    assert read_meter(path) == amount(7)
    assert read_meter(path.with_name("0.worker-9")) == Amount()


def test_what_was_booked_at_the_start_is_kept_apart_from_what_is_used(tmp_path: Path) -> None:
    begin(tmp_path, Amount())
    own = meter(tmp_path)
    own.add(amount(3))
    own.replaced(amount(5))
    path = meter_path(tmp_path, "worker-0")
    assert path is not None
    assert read_meter(path) == amount(3)
    assert read_change(path) == amount(-2)
    assert read_change(path.with_name("0.worker-9")) == Amount()
    own.close()
    assert left_open(tmp_path, amount(1)) == amount(2)  # the ledger gains what is used, whatever was booked


def test_a_start_that_was_killed_at_its_beginning_loses_nothing(tmp_path: Path) -> None:
    begin(tmp_path, Amount())
    meter(tmp_path).add(amount(2))
    before = {path.name: path.read_bytes() for path in (tmp_path / "ledger" / "leases").iterdir()}
    begin(tmp_path, Amount())
    for name, data in before.items():  # it had written its own file and not yet removed these
        (tmp_path / "ledger" / "leases" / name).write_bytes(data)
    assert left_open(tmp_path, Amount()) == amount(2)
    assert begin(tmp_path, Amount()) == amount(2)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("in the way")
    with pytest.raises(StorageStop, match=r"leases: cannot read or write the ledger"):
        begin(tmp_path, Amount())
