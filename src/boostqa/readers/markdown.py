"""Markdown, and the questions with answers that a text in any format may contain.

Exercises with answers elsewhere and sections of a FAQ are found by `exercises`. Any other pair is written
`**Q:** ... **A:** ...`, `Q: ... A: ...`, `Question: ... Answer: ...` or `问：... 答：...`, with options as lines
`A. ...` and an optional `Solution:` / `解析：` part. Pairs become question items; what remains is one text item.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from boostqa.readers import exercises
from boostqa.readers.choices import option_lines
from boostqa.readers.files import UnreadableError, decode, excerpt
from boostqa.readers.items import BadRow, Raw, item
from boostqa.text.chunk import heading_of

_Q = re.compile(
    r"\s{0,3}(?:[-*>]\s+|#{1,6}\s+|\d{1,3}[.)]\s+)?[*_]{0,2}(?:Q|Question|问题?|题目)\s?\d{0,3}[*_]{0,2}\s?[:：][*_]{0,2}\s*",
    re.IGNORECASE,
)
_Q_BEFORE = re.compile(r"[uestionUESTION题目]{0,7}\s?\d{0,3}[*_]{0,2}\s?[:：]")
"""What follows the first letter of `_Q`."""
_A = re.compile(
    r"\s{0,3}(?:[-*>]\s+)?[*_]{0,2}(?:A|Answer|答案?)\s?\d{0,3}[*_]{0,2}\s?[:：][*_]{0,2}\s*", re.IGNORECASE
)
_A_INLINE = re.compile(r"(?:\s|(?<=[?？.。]))[*_]{0,2}(?:A|Answer|答案?)[*_]{0,2}\s?[:：][*_]{0,2}\s*")
_S = re.compile(
    r"\s{0,3}(?:[-*>]\s+)?[*_]{0,2}(?:Solution|Explanation|Worked solution|解析|解答|解)"
    r"[*_]{0,2}\s?[:：][*_]{0,2}\s*",
    re.IGNORECASE,
)
_OPTION = re.compile(r"\s*(?:[-*]\s+)?[(（]?([A-J])[.)）、．]\s*(.+)")
_PROSE = re.compile(r"^(?!#{1,6}\s)[ \t]*\S", re.MULTILINE)
_FENCE = re.compile(r"\s*(```|~~~)")
_FRONT = re.compile(r"\A---\s*\n(.*?)\n(?:---|\.\.\.)\s*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:(.*)$", re.MULTILINE)


def read_markdown(data: bytes) -> Iterator[Raw | BadRow]:
    """Question items and one text item of Markdown or plain text; a title in front matter heads the headings.

    Raises:
        UnreadableError: `null_bytes` for what is no text.
    """
    text = decode(data).replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        before = text[: text.index("\x00")]
        raise UnreadableError("null_bytes", f"line {before.count(chr(10)) + 1}: {excerpt(before[-100:])}")
    front = _FRONT.match(text)
    heading: list[str] = []
    if front:
        title = _TITLE.search(front[1])
        name = title[1].strip().strip("\"'") if title else ""
        heading = [name] if name else []
        # Blank lines in its place: line numbers stay those of the file.
        text = "\n" * front[0].count("\n") + text[front.end() :]
    yield from items(text, heading)


def items(text: str, heading: list[str] | None = None, line: int | None = None) -> Iterator[Raw | BadRow]:
    """Question items of a text in order, then its remainder as one text item (if any prose is left).

    `heading` is put before each item's own headings; `line` overrides the line numbers (a page of a PDF).
    """
    found = exercises.pairs(text)
    if found:
        parts = text.split("\n")
        for exercise in found:
            yield _raw(item(exercise.row, line or exercise.line + 1), [*(heading or []), *exercise.heading])
            for gone in exercise.lines:
                parts[gone] = ""
        text = "\n".join(parts)
    if not _may_ask(text):
        if _PROSE.search(text):
            yield Raw(passage=text, heading=list(heading or []), line=line)
        return
    lines = text.split("\n")
    path: list[tuple[int, str]] = []
    rest: list[str] = []
    position, fenced = 0, False
    while position < len(lines):
        current = lines[position]
        fenced ^= _FENCE.match(current) is not None
        pair = None if fenced or not _Q.match(current) else _pair(lines, position)
        if pair is not None:
            row, end = pair
            yield _raw(item(row, line or position + 1), [*(heading or []), *(name for _, name in path)])
            # Blank lines, so that line numbers of the remainder stay right.
            rest += [""] * (end - position)
            position = end
            continue
        title = None if fenced else heading_of(current)
        if title:
            path = [entry for entry in path if entry[0] < title[0]] + [title]
        rest.append(current)
        position += 1
    if any(part.strip() and not heading_of(part) for part in rest):
        yield Raw(passage="\n".join(rest), heading=list(heading or []), line=line)


def _may_ask(text: str) -> bool:
    """Whether `_Q` may match in a text; much quicker than to look at each line."""
    return any(
        _Q_BEFORE.match(text, place + 1) for letter in "Qq问题" for place in exercises.places(text, letter)
    )


def _raw(found: Raw | BadRow, heading: list[str]) -> Raw | BadRow:
    """The item with its headings."""
    return found if isinstance(found, BadRow) else msgspec.structs.replace(found, heading=heading)


def _pair(lines: list[str], start: int) -> tuple[dict[str, object], int] | None:
    """The pair whose question begins at `start` as a row, and the line behind it; None without an answer."""
    question: list[str] = [_Q.sub("", lines[start], count=1)]
    position = start + 1
    answer: str | None = None
    inline = _A_INLINE.search(question[0])
    if inline:
        question, answer = [question[0][: inline.start()]], question[0][inline.end() :]
    while answer is None:
        if (
            position >= len(lines)
            or _Q.match(lines[position])
            or heading_of(lines[position])
            or position - start > 80
        ):
            return None
        if _A.match(lines[position]):
            answer = _A.sub("", lines[position], count=1)
        else:
            question.append(lines[position])
        position += 1
    parts, position = _paragraph(lines, position)
    row: dict[str, object] = {"answer": "\n".join([answer, *parts]).strip()}
    behind = position
    while behind < len(lines) and not lines[behind].strip():
        behind += 1
    if behind < len(lines) and _S.match(lines[behind]):
        more, position = _paragraph(lines, behind + 1)
        row["solution"] = "\n".join([_S.sub("", lines[behind], count=1), *more]).strip()
    question, options = option_lines(question, _OPTION)
    if options:
        row["choices"] = options
    row["question"] = "\n".join(question).strip().removesuffix("**").strip()
    return (row, position) if row["question"] and row["answer"] else None


def _paragraph(lines: list[str], position: int) -> tuple[list[str], int]:
    """Lines up to the next blank line, heading, question or solution, and where they end."""
    found = []
    while position < len(lines):
        line = lines[position]
        if not line.strip() or heading_of(line) or _Q.match(line) or _S.match(line):
            break
        found.append(line)
        position += 1
    return found, position
