"""Tokens of many texts at once, as hashes: the fast way to what `normalise.words` says of one text.

A block of texts is one array of bytes, and every step is one numpy call over all of it, so no Python object is
made for a word. Texts beyond ASCII go through Unicode's own rules one by one and join the others as bytes.
Hashes are 64-bit, equal on every machine, and not secret. Knows nothing of what tokens are for.

How a block looks when it is folded: a zero byte between texts; 1..15 for an operator, which is a token by itself;
above 32 the bytes of words, in UTF-8; and gaps: spaces and the codes of marks that count for nothing where they are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, cast

from boostqa.text import compiled
from boostqa.text.context import (
    BESIDE,
    COMMA,
    MARKS,
    MINUS,
    OPERATORS,
    POINT,
    SINGLE,
    SLASH,
    in_context,
)
from boostqa.text.normalise import FOLD, is_cjk, raised

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Hashes = npt.NDArray[np.uint64]
    Indexes = npt.NDArray[np.int64]
    Bytes = npt.NDArray[np.uint8]
    Flags = npt.NDArray[np.bool_]

CHUNK = 1_000_000
"""Bytes of text that are folded together."""
BLOCK = 200_000
"""Bytes of text whose words are looked at together: the arrays over them stay in the processor's caches."""

_RAISED = (b"\xc2\xb2", b"\xc2\xb3", b"\xc2\xb9", b"\xe2\x81")
"""How raised digits begin in UTF-8."""
_BEHIND = 15
"""Bytes behind the last place of a block at which a token may begin."""
_FACTOR = 0x9E3779B97F4A7C15
_KEEP, _GAP, _ALONE, _DASH, _SIGN, _NEW = 0, 1, 2, 3, 4, 255


class Tokens(NamedTuple):
    """Tokens of neighbouring texts."""

    hashes: Hashes
    """uint64[tokens]: one hash a token, equal for equal tokens."""
    starts: Indexes
    """int64[texts + 1]: text i has the tokens starts[i]:starts[i + 1]."""
    lead: Bytes
    """uint8[tokens]: the first byte of each token."""
    first: int = 0
    """Place of the first text among all that were given."""

    def text(self, i: int) -> Tokens:
        """Text i alone."""
        import numpy as np

        here = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return Tokens(self.hashes[here], np.array([0, here.stop - here.start]), self.lead[here])

    def numbers(self) -> Indexes:
        """Which tokens begin with a digit; int64[n]."""
        import numpy as np

        return np.flatnonzero((self.lead - np.uint8(48)) < 10)


def blocks(texts: pa.Array | Sequence[str]) -> Iterator[Tokens]:
    """The tokens of all texts, block by block and in order; an Arrow array of strings is not copied to Python.

    Empty and null texts have no tokens. A block is about `BLOCK` bytes, or one text where that is longer.
    """
    array, offsets = _array(texts)
    for start, stop in _cuts(offsets, CHUNK):
        folded, borders = _folded(array.slice(start, stop - start))
        for first, last in _cuts(borders, BLOCK):
            yield _tokens(*in_context(folded, borders[first : last + 1]), start + first)


def tokens(texts: pa.Array | Sequence[str]) -> Tokens:
    """The tokens of all texts in one piece; for few or short ones (8 bytes a token)."""
    import numpy as np

    parts = list(blocks(texts))
    if len(parts) == 1:
        return parts[0]
    sizes = np.cumsum([0, *(len(part.hashes) for part in parts)])
    pieces = list(zip(parts, sizes.tolist(), strict=False))
    return Tokens(
        np.concatenate([np.empty(0, dtype=np.uint64), *(part.hashes for part in parts)]),
        np.concatenate([*(part.starts[:-1] + size for part, size in pieces), sizes[-1:]]),
        np.concatenate([np.empty(0, dtype=np.uint8), *(part.lead for part in parts)]),
    )


def word_hashes(words: Sequence[str]) -> Hashes:
    """The hashes that `blocks` gives to these words, such as `normalise.words` returns; uint64[len(words)]."""
    import numpy as np

    data = [word.encode("utf-8", "surrogatepass").translate(_singles()) for word in words]
    starts = np.cumsum([0, *(len(word) + 1 for word in data)])[:-1]
    return _hashes(np.frombuffer(b"\0".join([*data, bytes(16)]), dtype=np.uint8), starts)


def _array(texts: pa.Array | Sequence[str]) -> tuple[pa.Array, Indexes]:
    """The texts as one binary array without nulls, and its offsets."""
    import numpy as np
    import pyarrow as pa

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if isinstance(texts, pa.Array):
        array = texts.fill_null("") if texts.null_count else texts
        if array.type not in (pa.string(), pa.binary()):
            array = array.cast(pa.binary())
    else:
        # Halves of surrogate pairs, which no file holds, would stop Arrow.
        array = pa.array([text.encode("utf-8", "surrogatepass") for text in texts], pa.binary())
    buffer = array.buffers()[1]
    if not len(array) or buffer is None:
        return pa.array([], pa.binary()), np.zeros(1, dtype=np.int64)
    offsets = np.frombuffer(buffer, dtype=np.int32, count=len(array) + 1, offset=4 * array.offset)
    return array, offsets.astype(np.int64)


def _cuts(offsets: Indexes, size: int) -> Iterator[tuple[int, int]]:
    """Cuts texts into neighbours (from, to) of about `size` bytes together, at least one text each."""
    import numpy as np

    start, count = 0, len(offsets) - 1
    while start < count:
        stop = int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1
        yield start, (stop := min(max(stop, start + 1), count))
        start = stop


def _raw(array: pa.Array) -> tuple[memoryview, Indexes]:
    """The bytes of a binary array, and its offsets into them from 0 on."""
    _, offsets = _array(array)
    buffer = array.buffers()[2]
    data = memoryview(buffer if buffer is not None else b"")[offsets[0] : offsets[-1]]
    return data, offsets - offsets[0]


@cache
def _table() -> bytes:
    """What becomes of each byte of an ASCII text: lower case, codes of operators, spaces for the rest."""
    table = bytearray(b" " * 256)
    for code in (*range(48, 58), *range(97, 123), *range(128, 256)):
        table[code] = code
    for code in range(65, 91):
        table[code] = code + 32
    for code, byte in {**SINGLE, **MARKS, 44: COMMA, 46: POINT, 45: MINUS, 47: SLASH}.items():
        table[code] = byte
    return bytes(table)


@cache
def _singles() -> bytes:
    """What becomes of each byte of a folded word: operators get their codes."""
    return bytes(SINGLE.get(code, code) for code in range(256))


def _folded(array: pa.Array) -> tuple[Bytes, Indexes]:
    """The texts folded but for `in_context`, a zero byte after each but the last; and where they begin."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    data, offsets = _raw(array)
    raw = bytes(data)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32).tobytes()), pa.py_buffer(raw.translate(_table()))]
    texts = pa.BinaryArray.from_buffers(pa.binary(), len(array), buffers)
    if not raw.isascii():
        other = pc.invert(pc.string_is_ascii(array.view(pa.string())))
        wild = _wide(array.filter(other).to_pylist(), any(sign in raw for sign in _RAISED))
        texts = pc.replace_with_mask(texts, other, pa.array(wild, pa.binary()))
    whole = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    folded = np.frombuffer(pc.binary_join(whole, b"\0")[0].as_buffer(), dtype=np.uint8)
    return folded, _array(texts)[1] + np.arange(len(texts) + 1)


def _wide(texts: Sequence[bytes | str], powers: bool) -> list[bytes]:
    """Texts beyond ASCII in the form of a block, still with commas, points, minus signs and slashes.

    powers: whether any may have raised digits.
    """
    import numpy as np

    folded = []
    for raw in texts:
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "surrogatepass")
        text = unicodedata.normalize("NFKC", raised(text) if powers else text)
        folded.append(unicodedata.normalize("NFKC", text.casefold()))
    joined = "\0".join(folded)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").copy()
    kinds = _kinds(codes)
    ends = np.cumsum([len(text) + 1 for text in folded])[:-1] - 1
    codes[kinds == _GAP] = 32
    codes[kinds == _DASH] = 45
    codes[ends] = 0
    alone = (kinds == _ALONE) | (kinds == _SIGN)
    if alone.any():
        width = np.where(alone, 3, 1)
        middle = (np.cumsum(width) - 2)[alone]
        codes = np.repeat(codes, width)
        codes[middle - 1] = codes[middle + 1] = np.where(kinds[alone] == _SIGN, BESIDE, 32)
    # Splitting at zero bytes is right because the table maps no other byte to zero.
    table = bytearray(_table())
    table[0], table[BESIDE] = 0, BESIDE
    return codes.tobytes().decode("utf-32-le").encode().translate(table).split(b"\0")


@cache
def _kind_table() -> Bytes:
    import numpy as np

    return np.full(0x110000, _NEW, dtype=np.uint8)


def _kinds(codes: npt.NDArray[np.uint32]) -> Bytes:
    """What `normalise.fold` and `normalise.words` make of each character; worked out when it is first met."""
    import numpy as np

    table = _kind_table()
    kinds = table[codes]
    if (kinds == _NEW).any():
        for code in np.unique(codes[kinds == _NEW]).tolist():
            table[code] = _kind(code)
        kinds = table[codes]
    return kinds


def _kind(code: int) -> int:
    result = FOLD[code]
    if result in (" ", "-"):
        return _GAP if result == " " else _DASH
    if result != code:
        return _SIGN
    return _ALONE if is_cjk(chr(code)) else _KEEP


def _tokens(folded: Bytes, borders: Indexes, first: int) -> Tokens:
    """The tokens of a block whose texts lie between `borders`."""
    import numpy as np

    if compiled.loops is not None:
        room = len(folded) - _BEHIND
        hashes, lead = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.uint8)
        places = np.empty(len(borders), dtype=np.int64)
        count = compiled.loops.words(folded, borders, hashes, lead, places)
        return Tokens(hashes[:count].copy(), places, lead[:count].copy(), first)
    word = folded > 32
    begins = word[1:] & ~word[:-1]
    begins |= (folded[1:] - np.uint8(1)) < OPERATORS
    starts = np.flatnonzero(begins)
    starts += 1
    return Tokens(_hashes(folded, starts), np.searchsorted(starts, borders), folded.take(starts), first)


def _hashes(folded: Bytes, starts: Indexes) -> Hashes:
    """Hash of the token at each start, eight bytes at a time; at least 15 bytes lie behind the last start.

    A token of up to eight bytes has a hash that no other such token has: each step is a bijection.
    """
    import numpy as np

    # Eight bytes from every place on, as overlapping numbers.
    eights = np.ascontiguousarray(np.ndarray((len(folded) - 7,), dtype="<u8", buffer=folded, strides=(1,)))
    hashes = cast("Hashes", eights.take(starts))
    single = np.flatnonzero((hashes & np.uint64(0xFF)) <= OPERATORS)
    operators = hashes[single] & np.uint64(0xFF)
    goes_on = _cut(hashes)
    hashes[single] = operators
    hashes *= np.uint64(_FACTOR)
    hashes ^= hashes >> np.uint64(29)
    goes_on[single] = False
    longer, done = np.flatnonzero(goes_on), 8
    while len(longer):
        more = eights[starts[longer] + done]
        goes_on = _cut(more)
        some = more != 0
        longer, more, goes_on = longer[some], more[some], goes_on[some]
        more += hashes[longer]
        more *= np.uint64(_FACTOR)
        # Another shift than above, so that a long word is no sum of two short ones.
        more ^= more >> np.uint64(31)
        hashes[longer] = more
        longer, done = longer[goes_on], done + 8
    return hashes


def _cut(eights: Hashes) -> Flags:
    """Blanks in each group of eight bytes the first one that ends a word and all behind it; which have none.

    The lowest bit set in `ends` stands in the first byte below 33 (Hacker's Delight, 6-1).
    """
    import numpy as np

    ends = eights - np.uint64(0x2121212121212121)
    ends &= ~eights
    ends &= np.uint64(0x8080808080808080)
    open_ended: Flags = ends == 0
    ends &= -ends
    ends >>= np.uint64(7)
    ends -= np.uint64(1)
    eights &= ends
    return open_ended
