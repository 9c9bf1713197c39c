"""The sender with its throttles against simulated servers, under a clock that jumps: shares of capacity."""

from __future__ import annotations

import asyncio
import itertools

from boostqa.llm.sending import Replica, Sender, Sent
from boostqa.llm.throttle import Throttle, Tuning
from llm.virtual import LimitedServer, SimTransport, SlotServer, run_virtual

WORKERS = 16


def senders(urls: list[str], transport: SimTransport, *, cap: int, rpm: float | None = None) -> list[Sender]:
    """One sender for each worker, with throttles of its own, as `Clients` makes them for a share of 16."""
    clock = asyncio.get_running_loop().time
    found = []
    for _ in range(WORKERS):
        replicas = [
            Replica(
                url,
                Throttle(cap, rpm=rpm and rpm / WORKERS, tuning=Tuning.shared(WORKERS, give_up_after=120), clock=clock),
            )
            for url in urls
        ]
        found.append(Sender("models.m", replicas, transport, key=None, timeout=120, retries=3))
    return found


async def keep_busy(workers: list[Sender], lanes: int, seconds: float) -> None:
    """`lanes` calls at once from each worker for `seconds`."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    numbers = itertools.count()

    async def lane(sender: Sender) -> None:
        while clock() < end:
            n = next(numbers)
            await sender.send(
                "/x", b"{}", tokens=500, key=f"{n:032x}", sent=Sent(), prefix=f"prompt {n % 997}"
            )

    tasks = [asyncio.ensure_future(lane(sender)) for sender in workers for _ in range(lanes)]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_servers_that_queue_without_bound_are_kept_busy_and_nobody_times_out() -> None:
    async def go() -> None:
        # Eight servers with 64 slots each, one of them three times slower: 3 s and 9 s an answer, 0.4 to 45 s in all.
        servers = {
            f"http://s{n}": SlotServer(64, 0.0225 if n == 3 else 0.0075, seed=n) for n in range(8)
        }
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
