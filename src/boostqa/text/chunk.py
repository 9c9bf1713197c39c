"""Cutting long text into passages at its structure.

A document is a list of blocks (paragraph, list item, code block, table, display formula) under headings.
Passages are runs of whole blocks under one heading; only a paragraph that is too long by itself is cut, between
sentences and never inside a formula or inline code.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from boostqa.text.normalise import CJK
from boostqa.text.spans import spans


@dataclass(frozen=True)
class Passage:
    """A piece of a document."""

    text: str
    heading_path: tuple[str, ...]
    """Headings above the passage, outermost first."""
    line: int
    """1-based line of the document where the passage starts."""


@dataclass(frozen=True)
class _Block:
    text: str
    path: tuple[str, ...]
    line: int
    whole: bool
    """Never cut: code, table, display formula, list item."""


_CJK_CHAR = re.compile(f"[{CJK}]")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-{3,}|\^{3,}|~{3,}|\"{3,})\s*$")
_LEVELS = {"=": 1, "-": 2, "~": 3, "^": 3, '"': 4}
"""What a heading is underlined with -> its level."""
_LATEX_HEADING = re.compile(
    r"\s{0,3}\\(part|chapter|(?:sub){0,2}section)\*?\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}\s*$"
)
_LATEX_LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5}
_FENCE = re.compile(r"\s*(`{3,40}|~{3,40})")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)、]|[(（]\d{1,3}[)）])\s+")
_TABLE = re.compile(r"\s*\|.*\|\s*$")
_OPENING = {"$$": "$$", "\\[": "\\]"}
_ENVIRONMENT = re.compile(
    r"\s*\\begin\{((?:equation|align|gather|multline|eqnarray|array|[bpvBV]?matrix|cases|split|tabular|table|"
    r"tikzpicture|verbatim|lstlisting|displaymath|math|tikzcd|xymatrix)\*?)\}"
)
"""LaTeX's formulas, tables and programs; other environments are text."""
_INLINE = re.compile(r"\$\$|\$[^$\n]+\$|\\[(\[]|`[^`\n]+`|\\begin\{(\w{1,40}\*?)\}")
_INLINE_ENDS = {"$$": re.compile(r"\$\$"), "\\(": re.compile(r"\\\)"), "\\[": re.compile(r"\\\]")}
_INLINE_END = re.compile(r"\\end\{(\w{1,40}\*?)\}")
_NEVER = re.compile(r"(?!)")
_SENTENCE = re.compile(r"[.!?][\"')\]]?(?=\s+[^a-z\s])|[。．！？；][”』」）]?|\n")
_SPACE = re.compile(rf"\s+|(?<=[{CJK}，、])(?=[{CJK}])")


def estimate_tokens(text: str) -> int:
    """Tokens of a text, estimated: UTF-8 bytes / 4, but one per Han or kana character; at least 1."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size == len(text):
        return max(1, size // 4)
    wide = _CJK_CHAR.findall(text)
    return max(1, len(wide) + (size - sum(len(char.encode()) for char in wide)) // 4)


def passages(markdown_text: str, max_tokens: int = 512, overlap: int = 0) -> list[Passage]:
    """The document as passages of at most `max_tokens` estimated tokens (see `estimate_tokens`).

    A heading starts a new passage and is not part of its text; the last two of a section are about as long as each
    other where they can. With `overlap`, a passage repeats trailing
    blocks of the one before it under the same heading, up to that many tokens. A code block, table, list item or
    formula longer than `max_tokens` stays whole, as a passage of its own.
    """
    found: list[Passage] = []
    for _, blocks in groupby(_pieces(markdown_text, max_tokens), lambda block: block.path):
        found += map(_join, _even(list(_runs(blocks, max_tokens, overlap)), overlap))
    return found


def _runs(blocks: Iterable[_Block], max_tokens: int, overlap: int) -> Iterator[list[_Block]]:
    """Blocks of one section, as many together as a passage may have."""
    held: list[_Block] = []
    size = 0
    for block in blocks:
        tokens = estimate_tokens(block.text) + 1
        if held and size + tokens > max_tokens:
            yield held
            held = _tail(held, min(overlap, max_tokens - tokens))
            size = sum(map(_size, held))
        held.append(block)
        size += tokens
    if held:
        yield held


def _even(runs: list[list[_Block]], overlap: int) -> list[list[_Block]]:
    """The runs of a section, of which a short last one takes blocks from the one before it."""
    if len(runs) < 2 or overlap:
        return runs
    *_, before, last = runs
    while len(before) > 1 and sum(map(_size, last)) + _size(before[-1]) <= sum(map(_size, before)) - _size(
        before[-1]
    ):
        last.insert(0, before.pop())
    return runs


def _size(block: _Block) -> int:
    return estimate_tokens(block.text) + 1


def _join(blocks: list[_Block]) -> Passage:
    text = blocks[0].text
    for before, block in pairwise(blocks):
        # Neighbouring list items and the pieces of one paragraph stay together.
        near = block.line - before.line <= before.text.count("\n") + 1
        text += ("\n" if near else "\n\n") + block.text
    return Passage(text=text, heading_path=blocks[0].path, line=blocks[0].line)


def _tail(blocks: list[_Block], budget: int) -> list[_Block]:
    kept: list[_Block] = []
    for block in reversed(blocks):
        budget -= _size(block)
        if budget < 0:
            break
        kept.insert(0, block)
    return kept


def _pieces(text: str, max_tokens: int) -> Iterator[_Block]:
    for block in _blocks(text):
        if block.whole or estimate_tokens(block.text) < max_tokens:
            yield block
            continue
        line = block.line
        for piece in _split(block.text, max_tokens):
            if piece.strip():
                yield _Block(piece.strip(), block.path, line, False)
            line += piece.count("\n")


def _blocks(text: str) -> Iterator[_Block]:
    lines = text.replace("\r\n", "\n").split("\n")
    path: list[tuple[int, str]] = []
    open_: set[str] = set()
    position = 0
    while position < len(lines):
        line = lines[position]
        heading = _heading(lines, position)
        if heading:
            level, title, position = heading
            path = [entry for entry in path if entry[0] < level] + [(level, title)]
            continue
        if not line.strip():
            position += 1
            continue
        end, whole = _end(lines, position, open_)
        body = "\n".join(lines[position:end]).rstrip()
        yield _Block(body, tuple(name for _, name in path if name), position + 1, whole)
        position = end


def heading_of(line: str) -> tuple[int, str] | None:
    """(level, title) of a line that is a heading of Markdown, else None."""
    marked = _HEADING.match(line)
    return (len(marked[1]), marked[2].rstrip().rstrip("#").rstrip()) if marked else None


def _heading(lines: list[str], position: int) -> tuple[int, str, int] | None:
    """(level, title, line behind) of a heading of Markdown, reStructuredText or LaTeX that begins here."""
    line = lines[position]
    if marked := heading_of(line):
        return *marked, position + 1
    if "section" in line or "chapter" in line or "part" in line:
        latex = _LATEX_HEADING.match(line)
        if latex:
            return _LATEX_LEVELS[latex[1]], latex[2].strip(), position + 1
    if not line.strip() or position + 1 >= len(lines):
        return None
    below = _UNDERLINE.match(lines[position + 1])
    if below and not _ITEM.match(line) and not _TABLE.match(line):
        mark = below[1][0]
        # Other marks than Markdown's are one only where they are as long as the title; `~~~` may open code.
        if mark in "=-" or len(below[1]) == len(line.strip()):
            return _LEVELS[mark], line.strip(), position + 2
    title = lines[position + 1].strip()
    between = position + 2 < len(lines) and lines[position + 2].rstrip() == line.rstrip()
    if between and 0 < len(title) <= len(line.strip()) and not line.strip().strip("="):
        return 1, title, position + 3
    return None


def _end(lines: list[str], start: int, open_: set[str]) -> tuple[int, bool]:
    """Line behind the block that begins at `start`, and whether the block must stay whole.

    What is in `open_` closes nothing from here on; what is found to be so is added.
    """
    line = lines[start]
    fence = _FENCE.match(line)
    if fence:
        return _closing(lines, start + 1, fence[1], open_), True
    environment = _ENVIRONMENT.match(line)
    if environment:
        return _closing(lines, start, f"\\end{{{environment[1]}}}", open_), True
    for opening, closing in _OPENING.items():
        if line.lstrip().startswith(opening):
            rest = line.lstrip()[len(opening) :]
            if closing in rest:
                return (
                    (start + 1, True)
                    if rest.rstrip().endswith(closing)
                    else (_paragraph(lines, start), False)
                )
            return _closing(lines, start + 1, closing, open_), True
    if _TABLE.match(line):
        end = start
        while end < len(lines) and _TABLE.match(lines[end]):
            end += 1
        return end, True
    whole = _ITEM.match(line) is not None or line.lstrip().startswith(">>> ")
    return _paragraph(lines, start), whole


def _closing(lines: list[str], start: int, mark: str, open_: set[str]) -> int:
    """Line behind the first that closes; an unclosed block ends with its paragraph, not with the document."""
    fence = mark[0] in "`~"
    for position in range(start, len(lines) if mark not in open_ else start):
        line = lines[position]
        if line.strip().startswith(mark) if fence else mark in line:
            return position + 1
    open_.add(mark)
    return _paragraph(lines, start) if start < len(lines) else start


def _paragraph(lines: list[str], start: int) -> int:
    """Line behind the paragraph or list item at `start`; a display formula inside belongs to it."""
    end = start + 1
    open_formula = lines[start].count("$$") % 2 == 1
    item = _ITEM.match(lines[start]) is not None
    while end < len(lines):
        line = lines[end]
        if not open_formula:
            if not line.strip():
                indented = item and end + 1 < len(lines) and lines[end + 1].startswith(("  ", "\t"))
                if not indented:
                    break
            else:
                inner = item and line.startswith(("  ", "\t"))
                latex = line.startswith("\\") and _LATEX_HEADING.match(line)
                if latex or _HEADING.match(line) or (not inner and _begins_whole(line)):
                    break
        elif end - start > 200:
            break
        if line.count("$$") % 2 == 1:
            open_formula = not open_formula
        end += 1
    return end


def _begins_whole(line: str) -> bool:
    """Whether a line begins a block that is never cut; a formula in the middle of a paragraph belongs to it."""
    marks = (_FENCE, _ITEM, _TABLE, _ENVIRONMENT)
    return line.lstrip().startswith(tuple(_OPENING)) or any(mark.match(line) for mark in marks)


def _split(text: str, max_tokens: int) -> Iterator[str]:
    """Pieces of at most `max_tokens` cut between sentences, else at white space; formulas stay whole."""
    held = ""
    for unit in _units(text, max_tokens):
        if held and estimate_tokens(held + unit) >= max_tokens:
            yield held
            held = ""
        held += unit
    if held:
        yield held


def _units(text: str, max_tokens: int) -> Iterator[str]:
    for sentence in _cut(text, _SENTENCE):
        if estimate_tokens(sentence) <= max_tokens:
            yield sentence
        else:
            yield from _cut(sentence, _SPACE)


def _cut(text: str, ends: re.Pattern[str]) -> Iterator[str]:
    closed = list(_formulas(text))
    start = 0
    for match in ends.finditer(text):
        if not _inside(match.end(), closed):
            yield text[start : match.end()]
            start = match.end()
    if start < len(text):
        yield text[start:]


def _formulas(text: str) -> Iterator[tuple[int, int]]:
    """Where formulas, environments and inline code stand."""
    last = {match[1]: match.start() for match in _INLINE_END.finditer(text)}

    def closing(opening: re.Match[str]) -> re.Pattern[str] | None:
        name = opening[1]
        if not name:
            return _INLINE_ENDS.get(opening[0])
        # There may be any number of names: one that closes nothing is not looked for.
        return re.compile(rf"\\end\{{{re.escape(name)}\}}") if last.get(name, 0) >= opening.end() else _NEVER

    return spans(text, _INLINE, closing)


def _inside(position: int, spans: list[tuple[int, int]]) -> bool:
    index = bisect_left(spans, (position, 0)) - 1
    return index >= 0 and spans[index][0] < position < spans[index][1]
