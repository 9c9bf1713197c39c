"""MinHash signatures and their bands.

A signature is uint32[bands * rows] over the word 5-grams of a text (character 5-grams for Chinese, see `ngrams`).
Two texts that share a band hash are candidates; the share of places in which their signatures are equal
estimates how alike they are. The hash functions are fixed for ever: signatures of different rounds and machines
compare.

One hash per n-gram serves all places (one permutation hashing: Li, Owen and Zhang, 2012): its high bits choose
the place, and of those that chose a place the smallest value stays. A place that nobody chose takes the value of
the first filled one in an order of its own (densification: Shrivastava, 2017; here without repeating a place).
Two places are then equal with a probability that is the Jaccard similarity, as with one permutation a place, for
a hundredth of the work.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from boostqa.text import compiled
from boostqa.text.ngrams import mix, runs
from boostqa.text.tokens import blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from boostqa.text.ngrams import Runs

    Signature = npt.NDArray[np.uint32]
    Indexes = npt.NDArray[np.int64]

BANDS = 14
ROWS = 8
NGRAM = 5

_NONE = 0xFFFFFFFF
_AT_ONCE = 1024
"""Signatures that are completed together, so that they stay in the processor's caches."""


class Signatures:
    """Signatures of many texts, each perhaps of several parts (a question and its options)."""

    def __init__(self, texts: int, size: int = BANDS * ROWS) -> None:
        import numpy as np

        self.size = size
        self.values = np.full((texts, size), _NONE, dtype=np.uint32)

    def add(self, parts: Runs, owners: Indexes) -> None:
        """Adds the n-grams of `parts`; part i belongs to text owners[i]."""
        import numpy as np

        if compiled.loops is not None:
            compiled.loops.minima(parts.hashes, parts.counts, owners, self.size, self.values)
            return
        places = parts.hashes >> np.uint64(32)
        places *= np.uint64(self.size)
        places >>= np.uint64(32)
        at = places.view(np.int64)
        at += np.repeat(owners * self.size, parts.counts)
        np.minimum.at(self.values.reshape(-1), at, parts.hashes.astype(np.uint32))

    def finished(self) -> Signature:
        """The signatures, complete; uint32[texts, size]. A text without tokens has the largest value everywhere."""
        if compiled.loops is not None:
            compiled.loops.densify(self.values, _order(self.size), self.size)
            return self.values
        for start in range(0, len(self.values), _AT_ONCE):
            _densify(self.values[start : start + _AT_ONCE])
        return self.values


@cache
def _order(size: int) -> npt.NDArray[np.int64]:
    """The order in which each place looks for a filled one, itself first; [rank, place]."""
    import numpy as np
    import xxhash

    def drawn(place: int, other: int) -> tuple[bool, int]:
        return other != place, xxhash.xxh3_64_intdigest(b"boostqa minhash %d %d" % (place, other))

    orders = [sorted(range(size), key=lambda other: drawn(place, other)) for place in range(size)]
    return np.array(orders, dtype=np.int64).T.copy()


@cache
def _ranks(size: int) -> npt.NDArray[np.uint16]:
    """The inverse of `_order`; [filled place, place that looks]."""
    import numpy as np

    order = _order(size)
    ranks = np.empty((size, size), dtype=np.uint16)
    for rank in range(size):
        ranks[order[rank], np.arange(size)] = rank
    return ranks


def _densify(values: Signature) -> None:
    """Fills the empty places of signatures, in place."""
    import numpy as np

    size = values.shape[1]
    order = _order(size)
    filled = values != _NONE
    count = filled.sum(axis=1)
    # Where few places are filled, looking for the first of them takes long: the lowest rank tells it at once.
    sparse = np.flatnonzero((count > 0) & (count < size / 2))
    if len(sparse):
        row, place = np.nonzero(filled[sparse])
        lowest = np.minimum.reduceat(
            _ranks(size)[place], np.searchsorted(row, np.arange(len(sparse))), axis=0
        )
        values[sparse] = values[sparse[:, None], order[lowest, np.arange(size)]]
    row, place = np.nonzero(~filled & (count >= size / 2)[:, None])
    before, rank = values.copy() if len(row) else values, 1
    while len(row):
        found = before[row, order[rank, place]]
        values[row, place] = found
        left = found == _NONE
        row, place, rank = row[left], place[left], rank + 1


def signatures(
    texts: pa.Array | Sequence[str], *, bands: int = BANDS, rows: int = ROWS, n: int = NGRAM
) -> Signature:
    """Signatures of whole texts; uint32[len(texts), bands * rows].

    A text of fewer than `n` tokens counts as one n-gram, so it meets only its equals. A text without tokens
    gets the largest values, so all such texts are alike.
    """
    import numpy as np

    result = Signatures(len(texts), bands * rows)
    for block in blocks(texts):
        found = runs(block, n)
        result.add(found, block.first + np.arange(len(found.counts)))
    return result.finished()


def band_hashes(signature: Signature, bands: int = BANDS) -> npt.NDArray[np.uint64]:
    """Hash of each band, different for equal values in different bands.

    uint32[bands * rows] -> uint64[bands], or uint32[N, bands * rows] -> uint64[N, bands].

    Raises:
        ValueError: if the signature does not divide into `bands`.
    """
    import numpy as np

    length = signature.shape[-1]
    if length % bands:
        raise ValueError(f"band_hashes: a signature of {length} values does not divide into {bands} bands")
    parts = signature.reshape(*signature.shape[:-1], bands, length // bands)
    hashes = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), parts.shape[:-1]).copy()
    for row in range(parts.shape[-1]):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += parts[..., row]
        hashes ^= hashes >> np.uint64(29)
    return mix(hashes)
