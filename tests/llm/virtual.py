"""An event loop whose clock jumps to the next timer, and servers that live in it."""

from __future__ import annotations

import asyncio
import heapq
import random
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from boostqa.llm.http import Response, WireError


class _NoWait(selectors.SelectSelector):
    """Instead of waiting, moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody: no timer is set")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs timers in order without waiting; no sockets."""

    def __init__(self) -> None:
        self._clock = _NoWait()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_virtual(main: Coroutine[Any, Any, Any]) -> Any:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class SlotServer:
    """Like vLLM: `slots` answers at once, the rest queues without bound and is never refused.

    An answer takes `per_token` seconds for each of its tokens, which are log-normal around 400.
    """

    def __init__(self, slots: int, per_token: float, seed: int) -> None:
        self.free = slots
        self.slots = slots
        self.per_token = per_token
        self.tokens = 0
        """Generated for answers that somebody still waited for."""
        self.timeouts = 0
        self._random = random.Random(seed)
        self._queue: list[tuple[int, asyncio.Future[None]]] = []
        self._count = 0

    async def answer(self, timeout: float) -> Response:
        try:
            async with asyncio.timeout(timeout):
                return await self._answer()
        except TimeoutError:
            self.timeouts += 1
            raise WireError("timeout", "no whole answer in time", sent=True) from None

    async def _answer(self) -> Response:
        tokens = max(20, min(2000, int(self._random.lognormvariate(6.0, 0.6))))
        if self.free == 0:
            turn = asyncio.get_running_loop().create_future()
            self._count += 1
            heapq.heappush(self._queue, (self._count, turn))
            await turn
        else:
            self.free -= 1
        try:
            await asyncio.sleep(self.per_token * tokens)
        finally:
            while self._queue and self._queue[0][1].done():
                heapq.heappop(self._queue)
            if self._queue:
                heapq.heappop(self._queue)[1].set_result(None)
            else:
                self.free += 1
        self.tokens += tokens
        usage = {"prompt_tokens": 100, "completion_tokens": tokens}
        choice = {"message": {"content": "fine"}, "finish_reason": "stop"}
        return Response(200, msgspec.json.encode({"choices": [choice], "usage": usage}))


class LimitedServer:
    """An account with `rps` requests a second in a bucket of one second; 429 beyond."""

    def __init__(self, rps: float, seconds: float, seed: int) -> None:
        self.rps = self.level = rps
        self.seconds = seconds
        self.good = self.refused = 0
        self._random = random.Random(seed)
        self._at = asyncio.get_running_loop().time()

    async def answer(self, timeout: float) -> Response:
        now = asyncio.get_running_loop().time()
        self.level = min(self.rps, self.level + (now - self._at) * self.rps)
        self._at = now
        await asyncio.sleep(0.005 * self._random.random())
        if self.level < 1:
            self.refused += 1
            return Response(429, b'{"error":{"message":"slow down"}}')
        self.level -= 1
        await asyncio.sleep(self.seconds * self._random.uniform(0.7, 1.5))
        self.good += 1
        usage = {"prompt_tokens": 100, "completion_tokens": 300}
        return Response(
            200, msgspec.json.encode({"choices": [{"message": {"content": "fine"}}], "usage": usage})
        )


class SimTransport:
    """`Transport` to simulated servers by the beginning of their address."""

    durable = False

    def __init__(self, servers: Mapping[str, SlotServer | LimitedServer | FaultyServer]) -> None:
        self.servers = servers

    async def request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Response:
        return await self.servers[url.rpartition("/")[0]].answer(timeout)

    async def close(self) -> None:
        pass


class FaultyServer:
    """Answers after 0.4 to 0.6 s, but for a share of the requests one of `FAULTS` happens."""

    FAULTS = ("429", "429 with Retry-After", "500", "503", "reset", "hang", "cut", "broken JSON")

    def __init__(self, seed: int) -> None:
        self.share = 0.0
        self.good = 0
        self.faults: dict[str, int] = dict.fromkeys(self.FAULTS, 0)
        self._random = random.Random(seed)

    async def answer(self, timeout: float) -> Response:
        fault = self._random.choice(self.FAULTS) if self._random.random() < self.share else ""
        if fault:
            self.faults[fault] += 1
        if fault.startswith("429"):
            return Response(429, b"{}", "0.5" if "Retry" in fault else "")
        if fault == "hang":
            await asyncio.sleep(timeout)
            raise WireError("timeout", "no whole answer in time", sent=True)
        await asyncio.sleep(self._random.uniform(0.4, 0.6))
        if fault in {"500", "503"}:
            return Response(int(fault), b"{}")
        if fault in {"reset", "cut"}:
            raise WireError("reset" if fault == "reset" else "cut", "the connection broke", sent=True)
        usage = {"prompt_tokens": 100, "completion_tokens": 300}
        body = msgspec.json.encode({"choices": [{"message": {"content": "fine"}}], "usage": usage})
        self.good += not fault
        return Response(200, body[:30] if fault else body)
