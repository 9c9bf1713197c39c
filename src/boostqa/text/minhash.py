"""MinHash signatures and their bands.

A signature is uint32[bands * rows]: the smallest value of each hash function over the word 5-grams of a text
(character 5-grams for Chinese, see `ngrams`). Two texts that share a band hash are candidates; `jaccard` of
their signatures estimates how alike they are. The hash functions are fixed for ever: signatures of different
rounds and machines compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from boostqa.text.ngrams import mix, word_ngrams

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Signature = npt.NDArray[np.uint32]

BANDS = 14
ROWS = 8
NGRAM = 5


@cache
def _functions(count: int) -> tuple[Signature, Signature]:
    """Odd factors and addends of `count` permutations of 32-bit values, derived from their number alone."""
    import numpy as np
    import xxhash

    factors = [xxhash.xxh3_64_intdigest(b"boostqa minhash factor %d" % i) >> 32 | 1 for i in range(count)]
    addends = [xxhash.xxh3_64_intdigest(b"boostqa minhash addend %d" % i) >> 32 for i in range(count)]
    return np.array(factors, dtype=np.uint32), np.array(addends, dtype=np.uint32)


def signature(text: str, *, bands: int = BANDS, rows: int = ROWS, n: int = NGRAM) -> Signature:
    """Signature of one text; uint32[bands * rows].

    A text of fewer than `n` tokens counts as one n-gram, so it meets only its equals. A text without tokens
    gets the largest values, so all such texts are alike.
    """
    import numpy as np

    # 32 bits are enough within one text, and ten times faster here than 64.
    shingles = (word_ngrams(text, n) >> np.uint64(32)).astype(np.uint32)
    factors, addends = _functions(bands * rows)
    smallest = np.full(bands * rows, 0xFFFFFFFF, dtype=np.uint32)
    # In slices, so that a long text does not need (its length x functions) of memory.
    for start in range(0, len(shingles), 512):
        values = factors[:, None] * shingles[None, start : start + 512] + addends[:, None]
        np.minimum(smallest, values.min(axis=1), out=smallest)
    return smallest


def signatures(
    texts: Sequence[str], *, bands: int = BANDS, rows: int = ROWS, n: int = NGRAM
) -> npt.NDArray[np.uint32]:
    """Signatures of many texts; uint32[len(texts), bands * rows]. Prefer it: it is where speed will come."""
    import numpy as np

    result = np.empty((len(texts), bands * rows), dtype=np.uint32)
    for index, text in enumerate(texts):
        result[index] = signature(text, bands=bands, rows=rows, n=n)
    return result


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
    parts = signature.reshape(*signature.shape[:-1], bands, length // bands).astype(np.uint64)
    hashes = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), parts.shape[:-1]).copy()
    for row in range(parts.shape[-1]):
        hashes = mix(hashes * np.uint64(0x9E3779B97F4A7C15) + parts[..., row])
    return hashes


def jaccard(left: Signature, right: Signature) -> float:
    """Estimated Jaccard similarity of two texts, 0..1; standard error about sqrt(J (1 - J) / length)."""
    import numpy as np

    return float(np.mean(left == right))
