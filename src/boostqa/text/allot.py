"""Dividing a whole number among claims: by water-filling between floors and caps, and by hash.

Pure numbers; what is divided (quotas, samples, tasks) is the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def allot(
    weights: Sequence[float],
    total: int,
    floors: Sequence[int] | None = None,
    caps: Sequence[int] | None = None,
) -> list[int]:
    """Whole numbers that sum to `total`, as near to proportional to `weights` as floors and caps allow.

    Water-filling: x_i = clamp(level * w_i, floor_i, cap_i) with the one level at which the sum is `total`;
    then rounding by largest remainders (ties: the larger weight, then the earlier claim). Between claims with
    the same floor and cap the result never falls when the weight rises.

    Raises:
        ValueError: when floors need more than `total`, caps allow less, or a weight is negative or NaN.
    """
    low = list(floors or [0] * len(weights))
    high = [max(f, min(c, total)) for f, c in zip(low, caps or [total] * len(weights), strict=True)]
    if not all(weight >= 0 for weight in weights):
        raise ValueError(f"allot: weights must be 0 or more, got {[w for w in weights if not w >= 0][:3]}")
    if not sum(low) <= total <= sum(high):
        raise ValueError(f"allot: {total} is outside what floors ({sum(low)}) and caps ({sum(high)}) allow")
    wished = list(weights)
    # Claims of no weight get something only when the others are at their caps.
    if sum(c if w > 0 else f for w, f, c in zip(wished, low, high, strict=True)) < total:
        smallest = min((w for w in wished if w > 0), default=1.0)
        wished = [w if w > 0 else smallest * 1e-6 for w in wished]
    exact = _fill(wished, low, high, total)
    parts = [math.floor(x + 1e-9) for x in exact]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], -wished[i], i))
    for i in order[: max(0, total - sum(parts))]:
        parts[i] += 1
    return parts


def _fill(weights: Sequence[float], low: Sequence[int], high: Sequence[int], total: int) -> list[float]:
    def at(level: float) -> list[float]:
        return [min(max(level * w, f), c) for w, f, c in zip(weights, low, high, strict=True)]

    lower, upper = 0.0, 1.0
    while math.fsum(at(upper)) < total:
        upper *= 2
    for _ in range(200):
        middle = (lower + upper) / 2
        if math.fsum(at(middle)) < total:
            lower = middle
        else:
            upper = middle
    return at(upper)


def even_shares(counts: Mapping[str, int], total: int) -> dict[str, float]:
    """Share 0..1 to take of each group, so that about `total` are taken and small groups are taken whole.

    Every group gives the same number until it is used up.
    """
    names = sorted(name for name, count in counts.items() if count > 0)
    wanted = min(total, sum(counts.values()))
    taken = allot([1.0] * len(names), wanted, caps=[counts[name] for name in names])
    return {name: part / counts[name] for name, part in zip(names, taken, strict=True)}


def choose(weights: Mapping[str, float], point: float) -> str:
    """The name that `point` (0..1, such as from `identity.unit`) hits when names lie side by side by weight.

    Raises:
        ValueError: without a name of positive weight.
    """
    names = [name for name in weights if weights[name] > 0]
    if not names:
        raise ValueError(f"choose: no name with a positive weight among {sorted(weights)}")
    rest = point * math.fsum(weights[name] for name in names)
    for name in names:
        rest -= weights[name]
        if rest < 0:
            return name
    return names[-1]
