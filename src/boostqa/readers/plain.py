"""Plain text, read like Markdown that happens to have little markup."""

from __future__ import annotations

from collections.abc import Iterator

from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import read_markdown


def read_text(path: str) -> Iterator[Raw | BadRow]:
    """Question items and one text item of a text file, in any encoding that `files.decode` knows."""
    yield from read_markdown(path)
