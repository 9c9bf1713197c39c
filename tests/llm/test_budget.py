"""Budgets are hard, shared by workers, and say which key of the recipe to raise."""

from __future__ import annotations

import asyncio
import random

import pytest

from boostqa.errors import BudgetStop, UserError
from boostqa.llm.budget import Account, Amount, Ask, Governor, Grant, Limits
from boostqa.llm.config import ModelConfig, Prices
from boostqa.llm.model import Usage
from boostqa.llm.prices import check_prices, cost, price_table, prices_of, upper_cost


def connect(governor: Governor, log: list[Ask] | None = None):  # type: ignore[no-untyped-def]
    async def ask(message: Ask) -> Grant:
        if log is not None:
            log.append(message)
        await asyncio.sleep(0)
        return governor.ask(message)

    return ask


def test_many_workers_never_pass_the_limit_and_nearly_use_it() -> None:
    async def go() -> None:
        governor = Governor(Limits(tokens=100_000))
        accounts = [Account(f"w{i}", connect(governor)) for i in range(4)]
        stops = []

        async def calls(account: Account, seed: int) -> None:
            source = random.Random(seed)
            while True:
                try:
                    await account.reserve(Amount(tokens=200))
                except BudgetStop as stop:
                    stops.append(stop)
                    return
                await asyncio.sleep(0)
                account.settle(Amount(tokens=200), Amount(tokens=source.uniform(20, 200)))

        await asyncio.gather(
            *(calls(account, 10 * i + j) for i, account in enumerate(accounts) for j in range(8))
        )
        for account in accounts:
            await account.close()
        assert governor.spent.tokens <= 100_000
        assert governor.spent.tokens > 97_000
        assert governor.spent.tokens == pytest.approx(sum(account.used.tokens for account in accounts))
        assert governor.left().tokens == pytest.approx(100_000 - governor.spent.tokens)
        assert "budget.tokens = 100,000 is used up" in str(stops[0])

    asyncio.run(go())


def test_leases_are_slices_not_one_message_per_request() -> None:
    async def go() -> None:
        log: list[Ask] = []
        account = Account("w", connect(Governor(Limits(requests=10_000)), log))
        for _ in range(5_000):
            await account.reserve(Amount(requests=1))
            account.settle(Amount(requests=1), Amount(requests=1))
        assert len(log) < 40

    asyncio.run(go())


@pytest.mark.parametrize(
    ("limits", "need", "text"),
    [
        (
            Limits(money=2.5, currency="USD"),
            Amount(money=1.0),
            r"budget\.money = 2\.5 USD is used up: 2 USD spent",
        ),
        (Limits(tokens=2500), Amount(tokens=1000), r"budget\.tokens = 2,500 is used up: 2,000 spent"),
        (Limits(requests=2), Amount(requests=1), r"budget\.requests = 2 is used up: 2 spent"),
    ],
)
def test_message_names_limit_spent_and_remedy(limits: Limits, need: Amount, text: str) -> None:
    async def go() -> None:
        account = Account("w", connect(Governor(limits)))
        for _ in range(2):
            await account.reserve(need)
            account.settle(need, need)
        with pytest.raises(BudgetStop, match=text + r".*; raise budget\.\w+ in the recipe"):
            await account.reserve(need)

    asyncio.run(go())


def test_what_earlier_starts_spent_counts() -> None:
    async def go() -> None:
        governor = Governor(Limits(requests=10), spent=Amount(requests=9))
        account = Account("w", connect(governor))
        await account.reserve(Amount(requests=1))
        account.settle(Amount(requests=1), Amount(requests=1))
        with pytest.raises(BudgetStop, match=r"budget\.requests = 10 is used up: 10 spent"):
            await account.reserve(Amount(requests=1))

    asyncio.run(go())


def test_call_in_flight_may_free_what_another_needs() -> None:
    async def go() -> None:
        account = Account("w", connect(Governor(Limits(tokens=1000))))
        await account.reserve(Amount(tokens=900))
        second = asyncio.create_task(account.reserve(Amount(tokens=900)))
        await asyncio.sleep(0.01)
        assert not second.done()
        account.settle(Amount(tokens=900), Amount(tokens=50))
        await asyncio.wait_for(second, 1)
        with pytest.raises(BudgetStop):  # a repeat belongs to a call in flight and must not wait for itself
            await account.reserve(Amount(tokens=900), repeat=True)

    asyncio.run(go())


def test_repeats_of_calls_in_flight_are_not_held_up_by_a_call_that_waits() -> None:
    async def go() -> None:
        account = Account("w", connect(Governor(Limits(requests=2))))
        one = Amount(requests=1)
        ends: list[str] = []

        async def call() -> None:
            reserved = one
            await account.reserve(one)
            try:
                await asyncio.sleep(0.01)  # answered 500, so it wants to send a second request
                await account.reserve(one, repeat=True)
                reserved += one
            except BudgetStop:
                ends.append("stop")
            finally:
                account.settle(reserved, one)

        async def third() -> None:
            try:
                await account.reserve(one)
            except BudgetStop:
                ends.append("third")

        await asyncio.wait_for(asyncio.gather(call(), call(), third()), 2)
        assert ends == ["stop", "stop", "third"]

    asyncio.run(go())


def test_what_is_settled_while_the_governor_is_asked_is_not_overlooked() -> None:
    async def go() -> None:
        governor = Governor(Limits(tokens=1000))
        slow = asyncio.Event()

        async def ask(message: Ask) -> Grant:
            grant = governor.ask(message)
            if grant.stop:
                await slow.wait()
            return grant

        account = Account("w", ask)
        await account.reserve(Amount(tokens=900))
        second = asyncio.create_task(account.reserve(Amount(tokens=900)))
        await asyncio.sleep(0.01)
        account.settle(Amount(tokens=900), Amount(tokens=50))
        slow.set()  # the answer, "no", is older than what is free by now; nothing is in flight any more
        await asyncio.wait_for(second, 1)
        assert (second.done(), account.used.tokens) == (True, 50)

    asyncio.run(go())


def test_hours_are_summed_over_starts() -> None:
    now = [0.0]

    async def go() -> None:
        governor = Governor(Limits(hours=2.0), hours=1.5, clock=lambda: now[0])
        account = Account("w", connect(governor), clock=lambda: now[0])
        await account.reserve(Amount(requests=1))
        account.settle(Amount(requests=1), Amount(requests=1))
        now[0] = 1801.0
        with pytest.raises(BudgetStop, match=r"budget\.hours = 2 is used up: 2\.\d+ spent"):
            await account.reserve(Amount(requests=1))

    asyncio.run(go())


def test_lease_of_a_dead_worker_is_counted_as_spent_unless_known() -> None:
    governor = Governor(Limits(tokens=1600))
    granted = governor.ask(Ask(account="a", need=Amount(tokens=100))).amount.tokens
    assert granted >= 100
    governor.ask(Ask(account="b", need=Amount(tokens=100)))
    governor.lost("a")
    assert governor.spent.tokens == granted
    governor.lost("b", Amount(tokens=7))
    assert governor.spent.tokens == granted + 7


def test_without_governor_nothing_is_limited_but_counted() -> None:
    async def go() -> None:
        account = Account("w")
        await account.reserve(Amount(tokens=1e12))
        account.settle(Amount(tokens=1e12), Amount(tokens=5, requests=1))
        await account.close()
        assert account.used == Amount(tokens=5, requests=1)

    asyncio.run(go())


OFF_PEAK, PEAK, SUNDAY = (
    1_795_392_000.0,
    1_795_399_200.0,
    1_795_312_800.0,
)  # Monday 0:00 and 2:00, Sunday 2:00


def model(**fields: object) -> ModelConfig:
    return ModelConfig.model_validate({"base_url": "http://127.0.0.1:1/v1", "model": "m", **fields})


def test_price_table_is_data_and_belongs_to_its_host() -> None:
    paid = model(base_url="https://api.deepseek.com/v1", model="deepseek-v4-pro")
    own = model(base_url="http://10.0.0.5:8000/v1", model="deepseek-v4-pro")
    found = prices_of("teacher", paid)
    assert found is not None
    assert (found.currency, found.input, found.output) == ("USD", 0.66, 1.98)
    assert prices_of("teacher", own) is None
    assert prices_of("teacher", model(prices="deepseek-v4-pro")) == found
    with pytest.raises(UserError, match=r"models\.teacher\.prices: no entry 'gpt' .*deepseek-flash"):
        prices_of("teacher", model(prices="gpt"))
    assert {"deepseek-flash", "deepseek-v4-pro"} <= set(price_table())


def test_cost_with_cache_and_peak_hours() -> None:
    prices = prices_of("t", model(prices="deepseek-flash"))
    usage = Usage(prompt=1_000_000, cached=400_000, completion=100_000)
    assert cost(prices, usage, OFF_PEAK) == pytest.approx(0.6 * 0.15 + 0.4 * 0.003 + 0.1 * 0.60)
    assert cost(prices, usage, PEAK) == pytest.approx(2 * (0.6 * 0.15 + 0.4 * 0.003 + 0.1 * 0.60))
    assert cost(prices, usage, SUNDAY) == cost(prices, usage, OFF_PEAK)
    assert upper_cost(prices, 1e6, 1e6) == pytest.approx(0.30 + 1.20)


def test_unknown_is_unknown_and_free_is_free() -> None:
    assert cost(None, Usage(prompt=1, completion=1), 0.0) is None
    assert cost(Prices(input=1, output=1), Usage(prompt=1), 0.0) is None
    assert cost(Prices(input=0, output=0), Usage(), 0.0) == 0.0
    assert cost(prices_of("e", ModelConfig(base_url="embedded")), Usage(), 0.0) == 0.0


def test_money_budget_needs_prices_in_one_currency() -> None:
    dollars = model(prices={"input": 1, "output": 2})
    yuan = model(prices={"input": 1, "output": 2, "currency": "CNY"})
    assert check_prices({"a": dollars, "b": ModelConfig(base_url="embedded")}, 5.0) == "USD"
    assert check_prices({"a": model()}, None) == ""
    with pytest.raises(
        UserError, match=r"budget\.money = 5\.0: models\.b \(m\) has no known price.*budget\.tokens"
    ):
        check_prices({"a": dollars, "b": model()}, 5.0)
    with pytest.raises(UserError, match="in CNY and USD; state them all in one currency"):
        check_prices({"a": dollars, "b": yuan}, 5.0)
