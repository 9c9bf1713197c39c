"""Counts over many texts at once, from which quality and language are judged.

Every count is a pass of numpy over an array that all texts lie in (`arrays.Texts`): thirty times cheaper than
Python that looks at each text. A text's counts do not depend on which others it is measured with.
Words are runs of letters and digits, and single Han or kana characters. Words, lines and runs of three words
are told apart by 44 bits of a hash: two of a text's thousand are taken for one once in thirty million texts.
Knows no thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.text import compiled
from boostqa.text.arrays import BETWEEN, BREAK, DIGIT, END, HAN, KANA, LETTER, LOST, SIGN, SPACE, Texts, known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boostqa.text.arrays import Array

_CHUNK = 800_000
"""Bytes that are measured together; measured as the quickest from 40,000 to 1,500,000."""
_SENTENCE_ENDS = '.!?:;。．！？；：…"”’)」』'
_BULLETS = "-*•·●▪◦‣"
_UNUSED = 20
"""Low bits of a hash that are not looked at: their place is for the number of the text."""
_INDENT = 12
"""White space before and behind a line that is looked through."""


class Measures(msgspec.Struct, frozen=True):
    """Counts of one text; all are numbers of characters where nothing else is said."""

    characters: int = 0
    tokens: int = 0
    """Estimated: four bytes, or one Han or kana character, each."""
    dense: int = 0
    """Not white space."""
    letters: int = 0
    """Han and kana among them."""
    han: int = 0
    kana: int = 0
    digits: int = 0
    lost: int = 0
    """U+FFFD."""
    signs: int = 0
    """Marks of sentences and clauses."""
    words: int = 0
    """Number of words."""
    word_letters: int = 0
    """Characters in words of a script with spaces."""
    spaced: int = 0
    """Number of words of such a script."""
    distinct: int = 0
    """Different ones among the words."""
    english: int = 0
    """Words that are frequent in English and in no other language that is written alike."""
    stop: int = 0
    """Frequent English words."""
    runs: int = 0
    """Different runs of three words; 0 for fewer than 50 words."""
    lines: int = 0
    """Number of lines that are not empty."""
    bullets: int = 0
    """Lines that begin with a bullet, are short and end with no mark of a sentence's end."""
    leaders: int = 0
    """Lines of a table of contents: dots, then a number."""
    ellipses: int = 0
    """Lines that end with an ellipsis."""
    unfinished: int = 0
    """Lines that end with no mark of a sentence's end."""
    short: int = 0
    """Lines of fewer than 30 characters (15 of Han and kana)."""


_NAMES = Measures.__struct_fields__
_STRONG_WORDS = """
the and that with which from this been their they these there what when would could its into than
then because how who whose whom should where while between through about only other some such each
"""
_STRONG = frozenset(_STRONG_WORDS.split())
"""The words that are counted in `english`."""
_STOP_WORDS = "the be to of and that have with is are in for a an it as on by this from or which"
_STOP = frozenset(_STOP_WORDS.split())


def measure(texts: Sequence[str], words: bool = True) -> list[Measures]:
    """The counts of each text, in order; without `words`, those of characters alone, which cost a third."""
    narrow: list[tuple[int, bytes]] = []
    wide: list[tuple[int, bytes]] = []
    for i, text in enumerate(texts):
        if BETWEEN in text:
            text = text.replace(BETWEEN, " ")
        try:
            narrow.append((i, text.encode() if text.isascii() else text.encode("cp1252")))
        except UnicodeEncodeError:
            wide.append((i, text.encode("utf-32-le", "replace")))
    found: list[Measures] = [Measures()] * len(texts)
    for group, size in ((narrow, 1), (wide, 4)):
        for part in _chunks(group):
            columns = _measure([data for _, data in part], size, words)
            names = [name for name in _NAMES if name in columns]
            rows = zip(*(columns[name].tolist() for name in names), strict=True)
            for (i, _), row in zip(part, rows, strict=True):
                found[i] = Measures(*row)
    return found


def _chunks(texts: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    part: list[tuple[int, bytes]] = []
    size = 0
    for one in texts:
        part.append(one)
        size += len(one[1])
        if size >= _CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part


def _measure(texts: list[bytes], size: int, words: bool) -> dict[str, Array]:
    text = Texts(texts, size)
    # In the order of the fields.
    return _characters(text) | _words(text) | _lines(text) if words else _characters(text)


def _summed(flags: NDArray[np.bool_], starts: Array) -> Array:
    """How many flags are set in each text; the separator before a text is counted with it and never set."""
    import numpy as np

    # Eight flags are counted at once, and those of the eight that a text begins in apart.
    eights = np.packbits(flags, bitorder="little")
    sums = np.zeros(len(eights) + 1, np.int64)
    np.cumsum(np.bitwise_count(eights), out=sums[1:])
    at = np.append(starts - 1, len(flags))
    within = np.append(eights, np.uint8(0))[at >> 3] & ((1 << (at & 7)) - 1).astype(np.uint8)
    found: Array = np.diff(sums[at >> 3] + np.bitwise_count(within))
    return found


def _characters(text: Texts) -> dict[str, Array]:
    import numpy as np

    kinds, starts = text.kinds, text.starts
    zeros = np.zeros(len(starts), np.int64)
    wide = text.codes.itemsize > 1
    counts = {kind: _summed(kinds == kind, starts) for kind in (LETTER, DIGIT)}
    for kind in (HAN, KANA, LOST):
        counts[kind] = _summed(kinds == kind, starts) if wide else zeros
    spaces = _summed((kinds == SPACE) | (kinds == BREAK), starts)
    single = counts[HAN] + counts[KANA]
    size = text.ends - starts
    # Two bytes for letters beyond ASCII, three for signs: close enough for an estimate.
    extra = np.maximum(0, _summed(text.codes > 0x7F, starts) - single)
    return {
        "characters": size,
        "tokens": np.maximum(1, single + (size - single + extra * 3 // 2) // 4),
        "dense": size - spaces,
        "letters": counts[LETTER] + single,
        "han": counts[HAN],
        "kana": counts[KANA],
        "digits": counts[DIGIT],
        "lost": counts[LOST],
        "signs": _summed(kinds == SIGN, starts),
    }


def _words(text: Texts) -> dict[str, Array]:
    import numpy as np

    kinds, starts = text.kinds, text.starts
    inside = (kinds == LETTER) | (kinds == DIGIT)
    # The array begins and ends with a separator, so every edge has two sides.
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    begin, end = edges[::2], edges[1::2]
    spaced = np.ones(len(begin), np.bool_)
    if text.codes.itemsize > 1 and len(single := np.flatnonzero((kinds == HAN) | (kinds == KANA))):
        order = np.argsort(np.concatenate((begin, single)), kind="stable")
        spaced = (np.arange(len(begin) + len(single)) < len(begin))[order]
        begin, end = np.concatenate((begin, single))[order], np.concatenate((end, single + 1))[order]
    of_text = _owners(begin, starts)
    words = text.words(begin, end)
    narrow = text.codes.itemsize == 1
    count = len(starts)

    bounds = np.append(np.searchsorted(begin, starts), len(begin))

    def total(values: Array | NDArray[np.bool_]) -> Array:
        sums = np.zeros(len(begin) + 1, np.int64)
        np.cumsum(values, out=sums[1:])
        found: Array = sums[bounds[1:]] - sums[bounds[:-1]]
        return found

    number = np.diff(bounds)
    out = {
        "words": number,
        "spaced": number if narrow else total(spaced),
        "word_letters": total(end - begin if narrow else np.where(spaced, end - begin, 0)),
        "english": total(_among(words, known(_STRONG, narrow))),
        "stop": total(_among(words, known(_STOP, narrow))),
        "distinct": _different(words, of_text, count),
    }
    runs = (
        words[:-2] * np.uint64(3) + words[1:-1] * np.uint64(0x9E3779B1) + words[2:]
        if len(words) > 2
        else words[:0]
    )
    whole = (of_text[2:] == of_text[:-2]) & (number[of_text[2:]] >= 50) if len(words) > 2 else of_text[:0] > 0
    out["runs"] = _different(runs[whole], of_text[:-2][whole] if len(words) > 2 else of_text[:0], count)
    return out


def _owners(places: Array, starts: Array) -> Array:
    """The number of the text that each of the places, in order, lies in."""
    import numpy as np

    counts = np.diff(np.append(np.searchsorted(places, starts), len(places)))
    return np.repeat(np.arange(len(starts)), counts)


def _among(words: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    import numpy as np

    # Each known word alone in its place of a table, which is found by the lowest bits.
    size = 2**12
    while len(np.unique(known & np.uint64(size - 1))) < len(known):
        size *= 2
    # What stands in the other places is found from none of them.
    table = np.arange(size, dtype=np.uint64) ^ np.uint64(1)
    table[(known & np.uint64(size - 1)).view(np.int64)] = known
    out: NDArray[np.bool_] = table.take((words & np.uint64(size - 1)).view(np.int64)) == words
    return out


def _different(hashes: NDArray[np.uint64], of_text: Array, count: int) -> Array:
    """How many different hashes each text has."""
    import numpy as np

    if not len(hashes):
        return np.zeros(count, np.int64)
    if compiled.loops is not None:
        found = np.empty(count, np.int64)
        compiled.loops.different(hashes, np.bincount(of_text, minlength=count).astype(np.int64), found)
        return found
    # The text's number in the upper bits, so that one sort does for all.
    upper = np.uint64(64 - _UNUSED)
    keys = np.sort((of_text.astype(np.uint64) << upper) | (hashes >> np.uint64(_UNUSED)))
    new = np.ones(len(keys), np.bool_)
    new[1:] = keys[1:] != keys[:-1]
    return np.bincount((keys[new] >> upper).astype(np.int64), minlength=count).astype(np.int64)


def _lines(text: Texts) -> dict[str, Array]:
    import numpy as np

    codes, kinds, starts = text.codes, text.kinds, text.starts
    breaks = np.flatnonzero((kinds == BREAK) | (kinds == END))
    # The first and the last filled character of every line that has one, found by going inwards.
    begin, end = breaks[:-1] + 1, breaks[1:]
    for _ in range(_INDENT):
        begin = begin + (kinds[begin] == SPACE)
        end = end - ((kinds[end - 1] == SPACE) & (end > begin))
    full = end > begin
    begin, end = begin[full], end[full]
    of_text = _owners(begin, starts)

    def total(flags: NDArray[np.bool_]) -> Array:
        return np.bincount(of_text[flags], minlength=len(starts)).astype(np.int64)

    def among(places: NDArray[Any], chars: str) -> NDArray[np.bool_]:
        table = np.zeros(256**text.codes.itemsize, np.bool_)
        table[text.encoded(chars)] = True
        found: NDArray[np.bool_] = table[places]
        return found

    size = end - begin
    wide = (kinds[begin] == HAN) | (kinds[begin] == KANA)
    number = end.copy()
    for _ in range(4):
        number -= (kinds[number - 1] == DIGIT) & (number > begin)
    dots = number.copy()
    for _ in range(2):
        dots -= (kinds[dots - 1] == SPACE) & (dots > begin)
    far = size > 6
    three = [codes[np.maximum(end - back, 0)] for back in (1, 2, 3)]
    unfinished = ~among(three[0], _SENTENCE_ENDS)
    return {
        "lines": total(full[full]),
        "bullets": total(among(codes[begin], _BULLETS) & (size < 60) & unfinished),
        "leaders": total(
            far
            & (number < end)
            & among(codes[dots - 1], ".…")
            & among(codes[dots - 2], ".… ")
            & among(codes[dots - 3], ".…")
        ),
        "ellipses": total(among(three[0], "…") | (far & np.all([among(one, ".") for one in three], axis=0))),
        "unfinished": total(unfinished),
        "short": total(size < np.where(wide, 15, 30)),
    }
