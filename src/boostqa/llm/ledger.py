"""Writing the ledger: every paid answer is on disk before its caller sees it.

    ledger/<segment>/<entry>/<step>/<shard>.<attempt>.jsonl.zst     one file for each attempt at a shard
    ....idx                                                          keys and sums, once the attempt is closed

One `LedgerWriter` per process collects the lines of all open journals and writes one frame per journal each
20 ms (sooner when there are plenty, at once when it was idle), then releases the callers; `fsync` follows within
200 ms in a thread of its own. So a kill costs the calls in flight and at most the answers of the last 20 ms; a
power cut those of the last 200 ms. Knows nothing of HTTP, models or money.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType

import msgspec

from boostqa.errors import StorageStop
from boostqa.llm.frames import SUFFIX, FrameCache, encode_frame, read_frames
from boostqa.llm.index import Index
from boostqa.llm.ledger_files import finish_file, storage, storage_stop
from boostqa.llm.lines import Line, LineHead, Totals
from boostqa.llm.places import Places

PLENTY = 16
"""Lines per journal that are not kept waiting: a frame of fewer packs worse, one of more keeps callers waiting."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)
_head_decoder = msgspec.json.Decoder(LineHead)

current_journal: ContextVar[Journal | None] = ContextVar("current_journal", default=None)
"""Journal of the (step, shard) task that runs; set by the executor. Without one, calls are not recorded."""
current_record: ContextVar[str] = ContextVar("current_record", default="")
"""Id of the record in work; set by the executor around each per-record call, it tags the ledger lines."""


class Journal:
    """The ledger of one (step, shard) task: this attempt's file, and what earlier attempts have paid for.

    Memory holds keys and offsets only. Use within one event loop; make it with `LedgerWriter.open`.
    """

    def __init__(self, writer: LedgerWriter, folder: Path, shard: str, index: Index | None) -> None:
        self._writer = writer
        self._folder = folder
        self._shard = shard
        self._index = index
        self._places: dict[str, tuple[Path, int]] = {}
        self._attempt = 0
        self._path: Path | None = None
        self._fd = -1
        self._end = 0
        self._own: list[tuple[bytes, int]] = []
        self.sums: dict[str, Totals] = {}
        """By name in the recipe's `models`, over what this journal has written to its file."""
        self._pending: list[tuple[Line, bytes]] = []
        self._waiting: list[asyncio.Future[None]] = []
        """One for each pending line, for its caller."""
        self._writing: list[asyncio.Future[None]] = []
        with storage(folder):
            self._load()

    def _load(self) -> None:
        """Find the attempts so far, oldest first: the first answer to a key is the one that counts."""
        while (path := self._file()).exists():  # numbers have no gaps; a listing would grow with the shards
            self._attempt += 1
            for offset, lines in read_frames(path):
                for line in lines:
                    head = _head_decoder.decode(line)
                    if not head.err:
                        self._places.setdefault(head.k, (path, offset))

    def _file(self) -> Path:
        """Where the answers of the attempt go."""
        return self._folder / f"{self._shard}.{self._attempt:03d}{SUFFIX}"

    def lookup(self, key: str) -> Line | None:
        """The recorded answer to `key`.

        Of this shard's earlier attempts first, then of what this process has paid for in whatever shard, then
        of the run's index, which is as old as the session. What other processes have paid for since is not seen.
        """
        place = self._places.get(key) or self._writer.places.get(bytes.fromhex(key))
        if place is None:
            return self._index.lookup(key) if self._index is not None else None
        data = self._writer.cache.line(*place, key)
        return None if data is None else _decoder.decode(data)

    def check(self) -> None:
        """Raise the failure of an earlier write of this process, if any: what cannot be kept is not paid for.

        Raises:
            StorageStop: when the disk is full or not writable.
        """
        self._writer.check()

    async def append(self, line: Line) -> None:
        """Record `line`; returns once its frame has been written.

        Raises:
            StorageStop: when the disk is full or not writable.
        """
        await self.add(line)

    def add(self, line: Line) -> asyncio.Future[None]:
        """Queue `line`; the future is done once its frame is written.

        A caller that is being cancelled leaves it at that: `close` waits for what is queued.
        """
        self._pending.append((line, _encoder.encode(line)))
        written = self._writer.loop.create_future()
        self._waiting.append(written)
        self._writer.touch(self)
        return written

    def take(self) -> list[tuple[Line, bytes]]:
        """The lines that wait (for the writer, which calls `written` afterwards)."""
        pending, self._writing = self._pending, self._waiting
        self._pending, self._waiting = [], []
        return pending

    def written(self, failure: StorageStop | None) -> None:
        """Release the callers whose lines `take` handed out."""
        released, self._writing = self._writing, []
        for waiting in released:
            if waiting.done():  # its caller was cancelled
                continue
            if failure is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(failure)
                waiting.exception()  # marks it as seen: perhaps nobody awaits it

    async def settled(self) -> None:
        """Wait until nothing of this journal is on its way to the file.

        Raises:
            StorageStop: when a write failed.
        """
        while self._waiting or self._writing:
            await self._writer.flushed()

    async def flushed(self) -> None:
        """Wait until all lines of this process, of whatever journal, can be looked up.

        Raises:
            StorageStop: when a write failed.
        """
        await self._writer.flushed()

    @property
    def place(self) -> Path:
        """The file, or the folder while there is no file."""
        return self._path or self._folder

    def write(self, pending: list[tuple[Line, bytes]]) -> None:
        """Write one frame (in the writer's thread)."""
        if self._fd < 0:
            self._create()
        data = encode_frame([encoded for _, encoded in pending])
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        assert self._path is not None
        for line, _ in pending:
            self.sums.setdefault(line.name, Totals()).add(line)
            if not line.err:
                self._own.append((key := bytes.fromhex(line.k), self._end))
                self._writer.places.add(key, self._path, self._end)
        self._end += len(data)

    def _create(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        while True:
            path = self._file()
            try:
                self._fd = os.open(path, flags, 0o644)
            except FileExistsError:  # another process tries the same shard: both keep what they pay
                self._attempt += 1
                continue
            self._path = path
            return

    def sync(self) -> None:
        """Flush to the medium (in the writer's second thread)."""
        if self._fd >= 0:
            os.fsync(self._fd)

    async def close(self) -> None:
        """Write what waits, sync, and leave the sidecar with keys and sums beside the file.

        Raises:
            StorageStop: when the disk is full or not writable.
        """
        await self.settled()
        self._writer.forget(self)
        self._writer.count(self.sums)
        if self._fd < 0:
            return
        assert self._path is not None
        fd, path, end, own, sums = self._fd, self._path, self._end, self._own, self.sums
        # A line that comes after all (of a call cancelled just now) opens a file of its own.
        self._fd, self._end, self._own, self.sums = -1, 0, [], {}
        await self._writer.in_thread(path, lambda: finish_file(fd, path, end, own, sums))


class LedgerWriter:
    """Writes the frames of all journals of this process; see the module docstring for when.

    Use as an asynchronous context manager inside the event loop that makes the calls.
    """

    def __init__(self, *, flush_s: float = 0.020, fsync_s: float = 0.200) -> None:
        self.cache = FrameCache()
        self.places = Places()
        """Of what this process has paid for of late."""
        self._journals: set[Journal] = set()
        self._sums: dict[str, Totals] = {}
        """Of the journals that have ended."""
        self._flush_s = flush_s
        self._fsync_s = fsync_s
        self._dirty: dict[Journal, None] = {}
        self._lines = 0  # that wait, over all journals
        self._timer: asyncio.TimerHandle | None = None  # for the next flush, unless there is plenty before
        self._unsynced: dict[Journal, None] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._syncer: asyncio.Task[None] | None = None
        self.loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[None] = self.loop.create_future()
        self._failure: StorageStop | None = None
        self._last_flush = self._last_sync = float("-inf")
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-write")
        self._sync_thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-sync")

    async def __aenter__(self) -> LedgerWriter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def open(
        self, run_dir: Path, place: tuple[str, str, str], shard: str, index: Index | None = None
    ) -> Journal:
        """The journal of one task; `place` is (segment, entry, step). The first answer makes the file."""
        journal = Journal(self, run_dir.joinpath("ledger", *place), shard or "all", index)
        self._journals.add(journal)
        return journal

    def count(self, sums: dict[str, Totals]) -> None:
        """Add the sums of a journal that ends."""
        for name, part in sums.items():
            self._sums.setdefault(name, Totals()).merge(part)

    def spending(self) -> dict[str, Totals]:
        """Sums over what this process has written, by name in the recipe's `models`; for metrics."""
        found: dict[str, Totals] = {}
        for sums in (self._sums, *(journal.sums for journal in self._journals)):
            for name, part in list(sums.items()):
                found.setdefault(name, Totals()).merge(part)
        return found

    def check(self) -> None:
        """Raise the failure of an earlier write, if any: after it nothing may be paid for."""
        if self._failure is not None:
            raise self._failure

    async def flushed(self) -> None:
        """Wait until nothing is on its way to a file.

        Raises:
            StorageStop: when a write failed.
        """
        while self._dirty or self._flusher is not None:
            self._start()
            assert self._flusher is not None
            await asyncio.shield(self._flusher)
        self.check()

    def touch(self, journal: Journal) -> None:
        """Note that `journal` has one more line to write."""
        self._dirty[journal] = None
        self._lines += 1
        if self._flusher is None:
            self._plan()

    @property
    def _plenty(self) -> bool:
        return self._lines >= PLENTY * len(self._dirty) > 0

    def _plan(self) -> None:
        """Have what waits flushed, now or in time."""
        if self._plenty:
            self._start()
        elif self._timer is None:
            # After at least one turn of the loop, so that answers that arrived together share a frame.
            due = max(self.loop.time(), self._last_flush + self._flush_s)
            self._timer = self.loop.call_at(due, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flusher is None:
            self._flusher = self.loop.create_task(self._flush())

    async def _flush(self) -> None:
        while True:
            batches = [(journal, journal.take()) for journal in self._dirty]
            self._dirty.clear()
            self._lines = 0
            self._last_flush = self.loop.time()
            if self._failure is None:
                self._failure = await self.loop.run_in_executor(self._write_thread, _write_all, batches)
            for journal, _ in batches:
                journal.written(self._failure)
                self._unsynced[journal] = None
            if self._syncer is None:
                self._syncer = self.loop.create_task(self._sync())
            if not self._plenty:
                break
        self._flusher = None
        if self._dirty:
            self._plan()

    async def _sync(self) -> None:
        while self._unsynced:
            # Not a plain sleep: `close` does not wait for the interval to pass.
            wait = max(0.0, self._last_sync + self._fsync_s - self.loop.time())
            await asyncio.wait([self._closing], timeout=wait)
            journals = list(self._unsynced)
            self._unsynced.clear()
            self._last_sync = self.loop.time()
            failure = await self.loop.run_in_executor(self._sync_thread, _sync_all, journals)
            self._failure = self._failure or failure
        self._syncer = None

    def forget(self, journal: Journal) -> None:
        """Leave the syncing of `journal` to its `close`.

        Raises:
            StorageStop: when an earlier write or sync failed.
        """
        self._unsynced.pop(journal, None)
        self._journals.discard(journal)
        self.check()

    async def in_thread(self, path: Path, work: Callable[[], None]) -> None:
        """Run `work` in the sync thread, behind any fsync under way.

        Raises:
            StorageStop: for an `OSError` in it.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._sync_thread, work)
        except OSError as error:
            raise storage_stop(error, path) from error

    async def close(self) -> None:
        """Write and sync what waits; journals that are still open keep their files without a sidecar."""
        with suppress(StorageStop):  # its callers have been told
            await self.flushed()
        if not self._closing.done():
            self._closing.set_result(None)
        while self._syncer is not None:
            await asyncio.shield(self._syncer)
        self._write_thread.shutdown()
        self._sync_thread.shutdown()


def _write_all(batches: list[tuple[Journal, list[tuple[Line, bytes]]]]) -> StorageStop | None:
    """Write one frame per journal; after a failure nothing more, since it may have torn a file."""
    for journal, pending in batches:
        try:
            journal.write(pending)
        except OSError as error:
            return storage_stop(error, journal.place)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            return StorageStop(f"{journal.place}: cannot be written ({type(error).__name__}: {error})")
    return None


def _sync_all(journals: Sequence[Journal]) -> StorageStop | None:
    """Sync each file; what the medium did not take cannot be promised to anyone."""
    failure = None
    for journal in journals:
        try:
            journal.sync()
        except OSError as error:
            failure = failure or storage_stop(error, journal.place)
    return failure
