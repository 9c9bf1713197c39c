"""A process that pays for N requests in shards, as a worker does, and may be killed at any moment.

python paying.py URL RUN_DIR REQUESTS SHARD
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from boostqa.llm.budget import Account, Ask, Governor, Grant, Limits
from boostqa.llm.clients import Clients
from boostqa.llm.config import ModelConfig
from boostqa.llm.http import AiohttpTransport, Response
from boostqa.llm.index import Index, index_path, index_run
from boostqa.llm.leases import Meter, begin, meter_path
from boostqa.llm.ledger import LedgerWriter, current_journal, current_record
from boostqa.llm.ledger_files import spent
from boostqa.llm.model import Message, Request

PLACE = ("round-1", "synthesize", "write")


class Noting(AiohttpTransport):
    """Notes each answer in a file in the moment it arrives, before the engine has seen it."""

    def __init__(self, connections: int, path: Path) -> None:
        super().__init__(connections)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Response:
        answer = await super().request(method, url, body, headers, timeout)
        os.write(self._fd, b".")
        return answer


def request_of(n: int) -> Request:
    return Request(messages=(Message("user", f"Write question {n} and its answer."),), max_tokens=600)


async def pay(url: str, run: Path, requests: int, shard: int) -> None:
    booked = spent(run)
    index_run(run)
    governor = Governor(Limits(), booked + begin(run, booked))

    async def ask(message: Ask) -> Grant:
        return governor.ask(message)

    account, place = Account("worker-0", ask), meter_path(run, "worker-0")
    assert place is not None
    account.meter = Meter(place)
    config = ModelConfig.model_validate(
        {
            "base_url": url,
            "model": "m",
            "dialect": "vllm",
            "concurrency": 256,
            "prices": {"input": 1, "output": 2},
        }
    )
    transport = Noting(256, run / "arrived")
    async with (
        LedgerWriter() as writer,
        Clients({"m": config}, transport=transport, account=account) as clients,
    ):
        index, model = Index(index_path(run)), clients.model("m", "teacher")
        starts = iter(range(0, requests, shard))

        async def shards() -> None:
            for start in starts:
                done = run / f"part-{start:06d}.done"
                if done.exists():
                    continue
                journal = writer.open(run, PLACE, f"part-{start:06d}", index)
                current_journal.set(journal)
                rows = iter(range(start, min(start + shard, requests)))

                async def lane(rows: Iterator[int] = rows) -> list[str]:
                    keys = []
                    for n in rows:
                        current_record.set(f"record-{n}")
                        reply = await model.chat(request_of(n))
                        assert reply.ok, reply.error
                        keys.append(f"{n} {reply.key} {len(reply.text)}")
                    return keys

                found = await asyncio.gather(*(lane() for _ in range(128)))
                temp = done.with_suffix(f".{os.getpid()}")
                temp.write_text("\n".join(key for keys in found for key in keys))
                await journal.close()
                temp.rename(done)

        await asyncio.gather(shards(), shards())


if __name__ == "__main__":
    import uvloop

    uvloop.run(pay(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
