"""Item-response fit: from who solved what, how often, to the difficulty of every item with its standard error.

An item of difficulty b is solved by solver j with probability 1 / (1 + exp(-a_j (t_j - b))). Items are many and
solvers few, so the difficulties are the random part, b ~ N(0, 1), and ability t_j and slope a_j of the solvers are
estimated by marginal maximum likelihood: EM over a grid of difficulties (Bock and Aitkin, Psychometrika 1981, with
the roles of items and persons exchanged). 1PL: one slope for all solvers (Rasch); 2PL: one each. Tries that one
solver has at one item count as binomial, items that a solver never tried do not count. The difficulty reported is
the posterior mean, its standard error the posterior standard deviation: an item that nobody tried has 0 and 1.
Knows nothing of records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_GRID = 61
_REACH = 5.0
_CHUNK = 20_000
_STEPS = 500
CUTS = (-1.2, -0.4, 0.4, 1.2)
"""Difficulties between H1, H2, ... H5: of items as a whole, 12, 23, 31, 23 and 12 percent."""
_SLOPE_PRIOR = 0.5
"""Standard deviation of ln a_j around ln 1.5 in the prior: keeps the slope of a solver with few tries finite."""


@dataclass(frozen=True)
class Fit:
    """Difficulties of items and abilities of solvers, on a scale on which the items have mean 0 and deviation 1."""

    difficulty: Floats
    """Posterior mean, higher is harder, [items]."""
    error: Floats
    """Standard error, [items]."""
    ability: Floats
    """[solvers]; a solver of ability t solves an item of difficulty t half the time."""
    slope: Floats
    """How sharply a solver tells easy from hard, [solvers]."""
    steps: int
    """EM steps taken; 500 means that it had not settled."""


def fit(solved: Floats, tried: Floats, model: Literal["1PL", "2PL"] = "1PL") -> Fit:
    """The fit of `solved` of `tried` attempts, both [items, solvers].

    Raises:
        ValueError: if the shapes differ, a count is negative or not finite, or more were solved than tried.
    """
    import numpy as np

    solved, tried = np.asarray(solved, dtype=np.float64), np.asarray(tried, dtype=np.float64)
    if solved.ndim != 2 or solved.shape != tried.shape:
        raise ValueError(f"irt: solved {solved.shape} and tried {tried.shape} must both be [items, solvers]")
    if not ((solved >= 0) & (solved <= tried) & np.isfinite(tried)).all():
        raise ValueError("irt: each count of solved must be between 0 and the count of tried, and finite")
    grid = np.linspace(-_REACH, _REACH, _GRID)
    share = (solved.sum(axis=0) + 1) / (tried.sum(axis=0) + 2)
    ability, slope = 1.5 * np.log(share / (1 - share)), np.full(solved.shape[1], 1.5)
    step, moved = 0, 1.0
    while moved > 1e-4 and step < _STEPS:
        step += 1
        right, all_tries = _expected(solved, tried, grid, ability, slope)
        before = ability, slope
        ability, slope = _maximised(right, all_tries, grid, ability, slope, model == "1PL")
        changes = (ability - before[0], slope - before[1])
        moved = max(float(np.abs(change).max(initial=0)) for change in changes)
    mean, error = np.empty(len(solved)), np.empty(len(solved))
    for part in _parts(len(solved)):
        weight = _posterior(solved[part], tried[part], grid, ability, slope)
        mean[part] = weight @ grid
        error[part] = np.sqrt(np.maximum(weight @ grid**2 - mean[part] ** 2, 0.0))
    return Fit(mean, error, ability, slope, step)


def _parts(count: int) -> list[slice]:
    return [slice(first, first + _CHUNK) for first in range(0, count, _CHUNK)]


def _logits(grid: Floats, ability: Floats, slope: Floats) -> Floats:
    """[solvers, grid]."""
    import numpy as np

    return np.clip(slope[:, None] * (ability[:, None] - grid[None, :]), -30.0, 30.0)


def _posterior(solved: Floats, tried: Floats, grid: Floats, ability: Floats, slope: Floats) -> Floats:
    """Probability of each difficulty of the grid for each item, [items, grid]."""
    import numpy as np

    logits = _logits(grid, ability, slope)
    likely = solved @ logits - tried @ np.logaddexp(0.0, logits) - grid**2 / 2
    likely = np.exp(likely - likely.max(axis=1, keepdims=True))
    result: Floats = likely / likely.sum(axis=1, keepdims=True)
    return result


def _expected(
    solved: Floats, tried: Floats, grid: Floats, ability: Floats, slope: Floats
) -> tuple[Floats, Floats]:
    """Expected numbers of solved and of all tries at each difficulty, [solvers, grid]: the E step."""
    import numpy as np

    right, tries = np.zeros((solved.shape[1], len(grid))), np.zeros((solved.shape[1], len(grid)))
    for part in _parts(len(solved)):
        weight = _posterior(solved[part], tried[part], grid, ability, slope)
        right += solved[part].T @ weight
        tries += tried[part].T @ weight
    return right, tries


def _maximised(
    right: Floats, tries: Floats, grid: Floats, ability: Floats, slope: Floats, shared: bool
) -> tuple[Floats, Floats]:
    """Abilities and slopes under which the expected counts are likeliest: a few Newton steps, the M step.

    Each step moves t with a held fixed, then ln a with t held fixed; priors N(0, 3^2) on t and N(ln 1.5, 0.5^2)
    on ln a.
    """
    import numpy as np

    for _ in range(3):
        chance = 1 / (1 + np.exp(-_logits(grid, ability, slope)))
        gap, curve = right - tries * chance, tries * chance * (1 - chance)
        first = slope * gap.sum(axis=1) - ability / 9
        second = slope**2 * curve.sum(axis=1) + 1 / 9
        ability = ability + np.clip(first / second, -1.0, 1.0)
        chance = 1 / (1 + np.exp(-_logits(grid, ability, slope)))
        gap, curve = right - tries * chance, tries * chance * (1 - chance)
        along = slope[:, None] * (ability[:, None] - grid[None, :])
        first, second = (gap * along).sum(axis=1), (curve * along**2).sum(axis=1)
        if shared:
            first, second = np.full_like(first, first.sum()), np.full_like(second, second.sum())
        prior = 1 / _SLOPE_PRIOR**2
        first, second = first - prior * (np.log(slope) - np.log(1.5)), second + prior
        slope = slope * np.exp(np.clip(first / second, -0.5, 0.5))
    return ability, slope


def level_scores(difficulty: Floats, error: Floats, cuts: tuple[float, ...]) -> tuple[list[int], Floats]:
    """Level 1.. of each difficulty by rising `cuts`, and its standard error in levels.

    The error is that of the difficulty times the levels per unit between the outermost cuts.
    """
    import numpy as np

    per_unit = (len(cuts) - 1) / (cuts[-1] - cuts[0])
    return (np.searchsorted(cuts, difficulty) + 1).tolist(), error * per_unit
