"""How many calls may be in flight to one (address, model): a limit that feels its way, and a circuit breaker.

The limit doubles with each round of answers until the first sign of load, then grows by its square root a round,
as long as answers come about as fast as answers of their length used to come. It is lowered by 30 % on 429, 503,
529 and time-outs, and by 10 % when answers take twice as long as they should: servers such as vLLM queue without
bound and never say no. One cut per burst, since all calls sent before the last cut learned of the same jam.
`Retry-After` holds everything back. Optional caps on requests and tokens a minute. When nothing but failures comes
back, the breaker opens and lets one call probe from time to time. Knows nothing of HTTP: callers say how a call
ended. The clock can be replaced.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum

import msgspec

from boostqa.llm.pace import SETTLED, Baseline, Bucket

_IDLE = 60.0
"""Seconds without any sign from an endpoint after which it is not known any more that it was jammed."""
_PROBES = 5
"""Failed probes in a row without which an endpoint that times out is not given up."""
NAP = 1.0
"""Most seconds that a waiting call sleeps before it looks again whether it still makes sense to wait."""


class Ended(StrEnum):
    """How a call ended, as far as the throttle cares."""

    OK = "ok"
    """An answer, also one that says the request is wrong: the server works."""
    OVERLOAD = "overload"
    """429: asked to slow down."""
    STRUGGLE = "struggle"
    """503, 529, time-out: too slow or down, nobody knows which; counts as both."""
    FAILURE = "failure"
    """Reset, refused, DNS, other 5xx: not a sign of load."""
    ABANDONED = "abandoned"
    """Cancelled by us; says nothing about the server."""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of the control loop."""

    start: int = 16
    """First limit, where the cap allows it."""
    slow: float = 1.5
    """Latency over baseline above which the limit no longer rises."""
    queued: float = 2.0
    """The same above which the limit is lowered."""
    cut: float = 0.7
    ease: float = 0.9
    """Factor on the limit when answers are queued."""
    pause: float = 1.0
    """Least seconds between two cuts."""
    relearn: float = 300.0
    """Seconds after which the baseline is learnt anew under a quarter of the load if answers are slower than it; by the
    clock, so that all workers of a machine do it at the same time."""
    trip: int = 8
    """Failures in a row that open the breaker."""
    cooldown: float = 1.0
    """Seconds the breaker stays open at first; doubles with each failed probe."""
    max_cooldown: float = 30.0
    max_retry_after: float = 300.0
    give_up_after: float = 120.0
    """Seconds after which an open breaker means that the endpoint is down for good."""
    give_up_jammed: float = 900.0
    """Seconds of nothing but 429 after which the same is assumed."""

    @classmethod
    def shared(cls, workers: int, *, give_up_after: float) -> Tuning:
        """The constants for one of several workers, which together start as carefully as a single one."""
        return cls(start=max(1, math.ceil(cls().start / workers)), give_up_after=give_up_after)


class DownError(Exception):
    """The endpoint seems to be down for good; the message says since when."""


class ClosedError(Exception):
    """The endpoint was given up with `Throttle.close`; the message is the one given there."""


class ShutError(Exception):
    """The breaker is open, and the caller did not want to wait for it."""


class Permit(msgspec.Struct):
    """One call in flight; hand it back with `Throttle.done`."""

    sent: float
    tokens: float
    probe: bool = False
    full: bool = False
    """Whether the limit was (nearly) used up, so that its latency says something about it."""


class Throttle:
    """See the module docstring. One object per address and model, used within one event loop."""

    def __init__(
        self,
        cap: int,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        tuning: Tuning | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.cap = cap
        self.tuning = tuning or Tuning()
        self.limit = float(min(cap, self.tuning.start))
        self.in_flight = 0
        self.cuts = 0
        """How often the limit was lowered."""
        self.throttled = 0
        """Requests that were answered 429."""
        self._clock = clock
        self._sleep = sleep
        self._requests = Bucket(rpm, clock) if rpm else None
        self._tokens = Bucket(tpm, clock) if tpm else None
        self._queue: deque[asyncio.Future[None]] = deque()
        self._baseline = Baseline()
        self._strain = 1.0
        """Mean of latency over baseline of late."""
        self._turn = 0
        self._dip = (0, 0.0)
        """Answers to learn from under little load, and the limit to go back to."""
        self._starting = True
        """Until the first sign of load."""
        self._sleeping = 0
        self._last_cut = float("-inf")
        self._peak = 0.0
        """The limit before the cuts of late."""
        self._hold_until = float("-inf")
        self._failures = 0
        self._opened_at: float | None = None
        self._jammed_at: float | None = None
        self._jams = 0
        """429s in a row that found the limit at 1."""
        self._failed_at = float("-inf")
        self._slow = False
        """Whether the latest failure took longer than the patience with failures."""
        self._probes = 0
        """Failed probes in a row."""
        self._open_until: float | None = None
        self._cooldown = self.tuning.cooldown
        self._probing = False
        self._closed = ""

    @property
    def open(self) -> bool:
        """Whether the breaker is open: the endpoint seems to be down."""
        return self._open_until is not None

    @property
    def load(self) -> float:
        """Calls in flight and waiting over the limit; for choosing among replicas."""
        return (self.in_flight + len(self._queue)) / max(1.0, self.limit)

    @property
    def _full(self) -> bool:
        return self.in_flight >= 0.8 * int(self.limit)

    def down_for(self) -> float:
        """Seconds since the breaker opened without an answer since then; 0 while it is closed."""
        return 0.0 if self._opened_at is None else self._clock() - self._opened_at

    @property
    def lost(self) -> str:
        """Why waiting is pointless: nothing but failures for too long; empty while it is not."""
        if self._opened_at is None or self._failed_at - self._opened_at <= self.tuning.give_up_after:
            return ""
        # A call or two that time out by their own fault take that long, too.
        if self._slow and self._probes < _PROBES:
            return ""
        why = " but that there is too much to do" if self._jammed_at is not None else ""
        return f"no answer for {self.down_for():.0f} s{why}"

    @property
    def shut(self) -> bool:
        """Whether a call would have to wait: held back, or the breaker is open and no probe is due."""
        now = self._clock()
        held = self._hold_until > now
        return held or (self._open_until is not None and (self._probing or now < self._open_until))

    async def acquire(self, tokens: float, *, wait_shut: bool = True) -> Permit:
        """Wait for a place in flight.

        Args:
            tokens: expected size of the call, for the cap on tokens a minute.
            wait_shut: False to be told when it is `shut` instead of waiting for it.

        Raises:
            DownError: with `wait_shut`, when the endpoint has not answered for so long that waiting is pointless.
            ShutError: with `wait_shut=False`, when it is `shut`.
            ClosedError: after `close`, which those who wait already notice within `NAP` seconds.
        """
        await self._place()
        try:
            while (wait := self._delay()) > 0 or self._closed or (wait_shut and self.lost):
                if self._closed:
                    raise ClosedError(self._closed)
                if wait_shut and self.lost:
                    raise DownError(self.lost)
                if not wait_shut and self.shut:
                    raise ShutError
                self._sleeping += 1
                try:
                    await self._sleep(min(wait, NAP))
                finally:
                    self._sleeping -= 1
        except BaseException:
            self.in_flight -= 1
            self._wake()
            raise
        probe = self.open
        self._probing = self._probing or probe
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return Permit(sent=self._clock(), tokens=tokens, probe=probe, full=self._full)

    async def _place(self) -> None:
        """Wait in line until one more call may be in flight, and count it."""
        if self._closed or (not self._queue and self.in_flight < int(self.limit)):
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was handed over already
                self.in_flight -= 1
                self._wake()
            else:
                with suppress(ValueError):  # `_wake` may have passed over it already
                    self._queue.remove(turn)
            raise

    def close(self, why: str) -> None:
        """Let nobody in any more, neither those who wait nor those who come; calls in flight may end."""
        self._closed = self._closed or why
        self._wake()

    def _wake(self) -> None:
        # Once closed, all who wait may come and be told.
        while self._queue and (self._closed or self.in_flight < int(self.limit)):
            turn = self._queue.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def _delay(self) -> float:
        wait = self._hold_until - self._clock()
        if self._open_until is not None:
            wait = max(wait, self._open_until - self._clock())
            if self._probing:  # half open: one call at a time finds out
                wait = max(wait, 0.05)
        # Those who wait for a cap wake up one after the other, not all at each of its units.
        if self._requests is not None:
            wait = max(wait, self._requests.wait(self._sleeping))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(0))
        return wait

    def done(
        self,
        permit: Permit,
        ended: Ended,
        *,
        completion: int = 0,
        used: float | None = None,
        retry_after: float = 0.0,
    ) -> None:
        """Hand a permit back and learn from how the call ended.

        Args:
            permit: from `acquire`.
            ended: how it ended.
            completion: tokens generated, which latency is compared by.
            used: tokens really used, where known.
            retry_after: seconds the server asked to wait.
        """
        permit.full = permit.full or self._full
        self.in_flight -= 1
        if self._tokens is not None and used is not None:
            self._tokens.give(permit.tokens - used)
        if permit.probe:
            self._probing = False
        if ended is Ended.OK:
            self._succeed(permit, completion)
        elif ended is not Ended.ABANDONED:
            if ended is not Ended.FAILURE:
                self._slow_down(permit, retry_after)
            if ended is Ended.OVERLOAD:
                self.throttled += 1
                self._jam()
            if ended is not Ended.OVERLOAD or permit.probe:
                self._fail(permit)
            self._failed_at = self._clock()
            self._slow = self._failed_at - permit.sent > self.tuning.give_up_after
        self._wake()

    def _succeed(self, permit: Permit, completion: int) -> None:
        now = self._clock()
        self._failures = self._jams = self._probes = 0
        self._open_until = self._opened_at = self._jammed_at = None
        self._cooldown = self.tuning.cooldown
        if not permit.full or permit.sent <= self._last_cut:
            return  # says nothing of the limit as it is now
        ratio = self._baseline.ratio(now - permit.sent, completion)
        self._strain += (ratio - self._strain) / SETTLED
        if self._relearns(now):
            return
        if self._strain <= self.tuning.slow:
            # After a series of cuts that has ended, as at first: back to where one cut would have led.
            quiet = now - self._last_cut > 2 * self.tuning.pause
            fast = self._starting or (quiet and self.limit < self.tuning.cut * self._peak)
            self.limit = min(float(self.cap), self.limit + (1.0 if fast else 1 / math.sqrt(self.limit)))
            return
        self._starting = False
        if self._strain > self.tuning.queued and now - self._last_cut >= self.tuning.pause:
            self.limit = self._peak = max(1.0, self.limit * self.tuning.ease)
            self._last_cut = now
            self._strain = self.tuning.slow

    def _relearns(self, now: float) -> bool:
        """Whether the limit is lowered for a while, to see how fast answers come without a queue."""
        left, limit = self._dip
        if left:
            self._dip = left - 1, limit
            if left == 1:
                self.limit = max(self.limit, limit)
            return True
        turn = int(now / self.tuning.relearn)
        if turn == self._turn:
            return False
        self._turn = turn
        if self._strain <= 1.2:
            return False
        self._dip = 2 * SETTLED, self.limit
        self.limit = max(1.0, self.limit / 4)
        self._baseline.forget()
        self._strain = 1.0
        self._last_cut = now
        return True

    def _slow_down(self, permit: Permit, retry_after: float) -> None:
        now = self._clock()
        if retry_after > 0:
            self._hold_until = max(self._hold_until, now + min(retry_after, self.tuning.max_retry_after))
        if permit.sent > self._last_cut and now - self._last_cut >= self.tuning.pause:
            past = math.exp(-(now - self._last_cut) / self.tuning.relearn)
            self._peak = max(self.limit, self._peak * past)
            self.limit = max(1.0, self.limit * self.tuning.cut)
            self._starting = False
            self._last_cut = now
            self.cuts += 1

    def _jam(self) -> None:
        """Notes a 429: for long nothing else, and the endpoint counts as down; at a limit of 1 it gets a rest."""
        now = self._clock()
        since = max(self._failed_at, self._hold_until)
        if self._jammed_at is None or now - since > _IDLE:
            self._jammed_at = now
        elif self._open_until is None and now - self._jammed_at > self.tuning.give_up_jammed:
            self._open_until, self._opened_at = now + self._cooldown, self._jammed_at
        if self.limit <= 1:
            self._jams += 1
            rest = min(self.tuning.max_cooldown, 0.5 * 2.0 ** min(self._jams, 10))
            self._hold_until = max(self._hold_until, now + rest)

    def _fail(self, permit: Permit) -> None:
        self._failures += 1
        now = self._clock()
        if self._open_until is None:
            if self._failures >= self.tuning.trip:
                self._open_until = now + self._cooldown
                self._opened_at = now
        elif permit.probe:
            self._probes += 1
            self._cooldown = min(self.tuning.max_cooldown, self._cooldown * 2)
            self._open_until = now + self._cooldown
