"""What is on disk about batches that are not settled: a note for each, what it sends, and what came back.

One folder for all processes of a run; a lock per batch keeps two of them from starting or settling the same one.
Knows nothing of the provider's calls.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from boostqa.llm.batch_api import places
from boostqa.llm.budget import Amount
from boostqa.llm.ledger_files import storage

Step = Literal["prepared", "uploaded", "created", "done"]


def batch_folder(run_dir: Path) -> Path:
    """Where a run keeps its batches."""
    return run_dir / "ledger" / "batches"


class State(msgspec.Struct, kw_only=True):
    """One batch on disk."""

    id: str
    url: str
    endpoint: str
    """Path after the host, as in `/v1/chat/completions`."""
    keys: list[str]
    bounds: list[tuple[float, float]] = []
    """Most that each of them can cost: money and tokens, in the order of `keys`."""
    model: str = ""
    """Name in the recipe's `models`, for people."""
    step: Step = "prepared"
    file_id: str = ""
    batch_id: str = ""
    since: float = 0.0
    """When this step was reached, seconds since 1970 UTC."""


class Store:
    """The folder of batches that are not settled yet. Raises `StorageStop` when the disk does not take it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def states(self) -> list[State]:
        """All batches, oldest first."""
        with storage(self.folder):
            found = [self.read(path.stem) for path in self.folder.glob("*.json")]
        return sorted((state for state in found if state is not None), key=lambda state: state.since)

    def read(self, batch: str) -> State | None:
        """One batch; None where it is gone (another worker settled it)."""
        try:
            return msgspec.json.decode((self.folder / f"{batch}.json").read_bytes(), type=State)
        except FileNotFoundError:
            return None

    def save(self, state: State, step: Step) -> None:
        """Note that `state` has reached `step`; on the medium when this returns."""
        state.step, state.since = step, time.time()
        path = self.note(state)
        with storage(path):
            temp = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            with temp.open("wb") as file:
                file.write(msgspec.json.encode(state))
                file.flush()
                os.fsync(file.fileno())
            temp.replace(path)
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def owed(self, state: State, paid: Callable[[str], bool]) -> dict[str, Amount]:
        """Most that the calls of a batch may be billed and are not in the ledger, by key."""
        if state.step == "prepared":  # nothing was started
            return {}
        bounds = dict(zip(state.keys, state.bounds, strict=False))
        keys = places(self.output(state), paid=True) if state.step == "done" else state.keys
        return {
            key: Amount(money=bounds[key][0], tokens=bounds[key][1], requests=1)
            for key in keys
            if key in bounds and not paid(key)
        }

    def note(self, state: State) -> Path:
        """What is known about a batch."""
        return self.folder / f"{state.id}.json"

    def input(self, state: State) -> Path:
        """What is uploaded."""
        return self.folder / f"{state.id}.in.jsonl"

    def output(self, state: State) -> Path:
        """What came back."""
        return self.folder / f"{state.id}.out.jsonl"

    def remove(self, state: State) -> None:
        """Forget a batch. Its note goes first: without it the rest means nothing."""
        for path in (self.note(state), self.input(state), self.output(state)):
            path.unlink(missing_ok=True)
        (self.folder / f"{state.id}.lock").unlink(missing_ok=True)

    @asynccontextmanager
    async def alone(self, batch: str) -> AsyncIterator[None]:
        """No other process starts or settles this batch meanwhile; a process that dies lets go."""
        with storage(self.folder):
            file = os.open(self.folder / f"{batch}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


def stranded(store: Store, paid: Callable[[str], bool], urls: Mapping[str, str | None]) -> list[State]:
    """Batches of earlier starts with answers that the ledger does not have and nobody would ask for.

    Args:
        store: of the run.
        paid: whether the ledger has the answer to a key.
        urls: address of the Batch API by name in `models`; None for a model that is asked online.
    """
    found = []
    for state in store.states():
        # A name that is gone may be a renamed one: keys of calls do not hold it.
        attaches = urls[state.model] == state.url if state.model in urls else state.url in urls.values()
        if state.step == "prepared" or attaches:  # an upload costs nothing
            continue
        with storage(store.output(state)):
            keys = places(store.output(state), paid=True) if state.step == "done" else state.keys
        if not all(map(paid, keys)):
            found.append(state)
    return found


class Sweeper:
    """Forgets batches that came back and are in the ledger whole; each answer is looked up about once."""

    def __init__(self, store: Store, paid: Callable[[str], bool]) -> None:
        self._store = store
        self._paid = paid
        self._left: dict[str, tuple[State, list[str]]] = {}

    def add(self, state: State, keys: Iterable[str]) -> None:
        """Watch a batch that is `done`; `keys` are those of its answers.

        Requests that were answered by an error are not waited for: nothing was paid for them.
        """
        self._left[state.id] = state, list(keys)

    def sweep(self, age: float = 0.0) -> None:
        """Remove the files of batches that came back more than `age` seconds ago."""
        for state, keys in list(self._left.values()):
            if time.time() - state.since < age:
                continue
            # A worker may still hand out what is in its files: only what the ledger has may go.
            while keys and self._paid(keys[-1]):
                keys.pop()
            if not keys:
                del self._left[state.id]
                with storage(self._store.folder):
                    self._store.remove(state)


def sweep(store: Store, paid: Callable[[str], bool]) -> None:
    """Remove the files of all batches that came back and are in the ledger whole."""
    sweeper = Sweeper(store, paid)
    for state in store.states():
        if state.step == "done":
            with storage(store.folder):
                sweeper.add(state, places(store.output(state), paid=True))
    sweeper.sweep()
