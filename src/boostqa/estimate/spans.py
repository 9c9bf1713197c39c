"""Numbers that are not known: at least, most likely, at most."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A number that is not known: what it is at least, most likely and at most."""

    low: float
    mid: float
    high: float

    @classmethod
    def of(cls, value: float) -> Span:
        """A number that is known."""
        return cls(value, value, value)

    def times(self, other: Span | float) -> Span:
        """Product, end by end."""
        by = other if isinstance(other, Span) else Span.of(other)
        return Span(self.low * by.low, self.mid * by.mid, self.high * by.high)

    def plus(self, other: Span) -> Span:
        """Sum, end by end."""
        return Span(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def capped(self, most: float) -> Span:
        """No end above `most`."""
        return Span(min(self.low, most), min(self.mid, most), min(self.high, most))


def words(span: Span) -> str:
    """A span as people read it: most likely, then the interval."""
    ends = (span.mid, min(span), max(span))
    mid, low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in ends)
    return mid if low == high else f"{mid} ({low} to {high})"
