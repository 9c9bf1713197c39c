"""Where the latest answers of this process stand, by key, in bounded memory.

Knows nothing of what stands at a place.
"""

from __future__ import annotations

from pathlib import Path

ROOM = 20_000
"""Answers that are remembered at most, about 200 bytes each."""


class Places:
    """Key (16 bytes, a hash) -> file and offset of the latest answers: at most `room` of them, at least half as many.

    In two generations, of which the older goes as a whole: to take a dict's first entry out again and again takes
    longer the more of them went before. One thread may add while others look.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._half = room // 2
        self._young: dict[bytes, tuple[Path, int]] = {}
        self._old: dict[bytes, tuple[Path, int]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def get(self, key: bytes) -> tuple[Path, int] | None:
        """File and offset of the answer to `key`."""
        return self._young.get(key) or self._old.get(key)

    def add(self, key: bytes, path: Path, offset: int) -> None:
        """Note a place; the first one of a key stays."""
        if key in self:
            return
        if len(self._young) == self._half:
            # The old ones first: at no moment is one that stays in neither.
            self._old = self._young
            self._young = {}
        self._young[key] = (path, offset)
