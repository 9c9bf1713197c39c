"""The sender with its throttles against simulated servers, under a clock that jumps: shares of capacity."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from boostqa.llm.replicas import Replicas
from boostqa.llm.sending import Call, Patience, Sender, Sent
from boostqa.llm.throttle import Throttle, Tuning
from llm.virtual import FaultyServer, LimitedServer, SimTransport, SlotServer, run_virtual

WORKERS = 16


def senders(urls: list[str], transport: SimTransport, *, cap: int, rpm: float | None = None) -> list[Sender]:
    """One sender for each worker, with throttles of its own, as `Clients` makes them for a share of 16."""
    clock = asyncio.get_running_loop().time
    found = []
    for _ in range(WORKERS):

        def throttle(url: str) -> Throttle:
            tuning = Tuning.shared(WORKERS, give_up_after=120)
            return Throttle(cap, rpm=rpm and rpm / WORKERS, tuning=tuning, clock=clock)

        patience = Patience(timeout=120, retries=3)
        found.append(Sender("models.m", Replicas(urls, throttle), transport, key=None, patience=patience))
    return found


def call(n: int, prefix: str = "") -> Call:
    return Call(path="/x", body=b"{}", tokens=500, key=f"{n:032x}", prefix=prefix)


async def granted(flying: int) -> None:
    """A budget without limits."""


async def keep_busy(workers: list[Sender], lanes: int, seconds: float) -> None:
    """`lanes` calls at once from each worker for `seconds`."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    numbers = itertools.count()

    async def lane(sender: Sender) -> None:
        while clock() < end:
            n = next(numbers)
            await sender.send(call(n, prefix=f"prompt {n % 997}"), Sent(), granted)

    tasks = [asyncio.ensure_future(lane(sender)) for sender in workers for _ in range(lanes)]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.long
def test_servers_that_queue_without_bound_are_kept_busy_and_nobody_times_out() -> None:
    async def go() -> None:
        # Eight servers with 64 slots each, one of them three times slower: 3 s and 9 s an answer, 0.4 to 45 s in all.
        servers = {f"http://s{n}": SlotServer(64, 0.0225 if n == 3 else 0.0075, seed=n) for n in range(8)}
        workers = senders(list(servers), SimTransport(servers), cap=64)
        await keep_busy(workers, lanes=256, seconds=120)
        capacity = sum(server.slots / server.per_token for server in servers.values()) * 120
        share = sum(server.tokens for server in servers.values()) / capacity
        assert sum(server.timeouts for server in servers.values()) == 0
        assert share >= 0.85, f"{share:.3f} of capacity"

    run_virtual(go())


def test_account_limit_is_used_by_all_workers_together_and_never_passed() -> None:
    async def go() -> None:
        servers = {"http://account": LimitedServer(rps=500, seconds=2.0, seed=1)}
        workers = senders(list(servers), SimTransport(servers), cap=256, rpm=500 * 60)
        server = servers["http://account"]
        busy = asyncio.ensure_future(keep_busy(workers, lanes=256, seconds=80))
        await asyncio.sleep(40)  # each worker begins with one call at a time
        before = server.good
        await busy
        assert server.refused == 0
        assert (server.good - before) / (500 * 40) >= 0.98

    run_virtual(go())


def test_under_mixed_faults_each_call_gets_a_fate_and_afterwards_the_rate_is_back_within_ten_seconds() -> (
    None
):
    async def go() -> None:
        clock = asyncio.get_running_loop().time
        server = FaultyServer(seed=5)
        throttle = Throttle(256, tuning=Tuning.shared(1, give_up_after=120), clock=clock)
        transport = SimTransport({"http://s": server})
        patience = Patience(timeout=5, retries=5)
        replicas = Replicas(["http://s"], lambda url: throttle)
        sender = Sender("models.m", replicas, transport, key=None, patience=patience)
        fates = []

        async def lane(numbers: Iterator[int]) -> None:
            for n in numbers:
                sent = Sent()
                await sender.send(call(n), sent, granted)
                fates.append((n, sent.raw is not None, sent.error))

        async def rate(seconds: float) -> float:
            before = server.good
            await asyncio.sleep(seconds)
            return (server.good - before) / seconds

        numbers = iter(range(30_000))
        lanes = asyncio.gather(*(lane(numbers) for _ in range(400)))
        await asyncio.sleep(10)
        fault_free = await rate(10)
        server.share = 0.2
        await asyncio.sleep(30)
        during = await rate(10)
        server.share = 0.0
        await asyncio.sleep(10)
        recovered = await rate(10)
        await lanes
        assert all(server.faults.values())
        assert sorted(n for n, _, _ in fates) == list(range(30_000))
        assert all(good or "given up after" in error for _, good, error in fates)
        assert sum(good for _, good, _ in fates) > 29_900
        assert recovered >= 0.9 * fault_free, (fault_free, during, recovered)
        assert during > 0

    run_virtual(go())
