"""A cheap difficulty meter: a number for every item, distilled from whatever was measured or labelled for some.

Two parts are stacked: the classifier's regression over hashed words (which topics are hard), and the item's shape
(lengths, numbers, formulas, steps of its solution). The first is fitted on the target cut into five bins and read as
an expected value; its guesses for items held out of the fit and the shape enter a ridge regression. The result is on
the scale of the target. Knows nothing of records, levels or grades.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.annotation import features
from boostqa.annotation.regression import Sparse, fit_sparse, softmax
from boostqa.identity import digest
from boostqa.text.normalise import cjk_share

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float64]

_FOLDS = 4
_BINS = 5
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_COMMAND = re.compile(r"\\[a-zA-Z]{2,20}")
_STEP = re.compile(r"[.;。；\n=]")


class Item(msgspec.Struct, frozen=True):
    """What the meter reads of an item."""

    question: str
    choices: Sequence[str] = ()
    solution: str = ""
    """Worked solution; empty where there is none, which the meter allows for."""

    @property
    def text(self) -> str:
        """Everything, the question first."""
        return "\n".join([self.question, *self.choices, self.solution[:1500]])


def shape(item: Item) -> list[float]:
    """Counts that say how an item is built, as logarithms where they have no bound; 16 of them."""
    question, solution = item.question[: features.CHARS], item.solution[: features.CHARS]
    options = [len(choice) for choice in item.choices]
    numbers = [float(found) for found in _NUMBER.findall(question)]
    found = [len(question), len(numbers), len(_COMMAND.findall(question)), question.count("$")]
    found += [len(solution), len(_NUMBER.findall(solution)), len(_COMMAND.findall(solution))]
    found += [
        len(_STEP.findall(solution)),
        len(_STEP.findall(question)),
        sum(options),
        max(options, default=0),
    ]
    logs = [math.log1p(value) for value in found]
    words = question.split()
    long = sum(len(word) for word in words) / max(1, len(words)) if cjk_share(question) < 0.3 else 0.0
    largest = math.log1p(max(numbers, default=0.0))
    decimal = sum("." in number for number in _NUMBER.findall(question)) / max(1, len(numbers))
    return [*logs, float(len(options)), float(bool(solution)), min(long, 12.0), largest, decimal]


@dataclass(frozen=True)
class Meter:
    """A fitted meter."""

    sparse: Sparse
    levels: Floats
    """Mean of the target in each bin, [bins]."""
    mean: Floats
    spread: Floats
    weights: Floats
    """Of the standardised shape and of the words' guess, and the offset, [shape + 2]."""

    def predict(self, items: Sequence[Item]) -> Floats:
        """Difficulty of each item on the scale of what was fitted, [items]."""
        words = softmax(self.sparse.logits(features.rows([item.text for item in items]))) @ self.levels
        found: Floats = _design(items, words, self.mean, self.spread) @ self.weights
        return found

    def to_state(self) -> tuple[dict[str, Any], pa.Table]:
        """Plain data, and the weights of the words."""
        plain = {name: getattr(self, name).tolist() for name in ("levels", "mean", "spread", "weights")}
        return plain | {"bias": self.sparse.bias.tolist()}, self.sparse.to_table()

    @classmethod
    def from_state(cls, plain: Mapping[str, Any], weights: pa.Table) -> Meter:
        """The meter that `to_state` described."""
        import numpy as np

        numbers = (np.array(plain[name]) for name in ("levels", "mean", "spread", "weights"))
        return cls(Sparse.from_table(weights, plain["bias"]), *numbers)


def fit_meter(items: Sequence[Item], target: Sequence[float], groups: Sequence[str] | None = None) -> Meter:
    """A meter for `target`; the order of the items does not matter.

    Args:
        items: with or without solutions.
        target: difficulties on any scale that rises with hardness, finite.
        groups: items of one group are never on both sides of a fold; by default equal questions are a group.

    Raises:
        ValueError: with fewer than 20 items, or where all targets are equal.
    """
    import numpy as np

    if len(items) < 20 or len(set(target)) < 2:
        raise ValueError(f"fit_meter: needs 20 items and 2 values, got {len(items)} and {len(set(target))}")
    keys = [digest(item.question, float(value)) for item, value in zip(items, target, strict=True)]
    order = sorted(range(len(items)), key=lambda i: keys[i])
    items, goal = [items[i] for i in order], np.array([float(target[i]) for i in order])
    folds = np.array(
        [
            int(digest(groups[i] if groups else items[k].question)[:8], 16) % _FOLDS
            for k, i in enumerate(order)
        ]
    )
    bins, levels = _binned(goal)
    rows = features.rows([item.text for item in items])
    words = np.full(len(items), goal.mean())
    for fold in range(_FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(inside) and len(outside):
            model = fit_sparse(features.take(rows, inside), bins[inside], len(levels))
            words[outside] = softmax(model.logits(features.take(rows, outside))) @ levels
    raw = np.array([shape(item) for item in items])
    mean, spread = raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-6)
    design = _design(items, words, mean, spread)
    penalty = np.diag([3.0] * len(mean) + [0.0, 0.0])
    weights = np.linalg.solve(design.T @ design + penalty + 1e-9 * np.eye(len(penalty)), design.T @ goal)
    return Meter(fit_sparse(rows, bins, len(levels)), levels, mean, spread, weights)


def _binned(goal: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Bin of each value and mean of each bin; few distinct values are their own bins."""
    import numpy as np

    distinct = np.unique(goal)
    if len(distinct) > _BINS + 1:
        edges = np.unique(np.quantile(goal, np.arange(1, _BINS) / _BINS))
        found = np.searchsorted(edges, goal, side="right")
        found = np.unique(found, return_inverse=True)[1]
    else:
        found = np.searchsorted(distinct, goal)
    return found, np.array([goal[found == k].mean() for k in range(found.max() + 1)])


def _design(items: Sequence[Item], words: Floats, mean: Floats, spread: Floats) -> Floats:
    import numpy as np

    raw = np.array([shape(item) for item in items]).reshape(len(items), len(mean))
    return np.column_stack([(raw - mean) / spread, words, np.ones(len(items))])
