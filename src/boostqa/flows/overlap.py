"""Which of many indexed questions may be in a text, found in bulk; and how much of one is, when words differ.

A text is looked at further if it has an n-gram of a question (of the length by which that question counts), or
enough of its short n-grams (`SEED` tokens) that some of its words may have been replaced. From such a cluster of
hits one looks on to both sides: in a stretch of the text as long as the question, the share of the question's
words that stand there, each weighing more the fewer questions have it. A question with other numbers for half of
its own is another question and scores below one half. Knows nothing of options, answers and benchmarks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher
from functools import cache
from math import log
from typing import TYPE_CHECKING

from boostqa.text.ngrams import windows
from boostqa.text.normalise import raised
from boostqa.text.tokens import Tokens, blocks, word_hashes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Hashes = npt.NDArray[np.uint64]
    Indexes = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Bytes = npt.NDArray[np.uint8]

SEED = 4
"""Tokens of the short n-grams from which a search starts."""
COMMON = 20
"""Questions that may share a short n-gram before it counts as a phrase of the language."""
WORDS = 12
"""Tokens of the shortest question that is looked for with words replaced."""
SEEDS = 0.1
"""Share of a question's short n-grams that must be there."""
SHIFT = 3
"""Tokens by which places of hits may differ and still speak for one place of the question."""
POWER = 1.85
"""Score = share ** POWER: 69% of a question's weight make a score of one half."""
SIGNS_POWER = 1.5
"""What POWER gets on top for a question of which two fifths are signs: there it takes 81%."""
VARIANT = 0.65
"""Largest share of a question that was made anew with other numbers or formulas."""
LONGER = 0.3
"""Share of a question's length by which a text may be longer than it."""
TEMPLATE = 0.8
"""How often a difference between two problems of one template stands where numbers or formulas do."""
SIGN_FOR_SIGN = 0.96, 0.25
"""How often a number or formula then has another in its place: in a template, and where any word may stand there."""
ANEW = -1.0
"""Log likelihood from which a problem counts as made from the same template with other numbers or formulas."""
LOST_SIGNS = 2
"""Signs that differ, on both sides together, from which this is looked at, if words differ as well."""
PIVOTS = """
one two three four five six seven eight nine ten eleven twelve fifteen twenty thirty hundred thousand first second
third fourth fifth half halves thirds quarter twice double triple dozen zero not no neither nor none without except
odd even positive negative maximum minimum greatest largest smallest least most sin cos tan sec csc cot log ln
alpha beta gamma delta epsilon theta lambda mu rho sigma tau phi psi omega
"""
"""Words that make another question of a question."""
_MAP_BITS = 22

_SPELLINGS = (
    (re.compile(r"(?<=[0-9])(?:\{,\}|\\,)(?=[0-9]{3})"), ""),
    (re.compile(r"\\[dt]?frac\s?\{([^{}]{1,40})\}\s?\{([^{}]{1,40})\}"), r" \1/\2 "),
    (re.compile(r"\\[dt]?frac\s?(\d)\s?(\d)"), r" \1/\2 "),
    (
        re.compile(
            r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|q?quad|text|math(?:rm|bf|it)|[,;:! ])"
        ),
        " ",
    ),
    (re.compile(r"\\times(?![a-z])"), " × "),
    (re.compile(r"\\cdot(?![a-z])"), " · "),
    (re.compile(r"\\leq?(?![a-z])"), " ≤ "),
    (re.compile(r"\\geq?(?![a-z])"), " ≥ "),
    (re.compile(r"\\neq?(?![a-z])"), " ≠ "),
    (re.compile(r"\\pi(?![a-z])"), " π "),
    (re.compile(r"\( {1,3}"), "("),
    (re.compile(r" {1,3}\)"), ")"),
)
"""Ways to write the same formula, and the one by which it is compared."""
_LABELS = re.compile(r'"([^"\n]{1,100})"')


def plain(text: str) -> str:
    """The text with formulas spelled in one way and drawings by their labels; for comparing, never for keeping."""
    if "＼" in text or "［" in text:
        text = unicodedata.normalize("NFKC", raised(text))
    if "[asy]" in text:
        text = _labelled(text)
    if "\\" in text or "{,}" in text:
        for pattern, spelled in _SPELLINGS:
            text = pattern.sub(spelled, text)
    return text


def _labelled(text: str) -> str:
    """The text with its drawings (Asymptote, as in MATH) replaced by the texts that stand in them.

    The rest of a drawing's code is the same in hundreds of problems.
    """
    first, *others = text.split("[asy]")
    parts = [first]
    for other in others:
        code, closed, rest = other.partition("[/asy]")
        parts += [" ".join(_LABELS.findall(code)), rest] if closed else [code]
    return " ".join(parts)


class Membership:
    """Whether hashes are among known ones; maps of their upper and lower bits keep others from being looked up."""

    def __init__(self, hashes: Hashes) -> None:
        import numpy as np

        self.known = np.sort(hashes)
        self.upper, self.lower = (np.zeros(2**_MAP_BITS, dtype=bool) for _ in range(2))
        self.upper[(self.known >> np.uint64(64 - _MAP_BITS)).view(np.int64)] = True
        self.lower[(self.known & np.uint64(2**_MAP_BITS - 1)).view(np.int64)] = True

    def places(self, hashes: Hashes) -> Indexes:
        """At which places known hashes stand."""
        import numpy as np

        if not len(self.known):
            return np.empty(0, dtype=np.int64)
        maybe = np.flatnonzero(self.upper.take((hashes >> np.uint64(64 - _MAP_BITS)).view(np.int64)))
        chosen = hashes[maybe]
        both = np.flatnonzero(self.lower.take((chosen & np.uint64(2**_MAP_BITS - 1)).view(np.int64)))
        maybe, chosen = maybe[both], chosen[both]
        found: Indexes = maybe[self.known[np.searchsorted(self.known[:-1], chosen)] == chosen]
        return found


def having(texts: pa.Array | Sequence[str], known: Membership, n: int) -> Indexes:
    """Which texts have an n-gram among the known ones (`ngrams.windows`), ascending; shorter texts have none."""
    import numpy as np

    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *(b.first + np.unique(_inside(b, known, n)[1]) for b in blocks(texts))])


def _inside(block: Tokens, known: Membership, n: int) -> tuple[Indexes, Indexes]:
    """Places of known n-grams in a block, and the text of each; without those that run over into the next text."""
    import numpy as np

    places = known.places(windows(block.hashes, n))
    owners = np.searchsorted(block.starts, places, side="right") - 1
    within = places + n <= block.starts[owners + 1]
    return places[within], owners[within]


class Overlaps:
    """The indexed questions, ready to be looked for."""

    def __init__(self, filters: pa.Table, words: pa.ChunkedArray, signs: Hashes) -> None:
        """See `candidates`.

        `filters`: n-grams (hash, length) of which a text must have one. `words`: hashes of each question's words.
        `signs`: which of these hashes are numbers, operators or single letters.
        """
        import numpy as np

        hashes, lengths = filters["hash"].to_numpy(), filters["length"].to_numpy()
        self.filters = {int(n): Membership(hashes[lengths == n]) for n in np.unique(lengths)}
        array = words.combine_chunks()
        self.starts = array.offsets.to_numpy().astype(np.int64)
        self.words: Hashes = array.values.to_numpy().astype(np.uint64)
        count = len(self.starts) - 1
        owners = np.repeat(np.arange(count), np.diff(self.starts))
        once = np.unique(np.stack((self.words, owners.astype(np.uint64))), axis=1)
        self.vocabulary, seen = np.unique(once[0], return_counts=True)
        self.weights = np.log((count + 1) / seen) + 0.1
        self.signs: Flags = np.isin(self.words, signs)
        self._seeds(count)

    def _seeds(self, count: int) -> None:
        """Sorted (hash, question) of short n-grams, without common ones and without short questions."""
        import numpy as np

        block = Tokens(self.words, self.starts, np.empty(0, dtype=np.uint8))
        grams = windows(self.words, SEED)
        owners = np.searchsorted(self.starts, np.arange(len(grams)), side="right") - 1
        long = np.diff(block.starts) >= WORDS
        stay = (np.arange(len(grams)) + SEED <= self.starts[owners + 1]) & long[owners]
        grams, owners = grams[stay], owners[stay]
        order = np.lexsort((owners, grams))
        grams, owners = grams[order], owners[order]
        new = np.ones(len(grams), dtype=bool)
        new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
        grams, owners = grams[new], owners[new]
        _, place, seen = np.unique(grams, return_inverse=True, return_counts=True)
        rare = seen[place] <= COMMON
        self.seeds, self.owners = grams[rare], owners[rare]
        self.seed_counts = np.bincount(self.owners, minlength=count)
        self.seed_known = Membership(self.seeds)

    def candidates(self, texts: pa.Array | Sequence[str]) -> dict[int, list[int]]:
        """Texts (in the spelling of `plain`) that may hold a question -> those that may be in it, words replaced."""
        found: dict[int, list[int]] = {}
        for block in blocks(texts):
            for n, known in self.filters.items():
                for text in set(_inside(block, known, n)[1].tolist()):
                    found.setdefault(block.first + text, [])
            for text, item in self._clusters(block):
                found.setdefault(block.first + text, []).append(item)
        return found

    def _clusters(self, block: Tokens) -> Iterator[tuple[int, int]]:
        """Pairs (text, question) with enough short n-grams in common."""
        import numpy as np

        places, texts = _inside(block, self.seed_known, SEED)
        hashes = windows(block.hashes, SEED)[places]
        low = np.searchsorted(self.seeds, hashes, side="left")
        counts = np.searchsorted(self.seeds, hashes, side="right") - low
        rows = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        # One seed many times in a text counts once.
        seen = np.unique(np.stack((np.repeat(texts, counts), rows)), axis=1)
        pairs, shared = np.unique(np.stack((seen[0], self.owners[seen[1]])), axis=1, return_counts=True)
        enough = shared >= np.maximum(2, SEEDS * self.seed_counts[pairs[1]])
        yield from zip(pairs[0, enough].tolist(), pairs[1, enough].tolist(), strict=True)

    def scores(self, block: Tokens, items: list[int]) -> list[float]:
        """How much of each of these questions is in one text, 0..1."""
        there = windows(block.hashes, SEED)
        return [self._score(block, there, item) for item in items]

    def lowered(
        self, block: Tokens, items: Indexes, scores: Floats, sure: Flags, factors: Floats
    ) -> tuple[float, int]:
        """The largest of the scores that these questions have by other means in one text, and which has it.

        Unless it is `sure`, a score counts no more than what `scores` gives the question (if that is long enough),
        times its factor, at most 1. Each is lowered for itself: one that has to go hides none that was smaller.
        """
        import numpy as np

        best, whose, there = -1.0, -1, windows(block.hashes, SEED)
        for i in np.argsort(-scores, kind="stable").tolist():
            score, item = float(scores[i]), int(items[i])
            if score <= best:
                break
            if not sure[i] and self.seed_counts[item] > 0:
                score = min(score, self._score(block, there, item))
            score *= 1.0 if sure[i] else float(factors[i])
            if score > best:
                best, whose = score, item
        return best, whose

    def _score(self, block: Tokens, there: Hashes, item: int) -> float:
        """`there`: the short n-grams of the text."""
        import numpy as np

        words = self.words[self.starts[item] : self.starts[item + 1]]
        grams = windows(words, SEED)
        order = np.argsort(grams)
        at = np.searchsorted(grams[order][:-1], there)
        hits = np.flatnonzero(grams[order][at] == there)
        if not len(hits):
            return 0.0
        # Where the question would begin by each hit; where most of them agree, it is compared.
        begins = hits - order[at[hits]]
        close = np.searchsorted(np.sort(begins), [begins - SHIFT, begins + SHIFT + 1])
        begin = int(begins[np.argmax(close[1] - close[0])])
        # What stands for a replaced word may be longer: the question ends where its last hit says so.
        near = np.flatnonzero(np.abs(begins - begin) <= LONGER * len(words))
        end = max(begin, int(begins[near].max())) + len(words)
        return self._compare(item, block, slice(max(0, begin), end))

    def _compare(self, item: int, block: Tokens, stretch: slice) -> float:
        """How much of a question is in a stretch of a text, 0..1."""
        import numpy as np

        own = slice(int(self.starts[item]), int(self.starts[item + 1]))
        words, there = self.words[own], block.hashes[stretch]
        pairs = SequenceMatcher(None, words.tolist(), there.tolist(), autojunk=False).get_matching_blocks()
        weights = self.weights[np.searchsorted(self.vocabulary, words)]
        kept, common = np.zeros(len(words), dtype=bool), np.zeros(len(there), dtype=bool)
        foreign, a, b = 0, 0, 0
        for one in pairs:
            # A long formula in the place of a word is one replaced word.
            foreign += min(one.b - b, one.a - a + 1)
            a, b = one.a + one.size, one.b + one.size
            kept[one.a : a] = True
            common[one.b : b] = True
        both = float(weights[kept].sum())
        # A word that the question does not have weighs as much as its words do on average.
        share = 2 * both / float(weights.sum() + both + foreign * weights.mean())
        if self._made_anew(kept, common, (self.signs[own], _signs(there, block.lead[stretch])), pairs):
            share = min(share, VARIANT)
        return float(share ** self._power(item))

    def _power(self, item: int) -> float:
        """What the share is raised to: more, the more of a question are signs, for these are alike in many."""
        own = self.signs[self.starts[item] : self.starts[item + 1]]
        return POWER + SIGNS_POWER * min(1.0, max(0.0, (float(own.mean()) - 0.2) / 0.2))

    @staticmethod
    def _made_anew(kept: Flags, common: Flags, signs: tuple[Flags, Flags], pairs: list[Match]) -> bool:
        """Whether the differences are where numbers and formulas stand, as in a problem made from a template.

        Words replaced anywhere strike places with signs as often as these are, and mostly put a word there; a template
        nearly always puts a sign for a sign. The likelihood of both decides.
        """
        import numpy as np

        own, its = signs
        lost = np.count_nonzero(own & ~kept) + np.count_nonzero(its & ~common)
        runs = np.count_nonzero(own[1:] & ~own[:-1]) + int(own[0])
        usual = min(0.8, max(0.05, runs / (runs + np.count_nonzero(~own))))
        struck, spared = log(TEMPLATE / usual), log((1 - TEMPLATE) / (1 - usual))
        likely, anyhow = SIGN_FOR_SIGN
        sign, word = log(likely / anyhow), log((1 - likely) / (1 - anyhow))
        weight, only, a, b = 0.0, True, 0, 0
        for one in pairs:
            if one.a > a or one.b > b:
                mine, other = bool(own[a : one.a].any()), bool(its[b : one.b].any())
                here = mine if one.a > a else other
                # What only stands between says half as much.
                weight += (struck if here else spared) * (1.0 if one.a > a else 0.5)
                if mine and one.b > b:
                    weight += sign if other else word
                only &= here
            a, b = one.a + one.size, one.b + one.size
        return bool(lost >= LOST_SIGNS or (only and lost > 0)) and weight > ANEW


def _signs(hashes: Hashes, lead: Bytes) -> Flags:
    """Which tokens are numbers (in words, too), operators, single letters, or turn a statement round."""
    import numpy as np

    found: Flags = (lead < 32) | ((lead - np.uint8(48)) < 10)
    return found | np.isin(hashes, _pivots())


@cache
def _pivots() -> Hashes:
    return word_hashes([*"bcdefghjklmnopqruvwxyz", *PIVOTS.split()])


def sign_hashes(block: Tokens) -> Hashes:
    """The hashes in a block that are signs (see `_signs`), each once."""
    import numpy as np

    return np.unique(block.hashes[_signs(block.hashes, block.lead)])


def plain_all(texts: pa.ChunkedArray) -> pa.Array:
    """`plain` of all texts; only those with a backslash or a brace become Python strings."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = texts.combine_chunks()
    marked = pc.match_substring_regex(array, r"\\|\{,\}|\[asy\]|＼|［")
    changed = [plain(text) for text in array.filter(marked).to_pylist()]
    return pc.replace_with_mask(array, marked, pa.array(changed, pa.string())) if changed else array
