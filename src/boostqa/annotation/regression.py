"""Softmax regression over sparse hashed features, and over dense vectors: numpy only.

Sparse: tf-idf rows of length 1, AdaGrad in batches, which keeps rare n-grams useful without tuning (Duchi,
Hazan and Singer, JMLR 2011), with a falling rate and smoothed labels (Szegedy et al., CVPR 2016), because some
labels are wrong. Dense: standardised columns, full-batch gradient descent with Nesterov momentum and an L2
penalty. Knows nothing of texts, labels by name, or calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from boostqa.annotation.features import BITS, FORM, Rows, numbers, take

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

_BATCH = 128
_EPOCHS = 4
_RATE, _LAST_RATE = 1.0, 0.2
_SMOOTHING = 0.1
"""Share of each label that is spread over all labels."""
_BEYOND_CHANCE = 2.5
"""Standard deviations; docs/annotation.md tells how many texts of made-up words still pass, and how many questions."""


def softmax(logits: Floats) -> Floats:
    """Row by row; rows sum to 1."""
    import numpy as np

    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


@dataclass(frozen=True)
class Sparse:
    """A regression over hashed columns: logits = tf-idf row @ weights + bias."""

    columns: npt.NDArray[np.int32]
    """Known hashed columns, sorted, [C]."""
    idf: Floats
    """ln((1 + texts) / texts with the column), [C]."""
    weights: Floats
    """[C, labels]; values that float16 holds, so that half the bytes suffice to keep them."""
    bias: Floats
    """[labels]."""

    def logits(self, rows: Rows) -> Floats:
        """[rows, labels]."""
        import numpy as np

        known = _scaled(rows, self._slots(), self.idf)
        out = np.zeros((len(rows.starts) - 1, len(self.bias)), dtype=np.float32)
        longest = int(np.diff(known.starts).max(initial=0))
        # One buffer, row by row: it stays in the processor's cache, which is five times as fast as all at once.
        buffer = np.empty((longest, len(self.bias)), dtype=np.float32)
        for row, (begin, end) in enumerate(
            zip(known.starts[:-1].tolist(), known.starts[1:].tolist(), strict=True)
        ):
            if begin < end:
                part = buffer[: end - begin]
                np.take(self.weights, known.columns[begin:end], axis=0, out=part, mode="clip")
                np.dot(known.values[begin:end], part, out=out[row])
        result: Floats = out + self.bias
        return result

    def to_table(self) -> pa.Table:
        """All but the bias, as a table with a row for each known column."""
        import numpy as np
        import pyarrow as pa

        flat = pa.array(self.weights.astype(np.float16).ravel())
        lists = pa.FixedSizeListArray.from_arrays(flat, len(self.bias))
        return pa.table({"column": pa.array(self.columns), "idf": pa.array(self.idf), "weights": lists})

    @classmethod
    def from_table(cls, table: pa.Table, bias: Sequence[float]) -> Sparse:
        """What `to_table` described, with its bias."""
        import numpy as np

        whole = table.combine_chunks()
        flat = whole["weights"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        weights = flat.astype(np.float32).reshape(-1, len(bias))
        known, idf = whole["column"].to_numpy(), whole["idf"].to_numpy()
        return cls(known, idf, weights, np.array(bias, dtype=np.float32))

    def known(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether the regression knows more of a row's words than chance explains, [rows].

        Hashes share columns: where a part of all columns is known, so is that part of the columns of words that no
        example had. A row is known if it has 2.5 standard deviations (of the binomial) and one more than that.
        Numbers alone do not count: their length, all that a feature tells of them, is known to every regression.
        """
        import numpy as np

        words = (rows.columns < FORM) & ~numbers()[rows.columns]
        every, seen = (
            np.concatenate([[0], np.cumsum(flags)])
            for flags in (words, words & (self._slots()[rows.columns] >= 0))
        )
        entries, hits = (count[rows.starts[1:]] - count[rows.starts[:-1]] for count in (every, seen))
        share = np.searchsorted(self.columns, FORM) / FORM
        chance = entries * share + _BEYOND_CHANCE * np.sqrt(entries * share * (1 - share))
        found: npt.NDArray[np.bool_] = hits > chance + 1
        return found

    def _slots(self) -> npt.NDArray[np.int32]:
        """As the function of that name; made once."""
        found: npt.NDArray[np.int32] | None = self.__dict__.get("slots")
        if found is None:
            self.__dict__["slots"] = found = _slots(self.columns)
        return found


def _slots(columns: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Place of each of the 2^BITS columns in `columns`, -1 where it is not there."""
    import numpy as np

    found = np.full(1 << BITS, -1, dtype=np.int32)
    found[columns] = np.arange(len(columns), dtype=np.int32)
    return found


def fit_sparse(rows: Rows, truth: Ints, classes: int) -> Sparse:
    """A regression of `truth`, whole numbers below `classes`, on the rows.

    Columns of one text only are left out (they cannot help another text), unless there are few texts.
    """
    import numpy as np

    count = np.bincount(rows.columns, minlength=1 << BITS)
    columns = np.flatnonzero(count >= (2 if len(truth) > 50 else 1)).astype(np.int32)
    idf = np.log((1 + len(truth)) / count[columns]).astype(np.float32)
    weights, bias = _descend(_scaled(rows, _slots(columns), idf), truth, len(columns), classes)
    return Sparse(columns, idf, weights.astype(np.float16).astype(np.float32), bias)


def _descend(rows: Rows, truth: Ints, columns: int, classes: int) -> tuple[Floats, Floats]:
    import numpy as np

    weights = np.zeros((columns, classes), dtype=np.float32)
    bias = np.zeros(classes, dtype=np.float32)
    squares, bias_squares = np.full_like(weights, 1e-6), np.full_like(bias, 1e-6)
    wanted = np.full((classes, classes), _SMOOTHING / classes, dtype=np.float32)
    wanted[np.diag_indices(classes)] += 1 - _SMOOTHING
    for epoch in range(_EPOCHS):
        order = np.random.default_rng(epoch).permutation(len(truth))
        for first in range(0, len(order), _BATCH):
            done = (epoch + first / len(order)) / _EPOCHS
            rate = _RATE + (_LAST_RATE - _RATE) * done
            chosen = order[first : first + _BATCH]
            part = take(rows, chosen)
            logits = _sums(part.starts, weights[part.columns] * part.values[:, None]) + bias
            error = (softmax(logits) - wanted[truth[chosen]]) / len(chosen)
            row = np.repeat(np.arange(len(chosen)), np.diff(part.starts))
            by_column = np.argsort(part.columns, kind="stable")
            used, begin = np.unique(part.columns[by_column], return_index=True)
            if len(used):
                slope = np.add.reduceat(
                    error[row[by_column]] * part.values[by_column, None], begin, axis=0
                ).astype(np.float32)
                squares[used] = squared = squares[used] + slope * slope
                weights[used] -= rate * slope / np.sqrt(squared)
            drift = error.sum(axis=0)
            bias_squares += drift * drift
            bias -= 0.1 * rate * drift / np.sqrt(bias_squares)
    return weights, bias


def _scaled(rows: Rows, slots: npt.NDArray[np.int32], idf: Floats) -> Rows:
    """Known entries times their inverse document frequency, each row scaled to length 1."""
    import numpy as np

    place = slots[rows.columns]
    seen = np.flatnonzero(place >= 0)
    starts = np.searchsorted(seen, rows.starts)
    used = place[seen]
    values = rows.values[seen] * idf[used]
    length = np.sqrt(_sums(starts, (values * values)[:, None])[:, 0])
    return Rows(starts, used, values / np.repeat(np.maximum(length, np.float32(1e-6)), np.diff(starts)))


def _sums(starts: Ints, entries: Floats) -> Floats:
    """Sums of `entries` row by row; rows without entries give zeros."""
    import numpy as np

    out = np.zeros((len(starts) - 1, entries.shape[1]), dtype=np.float32)
    filled = starts[1:] > starts[:-1]
    if filled.any():
        out[filled] = np.add.reduceat(entries, starts[:-1][filled], axis=0)
    return out


@dataclass(frozen=True)
class Dense:
    """A regression over vectors: logits = vector @ weights + bias (standardisation is folded in)."""

    weights: Floats
    """[dimensions, labels]."""
    bias: Floats
    """[labels]."""

    def logits(self, vectors: Floats) -> Floats:
        """[vectors, labels]."""
        result: Floats = vectors @ self.weights + self.bias
        return result


def fit_dense(vectors: Floats, truth: Ints, classes: int, steps: int = 150) -> Dense:
    """A regression of `truth` on vectors [n, dimensions]; the penalty is 15 x squared weights over n."""
    import numpy as np

    penalty = 30.0 / len(truth)
    mean, spread = vectors.mean(axis=0), np.maximum(vectors.std(axis=0), 1e-6)
    inputs = ((vectors - mean) / spread).astype(np.float32)
    wanted = np.zeros((len(truth), classes), dtype=np.float32)
    wanted[np.arange(len(truth)), truth] = 1
    weights, bias = np.zeros((inputs.shape[1], classes), dtype=np.float32), np.log(wanted.mean(axis=0) + 1e-4)
    # The loss has no more curvature than half the largest eigenvalue of the inputs' second moment.
    top = float(np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1])
    rate = 1.0 / (0.5 * top + penalty)
    ahead, before = weights, weights
    for step in range(steps):
        error = (softmax(inputs @ ahead + bias) - wanted) / len(inputs)
        weights = ahead - rate * (inputs.T @ error + penalty * ahead)
        bias = bias - error.sum(axis=0)
        ahead = weights + step / (step + 3) * (weights - before)
        before = weights
    folded = (weights / spread[:, None]).astype(np.float32)
    return Dense(folded, (bias - mean @ folded).astype(np.float32))
