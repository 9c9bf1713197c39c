"""Hashed n-grams as numpy arrays, and how much of a text was copied from another.

A token is a word, or a single character of Han and kana (see `normalise.words`), so the same word n-grams are
character n-grams for Chinese. Hashes are 64-bit, equal on every machine, and not secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from boostqa.text import compiled
from boostqa.text.normalise import cjk_share
from boostqa.text.tokens import Tokens, tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Indexes = npt.NDArray[np.int64]

WORD_RUNS = (5, 3)
"""Words in a run that proves copying, and in one that counts once copying is proven."""
CJK_RUNS = (8, 4)
PROVEN = 0.25
"""Share of tokens in long runs from which a text counts as copied, so that its short runs count too."""
BASE = 0x9E3779B97F4A7C15
"""Odd number whose powers stand for places in hashes of neighbours: 2^64 over the golden ratio."""
_MASK = 2**64 - 1


class Runs(NamedTuple):
    """The n-grams of neighbouring texts."""

    hashes: Hashes
    """uint64[runs], in order of appearance."""
    counts: Indexes
    """int64[texts]: how many of them each text has."""

    def sums(self) -> Hashes:
        """Sum of each text's hashes, modulo 2**64: equal for texts with the same n-grams; uint64[texts]."""
        import numpy as np

        result = np.zeros(len(self.counts), dtype=np.uint64)
        some = np.flatnonzero(self.counts)
        if len(some):
            result[some] = np.add.reduceat(self.hashes, (np.cumsum(self.counts) - self.counts)[some])
        return result


def windows(hashes: Hashes, n: int) -> Hashes:
    """Hashes of all runs of `n` neighbours, whatever texts they are of; uint64[max(0, len - n + 1)]."""
    import numpy as np

    last = len(hashes) - n + 1
    if last <= 0:
        return np.empty(0, dtype=np.uint64)
    found = np.empty(last, dtype=np.uint64)
    if compiled.loops is not None:
        compiled.loops.runs(hashes, np.array([0, len(hashes)]), n, found)
        return found
    # A polynomial over the hashes by doubling: place i of `power` stands for the neighbours i .. i + size.
    base, size, done = BASE, 1, 0
    power = hashes
    # Runs of different lengths are never the same.
    found[:] = np.uint64(n * BASE & _MASK)
    while True:
        if n & size:
            if done:
                found *= np.uint64(base)
            found += power[done : done + last]
            done += size
        if done == n:
            break
        longer = power[:-size] * np.uint64(base)
        longer += power[size:]
        base, size, power = base * base & _MASK, size * 2, longer
    return mix(found)


def combine(hashes: Hashes, n: int) -> Hashes:
    """Hashes of all runs of `n` neighbours of one text; uint64[len - n + 1].

    Fewer than `n` make one run of all of them, so that a short text still compares; none make none.
    """
    return windows(hashes, max(1, min(n, len(hashes))))


def runs(block: Tokens, n: int, hashes: Hashes | None = None) -> Runs:
    """`combine` for every text of a block; `hashes` may stand for those of the block's tokens."""
    import numpy as np

    hashes = block.hashes if hashes is None else hashes
    starts = block.starts
    lengths = np.diff(starts)
    counts = np.maximum(lengths - (n - 1), np.minimum(lengths, 1))
    if compiled.loops is not None:
        found = np.empty(int(counts.sum()), dtype=np.uint64)
        compiled.loops.runs(hashes, starts, n, found)
        return Runs(found, counts)
    short = np.flatnonzero((lengths > 0) & (lengths < n))
    found = np.empty(len(hashes), dtype=np.uint64)
    full = windows(hashes, n)
    found[: len(full)] = full
    for length in np.unique(lengths[short]).tolist():
        at = starts[short[lengths[short] == length]]
        found[at] = windows(hashes[(at[:, None] + np.arange(length)).reshape(-1)], length)[::length]
    # What is left at the end of each text runs over into the next one.
    over = lengths - counts
    stay = np.ones(len(hashes), dtype=bool)
    behind = np.repeat(starts[1:] - np.cumsum(over), over)
    stay[behind + np.arange(len(behind))] = False
    return Runs(found[stay], counts)


def mix(hashes: Hashes) -> Hashes:
    """The hashes with their bits spread, same shape; a bijection."""
    import numpy as np

    hashes = hashes ^ (hashes >> np.uint64(32))
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    return hashes


def word_ngrams(text: str, n: int) -> Hashes:
    """Hashes of the word n-grams of `text` in order of appearance (Han and kana: character n-grams)."""
    return combine(tokens([text]).hashes, n)


def copy_share(candidate: str, source: str) -> float:
    """Share of the candidate's tokens, 0..1, that stand in runs which the source has too.

    Runs are 5 words, or 8 characters where Han and kana prevail; where these cover a quarter, shorter
    runs between edits count as well. A candidate of fewer than two long runs is judged by short ones. A
    verbatim copy of any part of the source scores 1.0, a lightly edited one stays high, an independent
    text is near 0. A candidate without tokens scores 0.0.
    """
    ours, theirs = tokens([candidate]).hashes, tokens([source]).hashes
    if len(ours) == 0:
        return 0.0
    long, short = CJK_RUNS if cjk_share(candidate) > 0.5 else WORD_RUNS
    if len(ours) >= 2 * long:
        share = _covered(ours, theirs, long)
        if share < PROVEN:
            return share
    return _covered(ours, theirs, min(short, len(ours)))


def _covered(ours: Hashes, theirs: Hashes, run: int) -> float:
    import numpy as np

    if len(theirs) < run:
        return 0.0
    starts = np.flatnonzero(np.isin(combine(ours, run), combine(theirs, run)))
    depth = np.zeros(len(ours) + 1, dtype=np.int64)
    np.add.at(depth, starts, 1)
    np.add.at(depth, starts + run, -1)
    return float(np.count_nonzero(np.cumsum(depth[:-1]))) / len(ours)
