"""Shares with their uncertainty: intervals, shrinkage of small groups towards their parents.

Pure numbers; knows nothing of questions, cells or models.

Shrinkage (empirical Bayes, two levels). Of K successes in N trials overall, the overall share is
mu = (K + 0.5) / (N + 1). A group (discipline) g of K_g in N_g has the mean (K_g + s1 mu) / (N_g + s1). A cell
c of g with k in n is drawn towards the rest of its group, m = (K_g - k + s1 mu) / (N_g - n + s1): it has the
Beta distribution with a = k + s2 m and b = n - k + s2 (1 - m), neither prior part below 1/4 (so that a group
without any failure does not make an empty cell certain). Its mean a / (a + b) is the shrunk share, its
quantiles are the interval. The strengths s1 and s2 (in trials) are those of 1, 2, 4, 8, 16 under which the
counts are most likely (beta-binomial), times a mild prior around 4, which decides when there is little data.
Simulated (40 cells of 5 to 200 items in 8 groups), the intervals cover the truth in 92 to 95 of 100 cases;
fewer where nearly all cells are close to 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
LEAST = 0.25
"""Smallest prior part, in trials."""


class Share(NamedTuple):
    """An estimated share."""

    n: float
    """Trials."""
    raw: float | None
    """Successes / trials; None without trials."""
    mean: float
    """Shrunk share, 0..1."""
    low: float
    """Lower end of the 95% interval."""
    high: float


def wilson(successes: float, trials: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval (95% by default) of a share; (0, 1) without trials."""
    if trials <= 0:
        return 0.0, 1.0
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def beta_interval(a: float, b: float, mass: float = 0.95) -> tuple[float, float]:
    """Equal-tailed interval of the Beta(a, b) distribution, by summing its density over the logit."""
    import numpy as np

    centre = math.log(a / b)
    # Bound of the logit's standard deviation (trigamma(a) < 1/a + 1/a^2); 12 of them hold all that matters.
    spread = math.sqrt(1 / a + 1 / a**2 + 1 / b + 1 / b**2)
    logit = centre + spread * np.linspace(-12.0, 12.0, 4001)
    density = -a * np.logaddexp(0.0, -logit) - b * np.logaddexp(0.0, logit)
    total = np.cumsum(np.exp(density - density.max()))
    total /= total[-1]
    low, high = np.interp([(1 - mass) / 2, (1 + mass) / 2], total, logit)
    return 1 / (1 + math.exp(min(-low, 700.0))), 1 / (1 + math.exp(min(-high, 700.0)))


def shrink(
    counts: Mapping[tuple[str, str], tuple[float, float]],
) -> tuple[dict[tuple[str, str], Share], dict[str, Share], Share]:
    """Shrunk shares of cells, of their groups and overall; the formula stands in the module's docstring.

    Args:
        counts: (group, cell) -> (successes, trials); successes may be fractions (a share of k attempts).
            A cell without trials gets its group's share with a wide interval.
    """
    groups: dict[str, tuple[float, float]] = {}
    for (group, _), (won, n) in counts.items():
        old = groups.get(group, (0.0, 0.0))
        groups[group] = (old[0] + won, old[1] + n)
    won, n = (math.fsum(column) for column in zip(*groups.values(), strict=True)) if groups else (0.0, 0.0)
    overall = (won + 0.5) / (n + 1)
    outer = best_strength((*pair, overall) for pair in groups.values())
    shares = {group: _share(*pair, overall, outer) for group, pair in groups.items()}
    rest = {}
    for key, (own, trials) in counts.items():
        all_won, all_n = groups[key[0]]
        rest[key] = (all_won - own + outer * overall) / (all_n - trials + outer)
    inner = best_strength((*pair, rest[key]) for key, pair in counts.items())
    cells = {key: _share(*pair, rest[key], inner) for key, pair in counts.items()}
    return cells, shares, _share(won, n, 0.5, 1.0)


def best_strength(groups: Iterable[tuple[float, float, float]]) -> float:
    """Most likely prior strength (in trials) for (successes, trials, parent's share); 4 if nothing tells."""
    told = [(won, n, min(max(mean, 1e-6), 1 - 1e-6)) for won, n, mean in groups if n > 0]

    def quality(strength: float) -> float:
        likelihood = math.fsum(
            _log_beta_binomial(won, n, strength * m, strength * (1 - m)) for won, n, m in told
        )
        return likelihood - 0.5 * (math.log(strength / 4) / math.log(4)) ** 2

    return max(STRENGTHS, key=quality)


def _share(won: float, n: float, parent: float, strength: float) -> Share:
    a = won + max(LEAST, strength * parent)
    b = n - won + max(LEAST, strength * (1 - parent))
    low, high = beta_interval(a, b)
    return Share(n, won / n if n > 0 else None, a / (a + b), low, high)


def _log_beta_binomial(won: float, n: float, a: float, b: float) -> float:
    # Without the binomial coefficient, which does not depend on a and b.
    return _log_beta(won + a, n - won + b) - _log_beta(a, b)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
