"""Every fault that the fake provider can play, and those of the net: a named outcome or a stop with exit code 4.

Each case has ten seconds; none may hang, and none may end in an answer that is not one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from boostqa.errors import ProviderStop
from boostqa.llm.clients import Clients
from boostqa.llm.config import ModelConfig
from boostqa.llm.fake import FakeServer
from boostqa.llm.fake.faults import ALL
from boostqa.llm.ledger import LedgerWriter, current_journal
from boostqa.llm.ledger_files import entries
from boostqa.llm.model import Message, Outcome, Reply, Request
from boostqa.llm.throttle import Tuning

PLACE = ("round-1", "synthesize", "write")
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
NO_REPLY = {
    "408": "HTTP 408", "500": "HTTP 500", "502": "HTTP 502", "503": "HTTP 503", "529": "HTTP 529",
    "reset": "reset: ", "hang": "timeout: no whole answer in time", "cut_body": "cut: ", "broken_json": "broken JSON of",
    "html": "HTML instead of JSON", "empty_body": "an empty body", "other_schema": "JSON without `choices`",
}  # fmt: skip
"""Faults that a repeat may mend, and what is said when it does not."""
STOPS = {
    "401": "the key is refused", "402": "the account is empty", "403": "access is denied", "404": "check `model`",
    "429": "no answer for", "429_retry_after": "no answer for",
}  # fmt: skip
OWN_FAULT = {"400": "HTTP 400", "422": "HTTP 422"}
ODD = {
    "slow": (Outcome.OK, ""), "no_usage": (Outcome.OK, ""), "wrong_model": (Outcome.OK, ""),
    "truncated": (Outcome.TRUNCATED, "cut off in the answer at max_tokens"), "refusal": (Outcome.REFUSED, "refused: "),
    "empty_content": (Outcome.MALFORMED, "empty content"),
    "unclosed_think": (Outcome.TRUNCATED, "cut off in the thought"),
    "loop": (Outcome.MALFORMED, "repetition loop"), "bad_json": (Outcome.MALFORMED, "JSON"),
}  # fmt: skip
"""Whole replies with something wrong in them."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives an endpoint up after a second instead of minutes."""
    shared = Tuning.shared

    def quick(workers: int, *, give_up_after: float) -> Tuning:
        tuning = shared(workers, give_up_after=give_up_after)
        return msgspec.structs.replace(tuning, give_up_jammed=0.5, cooldown=0.05, max_cooldown=0.2)

    monkeypatch.setattr(Tuning, "shared", quick)


def config(url: str, **fields: Any) -> ModelConfig:
    basic = {
        "base_url": url,
        "model": "m",
        "dialect": "vllm",
        "retries": 2,
        "timeout": 0.3,
        "give_up_after": 0.5,
    }
    return ModelConfig.model_validate(basic | {"prices": {"input": 1, "output": 2}} | fields)


def ask(n: int = 0) -> Request:
    return Request(messages=(Message("user", f"Question {n}?"),), schema=SCHEMA, max_tokens=200)


async def call(run: Path, settings: ModelConfig, asked: list[Request]) -> list[Reply | BaseException]:
    """The replies through the whole client, ledger included."""
    async with LedgerWriter() as writer, Clients({"m": settings}, backoff=0.001) as clients:
        journal = writer.open(run, PLACE, "part-00000")
        current_journal.set(journal)
        try:
            calls = (clients.model("m").chat(request) for request in asked)
            return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        finally:
            await journal.close()


def under(run: Path, plan: dict[str, Any], asked: int = 1, **fields: Any) -> list[Reply | BaseException]:
    async def go() -> list[Reply | BaseException]:
        dialect = fields.get("dialect", "vllm")
        async with FakeServer({"models": {"m": {"dialect": dialect}}, "faults": plan}) as server:
            return await call(run, config(server.url, **fields), [ask(n) for n in range(asked)])

    return asyncio.run(go())


def test_the_table_names_every_fault() -> None:
    assert {*NO_REPLY, *STOPS, *OWN_FAULT, *ODD} == set(ALL)


@pytest.mark.parametrize("fault", [*NO_REPLY, "429", "429_retry_after"])
def test_fault_that_ends_costs_a_repeat(fault: str, tmp_path: Path) -> None:
    (reply,) = under(
        tmp_path, {"script": [{"fault": fault, "times": 2, "seconds": 0.01 if "429" in fault else 0}]}
    )
    assert isinstance(reply, Reply)
    assert reply.ok, reply.error
    (line,) = entries(tmp_path)
    assert line.get("tries", 1) == (1 if "429" in fault else 3)


@pytest.mark.parametrize("fault", NO_REPLY)
def test_fault_that_stays_fails_the_call_by_name(fault: str, tmp_path: Path) -> None:
    (reply,) = under(tmp_path, {"rates": {fault: 1.0}})
    assert isinstance(reply, Reply)
    assert reply.outcome is Outcome.FAILED
    assert NO_REPLY[fault] in reply.error
    assert "given up after 3 tries" in reply.error
    (line,) = entries(tmp_path)
    assert line["err"] == reply.error
    assert line.get("reply") is None


@pytest.mark.parametrize("fault", NO_REPLY)
def test_fault_of_all_calls_stops_the_run(fault: str, tmp_path: Path) -> None:
    ended = under(tmp_path, {"rates": {fault: 1.0}}, asked=30, retries=1000)
    assert all(isinstance(each, ProviderStop) and each.exit_code == 4 for each in ended)
    assert NO_REPLY[fault] in str(ended[0])
    assert "run the same command again" in str(ended[0])


@pytest.mark.parametrize("fault", STOPS)
def test_provider_that_will_not_serve_us_stops_the_run(fault: str, tmp_path: Path) -> None:
    (stop,) = under(tmp_path, {"rates": {fault: 1.0}, "retry_after_s": 0.1})
    assert isinstance(stop, ProviderStop), stop
    assert stop.exit_code == 4
    assert STOPS[fault] in str(stop)


@pytest.mark.parametrize("fault", OWN_FAULT)
def test_request_called_wrong_fails_without_a_repeat(fault: str, tmp_path: Path) -> None:
    (reply,) = under(tmp_path, {"rates": {fault: 1.0}})
    assert isinstance(reply, Reply)
    assert reply.outcome is Outcome.FAILED
    assert OWN_FAULT[fault] in reply.error
    (line,) = entries(tmp_path)
    assert line.get("tries", 1) == 1


@pytest.mark.parametrize("fault", ODD)
def test_odd_reply_has_its_outcome(fault: str, tmp_path: Path) -> None:
    dialect = "openai" if fault == "refusal" else "vllm"  # others refuse in the text, which is no JSON
    (reply,) = under(tmp_path, {"rates": {fault: 1.0}, "slow_s": 0.1}, max_tokens_cap=400, dialect=dialect)
    assert isinstance(reply, Reply)
    outcome, why = ODD[fault]
    assert reply.outcome is outcome, reply.error
    assert why in reply.error
    assert (reply.data is not None) is reply.ok
    line = list(entries(tmp_path))[-1]
    assert (
        line["reply"].get("model", "") == reply.model == ("another-model" if fault == "wrong_model" else "m")
    )
    assert (line.get("cost") is None) is (fault == "no_usage")  # unknown, not nothing


def test_all_faults_mixed_give_every_call_a_fate(tmp_path: Path) -> None:
    kinds = [*NO_REPLY, "429", "429_retry_after", *ODD]
    plan = {"rates": dict.fromkeys(kinds, 0.2 / len(kinds)), "retry_after_s": 0.01, "slow_s": 0.1}
    replies = under(tmp_path, plan, asked=300, give_up_after=60, retries=6)
    assert all(isinstance(reply, Reply) for reply in replies)
    outcomes = [reply.outcome for reply in replies if isinstance(reply, Reply)]
    assert outcomes.count(Outcome.OK) > 250
    assert all(reply.error for reply in replies if isinstance(reply, Reply) and not reply.ok)


def test_clock_that_goes_backwards_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 2e9

    def backwards() -> float:
        nonlocal now
        now -= 3600
        return now

    monkeypatch.setattr(time, "time", backwards)
    plan = {
        "script": [{"fault": "500", "times": 2}, {"fault": "429_retry_after", "times": 1, "seconds": 0.05}]
    }
    replies = under(tmp_path, plan, asked=20)
    assert all(isinstance(reply, Reply) and reply.ok for reply in replies)
    assert all(0 <= line["seconds"] < 10 for line in entries(tmp_path))


def lost(*args: Any, **keywords: Any) -> Any:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def test_name_that_is_gone_in_mid_run_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(aiohttp.TCPConnector):
        """Closes each connection and asks for the address each time, as after hours."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(limit=settings["limit"], force_close=True, use_dns_cache=False)

    monkeypatch.setattr(aiohttp, "TCPConnector", Forgetful)

    async def go() -> None:
        async with FakeServer({"models": {"m": {"dialect": "vllm"}}}) as server:
            settings = config(server.url.replace("127.0.0.1", "localhost"), retries=1000)
            async with Clients({"m": settings}, backoff=0.001) as clients:
                assert (await clients.model("m").chat(ask())).ok
                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lost)
                with pytest.raises(ProviderStop, match=r"no answer for .*dns: .*run the same command again"):
                    await asyncio.wait_for(clients.model("m").chat(ask(1)), 10)

    asyncio.run(go())


# Signed by itself, for 127.0.0.1, until 2126; protects nothing.
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4ssq3yTbnBhXSJ8J
TFCkJtMmYxLT+msjbZ6y7bSb7jahRANCAATXL9yN+USkhxD6LRFAi5yX3PwrtmoM
HHVkT5YYWHFFkIK9IWGltLvUjaWhrgwW7vnoTuI8T85BZWJeG8CbLqsN
-----END PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBkTCCATagAwIBAgIUTL1sDd3ZnPFBKGllHNSFRyaVy6wwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMjE0MzIwM1oYDzIxMjYxMDI5
MTQzMjAzWjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATXL9yN+USkhxD6LRFAi5yX3PwrtmoMHHVkT5YYWHFFkIK9IWGltLvU
jaWhrgwW7vnoTuI8T85BZWJeG8CbLqsNo2QwYjAdBgNVHQ4EFgQU+tyuOd0cucxC
pm8JaQiuqLsGzMkwHwYDVR0jBBgwFoAU+tyuOd0cucxCpm8JaQiuqLsGzMkwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0kAMEYC
IQCRl7vmZ6Xp13aqctNaEWUkj1MZWzDgrRLfC4nR1s6GAAIhAMtoAAd+Puxgferk
fB1cFHmM0jJcCuxwO8iiEqO97yb7
-----END CERTIFICATE-----
"""


def tls_server(run: Path, serve: Callable[[str], Any]) -> None:
    pem = run / "server.pem"
    pem.write_text(KEY + CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def go() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
        async with server:
            await serve(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")

    asyncio.run(go())


def test_certificate_that_cannot_be_trusted_stops_at_once(tmp_path: Path) -> None:
    async def go(place: str) -> None:
        ended = await call(
            tmp_path / "run", config(f"https://{place}/v1", retries=1000), [ask(n) for n in range(20)]
        )
        assert all(isinstance(each, ProviderStop) and each.exit_code == 4 for each in ended)
        assert "certificate: " in str(ended[0])
        assert "SSL_CERT_FILE" in str(ended[0])

    tls_server(tmp_path, go)


def test_tls_where_there_is_none_fails_by_name(tmp_path: Path) -> None:
    async def go() -> Reply | BaseException:
        async with FakeServer({"models": {"m": {"dialect": "vllm"}}}) as server:
            (reply,) = await call(tmp_path, config(server.url.replace("http:", "https:")), [ask()])
            return reply

    reply = asyncio.run(go())
    assert isinstance(reply, Reply)
    assert reply.outcome is Outcome.FAILED
    assert "tls: " in reply.error
