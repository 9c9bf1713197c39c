"""Questions of a textbook or FAQ, whose answers stand elsewhere or below: by headings and numbers alone.

Two shapes: a section of numbered exercises with a later section of numbered answers, and sections whose
headings are questions. Both need several pairs in a text before any counts; what is not surely a pair stays
text. Knows Markdown's headings and plain lines that are nothing but such a word.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter

from boostqa.readers.choices import option_lines
from boostqa.text.chunk import heading_of

_TITLE = r"(?:#{1,6}\s+)?(?:\*\*)?(?:(?:chapter|section|第.{1,4}[章节])?\s*[\d.]*\s*)?"
_EXERCISES = re.compile(
    rf"{_TITLE}(?:(?:review|practice|check your understanding|self[- ]test|test|study|chapter|section)\s+)*"
    r"(?:exercises?|problems?|questions|quiz|习题|练习题?|思考题|复习题|自测题)(?:\*\*)?\s*:?",
    re.IGNORECASE,
)
_ANSWERS = re.compile(
    rf"{_TITLE}(?:selected\s+|odd-numbered\s+)?(?:answers?|solutions?|answer key|answers and solutions|"
    r"参考答案|习题答案|答案|习题解答|参考解答)(?:\s+(?:to|for|of)\s+.{1,40})?(?:\*\*)?\s*:?",
    re.IGNORECASE,
)
_ANSWER_WORDS = ("answer", "solution", "答案", "解答")
"""What a heading of answers holds in lower case."""
_NUMBER = re.compile(
    r"\s{0,3}(?:[-*]\s+)?(?:\*\*(?P<bold>\d{1,3}\.\d{1,3})\*\*\s+|"
    r"(?:\*\*)?(?P<plain>\d{1,3}(?:\.\d{1,3})?)(?:\*\*)?(?:[.)](?:\*\*)?\s+|[、．]\s*))(?=\S)"
)
_FAQ = re.compile(
    r"\bFAQs?\b|frequently asked|questions? (?:and|&) answers?|\bQ ?& ?A\b|常见问题|问答", re.IGNORECASE
)
_OPTION = re.compile(r"\s*(?:[-*]\s+)?[(（]?([A-J])[.)）、．]\s*(.+)")
_MARKS = ("?", "？")
"""What a heading that asks ends with."""
_HEAD = 80
"""Characters of a line that may be a heading of exercises or answers."""
_SMALL_OPTION = re.compile(r"\s*(?:[-*]\s+)?[(（]?([a-j])[.)）]\s*(.+)")
_LETTER = re.compile(r"[(（]?[a-j][.)）]?")
_APART = re.compile(r"\s*(?:$|```|~~~|\|)")
"""A line that ends an answer where answers have but one paragraph."""
_Heading = tuple[int, str]
"""Level and title."""
_Outline = list[tuple[int, tuple[_Heading, ...]]]
"""Line of each heading and the headings down to it, outermost first."""
Number = tuple[int, ...]
"""Of an exercise: 3, or 3.4 as (3, 4)."""
_LEAST = 2
"""Pairs from which a section of exercises or a FAQ is one."""
_LONGEST = 4000
"""Characters of an answer; what is longer is a chapter."""


@dataclass
class Pair:
    """A question with its answer and the lines, from 0, that both stand in."""

    row: dict[str, object]
    line: int
    heading: list[str]
    lines: list[int] = field(default_factory=list)


def pairs(text: str) -> list[Pair]:
    """The pairs of a text, in the order of their questions; none where there is any doubt."""
    # Most texts have neither, which is told without looking at each of their lines.
    numbered = any(map(_is_answers, _lines_with(_ANSWER_WORDS, text.lower())))
    asked = any("# " in line and line.rstrip().endswith(_MARKS) for line in _lines_with(("#",), text))
    if not numbered and not asked:
        return []
    lines = text.split("\n")
    outline = _outline(lines)
    found = (_numbered(lines, outline) if numbered else []) + (_asked(lines, outline) if asked else [])
    return sorted(found, key=lambda pair: pair.line)


def places(text: str, part: str) -> Iterator[int]:
    """Where a part stands in a text, in order."""
    place = text.find(part)
    while place >= 0:
        yield place
        place = text.find(part, place + 1)


def _lines_with(words: tuple[str, ...], text: str) -> Iterator[str]:
    """The lines of a text that hold a word; each once for a word."""
    for word in words:
        place = text.find(word)
        while place >= 0:
            end = text.find("\n", place)
            end = end if end >= 0 else len(text)
            yield text[text.rfind("\n", 0, place) + 1 : end]
            # Not the next place: a line may be nothing but the word, a million times.
            place = text.find(word, end)


def _is_answers(line: str) -> bool:
    """Whether a line in lower case is a heading of answers."""
    return len(line) <= _HEAD and _ANSWERS.fullmatch(line.strip()) is not None


def _numbered(lines: list[str], outline: _Outline) -> list[Pair]:
    """Exercises whose number stands in the next section of answers, too."""
    found: list[Pair] = []
    open_: dict[Number, list[tuple[int, int]]] = {}
    position = 0
    while position < len(lines):
        line = lines[position]
        if len(line) > _HEAD or not line.strip():
            position += 1
        elif _EXERCISES.fullmatch(line.strip()):
            position, entries = _entries(lines, position + 1)
            for number, *span in entries:
                open_.setdefault(number, []).append((span[0], span[1]))
        elif _ANSWERS.fullmatch(line.strip()) and open_:
            start = position
            position, entries = _entries(lines, position + 1)
            mine = [entry for entry in entries if len(open_.get(entry[0], ())) == 1]
            # An exercise may be long, and is not put together for each of many sections with one answer.
            matched = [_pair(lines, open_[entry[0]][0], entry[1:]) for entry in mine if len(mine) >= _LEAST]
            made = [pair for pair in matched if pair]
            if len(made) >= _LEAST:
                found += [replace(pair, heading=_path(outline, pair.line)) for pair in made]
                open_ = {}
            position = max(position, start + 1)
        else:
            position += 1
    return found


def _entries(lines: list[str], start: int) -> tuple[int, list[tuple[Number, int, int]]]:
    """(line behind the section, its numbered entries as number, first line, line behind)."""
    entries: list[tuple[Number, int, int]] = []
    position = start
    while position < len(lines):
        line = lines[position]
        bare = line.strip()
        if heading_of(line) or (
            bare and len(bare) < 60 and (_EXERCISES.fullmatch(bare) or _ANSWERS.fullmatch(bare))
        ):
            break
        match = _NUMBER.match(line)
        number = tuple(map(int, (match["bold"] or match["plain"]).split("."))) if match else ()
        # Numbers go up; one that does not is inside an entry.
        if match and (not entries or number > entries[-1][0]):
            if entries:
                entries[-1] = (*entries[-1][:2], position)
            entries.append((number, position, position + 1))
        elif entries:
            entries[-1] = (*entries[-1][:2], position + 1)
        position += 1
    return position, _without_rest(lines, entries)


def _without_rest(lines: list[str], entries: list[tuple[Number, int, int]]) -> list[tuple[Number, int, int]]:
    """The entries; of the last one only its first paragraph where the others have no more, as text may follow it."""

    def paragraph(entry: tuple[Number, int, int]) -> int:
        _, first, behind = entry
        return next((i for i in range(first + 1, behind) if _APART.match(lines[i])), behind)

    def more(entry: tuple[Number, int, int]) -> bool:
        return any(line.strip() for line in lines[paragraph(entry) : entry[2]])

    if len(entries) > 1 and not any(map(more, entries[:-1])):
        number, first, _ = entries[-1]
        entries[-1] = (number, first, paragraph(entries[-1]))
    return entries


def _pair(lines: list[str], question: tuple[int, int], answer: tuple[int, ...]) -> Pair | None:
    asked = [_NUMBER.sub("", lines[question[0]], count=1), *lines[question[0] + 1 : question[1]]]
    said = "\n".join([_NUMBER.sub("", lines[answer[0]], count=1), *lines[answer[0] + 1 : answer[1]]]).strip()
    # Small letters are options where one of them is the answer, and else parts of the question.
    form = _SMALL_OPTION if _LETTER.fullmatch(said) else _OPTION
    asked, options = option_lines(asked, form)
    row: dict[str, object] = {"answer": said}
    if options:
        row["choices"] = options
    row["question"] = "\n".join(asked).strip()
    if not row["question"] or not said or len(said) > _LONGEST:
        return None
    return Pair(row, question[0], [], [*range(*question), *range(*answer)])


def _outline(lines: list[str]) -> _Outline:
    """Each heading with those that it stands under and itself."""
    found: _Outline = []
    path: tuple[_Heading, ...] = ()
    for position, line in enumerate(lines):
        if line.startswith("#") and (heading := heading_of(line)):
            path = (*(above for above in path if above[0] < heading[0]), heading)
            found.append((position, path))
    return found


def _path(outline: _Outline, position: int, level: int = 7) -> list[str]:
    """Headings above a line, or above a heading of that level, outermost first."""
    place = bisect_left(outline, position, key=itemgetter(0))
    return [title for above, title in outline[place - 1][1] if above < level] if place else []


def _asked(lines: list[str], outline: _Outline) -> list[Pair]:
    """Sections whose heading is a question, where most of their siblings are or the text is called a FAQ."""
    heads = [(position, *path[-1]) for position, path in outline]
    questions = [head for head in heads if head[2].endswith(_MARKS)]
    if len(questions) < _LEAST:
        return []
    levels = [depth for _, depth, _ in questions]
    level = max(set(levels), key=levels.count)
    siblings = sum(depth == level for _, depth, _ in heads)
    named = any(_FAQ.search(title) for *_, title in heads) or any(_FAQ.search(line) for line in lines[:3])
    mine = [(i, title) for i, depth, title in questions if depth == level]
    if len(mine) < _LEAST or not (named or (len(mine) >= 4 and len(mine) > 0.8 * siblings)):
        return []
    ends = [i for i, depth, _ in heads if depth <= level] + [len(lines)]
    found = []
    for i, title in mine:
        end = ends[bisect_right(ends, i)]
        answer = "\n".join(lines[i + 1 : end]).strip()
        if answer and len(answer) <= _LONGEST:
            row: dict[str, object] = {"question": title, "answer": answer}
            found.append(Pair(row, i, _path(outline, i, level), list(range(i, end))))
    return found
