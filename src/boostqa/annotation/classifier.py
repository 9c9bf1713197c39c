"""Bulk classifier of texts: `fit`, then `predict` with calibrated probabilities; no GPU, any language.

The default is a softmax regression over hashed words, characters and stems (`features.py`, `regression.py`).
With an encoder (`encoder.py`, an extra) a second regression over sentence vectors is added. The logits of the
regressions are weighted so that answers held out of the fit are most likely, which is temperature scaling (Guo
et al., ICML 2017) for one model and a logarithmic pool for two; then the largest probability is put right by a
logistic curve over its log-odds (Platt, 1999): labels that are wrong themselves keep the surest guess from being
right. The order of the examples does not matter: they are put into the order of their texts' hashes first. Knows
nothing of records or taxonomies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from boostqa.annotation import features
from boostqa.annotation.evaluation import calibration_error
from boostqa.annotation.regression import Dense, Sparse, fit_dense, fit_sparse, softmax
from boostqa.errors import UserError
from boostqa.identity import digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

FOLDS = 8
"""Parts of the examples of which one is held out; so small that calibration sees nearly the final model."""
_FORMAT = 2
"""Of a saved classifier; raised when features change, because weights of others mean nothing then."""
_MANY = 6000
"""Texts beyond which one fold says enough; else four of them are held out in turn."""


class Encoder(Protocol):
    """What turns texts into vectors."""

    name: str
    """Kept with a fitted classifier: it needs the same encoder to predict."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """[texts, dimensions]."""


@dataclass(frozen=True)
class Classifier:
    """Labels, weights and calibration; `predict` is all that is done with it."""

    labels: tuple[str, ...]
    sparse: Sparse
    scale: tuple[float, float]
    """Weights of the sparse and the dense logits."""
    curve: tuple[float, float]
    """Slope and offset of the logistic curve from the largest probability's log-odds to how often it is right."""
    prior: tuple[float, ...]
    """Share of each label among the examples: what is said of a text of which nothing is known."""
    dense: Dense | None = None
    encoder: Encoder | None = field(default=None, compare=False)

    def predict(self, texts: Sequence[str], rows: features.Rows | None = None) -> Floats:
        """Calibrated probability of each label for each text, [texts, labels]; rows sum to 1.

        `rows` may be given where several classifiers read the same texts: `features.rows(texts)`.
        """
        import numpy as np

        rows = features.rows(texts) if rows is None else rows
        logits = np.float32(self.scale[0]) * self.sparse.logits(rows)
        if self.dense and self.encoder and len(texts):
            logits = logits + np.float32(self.scale[1]) * self.dense.logits(self.encoder.encode(texts))
        chances = _corrected(softmax(logits), self.curve)
        chances[~self.sparse.known(rows)] = self.prior
        return chances

    def to_state(self) -> dict[str, Any]:
        """Plain data and one table (`weights`), to be kept in a gather's state."""
        state: dict[str, Any] = {
            "labels": list(self.labels),
            "scale": list(self.scale),
            "curve": list(self.curve),
            "prior": list(self.prior),
            "bias": self.sparse.bias.tolist(),
            "weights": self.sparse.to_table(),
        }
        if self.dense and self.encoder:
            dense = {"weights": self.dense.weights.tolist(), "bias": self.dense.bias.tolist()}
            state |= {"encoder": self.encoder.name, "dense": dense}
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any], encoder: Encoder | None = None) -> Classifier:
        """The classifier that `to_state` described; `encoder` where it was fitted with one.

        Raises:
            UserError: if it was fitted with an encoder and another one, or none, is given.
        """
        import numpy as np

        wanted = state.get("encoder")
        if wanted != (encoder.name if encoder else None):
            given = encoder.name if encoder else "none"
            raise UserError(
                f"the classifier was fitted with the encoder {wanted or 'none'}, not {given}; pass that"
            )
        sparse = Sparse.from_table(state["weights"], state["bias"])
        dense = None
        if wanted:
            found = state["dense"]
            dense = Dense(np.array(found["weights"], np.float32), np.array(found["bias"], np.float32))
        scale, curve = tuple(state["scale"]), tuple(state["curve"])
        return cls(tuple(state["labels"]), sparse, scale, curve, tuple(state["prior"]), dense, encoder)


def save(path: Path, heads: dict[str, Classifier], about: dict[str, Any]) -> None:
    """Writes classifiers into a folder: `model.json` and one Arrow file of weights per head.

    Raises:
        UserError: if the folder cannot be written.
    """
    import pyarrow as pa

    plain: dict[str, Any] = {"format": _FORMAT, "about": about, "heads": {}}
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, classifier in heads.items():
            state = classifier.to_state()
            with pa.OSFile(str(path / f"{name}.arrow"), "wb") as sink:
                table = state.pop("weights")
                with pa.ipc.new_file(sink, table.schema) as writer:
                    writer.write_table(table)
            plain["heads"][name] = state
        (path / "model.json").write_bytes(msgspec.json.encode(plain))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another folder") from None


def load(path: Path, encoder: Callable[[str], Encoder]) -> tuple[dict[str, Classifier], dict[str, Any]]:
    """Classifiers by head and what was said about them; `encoder` makes one by its name, where one is needed.

    Raises:
        UserError: if the folder is not what `save` writes.
    """
    import pyarrow as pa

    try:
        plain = msgspec.json.decode((path / "model.json").read_bytes())
        if plain["format"] != _FORMAT:
            raise UserError(
                f"{path}: was fitted by another version of boostqa; make it again with `boostqa annotate fit`"
            )
        heads = {}
        for name, state in plain["heads"].items():
            with pa.memory_map(str(path / f"{name}.arrow")) as source:
                state["weights"] = pa.ipc.open_file(source).read_all()
            made = encoder(state["encoder"]) if state.get("encoder") else None
            heads[name] = Classifier.from_state(state, made)
    except (OSError, KeyError, TypeError, msgspec.DecodeError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path}: is not a fitted classifier ({error}); make one with `boostqa annotate fit`"
        ) from None
    return heads, plain["about"]


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


def fit(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    encoder: Encoder | None = None,
    vectors: Floats | None = None,
) -> tuple[Classifier, Trial]:
    """A classifier of `texts`, and how it does on eighths of them that it was not fitted on.

    Args:
        texts: what is to be labelled; only the first 4,000 characters of each are read.
        labels: one for each text.
        groups: texts of one group are never on both sides; by default equal texts are a group.
        encoder: for a second regression over sentence vectors.
        vectors: what `encoder` gives for the texts, where that is known already.

    Raises:
        ValueError: with fewer than two labels or fewer than ten texts.
    """
    import numpy as np

    names = tuple(sorted({str(label) for label in labels}))
    if len(names) < 2 or len(texts) < 10:
        raise ValueError(f"fit: needs 10 texts and 2 labels, got {len(texts)} and {len(names)}")
    keys = [digest(text, label) for text, label in zip(texts, labels, strict=True)]
    order = np.array(sorted(range(len(texts)), key=lambda i: keys[i]), dtype=np.int64)
    place = {name: i for i, name in enumerate(names)}
    truth = np.array([place[labels[i]] for i in order])
    rows = features.rows([texts[i] for i in order])
    if encoder and vectors is None:
        vectors = encoder.encode(texts)
    inputs = vectors[order] if encoder and vectors is not None else None
    folds = np.array([int(digest(groups[i] if groups else texts[i])[:8], 16) % FOLDS for i in order])
    found, where = _held_out(rows, inputs, truth, folds, len(names))
    # Where nothing could be held out, the probabilities stay as the regressions give them.
    scale = _pool(found, truth[where]) if len(where) else (1.0, 0.0) if inputs is None else (0.5, 0.5)
    chance = softmax(scale[0] * found[0] + scale[1] * found[1])
    curve = platt(chance.max(axis=1), chance.argmax(axis=1) == truth[where])
    chance = _corrected(chance, curve)
    trial = Trial(
        [names[t] for t in truth[where]],
        [names[g] for g in chance.argmax(axis=1)],
        calibration_error(chance.max(axis=1), chance.argmax(axis=1) == truth[where]),
    )
    sparse = fit_sparse(rows, truth, len(names))
    dense = fit_dense(inputs, truth, len(names)) if inputs is not None else None
    prior = tuple(float(share) for share in np.bincount(truth, minlength=len(names)) / len(truth))
    return Classifier(names, sparse, scale, curve, prior, dense, encoder), trial


def _held_out(
    rows: features.Rows, inputs: Floats | None, truth: Ints, folds: Ints, classes: int
) -> tuple[tuple[Floats, Floats], Ints]:
    """Logits of the sparse and the dense model (zeros without) for what they were not fitted on, and its places.

    None where all texts are in one fold: with one group, sometimes with two or three.
    """
    import numpy as np

    filled = np.unique(folds)
    tested, sparse, dense = [np.zeros(0, dtype=np.int64)], [np.zeros((0, classes), dtype=np.float32)], []
    for fold in filled[: 1 if len(truth) > _MANY else FOLDS // 2] if len(filled) > 1 else ():
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        model = fit_sparse(features.take(rows, inside), truth[inside], classes)
        sparse.append(model.logits(features.take(rows, outside)))
        if inputs is not None:
            dense.append(fit_dense(inputs[inside], truth[inside], classes).logits(inputs[outside]))
        tested.append(outside)
    first = np.concatenate(sparse)
    second = np.concatenate(dense) if dense else np.zeros_like(first)
    return (first, second), np.concatenate(tested)


def _pool(logits: tuple[Floats, Floats], truth: Ints) -> tuple[float, float]:
    """Weights of the two logits under which the held-out labels are most likely, one after the other, thrice."""
    import numpy as np

    def loss(first: float, second: float) -> float:
        scaled = first * logits[0].astype(np.float64) + second * logits[1]
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.mean(total - scaled[np.arange(len(truth)), truth]))

    if not logits[1].any():
        return smallest(lambda first: loss(first, 0.0)), 0.0
    one, two = 0.5, 0.5
    for _ in range(3):
        one = smallest(lambda first, two=two: loss(first, two))  # type: ignore[misc]
        two = smallest(lambda second, one=one: loss(one, second))  # type: ignore[misc]
    return one, two


def _odds(confidence: npt.NDArray[np.floating]) -> Floats:
    import numpy as np

    clipped = np.clip(confidence, 1e-4, 1 - 1e-4)
    found: Floats = np.log(clipped / (1 - clipped))
    return found


def platt(confidence: npt.NDArray[np.floating], hit: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset under which the hits are most likely, by Newton's method.

    Targets are Platt's, a little inside 0 and 1, and a weak prior holds slope 1 and offset 0 where there is little.
    """
    import numpy as np

    x = np.stack([_odds(confidence).astype(np.float64), np.ones(len(hit))], axis=1)
    right = int(hit.sum())
    target = np.where(hit, (right + 1) / (right + 2), 1 / (len(hit) - right + 2))
    found, start = np.array([1.0, 0.0]), np.array([1.0, 0.0])
    for _ in range(25):
        chance = 1 / (1 + np.exp(-x @ found))
        slope = x.T @ (chance - target) + 4 * (found - start)
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + 4 * np.eye(2)
        found = found - np.linalg.solve(curvature, slope)
    return max(0.1, float(found[0])), float(found[1])


def curved(confidence: npt.NDArray[np.floating], curve: tuple[float, float]) -> Floats:
    """Confidences moved along a curve that `platt` found."""
    import numpy as np

    found: Floats = 1 / (1 + np.exp(-(curve[0] * _odds(confidence) + curve[1])))
    return found


def _corrected(chances: Floats, curve: tuple[float, float]) -> Floats:
    """The largest of each row moved along the curve, the others scaled to what is left; the order stays."""
    import numpy as np

    top = chances.argmax(axis=1)
    rows = np.arange(len(chances))
    before = chances[rows, top]
    after = curved(before, curve)
    others = (1 - after) / np.maximum(1 - before, 1e-6)
    result = chances * others[:, None]
    # A label that was the most likely one stays it.
    result[rows, top] = 0
    after = np.maximum(after, result.max(axis=1))
    result[rows, top] = after
    final: Floats = (result / result.sum(axis=1, keepdims=True)).astype(np.float32)
    return final


def smallest(loss: Callable[[float], float]) -> float:
    """The argument between e^-4 and e^4 of the smallest loss: golden section over its logarithm."""
    low, high = -4.0, 4.0
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(30):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(math.exp(left)) < loss(math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
