"""Many texts as one array of characters, with the kind of each, and hashes of any stretch of it.

A character is one byte where the texts fit into Windows-1252, as most Western prose does, else two.
Knows nothing of what is counted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from boostqa.text.ngrams import BASE, mix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.int64]
    Hash = Callable[[Array, Array], NDArray[np.uint64]]

OTHER, LETTER, HAN, KANA, DIGIT, SPACE, BREAK, LOST, END, SIGN = range(10)
"""Kinds of characters: BREAK ends a line, END a text, LOST is U+FFFD, SIGN a mark of a sentence or clause."""
BETWEEN = "\x1e"
"""Between two texts of the array; a control character, which no cleaned text has."""
_KINDS = {"\n": BREAK, "\ufffd": LOST, BETWEEN: END} | dict.fromkeys("。．！？；，：、.!?,;:", SIGN)


def kind_of(char: str) -> int:
    """Which of the kinds a character is."""
    category = unicodedata.category(char)
    if "\u3040" <= char <= "\u30ff":
        return KANA
    if (
        "\u3400" <= char <= "\u4dbf"
        or "\u4e00" <= char <= "\u9fff"
        or "\uf900" <= char <= "\ufaff"
        or char in "々〇"
    ):
        return HAN
    if char in _KINDS:
        return _KINDS[char]
    if category[0] in "LM":
        return LETTER
    return DIGIT if category == "Nd" else SPACE if char.isspace() else OTHER


@cache
def _narrow_tables() -> tuple[bytes, bytes]:
    """Kind and lower case of every byte of Windows-1252, for `bytes.translate`."""
    chars = [bytes([i]).decode("cp1252", "replace") for i in range(256)]
    lower = [char.lower().encode("cp1252", "replace") for char in chars]
    kinds = bytes(OTHER if char == "\ufffd" else kind_of(char) for char in chars)
    return kinds, bytes(low[0] if len(low) == 1 else i for i, low in enumerate(lower))


@cache
def _wide_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Kind and lower case of every character up to U+FFFF; what is above is looked up as U+FFFF."""
    import numpy as np

    kinds = np.fromiter((kind_of(chr(code)) for code in range(2**16)), np.uint8, 2**16)
    lower = np.arange(2**16, dtype=np.uint16)
    for code in range(2**16):
        small = chr(code).lower()
        if len(small) == 1 and ord(small) < 2**16:
            lower[code] = ord(small)
    return kinds, lower


@cache
def _keep_memory() -> None:
    """Has glibc keep the memory of arrays for the next ones (up to 62 MB a process); elsewhere this does nothing.

    It hands arrays back to the system one by one, and then every page of the next ones must be cleared again, until one
    of nearly 32 MB has been freed: arrays up to that size count as small from then on.
    """
    import numpy as np

    np.empty(31 << 20, np.uint8)


class Texts:
    """Many texts in one array, each between two separators."""

    def __init__(self, texts: list[bytes], size: int) -> None:
        import numpy as np

        _keep_memory()
        between = BETWEEN.encode("cp1252" if size == 1 else "utf-32-le")
        joined = between + between.join(texts) + between
        self.codes: NDArray[Any]
        if size == 1:
            kinds, lower = _narrow_tables()
            self.codes = np.frombuffer(joined, np.uint8)
            self.kinds = np.frombuffer(joined.translate(kinds), np.uint8)
            self.words = _narrow_hashes(joined.translate(lower))
        else:
            codes = np.frombuffer(joined, np.uint32)
            low = np.minimum(codes, 0xFFFF).astype(np.uint16)
            kinds_of, lower_of = _wide_tables()
            self.codes, self.kinds = low, kinds_of[low]
            beyond = np.flatnonzero(codes > 0xFFFF)
            self.kinds[beyond[(codes[beyond] >= 0x20000) & (codes[beyond] <= 0x3134F)]] = HAN
            lower16 = lower_of[low]
            lower16[beyond] = codes[beyond] * 31 & 0xFFFF
            self.words = _wide_hashes(lower16)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts)) // size
        self.ends = np.cumsum(lengths + 1)
        self.starts = self.ends - lengths

    def encoded(self, chars: str) -> list[int]:
        """The codes of those of the characters that this array can hold."""
        if self.codes.itemsize == 2:
            return [ord(char) for char in chars]
        return list(chars.encode("cp1252", "ignore"))


def _narrow_hashes(data: bytes) -> Hash:
    """Hashes of words by their first and last eight bytes and their length."""
    import numpy as np

    padded = np.frombuffer(data + bytes(16), np.uint8)
    windows = np.ndarray((len(data) + 8,), np.uint64, padded.tobytes(), strides=(1,))
    masks = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)

    def of(begin: Array, end: Array) -> NDArray[np.uint64]:
        size = end - begin
        first = windows[begin]
        first &= masks.take(np.minimum(size, 8))
        last, long = first.copy(), np.flatnonzero(size > 8)
        last[long] = windows[end[long] - 8]
        first *= np.uint64(BASE)
        first += last
        first += size.view(np.uint64)
        return mix(first)

    return of


def _wide_hashes(codes: NDArray[np.uint16]) -> Hash:
    """Hashes of words by their characters."""
    stretches = Stretches(codes)
    return lambda begin, end: mix(stretches(begin, end))


class Stretches:
    """Hashes of any stretch of codes above 0, off running sums.

    A stretch's hash is a polynomial over its codes: H(a..b) = (S(b) - S(a)) B^-a modulo 2^64 with S the sum of
    code x B^place. Its low bits say little: `ngrams.mix` spreads them.
    """

    def __init__(self, codes: NDArray[Any]) -> None:
        import numpy as np

        powers, self._inverse = _powers(1 << max(16, len(codes).bit_length()))
        self._sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(codes.astype(np.uint64) * powers[: len(codes)], out=self._sums[1:])

    def __call__(self, begin: Array, end: Array) -> NDArray[np.uint64]:
        """Hash of each stretch from `begin` to before `end`."""
        return (self._sums[end] - self._sums[begin]) * self._inverse[begin]


@cache
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of an odd number and of its inverse modulo 2^64."""
    import numpy as np

    up = np.full(size, BASE, np.uint64)
    down = np.full(size, pow(BASE, -1, 2**64), np.uint64)
    up[0] = down[0] = 1
    return np.cumprod(up), np.cumprod(down)


@cache
def known(words: frozenset[str], narrow: bool) -> NDArray[np.uint64]:
    """Hashes of some words, in order."""
    import numpy as np

    joined = " ".join(sorted(words)).encode()
    edges = np.array([-1, *(i for i, byte in enumerate(joined) if byte == 32), len(joined)])
    of = _narrow_hashes(joined) if narrow else _wide_hashes(np.frombuffer(joined, np.uint8).astype(np.uint16))
    return np.sort(of(edges[:-1] + 1, edges[1:]))
