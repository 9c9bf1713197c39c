"""How good labels are, measured against gold: accuracy, kappa, macro-F1, calibration, confusions, rank correlation.

Pure numbers over lists of labels; knows nothing of files, models or texts. Formulas: Cohen's kappa (Cohen, 1960)
with its large-sample standard error sqrt(p (1 - p) / n) / (1 - e), p agreement, e agreement by chance; macro-F1 as
the mean of F1 over the labels that gold has; Wilson intervals for shares; Spearman's rank correlation with mean
ranks for ties and an interval by Fisher's transformation. Macro-F1 and calibration error have percentile intervals of
the bootstrap (Efron, 1979), from a fixed seed; resampling adds to the calibration error, which cannot fall below zero,
so that its interval is centred on what was measured (the basic bootstrap).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from boostqa.text.intervals import wilson

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating]


_RESAMPLES = 200


class Agreement(msgspec.Struct, frozen=True):
    """Labels against gold."""

    n: int
    correct: int
    low: float
    """Ends of the 95% interval of the accuracy."""
    high: float
    kappa: float
    """Cohen's kappa, at most 1; 0 is chance. 1 also where there is only one label on both sides."""
    kappa_low: float
    kappa_high: float
    macro_f1: float
    """Mean of F1 over the labels of gold, 0..1."""
    macro_f1_low: float
    """Ends of the 95% interval of macro-F1."""
    macro_f1_high: float
    rare: list[tuple[str, int]]
    """Labels with fewer than 50 gold items, and how many: what is said of them is hardly known."""
    confused: list[tuple[str, str, int]]
    """The ten most frequent pairs of gold label and other label, and how often."""

    @property
    def accuracy(self) -> float:
        """Share of labels equal to gold, 0..1; 0 without items."""
        return self.correct / self.n if self.n else 0.0


def agreement(gold: Sequence[str], found: Sequence[str]) -> Agreement:
    """Labels `found` against `gold`, item by item.

    Raises:
        ValueError: if the lists differ in length.
    """
    pairs = list(zip(gold, found, strict=True))
    n, correct = len(pairs), sum(a == b for a, b in pairs)
    truth, guess = Counter(gold), Counter(found)
    low, high = wilson(correct, n)
    share = correct / n if n else 0.0
    chance = sum(truth[name] * guess[name] for name in truth) / n**2 if n else 0.0
    kappa = (share - chance) / (1 - chance) if chance < 1 else 1.0
    error = math.sqrt(share * (1 - share) / n) / (1 - chance) if n and chance < 1 else 0.0
    both = Counter(a for a, b in pairs if a == b)
    f1 = [2 * both[name] / (truth[name] + guess[name]) for name in truth]
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
    return Agreement(
        n,
        correct,
        low,
        high,
        kappa,
        kappa - 1.959964 * error,
        min(1.0, kappa + 1.959964 * error),
        math.fsum(f1) / len(f1) if f1 else 0.0,
        *_macro_f1_interval(Counter(pairs)),
        sorted((name, count) for name, count in truth.items() if count < 50),
        [(a, b, count) for (a, b), count in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:10]],
    )


def _macro_f1_interval(pairs: Counter[tuple[str, str]]) -> tuple[float, float]:
    """Ends of the 95% interval of macro-F1 from (gold, found) -> items; labels that a resample lacks are left out."""
    import numpy as np

    n = pairs.total()
    if not n:
        return 0.0, 1.0
    names = {name: i for i, name in enumerate(sorted({a for a, _ in pairs} | {b for _, b in pairs}))}
    cells = sorted(pairs)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, [pairs[cell] / n for cell in cells], size=_RESAMPLES).astype(np.float64)
    truth, guess, both = np.zeros((3, _RESAMPLES, len(names)))
    for count, (a, b) in zip(drawn.T, cells, strict=True):
        truth[:, names[a]] += count
        guess[:, names[b]] += count
        if a == b:
            both[:, names[a]] += count
    f1 = 2 * both / np.maximum(truth + guess, 1)
    low, high = np.quantile(f1.sum(axis=1) / np.maximum(1, (truth > 0).sum(axis=1)), (0.025, 0.975))
    return float(low), float(high)


def top_two(gold: Sequence[str], names: Sequence[str], chances: Floats) -> float:
    """Share of items whose gold label is one of the two likeliest; chances [items, names]. 0 without items."""
    import numpy as np

    if not len(gold):
        return 0.0
    best = np.argsort(-chances, axis=1, kind="stable")[:, :2]
    return float(np.mean([label in (names[a], names[b]) for label, (a, b) in zip(gold, best, strict=True)]))


def calibration_error(confidence: Floats, hit: npt.NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: gap between confidence and accuracy in equal bins, weighted by their sizes."""
    import numpy as np

    place = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    gaps = [
        abs(float(hit[place == b].mean() - confidence[place == b].mean())) * int((place == b).sum())
        for b in range(bins)
        if (place == b).any()
    ]
    return sum(gaps) / max(1, len(hit))


def calibration_interval(
    confidence: Floats, hit: npt.NDArray[np.bool_], bins: int = 10
) -> tuple[float, float, float]:
    """As `calibration_error`, with the ends of its 95% interval; (0, 0, 1) without items."""
    import numpy as np

    found, n = calibration_error(confidence, hit, bins), len(hit)
    if not n:
        return 0.0, 0.0, 1.0
    rng = np.random.default_rng(0)
    confidence, drawn = np.asarray(confidence), []
    for _ in range(_RESAMPLES):
        chosen = rng.integers(0, n, n)
        drawn.append(calibration_error(confidence[chosen], hit[chosen], bins))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return found, max(0.0, 2 * found - float(high)), max(found, 2 * found - float(low))


def spearman(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Rank correlation with the ends of its 95% interval; (0, -1, 1) where a side is constant or n < 4."""
    import numpy as np

    if len(one) != len(other):
        raise ValueError(f"spearman: {len(one)} values and {len(other)} do not pair")
    if len(one) < 4 or len(set(one)) < 2 or len(set(other)) < 2:
        return 0.0, -1.0, 1.0
    rho = float(np.corrcoef(ranks(one), ranks(other))[0, 1])
    centre = math.atanh(max(-0.999999, min(0.999999, rho)))
    # Bonett and Wright (2000): the variance of a transformed Spearman correlation.
    half = 1.959964 * math.sqrt((1 + rho * rho / 2) / (len(one) - 3))
    return rho, math.tanh(centre - half), math.tanh(centre + half)


def ranks(values: Sequence[float]) -> Floats:
    """Ranks from 0, equal values sharing the mean of theirs."""
    import numpy as np

    _, place, count = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    mean: Floats = (last - count + last - 1) / 2.0
    return mean[place]
