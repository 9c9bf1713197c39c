"""A worker process: what `executor.py` spawns as `python -m boostqa.child`.

It reads messages (set-up, tasks, grants, stop) on its standard input and writes messages (ready, done, failed,
ask, tick) on its standard output: msgpack behind a length of four bytes (JSON has no infinity). When its input
ends, its parent is done or gone, and it exits at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from boostqa.errors import BoostQAError
from boostqa.llm.batch_state import batch_folder
from boostqa.llm.budget import Account, Amount, Ask, Grant
from boostqa.llm.clients import Address, Batches, Clients, Endpoint, spare_collector
from boostqa.llm.index import Index, index_path
from boostqa.llm.leases import Meter, meter_path
from boostqa.llm.ledger import LedgerWriter
from boostqa.llm.lines import Totals
from boostqa.llm.model import Abilities
from boostqa.recipe import Recipe
from boostqa.run import Run
from boostqa.schedule import Task
from boostqa.worker import Worker

T = TypeVar("T")
TICK_SECONDS = 0.5
"""How often a worker process tells what it has done, for the display."""

CLOSE_SECONDS = 3.0
"""How long a worker process takes at most to write what it knows when it is told to end."""


class Setup(msgspec.Struct, kw_only=True):
    """All that a worker process needs: plain data. Keys of the recipe's endpoints come from the environment."""

    root: str
    recipe: dict[str, Any]
    roles: list[str] | None = None
    """That may be asked; None: all."""
    addresses: dict[str, Address] = {}
    """By model name: endpoints that this run started itself (the embedded model)."""
    abilities: dict[str, Abilities] = {}
    """By model name: what the endpoints were found to do."""
    name: str = "worker-0"
    workers: int = 1
    """How many processes share the endpoints' limits."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What this session has done so far, for the display; the truth is in the ledger."""

    records: int = 0
    amount: Amount = Amount()


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What this session asked of its models, and how the endpoints are doing; for metrics."""

    models: dict[str, Totals] = {}
    """By name in the recipe."""
    endpoints: list[Endpoint] = []


def load_of(worker: Worker) -> Load:
    """The load of one process at this moment."""
    return Load(models=worker.writer.spending(), endpoints=worker.clients.snapshot())


async def open_worker(
    setup: Setup,
    account: Account,
    stack: AsyncExitStack,
    on_record: Callable[[], None],
    *,
    offline: bool = False,
) -> Worker:
    """A worker with its ledger writer and clients; `stack` closes them in order.

    With `offline` it asks no model: it has no clients and does not open the run's index, which only a run makes anew.
    """
    recipe = Recipe.model_validate(setup.recipe)
    run = Run.open(Path(setup.root))
    models = recipe.models_in_use(setup.roles)
    writer = await stack.enter_async_context(LedgerWriter())
    path = index_path(run.root)
    index = None if offline or not path.exists() else Index(path)
    if index is not None:
        stack.callback(index.close)

    def paid(key: str) -> bool:
        return bytes.fromhex(key) in writer.places or (index is not None and key in index)

    stack.push_async_callback(account.close)
    place = None if offline else meter_path(run.root, setup.name)
    if place is not None:
        account.meter = Meter(place)
        stack.callback(account.meter.close)
    clients = await stack.enter_async_context(
        Clients(
            {} if offline else models,
            account=account,
            addresses=setup.addresses,
            share=setup.workers,
            batches=Batches(batch_folder(run.root), paid),
        )
    )
    if not offline:
        clients.learn(setup.abilities)
    spare_collector()
    return Worker(recipe, run, clients, writer, index, on_record)


def event_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` in a fresh event loop: uvloop's where it is installed. Threads that `main` left are not awaited."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_with_threads(main))
    return uvloop.run(_with_threads(main))


async def _with_threads(main: Coroutine[Any, Any, T]) -> T:
    asyncio.get_running_loop().set_default_executor(_Threads(thread_name_prefix="boostqa"))
    return await main


class _Threads(ThreadPoolExecutor):
    """A loop waits for its threads when it ends; after Ctrl-C a shard or gather in work must not hold that up."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Lets go of the threads: a run's results are committed by renames, so none of theirs can be half there."""
        super().shutdown(wait=False, cancel_futures=True)


def pack(message: Any) -> bytes:
    """A message as it goes over the pipe."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


async def unpack(reader: asyncio.StreamReader) -> Any:
    """The next message, None at the end of the stream."""
    try:
        return msgspec.msgpack.decode(
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        )
    except asyncio.IncompleteReadError:
        return None


class Service:
    """Worker's side: one event loop, tasks as they come, asks answered by the parent."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._grants: dict[int, asyncio.Future[Grant]] = {}
        self._number = 0
        self._records = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def _send(self, message: Any) -> None:
        # A blocking pipe takes all of it, and a parent that is gone ends us by end of input.
        with suppress(BrokenPipeError):
            os.write(self._output, pack(message))

    async def ask(self, message: Ask) -> Grant:
        """Carries a lease request to the governor in the parent."""
        self._number += 1
        future: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._grants[self._number] = future
        self._send({"ask": message, "n": self._number})
        return await future

    def _count(self) -> None:
        self._records += 1

    async def _tick(self, account: Account, worker: Worker) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            usage = Usage(records=self._records, amount=account.used)
            self._send({"tick": usage, "load": load_of(worker)})

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
        setup = msgspec.convert(await unpack(reader), Setup)
        async with AsyncExitStack() as stack:
            account = Account(setup.name, self.ask)
            try:
                worker = await open_worker(setup, account, stack, self._count)
            except BoostQAError as error:
                # Not unwound: closing the account would wait for an answer of the parent.
                self._send({"fatal": type(error).__name__, "text": str(error)})
                os._exit(error.exit_code)
            self._send({"ready": True})
            ticker = asyncio.create_task(self._tick(account, worker))
            while (message := await unpack(reader)) is not None:
                if "task" in message:
                    task = msgspec.convert(message["task"], Task)
                    job = asyncio.create_task(self._execute(worker, task, message["n"]))
                    self._tasks.add(job)
                    job.add_done_callback(self._tasks.discard)
                elif "grant" in message:
                    self._grants.pop(message["n"]).set_result(msgspec.convert(message["grant"], Grant))
                else:
                    worker.stopping = True
            # End of input: the parent is done or gone. Calls in flight are booked as possibly billed. Nobody can
            # answer an `ask` any more, so the stack is not unwound: the rest belongs to the next run.
            ticker.cancel()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    jobs = list(self._tasks)
                    for job in jobs:
                        job.cancel()
                    await asyncio.gather(*jobs, return_exceptions=True)
                    await worker.writer.close()
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
        await Service(output).run(reader)
    except Exception:
        import traceback

        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    event_loop(_serve())
