r"""Where in a text things stand that open and close, found in linear time.

A pattern for all of such a thing, as `\[.*?\]`, reads to the end of the text from each opening that nothing
closes. Knows no notation: what opens, and what closes it, is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator


def spans(
    text: str, opening: re.Pattern[str], closing: Callable[[re.Match[str]], re.Pattern[str] | None]
) -> Iterator[tuple[int, int]]:
    """(start, end) of what opens and closes, in order and none inside another.

    Args:
        text: Any text.
        opening: Finds an opening, or something that is whole in itself; in linear time.
        closing: What closes an opening; None where it is whole in itself. There must be few different ones, as
            each may be looked for in all of the text.
    """
    gone: set[re.Pattern[str]] = set()
    position = 0
    while match := opening.search(text, position):
        start, end = match.span()
        mark = closing(match)
        if mark:
            closed = mark.search(text, end) if mark not in gone else None
            if not closed:
                # Neither does it close anything that opens later.
                gone.add(mark)
                position = start + 1
                continue
            end = closed.end()
        yield start, end
        position = end


def without(text: str, found: Iterator[tuple[int, int]], by: str) -> str:
    """The text with `by` in the place of each span."""
    parts: list[str] = []
    done = 0
    for start, end in found:
        parts += (text[done:start], by)
        done = end
    return "".join(parts) + text[done:]
