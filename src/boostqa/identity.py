"""Ids, canonical bytes, fingerprints, and the words for what changed between two of them.

One canonical form serves all: JSON with sorted keys, no spaces, floats by their shortest repr.
Values without a stable form (objects, callables, NaN) are refused instead of guessed.
Hash: BLAKE2b with 16 bytes (RFC 7693), so 32 hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ID_BYTES = 16


def canonical(value: Any) -> bytes:
    """Canonical bytes of plain data (None, bool, int, float, str, sequences, string-keyed mappings).

    Raises:
        TypeError: for anything else; TypeError also for NaN and infinities, which JSON cannot hold.
    """
    return json.dumps(_plain(value, "$"), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where}: {value!r} has no canonical form; use null instead")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: key {key!r} is not a string")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item, f"{where}[]") for item in value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{where}: {type(value).__name__} has no canonical form; give plain data")


def digest(*parts: Any) -> str:
    """Hash of the canonical bytes of `parts`, as 32 hexadecimal digits."""
    return hashlib.blake2b(canonical(parts), digest_size=ID_BYTES).hexdigest()


def digest_bytes(data: bytes) -> str:
    """Hash of raw bytes, as 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=ID_BYTES).hexdigest()


def unit(*parts: Any) -> float:
    """A number in [0, 1) that depends on `parts` alone; for hash-based choices such as the hold-out."""
    return int(digest(*parts)[:13], 16) / 16**13


def changes(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """The differences between two plain values, one readable line each, as `place: old -> new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            place = f"{where}.{key}" if where else str(key)
            if key not in new:
                yield f"{place}: {_short(old[key])} -> (absent)"
            elif key not in old:
                yield f"{place}: (absent) -> {_short(new[key])}"
            else:
                yield from changes(old[key], new[key], place)
    elif old != new:
        yield f"{where or 'value'}: {_short(old)} -> {_short(new)}"


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"
