"""Where tasks run: this process, or spawned worker processes (`child.py`) that each have one event loop.

Budgets stay in this process: a worker asks for a lease now and then. A process that dies is replaced, and its
tasks start again: whatever it did not commit is found in the ledger. No state here is needed by a resume.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from boostqa import errors
from boostqa.child import Load, Setup, Usage, load_of, open_worker, pack, unpack
from boostqa.errors import BoostQAError, ContractError
from boostqa.llm.budget import Account, Amount, Ask, Governor, Grant
from boostqa.llm.clients import Endpoint
from boostqa.llm.leases import meter_path, read_change
from boostqa.llm.lines import Totals
from boostqa.schedule import Task
from boostqa.worker import Worker

LANES = 4
"""Tasks in work at a time in one process: while one shard's last calls are slow, others keep endpoints busy."""
ATTEMPTS = 3
"""How often a task is started before dying workers stop the run."""


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

    @property
    def load(self) -> Load:
        """What was asked of each model and endpoint."""
        return Load() if self._worker is None else load_of(self._worker)

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


class ProcessExecutor:
    """Tasks in spawned processes; a process that dies is replaced and its tasks start again."""

    def __init__(self, setup: Setup, governor: Governor, workers: int) -> None:
        self.slots = LANES * workers
        self._setup = setup
        self._governor = governor
        self._count = workers
        self._children: list[_Child] = []
        self._booked: dict[str, Amount] = {}
        """What the governor has booked for each worker, those before it of the same name included; less what was
        booked at the start for calls that they took over."""
        self._past_records = 0
        self._past_models: dict[str, Totals] = {}
        """What processes that died had done, as of their last tick."""
        self._dead: dict[str, Amount] = {}
        """What the governor had booked for each name when a process of that name last died."""

    @property
    def usage(self) -> Usage:
        """What all processes did so far, as of their last tick."""
        total = Usage(records=self._past_records, amount=sum(self._dead.values(), Amount()))
        for child in self._children:
            total = Usage(
                records=total.records + child.usage.records, amount=total.amount + child.usage.amount
            )
        return total

    @property
    def load(self) -> Load:
        """The same over all processes, as of their last tick."""
        models: dict[str, Totals] = {}
        for name, part in self._past_models.items():
            models.setdefault(name, Totals()).merge(part)
        places: dict[tuple[str, str], Endpoint] = {}
        for child in self._children:
            for name, part in child.load.models.items():
                models.setdefault(name, Totals()).merge(part)
            for one in child.load.endpoints:
                known = places.get((one.url, one.model))
                places[one.url, one.model] = one if known is None else known.plus(one)
        return Load(models=models, endpoints=list(places.values()))

    async def __aenter__(self) -> ProcessExecutor:
        self._children = [_Child(self, f"worker-{i}") for i in range(self._count)]
        try:
            await asyncio.gather(*(child.start() for child in self._children))
        except BaseException:
            await self.__aexit__()
            raise
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
        return msgspec.structs.replace(self._setup, name=name, workers=self._count)

    def answer(self, message: Ask) -> Grant:
        """The governor's answer to a worker."""
        self._booked[message.account] = self._booked.get(message.account, Amount()) + message.used
        return self._governor.ask(message)

    def lost(self, name: str) -> None:
        """A worker died: what it had on the wire counts as spent until the ledger says better at the next start."""
        before, spent = self._booked.get(name, Amount()), self._governor.spent
        place = meter_path(Path(self._setup.root), name)
        self._governor.lost(name, None if place is None else read_change(place) - before)
        self._booked[name] = self._dead[name] = before + (self._governor.spent - spent)
        for child in self._children:
            if child.name == name:
                self._past_records += child.usage.records
                for model, part in child.load.models.items():
                    self._past_models.setdefault(model, Totals()).merge(part)
                child.usage, child.load = Usage(), Load()


class _Died(Exception):
    """A worker process ended by itself; holds its exit code."""


class _Child:
    """Parent's side of one worker process."""

    def __init__(self, executor: ProcessExecutor, name: str) -> None:
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.usage = Usage()
        self.load = Load()
        self._executor = executor
        self.name = name
        self._next = 0
        self._closing = False
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Spawns the process, sends the set-up and waits until it is ready.

        Raises:
            BoostQAError: what kept the process from starting, such as a price that does not exist.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "boostqa.child",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then tells its workers
        )  # fmt: skip
        self.send(msgspec.to_builtins(self._executor.setup_for(self.name)))
        self._reader = asyncio.create_task(self._read())
        await self._ready

    def send(self, message: Any) -> None:
        """A message to the process; one that is gone hears nothing."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(pack(message))

    async def run(self, task: Task) -> None:
        """Sends a task, once the process is ready, and waits for its end.

        Raises:
            BoostQAError: what the task raised, or what kept a successor of a dead process from starting.
        """
        await asyncio.shield(self._ready)
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
        while (message := await unpack(self._process.stdout)) is not None:
            self._receive(message)
        code = await self._process.wait()
        if not self._ready.done():
            self._fail(ContractError(f"{self.name}: ended with exit code {code} while starting"))
            return
        if not self._closing:
            self._executor.lost(self.name)
            # Tasks that come from now on wait for the successor; those that the process had start again.
            self._ready = asyncio.get_running_loop().create_future()
        for future in list(self.waiting.values()):
            if not future.done():
                future.set_exception(_Died(code))
        if not self._closing:
            try:
                await self.start()
            except OSError as error:
                self._fail(errors.StorageStop(f"{self.name}: cannot be started again: {error}"))
            except BoostQAError:
                return  # `_ready` holds it, for those who come with tasks

    def _fail(self, error: BoostQAError) -> None:
        """Tells all who wait for the process to be ready, now or later, why it is not."""
        self._ready.set_exception(error)
        self._ready.exception()  # marks it as seen: perhaps nobody comes

    def _receive(self, message: dict[str, Any]) -> None:
        if "ask" in message:
            grant = self._executor.answer(msgspec.convert(message["ask"], Ask))
            self.send({"grant": grant, "n": message["n"]})
        elif "ready" in message:
            self._ready.set_result(None)
        elif "fatal" in message:
            self._fail(_rebuilt(message["fatal"], message["text"]))
        elif "tick" in message:
            self.usage = msgspec.convert(message["tick"], Usage)
            self.load = msgspec.convert(message["load"], Load)
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
