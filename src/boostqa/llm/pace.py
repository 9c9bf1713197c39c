"""What the throttle measures with: latency against its baseline, and caps a minute.

Knows nothing of calls, endpoints or limits of concurrency. The clock is given.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

SETTLED = 8
"""Answers of one length after which their mean latency is worth comparing."""
_LONG = 128
"""Tokens from which on the time before the first one matters little."""
_JITTER_S = 0.2
"""Delays that may come from the network or from our own process, and are no queue worth heeding."""
PACE = 0.99
"""Share of a cap on requests or tokens a minute that is used: the provider counts with a clock of its own."""
BURST_S = 0.1
"""Seconds' worth of such a cap that may go out at once."""


class Baseline:
    """How long answers take, against how long they took when load was lowest.

    Long answers are compared by the time per token, shorter ones by the whole time among those of about their length.
    """

    class _Kind(msgspec.Struct):
        count: int = 0
        mean: float = 0.0
        least: float = float("inf")

    def __init__(self) -> None:
        self._kinds: dict[int, Baseline._Kind] = {}

    def ratio(self, latency: float, completion: int) -> float:
        """Running mean of the latency of answers of this kind over its lowest value; takes note of it."""
        unit = completion if completion >= _LONG else 1
        kind = self._kinds.setdefault(min(completion, _LONG).bit_length(), Baseline._Kind())
        kind.count += 1
        kind.mean += (latency / unit - kind.mean) / min(kind.count, 2 * SETTLED)
        if kind.count < SETTLED:
            return 1.0
        kind.least = min(kind.least, kind.mean)
        return kind.mean * unit / (kind.least * unit + _JITTER_S)

    def forget(self) -> None:
        """Learn anew."""
        self._kinds.clear()


class Bucket:
    """At most `per_minute` units a minute, evenly, so that no second sees more than its share."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._rate = PACE * per_minute / 60
        self._burst = max(1.0, self._rate * BURST_S)
        self._level = self._burst
        self._clock = clock
        self._at = clock()

    def take(self, amount: float) -> None:
        """Use `amount`; the level may go below zero, which delays those who come later."""
        self._refill()
        self._level -= amount

    def give(self, amount: float) -> None:
        """Return what was taken too much."""
        self._level = min(self._burst, self._level + amount)

    def wait(self, ahead: int) -> float:
        """Seconds until something may be taken again by one who has `ahead` others waiting before it."""
        self._refill()
        return 0.0 if self._level > 0 else (1e-3 + ahead - self._level) / self._rate

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
