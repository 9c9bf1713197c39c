"""What a process may have spent that the ledger does not tell: so that budgets hold over kills.

    ledger/leases/N.json        start N of the run: what the ledger had then, and what earlier starts had left open
    ledger/leases/N.WORKER      what that worker's calls have used, and the upper bounds of its requests on the wire;
                                then what of it the budget had booked at the start (calls of earlier batches)

A worker's file is mapped into memory and changed with every request that goes out or is settled, so that a kill leaves
it as it was in that moment. What the workers of a start have in these files and the ledger has not gained since was
on the wire, or answered in the last 20 ms: nobody knows what of it was billed, so the next start counts all of it
as spent.
After a clean end nothing is left. Knows nothing of calls and prices. Not synced: after a power cut the files may be
some seconds older than the ledger.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import msgspec

from boostqa.llm.budget import Amount
from boostqa.llm.ledger_files import storage

_PARTS = Amount.__struct_fields__
_SIZE = 2 * 8 * len(_PARTS)
_ROUNDING = 1e-9
"""Share that two sums of the same numbers may differ by."""


class _Start(msgspec.Struct, frozen=True):
    """What stands in `N.json`."""

    ledger: Amount
    """What the ledger had booked when this start began."""
    left_open: Amount
    """What all starts before it may have spent on top of that."""


class Meter:
    """One worker's file, two amounts. `add` is cheap enough for every request: three additions in memory."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; what a dead process of this name had on the wire stays in it.

        Raises:
            StorageStop: when the disk is full or not writable.
        """
        with storage(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
            try:
                if os.fstat(handle).st_size < _SIZE:
                    # Written, not only made longer: a page that finds no room on the disk would end the process.
                    os.pwrite(handle, bytes(_SIZE), 0)
                self._map = mmap.mmap(handle, _SIZE)
            finally:
                os.close(handle)
        self._view = memoryview(self._map)
        self._parts = self._view.cast("d")

    def add(self, amount: Amount, times: float = 1.0) -> None:
        """Add `amount` to what is used or on the wire, so many times."""
        self._add(0, amount, times)

    def replaced(self, booked: Amount) -> None:
        """A call is settled for which the budget had `booked` so much at the start: it counts no more."""
        self._add(len(_PARTS), booked, 1.0)

    def _add(self, at: int, amount: Amount, times: float) -> None:
        parts = self._parts
        parts[at] += amount.money * times
        parts[at + 1] += amount.tokens * times
        parts[at + 2] += amount.requests * times

    def close(self) -> None:
        """Unmap the file; it stays."""
        self._parts.release()
        self._view.release()
        self._map.close()


def read_meter(path: Path) -> Amount:
    """What a worker's calls have used or had on the wire; nothing where there is no file."""
    return _read(path)[0]


def read_change(path: Path) -> Amount:
    """What a worker's calls have added to what the budget had booked at the start: less than nothing, perhaps."""
    used, booked = _read(path)
    return used - booked


def _read(path: Path) -> tuple[Amount, Amount]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    # A file that was only just made may be shorter.
    parts = memoryview(data[:_SIZE].ljust(_SIZE, b"\0")).cast("d")
    half = len(_PARTS)
    return (
        Amount(**dict(zip(_PARTS, parts[:half], strict=True))),
        Amount(**dict(zip(_PARTS, parts[half:], strict=True))),
    )


def begin(run_dir: Path, ledger: Amount) -> Amount:
    """Begin a start of the run, before its first call and while no process of it lives.

    Args:
        run_dir: of the run.
        ledger: what its ledger has booked (`ledger_files.spent`).

    Returns:
        Most that earlier starts may have spent on top of that.

    Raises:
        StorageStop: when the disk is full or not writable.
    """
    folder = _folder(run_dir)
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        latest = _latest(run_dir)
        before = list(folder.iterdir())
        found = left_open(run_dir, ledger)
        path = folder / f"{0 if latest is None else latest + 1}.json"
        temp = path.with_suffix(".tmp")
        with temp.open("wb") as file:
            file.write(msgspec.json.encode(_Start(ledger, found)))
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
        for old in before:  # the new file holds all that they said
            old.unlink(missing_ok=True)
    return found


def left_open(run_dir: Path, ledger: Amount | None = None) -> Amount:
    """Most that calls without a line in the ledger may have spent.

    Args:
        run_dir: of the run.
        ledger: what the ledger has booked now; None while a start is at work, whose own calls are not counted then.

    Raises:
        StorageStop: when a file cannot be read.
    """
    latest = _latest(run_dir)
    if latest is None:
        return Amount()
    folder = _folder(run_dir)
    with storage(folder):
        start = msgspec.json.decode((folder / f"{latest}.json").read_bytes(), type=_Start)
        if ledger is None:
            return start.left_open
        metered = Amount()
        for path in folder.glob(f"{latest}.worker-*"):
            metered += read_meter(path)
    return start.left_open + _beyond(metered, ledger - start.ledger)


def _beyond(metered: Amount, gained: Amount) -> Amount:
    """What of `metered` is not in `gained`; sums that differ by rounding alone differ by nothing."""
    parts = {}
    for name in _PARTS:
        more = getattr(metered, name) - getattr(gained, name)
        parts[name] = more if more > _ROUNDING * max(1e-3, getattr(metered, name)) else 0.0
    return Amount(**parts)


def meter_path(run_dir: Path, worker: str) -> Path | None:
    """File of a worker (`worker-N`) of the start that is at work; None before the first `begin`."""
    latest = _latest(run_dir)
    return None if latest is None else _folder(run_dir) / f"{latest}.{worker}"


def _folder(run_dir: Path) -> Path:
    return run_dir / "ledger" / "leases"


def _latest(run_dir: Path) -> int | None:
    numbers = [int(path.stem) for path in _folder(run_dir).glob("*.json") if path.stem.isdecimal()]
    return max(numbers, default=None)
