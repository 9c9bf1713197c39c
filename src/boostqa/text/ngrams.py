"""Hashed n-grams as numpy arrays.

A token is a word, or a single character of Han and kana (see `normalise.words`), so the same word n-grams are
character n-grams for Chinese. Hashes are 64-bit, equal on every machine, and not secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from boostqa.text.normalise import fold, words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15


def token_hashes(tokens: Sequence[str]) -> Hashes:
    """One 64-bit hash per token; uint64[len(tokens)]."""
    import numpy as np
    import xxhash

    digest = xxhash.xxh3_64_intdigest
    return np.array([digest(token.encode("utf-8", "surrogatepass")) for token in tokens], dtype=np.uint64)


def combine(hashes: Hashes, n: int) -> Hashes:
    """Hashes of all runs of `n` neighbours; uint64[len - n + 1].

    Fewer than `n` make one run of all of them, so that a short text still compares; none make none.
    """
    import numpy as np

    count = min(n, len(hashes))
    if count == 0:
        return np.empty(0, dtype=np.uint64)
    last = len(hashes) - count + 1
    runs = np.full(last, count, dtype=np.uint64)
    for offset in range(count):
        runs *= np.uint64(_BASE)
        runs += hashes[offset : offset + last]
    return mix(runs)


def mix(hashes: Hashes) -> Hashes:
    """The hashes with all bits spread (the finaliser of MurmurHash3), same shape."""
    import numpy as np

    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes *= np.uint64(0xFF51AFD7ED558CCD)
    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(0xC4CEB9FE1A85EC53)
    hashes ^= hashes >> np.uint64(33)
    return hashes


def word_ngrams(text: str, n: int) -> Hashes:
    """Hashes of the word n-grams of `text` in order of appearance (Han and kana: character n-grams)."""
    return combine(token_hashes(words(text)), n)


def char_ngrams(text: str, n: int) -> Hashes:
    """Hashes of the character n-grams of the folded text, spaces included."""
    import numpy as np

    codes = np.frombuffer(fold(text).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return combine(mix(codes.astype(np.uint64)), n)
