"""Where the latest answers of this process stand, by key, in memory that is taken at once and never grows.

A ring of fixed-size entries, the oldest of which goes when it is full, under an open hash table. A dict of them would
take five times as much. Knows nothing of what stands at a place.
"""

from __future__ import annotations

import threading
from array import array
from pathlib import Path

ROOM = 50_000
"""Answers that are remembered: 34 bytes each."""
_KEY = 16
_OFFSET_BITS = 40


class Places:
    """Key (16 bytes, a hash) -> file and offset. Safe to use from several threads."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._mask = (1 << (2 * room).bit_length()) - 1
        self._slots = array("i", [-1]) * (self._mask + 1)
        """By hash, with linear probing: number of an entry, or -1."""
        self._keys = bytearray(room * _KEY)
        self._places = array("Q", bytes(8 * room))
        """Number of the file and offset of each entry."""
        self._count = 0
        """Entries ever made; the next one stands at this number modulo `room`."""
        self._files: dict[int, Path] = {}
        self._numbers: dict[Path, int] = {}
        self._uses: dict[int, int] = {}
        self._next_file = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return min(self._count, self._room)

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def get(self, key: bytes) -> tuple[Path, int] | None:
        """File and offset of the answer to `key`."""
        with self._lock:
            entry = self._slots[self._slot(key)]
            if entry < 0:
                return None
            place = self._places[entry]
            return self._files[place >> _OFFSET_BITS], place & ((1 << _OFFSET_BITS) - 1)

    def add(self, key: bytes, path: Path, offset: int) -> None:
        """Note a place; the first one of a key stays."""
        with self._lock:
            at = self._slot(key)
            if self._slots[at] >= 0:
                return
            entry = self._count % self._room
            if self._count >= self._room:
                self._forget(entry)
                at = self._slot(key)
            self._count += 1
            self._keys[entry * _KEY : (entry + 1) * _KEY] = key
            self._places[entry] = self._number(path) << _OFFSET_BITS | offset
            self._slots[at] = entry

    def _slot(self, key: bytes) -> int:
        """Where `key` is, or would go."""
        slots = self._slots
        at = hash(key) & self._mask
        while (entry := slots[at]) >= 0 and self._keys[entry * _KEY : entry * _KEY + _KEY] != key:
            at = (at + 1) & self._mask
        return at

    def _forget(self, entry: int) -> None:
        slots = self._slots
        hole = at = self._slot(bytes(self._keys[entry * _KEY : (entry + 1) * _KEY]))
        # Entries behind the hole move up, so that no search for them ends at it.
        while (other := slots[at := (at + 1) & self._mask]) >= 0:
            home = hash(bytes(self._keys[other * _KEY : other * _KEY + _KEY])) & self._mask
            if (at - home) & self._mask >= (at - hole) & self._mask:
                slots[hole] = other
                hole = at
        slots[hole] = -1
        number = self._places[entry] >> _OFFSET_BITS
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._uses[number], self._numbers[self._files.pop(number)]

    def _number(self, path: Path) -> int:
        number = self._numbers.get(path)
        if number is None:
            number = self._numbers[path] = self._next_file
            self._files[number] = path
            self._uses[number] = 0
            self._next_file += 1
        self._uses[number] += 1
        return number
