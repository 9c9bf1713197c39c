"""One bad replica beside a good one, and single calls that always fail: under a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from boostqa.errors import ProviderStop
from boostqa.llm.http import Response, WireError
from boostqa.llm.replicas import Replicas
from boostqa.llm.sending import Call, Patience, Sender, Sent
from boostqa.llm.throttle import Ended, Throttle, Tuning
from llm.virtual import SimTransport, run_virtual

GOOD = msgspec.json.encode(
    {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
)


class Server:
    """Answers after `seconds` with what `says` makes of the time."""

    def __init__(self, says: Callable[[float], Response], seconds: float = 0.5) -> None:
        self.says = says
        self.seconds = seconds
        self.asked = 0

    async def answer(self, timeout: float) -> Response:
        self.asked += 1
        if self.seconds > timeout:
            await asyncio.sleep(timeout)
            raise WireError("timeout", "no whole answer in time", sent=True)
        await asyncio.sleep(self.seconds)
        return self.says(asyncio.get_running_loop().time())


def good(now: float) -> Response:
    return Response(200, GOOD)


def sender(servers: dict[str, Server], *, hedge: float | None = None, timeout: float = 900) -> Sender:
    clock = asyncio.get_running_loop().time
    replicas = Replicas(list(servers), lambda url: Throttle(32, tuning=Tuning(), clock=clock))
    patience = Patience(timeout=timeout, retries=5, hedge=hedge)
    return Sender("models.m", replicas, SimTransport(servers), key=None, patience=patience)


async def granted(flying: int) -> None:
    """A budget without limits."""


async def one(to: Sender, n: int) -> Sent:
    sent = Sent()
    await to.send(Call(path="/c", body=b"{}", tokens=10, key=f"{n:032x}", prefix=f"p{n}"), sent, granted)
    return sent


async def many(to: Sender, count: int, lanes: int) -> list[Sent]:
    numbers = iter(range(count))

    async def lane() -> list[Sent]:
        return [await one(to, n) for n in numbers]

    return [sent for part in await asyncio.gather(*(lane() for _ in range(lanes))) for sent in part]


@pytest.mark.parametrize(
    "bad",
    [
        lambda now: Response(429, b"{}"),
        lambda now: Response(429, b"{}", "60"),
        lambda now: Response(503, b"{}", "60"),
        lambda now: Response(500, b"{}"),
    ],
    ids=["429", "429 with Retry-After", "503 with Retry-After", "500"],
)
def test_a_bad_replica_neither_stops_nor_starves_the_calls_of_a_good_one(
    bad: Callable[[float], Response],
) -> None:
    async def go() -> None:
        servers = {"http://a": Server(good), "http://b": Server(bad)}
        clock = asyncio.get_running_loop().time
        start = clock()
        found = await many(sender(servers), 20_000, 32)
        assert all(sent.raw is not None for sent in found)
        # Alone the good one would need 20,000 / 32 x 0.5 = 313 seconds.
        assert clock() - start < 450
        assert servers["http://b"].asked < 1000

    run_virtual(go())


def test_the_replica_that_comes_back_first_is_used() -> None:
    async def go() -> None:
        clock = asyncio.get_running_loop().time
        start = clock()

        def restarting(now: float) -> Response:
            return good(now) if now - start > 60 else Response(503, b"{}")

        servers = {"http://a": Server(restarting), "http://b": Server(lambda now: Response(503, b"{}"))}
        found = await many(sender(servers), 10_000, 16)
        assert sum(sent.raw is not None for sent in found) > 9_900

    run_virtual(go())


def test_when_all_replicas_are_down_the_run_stops() -> None:
    async def go() -> None:
        servers = {f"http://{name}": Server(lambda now: Response(503, b"{}")) for name in "ab"}
        with pytest.raises(ProviderStop, match="no answer for"):
            await many(sender(servers), 1000, 16)

    run_virtual(go())


def test_a_hedge_waits_for_a_replica_that_is_being_probed_without_holding_anything_up() -> None:
    async def go() -> None:
        servers = {"http://a": Server(good, 5.0), "http://b": Server(good, 5.0)}
        to = sender(servers, hedge=1.0)
        other = to.replicas[1].throttle
        for _ in range(8):
            other.done(await other.acquire(1), Ended.FAILURE)
        await asyncio.sleep(2)
        probe = await other.acquire(1)
        assert probe.probe
        n = next(n for n in range(99) if to.replicas.choose(f"p{n}") is to.replicas[0])
        sent = await asyncio.wait_for(one(to, n), 60)
        assert sent.raw is not None
        assert servers["http://b"].asked == 0

    run_virtual(go())


@pytest.mark.parametrize(
    ("server", "tries"),
    [(Server(lambda now: Response(500, b"{}")), 6), (Server(good, 10_000.0), 6)],
    ids=["500", "time-out"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_calls_that_always_fail_fail_by_name_and_do_not_stop_the_run(
    server: Server, tries: int, count: int
) -> None:
    async def go() -> None:
        to = sender({"http://a": server}, timeout=900)
        found = await asyncio.gather(*(one(to, n) for n in range(count)))
        assert all("given up after" in sent.error for sent in found)
        assert [sent.tries for sent in found] == [tries] * count

    run_virtual(go())
