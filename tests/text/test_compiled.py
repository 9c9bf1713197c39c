from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boostqa.text import compiled, minhash, ngrams
from boostqa.text.measures import measure
from boostqa.text.tokens import Tokens, tokens

pytestmark = pytest.mark.skipif(compiled.loops is None, reason="the package was built without a compiler")

# Letters of one to four bytes, half and full width, combining marks, operators, and halves of surrogate pairs.
ODD = "aZ059 .,-/+*^=<>%|_(){}!\n\0é中文カｶ한，％½ﬁİ\u0301\u3099−×≤\u00ad😀\ue000𝟘\ud800\udc00"
TEXT = st.text(alphabet=ODD) | st.text(alphabet="ab ", max_size=60) | st.text()


@contextmanager
def without_loops() -> Iterator[None]:
    loops, compiled.loops = compiled.loops, None
    try:
        yield
    finally:
        compiled.loops = loops


def same(found: Tokens, want: Tokens) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found[:3], want[:3], strict=True))


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, max_size=6), st.integers(1, 20))
@example(["a" * length for length in range(1, 40)], 2)
@example(["to be or not to be " * 30, "word " * 60], 3)
@example([], 1)
@example(["", " ", "+" * 30, "ab" * 500, "é" * 31 + "+x"], 5)
def test_compiled_loops_and_numpy_agree_to_the_last_bit(texts: list[str], n: int) -> None:
    found = tokens(texts)
    runs, windows = ngrams.runs(found, n), ngrams.windows(found.hashes, n)
    counts = measure(texts)
    signatures = minhash.signatures(texts, n=n, bands=5, rows=3)
    with without_loops():
        assert same(found, tokens(texts))
        again = ngrams.runs(found, n)
        assert np.array_equal(runs.hashes, again.hashes)
        assert np.array_equal(runs.counts, again.counts)
        assert np.array_equal(windows, ngrams.windows(found.hashes, n))
        assert counts == measure(texts)
        assert np.array_equal(signatures, minhash.signatures(texts, n=n, bands=5, rows=3))


def test_arrays_that_are_too_short_are_refused() -> None:
    assert compiled.loops is not None
    folded, borders = np.zeros(40, np.uint8), np.array([0, 24])
    eight, four = np.zeros(40, np.uint64), np.zeros(8, np.uint32)
    with pytest.raises(ValueError, match="words: an array is too short"):
        compiled.loops.words(folded, borders, eight[:10], np.zeros(40, np.uint8), np.zeros(2, np.int64))
    for starts in ([0, 41], [0, 30, 20], [-1, 5], [-(2**62), 5], [0, 2**62]):
        with pytest.raises(ValueError, match="runs: an array is too short"):
            compiled.loops.runs(eight, np.array(starts), 2, np.zeros(40, np.uint64))
    with pytest.raises(ValueError, match="runs"):
        compiled.loops.runs(eight, np.array([0, 40]), 2, np.zeros(38, np.uint64))
    with pytest.raises(ValueError, match="densify: an array is too short"):
        compiled.loops.densify(four, np.array([0, 1, 2, 3, 9, 0, 0, 0, 0]), 3)
    for size in (0, -1, 2**32, 2**62):
        with pytest.raises(ValueError, match="densify"):
            compiled.loops.densify(four, np.zeros(9, np.int64), size)
    for counts in ([41], [-1], [30, 30], [2**62] * 4):
        with pytest.raises(ValueError, match="different: an array is too short"):
            compiled.loops.different(eight, np.array(counts), np.zeros(2, np.int64))
    for counts, owners in (([41], [0]), ([5], [2]), ([5], [-1]), ([5, 5], [0]), ([2**62] * 4, [0] * 4)):
        with pytest.raises(ValueError, match="minima: an array is too short"):
            compiled.loops.minima(eight, np.array(counts), np.array(owners), 4, four)
