"""One client of `llm_engine.py` as a process of its own: N requests with C in flight, then a line of JSON.

The bare loops do nothing but send the body and read the answer, whole, on connections that are kept alive:
no decoding, no file. `socket` does the same on a plain asyncio protocol, which knows just enough of HTTP for the
fake server: that is the limit. `engine` is the whole engine with ledger, throttle, budget and reading of the reply.

CPU and time count from the moment before the first request; imports and start-up are reported apart.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

Call = Callable[[bytes], Awaitable[int]]
SYSTEM = "You write exam questions with full solutions. Answer with JSON: question, solution, answer."
SCHEMA = {
    "type": "object",
    "properties": {
        "question": {"type": "string"},
        "solution": {"type": "string"},
        "answer": {"type": "string"},
    },
    "required": ["question", "solution", "answer"],
}
_SECONDS = 120


class Options(msgspec.Struct):
    """What the parent asks for."""

    client: str
    url: str
    requests: int
    concurrency: int
    spawned: float
    """`time.monotonic()` just before this process was started."""
    run_dir: str = ""
    sample: int = 0
    """Part of each request, so that repeats within one server are other requests."""


def prompts(options: Options) -> Iterator[str]:
    """As many different user messages as there are requests, about 300 bytes each."""
    for n in range(options.requests):
        yield (
            f"Task {options.sample}-{n}: write one question at undergraduate level on conservation of momentum in "
            "collisions, in two dimensions, with friction on one of the surfaces. Show each step of the solution, "
            "name the laws that you use, and end with the numerical answer and its unit on a line of its own."
        )


def body_of(prompt: str) -> bytes:
    """What every client sends."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    return msgspec.json.encode(
        {"model": "bench", "messages": messages, "max_tokens": 2048, "temperature": 0.7}
    )


class Clock:
    """CPU and wall time from the first request on."""

    def __init__(self, options: Options) -> None:
        # As `clients.spare_collector` has it for runs; for all clients alike, though few programs do it.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        self.first_s = time.monotonic() - options.spawned
        self.first_cpu_s = time.process_time()
        self.start = time.perf_counter()
        self.count = 0
        self.marks = [int(0.4 * options.requests), int(0.9 * options.requests)]
        self.times: list[float] = []

    def tick(self) -> None:
        """Count one answer."""
        self.count += 1
        if self.count in self.marks:
            self.times.append(time.perf_counter())

    def result(self, answered: int) -> dict[str, float]:
        """The numbers for the parent."""
        wall = time.perf_counter() - self.start
        cpu = time.process_time() - self.first_cpu_s
        return {
            "answered": answered,
            "cpu_ms": 1000 * cpu / max(1, answered),
            "rate": answered / wall,
            "steady": (self.marks[1] - self.marks[0]) / (self.times[1] - self.times[0]),
            "wall_s": wall,
            "peak_mb": peak_mb(),
            "first_s": self.first_s,
            "first_cpu_s": self.first_cpu_s,
        }


def peak_mb() -> float:
    """Peak resident memory of this process alone (`ru_maxrss` may be that of the parent)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def in_lanes(options: Options, clock: Clock, call: Callable[[str], Awaitable[int]]) -> int:
    """C lanes over one iterator of prompts; returns the number of whole answers."""
    waiting = prompts(options)

    async def lane() -> int:
        good = 0
        for prompt in waiting:
            good += await call(prompt)
            clock.tick()
        return good

    return sum(await asyncio.gather(*(lane() for _ in range(options.concurrency))))


async def bare(options: Options, call: Call) -> dict[str, float]:
    """A bare loop over `call`, which sends a body and returns the status 200 as 1."""

    async def one(prompt: str) -> int:
        return await call(body_of(prompt))

    clock = Clock(options)
    return clock.result(await in_lanes(options, clock, one))


async def socket_loop(options: Options) -> dict[str, float]:
    """The limit: one asyncio protocol per lane, answers told apart by Content-Length alone."""
    parts = urlsplit(options.url)
    head = (
        f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    loop = asyncio.get_running_loop()
    waiting = prompts(options)
    done: asyncio.Future[None] = loop.create_future()
    left = options.concurrency
    good = 0

    class Lane(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.data = bytearray()
            self.next()

        def next(self) -> None:
            nonlocal left
            prompt = next(waiting, None)
            if prompt is None:
                left -= 1
                self.transport.close()
                if not left:
                    done.set_result(None)
                return
            body = body_of(prompt)
            self.transport.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)

        def data_received(self, data: bytes) -> None:
            nonlocal good
            self.data += data
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self.data.find(b"Content-Length: ") + 16
            size = int(self.data[at : self.data.find(b"\r\n", at)])
            if len(self.data) < end + 4 + size:
                return
            good += self.data.startswith(b"HTTP/1.1 200")
            clock.tick()
            self.data.clear()
            self.next()

    clock = Clock(options)
    for _ in range(options.concurrency):
        await loop.create_connection(Lane, parts.hostname, parts.port)
    await done
    return clock.result(good)


async def aiohttp_loop(options: Options) -> dict[str, float]:
    """The library of the engine, aiohttp, with its defaults but for the size of the pool."""
    import aiohttp

    headers = {"Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    connector = aiohttp.TCPConnector(limit=options.concurrency)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def call(body: bytes) -> int:
            async with session.post(options.url + "/chat/completions", data=body, headers=headers) as answer:
                await answer.read()
                return answer.status == 200

        return await bare(options, call)


async def transport_loop(options: Options) -> dict[str, float]:
    """The engine's transport alone."""
    from boostqa.llm.http import AiohttpTransport

    headers = {"Content-Type": "application/json"}
    transport = AiohttpTransport(options.concurrency)

    async def call(body: bytes) -> int:
        answer = await transport.request("POST", options.url + "/chat/completions", body, headers, _SECONDS)
        return answer.status == 200

    result = await bare(options, call)
    await transport.close()
    return result


async def pyreqwest_loop(options: Options) -> dict[str, float]:
    """pyreqwest: reqwest and hyper in Rust threads."""
    from datetime import timedelta

    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().timeout(timedelta(seconds=_SECONDS)).max_connections(options.concurrency)
    headers = {"Content-Type": "application/json"}
    async with builder.build() as client:

        async def call(body: bytes) -> int:
            request = client.post(options.url + "/chat/completions").headers(headers).body_bytes(body)
            answer = await request.build().send()
            await answer.bytes()
            return answer.status == 200

        return await bare(options, call)


async def pyqwest_loop(options: Options) -> dict[str, float]:
    """pyqwest: reqwest and hyper in Rust threads, another binding."""
    import pyqwest

    headers = {"Content-Type": "application/json"}
    async with pyqwest.HTTPTransport() as transport:
        client = pyqwest.Client(transport)

        async def call(body: bytes) -> int:
            async with asyncio.timeout(_SECONDS):
                answer = await client.post(options.url + "/chat/completions", headers, body)
            return len(answer.content) > 0 and answer.status == 200

        return await bare(options, call)


async def httpx2_loop(options: Options) -> dict[str, float]:
    """httpx2: pure Python."""
    import httpx2

    limits = httpx2.Limits(max_connections=options.concurrency, max_keepalive_connections=options.concurrency)
    headers = {"Content-Type": "application/json"}
    async with httpx2.AsyncClient(limits=limits, timeout=_SECONDS) as client:

        async def call(body: bytes) -> int:
            answer = await client.post(options.url + "/chat/completions", content=body, headers=headers)
            return answer.status_code == 200

        return await bare(options, call)


async def engine_loop(options: Options) -> dict[str, float]:
    """The whole engine: budget, throttle, ledger (flush 20 ms, fsync 200 ms), reading of the reply."""
    from boostqa.llm.budget import Account, Governor, Limits
    from boostqa.llm.clients import Clients
    from boostqa.llm.config import ModelConfig
    from boostqa.llm.index import Index, index_path, index_run
    from boostqa.llm.leases import Meter
    from boostqa.llm.ledger import LedgerWriter, current_journal, current_record
    from boostqa.llm.model import Message, Request

    run_dir = Path(options.run_dir)
    governor = Governor(Limits(money=1e6, requests=1e9))

    async def ask(message: Any) -> Any:
        return governor.ask(message)

    config = ModelConfig.model_validate(
        {
            "base_url": options.url, "model": "bench", "dialect": "vllm", "concurrency": options.concurrency,
            "prices": {"input": 1, "output": 2}, "timeout": _SECONDS,
        }
    )  # fmt: skip
    index_run(run_dir)
    account = Account("bench", ask)
    account.meter = Meter(run_dir / "meter")
    async with LedgerWriter() as writer, Clients({"bench": config}, account=account) as clients:
        model = clients.model("bench", "writer")
        index = Index(index_path(run_dir))
        system = Message("system", SYSTEM)
        clock = Clock(options)
        waiting = prompts(options)
        # Four tasks at a time, as in a worker (`executor.LANES`), which end at different times.
        open_shards, starts = 4, [0]
        while starts[-1] < options.requests:
            size = min(4000, max(200, options.requests // 12))
            starts.append(starts[-1] + size * (4 + len(starts) % 4) // 4)
        shards = iter(pairwise(starts))

        async def shard_lane() -> int:
            found = 0
            for start, end in shards:
                journal = writer.open(run_dir, ("round-1", "synthesize", "write"), f"part-{start:07d}", index)
                found += await shard_of(journal, range(start, min(end, options.requests)))
                await journal.close()
            return found

        async def shard_of(journal: Any, rows: range) -> int:
            current_journal.set(journal)
            left = iter(rows)

            async def record_lane() -> int:
                found = 0
                for row in left:
                    current_record.set(f"record-{row}")
                    request = Request(
                        messages=(system, Message("user", next(waiting))), max_tokens=2048, temperature=0.7,
                        schema=SCHEMA,
                    )  # fmt: skip
                    reply = await model.chat(request)
                    found += reply.ok and "answer" in reply.data
                    clock.tick()
                return found

            # More records than calls in flight, as in a run: some wait for the ledger or are being read.
            lanes = -(-5 * options.concurrency // (4 * open_shards))
            return sum(await asyncio.gather(*(record_lane() for _ in range(lanes))))

        good = sum(await asyncio.gather(*(shard_lane() for _ in range(open_shards))))
        return clock.result(good)


CLIENTS: dict[str, Callable[[Options], Awaitable[dict[str, float]]]] = {
    "socket": socket_loop,
    "aiohttp": aiohttp_loop,
    "transport": transport_loop,
    "pyreqwest": pyreqwest_loop,
    "pyqwest": pyqwest_loop,
    "httpx2": httpx2_loop,
    "engine": engine_loop,
}


def main() -> None:
    """Run the client that the options on the command line name."""
    import uvloop

    options = msgspec.json.decode(sys.argv[1], type=Options)
    sys.stdout.write(json.dumps(uvloop.run(CLIENTS[options.client](options))) + "\n")


if __name__ == "__main__":
    main()
