"""Hashed n-grams and hashed features as numpy arrays.

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

BUCKETS = 2**18
_BASE = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


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


def features(text: str, buckets: int = BUCKETS) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Hashed features for a linear classifier: word 1-2-grams and character 3-5-grams.

    Returns (columns, values): sorted distinct columns in 0..buckets-1 and their weights 1 + ln(count),
    scaled to length 1. A text without tokens has no features.
    """
    import numpy as np

    tokens = token_hashes(words(text))
    codes = np.frombuffer(fold(text).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    chars = mix(codes.astype(np.uint64))
    parts = [combine(tokens, n) for n in (1, 2) if len(tokens) >= n]
    # Another salt for characters: a one-word text must not count its word twice under one hash.
    parts += [combine(chars, n) ^ np.uint64(_BASE >> n) for n in (3, 4, 5) if len(chars) >= n]
    if not parts:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    columns, counts = np.unique(np.concatenate(parts) % np.uint64(buckets), return_counts=True)
    values = 1.0 + np.log(counts)
    values /= np.sqrt(np.sum(values * values))
    return columns.astype(np.int32), values.astype(np.float32)


def feature_rows(
    texts: Sequence[str], buckets: int = BUCKETS
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """`features` of many texts as (starts, columns, values): row i is the slice starts[i]:starts[i+1]."""
    import numpy as np

    rows = [features(text, buckets) for text in texts]
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    if not rows:
        return starts, np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    np.cumsum([len(columns) for columns, _ in rows], out=starts[1:])
    return starts, np.concatenate([c for c, _ in rows]), np.concatenate([v for _, v in rows])
