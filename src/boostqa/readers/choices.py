"""Multiple choice in its usual shapes: which texts are the options, and how the file calls each.

Options that cannot be told apart are refused. Knows nothing of files, and of a row only what may hold options.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from boostqa.identity import digest
from boostqa.text.surrogates import joined

INDEX_COLUMNS = ("label", "answer_index", "answer_idx")
"""Columns whose numbers are places, not values."""
KEY_COLUMNS = (*INDEX_COLUMNS, "answerkey", "correct_option", "cop")
"""Columns that say which option is right, never its text."""

_OPTION_COLUMNS = (
    "{}", "option_{}", "choice_{}", "option{}", "choice{}", "opt_{}", "op{}", "ending{}", "ending_{}", "sol{}",
)  # fmt: skip
_NAMES = ("abcdefghij", "01234567", "12345678")
"""From 0 before from 1: columns from 1 have none of 0, while those from 0 have all but the first in both."""
_ANSWER_COLUMNS = [[(f"answer{label}", label) for label in labels] for labels in _NAMES]
_COLUMNS = [
    [(pattern.format(label), label) for label in labels]
    for pattern in _OPTION_COLUMNS
    for labels in _NAMES
    if pattern != "{}" or labels.isalpha()
] + _ANSWER_COLUMNS
"""Sets of columns that may hold options, each as (name, label)."""
_WRONG_COLUMNS = [f"{name}{i}" for name in ("distractor", "incorrect_answer_") for i in range(1, 10)]
_LABEL = re.compile(r"(?:option|choice|opt|ending)?[\s_-]*[(\[（【]*([a-z]|\d{1,2})[)\]）】.:：、．]*")
LETTERED = re.compile(r"\s*[(（]?([A-Ja-j])\s?[.)）:：、．]\s*")
"""The letter that an option begins with."""
_INLINE = re.compile(r"(?:(?<=[\s,;，；])|^)[(（]?([A-Ja-j])(?:\s?[)）]|[.．、])\s*")
"""The letter of an option among others in one line."""
_QUOTED = r"(?:'[^'\\]*(?:\\.[^'\\]*)*'|\"[^\"\\]*(?:\\.[^\"\\]*)*\")"
_ARRAY = re.compile(rf"\[\s*{_QUOTED}(?:\s+{_QUOTED})+\s*\]")
"""A list of texts as numpy writes it: without commas."""
_MOST = 26
"""Options that have letters."""
_LONGEST = 20_000
"""Characters of a list in Python's writing."""


class UnusableError(Exception):
    """A row that cannot become an item. Never leaves the package.

    `args` are reason and excerpt, and where only its answer is wrong its question, its options, and the answer
    where that is the number of options, else None.
    """


class Option(NamedTuple):
    """One option at its place in the file; it may be empty there."""

    label: str
    """The file's own, in small letters and without brackets; empty where it has none."""
    text: str
    mark: bool | None = None
    """Whether it is right, where the file says so of each."""


@dataclass(frozen=True)
class Options:
    """Options in the file's order, empty ones with them, so that places stay those of the file."""

    places: Sequence[Option] = ()
    kind: type | None = None
    """What the values were in a list: str or int; None where the file does not tell, as in cells of a table."""

    @property
    def texts(self) -> list[str]:
        """Those that are there: A, B, ... of the item."""
        return [option.text for option in self.places if option.text]

    @property
    def right(self) -> str:
        """Letters of those marked as right; empty where none is."""
        return self.letters([i for i, option in enumerate(self.places) if option.mark])

    def letters(self, places: Sequence[int]) -> str:
        """The item's letters of what stands at places of the file, counted from 0.

        Raises:
            UnusableError: `answer_not_in_choices` for an empty option, or one twice.
        """
        there = [i for i, option in enumerate(self.places) if option.text]
        if len(set(places)) < len(places) or not set(places) <= set(there):
            raise unusable(f"options {[place + 1 for place in places]} of the file are empty or said twice")
        return "".join(chr(ord("A") + there.index(place)) for place in sorted(places))


def unusable(text: str) -> UnusableError:
    """The error for an answer or options that cannot be read."""
    return UnusableError("answer_not_in_choices", joined(text[:200]))


def text_of(value: Any) -> str:
    """The text of a cell or value; empty where it holds none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return "; ".join(filter(None, map(text_of, value)))
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict) else str(value)
    return joined(text).strip()


def option_columns(plain: Mapping[str, Any], column: str) -> Options:
    """Options that have a column each, such as A, B, C or option1, option2; `column` is that of the answer.

    Columns `answer0`, `answerA`, ... are options only beside a column that says which.
    """
    for columns in _COLUMNS:
        if columns[0][0] not in plain or (columns in _ANSWER_COLUMNS and column not in KEY_COLUMNS):
            continue
        there = takewhile(lambda named: named[0] in plain, columns)
        found = [Option(label, text_of(plain[name])) for name, label in there]
        if sum(option.text != "" for option in found) >= 2:
            # A column of classes counts from 0, whatever the names of the options' columns are.
            unnamed = found[0].label == "1" and column == "label"
            return Options([Option("", option.text) for option in found] if unnamed else found)
    return Options()


def wrong_answers(value: Any, plain: Mapping[str, Any]) -> list[str]:
    """Wrong answers given beside the right one: a list, a text with `;` between, or distractor1, distractor2, ..."""
    if value is None:
        value = [plain[name] for name in _WRONG_COLUMNS if name in plain]
    if isinstance(value, str):
        value = _parsed(value) or value.split(";")
    return [text for part in value if (text := text_of(part))] if isinstance(value, list) else []


def mixed(question: str, right: str, wrong: list[str]) -> tuple[list[str], str]:
    """All answers in an order that does not tell the right one, and its letter."""
    options = sorted(dict.fromkeys([right, *wrong]), key=lambda text: digest("option", question, text))
    return options, chr(ord("A") + options.index(right))


def option_lines(lines: list[str], form: re.Pattern[str]) -> tuple[list[str], list[dict[str, str]]]:
    """(lines of the question, options by their own letters) of lines that `form` takes apart as letter and text.

    Further lines of an option are indented. Options are in order or have the first letters each once; a Roman
    I among them is no option.
    """
    marked = [match[1].upper() for line in lines[1:] if (match := form.match(line))]
    roman = "I" in marked and "H" not in marked
    rest: list[str] = lines[:1]
    options: list[tuple[str, list[str]]] = []
    inside = False
    for line in lines[1:]:
        match = form.match(line)
        if match and not (roman and match[1].upper() == "I"):
            options.append((match[1].upper(), [match[2].strip()]))
            inside = True
        elif inside and not match and line.strip() and line[:2].isspace():
            options[-1][1].append(line.strip())
        else:
            rest.append(line)
            inside = False
    found = [{"label": label, "text": " ".join(texts)} for label, texts in options]
    return (rest, found) if len(found) >= 2 else (lines, [])


def options_of(value: Any) -> Options:
    """Options in a list, a mapping or a text; none where there is nothing in it.

    Raises:
        UnusableError: `answer_not_in_choices` for options that cannot be told apart.
    """
    if value is None or value == "" or (isinstance(value, (list, dict)) and not text_of(value)):
        return Options()
    written = isinstance(value, str)
    parsed = _parsed(value) if isinstance(value, str) else value
    labels, texts, marks = _taken_apart(parsed)
    if parsed is not None and not any(text_of(text) for text in texts):
        return Options()
    count = sum(text_of(text) != "" for text in texts)
    if not 2 <= count <= _MOST or len(texts) > 2 * _MOST or len(labels) not in (0, len(texts)):
        raise unusable(f"options cannot be read: {text_of(value)!r}")
    told = len(marks) == len(texts) and any(mark is not None for mark in marks)
    kinds = {type(text) for text in texts if text_of(text)}
    names, shown = list(map(label_of, labels)), list(map(text_of, texts))
    if not any(names):
        names, shown = _own_letters(shown)
    if len(set(filter(None, names))) < len(list(filter(None, names))):
        raise unusable(f"two options have one label: {', '.join(names)}")
    right = [mark in (True, 1, "true", "True") if told else None for mark in marks or [None] * len(texts)]
    kind = None if written or len(kinds) != 1 else kinds.pop()
    return Options(list(map(Option, names or [""] * len(shown), shown, right)), kind)


def _taken_apart(value: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """(labels, texts, marks) of options; no labels or marks where there are none."""
    if isinstance(value, dict):
        inner = next((value[name] for name in ("text", "choices") if isinstance(value.get(name), list)), None)
        if inner is None:
            return list(value), list(value.values()), []
        labels = value.get("labels")
        if isinstance(labels, list) and all(label in (0, 1, None) for label in labels):
            return [], inner, labels
        return list(value.get("label") or labels or []), inner, []
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        labels = [_any(part, "label", "key", "id") for part in value]
        marks = [_any(part, "correct", "is_correct", "isCorrect") for part in value]
        return labels, [_any(part, "text", "content", "option", "value") for part in value], marks
    return [], value if isinstance(value, list) else [], []


def _own_letters(texts: list[str]) -> tuple[list[str], list[str]]:
    """(labels, texts without them) of texts that begin with the letters from A on, in whichever order."""
    found = [LETTERED.match(text) for text in texts]
    letters = [match[1].lower() for match in found if match]
    first = min(letters, default="a")
    behind = [chr(ord(first) + i) for i in range(len(texts))]
    if letters == behind or (first == "a" and sorted(letters) == behind):
        return letters, [text[match.end() :] for text, match in zip(texts, found, strict=True) if match]
    return [], texts


def _any(part: Mapping[str, Any], *names: str) -> Any:
    return next((part[name] for name in names if part.get(name) is not None), None)


def label_of(value: Any) -> str:
    """How a file calls an option, without what stands around it: `(B)`, `b.` and `Option B` are `b`."""
    text = unicodedata.normalize("NFKC", text_of(value)).casefold().strip()
    match = _LABEL.fullmatch(text)
    return match[1] if match else text


def _parsed(text: str) -> list[Any] | dict[str, Any] | None:
    """Options in a text: JSON, a list as Python or numpy writes it, lines, ` | ` between, or `a ) red , b ) blue`."""
    text = text.strip()
    if text.startswith(("[", "{")) and (found := listed(text)) is not None:
        return found
    parts = [part for part in re.split(r"\n|\s\|\s", text) if part.strip()]
    if len(parts) > 1:
        begins = [bool(LETTERED.match(part)) for part in parts]
        if any(begins) and not all(begins):
            return _joined_lines(parts, begins)
        return list(parts)
    marks = list(_INLINE.finditer(text))
    apart = [
        mark
        for mark in marks
        if not mark.start() or text[max(mark.start() - 8, 0) : mark.start()].rstrip()[-1:] in ",;，；"
    ]
    for some in (marks, apart):
        # Letters that an option mentions are not told from those of the next, so that each may be there once.
        if len(some) > 1 and [mark[1].lower() for mark in some] == list("abcdefghij"[: len(some)]):
            ends = [*(mark.start() for mark in some[1:]), len(text)]
            return [text[mark.start() : end].strip(" ,;，；\t") for mark, end in zip(some, ends, strict=True)]
    return None


def _joined_lines(parts: list[str], begins: list[bool]) -> list[Any] | None:
    """Options of several lines, each of which begins with a letter."""
    found: list[list[str]] = []
    for part, begin in zip(parts, begins, strict=True):
        if begin:
            found.append([])
        elif not found:
            return None
        found[-1].append(part.strip())
    return [" ".join(lines) for lines in found]


def listed(text: str) -> list[Any] | dict[str, Any] | None:
    """A list or mapping in JSON, or as Python or numpy writes it."""
    try:
        found = json.loads(text)
    except ValueError:
        if len(text) > _LONGEST:
            return None
        if _ARRAY.fullmatch(text):
            text = re.sub(rf"({_QUOTED})(?=\s)", r"\1,", text)
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, (list, dict)) else None
