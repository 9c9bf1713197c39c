"""Halves of surrogate pairs, which JSON can spell and no file can hold."""

from __future__ import annotations

import re

_LONE_ESCAPE = re.compile(
    r"\\u[dD][89abAB][\da-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][\da-fA-F]{2})\\u[dD][c-fC-F][\da-fA-F]{2}"
)


def joined(text: str) -> str:
    """The text with pairs of halves made one character and lone ones U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def joined_escapes(json_text: str) -> str:
    """JSON whose escapes of lone halves are those of U+FFFD, so that strict parsers take it."""
    return _LONE_ESCAPE.sub(r"\\ufffd", json_text) if "\\u" in json_text else json_text
