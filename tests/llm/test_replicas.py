"""Several addresses of one model: sticky choice, ejection and return, a list that changes in mid-run, hedging."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from boostqa.errors import UserError
from boostqa.llm import clients as clients_module
from boostqa.llm.budget import Account, Governor, Limits
from boostqa.llm.clients import Clients
from boostqa.llm.config import ModelConfig
from boostqa.llm.ledger import LedgerWriter, current_journal
from boostqa.llm.ledger_files import entries, spent, totals
from boostqa.llm.model import Message, Outcome, Request
from boostqa.llm.replicas import Replicas, addresses
from boostqa.llm.throttle import Throttle
from boostqa.recipe import load
from llm.test_client import Server, ask, ok
from world import make_recipe


@asynccontextmanager
async def serving(*servers: Server) -> AsyncIterator[None]:
    runners = []
    for server in servers:
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", server.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


def config(**fields: Any) -> ModelConfig:
    return ModelConfig.model_validate({"model": "m", "dialect": "vllm", **fields})


def replicas(*urls: str) -> Replicas:
    return Replicas(urls, lambda url: Throttle(100))


def prompts(count: int) -> list[str]:
    return [f"system prompt number {n}" for n in range(count)]


def test_prompts_stick_and_spread_evenly() -> None:
    found = replicas("a", "b", "c", "d")
    first = {prompt: found.choose(prompt).url for prompt in prompts(2000)}
    assert first == {prompt: found.choose(prompt).url for prompt in prompts(2000)}
    counts = Counter(first.values())
    assert all(400 < counts[url] < 600 for url in "abcd")


def test_a_change_of_the_list_moves_only_what_it_must() -> None:
    found = replicas("a", "b", "c")
    before = {prompt: found.choose(prompt).url for prompt in prompts(900)}
    kept = {replica.url: replica for replica in found}
    assert [replica.url for replica in found.replace(["c", "d", "a"])] == ["b"]
    assert kept["b"].gone
    assert all(replica is kept[replica.url] for replica in found if replica.url in kept)
    after = {prompt: found.choose(prompt).url for prompt in prompts(900)}
    assert all(after[prompt] in (url, "d") for prompt, url in before.items() if url != "b")
    assert 130 < sum(url == "d" for url in after.values()) < 470


def test_a_busy_replica_is_passed_over() -> None:
    found = replicas("a", "b")
    busy = found.choose("x")
    busy.throttle.in_flight = 16
    assert found.choose("x") is not busy
    busy.throttle.in_flight = 1  # within the bound
    assert found.choose("x") is busy


def test_a_bad_replica_is_left_out_and_comes_back() -> None:
    async def go() -> None:
        broken = True
        good = Server(ok())

        def answer(body: dict[str, Any]) -> Any:
            return web.json_response({"error": {"message": "bug"}}, status=500) if broken else ok()

        bad = Server(answer)
        async with serving(good, bad):
            settings = config(base_url=[bad.url, good.url], retries=40, concurrency=8)
            async with Clients({"m": settings}, backoff=0.001) as clients:
                model = clients.model("m")

                async def some(first: int, count: int) -> None:
                    asked = (
                        model.chat(Request(messages=(Message("user", f"{n}"),)))
                        for n in range(first, first + count)
                    )
                    assert all(reply.ok for reply in await asyncio.gather(*asked))

                await some(0, 60)
                assert {row.url: row.open for row in clients.snapshot()} == {
                    bad.url: True,
                    good.url: False,
                }
                tried = len(bad.seen)
                await some(100, 60)
                assert len(bad.seen) <= tried + 2  # left out, but for a probe
                broken = False
                await asyncio.sleep(1.1)  # a probe is due
                while any(row.open for row in clients.snapshot()):
                    await some(1000 + len(bad.seen) + len(good.seen), 5)
                    await asyncio.sleep(0.1)
                before = len(bad.seen)
                await some(5000, 60)
                assert len(bad.seen) - before > 10  # back in full

    asyncio.run(asyncio.wait_for(go(), 30))


def test_the_list_is_read_again_while_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients_module, "REREAD_S", 0.02)

    async def go() -> None:
        hanging = asyncio.Event()
        old, new = Server(lambda body: hanging.wait()), Server(ok())
        async with serving(old, new):
            path = tmp_path / "servers.txt"
            path.write_text(f"# ours\n{old.url}\n")
            settings = config(base_url=[], replicas=str(path), concurrency=2)
            async with Clients({"m": settings}, backoff=0.001) as clients:
                model = clients.model("m")
                waiting = [asyncio.create_task(model.chat(ask(str(n)))) for n in range(6)]
                while len(old.seen) < 2:
                    await asyncio.sleep(0.01)
                path.write_text("nonsense\n")  # half written: the list stays as it was
                await asyncio.sleep(0.06)
                assert [row.url for row in clients.snapshot()] == [old.url]
                path.write_text(f"{new.url}\n")
                done, _ = await asyncio.wait(waiting, timeout=5)
                # Two hang at the server that is gone; those that waited for it were sent to the new one.
                while len(done) < 4:
                    more, _ = await asyncio.wait(
                        set(waiting) - done, timeout=5, return_when=asyncio.FIRST_COMPLETED
                    )
                    done |= more
                assert [task.result().outcome for task in done] == [Outcome.OK] * 4
                assert (len(old.seen), len(new.seen)) == (2, 4)
                assert [row.url for row in clients.snapshot()] == [new.url]
                path.write_text(f"{new.url}\n{old.url}\n")  # back again, with a throttle of its own
                while len(clients.snapshot()) < 2:
                    await asyncio.sleep(0.01)
                for task in set(waiting) - done:
                    task.cancel()

    asyncio.run(asyncio.wait_for(go(), 20))


def test_a_file_of_replicas_is_checked_before_anything_is_paid(tmp_path: Path) -> None:
    path = tmp_path / "servers.txt"
    settings = config(base_url="http://a:1/v1", replicas=str(path))
    with pytest.raises(UserError, match=r"models\.m\.replicas: .*servers\.txt: No such file"):
        addresses("m", settings)
    path.write_text("http://b:1/v1/  # the second\n\nhttp://a:1/v1\n")
    assert addresses("m", settings) == ["http://a:1/v1", "http://b:1/v1"]
    path.write_text("# none yet\n")
    with pytest.raises(UserError, match="holds no address"):
        addresses("m", config(base_url=[], replicas=str(path)))
    path.write_text("http://b:1/v1\nb:1\n")
    with pytest.raises(UserError, match=r"servers\.txt:2: base_url is no address"):
        addresses("m", settings)
    path.write_text("http://user:hunter2@b:1/v1\n")
    with pytest.raises(UserError, match="holds credentials") as error:
        addresses("m", settings)
    assert "hunter2" not in str(error.value)


def test_the_file_is_found_beside_the_recipe(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path, "http://127.0.0.1:1/v1", seeds=8)
    recipe.write_text(
        recipe.read_text().replace("model: fake-target", "model: fake-target\n    replicas: servers.txt")
    )
    assert load(recipe).models["target"].replicas == str(tmp_path / "servers.txt")


def test_a_hedged_call_is_answered_by_the_quicker_and_both_are_booked(tmp_path: Path) -> None:
    async def go() -> None:
        stuck = asyncio.Event()
        slow, quick = Server(lambda body: stuck.wait()), Server(ok("quick", usage=(10, 5)))
        async with serving(slow, quick):
            prices = {"input": 1.0, "output": 2.0}
            settings = config(base_url=[slow.url, quick.url], hedge=0.05, prices=prices)
            async with LedgerWriter() as writer, Clients({"m": settings}) as clients:
                journal = writer.open(tmp_path, ("head", "annotate", "label"), "part-00000")
                token = current_journal.set(journal)
                model = clients.model("m")
                replies = [await model.chat(ask(f"number {n}")) for n in range(12)]
                current_journal.reset(token)
                await journal.close()
                assert {reply.text for reply in replies} == {"quick"}
                assert [row.in_flight for row in clients.snapshot()] == [0, 0]
            await asyncio.sleep(0.05)
            assert slow.broken == len(slow.seen) > 0  # the calls that lost were broken off
            lines = list(entries(tmp_path))
            hedged = [line for line in lines if line.get("tries") == 2]
            assert len(hedged) == len(slow.seen)
            assert all(line["lost"] > 0 and line["used_money"] > line["cost"] for line in hedged)
            found = totals(tmp_path)["head", "annotate", "m"]
            assert found.requests == len(slow.seen) + len(quick.seen)
            assert spent(tmp_path).money > found.money

    asyncio.run(asyncio.wait_for(go(), 20))


def test_no_hedging_unless_asked_and_none_where_the_budget_has_no_room() -> None:
    async def go() -> None:
        async def late() -> dict[str, Any]:
            await asyncio.sleep(0.2)
            return ok()

        server = Server(lambda body: late())
        async with serving(server):
            governor = Governor(Limits(tokens=1500))

            async def grant(message: Any) -> Any:
                return governor.ask(message)

            async with Clients({"m": config(base_url=server.url)}) as clients:
                assert (await clients.model("m").chat(ask("plain"))).ok
            assert len(server.seen) == 1
            settings = config(base_url=server.url, hedge=0.02)
            async with Clients({"m": settings}, account=Account("a", grant)) as clients:
                assert (await clients.model("m").chat(ask("poor"))).ok  # 1,024 tokens are reserved for each
            assert len(server.seen) == 2
            async with Clients({"m": settings}) as clients:
                assert (await clients.model("m").chat(ask("rich"))).ok
            assert len(server.seen) == 4

    asyncio.run(asyncio.wait_for(go(), 20))


def test_a_hedge_whose_two_requests_fail_is_tried_again() -> None:
    async def go() -> None:
        count = 0

        async def script() -> Any:
            nonlocal count
            count += 1
            if count <= 2:
                await asyncio.sleep(0.1)
                return web.json_response({"error": {"message": "bug"}}, status=500)
            return ok()

        server = Server(lambda body: script())
        async with serving(server):
            settings = config(base_url=server.url, hedge=0.02)
            async with Clients({"m": settings}, backoff=0.001) as clients:
                assert (await clients.model("m").chat(ask())).ok
        assert count == 3

    asyncio.run(asyncio.wait_for(go(), 20))


def test_batches_and_embedded_models_have_no_replicas() -> None:
    for fields in ({"hedge": 1.0}, {"replicas": "f"}):
        with pytest.raises(ValueError, match="are for online endpoints"):
            ModelConfig.model_validate({"base_url": "embedded", **fields})
