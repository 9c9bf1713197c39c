"""Where tasks run: this process, or spawned worker processes that each have one event loop.

A worker process reads messages (set-up, tasks, grants, stop) on its standard input and writes messages (done,
failed, ask, tick) on its standard output: msgpack behind a length of four bytes (JSON has no infinity). When
its input ends, its parent is gone and it exits at once; whatever was not committed is found in the ledger by
the next run. Budgets stay in the parent: a worker asks for a lease now and then. No state here is needed by
a resume.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from boostqa import errors
from boostqa.errors import BoostQAError, ContractError
from boostqa.llm.budget import Account, Amount, Ask, Governor, Grant
from boostqa.llm.clients import Address, Clients
from boostqa.llm.ledger import LedgerWriter
from boostqa.llm.ledger_files import Index, index_path
from boostqa.recipe import Recipe
from boostqa.run import Run
from boostqa.schedule import Task
from boostqa.worker import Worker

LANES = 4
"""Tasks in work at a time in one process: while one shard's last calls are slow, others keep endpoints busy."""
TICK_SECONDS = 0.5
"""How often a worker process tells what it has done, for the display."""
ATTEMPTS = 3
"""How often a task is started before dying workers stop the run."""


class Setup(msgspec.Struct, kw_only=True):
    """All that a worker process needs: plain data. Keys of the recipe's endpoints come from the environment."""

    root: str
    recipe: dict[str, Any]
    addresses: dict[str, Address] = {}
    """By model name: endpoints that this run started itself (the embedded model)."""
    name: str = "worker-0"
    workers: int = 1
    """How many processes share the endpoints' limits."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What this session has done so far, for the display; the truth is in the ledger."""

    records: int = 0
    amount: Amount = Amount()


class LocalExecutor:
    """Tasks in this process, several at a time; the executor for one worker and for tests."""

    def __init__(self, setup: Setup, governor: Governor, *, offline: bool = False) -> None:
        """With `offline` no clients are made: for stages that ask no model."""
        self._offline = offline
        self.slots = LANES
        self._records = 0
        self._setup = setup
        self._governor = governor
        self._account = Account(setup.name, self._ask)
        self._stack = AsyncExitStack()
        self._worker: Worker | None = None

    async def _ask(self, message: Ask) -> Grant:
        return self._governor.ask(message)

    @property
    def usage(self) -> Usage:
        """What was done so far."""
        return Usage(records=self._records, amount=self._account.used)

    async def __aenter__(self) -> LocalExecutor:
        self._worker = await open_worker(
            self._setup, self._account, self._stack, self._count, offline=self._offline
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _count(self) -> None:
        self._records += 1

    async def submit(self, task: Task) -> None:
        """Runs a task to its commit."""
        assert self._worker is not None
        await self._worker.execute(task)

    def drain(self) -> None:
        """Lets records in work finish and starts no others."""
        if self._worker is not None:
            self._worker.stopping = True


async def open_worker(
    setup: Setup,
    account: Account,
    stack: AsyncExitStack,
    on_record: Callable[[], None],
    *,
    offline: bool = False,
) -> Worker:
    """A worker with its ledger writer and clients; `stack` closes them in order."""
    recipe = Recipe.model_validate(setup.recipe)
    run = Run.open(Path(setup.root))
    models = recipe.models_in_use()
    writer = await stack.enter_async_context(LedgerWriter())
    stack.push_async_callback(account.close)
    clients = await stack.enter_async_context(
        Clients({} if offline else models, account=account, addresses=setup.addresses, share=setup.workers)
    )
    path = index_path(run.root)
    index = Index(path) if path.exists() else None
    if index is not None:
        stack.callback(index.close)
    return Worker(recipe, run, clients, writer, index, on_record)


class ProcessExecutor:
    """Tasks in spawned processes; a process that dies is replaced and its tasks start again."""

    def __init__(self, setup: Setup, governor: Governor, workers: int) -> None:
        self.slots = LANES * workers
        self._setup = setup
        self._governor = governor
        self._children = [_Child(self, f"worker-{i}") for i in range(workers)]

    @property
    def usage(self) -> Usage:
        """What all processes did so far, as of their last tick."""
        total = Usage()
        for child in self._children:
            total = Usage(
                records=total.records + child.usage.records, amount=total.amount + child.usage.amount
            )
        return total

    async def __aenter__(self) -> ProcessExecutor:
        await asyncio.gather(*(child.start() for child in self._children))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(child.close() for child in self._children))

    async def submit(self, task: Task) -> None:
        """Runs a task in the process with the fewest; starts it again when that process dies.

        Raises:
            StorageStop: when processes keep dying under this task, most likely for lack of memory.
        """
        for _ in range(ATTEMPTS):
            child = min(self._children, key=lambda c: len(c.waiting))
            try:
                return await child.run(task)
            except _Died as death:
                code = death.args[0]
        raise errors.StorageStop(
            f"{task.segment}/{task.entry}.{task.step} {task.shard}: {ATTEMPTS} worker processes died in it "
            f"(exit code {code}); most likely memory: use fewer --workers"
        )

    def drain(self) -> None:
        """Lets records in work finish and starts no others."""
        for child in self._children:
            child.send({"stop": True})

    def setup_for(self, name: str) -> Setup:
        """Set-up of one worker process."""
        return msgspec.structs.replace(self._setup, name=name, workers=len(self._children))

    def answer(self, message: Ask) -> Grant:
        """The governor's answer to a worker."""
        return self._governor.ask(message)

    def lost(self, name: str) -> None:
        """A worker died: its lease counts as spent until the ledger says better at the next start."""
        self._governor.lost(name)


def _pack(message: Any) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


async def _unpack(reader: asyncio.StreamReader) -> Any:
    """The next message, None at the end of the stream."""
    try:
        return msgspec.msgpack.decode(
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        )
    except asyncio.IncompleteReadError:
        return None


class _Died(Exception):
    """A worker process ended by itself; holds its exit code."""


class _Child:
    """Parent's side of one worker process."""

    def __init__(self, executor: ProcessExecutor, name: str) -> None:
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.usage = Usage()
        self._executor = executor
        self._name = name
        self._next = 0
        self._closing = False
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Spawns the process and sends the set-up."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "boostqa.executor",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then tells its workers
        )  # fmt: skip
        self.send(msgspec.to_builtins(self._executor.setup_for(self._name)))
        self._reader = asyncio.create_task(self._read())

    def send(self, message: Any) -> None:
        """A message to the process; one that is gone hears nothing."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(_pack(message))

    async def run(self, task: Task) -> None:
        """Sends a task and waits for its end."""
        self._next += 1
        number = self._next
        future = self.waiting[number] = asyncio.get_running_loop().create_future()
        self.send({"task": task, "n": number})
        try:
            await future
        finally:
            self.waiting.pop(number, None)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while (message := await _unpack(self._process.stdout)) is not None:
            self._receive(message)
        code = await self._process.wait()
        if not self._closing:
            self._executor.lost(self._name)
            await self.start()
        for future in list(self.waiting.values()):
            if not future.done():
                future.set_exception(_Died(code))

    def _receive(self, message: dict[str, Any]) -> None:
        if "ask" in message:
            grant = self._executor.answer(msgspec.convert(message["ask"], Ask))
            self.send({"grant": grant, "n": message["n"]})
        elif "tick" in message:
            self.usage = msgspec.convert(message["tick"], Usage)
        else:
            future = self.waiting.get(message["n"])
            if future is None or future.done():
                return
            if "error" in message:
                future.set_exception(_rebuilt(message["error"], message["text"]))
            else:
                future.set_result(None)

    async def close(self) -> None:
        """Ends the process: first by closing its input, then by force."""
        self._closing = True
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader


def _rebuilt(name: str, text: str) -> BoostQAError:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, BoostQAError):
        return kind(text)
    return ContractError(f"{name}: {text}")


class _Service:
    """Worker's side: one event loop, tasks as they come, asks answered by the parent."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._grants: dict[int, asyncio.Future[Grant]] = {}
        self._number = 0
        self._records = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def _send(self, message: Any) -> None:
        # A pipe write this small is whole or not at all, and a parent that is gone ends us by end of input.
        with suppress(BrokenPipeError):
            os.write(self._output, _pack(message))

    async def ask(self, message: Ask) -> Grant:
        """Carries a lease request to the governor in the parent."""
        self._number += 1
        future: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._grants[self._number] = future
        self._send({"ask": message, "n": self._number})
        return await future

    def _count(self) -> None:
        self._records += 1

    async def _tick(self, account: Account) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._send({"tick": Usage(records=self._records, amount=account.used)})

    async def _execute(self, worker: Worker, task: Task, number: int) -> None:
        try:
            await worker.execute(task)
        except BoostQAError as error:
            self._send({"n": number, "error": type(error).__name__, "text": str(error)})
        except Exception as error:
            import traceback

            traceback.print_exc()
            self._send(
                {"n": number, "error": type(error).__name__, "text": f"{error} (see the traceback above)"}
            )
        else:
            self._send({"n": number})

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serves until the input ends."""
        setup = msgspec.convert(await _unpack(reader), Setup)
        async with AsyncExitStack() as stack:
            account = Account(setup.name, self.ask)
            worker = await open_worker(setup, account, stack, self._count)
            ticker = asyncio.create_task(self._tick(account))
            while (message := await _unpack(reader)) is not None:
                if "task" in message:
                    task = msgspec.convert(message["task"], Task)
                    job = asyncio.create_task(self._execute(worker, task, message["n"]))
                    self._tasks.add(job)
                    job.add_done_callback(self._tasks.discard)
                elif "grant" in message:
                    self._grants.pop(message["n"]).set_result(msgspec.convert(message["grant"], Grant))
                else:
                    worker.stopping = True
            # End of input: the parent is done or gone. Nobody can answer an `ask` any more, so the stack is
            # not unwound: what was answered is written, the rest belongs to the next run.
            ticker.cancel()
            try:
                await asyncio.wait_for(worker.writer.close(), 3)
            finally:
                os._exit(0)


async def _serve() -> None:
    output = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not break the protocol
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        await _Service(output).run(reader)
    except Exception:
        import traceback

        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    asyncio.run(_serve())
