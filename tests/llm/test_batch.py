"""The Batch API as a transport: the same answers as online, and nothing paid twice whatever ends when."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from boostqa.errors import BudgetStop, ProviderStop, StorageStop, UserError
from boostqa.llm import batch, batch_api, batch_end, batch_state
from boostqa.llm.batch import BatchTransport, Pace
from boostqa.llm.batch_api import ApiError, Batch, places
from boostqa.llm.batch_state import State, Store
from boostqa.llm.budget import Account, Amount, Governor, Limits
from boostqa.llm.check import probe_endpoint, reach_endpoint
from boostqa.llm.clients import Batches, Clients
from boostqa.llm.config import BatchSettings, ModelConfig
from boostqa.llm.fake import FakeServer
from boostqa.llm.http import Response, WireError
from boostqa.llm.index import index_run
from boostqa.llm.leases import Meter, read_change, read_meter
from boostqa.llm.ledger import LedgerWriter, current_journal
from boostqa.llm.ledger_files import entries, spent
from boostqa.llm.model import Message, Outcome, Reply, Request
from boostqa.llm.prices import check_prices, prices_of

PLACE = ("head", "annotate", "label")
QUICK = Pace(first_poll=0.02, settle=0.1, hand_out=0.001)
PRICES = {"input": 100.0, "output": 200.0, "batch": 0.5}


def config(server: FakeServer, **fields: Any) -> ModelConfig:
    batch = {"wait": 0.05, "poll": 0.05, **fields.pop("batch", {})}
    values = {"base_url": server.url, "model": "m", "dialect": "vllm", "transport": "batch", "batch": batch}
    return ModelConfig.model_validate({**values, "give_up_after": 1.0, **fields})


def request(n: int, **fields: Any) -> Request:
    return Request(messages=(Message("user", f"Say the number {n}."),), temperature=0.5, **fields)


async def ask(
    run: Path, settings: ModelConfig, requests: list[Request], account: Account | None = None
) -> list[Reply]:
    """What one start of a program asks: its own ledger writer, index and clients."""
    index = index_run(run)

    def paid(key: str) -> bool:
        return bytes.fromhex(key) in writer.places or index.lookup(key) is not None

    batches = Batches(run / "ledger" / "batches", paid, QUICK)
    async with (
        LedgerWriter() as writer,
        Clients({"strong": settings}, batches=batches, backoff=0.001, account=account) as clients,
    ):
        journal = writer.open(run, PLACE, "part-00000", index)
        token = current_journal.set(journal)
        try:
            model = clients.model("strong", "teacher")
            return await asyncio.gather(*(model.chat(each) for each in requests))
        finally:
            current_journal.reset(token)
            await journal.close()


def serve(test: Callable[[FakeServer], Awaitable[None]], **plan: Any) -> dict[str, Any]:
    """Runs `test` against a fake provider; returns its statistics."""
    found: dict[str, Any] = {}

    async def go() -> None:
        async with FakeServer({"models": {"m": {"dialect": "vllm"}}, "batch": plan}) as server:
            await asyncio.wait_for(test(server), 30)
            found.update(server.stats())

    asyncio.run(go())
    return found


def states(run: Path) -> list[State]:
    return Store(run / "ledger" / "batches").states()


def test_answers_are_those_of_online_calls_and_are_in_the_ledger(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        requests = [request(n) for n in range(25)]
        replies = await ask(tmp_path, config(server, prices=PRICES), requests)
        assert {reply.outcome for reply in replies} == {Outcome.OK}
        online = await ask(tmp_path / "other", config(server, transport="online"), requests)
        assert [reply.text for reply in replies] == [reply.text for reply in online]
        assert [reply.key for reply in replies] == [reply.key for reply in online]
        assert len({reply.text for reply in replies}) > 1
        again = await ask(tmp_path, config(server), requests)
        assert all(reply.replayed for reply in again)
        assert [reply.text for reply in again] == [reply.text for reply in replies]
        lines = list(entries(tmp_path))
        assert len(lines) == 25
        usage = lines[0]["reply"]["usage"]
        full = (usage["prompt"] * 100 + usage["completion"] * 200) / 1e6
        cached = usage.get("cached", 0) * 0
        assert lines[0]["cost"] == pytest.approx(full / 2 + cached)  # the discount of the price table
        assert states(tmp_path) == []
        assert list((tmp_path / "ledger" / "batches").glob("*")) == []

    stats = serve(go)
    assert stats["batches"] | {"polls": 0} == {"uploads": 1, "batches": 1, "requests": 25, "polls": 0}


@pytest.mark.parametrize(("batch", "count"), [({"requests": 4}, 3), ({"megabytes": 0.001}, 3)])
def test_batches_are_bounded(tmp_path: Path, batch: dict[str, Any], count: int) -> None:
    async def go(server: FakeServer) -> None:
        replies = await ask(
            tmp_path, config(server, batch=batch), [request(n, stop=("x" * 100,)) for n in range(12)]
        )
        assert all(reply.ok for reply in replies)

    found = serve(go)["batches"]
    assert (found["requests"], found["batches"] >= count) == (12, True)


def test_chat_and_completion_go_in_batches_of_their_own(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        batches = Batches(tmp_path / "batches", pace=QUICK)
        async with Clients({"m": config(server)}, batches=batches) as clients:
            model = clients.model("m")
            chat, text, scores = await asyncio.gather(
                model.chat(request(1)),
                model.complete(Request(prompt="One, two,", max_tokens=4)),
                model.score("One, two,", [" three", " four"]),
            )
        assert chat.ok
        assert text.text
        assert scores is not None
        assert scores[0].tokens > 0

    assert serve(go)["batches"]["batches"] == 3  # a score needs the prefix first


@pytest.mark.parametrize(
    ("fault", "batches", "requests"),
    [
        ("upload_500", 1, 8),
        ("create_500", 1, 8),
        ("create_lost", 1, 8),  # found in the provider's list, not created again
        ("poll_500", 1, 8),
        ("download_cut", 1, 8),
        ("queue_full", 2, 8),
        ("expired", 2, 8),  # the half that was answered is used, the rest asked again
        ("lost_line", 2, 9),  # answered and billed, but never delivered
        ("broken_line", 2, 9),
        ("line_500", 2, 8),
        ("gone", 2, 16),
    ],
)
def test_faults_that_pass(tmp_path: Path, fault: str, batches: int, requests: int) -> None:
    async def go(server: FakeServer) -> None:
        replies = await ask(tmp_path, config(server), [request(n) for n in range(8)])
        assert [reply.outcome for reply in replies] == [Outcome.OK] * 8
        assert Counter(line["k"] for line in entries(tmp_path)) == Counter(reply.key for reply in replies)

    found = serve(go, faults=[fault])["batches"]
    assert (found["batches"], found["requests"]) == (batches, requests)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("failed", r"models.strong: batch: batch batch_0001 failed as a whole: invalid_request: planned"),
        ("cancelled", r"batch_0001 was cancelled at the provider; a new start sends what it left again"),
    ],
)
def test_a_batch_that_cannot_go_on_stops_the_run_and_the_next_start_goes_on(
    tmp_path: Path, fault: str, message: str
) -> None:
    async def go(server: FakeServer) -> None:
        requests = [request(n) for n in range(8)]
        with pytest.raises(ProviderStop, match=message):
            await ask(tmp_path, config(server), requests)
        assert not [line for line in entries(tmp_path) if line.get("err")]  # no record is dropped for it
        assert [reply.outcome for reply in await ask(tmp_path, config(server), requests)] == [Outcome.OK] * 8

    stats = serve(go, faults=[fault])
    assert stats["batches"]["requests"] == 8  # of a cancelled batch the answered half was used
    assert stats["answered_again"] == {}


def test_expired_again_and_again_is_a_failed_call_with_its_reason(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        reply = (await ask(tmp_path, config(server, retries=2), [request(1)]))[0]
        assert reply.outcome is Outcome.FAILED
        assert "batch_expired" in reply.error
        assert "given up after 3 tries" in reply.error
        assert spent(tmp_path).tokens == 0  # what expires is not billed

    serve(go, faults=["expired"] * 3)


def test_a_request_that_the_server_calls_wrong_fails_alone_and_leaves_no_files(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        requests = [request(1), request(2, max_tokens=10**9), request(3)]
        replies = await ask(tmp_path, config(server), requests)
        assert [reply.outcome for reply in replies] == [Outcome.OK, Outcome.FAILED, Outcome.OK]
        assert "maximum context length" in replies[1].error
        assert states(tmp_path) == []

    assert serve(go)["batches"]["batches"] == 1


def test_no_batch_api_stops_before_anything_is_paid(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        nowhere = config(server, base_url=server.url.replace("/v1", "/other"))
        with pytest.raises(ProviderStop, match="is there a Batch API"):
            await ask(tmp_path, nowhere, [request(1)])
        assert states(tmp_path) == []
        found = (await reach_endpoint("strong", config(server)))[0]
        assert [(row.what, row.level) for row in found.rows][-1] == ("batch", "ok")
        rows = (await probe_endpoint("strong", config(server)))[0].rows
        assert ("batch", "ok") in [(row.what, row.level) for row in rows]

    assert serve(go)["batches"].get("batches", 0) == 0


def test_a_refused_key_stops_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-wrong-key-value")

    async def go() -> None:
        async with FakeServer({"models": {"m": {"dialect": "vllm"}}, "api_key": "sk-right"}) as server:
            with pytest.raises(ProviderStop, match="the key is refused") as stop:
                await ask(tmp_path, config(server, api_key_env="SOME_KEY"), [request(1)])
            assert "sk-wrong" not in str(stop.value)

    asyncio.run(go())


def test_an_outage_while_polling_stops_and_the_next_start_attaches(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        requests = [request(n) for n in range(6)]
        asking = asyncio.create_task(ask(tmp_path, config(server), requests))
        while not [state for state in states(tmp_path) if state.step == "created"]:
            await asyncio.sleep(0.01)
        handle, server._batches.handle = server._batches.handle, _down  # type: ignore[method-assign]
        with pytest.raises(ProviderStop, match=r"the next start attaches to it"):
            await asking
        assert spent(tmp_path).requests == 0
        server._batches.handle = handle  # type: ignore[method-assign]
        assert all(reply.ok for reply in await ask(tmp_path, config(server), requests))

    assert serve(go, seconds=0.3)["batches"]["batches"] == 1


async def _down(request: Any, path: str) -> Any:
    from aiohttp import web

    return web.Response(status=503)


def test_interruption_books_nothing_and_the_next_start_attaches(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        requests = [request(n) for n in range(6)]
        governor = Governor(Limits(tokens=100_000))

        async def grant(message: Any) -> Any:
            return governor.ask(message)

        asking = asyncio.create_task(ask(tmp_path, config(server), requests, Account("a", grant)))
        while not [state for state in states(tmp_path) if state.step == "created"]:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (
            list(entries(tmp_path)) == []
        )  # the batch goes on: nothing is lost, so nothing is booked as lost
        replies = await ask(tmp_path, config(server), requests)
        assert all(reply.ok and not reply.replayed for reply in replies)
        assert spent(tmp_path).requests == 6

    assert serve(go, seconds=0.4)["batches"]["requests"] == 6


def test_a_call_whose_caller_was_cancelled_is_taken_from_its_batch_when_it_is_asked_again(
    tmp_path: Path,
) -> None:
    async def go(server: FakeServer) -> None:
        batches = Batches(tmp_path / "batches", pace=QUICK)
        async with Clients({"m": config(server)}, batches=batches) as clients:
            model = clients.model("m")
            tasks = [asyncio.create_task(model.chat(request(n))) for n in range(2)]
            while not [state for state in Store(tmp_path / "batches").states() if state.step == "created"]:
                await asyncio.sleep(0.01)
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (await model.chat(request(0))).ok

    found = serve(go, seconds=0.3)["batches"]
    assert (found["batches"], found["requests"]) == (1, 2)


def test_a_batch_under_way_is_booked_at_the_next_start_and_its_calls_need_no_second_reservation(
    tmp_path: Path,
) -> None:
    async def go(server: FakeServer) -> None:
        settings = config(server, prices=PRICES, retries=0)
        requests = [request(n) for n in range(6)]
        asking = asyncio.create_task(ask(tmp_path, settings, requests))
        while not [state for state in states(tmp_path) if state.step == "created"]:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        store = Store(tmp_path / "ledger" / "batches")
        (state,) = store.states()
        owed = sum(store.owed(state, lambda _: False).values(), Amount())
        assert (owed.requests, owed.money > 0, owed.tokens > 6 * 1024) == (6, True, True)
        assert store.owed(state, lambda key: key == state.keys[0]).keys() == set(state.keys[1:])
        # The next start has just enough for what is under way.
        governor = Governor(Limits(requests=6, money=owed.money, currency="USD"), owed, unsettled=owed)

        async def grant(message: Any) -> Any:
            return governor.ask(message)

        with pytest.raises(
            BudgetStop, match=r"spent, at most 0.65.* of it by calls that a kill broke off or in batches"
        ):
            await ask(tmp_path / "other", settings, [request(9)], Account("b", grant))
        account = Account("a", grant)
        account.meter = Meter(tmp_path / "meter")
        replies = await ask(tmp_path, settings, requests, account)
        await account.close()
        assert all(reply.ok for reply in replies)
        assert governor.spent.requests == 6
        # Were this worker dead now, the budget would stay as it is.
        assert read_meter(tmp_path / "meter").money == pytest.approx(spent(tmp_path).money)
        change = read_change(tmp_path / "meter")
        assert (change.requests, change.money) == (0, pytest.approx(governor.spent.money - owed.money))
        assert spent(tmp_path).money < owed.money / 2
        assert governor.spent.money == pytest.approx(spent(tmp_path).money)
        assert store.states() == []

    assert serve(go, seconds=0.4)["batches"]["requests"] == 6


KEY = "0" * 32
ANSWER = b'{"custom_id":"%s","response":{"status_code":200,"body":{}}}\n' % KEY.encode()


class Provider:
    """A Batch API as the tests below need it: a batch shows in the list `late` seconds after its creation."""

    url = "http://x/v1"

    def __init__(self, *, late: float = 0.0, status: str = "completed", lost: int = 0) -> None:
        self.late, self.status, self.lost = late, status, lost
        self.created: list[float] = []
        self.polls = 0
        self.unlisted: ApiError | None = None

    async def upload(self, path: Path) -> str:
        path.read_bytes()
        return "file"

    async def create(self, file_id: str, endpoint: str, window: str) -> Batch:
        self.created.append(time.monotonic())
        if len(self.created) <= self.lost:
            raise ApiError(0, b"", "reset after the provider took it")
        return Batch(id=f"b{len(self.created)}")

    async def find(self, file_id: str) -> Batch | None:
        if self.unlisted is not None:
            raise self.unlisted
        for number, at in enumerate(self.created, 1):
            if time.monotonic() - at > self.late:
                return Batch(id=f"b{number}")
        return None

    async def get(self, batch_id: str) -> Batch:
        self.polls += 1
        return Batch(id=batch_id, status=self.status, output_file_id="out")

    async def download(self, file_id: str, path: Path) -> None:
        path.write_bytes(ANSWER)

    async def close(self) -> None:
        pass


async def one_call(provider: Any, folder: Path, pace: Pace, **settings: Any) -> Response:
    """What becomes of one call through a batch of its own; a start that does not end fails the test."""
    plan = BatchSettings.model_validate({"wait": 0.0, "poll": 0.01, **settings})
    transport = BatchTransport("m", provider, folder, plan, pace=msgspec.structs.replace(pace, patience=0.2))
    try:
        async with asyncio.timeout(10):
            await transport.open()
            url = f"{provider.url}/chat/completions"
            return await transport.request("POST", url, b"{}", {"Idempotency-Key": KEY}, 9.0)
    finally:
        await transport.close()


def test_a_creation_without_an_answer_is_looked_for_until_it_would_show(tmp_path: Path) -> None:
    provider = Provider(late=0.3, lost=1)
    pace = Pace(first_poll=0.01, settle=1.0, hand_out=0.0)
    assert asyncio.run(one_call(provider, tmp_path, pace)).status == 200
    assert len(provider.created) == 1


def test_a_creation_that_may_have_worked_is_not_forgotten_where_the_list_is_refused(tmp_path: Path) -> None:
    provider = Provider(lost=1)
    provider.unlisted = ApiError(403, b"", "listing is not allowed")
    with pytest.raises(WireError, match="cannot find out whether the batch was started"):
        asyncio.run(one_call(provider, tmp_path, QUICK))
    assert [state.step for state in Store(tmp_path).states()] == ["uploaded"]
    assert len(provider.created) == 1


@pytest.mark.parametrize("status", ["error", "", "in_progress"])
def test_a_batch_that_does_not_end_is_named_after_its_window(tmp_path: Path, status: str) -> None:
    provider = Provider(status=status)
    state = State(id="x", url=provider.url, endpoint="/v1/chat/completions", keys=[KEY], batch_id="b7")
    store = Store(tmp_path)
    store.save(state, "created")
    state.since -= 24 * 3600 + 3600 - 0.1
    store.note(state).write_bytes(msgspec.json.encode(state))
    with pytest.raises(WireError, match=rf"b7 is '{status}' .* 25 hours .* remove .*x\.json") as stop:
        asyncio.run(one_call(provider, tmp_path, QUICK))
    assert stop.value.kind == "batch"
    assert provider.polls > 1
    assert store.note(state).exists()  # only people may give it up


def test_nothing_but_429_ends_in_a_stop(tmp_path: Path) -> None:
    pace = Pace(first_poll=0.01, settle=0.1, hand_out=0.0, jammed=0.3)
    full = Provider()
    full.unlisted = ApiError(429, b"", "slow down")
    Store(tmp_path).save(
        State(id="x", url=full.url, endpoint="/v1/chat/completions", keys=[KEY], file_id="f"), "uploaded"
    )
    with pytest.raises(ProviderStop, match="slow down"):  # at the start, before anything is asked
        asyncio.run(one_call(full, tmp_path, pace))


def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_api, "MAX_BODY", 1000)

    async def go() -> None:
        async with FakeServer({"models": {"m": {"dialect": "vllm"}}}) as server:
            api = batch_api.BatchApi(server.url, None)

            async def long(request: Any, path: str) -> Any:
                from aiohttp import web

                return web.Response(body=b"x" * 5000)

            server._batches.handle = long  # type: ignore[method-assign]
            try:
                with pytest.raises(ApiError, match="an answer of more than 1000 bytes"):
                    await api.get("b")
            finally:
                await api.close()

    asyncio.run(go())


@pytest.mark.parametrize(("window", "hours"), [("24h", 24), ("7d", 168)])
def test_windows_are_hours_or_days(window: str, hours: int) -> None:
    assert BatchSettings(window=window).seconds == hours * 3600
    with pytest.raises(ValueError, match="window"):
        BatchSettings(window="soon")


def test_a_model_that_leaves_its_batch_behind_stops_the_start(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        settings, requests = config(server), [request(n) for n in range(6)]
        asking = asyncio.create_task(ask(tmp_path, settings, requests))
        while not [state for state in states(tmp_path) if state.step == "created"]:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        moved = server.url.replace("127.0.0.1", "localhost")
        for other in (config(server, transport="online"), config(server, base_url=moved)):
            with pytest.raises(
                UserError, match=r"models.strong: batch batch_0001 of 6 requests at http.*\.json"
            ):
                await ask(tmp_path, other, requests)
        batches = Batches(tmp_path / "ledger" / "batches", pace=QUICK)
        both = {"strong": config(server, transport="online"), "other": settings}
        with pytest.raises(UserError, match="paid for again"):  # its calls would go online all the same
            await Clients(both, batches=batches).__aenter__()
        async with Clients({"renamed": settings}, batches=batches):
            pass
        assert all(reply.ok for reply in await ask(tmp_path, settings, requests))
        online = await ask(tmp_path, config(server, transport="online"), requests)
        assert all(reply.replayed for reply in online)

    assert serve(go, seconds=0.4)["batches"]["requests"] == 6


def test_a_fetched_batch_with_unread_answers_is_named_too(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        settings, requests = config(server), [request(n) for n in range(3)]
        batches = Batches(tmp_path / "ledger" / "batches", pace=QUICK)
        async with Clients({"strong": settings}, batches=batches) as clients:  # nothing reaches a ledger
            await asyncio.gather(*(clients.model("strong").chat(each) for each in requests))
        assert [state.step for state in states(tmp_path)] == ["done"]
        with pytest.raises(UserError, match="1 batches of an earlier start"):
            await ask(tmp_path, config(server, transport="online"), requests)
        store = Store(tmp_path / "ledger" / "batches")
        store.note(store.states()[0]).unlink()
        assert all(reply.ok for reply in await ask(tmp_path, config(server, transport="online"), requests))

    serve(go)


def test_a_batch_that_stays_is_read_once_and_asked_about_by_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()
    asked: list[str] = []

    def counted(path: Path, **fields: Any) -> dict[str, int]:
        reads[path.name] += 1
        return places(path, **fields)

    def paid(key: str) -> bool:
        asked.append(key)
        return False

    monkeypatch.setattr(batch, "places", counted)
    monkeypatch.setattr(batch_state, "places", counted)
    monkeypatch.setattr(batch, "SETTLED", 0.0)

    async def go(server: FakeServer) -> None:
        batches = Batches(tmp_path, paid, QUICK)
        async with Clients({"strong": config(server, batch={"requests": 10})}, batches=batches) as clients:
            for first in range(0, 60, 10):  # nothing is kept in a ledger
                await asyncio.gather(*(clients.model("strong").chat(request(first + n)) for n in range(10)))

    assert serve(go)["batches"]["batches"] == 6
    assert set(reads.values()) == {2}  # where the lines are, and which of them are answers
    assert len(asked) == 6 * 7 / 2 + 6  # one key for each batch at each end, and when it closes
    assert len(Store(tmp_path).states()) == 6


@pytest.mark.parametrize("where", ["write_input", "read_bytes", "unlink", "replace", "readline"])
def test_a_disk_that_fails_stops_the_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    target, name = {
        "write_input": (batch, "write_input"),  # before the upload
        "read_bytes": (Path, "read_bytes"),  # at the upload
        "unlink": (Path, "unlink"),  # of what was uploaded, after the creation
        "replace": (Path, "replace"),  # notes and results
        "readline": (batch_end, "result_at"),  # answers
    }[where]
    monkeypatch.setattr(target, name, fail)

    async def go() -> None:
        with pytest.raises(StorageStop, match=r"Input/output error; see to the disk"):
            await one_call(Provider(), tmp_path, QUICK)

    asyncio.run(go())


CHILD = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from types import SimpleNamespace
from llm.test_batch import ask, config, request
server = SimpleNamespace(url={url!r})
replies = asyncio.run(ask(Path({run!r}), config(server), [request(n) for n in range(20)]))
assert all(reply.ok for reply in replies), replies
"""


def child(run: Path, url: str) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parent.parent)
    code = CHILD.format(tests=tests, url=url, run=str(run))
    return subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), stdin=subprocess.DEVNULL)


@pytest.mark.long
@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("prepared", "upload_500"),
        ("uploaded", "create_hang"),  # created at the provider, which the client never learns
        ("uploaded", "create_500"),
        ("created", ""),
        ("created", "poll_500"),
    ],
)
def test_kill_between_upload_and_result_pays_nothing_twice(tmp_path: Path, step: str, fault: str) -> None:
    async def go(server: FakeServer) -> None:
        process = child(tmp_path, server.url)
        deadline = time.monotonic() + 20
        while not [state for state in states(tmp_path) if state.step == step]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)
        if fault == "create_hang":
            while not server.stats()["batches"].get("batches"):
                await asyncio.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        assert list(entries(tmp_path)) == []
        second = await asyncio.to_thread(child(tmp_path, server.url).wait)
        assert second == 0
        assert len(list(entries(tmp_path))) == 20
        assert states(tmp_path) == []

    stats = serve(go, seconds=1.0, faults=[fault] if fault else [])
    assert stats["batches"]["requests"] == 20
    assert stats["answered_again"] == {}


def test_results_that_were_fetched_but_not_yet_in_the_ledger_are_used(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        requests = [request(n) for n in range(6)]
        settings = config(server)
        batches = Batches(tmp_path / "ledger" / "batches", lambda _: False, QUICK)
        async with Clients(
            {"strong": settings}, batches=batches
        ) as clients:  # no journal: nothing is recorded
            first = await asyncio.gather(*(clients.model("strong").chat(each) for each in requests))
        assert [state.step for state in states(tmp_path)] == ["done"]
        replies = await ask(tmp_path, settings, requests[:4])
        assert [reply.text for reply in replies] == [reply.text for reply in first[:4]]
        assert [state.step for state in states(tmp_path)] == [
            "done"
        ]  # two answers are still not in the ledger
        assert all(reply.ok for reply in await ask(tmp_path, settings, requests))
        assert states(tmp_path) == []

    assert serve(go)["batches"]["requests"] == 6


def test_a_budget_smaller_than_the_batch_makes_smaller_batches(tmp_path: Path) -> None:
    async def go(server: FakeServer) -> None:
        governor = Governor(Limits(requests=7))

        async def grant(message: Any) -> Any:
            return governor.ask(message)

        requests = [request(n) for n in range(7)]
        account = Account("a", grant)
        assert all(reply.ok for reply in await ask(tmp_path, config(server), requests, account))
        assert governor.spent.requests <= 7

    assert serve(go)["batches"]["requests"] == 7


def test_unknown_discount_is_an_unknown_price() -> None:
    values = {"base_url": "https://api.example.org/v1", "model": "m", "transport": "batch"}
    plain = ModelConfig.model_validate(values | {"prices": {"input": 1, "output": 2}})
    assert prices_of("m", plain) is None
    with pytest.raises(UserError, match=r"give models.m.prices.batch"):
        check_prices({"m": plain}, 5.0)
    peak = {"input": 4, "output": 6, "hours": [[1, 2]]}
    half = ModelConfig.model_validate(
        values | {"prices": {"input": 1, "output": 2, "batch": 0.5, "peak": peak}}
    )
    found = prices_of("m", half)
    assert found is not None
    assert (found.input, found.output, found.cached) == (0.5, 1.0, None)
    assert found.peak is not None
    assert (found.peak.input, found.peak.output) == (2.0, 3.0)


@pytest.mark.parametrize(
    "fields", [{"base_url": "embedded"}, {"base_url": ["http://a/v1", "http://b/v1"], "model": "m"}]
)
def test_batches_need_one_address(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give a single base_url"):
        ModelConfig.model_validate({"transport": "batch", **fields})
