"""How much of a text was copied from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boostqa.text.ngrams import combine, token_hashes
from boostqa.text.normalise import cjk_share, words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WORD_RUNS = (5, 3)
"""Words in a run that proves copying, and in one that counts once copying is proven."""
CJK_RUNS = (8, 4)
PROVEN = 0.25
"""Share of tokens in long runs from which a text counts as copied, so that its short runs count too."""


def copy_share(candidate: str, source: str) -> float:
    """Share of the candidate's tokens, 0..1, that stand in runs which the source has too.

    Runs are 5 words, or 8 characters where Han and kana prevail; where these cover a quarter, shorter
    runs between edits count as well. A candidate of fewer than two long runs is judged by short ones. A
    verbatim copy of any part of the source scores 1.0, a lightly edited one stays high, an independent
    text is near 0. A candidate without tokens scores 0.0.
    """
    tokens, theirs = token_hashes(words(candidate)), token_hashes(words(source))
    if len(tokens) == 0:
        return 0.0
    long, short = CJK_RUNS if cjk_share(candidate) > 0.5 else WORD_RUNS
    if len(tokens) >= 2 * long:
        share = _covered(tokens, theirs, long)
        if share < PROVEN:
            return share
    return _covered(tokens, theirs, min(short, len(tokens)))


def _covered(tokens: npt.NDArray[np.uint64], theirs: npt.NDArray[np.uint64], run: int) -> float:
    import numpy as np

    if len(theirs) < run:
        return 0.0
    starts = np.flatnonzero(np.isin(combine(tokens, run), combine(theirs, run)))
    depth = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.add.at(depth, starts, 1)
    np.add.at(depth, starts + run, -1)
    return float(np.count_nonzero(np.cumsum(depth[:-1]))) / len(tokens)
