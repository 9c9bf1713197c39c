"""The fake provider: server, counts, limits, planned faults, config and process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from boostqa.errors import UserError
from boostqa.llm.fake import Config, FakeServer, Key, default_config, read_keys
from boostqa.llm.fake.faults import ALL, Fault, Faults, Plan
from boostqa.llm.fake.world import rng
from fake_seeds import (
    CHAT,
    asked,
    messages,
    seed_rows,
    serve,
)


def test_key_models_health_and_broken_bodies():
    async def test(server: FakeServer, post: Any) -> None:
        body = {"model": "m", **CHAT}
        assert (await post("/chat/completions", body))[0] == 401
        assert (await post("/chat/completions", body, Authorization="Bearer wrong"))[0] == 401
        assert (await post("/chat/completions", body, Authorization="Bearer k"))[0] == 200
        assert (await post("/chat/completions", b"{", Authorization="Bearer k"))[0] == 400
        async with aiohttp.ClientSession() as session:
            async with session.get(server.url + "/models", headers={"Authorization": "Bearer k"}) as reply:
                assert [row["id"] for row in (await reply.json())["data"]] == ["m"]
            async with session.get(server.url.removesuffix("/v1") + "/health") as reply:
                assert reply.status == 200
        assert server.stats()["status"] == {"401": 2, "200": 1, "400": 1}

    serve({"models": {"m": {}}, "api_key": "k"}, test)


def test_stats_prove_that_nothing_is_paid_twice():
    async def test(server: FakeServer, post: Any) -> None:
        first, second = {"model": "m", **CHAT}, {"model": "m", **CHAT, "max_tokens": 7}
        await asyncio.gather(*(post("/chat/completions", body) for body in (first, first, second)))
        stats = server.stats(bodies=True)
        assert (stats["requests"], stats["distinct"], stats["answered"]) == (3, 2, 3)
        assert list(stats["answered_again"].values()) == [2]
        assert sorted(stats["seen_bodies"].values()) == [1, 2]
        assert stats["tasks"] == {"solve": 3}
        assert stats["max_in_flight"] >= 2
        assert [body.get("max_tokens") for body in server.seen] in ([None, 7], [7, None], [None, None])
        status, _, answer = await post("/fake/control", {"reset_stats": True})
        assert (status, server.stats()["requests"]) == (200, 0)
        status, _, answer = await post("/fake/control", {"fault": []})
        assert status == 400
        assert b"'fault'" in answer

    serve({"models": {"m": {"latency_s": 0.05}}, "keep": 2}, test)


def test_idempotency_keys_tell_samples_apart_where_a_body_cannot():
    row = seed_rows(1, levels=("H5",))[0]
    body = {"model": "m", "messages": messages("solve", asked(row))}

    async def test(server: FakeServer, post: Any) -> None:
        keyed = [await post("/chat/completions", body, **{"Idempotency-Key": f"k{i}"}) for i in range(12)]
        again = [await post("/chat/completions", body, **{"Idempotency-Key": f"k{i}"}) for i in range(12)]
        assert [answer for *_, answer in keyed] == [answer for *_, answer in again]
        assert len({answer for *_, answer in keyed}) > 1
        assert len({(await post("/chat/completions", body))[2] for _ in range(5)}) == 1
        assert server.stats()["distinct"] == 13
        server.control({"models": {"m": {"dialect": "deepseek", "fresh_samples": True}}})
        assert len({(await post("/chat/completions", body))[2] for _ in range(12)}) > 1

    serve(
        {"models": {"m": {"dialect": "deepseek", "ability": {"default": 0.5}}}, "prompt_cache": False}, test
    )


def test_slots_queue_and_limits_answer_429():
    async def test(server: FakeServer, post: Any) -> None:
        async def timed(model: str, count: int) -> tuple[float, list[int]]:
            loop = asyncio.get_running_loop()
            start = loop.time()
            bodies = [{"model": model, **CHAT, "max_tokens": i + 1} for i in range(count)]
            replies = await asyncio.gather(*(post("/chat/completions", body) for body in bodies))
            return loop.time() - start, [status for status, _, _ in replies]

        seconds, statuses = await timed("queue", 6)
        assert seconds >= 3 * 0.05
        assert set(statuses) == {200}
        assert Counter((await timed("full", 6))[1]) == {200: 2, 429: 4}
        _, statuses = await timed("slow", 3)
        assert statuses.count(429) == 2

    models = {
        "queue": {"slots": 2, "latency_s": 0.05},
        "full": {"max_in_flight": 2, "latency_s": 0.05},
        "slow": {"rpm": 6},
    }
    serve({"models": models}, test)


def test_raw_replies_have_the_size_asked_for_and_parse():
    async def test(server: FakeServer, post: Any) -> None:
        sizes = []
        for i in range(20):
            _, _, answer = await post("/chat/completions", {"model": "m", **CHAT, "max_tokens": i + 1})
            sizes.append(len(answer))
            content = json.loads(json.loads(answer)["choices"][0]["message"]["content"])
            assert set(content) == {"question", "solution", "answer"}
        assert min(sizes) > 5950
        assert max(sizes) < 6050

    serve({"models": {"m": {"raw_bytes": 6000}}}, test)


def content_of(answer: bytes) -> str:
    return json.loads(answer)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("name", [name for name in ALL if name not in {"hang", "reset", "cut_body"}])
def test_each_fault_is_played_once_and_then_the_reply_comes(name: str):
    async def test(server: FakeServer, post: Any) -> None:
        body = {"model": "m", "messages": messages("solve", asked(seed_rows(1)[0])), "max_tokens": 900}
        status, headers, answer = await post("/chat/completions", body)
        after_status, _, after = await post("/chat/completions", body)
        assert after_status == 200
        assert "answer" in content_of(after)
        assert server.stats()["faults"] == {name: 1}
        code = name.partition("_")[0]
        assert status == (int(code) if code.isdigit() else 200)
        if code.isdigit():
            assert "error" in json.loads(answer)
            assert ("Retry-After" in headers) == (name in {"429_retry_after", "503"})
        elif name == "html":
            assert headers["Content-Type"].startswith("text/html")
        elif name == "empty_body":
            assert answer == b""
        elif name == "broken_json":
            with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
                json.loads(answer)
        elif name == "other_schema":
            assert "choices" not in json.loads(answer)
        elif name == "no_usage":
            assert "usage" not in json.loads(answer)
        elif name == "wrong_model":
            assert json.loads(answer)["model"] != "m"
        elif name in {"truncated", "loop"}:
            assert json.loads(answer)["choices"][0]["finish_reason"] == "length"
        elif name == "refusal":
            assert "can't help" in content_of(answer)
        elif name == "empty_content":
            assert content_of(answer) == ""
            assert json.loads(answer)["choices"][0]["message"]["reasoning"]
        elif name == "unclosed_think":
            assert content_of(answer).startswith("<think>")
            assert "</think>" not in content_of(answer)
        elif name == "bad_json":
            assert "```json" in content_of(answer)
            assert not content_of(answer).endswith("```")

    entry = {"fault": name, "at": 1, "seconds": 0.02}
    serve({"models": {"m": {"dialect": "vllm"}}, "faults": {"script": [entry]}}, test)


def test_reset_cut_body_and_hang_break_the_connection():
    async def test(server: FakeServer, post: Any) -> None:
        body = {"model": "m", **CHAT}
        with pytest.raises(aiohttp.ClientConnectionError):
            await post("/chat/completions", body)
        with pytest.raises(aiohttp.ClientPayloadError):
            await post("/chat/completions", body)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await post("/chat/completions", body)
        assert (await post("/chat/completions", body))[0] == 200
        await asyncio.sleep(0.02)
        assert server.stats()["in_flight"] == 0
        assert server.stats()["answered"] == 1

    script = [{"fault": "reset", "at": 1}, {"fault": "cut_body", "at": 2}, {"fault": "hang", "at": 3}]
    serve({"models": {"m": {}}, "faults": {"script": script}}, test)


def test_faults_by_rate_let_retries_through_and_spoil_the_same_replies_again():
    faults = Faults(Plan(rates={"429": 0.1, "reset": 0.1, "truncated": 0.2}), seed=1)
    first = [faults.pick(0, b"", f"{i}", 1, "m") for i in range(2000)]
    again = [faults.pick(0, b"", f"{i}", 2, "m") for i in range(2000)]
    names = Counter(fault.fault if fault else "" for fault in first)
    assert names["429"] / 2000 == pytest.approx(0.1, abs=0.03)
    assert names["reset"] / 2000 == pytest.approx(0.1, abs=0.03)
    wire = [i for i, fault in enumerate(first) if fault and fault.fault in {"429", "reset"}]
    stuck = [i for i in wire if again[i] is not None and again[i].fault in {"429", "reset"}]
    assert len(stuck) < 0.35 * len(wire)
    spoilt = [i for i, fault in enumerate(first) if fault and fault.fault == "truncated"]
    assert all(again[i] is not None for i in spoilt)


def test_scripts_pick_by_number_text_model_and_count():
    script = [
        Fault(fault="500", match="judge", times=2),
        Fault(fault="503", at=5, until=6),
        Fault(fault="404", model="x"),
    ]
    faults = Faults(Plan(script=script), seed=0)
    picked = [faults.pick(n, b"Task: judge", "d", 1, "m") for n in (1, 2, 3)]
    assert [fault and fault.fault for fault in picked] == ["500", "500", None]
    assert [bool(faults.pick(n, b"", "d", 1, "m")) for n in (4, 5, 6, 7)] == [False, True, True, False]
    assert faults.pick(9, b"", "d", 1, "x") == script[2]


def test_faults_change_at_run_time():
    async def test(server: FakeServer, post: Any) -> None:
        body = {"model": "m", **CHAT}
        await post("/fake/control", {"faults": {"rates": {"500": 1.0}}})
        assert (await post("/chat/completions", body))[0] == 500
        server.control({"faults": None})
        assert (await post("/chat/completions", body))[0] == 200
        server.control({"models": {"m2": {"dialect": "vllm"}}, "api_key": "new"})
        assert (await post("/chat/completions", body))[0] == 401
        assert (await post("/chat/completions", {**body, "model": "m2"}, Authorization="Bearer new"))[
            0
        ] == 200

    serve({"models": {"m": {}}}, test)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"models": {}}, "models is empty"),
        ({"models": {"m": {"dialect": "gopher"}}}, "gopher.* is not one of openai"),
        ({"models": {"m": {"abilty": {}}}}, "abilty"),
        ({"models": {"m": {}}, "answer_keys": ["/nowhere/x.jsonl"]}, "answer_keys: /nowhere/x.jsonl"),
        ({"models": {"m": {}}, "faults": {"rates": {"fire": 0.1}}}, "'fire' is no fault"),
        ({"models": {"m": {}}, "faults": {"rates": {"500": 0.9, "503": 0.2}}}, "add up to 1.1"),
    ],
)
def test_bad_configs_are_named(config: dict[str, Any], text: str):
    with pytest.raises(UserError, match=text):
        FakeServer(config)


def test_default_config_has_a_model_for_every_dialect_family():
    assert isinstance(default_config(), Config)
    assert {persona.dialect for persona in default_config().models.values()} >= {
        "deepseek",
        "vllm",
        "llamacpp",
        "openai",
    }


def test_example_seeds_serve_as_answer_keys():
    folder = Path(__file__).parents[2] / "examples" / "seeds"
    world = FakeServer({"models": {"m": {}}, "answer_keys": [str(folder)]}).replier.world
    rows = [key for path in folder.iterdir() if path.suffix in {".jsonl", ".csv"} for key in read_keys(path)]
    assert len(rows) >= 40
    for row in rows:
        truth = world.truth(row.question, row.choices)
        assert (truth.answer, truth.field, truth.level) == (row.answer, row.field, row.level)
        question = world.vary(row.question, rng(row.question))
        assert world.truth(question, row.choices).answer == row.answer


def test_keys_can_be_given_in_process():
    server = FakeServer({"models": {"m": {}}}, keys=[Key(question="Who wrote Faust?", answer="Goethe")])
    assert server.replier.world.truth("Who wrote Faust?").answer == "Goethe"


def test_process_announces_itself_and_dies_with_its_parent(tmp_path: Path):
    config = tmp_path / "fake.json"
    config.write_text('{"models": {"m": {"dialect": "vllm"}}}', encoding="utf-8")
    command = [sys.executable, "-m", "boostqa.llm.fake", "--config", str(config), "--with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}/models", timeout=5) as reply:
            assert json.load(reply)["data"][0]["id"] == "m"
        process.stdin.close()
        assert process.wait(timeout=5) == 0


def test_process_names_a_bad_config(tmp_path: Path):
    config = tmp_path / "fake.json"
    config.write_text('{"models": {}}', encoding="utf-8")
    command = [sys.executable, "-m", "boostqa.llm.fake", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "fake.json: models is empty" in done.stderr
