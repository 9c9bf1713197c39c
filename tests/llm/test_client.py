"""The client against a scripted server: what is sent, sent again, replayed, and what stops a run."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from boostqa.errors import BudgetStop, ProviderStop, StorageStop, UserError
from boostqa.llm import ledger as ledger_module
from boostqa.llm.budget import Account, Governor, Limits
from boostqa.llm.check import probe_endpoint, reach_endpoint
from boostqa.llm.clients import Address, Clients
from boostqa.llm.config import ModelConfig
from boostqa.llm.index import Index, index_path, index_run
from boostqa.llm.ledger import Journal, LedgerWriter, current_journal, current_record
from boostqa.llm.ledger_files import entries, spent, totals
from boostqa.llm.model import Message, Outcome, Request

Answer = Callable[[dict[str, Any]], Any]
PLACE = ("head", "annotate", "label")


def ok(
    text: str = "fine", finish: str = "stop", usage: tuple[int, int] | None = (10, 5), **message: Any
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": "served", "choices": [{"index": 0, "message": {"content": text, **message}, "finish_reason": finish}],
    }  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return body


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    body = {"error": {"message": message, "code": code}}
    return lambda _: web.json_response(body, status=status, headers=headers)


class Server:
    """Answers each POST with the next entry of `script`, the last one for ever."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script) or [ok()]
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.broken = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append({"path": request.path, **body})
        self.keys.append(request.headers.get("Authorization"))
        step = self.script[min(len(self.seen), len(self.script)) - 1]
        if callable(step):
            step = step(body)
        if isinstance(step, Awaitable):
            try:
                step = await step
            except asyncio.CancelledError:
                self.broken += 1
                raise
        if step == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if step == "cut":
            answer = web.StreamResponse(headers={"Content-Length": "1000"})
            await answer.prepare(request)
            await answer.write(b'{"choices"')
            assert request.transport is not None
            request.transport.close()
            return answer
        if isinstance(step, (str, bytes)):
            return web.Response(body=step, content_type="text/html")
        return step if isinstance(step, web.StreamResponse) else web.json_response(step)

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}]})


def config(server: Server | None = None, **fields: Any) -> ModelConfig:
    url = server.url if server else "http://127.0.0.1:9/v1"
    return ModelConfig.model_validate({"base_url": url, "model": "m", "dialect": "vllm", **fields})


def run(test: Callable[[Server], Awaitable[None]], *script: Any) -> Server:
    server = Server(*script)

    async def go() -> None:
        app = web.Application()
        app.router.add_get("/v1/models", server.models)
        app.router.add_post("/v1/{path:.*}", server.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
        try:
            await asyncio.wait_for(test(server), 20)
        finally:
            await runner.cleanup()

    asyncio.run(go())
    return server


def ask(text: str = "Hello", **fields: Any) -> Request:
    return Request(messages=(Message("user", text),), **fields)


@contextmanager
def journal_set(journal: Journal) -> Iterator[None]:
    token = current_journal.set(journal)
    try:
        yield
    finally:
        current_journal.reset(token)


def test_chat_is_recorded_tagged_and_replayed_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")

    async def go(server: Server) -> None:
        settings = config(server, api_key_env="TEST_KEY", prices={"input": 1, "output": 2})
        for attempt in range(2):
            async with LedgerWriter() as writer, Clients({"strong": settings}, backoff=0.001) as clients:
                journal = writer.open(tmp_path, PLACE, "part-00000")
                current_record.set("record-1")
                with journal_set(journal):
                    reply = await clients.model("strong", "teacher").chat(ask())
                    same = await clients.model("strong", "judge").chat(ask())
                await journal.close()
            assert reply.ok
            assert (reply.text, reply.usage.prompt, reply.model) == ("fine", 10, "served")
            assert reply.replayed is (attempt == 1)
            assert same.replayed
            assert reply.key == same.key
        assert len(server.seen) == 1

    server = run(go)
    assert server.keys == ["Bearer sk-very-secret"]
    (line,) = entries(tmp_path)
    assert (line["name"], line["model"], line["role"], line["r"]) == ("strong", "m", "teacher", "record-1")
    assert line["cost"] == pytest.approx((10 * 1 + 5 * 2) / 1e6)
    assert line["currency"] == "USD"
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes()


def test_redo_and_reuse_find_answers_through_the_index(tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        async with LedgerWriter() as writer, Clients({"a": config(server)}) as clients:
            first = writer.open(tmp_path / "old", PLACE, "part-00000")
            with journal_set(first):
                await clients.model("a").chat(ask())
            await first.close()
            index_run(tmp_path / "new", reuse=[tmp_path / "old"])
            index = Index(index_path(tmp_path / "new"))
            with journal_set(writer.open(tmp_path / "new", PLACE, "part-00007", index)):
                assert (await clients.model("a").chat(ask())).replayed
                assert not (await clients.model("a").chat(ask("other"))).replayed

    assert len(run(go).seen) == 2


def test_key_depends_on_what_changes_the_answer_and_on_nothing_else() -> None:
    async def go(server: Server) -> None:
        other = config(server, base_url="http://127.0.0.1:1/v1", concurrency=3, timeout=5, api_key_env=None)
        models = {
            "a": config(server),
            "b": other,
            "c": config(server, model="m2"),
            "d": config(server, effort="low"),
        }
        async with Clients(models) as clients:
            a, b, c, d = (clients.model(name) for name in "abcd")
            key = a.key("chat", ask())
            assert key == b.key("chat", ask())
            different = [
                a.key("complete", ask()), c.key("chat", ask()), d.key("chat", ask()), a.key("chat", ask(sample=1)),
                a.key("chat", ask(attempt="reask")), a.key("chat", ask(temperature=0.5)), a.key("chat", ask("Hi")),
                a.key("chat", ask(max_tokens=5)), a.key("chat", ask(think=False)),
            ]  # fmt: skip
            assert len({key, *different}) == len(different) + 1

    run(go)


def test_identical_calls_in_flight_are_sent_once() -> None:
    async def slow() -> dict[str, Any]:
        await asyncio.sleep(0.2)
        return ok()

    async def go(server: Server) -> None:
        async with Clients({"a": config(server)}) as clients:
            tasks = [asyncio.create_task(clients.model("a").chat(ask())) for _ in range(5)]
            while not server.seen:
                await asyncio.sleep(0.001)
            tasks[0].cancel()  # the one that sent it: another must take over
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(replies[0], asyncio.CancelledError)
            assert all(not isinstance(reply, BaseException) and reply.ok for reply in replies[1:])
        assert len(server.seen) == 2
        assert server.broken == 1  # and the server was told to stop

    run(go, lambda body: slow())


def test_an_answer_whose_caller_is_gone_before_it_is_written_serves_those_who_share_the_call(
    tmp_path: Path,
) -> None:
    async def go(server: Server) -> None:
        async with LedgerWriter(flush_s=0.3) as writer, Clients({"a": config(server)}) as clients:
            first = writer.open(tmp_path, PLACE, "s")
            with journal_set(first):
                await clients.model("a").chat(ask("another"))  # from now on a line waits for its frame
                tasks = [asyncio.create_task(clients.model("a").chat(ask())) for _ in range(2)]
            with journal_set(writer.open(tmp_path, PLACE, "t")):
                tasks.append(asyncio.create_task(clients.model("a").chat(ask())))
            while not first._pending:
                await asyncio.sleep(0.001)
            tasks[0].cancel()
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(replies[0], asyncio.CancelledError)
            assert [(reply.ok, reply.replayed) for reply in replies[1:]] == [(True, True)] * 2  # type: ignore[union-attr]
        assert len(server.seen) == 2

    run(go)


@pytest.mark.parametrize(
    "failure",
    [error(500), error(503), error(529), error(408), error(409), "reset", "cut", "<html>gateway</html>", b"",
     {"id": "x"}, {"error": {"message": "busy"}}, ok(finish="insufficient_system_resource")],
)  # fmt: skip
def test_what_can_succeed_is_tried_again(failure: Any, tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        async with LedgerWriter() as writer, Clients({"a": config(server)}, backoff=0.001) as clients:
            with journal_set(writer.open(tmp_path, PLACE, "s")):
                assert (await clients.model("a").chat(ask())).ok

    server = run(go, failure, ok())
    assert len(server.seen) == 2
    assert totals(tmp_path)["head", "annotate", "a"].requests == 2


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_cannot_succeed_is_not_tried_again(status: int, tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        async with LedgerWriter() as writer, Clients({"a": config(server)}, backoff=0.001) as clients:
            with journal_set(writer.open(tmp_path, PLACE, "s")):
                reply = await clients.model("a").chat(ask())
                assert reply.outcome is Outcome.FAILED
                assert f"models.a: {server.url}: HTTP {status} bad_thing: prompt has a flaw" in reply.error
                assert not (await clients.model("a").chat(ask())).replayed

    server = run(go, error(status, "prompt has a flaw", "bad_thing"))
    assert len(server.seen) == 2
    assert [line["err"] != "" for line in entries(tmp_path)] == [True, True]


def test_retries_end_and_the_reply_says_why() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server, retries=2)}, backoff=0.001) as clients:
            reply = await clients.model("a").chat(ask())
            assert reply.outcome is Outcome.FAILED
            assert "HTML instead of JSON: <html>down</html>; given up after 3 tries" in reply.error

    assert len(run(go, "<html>down</html>").seen) == 3


def test_429_is_waited_out_and_does_not_count() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server, retries=0)}, backoff=0.001) as clients:
            assert (await clients.model("a").chat(ask())).ok

    assert len(run(go, *[error(429)] * 6, ok()).seen) == 7


def test_429_of_one_model_holds_no_other_model_at_the_same_address_and_is_counted() -> None:
    async def go(server: Server) -> None:
        configs = {"a": config(server, model="m"), "b": config(server, model="other")}
        async with Clients(configs, backoff=0.001) as clients:
            held = asyncio.create_task(clients.model("a").chat(ask()))
            while not any(place.throttled for place in clients.snapshot()):
                await asyncio.sleep(0.001)
            assert (await clients.model("b").chat(ask())).ok
            assert not held.done()
            assert {place.model: place.throttled for place in clients.snapshot()} == {"m": 1, "other": 0}
            assert (await held).ok

    run(go, error(429, **{"Retry-After": "0.3"}), ok())


def test_retry_after_is_obeyed() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server)}, backoff=0.001) as clients:
            start = time.monotonic()
            assert (await clients.model("a").chat(ask())).ok
            assert time.monotonic() - start >= 0.3

    run(go, error(429, **{"Retry-After": "0.3"}), ok())


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        (error(401, "bad key sk-very-secret"), r"bad key \*\*\*; the key is refused; check the variable"),
        (error(402), "the account is empty"),
        (error(403), "access is denied"),
        (error(404, "The model `m` does not exist.", "NotFoundError"), "check `model` against"),
        (error(400, "Model Not Exist", "invalid_request_error"), "check `model` against"),
        (error(429, "You exceeded your quota", "insufficient_quota"), "check the account"),
    ],
)
def test_provider_failures_that_stop_the_run(
    failure: Any, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")

    async def go(server: Server) -> None:
        async with Clients({"a": config(server, api_key_env="TEST_KEY")}) as clients:
            with pytest.raises(ProviderStop, match=r"models\.a: http.*" + remedy) as caught:
                await clients.model("a").chat(ask())
            assert "secret" not in str(caught.value)

    assert len(run(go, failure).seen) == 1


def test_endpoint_that_stays_down_stops_the_run() -> None:
    async def go(server: Server) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        settings = config(base_url=url, give_up_after=0.5, retries=50)
        async with Clients({"a": settings}, backoff=0.001) as clients:
            calls = [clients.model("a").chat(ask(str(n))) for n in range(20)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, ProviderStop) for each in ended)
        assert "the last failure was" in str(ended[0])
        assert "refused" in str(ended[0])

    run(go)


def test_calls_survive_an_outage_shorter_than_the_patience() -> None:
    down_until = time.monotonic() + 1.5

    def answer(body: dict[str, Any]) -> Any:
        return error(503)(body) if time.monotonic() < down_until else ok()

    async def go(server: Server) -> None:
        async with Clients({"a": config(server, retries=2)}, backoff=0.01) as clients:
            replies = await asyncio.gather(*(clients.model("a").chat(ask(str(n))) for n in range(12)))
        assert sum(reply.ok for reply in replies) >= 9  # those that tripped the breaker may be lost to it

    run(go, answer)


def test_endpoint_that_calls_everything_wrong_stops_the_run() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server)}) as clients:
            with pytest.raises(ProviderStop, match="the last 50 requests were all called wrong"):
                for n in range(60):
                    await clients.model("a").chat(ask(str(n)))

    assert len(run(go, error(400, "Unrecognized request argument: seed")).seen) == 50


def test_timeout_counts_as_possibly_billed(tmp_path: Path) -> None:
    async def hang() -> None:
        await asyncio.sleep(30)

    steps: Iterator[Any] = iter([hang, lambda: asyncio.sleep(0, ok())])

    async def go(server: Server) -> None:
        settings = config(server, timeout=1.2, prices={"input": 1, "output": 1})
        account = Account("w")
        async with (
            LedgerWriter() as writer,
            Clients({"a": settings}, account=account, backoff=0.001) as clients,
        ):
            with journal_set(writer.open(tmp_path, PLACE, "s")):
                assert (await clients.model("a").chat(ask(max_tokens=1000))).ok
        part = totals(tmp_path)["head", "annotate", "a"]
        assert part.requests == 2
        assert part.lost > 1000 / 1e6
        assert part.cost == pytest.approx(15 / 1e6)
        assert account.used.money == pytest.approx(part.lost + 15 / 1e6)
        assert spent(tmp_path).money == pytest.approx(account.used.money)

    run(go, lambda body: next(steps)())


def test_cut_off_reply_gets_one_try_with_twice_the_limit() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server), "b": config(server, max_tokens_cap=100)}) as clients:
            assert (await clients.model("a").chat(ask(max_tokens=100))).text == "whole"
            assert [body["max_tokens"] for body in server.seen] == [100, 200]
            assert (await clients.model("b").chat(ask(max_tokens=100))).outcome is Outcome.TRUNCATED
            assert len(server.seen) == 3
            again = await clients.model("a").chat(ask(max_tokens=100, attempt="mine"))
            assert again.outcome is Outcome.TRUNCATED

    run(go, ok("cut", "length"), ok("whole"), ok("cut", "length"))


def test_malformed_reply_is_asked_again_with_the_error(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    async def go(server: Server) -> None:
        for _ in range(2):
            async with LedgerWriter() as writer, Clients({"a": config(server)}) as clients:
                with journal_set(writer.open(tmp_path, PLACE, "s")):
                    reply = await clients.model("a").chat(ask(schema=schema))
                    assert reply.data == {"a": 1}
        assert len(server.seen) == 2  # both tries are in the ledger
        turns = server.seen[1]["messages"]
        assert turns[1] == {"role": "assistant", "content": '{"a": "x"}'}
        assert "data.a must be integer" in turns[2]["content"]

    run(go, ok('{"a": "x"}'), ok('{"a": 1}'))


def test_empty_reply_is_asked_again_warmer() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server)}) as clients:
            assert (await clients.model("a").chat(ask())).outcome is Outcome.MALFORMED
        assert [body["temperature"] for body in server.seen] == [0.0, 0.7]
        assert server.seen[0]["messages"] == server.seen[1]["messages"]

    run(go, ok(""))


def test_refusal_of_content_is_an_outcome_and_is_replayed(tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        async with LedgerWriter() as writer, Clients({"a": config(server)}) as clients:
            with journal_set(writer.open(tmp_path, PLACE, "s")):
                for _ in range(2):
                    assert (await clients.model("a").chat(ask())).outcome is Outcome.REFUSED

    assert len(run(go, error(400, "Content Exists Risk", "invalid_request_error")).seen) == 1


def test_missing_usage_makes_the_cost_unknown(tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        account = Account("w")
        settings = config(server, prices={"input": 1, "output": 1})
        async with LedgerWriter() as writer, Clients({"a": settings}, account=account) as clients:
            with journal_set(writer.open(tmp_path, PLACE, "s")):
                reply = await clients.model("a").chat(ask())
        assert reply.ok
        assert reply.usage.prompt is None
        assert account.used.tokens > 0  # a budget counts what it must assume

    run(go, ok(usage=None))
    assert totals(tmp_path)["head", "annotate", "a"].cost is None


def test_thinking_policy_adds_room_for_the_thought() -> None:
    async def go(server: Server) -> None:
        models = {
            "plain": config(server), "on": config(server, think=True, think_tokens=1000),
            "deep": config(server, dialect="deepseek", think_tokens=500),
        }  # fmt: skip
        async with Clients(models) as clients:
            for name in models:
                reply = await clients.model(name).chat(ask(name, max_tokens=10))
                assert (reply.text, reply.reasoning) == ("42", "6 * 7")
            await clients.model("on").chat(ask("quick", max_tokens=10, think=False))
        assert [body["max_tokens"] for body in server.seen] == [10, 1010, 510, 10]
        assert "chat_template_kwargs" not in server.seen[0]
        assert server.seen[1]["chat_template_kwargs"] == {"enable_thinking": True}
        assert server.seen[2]["thinking"] == {"type": "enabled"}

    run(go, ok("42", reasoning_content="6 * 7"))


def test_money_budget_is_kept_under_load_and_over_restarts(tmp_path: Path) -> None:
    limits = Limits(money=0.010, currency="USD")

    async def go(server: Server) -> None:
        settings = config(server, prices={"input": 0, "output": 10}, concurrency=16)
        for start in range(2):
            governor = Governor(limits, spent=spent(tmp_path))

            async def ask_governor(message: Any, governor: Governor = governor) -> Any:
                return governor.ask(message)

            account = Account("w", ask_governor)
            async with (
                LedgerWriter() as writer,
                Clients({"a": settings}, account=account) as clients,
            ):
                with journal_set(writer.open(tmp_path, PLACE, "s")):
                    calls = [clients.model("a").chat(ask(f"{start} {n}", max_tokens=20)) for n in range(60)]
                    ended = await asyncio.gather(*calls, return_exceptions=True)
            stops = [each for each in ended if isinstance(each, BudgetStop)]
            assert stops
            assert "budget.money = 0.01 USD is used up" in str(stops[0])
        money = spent(tmp_path).money
        assert 0.0098 <= money <= 0.010  # 200 tokens' worth of calls at most 20 tokens each
        assert money == pytest.approx(governor.spent.money + account._unreported.money)

    run(go, ok(usage=(10, 20)))


def test_request_budget_counts_repeats() -> None:
    async def go(server: Server) -> None:
        governor = Governor(Limits(requests=4))

        async def ask_governor(message: Any) -> Any:
            return governor.ask(message)

        async with Clients(
            {"a": config(server)}, account=Account("w", ask_governor), backoff=0.001
        ) as clients:
            with pytest.raises(BudgetStop, match=r"budget\.requests = 4"):
                await clients.model("a").chat(ask())
        assert len(server.seen) == 4

    run(go, error(500))


def test_calls_in_flight_stay_within_the_cap() -> None:
    now = most = 0

    async def slow() -> dict[str, Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return ok()

    async def go(server: Server) -> None:
        async with Clients({"a": config(server, concurrency=12)}, share=3) as clients:
            assert clients.capacity() == 4
            await asyncio.gather(*(clients.model("a").chat(ask(str(n))) for n in range(40)))
        assert most == 4

    run(go, lambda body: slow())


def test_replicas_share_the_load_and_a_dead_one_is_left_out() -> None:
    async def go(server: Server) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            dead = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        settings = config(base_url=[dead, server.url], retries=30)
        async with Clients({"a": settings}, backoff=0.001) as clients:
            replies = await asyncio.gather(*(clients.model("a").chat(ask(str(n))) for n in range(40)))
            assert all(reply.ok for reply in replies)
            down = [row.open for row in clients.snapshot()]
            assert down == [True, False]

    run(go)


def scored(body: dict[str, Any]) -> dict[str, Any]:
    """Echo with one token per word, each word's log-probability minus its length; one more is generated."""
    words = body["prompt"].replace(" ", "\x00 ").split("\x00")
    tokens = ["<s>", *words, " end"]
    logprobs = {"tokens": tokens, "token_logprobs": [None, *(-float(len(w)) for w in words), -9.0]}
    usage = {"prompt_tokens": len(tokens) - 1, "completion_tokens": 1}
    return {"choices": [{"text": "", "finish_reason": "length", "logprobs": logprobs}], "usage": usage}


def test_score_sums_the_continuation_alone(tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        async with (
            LedgerWriter() as writer,
            Clients({"a": config(server), "d": config(server, dialect="deepseek")}) as clients,
        ):
            with journal_set(writer.open(tmp_path, PLACE, "s")):
                for _ in range(2):
                    scores = await clients.model("a").score("The answer is ", ["Paris", "in Rom é"])
            assert scores is not None
            assert [(score.logprob, score.tokens, score.num_bytes) for score in scores] == [
                (-6.0, 1, 6), (-(3.0 + 4.0 + 2.0), 3, 10),
            ]  # fmt: skip
            assert await clients.model("d").score("x", ["y"]) is None
        assert len(server.seen) == 3
        assert server.seen[0] == {
            "path": "/v1/completions", "model": "m", "prompt": "The answer is", "max_tokens": 1, "temperature": 0.0,
            "echo": True, "logprobs": 1,
        }  # fmt: skip

    run(go, scored)


def test_score_is_none_where_echo_is_ignored() -> None:
    only = {
        "choices": [{"text": "x", "logprobs": {"tokens": ["x"], "token_logprobs": [-1]}}],
        "usage": {"prompt_tokens": 4},
    }

    async def go(server: Server) -> None:
        async with Clients({"a": config(server)}) as clients:
            assert await clients.model("a").score("The answer is", [" Paris"]) is None

    run(go, only)


def test_complete_and_what_lacks_it() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server), "d": config(server, dialect="deepseek")}) as clients:
            reply = await clients.model("a").complete(Request(prompt="Once", max_tokens=3))
            assert (reply.outcome, reply.text) == (Outcome.TRUNCATED, " upon")
            lacking = await clients.model("d").complete(Request(prompt="Once"))
            assert lacking.outcome is Outcome.FAILED
            assert "models.d: the dialect deepseek has no plain completion" in lacking.error

    server = run(go, {"choices": [{"text": " upon", "finish_reason": "length"}]})
    assert [body["path"] for body in server.seen] == ["/v1/completions"]


def test_prompt_that_is_no_unicode_is_a_failed_call() -> None:
    async def go(server: Server) -> None:
        async with Clients({"a": config(server)}) as clients:
            reply = await clients.model("a").chat(ask("half \ud800"))
            assert reply.outcome is Outcome.FAILED
            assert "not valid Unicode" in reply.error

    assert run(go).seen == []


def test_missing_key_and_embedded_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)

    async def go(server: Server) -> None:
        with pytest.raises(UserError, match=r"models\.a\.api_key_env: .* TEST_KEY is not set; run `export"):
            await Clients({"a": config(server, api_key_env="TEST_KEY")}).__aenter__()
        small = {"small": ModelConfig(base_url="embedded")}
        async with Clients(small, addresses={"small": Address(server.url + "/", "k")}) as clients:
            assert (await clients.model("small").chat(ask())).ok
            assert clients.model("small", "judge").role == "judge"
            assert clients.model("small").family == "small"

    server = run(go)
    assert server.keys == ["Bearer k"]


def capable(body: dict[str, Any]) -> Any:
    if body.get("echo"):
        return scored(body)
    if "prompt" in body:
        return {"choices": [{"text": " Earth"}]}
    reply = ok('{"planet":"Earth"}' if "response_format" in body else "Earth")
    if body.get("logprobs"):
        top = [{"token": "Earth", "logprob": -0.1}, {"token": "Mars", "logprob": -3}]
        reply["choices"][0]["logprobs"] = {
            "content": [{"token": "Earth", "logprob": -0.1, "top_logprobs": top}]
        }
    return reply


def test_check_finds_all_abilities() -> None:
    async def go(server: Server) -> None:
        (found,) = await probe_endpoint("a", config(server))
        found.raise_for_errors()
        able = found.abilities
        assert (able.chat, able.complete, able.score, able.logprobs, able.json_schema) == (True,) * 5
        levels = {row.what: row.level for row in found.rows if row.what != "model"}
        assert levels == {
            "reachable": "ok", "chat": "ok", "limit": "ok", "speed": "ok", "json_schema": "ok", "logprobs": "ok",
            "complete": "ok", "score": "ok", "price": "warning",
        }  # fmt: skip
        assert found.tokens_per_second is not None

    run(go, capable)


def settings_rows(fields: dict[str, Any], *script: Any) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []

    async def go(server: Server) -> None:
        (found,) = await probe_endpoint("a", config(server, **fields))
        rows.extend(
            (row.level, row.detail)
            for row in found.rows
            if row.what in ("settings", "limit") and row.level != "ok"
        )

    run(go, *script)
    return rows


def test_check_says_which_settings_are_not_sent_or_not_obeyed() -> None:
    assert settings_rows({"think": False, "effort": None}) == []
    ((level, detail),) = settings_rows({"effort": "high"})
    assert (level, detail.startswith("effort: high is not sent, the dialect vllm has none")) == (
        "warning",
        True,
    )
    ((level, detail),) = settings_rows({"dialect": "openai", "think": True})
    assert (level, detail.startswith("think: true is not sent, the dialect openai has no switch")) == (
        "warning",
        True,
    )
    ((level, detail),) = settings_rows({"think": False}, ok("Earth", reasoning_content="Let me think"))
    assert (level, detail.startswith("think: false is ignored")) == ("warning", True)
    ((level, detail),) = settings_rows({}, ok("Earth " * 900, usage=(10, 900)))
    assert (level, "900 tokens came for a limit of 16" in detail) == ("error", True)


@pytest.mark.parametrize(
    ("item", "level"),
    [
        ({"max_model_len": 32768}, "ok"),
        ({"meta": {"n_ctx_train": 2048}}, "warning"),
        ({"max_model_len": "much"}, ""),
        ({}, ""),
    ],
)
def test_check_tells_the_context_length_where_the_server_does(item: dict[str, Any], level: str) -> None:
    server = Server()

    async def start() -> None:
        app = web.Application()

        async def models(request: web.Request) -> web.Response:
            return web.json_response({"data": ["odd", {"id": "m", **item}]})

        app.router.add_get("/v1/models", models)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
        (found,) = await reach_endpoint("a", config(server))
        await runner.cleanup()
        assert [row.level for row in found.rows if row.what == "context"] == [level] * bool(level)

    asyncio.run(start())


def test_check_finds_what_is_missing() -> None:
    async def go(server: Server) -> None:
        (found,) = await probe_endpoint("a", config(server))
        able = found.abilities
        assert (able.chat, able.complete, able.score, able.logprobs, able.json_schema) == (
            True,
            False,
            False,
            False,
            False,
        )
        assert any(
            "response_format is ignored: no JSON object in 'Earth'" in row.detail for row in found.rows
        )
        assert able.unsent == ("response_format",)

    run(go, lambda body: error(404, "no such route")(body) if "prompt" in body else ok("Earth"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "x"}, "no model 'x' at the endpoint; it has: m; correct `model`"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "not reachable"),
        ({"api_key_env": "BOOSTQA_NO_SUCH_KEY"}, "BOOSTQA_NO_SUCH_KEY is not set"),
    ],
)
def test_check_names_the_users_mistake(fields: dict[str, Any], message: str) -> None:
    async def go(server: Server) -> None:
        (found,) = await probe_endpoint("a", config(server, **fields))
        with pytest.raises(UserError, match=r"models\.a \(http.*" + message):
            found.raise_for_errors()

    assert run(go).seen == []


def test_amounts_are_settled_when_a_call_is_cancelled(tmp_path: Path) -> None:
    async def hang() -> None:
        await asyncio.sleep(30)

    async def go(server: Server) -> None:
        governor = Governor(Limits(tokens=10_000))

        async def ask_governor(message: Any) -> Any:
            return governor.ask(message)

        account = Account("w", ask_governor)
        async with LedgerWriter() as writer, Clients({"a": config(server)}, account=account) as clients:
            journal = writer.open(tmp_path, PLACE, "s")
            with journal_set(journal):
                task = asyncio.create_task(clients.model("a").chat(ask(max_tokens=1000)))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert clients.snapshot()[0].in_flight == 0
            await journal.close()
        await account.close()
        # The server may have finished the answer that nobody waited for.
        assert governor.spent.requests == 1
        assert 1000 < governor.spent.tokens < 1300
        assert governor.left().tokens == pytest.approx(10_000 - governor.spent.tokens)
        assert spent(tmp_path) == governor.spent

    run(go, lambda body: hang())
    (line,) = entries(tmp_path)
    assert (line["err"], line.get("tries", 1), line.get("reply")) == ("cancelled", 1, None)


def test_calls_that_end_in_a_stop_are_booked(tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        governor = Governor(Limits(requests=5))

        async def ask_governor(message: Any) -> Any:
            return governor.ask(message)

        account = Account("w", ask_governor)
        clients = Clients({"a": config(server)}, account=account, backoff=0.001)
        async with LedgerWriter() as writer, clients:
            journal = writer.open(tmp_path, PLACE, "s")
            with journal_set(journal):
                calls = [clients.model("a").chat(ask(str(n))) for n in range(4)]
                ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
            await journal.close()
        await account.close()
        assert all(isinstance(each, BudgetStop) for each in ended)
        assert (
            len(server.seen) == governor.spent.requests == spent(tmp_path).requests == account.used.requests
        )
        assert len(server.seen) <= 5

    run(go, error(500))
    assert all("budget.requests = 5" in line["err"] for line in entries(tmp_path))


def test_a_refused_key_stops_all_calls_at_once_and_each_says_why(tmp_path: Path) -> None:
    async def late(answer: Any) -> Any:
        await asyncio.sleep(0.05)
        return answer

    def answer(body: dict[str, Any]) -> Any:
        text = body["messages"][0]["content"]
        if text == "struggles":
            return error(503)(body)
        return late(error(401, "revoked")(body))

    async def go(server: Server) -> None:
        settings = config(server, concurrency=12, retries=50, give_up_after=25)
        async with LedgerWriter() as writer, Clients({"a": settings}, backoff=30.0) as clients:
            journal = writer.open(tmp_path, PLACE, "s")
            with journal_set(journal):
                texts = ["struggles"] * 1 + [str(n) for n in range(100)]
                calls = [clients.model("a").chat(ask(text)) for text in texts]
                start = time.monotonic()
                ended = await asyncio.gather(*calls, return_exceptions=True)
                with pytest.raises(ProviderStop, match="the key is refused"):
                    await clients.model("a").chat(ask("later"))
            assert time.monotonic() - start < 2
            assert not clients.snapshot()[0].open
            assert clients.snapshot()[0].in_flight == 0
            await journal.close()
        for each in ended:
            assert isinstance(each, ProviderStop)
            assert "HTTP 401: revoked; the key is refused" in str(each)
        assert len(server.seen) == spent(tmp_path).requests == 12  # one wave, and nothing after it

    run(go, answer)


def test_same_request_from_another_shard_or_entry_is_not_paid_again(tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        models = {"writer": config(server), "checker": config(server)}
        async with LedgerWriter() as writer, Clients(models) as clients:
            for shard, close in (("part-0", True), ("part-1", False), ("part-2", False)):
                journal = writer.open(tmp_path, PLACE, shard)
                with journal_set(journal):
                    reply = await clients.model("checker" if shard == "part-1" else "writer").chat(ask())
                assert reply.replayed is (shard != "part-0")
                if close:
                    await journal.close()
            with journal_set(writer.open(tmp_path, ("round-1", "verify", "check"), "part-0")):
                both = await asyncio.gather(*(clients.model(name).chat(ask("new")) for name in models))
            assert [reply.replayed for reply in both] == [False, True]

    assert len(run(go).seen) == 2


def test_reply_without_usage_is_charged_alike_before_and_after_a_restart(tmp_path: Path) -> None:
    async def go(server: Server) -> None:
        account = Account("w")
        settings = config(server, prices={"input": 1, "output": 1})
        async with LedgerWriter() as writer, Clients({"a": settings}, account=account) as clients:
            journal = writer.open(tmp_path, PLACE, "s")
            with journal_set(journal):
                assert (await clients.model("a").chat(ask())).ok
            assert account.used.money > 0
            assert spent(tmp_path) == account.used  # read from the lines
            await journal.close()
            assert spent(tmp_path) == account.used  # read from the sidecar

    run(go, ok(usage=None))


def test_nothing_is_sent_once_the_ledger_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def go(server: Server) -> None:
        async with LedgerWriter() as writer, Clients({"a": config(server)}) as clients:
            with journal_set(writer.open(tmp_path, PLACE, "s")):
                monkeypatch.setattr(ledger_module.os, "write", full)
                for n in range(3):
                    with pytest.raises(StorageStop, match="free some space"):
                        await clients.model("a").chat(ask(str(n)))

    assert len(run(go).seen) == 1


def test_password_of_a_proxy_is_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def go(server: Server) -> None:
        proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://user:hunter2@127.0.0.1:{port}")
            settings = config(base_url=f"{scheme}://models.example/v1", retries=0)
            async with Clients({"a": settings}, backoff=0.001) as clients:
                try:
                    said = (await clients.model("a").chat(ask())).error
                except ProviderStop as stop:
                    said = str(stop)
            assert "407" in said
            assert "hunter2" not in said
        proxy.close()
        monkeypatch.setenv("https_proxy", "http://user:hunter2@127.0.0.1:9")
        async with Clients({"a": config(base_url="https://models.example/v1", retries=0)}) as clients:
            said = (await clients.model("a").chat(ask())).error
        assert "proxy: no connection to 127.0.0.1:9" in said

    run(go)
