"""Which rows of a file carry the id of an earlier row, and whether they also say the same.

Holds 32 bytes for each row that has an id of its own, of one file at a time, and more for those that share one. A
column whose values mostly come again (a user's, a batch's) tells no rows apart and is left out. Knows nothing of
formats.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

from boostqa.readers.items import Raw

MANY = 1000
"""Rows from which it can be told that a column's values are no ids of rows."""
Repeat = tuple[int, int, bool]
"""Line of a row, line of the first row of its file with the same id, and whether they say the same, too."""


class Ids:
    """The ids of a file's rows, as they are read."""

    def __init__(self) -> None:
        self._ids, self._contents = array("Q"), array("Q")
        self._places = array("q")

    def add(self, number: int, raw: Raw) -> None:
        """Takes a row; one without an id counts for nothing."""
        if not raw.id:
            return
        content = "\0".join((raw.question, raw.context, raw.passage, raw.answer, raw.solution, *raw.choices))
        self._ids.append(_hash(f"{raw.member}\0{raw.id}"))
        self._contents.append(_hash(content))
        self._places.extend((number, raw.line or 0))

    def repeats(self) -> dict[int, Repeat]:
        """What is known of each row with an id that was there before, by its number in the file."""
        import numpy as np

        if len(self._ids) < 2:
            return {}
        order = np.argsort(np.array(self._ids), kind="stable")
        ids, contents = np.array(self._ids)[order], np.array(self._contents)[order]
        places = np.array(self._places).reshape(-1, 2)[order]
        same = np.flatnonzero(ids[1:] == ids[:-1])
        if len(ids) >= MANY and 2 * len(same) > len(ids):
            return {}
        found = {}
        first = 0
        seen: set[int] = set()
        for at in same.tolist():
            if ids[at] != ids[first] or not seen:
                first, seen = at, {int(contents[at])}
            number, line = places[at + 1].tolist()
            content = int(contents[at + 1])
            found[number] = (line, int(places[first, 1]), content in seen)
            seen.add(content)
        return found


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
