"""The throttle under a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import pytest

from boostqa.llm.pace import Baseline
from boostqa.llm.throttle import ClosedError, DownError, Ended, Permit, Throttle, Tuning


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def with_throttle(
    test: Callable[[Throttle, Clock], Awaitable[None]], cap: int = 64, **settings: object
) -> None:
    clock = Clock()

    async def go() -> None:
        await test(Throttle(cap, clock=clock, sleep=clock.sleep, **settings), clock)  # type: ignore[arg-type]

    asyncio.run(go())


async def fill(throttle: Throttle) -> list[Permit]:
    permits = []
    while throttle.in_flight < int(throttle.limit):
        permits.append(await throttle.acquire(100))
    return permits


async def round_of(throttle: Throttle, clock: Clock, seconds: float, ended: Ended = Ended.OK) -> None:
    permits = await fill(throttle)
    clock.now += seconds
    for permit in permits:
        throttle.done(permit, ended, completion=100)


async def stream_of(throttle: Throttle, clock: Clock, answers: int, seconds: float) -> None:
    """One answer after the other, each of which took `seconds`, with the limit always used up."""
    flying = deque(await fill(throttle))
    for _ in range(answers):
        clock.now = max(clock.now, flying[0].sent + seconds)
        throttle.done(flying.popleft(), Ended.OK, completion=100)
        while throttle.in_flight < int(throttle.limit):
            flying.append(await throttle.acquire(100))
    for permit in flying:
        throttle.done(permit, Ended.ABANDONED)


def test_limit_doubles_at_first_up_to_the_cap() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        assert throttle.limit == 16
        await stream_of(throttle, clock, 16, 1.0)
        assert throttle.limit == 32
        await stream_of(throttle, clock, 500, 1.0)
        assert throttle.limit == 200

    with_throttle(go, cap=200)


def test_after_the_first_cut_the_limit_rises_by_its_root_a_round() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        await stream_of(throttle, clock, 84, 1.0)
        assert throttle.limit == pytest.approx(100)
        await round_of(throttle, clock, 1.0, Ended.OVERLOAD)
        assert throttle.limit == pytest.approx(70)
        clock.now += 1
        await stream_of(throttle, clock, 70, 1.0)
        assert 77 < throttle.limit < 79

    with_throttle(go, cap=1000)


def test_limit_stays_when_answers_get_slower_and_falls_when_they_queue() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        await stream_of(throttle, clock, 100, 10.0)
        await stream_of(throttle, clock, 1000, 16.0)
        steady = throttle.limit
        await stream_of(throttle, clock, 1000, 16.0)
        assert throttle.limit == steady
        await stream_of(throttle, clock, 1000, 25.0)
        assert throttle.limit < 0.95 * steady
        assert throttle.cuts == 0  # nobody said no

    with_throttle(go, cap=1000, tuning=Tuning(relearn=1e9))


def test_longer_answers_count_against_their_own_kind_only() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        await round_of(throttle, clock, 1.0)
        before = throttle.limit
        permits = await fill(throttle)
        clock.now += 20
        for permit in permits:
            throttle.done(permit, Ended.OK, completion=5000)  # slow because long, not because of load
        assert throttle.limit > before

    with_throttle(go)


def test_latency_is_compared_with_its_lowest_mean_once_there_are_enough_answers() -> None:
    baseline = Baseline()
    assert all(baseline.ratio(10.0, 50) <= 1.0 for _ in range(20))
    assert 1.0 < baseline.ratio(20.0, 60) < 1.1  # one slow answer says little
    assert [baseline.ratio(20.0, 60) for _ in range(60)][-1] > 1.9
    assert baseline.ratio(90.0, 100) == 1.0  # the first of its length
    baseline.forget()
    assert all(baseline.ratio(20.0, 50) <= 1.0 for _ in range(20))


def test_a_few_milliseconds_are_no_queue_and_long_answers_are_compared_by_the_token() -> None:
    baseline = Baseline()
    assert all(baseline.ratio(0.05, 50) <= 1.0 for _ in range(20))
    assert [baseline.ratio(0.2, 50) for _ in range(60)][-1] < 1.0
    assert all(baseline.ratio(0.01 * tokens, tokens) <= 1.0 for tokens in range(1000, 9000, 100))


def test_baseline_is_learnt_anew_under_little_load() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        clock.now = 1000.0
        await stream_of(throttle, clock, 100, 1.0)
        await stream_of(throttle, clock, 300, 1.6)  # from now on the provider is slower
        held = throttle.limit
        clock.now = 1201.0
        await stream_of(throttle, clock, int(held) + 10, 1.6)
        assert throttle.limit < 0.6 * held
        await stream_of(throttle, clock, 3 * int(held), 1.6)
        assert throttle.limit > held  # and rises again, since nothing is slower than it was then

    with_throttle(go, cap=1000)


def test_idle_endpoint_does_not_raise_the_limit() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        for _ in range(50):
            permit = await throttle.acquire(1)
            clock.now += 1
            throttle.done(permit, Ended.OK)
        assert throttle.limit == 16

    with_throttle(go)


def test_a_burst_of_429_cuts_once() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        await round_of(throttle, clock, 1.0, Ended.OVERLOAD)
        assert throttle.limit == pytest.approx(16 * 0.7)
        assert throttle.cuts == 1
        clock.now += 5
        await round_of(throttle, clock, 1.0, Ended.STRUGGLE)  # sent after the cut: a new sign
        assert throttle.cuts == 2

    with_throttle(go)


def test_calls_sent_before_the_cut_do_not_cut_again() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        permits = await fill(throttle)
        for permit in permits:
            clock.now += 2  # apart in time, but all sent before the first cut
            throttle.done(permit, Ended.OVERLOAD)
        assert throttle.cuts == 1

    with_throttle(go)


def test_retry_after_holds_everything_back() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        permit = await throttle.acquire(1)
        throttle.done(permit, Ended.OVERLOAD, retry_after=30)
        start = clock.now
        permit = await throttle.acquire(1)
        assert clock.now - start == pytest.approx(30)
        assert permit.sent == clock.now

    with_throttle(go)


def test_breaker_opens_and_lets_one_probe_through() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        permits = await fill(throttle)
        for permit in permits[:8]:
            throttle.done(permit, Ended.FAILURE)
        assert throttle.open
        start = clock.now
        probe = await throttle.acquire(1)
        assert probe.probe
        assert clock.now - start >= 1
        other = asyncio.create_task(throttle.acquire(1))
        await asyncio.sleep(0)
        assert not other.done()
        throttle.done(probe, Ended.OK)
        assert not throttle.open
        assert not (await other).probe

    with_throttle(go)


def test_breaker_that_stays_open_means_down() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        start = clock.now
        with pytest.raises(DownError, match=r"no answer for 1[2-5]\d s"):
            while True:
                throttle.done(await throttle.acquire(1), Ended.FAILURE)
        assert 120 < clock.now - start < 160
        assert throttle.in_flight == 0

    with_throttle(go)


def test_closed_lets_nobody_in_and_tells_those_who_wait() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        permits = await fill(throttle)
        waiting = [asyncio.create_task(throttle.acquire(1)) for _ in range(50)]
        await asyncio.sleep(0)
        throttle.close("no more")
        ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
        assert all(isinstance(each, ClosedError) and str(each) == "no more" for each in ended)
        with pytest.raises(ClosedError, match="no more"):
            await throttle.acquire(1)
        for permit in permits:
            throttle.done(permit, Ended.OK)
        assert throttle.in_flight == 0

    with_throttle(go)


def test_closing_wakes_those_who_sleep() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        throttle.done(await throttle.acquire(1), Ended.OVERLOAD, retry_after=200)
        start = clock.now
        sleeper = asyncio.create_task(throttle.acquire(1))
        await asyncio.sleep(0)
        throttle.close("no more")
        with pytest.raises(ClosedError):
            await sleeper
        assert clock.now - start <= 2

    with_throttle(go)


@pytest.mark.parametrize("retry_after", [0.0, 20.0])
def test_nothing_but_429_for_long_means_down(retry_after: float) -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        with pytest.raises(DownError, match="no answer for 9"):
            while True:
                permit = await throttle.acquire(1)
                clock.now += 1
                throttle.done(permit, Ended.OVERLOAD, retry_after=retry_after)
        assert clock.now < 1000 + 1100

    with_throttle(go, tuning=Tuning(give_up_after=1.0))


def test_nothing_but_429_without_a_hint_means_down_for_a_lone_caller_too() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        with pytest.raises(DownError):
            while True:
                permit = await throttle.acquire(1)
                await clock.sleep(15)
                throttle.done(permit, Ended.OVERLOAD)
        assert clock.now < 1000 + 1100
        assert throttle.in_flight == 0

    with_throttle(go)


def test_after_a_long_rest_an_endpoint_gets_another_chance() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        for permit in await fill(throttle):
            throttle.done(permit, Ended.FAILURE)
        assert throttle.open
        clock.now += 10_000
        throttle.done(await throttle.acquire(1), Ended.OK)
        assert not throttle.open

    with_throttle(go)


@pytest.mark.parametrize(
    ("settings", "each", "seconds"), [({"rpm": 600}, 1, 20), ({"tpm": 60_000}, 500, 100)]
)
def test_caps_per_minute(settings: dict[str, float], each: float, seconds: float) -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        start = clock.now
        for _ in range(200):
            throttle.done(await throttle.acquire(each), Ended.OK)
        assert 0.85 * seconds <= clock.now - start <= 1.02 * seconds

    with_throttle(go, **settings)


def test_tokens_reserved_too_much_are_given_back() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        start = clock.now
        for _ in range(100):
            throttle.done(await throttle.acquire(1000), Ended.OK, used=100)
        assert clock.now - start < 12  # 10,000 tokens at 1,000 a second

    with_throttle(go, tpm=60_000)


def test_cancelled_waiter_leaves_no_hole() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        first = await throttle.acquire(1)
        waiting = [asyncio.create_task(throttle.acquire(1)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        throttle.done(first, Ended.OK)
        waiting[1].cancel()  # its place was handed over in this very moment
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        permit = await asyncio.wait_for(waiting[2], 1)
        throttle.done(permit, Ended.OK)
        assert throttle.in_flight == 0

    with_throttle(go, cap=1)


def test_waiter_that_is_cancelled_and_passed_over_hears_of_its_cancelling_alone() -> None:
    async def go(throttle: Throttle, clock: Clock) -> None:
        first = await throttle.acquire(1)
        waiting = [asyncio.create_task(throttle.acquire(1)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        throttle.done(first, Ended.OK)  # goes through the queue before those that were cancelled can leave it
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        assert throttle.in_flight == 0

    with_throttle(go, cap=1)
