"""What an endpoint refuses or ignores is found out and then not sent, in `check` and in a run, in every dialect."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from boostqa.check import learn, needs
from boostqa.errors import BoostQAError, BudgetStop, ProviderStop, UserError
from boostqa.llm.budget import Governor, Limits
from boostqa.llm.check import probe_endpoint
from boostqa.llm.client import abilities_of
from boostqa.llm.clients import Clients
from boostqa.llm.config import ModelConfig
from boostqa.llm.fake import FakeServer
from boostqa.llm.fake.strict import DIALECTS
from boostqa.llm.index import index_run
from boostqa.llm.ledger import current_journal
from boostqa.llm.ledger_files import entries, spent
from boostqa.llm.model import Abilities, Message, Request
from boostqa.llm.trial import Findings
from boostqa.recipe import parse
from boostqa.run import Run

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
QUESTION = Request(messages=(Message("user", "What is 2 + 2?"),), schema=SCHEMA, temperature=0.5)


def found(persona: dict[str, Any], **fields: Any) -> tuple[Findings, dict[str, Any]]:
    """What `check` finds about a fake model, and the server's statistics after a call as a run would send it."""
    result: list[Any] = []

    async def go() -> None:
        async with FakeServer({"models": {"m": {"dialect": "vllm"} | persona}}) as server:
            dialect = persona.get("dialect", "vllm")
            config = ModelConfig.model_validate(
                {"base_url": server.url, "model": "m", "dialect": dialect, "retries": 0, **fields}
            )
            (findings,) = await probe_endpoint("m", config)
            before = server.stats()["status"].get("400", 0)
            async with Clients({"m": config}) as clients:
                clients.learn({"m": findings.abilities})
                reply = await clients.model("m").chat(QUESTION)
            assert server.stats()["status"].get("400", 0) == before
            result.extend((findings, {"reply": reply}))

    asyncio.run(go())
    return result[0], result[1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_is_left_out_where_all_is_obeyed(dialect: str) -> None:
    findings, _ = found({"dialect": dialect})
    assert findings.abilities.unsent == ()
    assert [row.what for row in findings.rows if row.level == "error"] == []
    assert ("limit", "ok") in [(row.what, row.level) for row in findings.rows]


@pytest.mark.parametrize(
    ("dialect", "field"),
    [
        ("openai", "response_format"),
        ("vllm", "response_format"),
        ("sglang", "response_format"),
        ("llamacpp", "grammar"),
    ],
)
@pytest.mark.parametrize("how", ["ignores", "refuses"])
def test_a_schema_that_is_not_enforced_goes_into_the_prompt(dialect: str, field: str, how: str) -> None:
    findings, after = found({"dialect": dialect, how: [field]})
    assert findings.abilities.unsent == (field,)
    assert not findings.abilities.json_schema
    (row,) = [row for row in findings.rows if row.what == "json_schema"]
    assert row.detail.startswith(f"{field} is {how[:-1]}d: ")
    assert row.level == "warning"
    assert after["reply"].ok
    assert isinstance(after["reply"].data["answer"], str)


@pytest.mark.parametrize(
    ("dialect", "field", "fields"),
    [
        ("openai", "seed", {}),
        ("openai", "reasoning_effort", {"effort": "high"}),
        ("openai", "temperature", {}),
        ("openai", "max_completion_tokens", {}),
        ("vllm", "chat_template_kwargs", {"think": False}),
        ("deepseek", "thinking", {}),
    ],
)
def test_a_field_that_is_refused_is_left_out(dialect: str, field: str, fields: dict[str, Any]) -> None:
    findings, after = found({"dialect": dialect, "refuses": [field]}, **fields)
    assert findings.abilities.unsent == (field,)
    assert [row.what for row in findings.rows if row.level == "error"] == []
    assert any(row.detail.startswith(f"{field} is refused and will not be sent") for row in findings.rows)
    assert after["reply"].ok


def test_the_name_of_the_limit_is_the_one_that_is_obeyed() -> None:
    findings, _ = found({"dialect": "openai", "ignores": ["max_completion_tokens"], "raw_bytes": 6000})
    assert findings.abilities.unsent[0] == "max_completion_tokens"


def test_a_limit_that_is_ignored_by_any_name_is_an_error() -> None:
    findings, _ = found(
        {"dialect": "openai", "ignores": ["max_completion_tokens", "max_tokens"], "raw_bytes": 6000}
    )
    with pytest.raises(
        UserError, match=r"the limit of tokens is ignored \(\d+ tokens came for a limit of 16\)"
    ):
        findings.raise_for_errors("limit")


async def relayed(request: web.BaseRequest, url: str) -> web.Response:
    """What the server at `url` answers."""
    async with (
        ClientSession() as session,
        session.request(
            request.method,
            url.removesuffix("/v1") + request.path,
            data=await request.read() or None,
            headers={"Content-Type": "application/json"},
        ) as answer,
    ):
        return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")


@asynccontextmanager
async def serving(handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Address of a server of which `handle` is all."""
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def recipe(url: str, settings: dict[str, Any] | None = None, **sections: Any) -> Any:
    model = {"base_url": url, "model": "m", "dialect": "vllm", "retries": 0} | (settings or {})
    roles = dict.fromkeys(("annotator", "target", "teacher", "refiner"), "m")
    source = {"name": "s", "path": "s.jsonl", "license": "CC0-1.0"}
    data: dict[str, Any] = {"seeds": {"sources": [source]}, "models": {"m": model}, "roles": roles}
    return parse(data | sections, Path("recipe.yaml"))


async def start(root: Path, plan: Any, limits: Limits | None = None) -> dict[str, Abilities]:
    """What one start of a run finds out."""
    index_run(root).close()
    run = Run(root)
    run.begin_session([])
    try:
        found = await learn(plan, run, Governor(limits or Limits(), spent(root)), {})
    except BoostQAError as error:
        run.end_session(error.exit_code, str(error))
        raise
    run.end_session(0)
    return found


def learned(
    run: Path, persona: dict[str, Any], starts: int = 1, **sections: Any
) -> tuple[Abilities, dict[str, Any]]:
    """What `starts` starts of a run find out about a fake model, and the server's statistics."""
    result: list[Any] = []

    async def go() -> None:
        async with FakeServer({"models": {"m": {"dialect": "vllm"} | persona}}) as server:
            for _ in range(starts):
                found = await start(run, recipe(server.url, **sections), Limits(tokens=10**6))
            result.extend((found["m"], server.stats()))

    asyncio.run(go())
    return result[0], result[1]


def test_a_run_finds_out_once_and_pays_through_the_ledger(tmp_path: Path) -> None:
    able, stats = learned(tmp_path, {"ignores": ["response_format"]})
    assert able.unsent == ("response_format",)
    assert (able.score, able.logprobs, able.chat) == (True, True, True)
    assert stats["requests"] == stats["answered"] == len(list(entries(tmp_path))) == 6
    assert {line["entry"] for line in entries(tmp_path)} == {"check"}


def test_later_starts_of_a_day_ask_nothing(tmp_path: Path) -> None:
    able, stats = learned(tmp_path, {"refuses": ["seed"], "ignores": ["response_format"]}, starts=3)
    assert able.unsent == ("response_format", "seed")
    assert stats["answered"] == 6
    assert stats["status"]["400"] == 1


@pytest.mark.parametrize("why", [2, 4, "another day"])
@pytest.mark.parametrize("field", ["seed", "response_format"])
def test_an_endpoint_that_changed_is_tried_out_anew(
    tmp_path: Path, field: str, why: int | str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def go() -> list[tuple[str, ...]]:
        config = {"models": {"m": {"dialect": "vllm"}}}
        strict = {"models": {"m": {"dialect": "vllm", "refuses": [field]}}}
        async with FakeServer(config) as old, FakeServer(strict) as new:
            now = old

            async def handle(request: web.BaseRequest) -> web.Response:
                return await relayed(request, now.url)

            async with serving(handle) as url:
                plan = recipe(url)
                found = [(await start(tmp_path, plan))["m"].unsent]
                for changed in (new, old):
                    now = changed
                    run = Run(tmp_path)
                    if isinstance(why, int):  # as after the first calls that are refused
                        run.begin_session([])
                        run.end_session(why)
                    else:
                        note = run.info["endpoints"]["m"]
                        note["turn"] = "2026-01-01" + note["turn"][10:]
                        run.save()
                        for file in (tmp_path / "ledger").rglob("check"):
                            shutil.rmtree(file)
                    found.append((await start(tmp_path, plan))["m"].unsent)
                return found

    assert asyncio.run(go()) == [(), (field,), ()]
    told = capfd.readouterr().err
    assert f"unsent: () -> ('{field}',)" in told
    assert f"unsent: ('{field}',) -> ()" in told


@pytest.mark.parametrize("turn", ["", "2026-01-01 0"])
@pytest.mark.parametrize(
    "persona", [{}, {"refuses": ["seed"]}, {"refuses": ["response_format", "temperature"]}]
)
def test_a_start_whose_budget_is_used_up_goes_by_what_was_found(
    tmp_path: Path, persona: dict[str, Any], turn: str
) -> None:
    async def go() -> tuple[dict[str, Abilities], dict[str, Abilities], int]:
        async with FakeServer({"models": {"m": {"dialect": "vllm"} | persona}}) as server:
            first = await start(tmp_path, recipe(server.url), Limits(requests=100))
            used = spent(tmp_path).requests
            before = server.stats()["requests"]
            run = Run(tmp_path)
            run.info["endpoints"]["m"]["turn"] = turn or run.info["endpoints"]["m"]["turn"]
            run.save()
            again = await start(tmp_path, recipe(server.url), Limits(requests=used))
            return first, again, server.stats()["requests"] - before

    first, again, asked = asyncio.run(go())
    assert first == again
    assert asked == 0


def test_a_budget_too_small_to_find_anything_out_stops_the_start(tmp_path: Path) -> None:
    async def go() -> None:
        async with FakeServer({"models": {"m": {"dialect": "vllm"}}}) as server:
            await start(tmp_path, recipe(server.url), Limits(requests=2))

    with pytest.raises(BudgetStop):
        asyncio.run(go())


@pytest.mark.parametrize("methods", [["likelihood"], ["likelihood", "choice"]])
def test_a_failure_that_may_pass_takes_no_ability_away(tmp_path: Path, methods: list[str]) -> None:
    async def go() -> Abilities:
        async with FakeServer({"models": {"m": {"dialect": "vllm"}}}) as server:
            down = True

            async def handle(request: web.BaseRequest) -> web.Response:
                if down and request.path == "/v1/completions":
                    return web.Response(status=500, text="oops")
                return await relayed(request, server.url)

            async with serving(handle) as url:
                plan = recipe(url, probe={"methods": methods})
                with pytest.raises(ProviderStop, match=r"HTTP 500: oops; given up .* cannot be found out"):
                    await start(tmp_path, plan)
                (findings,) = await probe_endpoint("m", plan.models["m"])
                assert findings.abilities.score
                assert [row.level for row in findings.rows if row.what == "score"] == ["warning"]
                down = False
                return (await start(tmp_path, plan))["m"]

    assert asyncio.run(go()).score


def test_when_one_trial_fails_the_others_end_and_are_booked(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        arrived.set()
        await asyncio.sleep(30)
        raise AssertionError

    async def bad(request: web.BaseRequest) -> web.Response:
        await arrived.wait()
        return web.json_response({"error": {"message": "no"}}, status=400)

    async def go() -> None:
        async with serving(slow) as first, serving(bad) as second:
            models = {
                name: {"base_url": url, "model": name, "dialect": "vllm"}
                for name, url in (("s", first), ("b", second))
            }
            roles = {"annotator": "s", "target": "s", "teacher": "b", "refiner": "b"}
            before = asyncio.all_tasks()
            with pytest.raises(UserError, match=r"models\.b .*HTTP 400: no"):
                await start(tmp_path, recipe(first, models=models, roles=roles))
            left = asyncio.all_tasks() - before
            assert not [task for task in left if "_tried" in repr(task)]
            assert current_journal.get() is None

    asyncio.run(go())
    assert {line["name"]: line["err"].split(": ")[-1] for line in entries(tmp_path)} == {
        "b": "no",
        "s": "cancelled",
    }


def test_what_is_not_there_is_not_asked_for(tmp_path: Path) -> None:
    able, _ = learned(tmp_path, {"dialect": "vllm", "ignores": ["logprobs", "top_logprobs", "echo"]})
    assert (able.score, able.logprobs) == (False, False)


def test_a_stage_that_needs_what_is_not_there_stops_the_start_by_name(tmp_path: Path) -> None:
    methods = {"probe": {"methods": ["likelihood"]}}
    with pytest.raises(
        UserError, match=r"probe\.methods: likelihood, but the endpoint of models\.m can do none .*choice"
    ):
        learned(tmp_path, {"ignores": ["echo"]}, **methods)
    assert learned(tmp_path, {}, **methods)[0].score
    able = abilities_of(ModelConfig(base_url="http://127.0.0.1:1/v1", model="m", dialect="deepseek"))
    with pytest.raises(UserError, match=r"it can: choice, generate"):
        needs("t", able, ["likelihood"])


def test_an_endpoint_that_refuses_every_chat_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"models\.m \(http.*the chat call failed: .*HTTP 400: .*'messages' is not supp"
    ):
        learned(tmp_path, {"refuses": ["messages"]})


TOO_LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: 1088. This model's maximum context length is 1024 tokens "
    "and your request has 25 input tokens (1088 > 1024 - 25)."
)
"""What vLLM says."""


def refused(body: dict[str, Any], *names: str) -> str:
    return next((f"'{name}' is not supported with this model." for name in names if name in body), "")


@pytest.mark.parametrize("way", ["check", "run"])
@pytest.mark.parametrize(
    ("settings", "said", "error", "most"),
    [
        (
            {"extra": {"min_p": 0.1}},
            lambda body: refused(body, "min_p"),
            "extra.min_p is refused, take it out",
            1,
        ),
        (
            {"extra": {"reasoning_effort": "high"}},
            lambda body: refused(body, "seed", "reasoning_effort"),
            "extra.reasoning_effort is refused, take it out",
            2,
        ),
        (
            {},
            lambda body: refused(body, "max_tokens", "max_completion_tokens"),
            "chat call failed: .*HTTP 400",
            2,
        ),
        ({"think": True}, lambda body: TOO_LARGE, "chat call failed: .*maximum context length is 1024", 1),
    ],
)
def test_a_refusal_that_nothing_can_be_left_out_for_ends_the_trial(
    tmp_path: Path, way: str, settings: dict[str, Any], said: Callable[..., str], error: str, most: int
) -> None:
    asked = 0

    async def handle(request: web.BaseRequest) -> web.Response:
        nonlocal asked
        if request.method == "GET":
            return web.json_response({"data": [{"id": "m"}]})
        asked += 1
        assert asked < 20
        return web.json_response({"error": {"message": said(await request.json())}}, status=400)

    async def go() -> None:
        async with serving(handle) as url:
            plan = recipe(url, settings)
            if way == "check":
                (findings,) = await probe_endpoint("m", plan.models["m"])
                findings.raise_for_errors()
            else:
                await start(tmp_path, plan)

    with pytest.raises(UserError, match=error):
        asyncio.run(go())
    assert asked == most


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (302, UserError, "the chat call failed: .*HTTP 302: "),
        (204, UserError, "the chat call failed: .*HTTP 204: "),
        (418, UserError, "the chat call failed: .*HTTP 418: "),
        (501, UserError, "the chat call failed: .*HTTP 501: "),
        (
            500,
            ProviderStop,
            "HTTP 500: .*; given up after 1 tries; what the endpoint obeys cannot be found out",
        ),
    ],
)
def test_an_endpoint_without_an_answer_stops_the_start(
    tmp_path: Path, status: int, error: type[BoostQAError], said: str
) -> None:
    async def handle(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    async def go() -> None:
        async with serving(handle) as url:
            await start(tmp_path, recipe(url))

    with pytest.raises(error, match=said):
        asyncio.run(go())


def test_a_limit_that_is_ignored_stops_a_run_with_a_budget_of_tokens(tmp_path: Path) -> None:
    persona = {"ignores": ["max_completion_tokens", "max_tokens"], "raw_bytes": 6000}
    with pytest.raises(UserError, match=r"no budget could be kept"):
        learned(tmp_path, persona, budget={"tokens": 10**6})
    assert learned(tmp_path / "other", persona)[0].chat


@pytest.mark.parametrize("name", ["n", "max_tokens", "stream"])
def test_extra_cannot_set_what_budgets_rest_on(name: str) -> None:
    with pytest.raises(ValueError, match=f"extra holds '{name}', which each request sets for itself"):
        ModelConfig(base_url="http://127.0.0.1:1/v1", model="m", extra={name: 5})
    assert ModelConfig(base_url="http://127.0.0.1:1/v1", model="m", extra={name: None})
