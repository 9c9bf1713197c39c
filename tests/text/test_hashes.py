from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from boostqa.text.minhash import Signatures, band_hashes, signatures
from boostqa.text.ngrams import (
    Runs,
    combine,
    copy_share,
    runs,
    word_ngrams,
)
from boostqa.text.tokens import tokens

GOLDEN_NGRAM = 11228203955451451644
GOLDEN_SIGNATURE = [3163946477, 3163946477, 106027260]
VOCABULARY = [f"w{i}" for i in range(3000)]


def signature(text: str) -> Any:
    return signatures([text])[0]


def jaccard(left: Any, right: Any) -> float:
    return float(np.mean(left == right))


def _text(rng: random.Random, length: int) -> list[str]:
    return [rng.choice(VOCABULARY) for _ in range(length)]


def test_hashes_never_change() -> None:
    # Signatures of different rounds, machines and versions meet: these values are a contract.
    assert int(word_ngrams("one two three four five", 5)[0]) == GOLDEN_NGRAM
    assert signature("one two three four five six").tolist()[:3] == GOLDEN_SIGNATURE


def test_ngrams_count_and_short_texts() -> None:
    assert len(word_ngrams("a b c d e f", 5)) == 2
    assert len(word_ngrams("a b", 5)) == 1
    assert len(word_ngrams("", 5)) == 0
    assert len(word_ngrams("一二三四五六七", 5)) == 3
    assert word_ngrams("b a", 2)[0] != word_ngrams("a b", 2)[0]


def test_jaccard_estimate_follows_the_true_value() -> None:
    rng = random.Random(3)
    errors = []
    for changes in [0, 2, 5, 10, 20] * 6:
        first = _text(rng, 150)
        second = list(first)
        for _ in range(changes):
            second[rng.randrange(150)] = rng.choice(VOCABULARY)
        a, b = " ".join(first), " ".join(second)
        ours, theirs = set(word_ngrams(a, 5).tolist()), set(word_ngrams(b, 5).tolist())
        errors.append(jaccard(signature(a), signature(b)) - len(ours & theirs) / len(ours | theirs))
    assert abs(float(np.mean(errors))) < 0.02
    assert float(np.sqrt(np.mean(np.square(errors)))) < 0.06


def _alike(count: int, size: int, shared: int) -> tuple[Any, Any]:
    """Signatures of `count` pairs of random sets of `size` n-grams, `shared` of them in both."""
    rng = np.random.default_rng(size)
    pools = [rng.integers(0, 2**64, 2 * size - shared, dtype=np.uint64) for _ in range(count)]
    both = []
    for part in (slice(0, size), slice(size - shared, None)):
        found = Signatures(count)
        found.add(
            Runs(np.concatenate([pool[part] for pool in pools]), np.full(count, size)), np.arange(count)
        )
        both.append(found.finished())
    return both[0], both[1]


@pytest.mark.parametrize("size", [9, 36, 90, 360])
def test_signatures_estimate_as_well_as_one_permutation_a_place(size: int) -> None:
    # A Jaccard similarity of 0.8, and then what 112 permutations would give: standard deviation 0.038, and a
    # band of 8 in common with a probability of 1 - (1 - 0.8^8)^14 = 0.924. Few n-grams fill few places.
    left, right = _alike(1500, size, size * 8 // 9)
    found = (left == right).mean(axis=1)
    assert float(found.mean()) == pytest.approx(0.8, abs=0.006)
    assert float(found.std()) < 0.06
    candidates = (band_hashes(left) == band_hashes(right)).any(axis=1).mean()
    assert float(candidates) == pytest.approx(0.924, abs=0.07 if size == 9 else 0.04)


def test_ngrams_of_many_texts_are_those_of_each() -> None:
    texts = ["", "one", "a b c d", "a b c d e", "x y z " * 9, "", "光合作用在叶绿体中进行", "b a"]
    for n in (1, 2, 3, 5, 13):
        found = runs(tokens(texts), n)
        each = [combine(tokens([text]).hashes, n).tolist() for text in texts]
        assert found.counts.tolist() == [len(one) for one in each]
        assert found.hashes.tolist() == [value for one in each for value in one]
        assert found.sums().tolist() == [sum(one) % 2**64 for one in each]
    assert runs(tokens([]), 5).sums().tolist() == []


def test_near_duplicates_share_a_band_and_others_do_not() -> None:
    rng = random.Random(4)
    first, other = _text(rng, 200), _text(rng, 200)
    near = [*first[:100], "changed", *first[101:]]
    bands = band_hashes(signatures([" ".join(text) for text in (first, near, other)]))
    assert bands.shape == (3, 14)
    assert bands.dtype == np.uint64
    assert np.any(bands[0] == bands[1])
    assert not np.any(bands[0] == bands[2])
    assert np.array_equal(bands[1], band_hashes(signature(" ".join(near))))


def test_short_texts_meet_only_their_equals() -> None:
    assert jaccard(signature("What is DNA?"), signature("what is dna")) == 1.0
    assert jaccard(signature("What is DNA?"), signature("What is RNA?")) < 0.1


def test_band_hashes_refuse_a_length_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="112 values does not divide into 13 bands"):
        band_hashes(signature("x"), 13)


TRAIN = (
    "A train travels 120 kilometres in 3 hours at constant speed "
    "and then stops for half an hour before it goes on."
)
ZUG = "一列火车以恒定的速度在三小时内行驶了一百二十公里，然后停了半小时。"


def test_verbatim_copies_score_one() -> None:
    assert copy_share(TRAIN, f"Before. {TRAIN} After.") == 1.0
    assert copy_share(ZUG, f"前面的话。{ZUG}") == 1.0
    assert copy_share("What is 5 + 3?", "Work out: what is 5 + 3 ?") == 1.0


def test_light_edits_stay_high_and_other_texts_low() -> None:
    assert copy_share(TRAIN.replace("120", "90").replace("half an hour", "ten minutes"), TRAIN) > 0.7
    assert copy_share(ZUG.replace("三", "四"), ZUG) > 0.7
    assert (
        copy_share("Photosynthesis turns light into chemical energy in the leaves of plants.", TRAIN) == 0.0
    )
    assert copy_share("", TRAIN) == 0.0
