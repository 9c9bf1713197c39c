"""The Batch API of a provider as a transport: calls are collected, sent as one file, and answered hours later.

To the client it is one more `Transport`: a call goes in and its answer comes out, so flows, ledger, budgets and
retries are the same as online. In between, what must survive a crash is in the run folder, on the medium before
the step that it is about:

    ledger/batches/ID.json     keys of the requests and how far the batch is
    ledger/batches/ID.in.jsonl / ID.out.jsonl     what is uploaded / what came back

    prepared -> upload -> uploaded -> create -> created -> poll -> download -> done -> answers are handed out

A later start throws away what was only prepared, asks the provider whether what was uploaded was started too, and
attaches to what was created: a call whose key is in such a batch waits for that answer and is not sent again.
When all answers of a batch are in the ledger its files go. Knows nothing of what is asked and of ledgers' lines.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from boostqa.errors import ProviderStop
from boostqa.llm.batch_api import (
    FINAL,
    ApiError,
    Batch,
    BatchApi,
    DownError,
    Wanted,
    patiently,
    places,
    write_input,
)
from boostqa.llm.batch_end import End, LateError, rest_of, told
from boostqa.llm.batch_state import State, Store, Sweeper
from boostqa.llm.budget import Amount
from boostqa.llm.config import BatchSettings
from boostqa.llm.http import Response
from boostqa.llm.ledger_files import storage

T = TypeVar("T")
SETTLED = 60.0
"""Seconds after which what was handed out is on the medium in the ledger, if it is there at all."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between things; tests have less time."""

    first_poll: float = 5.0
    settle: float = 30.0
    """After an attempt to create a batch: how long it may stay unseen in the provider's list."""
    patience: float = 120.0
    """Without any success, after which the endpoint counts as down."""
    jammed: float = 3600.0
    """After which an endpoint that says nothing but 429 counts as down; limits per hour have passed by then."""
    grace: float = 3600.0
    """How long after its window a batch may still run at the provider."""
    hand_out: float = 0.02
    """Answers are handed out 64 at a time with this pause, so that memory does not hold a whole batch."""


class _Job:
    """One batch in this process: being collected, or under way."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.lines: dict[str, bytes] = {}
        self.size = 0
        self.task: asyncio.Task[None] | None = None
        self.end: asyncio.Future[End] = asyncio.get_running_loop().create_future()


class BatchTransport:
    """`Transport` over a Batch API; make it inside the event loop, then `open` it.

    Args:
        name: of the entry in `models`, for messages.
        api: the provider's calls.
        folder: of the run's batches; shared by all its processes.
        settings: how much is collected and how often is asked.
        paid: whether the ledger has the answer to a key.
        bound: most that the call with this body can use.
        pace: see there.
    """

    durable = True

    def __init__(
        self,
        name: str,
        api: BatchApi,
        folder: Path,
        settings: BatchSettings,
        *,
        paid: Callable[[str], bool] = lambda _: False,
        bound: Callable[[bytes], Amount] = lambda _: Amount(),
        pace: Pace | None = None,
    ) -> None:
        self._name = name
        self._api = api
        self._store = Store(folder)
        self._settings = settings
        self._paid = paid
        self._bound = bound
        self._pace = pace or Pace()
        self._open: dict[str, _Job] = {}
        """Batches that collect, by endpoint."""
        self._known: dict[str, _Job] = {}
        """Batches of earlier starts, and those whose caller was cancelled, by the keys that nobody waits for."""
        self._owed: dict[str, Amount] = {}
        """Of those of earlier starts: what the budget was charged for them at this start."""
        self._sweeper = Sweeper(self._store, paid)
        self._running: set[asyncio.Task[None]] = set()
        self._handing = asyncio.Semaphore(64)

    async def open(self) -> None:
        """Settle what earlier starts left.

        Raises:
            ProviderStop: when the provider does not say whether a batch was started.
        """
        with storage(self._store.folder):
            self._store.folder.mkdir(parents=True, exist_ok=True)
            for found in self._store.states():
                if found.url == self._api.url:
                    state = await self._settled(found)
                    if state is not None:
                        self._attach(state)

    def _attach(self, state: State) -> None:
        keys = state.keys
        if state.step == "done":  # what is not in the results is asked again
            keys = list(places(self._store.output(state)))
        left = [key for key in keys if not self._paid(key)]
        if not left:
            self._store.remove(state)
            return
        if state.step == "done":
            self._sweeper.add(state, places(self._store.output(state), paid=True))
        job = _Job(state)
        self._known.update((key, job) for key in left)
        self._owed.update(self._store.owed(state, self._paid))

    async def _settled(self, state: State) -> State | None:
        """The batch once it is certain that it exists; None where it does not, and nothing was paid."""
        if state.step in ("created", "done"):
            return state
        async with self._store.alone(state.id):
            now = self._store.read(state.id)
            if now is None or now.step in ("created", "done"):
                return now
            batch = None
            if now.step == "uploaded":
                try:
                    batch = await self._patiently(lambda: self._found(now))
                except (ApiError, DownError) as error:
                    raise ProviderStop(
                        f"models.{self._name}: cannot find out whether a batch of an earlier start runs: {error}; "
                        f"see to the endpoint and run the same command again (the batch is noted in "
                        f"{self._store.note(state)})"
                    ) from error
            if batch is None:
                self._store.remove(now)
                return None
            now.batch_id = batch.id
            self._store.save(now, "created")
            return now

    async def _found(self, state: State) -> Batch | None:
        """The batch that an attempt before `state.since` may have made; looked for until it would show."""
        age = min(max(0.0, time.time() - state.since), self._pace.settle)
        deadline = time.monotonic() + self._pace.settle - age
        while True:
            left = deadline - time.monotonic()
            batch = await self._api.find(state.file_id)
            if batch is not None or left <= 0:
                return batch
            await asyncio.sleep(min(left, self._pace.settle / 4))

    async def request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Response:
        """The answer to a call, after as long as it takes; `timeout` does not count. See `Transport.request`.

        Raises:
            WireError: `expired` where the provider did not get to it; `batch` where no batch can go on.
        """
        key = headers["Idempotency-Key"]
        job = self._known.pop(key, None)
        if job is None:
            job = self._collect(urlsplit(url).path, key, body or b"")
        elif job.task is None:
            self._start(job, self._follow(job))
        try:
            end = await asyncio.shield(job.end)
        except asyncio.CancelledError:
            if job.task is None and key in job.lines:  # not sent yet
                job.size -= len(job.lines.pop(key))
            else:  # whoever asks the same again takes the answer from this batch
                self._known[key] = job
            raise
        async with self._handing:
            await asyncio.sleep(self._pace.hand_out)
            with storage(self._store.folder):
                return end.of(key)

    def booked(self, key: str) -> Amount | None:
        """See `Transport.booked`."""
        return self._owed.pop(key, None)

    async def close(self) -> None:
        """Let go. Batches under way stay so at the provider; the next start attaches to them."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._api.close()
        self._sweeper.sweep()

    def _collect(self, endpoint: str, key: str, body: bytes) -> _Job:
        job = self._open.get(endpoint)
        if job is None:
            state = State(
                id=secrets.token_hex(8), url=self._api.url, endpoint=endpoint, keys=[], model=self._name
            )
            job = self._open[endpoint] = _Job(state)
            asyncio.get_running_loop().call_later(self._settings.wait, self._launch, job)
        job.lines[key] = body
        job.size += len(body)
        if len(job.lines) >= self._settings.requests or job.size >= self._settings.megabytes * 1e6:
            self._launch(job)
        return job

    def _launch(self, job: _Job) -> None:
        """Send what was collected, once."""
        if self._open.get(job.state.endpoint) is not job:
            return
        del self._open[job.state.endpoint]
        if job.lines:
            self._start(job, self._make(job))

    def _start(self, job: _Job, work: Coroutine[None, None, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None and not job.end.done():  # a bug of ours: nobody must wait for ever
                job.end.set_exception(error)

        job.task = asyncio.get_running_loop().create_task(work)
        self._running.add(job.task)
        job.task.add_done_callback(ended)

    async def _make(self, job: _Job) -> None:
        """From the collected calls to a batch that runs, then to its end."""
        state, store = job.state, self._store
        state.keys = list(job.lines)
        with told(job.end, state), storage(self._store.folder):
            async with store.alone(state.id):
                bounds = map(self._bound, job.lines.values())
                state.bounds = [(bound.money, bound.tokens) for bound in bounds]
                lines = [Wanted(key, state.endpoint, msgspec.Raw(body)) for key, body in job.lines.items()]
                job.lines = {}
                await asyncio.to_thread(write_input, store.input(state), iter(lines))
                store.save(state, "prepared")
                try:
                    state.file_id = await self._patiently(lambda: self._api.upload(store.input(state)))
                    store.save(state, "uploaded")
                    state.batch_id = (await self._created(state)).id
                except ApiError:  # refused: nothing was started
                    store.remove(state)
                    raise
                store.save(state, "created")
                store.input(state).unlink()
            await self._follow(job)

    async def _created(self, state: State) -> Batch:
        """Start the batch; where it is not certain whether that worked, the provider's list tells."""
        doubt = False

        async def once() -> Batch:
            nonlocal doubt
            if doubt:
                try:
                    batch = await self._found(state)
                except ApiError as error:
                    if error.passing:
                        raise
                    raise DownError(f"cannot find out whether the batch was started: {error}") from error
                if batch is not None:
                    return batch
                self._store.save(state, "uploaded")  # from now on another one may be on its way
            try:
                return await self._api.create(state.file_id, state.endpoint, self._settings.window)
            except ApiError as error:
                if error.passing and error.status != 429:
                    doubt = True
                    self._store.save(state, "uploaded")
                raise

        return await self._patiently(once)

    async def _follow(self, job: _Job) -> None:
        """Poll a batch to its end, fetch what it made, and tell those who wait."""
        state = job.state
        with told(job.end, state), storage(self._store.folder):
            if state.step == "done":
                path = self._store.output(state)
                job.end.set_result(
                    End(path=path, where=places(path), detail="no line in the batch's results")
                )
                return
            batch = await self._over(state)
            rest = rest_of(batch, self._settings.poll)
            if batch.output_file_id is None and batch.error_file_id is None:
                self._store.remove(state)
                job.end.set_result(rest)
                return
            path = await self._fetched(state, batch)
            where = await asyncio.to_thread(places, path)
            self._store.save(state, "done")
            self._sweeper.add(state, await asyncio.to_thread(places, path, paid=True))
            self._sweeper.sweep(SETTLED)
            job.end.set_result(msgspec.structs.replace(rest, path=path, where=where))

    async def _over(self, state: State) -> Batch:
        """Poll a batch until it is over.

        Raises:
            LateError: when the provider has not ended it long after its window, or uses a word that we do not know.
        """
        delay = min(self._pace.first_poll, self._settings.poll)
        longest = self._settings.seconds + self._pace.grace
        deadline = time.monotonic() + longest - min(max(0.0, time.time() - state.since), longest)
        while (batch := await self._patiently(lambda: self._api.get(state.batch_id))).state not in FINAL:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LateError(
                    f"batch {state.batch_id} is {batch.status!r} at the provider {longest / 3600:.3g} hours after its "
                    f"creation (window {self._settings.window}): end it there, or, to have its calls sent "
                    f"again, remove {self._store.note(state)}"
                )
            await asyncio.sleep(min(delay, left))
            delay = min(delay * 1.5, self._settings.poll)
        return batch

    async def _fetched(self, state: State, batch: Batch) -> Path:
        temp = self._store.folder / f"{state.id}.{os.getpid()}.tmp"

        async def all_of_it() -> None:
            temp.unlink(missing_ok=True)
            for file_id in (batch.output_file_id, batch.error_file_id):
                if file_id is not None:
                    await self._api.download(file_id, temp)

        with storage(temp):
            await self._patiently(all_of_it)
            temp.replace(self._store.output(state))
        return self._store.output(state)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        delays = (min(1.0, self._pace.first_poll), max(1.0, self._settings.poll))
        return await patiently(call, delays, self._pace.patience, self._pace.jammed)
