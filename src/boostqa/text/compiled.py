"""The compiled loops of `_native.c`, where the package was built with a compiler at hand; else None.

Whoever calls one has the same in numpy beside it, to the last bit: nothing but speed depends on which is taken.
"""

from __future__ import annotations

try:
    from boostqa.text import _native as loops
except ImportError:
    loops = None  # type: ignore[assignment]

__all__ = ["loops"]
