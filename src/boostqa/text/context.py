"""What signs mean beside digits and operators, in a block of many folded texts: part of a number, operator, or gap.

As `normalise.fold` decides it for one text, but as numpy calls over the bytes of a block (see `tokens`). Knows the
bytes by which signs are told there; nothing of what words and hashes are.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]
    Bytes = npt.NDArray[np.uint8]
    Flags = npt.NDArray[np.bool_]

SINGLE = {ord(char): code for code, char in enumerate("%*+<=>^-/(){}!|", start=1)}
"""Operators and their bytes in a block."""
OPERATORS = len(SINGLE)
COMMA, POINT, MINUS, SLASH = 16, 17, 18, 19
"""Gaps unless digits beside them make them a part of a number, or (minus and slash) an operator."""
MARKS = {ord(char): code for code, char in enumerate("(){}!|_", start=20)}
"""Gaps unless digits or operators beside them make them operators; the last one never is."""
_LOW = min(MARKS.values())
_FEW_SPACES = 6
"""Spaces that are gone over one by one."""
BESIDE = 31
"""Gaps around an operator beyond ASCII."""


def in_context(whole: Bytes, borders: Indexes) -> tuple[Bytes, Indexes]:
    """The texts between `borders`, when what depends on neighbours is decided: , . - and / beside digits.

    As `normalise.fold` does it. Returns bytes with a zero before and 16 after them, and where the borders are.
    """
    import numpy as np

    size = int(borders[-1] - borders[0])
    folded = np.zeros(size + 16, dtype=np.uint8)
    folded[1:size] = whole[borders[0] : borders[-1] - 1]
    borders = borders - borders[0]
    _keep_marks(folded)
    digit = (folded - np.uint8(48)) < 10
    near = digit[1:-1] | digit[2:]
    near &= (folded[:-2] - np.uint8(COMMA)) < 4
    marks = np.flatnonzero(near)
    if not len(marks):
        return folded, borders
    kinds = folded[marks]
    follows = digit[marks + 1]
    between = digit[marks - 1] & follows
    folded[marks[between & (kinds == POINT)]] = 46
    after = folded[marks + 1]
    follows |= (after == 32) | (after == COMMA) | (after == POINT) | (after == MARKS[95])
    folded[marks[follows & (kinds == MINUS)]] = SINGLE[45]
    folded[marks[follows & (kinds == SLASH)]] = SINGLE[47]
    thousands = marks[between & (kinds == COMMA)]
    thousands = thousands[digit[thousands + 2] & digit[thousands + 3] & ~digit[thousands + 4]]
    if len(thousands):
        # They go altogether, so everything behind them moves.
        data, ends = folded.data, [0, *thousands.tolist(), len(folded)]
        parts = [data[a + (a > 0) : b] for a, b in pairwise(ends)]
        folded = np.frombuffer(bytearray().join(parts), dtype=np.uint8)
        borders = borders - np.searchsorted(thousands, borders)
    return folded, borders


def _keep_marks(folded: Bytes) -> None:
    """Makes operators of the brackets, ! and | that stay by the rule of `normalise.fold`, in place."""
    import numpy as np

    at = np.flatnonzero((folded - np.uint8(_LOW)) < len(MARKS))
    if not len(at):
        return
    _ungroup(folded, at)
    at = at[(folded.take(at) - np.uint8(_LOW)) < len(MARKS) - 1]
    near = _near()
    at = at[near.take(_beyond(folded, at, -1)) | near.take(_beyond(folded, at, 1))]
    before = folded.take(at - 1)
    closing = np.isin(folded.take(at), [MARKS[ord(char)] for char in ")}!"])
    for mark, char in ((MINUS, "-"), (SLASH, "/")):
        folded[at[(before == mark) & ~closing] - 1] = SINGLE[ord(char)]
    folded[at] -= np.uint8(_LOW - SINGLE[ord("(")])


def _ungroup(folded: Bytes, at: Indexes) -> None:
    """Blanks brackets around one number or letter, and braces around such an exponent or index, in place.

    at: where all marks stand.
    """
    import numpy as np

    kinds, size = folded.take(at), np.diff(at) - 1
    opening = kinds[:-1]
    round_ = (opening == MARKS[ord("(")]) & (kinds[1:] == MARKS[ord(")")])
    brace = (opening == MARKS[ord("{")]) & (kinds[1:] == MARKS[ord("}")])
    pair = np.flatnonzero((round_ | brace) & (size > 0) & (size <= 4))
    if not len(pair):
        return
    start, size, brace = at[pair], size[pair], brace[pair]
    before, first = folded.take(start - 1), folded.take(start + 1)
    fits = ~brace | (before == SINGLE[ord("^")]) | (before == MARKS[ord("_")])
    digit = (first - np.uint8(48)) < 10
    fits &= digit | ((size == 1) & ((first - np.uint8(97)) < 26)) | (brace & (size > 1) & (first == MINUS))
    for place in (2, 3, 4):
        fits &= (size < place) | ((folded.take(start + place) - np.uint8(48)) < 10)
    folded[start[fits]] = folded[start[fits] + size[fits] + 1] = 32


@cache
def _near() -> Flags:
    """Which bytes make a mark beside them an operator: digits, operators, minus signs, slashes."""
    import numpy as np

    near = np.zeros(256, dtype=bool)
    near[[*range(48, 58), *(SINGLE[ord(char)] for char in "%*+<=>^"), MINUS, SLASH, BESIDE]] = True
    return near


def _beyond(folded: Bytes, at: Indexes, step: int) -> Bytes:
    """The first byte that is no space from each place on, backwards (step -1) or forwards (1)."""
    import numpy as np

    found = folded.take(at + step)
    spaced = np.flatnonzero(found == 32)
    places = at[spaced] + step
    for _ in range(_FEW_SPACES):
        if not len(spaced):
            return found
        places += step
        found[spaced] = here = folded.take(places)
        more = here == 32
        spaced, places = spaced[more], places[more]
    if len(spaced):
        solid = np.flatnonzero(folded != 32)
        found[spaced] = folded[solid[np.searchsorted(solid, places) - (step < 0)]]
    return found
