"""Texts as hashed features: whole batches at once over one array of code points, no loop over words.

A token is a run of letters in lower case, a run of digits (only its length counts), a mathematical sign, or one
character of Han and kana. Features are tokens, pairs and (of Han and kana) triples of neighbours, the first five and
last four letters of longer words, which stand for their stems, and the one to four tokens that a text begins with. To
these comes its form: punctuation marks, symbols and line ends, pairs of neighbours among them, and how long the text
is: a formula, a quotation and a clinical case look different before a word is read. Codes (base64, keys, identifiers)
have no tokens: what they are cut into, single letters and numbers, is in every subject. Knows nothing of labels and
models.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from boostqa.text.arrays import Stretches
from boostqa.text.ngrams import BASE, mix

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BITS = 22
"""Hashes are cut to 2^22 columns; a million different features share one column in five."""
CHARS = 4000
"""Characters of a text that are read: its beginning says what it is about."""
FORM = (1 << BITS) - (1 << 16)
"""First column of the features of form, which every text has: they tell nothing of whether its words are known."""
_OPENING = 4
_CODE = 16
"""Characters from which on an unbroken stretch of letters and digits may be a code."""
_LOWER, _UPPER, _NUMBER, _JOINT = 1, 2, 3, 4
_MASK = 2**64 - 1
_GAP, _LETTER, _DIGIT, _SINGLE, _HAN = range(5)
_SALTS = {
    "pair": 0x51ED270B,
    "triple": 0x2545F491,
    "stem": 0x6C62272E,
    "end": 0x1B873593,
    "opening": 0x27D4EB2F,
}


class Rows(NamedTuple):
    """Sparse rows: row i has the entries starts[i]:starts[i + 1], columns rising."""

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    """1 + ln(occurrences)."""


def rows(texts: Sequence[str]) -> Rows:
    """Features of texts, [texts, 2^BITS]; a text without letters, digits and signs has none."""
    import numpy as np

    parts = [_rows(texts[i : i + 256]) for i in range(0, len(texts), 256)]
    counts = np.concatenate([np.zeros(1, dtype=np.int64), *(np.diff(part.starts) for part in parts)])
    columns = np.concatenate([np.zeros(0, dtype=np.int32), *(part.columns for part in parts)])
    values = np.concatenate([np.zeros(0, dtype=np.float32), *(part.values for part in parts)])
    return Rows(np.cumsum(counts), columns, values)


def take(source: Rows, chosen: npt.NDArray[np.int64]) -> Rows:
    """The chosen rows, in that order."""
    import numpy as np

    lengths = source.starts[chosen + 1] - source.starts[chosen]
    begin = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum(lengths, out=begin[1:])
    index = np.repeat(source.starts[chosen] - begin[:-1], lengths) + np.arange(begin[-1])
    return Rows(begin, source.columns[index], source.values[index])


@cache
def _alphabet() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """What each code point below 0x10000 is folded to, and its class."""
    import unicodedata

    import numpy as np

    from boostqa.text.normalise import cjk_share

    codes = np.arange(0x10000, dtype=np.uint32)
    classes = np.zeros(0x10000, dtype=np.uint8)
    for code in range(0x10000):
        char = unicodedata.normalize("NFKC", chr(code)).lower() if not 0xD800 <= code < 0xE000 else ""
        if len(char) != 1:
            # What unfolds into several letters is rare enough to stay as it is.
            char = chr(code) if char else " "
        kind = unicodedata.category(char)
        codes[code] = ord(char)
        if kind == "Nd":
            classes[code] = _DIGIT
        elif kind[0] in "LM" or kind in ("Nl", "No"):
            classes[code] = _HAN if cjk_share(char) else _LETTER
        elif kind == "Sm" or char in "%$^°":
            classes[code] = _SINGLE
    return codes, classes


@cache
def numbers() -> npt.NDArray[np.bool_]:
    """Whether each of the 2^BITS columns is of numbers of up to 12 digits: one, or two side by side."""
    import numpy as np

    runs = ["1" * length for length in range(1, 13)]
    found = np.zeros(1 << BITS, dtype=np.bool_)
    found[rows([f"{one} {two}" for one in runs for two in runs]).columns] = True
    return found


@cache
def _code_kinds() -> npt.NDArray[np.uint8]:
    """What each of the first 128 code points may be in a code; 0: it ends one."""
    import string

    import numpy as np

    found = np.zeros(128, dtype=np.uint8)
    for chars, kind in (
        (string.ascii_lowercase, _LOWER),
        (string.ascii_uppercase, _UPPER),
        (string.digits, _NUMBER),
        ("+/-_", _JOINT),
    ):
        found[[ord(char) for char in chars]] = kind
    return found


def _without_codes(raw: npt.NDArray[np.uint32], kind: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The kinds, with gaps in place of codes.

    A code is a stretch of 16 or more Latin letters, digits and `+/-_` in which at least every fifth character is one of
    these four, a capital after a small letter, or where a number begins or ends; at most every eighth is one of the
    four. Long words, names in a program, names of compounds and sums of indexed variables are none.
    """
    import numpy as np

    own = _code_kinds()[np.minimum(raw, 127)]
    edges = np.flatnonzero(np.diff(own > 0, prepend=False, append=False))
    begin, end = edges[::2], edges[1::2]
    long = np.flatnonzero(end - begin >= _CODE)
    begin, end = begin[long], end[long]
    joint = own == _JOINT
    turn = joint.copy()
    before, after = own[:-1], own[1:]
    turn[1:] |= (before % _JOINT > 0) & (before != after) & ~((before == _UPPER) & (after == _LOWER))
    turns, joints = (
        sums[end] - sums[begin]
        for sums in (np.concatenate([[0], np.cumsum(flags)]) for flags in (turn, joint))
    )
    code = (5 * turns >= end - begin) & (8 * joints <= end - begin)
    if not code.any():
        return kind
    steps = np.zeros(len(kind) + 1, dtype=np.int8)
    steps[begin[code]], steps[end[code]] = 1, -1
    return np.where(np.cumsum(steps[:-1]) > 0, np.uint8(_GAP), kind)


@cache
def _marks() -> npt.NDArray[np.bool_]:
    """Whether each code point below 0x10000 is a punctuation mark, a symbol or the end of a line."""
    import unicodedata

    import numpy as np

    kinds = (unicodedata.category(chr(code))[0] for code in range(0x10000))
    found = np.fromiter((kind in "PS" for kind in kinds), dtype=np.bool_, count=0x10000)
    found[ord("\n")] = True
    return found


def _rows(texts: Sequence[str]) -> Rows:
    import numpy as np

    # Each text ends in a character that is in no token.
    shown = [text[:CHARS] + "\n" for text in texts]
    joined, lengths = "".join(shown), [len(text) for text in shown]
    raw = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    codes, classes = _alphabet()
    low = np.minimum(raw, 0xFFFF)
    kind = classes[low]
    kind[raw >= 0x20000] = _HAN
    folded = np.where(raw < 0x10000, codes[low], raw)
    spoken = _without_codes(raw, kind)
    starts, ends, run = _runs(folded, spoken)
    ids = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)[starts]
    where, hashes = _features(run, starts, ends, spoken[starts], ids)
    # The words' columns are those below FORM, the form's the others.
    columns = ((mix(hashes) >> np.uint64(32)) * np.uint64(FORM)) >> np.uint64(32)
    owner, shapes = _form(raw, np.where(kind == _DIGIT, 48, folded), kind, np.array(lengths))
    keys = np.concatenate(
        [
            (where.astype(np.uint64) << np.uint64(32)) | columns,
            (owner.astype(np.uint64) << np.uint64(32)) | (np.uint64(FORM) + (mix(shapes) >> np.uint64(48))),
        ]
    )
    keys.sort()
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    counts = np.diff(np.append(first, len(keys)))
    kept = keys[first]
    bounds = np.searchsorted(kept, np.arange(len(texts) + 1, dtype=np.uint64) << np.uint64(32))
    values = (1.0 + np.log(counts)).astype(np.float32)
    return Rows(bounds.astype(np.int64), (kept & np.uint64(0xFFFFFFFF)).astype(np.int32), values)


def _runs(
    folded: npt.NDArray[np.uint32], kind: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Stretches]:
    """First places of the tokens, places after their ends, and the hasher of stretches."""
    import numpy as np

    before = np.zeros_like(kind)
    before[1:] = kind[:-1]
    begins = (kind != _GAP) & ((kind != before) | (kind >= _SINGLE))
    after = np.zeros_like(kind)
    after[:-1] = kind[1:]
    ends = (kind != _GAP) & ((kind != after) | (kind >= _SINGLE))
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1, Stretches(np.where(kind == _DIGIT, 48, folded))


def _features(
    run: Stretches,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    kind: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint64]]:
    """(text, hash) of every feature, in no order; starts, ends, kind and ids are of tokens."""
    import numpy as np

    salt = {name: np.uint64(value * BASE & _MASK) for name, value in _SALTS.items()}
    base = np.uint64(BASE)
    tokens = mix(run(starts, ends))
    follows = ids[1:] == ids[:-1]
    pair = tokens[:-1] * base + tokens[1:]
    long = np.flatnonzero((kind == _LETTER) & (ends - starts > 5))
    han = kind == _HAN
    triple = np.flatnonzero(han[:-2] & han[1:-1] & han[2:] & follows[:-1] & follows[1:])
    openings = _openings(tokens, ids)
    hashes = [
        tokens,
        pair[follows] ^ salt["pair"],
        (pair[:-1][triple] * base + tokens[2:][triple]) ^ salt["triple"],
        run(starts[long], starts[long] + 5) ^ salt["stem"],
        run(ends[long] - 4, ends[long]) ^ salt["end"],
        *(begun ^ salt["opening"] for begun, _ in openings),
    ]
    places = [
        ids,
        ids[:-1][follows],
        ids[:-2][triple],
        ids[long],
        ids[long],
        *(owner for _, owner in openings),
    ]
    return np.concatenate(places), np.concatenate(hashes)


def _openings(
    tokens: npt.NDArray[np.uint64], ids: npt.NDArray[np.int32]
) -> list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]]:
    """(hashes, texts) of the first token, the first two, and so on, of the texts that have so many."""
    import numpy as np

    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])[: len(ids)])
    begun, owner, found = np.zeros(len(first), dtype=np.uint64), ids[first], []
    for step in range(_OPENING):
        own = np.minimum(first + step, len(ids) - 1)
        there = (first + step < len(ids)) & (ids[own] == owner)
        first, owner, begun = first[there], owner[there], begun[there]
        begun = begun * np.uint64(BASE) + tokens[own[there]]
        found.append((begun, owner))
    return found


def _form(
    raw: npt.NDArray[np.uint32],
    folded: npt.NDArray[np.uint32],
    kind: npt.NDArray[np.uint8],
    lengths: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """(text, hash) of marks, pairs of marks, length in half powers of two, length and last character of the first line.

    All of them apart for texts with Han and without; of a text without marks, letters and signs nothing is told.
    """
    import numpy as np

    marked, bounds = _marks()[np.minimum(raw, 0xFFFF)], np.cumsum(lengths)
    told = np.zeros(len(lengths), dtype=np.bool_)
    told[
        np.searchsorted(bounds, np.flatnonzero((kind != _GAP) | (marked & (raw != ord("\n")))), side="right")
    ] = True
    han = np.zeros(len(lengths), dtype=np.uint64)
    han[np.searchsorted(bounds, np.flatnonzero(kind == _HAN), side="right")] = 1
    place = np.flatnonzero(marked)
    owner = np.searchsorted(bounds, place, side="right")
    place, owner = place[told[owner]], owner[told[owner]]
    mark = raw[place].astype(np.uint64)
    near = owner[1:] == owner[:-1]
    texts = np.flatnonzero(told)
    begin = (bounds - lengths)[texts]
    # Every text ends in a line end.
    line = np.flatnonzero(raw == ord("\n"))
    first = line[np.searchsorted(line, begin)]
    parts = [
        (owner, mark),
        (owner[:-1][near], (mark[:-1] << np.uint64(21) | mark[1:])[near]),
        (texts, (2 * np.log2(lengths[texts])).astype(np.uint64)),
        (texts, (2 * np.log2(first - begin + 1)).astype(np.uint64)),
        (texts, folded[np.maximum(first - 1, begin)].astype(np.uint64)),
    ]
    # A code point has 21 bits, a pair 42; what kind of thing it is stands above these.
    hashes = [value << np.uint64(1) | han[of] | np.uint64(i << 48) for i, (of, value) in enumerate(parts)]
    return np.concatenate([of for of, _ in parts]), np.concatenate(hashes)
