"""Which indexed question says what another one says in other words: exact search over sentence vectors.

For what shares too few words to be found by them. Cosines of a small encoder are high for all that is about the same
(e5: some 0.85 for two questions of one field), and the highest are those of problems made from one template; so a
question counts as a paraphrase only if it has the same numbers. Knows nothing of benchmarks and stages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from boostqa.annotation.encoder import encoder
from boostqa.flows.overlap import plain
from boostqa.text.normalise import fold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Vectors = npt.NDArray[np.float32]
    Indexes = npt.NDArray[np.int64]

BLOCK = 8_192
"""Known vectors that are compared at once: 12 MB of them."""

_NUMBER = re.compile(r"\d[\d.]{0,30}")


def vectors(name: str, texts: Sequence[str]) -> Vectors:
    """The vectors of texts by the encoder of that name, [texts, dimensions], length 1 each.

    Raises:
        UserError: if there is no such encoder, or it is not installed.
    """
    return encoder(name).encode([plain(text) for text in texts])


def nearest(asked: Vectors, known: Vectors) -> tuple[Vectors, Indexes]:
    """The largest cosine of each vector with a known one, and which that is; the first of equal ones.

    Exact; memory grows with `BLOCK`, not with the known ones. Raises ValueError without known ones.
    """
    import numpy as np

    best = np.full(len(asked), -1.0, dtype=np.float32)
    which = np.zeros(len(asked), dtype=np.int64)
    if not len(known):
        raise ValueError("no vectors to compare with")
    for start in range(0, len(known), BLOCK):
        scores = asked @ known[start : start + BLOCK].astype(np.float32).T
        at = scores.argmax(axis=1)
        found = scores[np.arange(len(asked)), at]
        better = found > best
        best[better], which[better] = found[better], start + at[better]
    return best, which


def numbers(text: str) -> str:
    """The numbers of a text in order of size, as one word; equal for texts with the same numbers."""
    return " ".join(sorted(one.rstrip(".") for one in _NUMBER.findall(fold(plain(text)))))


def state_of(name: str, ids: Sequence[str], texts: Sequence[str]) -> pa.Table:
    """What is kept of known questions: name, numbers and vector (half floats) of each."""
    import numpy as np
    import pyarrow as pa

    from boostqa.table import pack

    made = vectors(name, texts).astype(np.float16)
    return pa.table({"name": list(ids), "numbers": [numbers(text) for text in texts], "vector": pack(made)})


def paraphrased(name: str, known: pa.Table, texts: Sequence[str]) -> list[tuple[float, str]]:
    """For each text the largest cosine with a known question of the same numbers, 0..1, and that question's name.

    Of each text only its nearest question counts; another one, or other numbers, give (0.0, "").
    """
    import numpy as np

    from boostqa.table import unpack

    if not texts:
        return []
    best, which = nearest(vectors(name, texts), unpack(known["vector"], np.float16))
    found = known.select(["name", "numbers"]).take(which).to_pylist()
    return [
        (min(1.0, max(0.0, float(score))), row["name"]) if row["numbers"] == numbers(text) else (0.0, "")
        for score, row, text in zip(best, found, texts, strict=True)
    ]
