"""A small linear classifier of texts over hashed n-grams: no GPU, no library but numpy, any language.

Softmax regression trained with AdaGrad in small batches. The order of the examples does not matter: they are
put into the order of their texts' hashes first. Probabilities are calibrated with one temperature, found on
answers that were given for examples held out of the fit. Knows nothing of records or taxonomies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from boostqa.identity import digest
from boostqa.text.ngrams import BUCKETS, feature_rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

_FOLDS = 4
_BATCH = 32
_EPOCHS = 12
_RATE = 0.5


class Model(NamedTuple):
    """A fitted regression over the columns that were seen."""

    columns: npt.NDArray[np.int32]
    """Sorted hashed columns, [C]."""
    idf: Floats
    """Inverse document frequency of each, [C]."""
    weights: Floats
    """[C, labels]."""
    bias: Floats
    """[labels]."""


@dataclass(frozen=True)
class Classifier:
    """Labels, weights and calibration; `predict` is all that is done with it."""

    labels: tuple[str, ...]
    model: Model
    temperature: float

    def predict(self, texts: Sequence[str]) -> Floats:
        """Calibrated probability of each label for each text, [texts, labels]; rows sum to 1."""
        import numpy as np

        parts = [np.zeros((0, len(self.labels)), dtype=np.float32)]
        for start in range(0, len(texts), 256):
            logits = _logits(feature_rows(texts[start : start + 256]), self.model)
            parts.append(_softmax(logits / np.float32(self.temperature)))
        return np.concatenate(parts)

    def to_state(self) -> dict[str, Any]:
        """Plain data and one table (`weights`), to be kept in a gather's state."""
        import pyarrow as pa

        columns, idf, weights, bias = self.model
        lists = pa.FixedSizeListArray.from_arrays(pa.array(weights.ravel()), len(self.labels))
        return {
            "labels": list(self.labels),
            "bias": [float(value) for value in bias],
            "temperature": self.temperature,
            "weights": pa.table({"column": pa.array(columns), "idf": pa.array(idf), "weights": lists}),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Classifier:
        """The classifier that `to_state` described."""
        import numpy as np

        table: pa.Table = state["weights"]
        labels = tuple(state["labels"])
        flat = [np.zeros(0, dtype=np.float32), *(c.flatten().to_numpy() for c in table["weights"].chunks)]
        model = Model(
            table["column"].to_numpy(),
            table["idf"].to_numpy(),
            np.concatenate(flat).reshape(-1, len(labels)),
            np.array(state["bias"], dtype=np.float32),
        )
        return cls(labels, model, float(state["temperature"]))


@dataclass(frozen=True)
class Trial:
    """How a classifier did on examples that it was not fitted on."""

    truth: list[str]
    guess: list[str]
    calibration_error: float
    """Expected calibration error over ten bins of confidence, 0..1."""

    @property
    def correct(self) -> int:
        """Examples guessed right."""
        return sum(a == b for a, b in zip(self.truth, self.guess, strict=True))


def fit(texts: Sequence[str], labels: Sequence[str], buckets: int = BUCKETS) -> tuple[Classifier, Trial]:
    """A classifier of `texts`, and how it does under cross-validation in four parts (one part beyond 4,000).

    Raises:
        ValueError: with fewer than two labels or fewer than ten texts.
    """
    import numpy as np

    names = tuple(sorted(set(labels)))
    if len(names) < 2 or len(texts) < 10:
        raise ValueError(f"fit: needs 10 texts and 2 labels, got {len(texts)} and {len(names)}")
    keys = [digest(text, label) for text, label in zip(texts, labels, strict=True)]
    order = sorted(range(len(texts)), key=lambda i: keys[i])
    place = {name: i for i, name in enumerate(names)}
    truth = np.array([place[labels[i]] for i in order])
    rows = feature_rows([texts[i] for i in order], buckets)
    folds = np.array([int(keys[i][:8], 16) % _FOLDS for i in order])
    tested, parts = [], []
    for fold in range(_FOLDS if len(texts) <= 4000 else 1):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(inside) and len(outside):
            model = _train(_take(rows, inside), truth[inside], len(names))
            parts.append(_logits(_take(rows, outside), model))
            tested.append(outside)
    logits, where = np.concatenate(parts), np.concatenate(tested)
    temperature = _temperature(logits, truth[where])
    trial = Trial(
        [names[t] for t in truth[where]],
        [names[g] for g in logits.argmax(axis=1)],
        _calibration_error(_softmax(logits / temperature), truth[where]),
    )
    return Classifier(names, _train(rows, truth, len(names)), temperature), trial


Rows = tuple["npt.NDArray[np.int64]", "npt.NDArray[np.int32]", "npt.NDArray[np.float32]"]
"""(starts, columns, values): row i has the entries starts[i]:starts[i+1]."""


def _take(rows: Rows, chosen: npt.NDArray[np.intp]) -> Rows:
    import numpy as np

    starts, columns, values = rows
    lengths = starts[chosen + 1] - starts[chosen]
    begin = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum(lengths, out=begin[1:])
    index = np.repeat(starts[chosen] - begin[:-1], lengths) + np.arange(begin[-1])
    return begin, columns[index], values[index]


def _known(rows: Rows, columns: npt.NDArray[np.int32]) -> Rows:
    """The rows with columns renumbered as places in `columns`; what is not there is left out."""
    import numpy as np

    starts, own, values = rows
    place = np.searchsorted(columns, own)
    seen = place < len(columns)
    seen[seen] = columns[place[seen]] == own[seen]
    count = np.concatenate([[0], np.cumsum(seen)])
    return count[starts], place[seen].astype(np.int32), values[seen]


def _sums(starts: npt.NDArray[np.int64], entries: Floats) -> Floats:
    """Sums of `entries` row by row; rows without entries give zeros."""
    import numpy as np

    out = np.zeros((len(starts) - 1, entries.shape[1]), dtype=np.float32)
    filled = starts[1:] > starts[:-1]
    if filled.any():
        out[filled] = np.add.reduceat(entries, starts[:-1][filled], axis=0)
    return out


def _scaled(rows: Rows, columns: npt.NDArray[np.int32], idf: Floats) -> Rows:
    """Known entries times their inverse document frequency, each row scaled to length 1."""
    import numpy as np

    starts, used, values = _known(rows, columns)
    values = values * idf[used]
    length = np.sqrt(_sums(starts, (values * values)[:, None])[:, 0])
    return starts, used, values / np.repeat(np.maximum(length, np.float32(1e-6)), np.diff(starts))


def _logits(rows: Rows, model: Model) -> Floats:
    starts, used, values = _scaled(rows, model.columns, model.idf)
    result: Floats = _sums(starts, values[:, None] * model.weights[used]) + model.bias
    return result


def _softmax(logits: Floats) -> Floats:
    import numpy as np

    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def _train(rows: Rows, truth: Ints, classes: int) -> Model:
    """A softmax regression by AdaGrad, which keeps rare n-grams useful without tuning.

    Columns of one text only are left out (they cannot help another text), unless there are few texts.
    """
    import numpy as np

    columns, count = np.unique(rows[1], return_counts=True)
    columns, count = columns[kept := count >= (2 if len(truth) > 50 else 1)], count[kept]
    idf = np.log((1 + len(truth)) / count).astype(np.float32)
    rows = _scaled(rows, columns, idf)
    weights = np.zeros((len(columns), classes), dtype=np.float32)
    bias = np.zeros(classes, dtype=np.float32)
    squares, bias_squares = np.full_like(weights, 1e-6), np.full_like(bias, 1e-6)
    order = np.random.default_rng(0).permutation(len(truth))
    batches = [np.sort(order[i : i + _BATCH]) for i in range(0, len(truth), _BATCH)]
    for epoch in range(_EPOCHS):
        for i in np.random.default_rng(epoch).permutation(len(batches)):
            starts, used, values = _take(rows, batches[i])
            touched, place = np.unique(used, return_inverse=True)
            dense = np.zeros((len(batches[i]), len(touched)), dtype=np.float32)
            dense[np.repeat(np.arange(len(batches[i])), np.diff(starts)), place] = values
            error = _softmax(dense @ weights[touched] + bias)
            error[np.arange(len(error)), truth[batches[i]]] -= 1
            error /= len(error)
            slope = dense.T @ error
            squares[touched] = squared = squares[touched] + slope * slope
            weights[touched] -= _RATE * slope / np.sqrt(squared)
            drift = error.sum(axis=0)
            bias_squares += drift * drift
            bias -= 0.1 * _RATE * drift / np.sqrt(bias_squares)
    return Model(columns, idf, weights, bias)


def _temperature(logits: Floats, truth: Ints) -> float:
    """The temperature under which the held-out labels are most likely: golden section over its logarithm."""
    import numpy as np

    def loss(log_t: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_t)
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.mean(total - scaled[np.arange(len(truth)), truth]))

    low, high = -4.0, 4.0
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _calibration_error(probabilities: Floats, truth: Ints) -> float:
    import numpy as np

    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [
        abs(float(hit[bins == b].mean() - confidence[bins == b].mean())) * int((bins == b).sum())
        for b in range(10)
        if (bins == b).any()
    ]
    return sum(gaps) / len(truth)
