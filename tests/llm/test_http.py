"""The transport: each call ends in its own time, and a call that is given up leaves no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from boostqa.llm.http import AiohttpTransport, WireError


def with_server(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    work: Callable[[AiohttpTransport, str], Awaitable[None]],
) -> None:
    async def go() -> None:
        app = web.Application()
        app.router.add_post("/{name}", handler)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        transport = AiohttpTransport(8)
        try:
            await work(transport, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await transport.close()
            await runner.cleanup()

    asyncio.run(go())


async def silent(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


def test_calls_that_share_a_timer_end_each_in_its_own_time() -> None:
    async def work(transport: AiohttpTransport, url: str) -> None:
        loop = asyncio.get_running_loop()

        async def one(after: float) -> float:
            await asyncio.sleep(after)
            start = loop.time()
            with pytest.raises(WireError, match="timeout: no whole answer in time") as caught:
                await transport.request("POST", f"{url}/x", b"", {}, 0.3)
            assert caught.value.sent
            return loop.time() - start

        times = await asyncio.gather(*(one(0.1 * n) for n in range(4)))
        assert all(0.29 <= seconds < 1.0 for seconds in times)
        assert not asyncio.current_task().cancelling()

    with_server(silent, work)


def test_a_caller_that_is_cancelled_is_not_told_of_a_timeout() -> None:
    gone = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            gone.set()  # the connection was closed
            raise
        return web.Response()

    async def work(transport: AiohttpTransport, url: str) -> None:
        call = asyncio.ensure_future(transport.request("POST", f"{url}/x", b"", {}, 30))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(gone.wait(), 5)

    with_server(handler, work)


def test_an_answer_that_stops_in_the_middle_is_a_timeout_and_closes_its_connection() -> None:
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()  # chunked
        await response.prepare(request)
        await response.write(b"half")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            gone.set()
            raise
        return response

    async def work(transport: AiohttpTransport, url: str) -> None:
        with pytest.raises(WireError, match="timeout"):
            await transport.request("POST", f"{url}/x", b"", {}, 0.2)
        await asyncio.wait_for(gone.wait(), 5)

    with_server(handler, work)


def test_connections_are_used_again() -> None:
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        if request.path == "/chunked":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"one")
            await response.write(b"two")
            return response
        status = int(request.path[1:])
        return web.Response(status=status, body=b"onetwo", headers={"Retry-After": "7"})

    async def work(transport: AiohttpTransport, url: str) -> None:
        for name in ("200", "429", "chunked", "302", "500", "chunked", "200"):
            answer = await transport.request("POST", f"{url}/{name}", b"{}", {}, 5)
            assert answer.status == (200 if name == "chunked" else int(name))
            assert answer.body == b"onetwo"
            assert answer.retry_after == ("" if answer.status == 200 else "7")
        assert len(peers) == 1

    with_server(handler, work)
