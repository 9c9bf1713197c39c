"""What readers yield, and how a row's columns become an item.

Knows usual column names and the shapes of multiple choice; knows nothing of files, records or recipes.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from boostqa.errors import UserError
from boostqa.identity import digest
from boostqa.text.answers import choice_letter, final, letters
from boostqa.text.surrogates import joined

ODD_INPUT: tuple[type[Exception], ...] = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError),
    *(ValueError, csv.Error, struct.error, zipfile.BadZipFile, zlib.error),
)
"""What code raises on a value or a nesting that nobody thought of; in a file of strangers it is a bad row."""


class Raw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item as it stood in the file: a question with answer, or a text to be cut into passages."""

    id: str = ""
    """The file's own id of the item; empty where it has none."""
    question: str = ""
    """Empty for a text."""
    choices: list[str] = []
    """Option texts without letters."""
    answer: str = ""
    """The letter for multiple choice, else as in the file; empty where the file has none."""
    solution: str = ""
    passage: str = ""
    """Markdown or plain text, whole; `text.chunk.passages` cuts it."""
    formula: str = ""
    variables: dict[str, float] = {}
    question_type: str | None = None
    """multiple_choice where there are choices, else what the file says."""
    language: str | None = None
    gold: dict[str, str | list[str]] = {}
    """Labels that came with the row, by the names of `record.Labels`."""
    line: int | None = None
    """1-based line, row or page."""
    heading: list[str] = []
    """Heading path, outermost first; a document's title where it has one."""
    url: str | None = None
    license: str = ""
    """What the row itself says of its licence; empty where it says nothing."""
    member: str = ""
    """Which part of the file it is from: a member of an archive, a chapter of a book."""


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row, page or file that could not be read."""

    line: int
    """1-based line, row or page; 0 for the file as a whole."""
    reason: str
    """Short constant in snake_case, such as `malformed_json`."""
    excerpt: str = ""
    """Beginning of what was found, or what is wrong, at most 200 characters."""
    member: str = ""
    """As in `Raw`."""


Columns = Mapping[str, str | Sequence[str]]
"""Our name -> the file's column (`a.b` looks inside a nested column); `choices` may name several columns."""

USUAL: dict[str, tuple[str, ...]] = {
    "id": ("id", "item_id", "uid"),
    "question": ("question", "prompt", "problem", "query", "instruction", "问题", "题目"),
    "choices": ("choices", "options", "mc1_targets", "选项"),
    "answer_number": (),
    "wrong_answers": ("incorrect_answers", "wrong_answers", "distractors"),
    "answer": (
        "answer",
        "final_answer",
        "correct_answer",
        "best_answer",
        "answerkey",
        "answer_index",
        "answer_idx",
        "correct_option",
        "label",
        "target",
        "output",
        "response",
        "答案",
    ),
    "solution": ("solution", "explanation", "rationale", "worked_solution", "解析"),
    "passage": ("passage", "text", "content", "body", "正文"),
    "formula": ("formula",),
    "variables": ("variables",),
    "question_type": ("question_type",),
    "language": ("language", "lang"),
    "title": ("title", "heading"),
    "url": ("url",),
    "license": ("license", "licence"),
    "discipline": ("discipline", "学科"),
    "field": ("field", "subject", "subfield"),
    "level": ("level",),
    "grade": ("grade", "年级"),
    "stem": (),
    "knowledge_points": ("knowledge_points", "知识点"),
    "secondary_fields": ("secondary_fields",),
}
"""Our name -> column names tried in this order when the recipe does not name one (case and spaces aside).

`answer_number` is the right option counted from 1 (a number in `answer` counts from 0); `wrong_answers` are the
options besides `answer`.
"""
_GOLD = ("discipline", "field", "level", "grade", "stem", "knowledge_points", "secondary_fields")
_OPTION_COLUMNS = (
    "{}", "option_{}", "choice_{}", "option{}", "choice{}", "opt_{}", "op{}", "ending{}", "ending_{}", "sol{}",
)  # fmt: skip
_LETTERED = re.compile(r"\s*[(（]?([A-Ja-j])[.)）:：、．]\s*")


class UnusableError(Exception):
    """A row that cannot become an item; `args` are reason and excerpt. Never leaves the package."""


def check_columns(path: str, columns: Columns | None, present: Iterable[str] | None = None) -> None:
    """Check a recipe's column mapping against our names and, where known, the file's columns.

    Raises:
        UserError: naming the key or column and the nearest known one.
    """
    for ours, theirs in (columns or {}).items():
        if ours not in USUAL:
            raise UserError(f"{path}: columns: unknown key {ours!r}{_near(ours, USUAL)}")
        if present is None:
            continue
        known = list(present)
        for name in [theirs] if isinstance(theirs, str) else theirs:
            if name not in known and name.partition(".")[0] not in known:
                raise UserError(
                    f"{path}: columns.{ours}: the file has no column {name!r}{_near(name, known)}"
                )


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names[:20])}"


def item(row: Mapping[str, Any], line: int, columns: Columns | None = None) -> Raw | BadRow:
    """The row as an item, or why it is none.

    Reasons: `no_question_or_text`, `answer_not_in_choices`, `bad_variables`, `malformed_row` (a value that
    cannot be made a text of, such as lists in lists without end).
    """
    try:
        return _item(row, line, columns or {})
    except UnusableError as error:
        return BadRow(line=line, reason=error.args[0], excerpt=error.args[1])
    except ODD_INPUT as error:
        what = f"{type(error).__name__}: {error}; columns: {', '.join(map(str, list(row)[:12]))}"
        return BadRow(line=line, reason="malformed_row", excerpt=joined(what[:200]))


def _item(row: Mapping[str, Any], line: int, columns: Columns) -> Raw:
    plain = {_key(name): value for name, value in row.items()}
    get = {ours: _look_up(row, plain, ours, columns) for ours in USUAL}
    question, answer, solution = _text(get["question"]), get["answer"], _text(get["solution"])
    if not question and isinstance(turns := plain.get("messages") or plain.get("conversations"), list):
        question, answer = _dialogue(turns)
    if "question" not in columns and plain.get("instruction") == get["question"] and plain.get("input"):
        question = f"{question}\n\n{_text(plain['input'])}"
    passage = _text(get["passage"])
    if not question and not passage:
        raise UnusableError("no_question_or_text", f"columns: {', '.join(map(str, list(row)[:12]))}"[:200])
    choices, labels, right = _choices(
        get["choices"] if get["choices"] is not None else _option_columns(plain)
    )
    if not choices and (wrong := _wrong(get["wrong_answers"], plain)) and _text(answer):
        choices, labels, right = _mixed(question, _text(answer), wrong), [], None
    if choices:
        answer = right if right is not None and answer in (None, "") else answer
        if get["answer_number"] is not None:
            answer = _counted_from_0(get["answer_number"])
        answer = _letter(answer, choices, labels)
    else:
        answer = _text(answer)
        if "####" in answer and not solution:
            solution, answer = answer.rpartition("####")[0].strip(), final(answer)
        if not answer and solution and get["answer"] is None:
            answer = final(solution)
    title = get["title"]
    return Raw(
        question=question,
        choices=choices,
        answer=answer,
        solution=solution,
        passage=passage,
        formula=_text(get["formula"]),
        variables=_variables(get["variables"]),
        question_type="multiple_choice" if choices else _text(get["question_type"]) or None,
        language=_text(get["language"]) or None,
        gold={name: value for name in _GOLD if (value := _label(get[name]))},
        line=line,
        heading=[text for part in (title if isinstance(title, list) else [title]) if (text := _text(part))],
        id=_text(get["id"]),
        url=_text(get["url"]) or None,
        license=_text(get["license"]),
    )


def _key(name: str) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def _look_up(row: Mapping[str, Any], plain: Mapping[str, Any], ours: str, columns: Columns) -> Any:
    theirs = columns.get(ours)
    if isinstance(theirs, str):
        value: Any = row
        if theirs in row:
            return row[theirs]
        for part in theirs.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value
    if theirs is not None:
        return [row.get(name) for name in theirs]
    return next((plain[name] for name in USUAL[ours] if plain.get(name) not in (None, "")), None)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return "; ".join(filter(None, map(_text, value)))
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict) else str(value)
    return joined(text).strip()


def _label(value: Any) -> str | list[str]:
    return [text for part in value if (text := _text(part))] if isinstance(value, list) else _text(value)


def _dialogue(turns: list[Any]) -> tuple[str, str]:
    """First question and answer of a chat in the shapes {role, content} and {from, value}."""
    found = {"user": "", "assistant": ""}
    for turn in turns:
        if isinstance(turn, dict):
            role = {"human": "user", "gpt": "assistant"}.get(
                name := str(turn.get("role") or turn.get("from")), name
            )
            if role in found and not found[role]:
                found[role] = _text(turn.get("content") or turn.get("value"))
    return found["user"], found["assistant"]


def _option_columns(plain: Mapping[str, Any]) -> list[Any] | None:
    for pattern in _OPTION_COLUMNS:
        for names in ("abcdefghij", "12345678", "01234567"):
            found = []
            for name in names:
                value = plain.get(pattern.format(name))
                if (pattern == "{}" and name.isdigit()) or value is None or _text(value) == "":
                    break
                found.append(value)
            if len(found) >= 2:
                return found
    return None


def _wrong(value: Any, plain: Mapping[str, Any]) -> list[str]:
    """Wrong answers given beside the right one, as a list or as the columns distractor1, distractor2, ..."""
    if value is None:
        value = [plain.get(f"distractor{i}") for i in range(1, 10)]
    if isinstance(value, str):
        value = _parse_choices(value) or [value]
    return [text for part in value if (text := _text(part))] if isinstance(value, list) else []


def _mixed(question: str, right: str, wrong: list[str]) -> list[str]:
    """All answers in an order that does not tell the right one."""
    options = dict.fromkeys([right, *wrong])
    return sorted(options, key=lambda text: digest("option", question, text))


def _counted_from_0(value: Any) -> int:
    text = _text(value)
    if not re.fullmatch(r"\d{1,2}", text) or text in ("0", "00"):
        raise UnusableError("answer_not_in_choices", f"{text!r} is no number of an option, counted from 1")
    return int(text) - 1


def _choices(value: Any) -> tuple[list[str], list[str], str | None]:
    """(texts without letters, the file's own labels, the right ones' letters where options are marked).

    No labels where the file has none, None where no option is marked.
    """
    if isinstance(value, str):
        value = _parse_choices(value)
    labels: list[str] = []
    marks: list[Any] = []
    if isinstance(value, dict):
        inner = next((value[name] for name in ("text", "choices") if isinstance(value.get(name), list)), None)
        if inner is None:
            labels, value = list(map(_text, value)), list(value.values())
        elif isinstance(value.get("labels"), list):
            marks, value = value["labels"], inner
        else:
            labels, value = list(map(_text, value.get("label") or [])), inner
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        labels = [_text(_any(part, "label", "key", "id")) for part in value]
        marks = [_any(part, "correct", "is_correct", "isCorrect") for part in value]
        value = [_any(part, "text", "content", "option", "value") for part in value]
    texts = [text for part in value if (text := _text(part))] if isinstance(value, list) else []
    if len(texts) < 2:
        return [], [], None
    letters_ = [_LETTERED.match(text) for text in texts]
    if all(mark and mark[1].upper() == chr(ord("A") + i) for i, mark in enumerate(letters_)):
        texts = [text[mark.end() :] for text, mark in zip(texts, letters_, strict=True) if mark]
    right = "".join(chr(ord("A") + i) for i, mark in enumerate(marks) if mark in (True, 1, "true", "True"))
    marked = len(marks) == len(texts) and any(mark is not None for mark in marks)
    return texts, labels if len(labels) == len(texts) else [], right if marked else None


def _any(part: Mapping[str, Any], *names: str) -> Any:
    return next((part[name] for name in names if part.get(name) is not None), None)


def _parse_choices(text: str) -> list[Any] | dict[str, Any] | None:
    if text.lstrip().startswith(("[", "{")):
        try:
            found = json.loads(text)
            return found if isinstance(found, (list, dict)) else None
        except ValueError:
            pass
    parts = [part for part in re.split(r"\n|\s\|\s", text) if part.strip()]
    return list(parts) if len(parts) > 1 else None


def _letter(answer: Any, choices: list[str], labels: list[str]) -> str:
    """The answer's letter(s), from a letter, label, 0-based index or option text; "" if there is none."""
    if answer is None or answer == "" or (isinstance(answer, float) and math.isnan(answer)):
        return ""
    if isinstance(answer, list):
        return "".join(sorted({_letter(part, choices, labels) for part in answer}))
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return _by_index(answer, choices)
    text = _text(answer)
    if text in labels:
        return chr(ord("A") + labels.index(text))
    named = choice_letter(text, choices) or letters(text)
    if named and all(ord(letter) - ord("A") < len(choices) for letter in named):
        return named
    if re.fullmatch(r"\d", text):
        return _by_index(int(text), choices)
    raise UnusableError("answer_not_in_choices", f"{text!r} of {choices!r}"[:200])


def _by_index(index: float, choices: list[str]) -> str:
    if not math.isfinite(index) or index != int(index) or not 0 <= index < len(choices):
        text = f"index {index!r} of {len(choices)} choices, counted from 0"
        raise UnusableError("answer_not_in_choices", text[:200])
    return chr(ord("A") + int(index))


def _variables(value: Any) -> dict[str, float]:
    if value in (None, "", {}):
        return {}
    try:
        table = json.loads(value) if isinstance(value, str) else value
        found = {joined(str(name)): float(number) for name, number in table.items() if number is not None}
        if math.inf in map(abs, found.values()):
            raise ValueError("an infinite number")
        return found
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UnusableError("bad_variables", joined(f"{error}: {value}"[:200])) from error
