"""The parent's side of a worker process: what becomes of tasks when the process dies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from boostqa import executor
from boostqa.child import Setup
from boostqa.errors import ContractError, StorageStop
from boostqa.executor import LocalExecutor, ProcessExecutor, _Child, _Died
from boostqa.llm.budget import Account, Amount, Ask, Governor, Grant, Limits
from boostqa.llm.index import index_path
from boostqa.llm.leases import Meter, begin, meter_path
from boostqa.llm.lines import Totals
from boostqa.recipe import parse
from boostqa.run import Run
from boostqa.schedule import Task

TASK = Task(segment="head", entry="annotate", step="label", kind="map", shard="part-0", segments=["head"])


class Process:
    """A process that does nothing; the test feeds its output and sees its input."""

    def __init__(self) -> None:
        self.stdout = asyncio.StreamReader()
        self.stdin = self
        self.got: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.got.append(data)

    async def wait(self) -> int:
        return -9


class Family(ProcessExecutor):
    """An executor without processes of its own."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def setup_for(self, name: str) -> Setup:
        return Setup(root="run", recipe={}, name=name)

    def lost(self, name: str) -> None:
        self.names.append(name)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """The processes that were spawned so far."""
    made: list[Process] = []

    async def spawn(*_: Any, **__: Any) -> Process:
        await asyncio.sleep(0)
        made.append(Process())
        return made[-1]

    monkeypatch.setattr(executor.asyncio, "create_subprocess_exec", spawn)
    return made


async def started(family: Family, processes: list[Process]) -> _Child:
    child = _Child(family, "worker-0")
    starting = asyncio.create_task(child.start())
    await settled()
    child._receive({"ready": True})
    await starting
    return child


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_task_waits_for_the_successor_of_a_dead_process_and_runs_once(processes: list[Process]) -> None:
    async def go() -> None:
        family = Family()
        child = await started(family, processes)
        before = asyncio.create_task(child.run(TASK))
        await settled()
        processes[0].stdout.feed_eof()
        await settled()
        assert isinstance(before.exception(), _Died)
        after = asyncio.create_task(child.run(TASK))
        await settled()
        assert len(processes[1].got) == 1  # its set-up; the task waits
        child._receive({"ready": True})
        await settled()
        assert len(processes[1].got) == 2
        child._receive({"n": 2})
        await after
        assert family.names == ["worker-0"]

    asyncio.run(go())


def test_a_process_that_cannot_be_started_again_swallows_no_task(processes: list[Process]) -> None:
    async def go() -> None:
        child = await started(Family(), processes)
        processes[0].stdout.feed_eof()
        await settled()
        processes[1].stdout.feed_eof()
        await settled()
        for _ in range(2):
            with pytest.raises(ContractError, match="worker-0: ended with exit code -9 while starting"):
                await asyncio.wait_for(child.run(TASK), 5)

    asyncio.run(go())


def test_what_a_dead_process_did_still_counts(processes: list[Process]) -> None:
    async def go() -> None:
        governor = Governor(Limits(tokens=1000))
        family = ProcessExecutor(Setup(root="run", recipe={}), governor, 1)
        child = await started(family, processes)
        family._children = [child]
        for used in (0, 30):
            family.answer(Ask(account="worker-0", used=Amount(tokens=used), need=Amount(tokens=50)))
        totals = Totals(requests=3, answers=3)
        tick = {"records": 2, "amount": {"tokens": 40.0}}
        child._receive({"tick": tick, "load": {"models": {"m": msgspec.to_builtins(totals)}}})
        assert family.usage.amount.tokens == 40
        processes[0].stdout.feed_eof()
        await settled()
        assert family.usage.amount.tokens == governor.spent.tokens >= 130  # its whole lease
        assert family.usage.records == 2
        assert family.load.models["m"].answers == 3
        child._receive({"tick": tick, "load": {"models": {"m": msgspec.to_builtins(totals)}}})
        assert family.usage.records == 4
        assert family.load.models["m"].answers == 6
        assert family._past_models["m"].answers == 3

    asyncio.run(go())


@pytest.mark.parametrize("reported", [True, False])
def test_a_death_counts_the_calls_of_an_earlier_batch_once(tmp_path: Path, reported: bool) -> None:
    """Three calls of a batch were booked at the start: one is answered, one is waited for, one is not asked for yet."""
    each, used = Amount(tokens=1000, requests=1), Amount(tokens=100, requests=1)
    begin(tmp_path, Amount())
    governor = Governor(Limits(tokens=100_000), each.times(3), unsettled=each.times(3))
    family = ProcessExecutor(Setup(root=str(tmp_path), recipe={}), governor, 1)
    place = meter_path(tmp_path, "worker-0")
    assert place is not None

    async def ask(message: Ask) -> Grant:
        return family.answer(message)

    async def live_and_die(*, settled: int, waiting: int) -> None:
        account, meter = Account("worker-0", ask), Meter(place)
        for n in range(settled + waiting):  # as a client does it
            account.release(each)
            await account.reserve(each)
            if n < settled:
                account.settle(each, used)
                meter.add(used)
                meter.replaced(each)
        if reported:
            await account.reserve(Amount(tokens=60_000))
        family.lost("worker-0")
        meter.close()

    asyncio.run(live_and_die(settled=1, waiting=1))
    assert governor.spent == Amount(tokens=2100, requests=3)
    asyncio.run(live_and_die(settled=1, waiting=0))  # its successor gets the second answer
    assert governor.spent == Amount(tokens=1200, requests=3)
    assert governor.left().tokens == 98_800


@pytest.mark.parametrize("index", [b"", b"bqindex1" + bytes(40)], ids=["torn", "older"])
def test_without_models_the_index_is_not_needed(tmp_path: Path, index: bytes) -> None:
    model = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "dialect": "vllm"}
    text = {
        "seeds": {"sources": [{"name": "s", "path": "s.jsonl", "license": "CC0-1.0"}]},
        "models": {"m": model},
        "roles": dict.fromkeys(("annotator", "target", "teacher", "refiner"), "m"),
    }
    recipe = parse(text, tmp_path / "recipe.yaml")
    run = Run(tmp_path / "run")
    index_path(run.root).parent.mkdir(parents=True)
    run.save()
    index_path(run.root).write_bytes(index)
    setup = Setup(root=str(run.root), recipe=recipe.model_dump(mode="json"))

    async def go(offline: bool) -> None:
        async with LocalExecutor(setup, Governor(Limits()), offline=offline):
            pass

    asyncio.run(go(offline=True))
    with pytest.raises(StorageStop, match=r"index\.bin: damaged or of another version"):
        asyncio.run(go(offline=False))
