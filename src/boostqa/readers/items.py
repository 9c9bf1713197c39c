"""What readers yield, and how a row's columns become an item.

Knows usual column names, and the shapes of answers and of chats; knows nothing of files, records or recipes.
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
from boostqa.readers.choices import KEY_COLUMNS, UnusableError, text_of
from boostqa.readers.keys import multiple_choice
from boostqa.text.answers import final
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
    context: str = ""
    """What stands before the question and belongs to it, such as an instruction; the question does without none."""
    choices: list[str] = []
    """Option texts without letters."""
    answer: str = ""
    """The letter for multiple choice, else as in the file; empty where the file has none."""
    answer_index: int | None = None
    """The right option's number as the file has it, where it was read as counted from 0."""
    solution: str = ""
    passage: str = ""
    """Markdown or plain text, whole; `text.chunk.passages` cuts it. Beside a question, what it asks about."""
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
    question: str = ""
    """What the row asks all the same, where nothing but its answer cannot be used."""
    choices: list[str] = []
    """The options of that question."""
    answer_index: int | None = None
    """Its answer where that is the number of options, as if counted from 1."""


class Numbers:
    """Whether the answers of a file that are numbers look counted from 1, though they are read as from 0."""

    def __init__(self) -> None:
        self._zero, self._others, self._beyond = False, False, ""

    def add(self, item: Raw | BadRow) -> None:
        """Takes note of an item's number."""
        if isinstance(item, BadRow):
            if item.answer_index is not None and not self._beyond:
                self._beyond = f"line {item.line}: {item.excerpt}"
        elif item.answer_index is not None:
            self._zero |= item.answer_index == 0
            self._others |= item.answer_index != 0

    @property
    def from_1(self) -> str:
        """The first number that is the number of options, where others are numbers and none is 0; else empty."""
        return self._beyond if self._others and not self._zero else ""


Columns = Mapping[str, str | Sequence[str]]
"""Our name -> the file's column (`a.b` looks inside a nested column); `choices` may name several columns."""

USUAL: dict[str, tuple[str, ...]] = {
    "id": ("id", "item_id", "uid"),
    "question": (
        "question",
        "question_stem",
        "prompt",
        "problem",
        "query",
        "ctx",
        "goal",
        "instruction",
        "input",
        "问题",
        "题目",
    ),
    "context": ("context", "instruction", "article", "background", "premise"),
    "choices": ("choices", "options", "endings", "mc1_targets", "选项"),
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
        "correct",
        "cop",
        "answers",
        "answers_spans",
        "label",
        "target",
        "output",
        "response",
        "completion",
        "ground_truth",
        "reference_answer",
        "答案",
    ),
    "solution": ("solution", "explanation", "rationale", "worked_solution", "analysis", "exp", "解析"),
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
_MARKUP = re.compile(r"<(?:p|div|h[1-6]|ul|ol|pre|blockquote)(?:\s[^<>]*)?>", re.IGNORECASE)
_CODE = re.compile(r"\b(?:html5?|xml|svg|jsx|markup|web ?pages?|tags?)\b|网页|标签", re.IGNORECASE)
"""What a question says that wants code with tags for its answer."""
_SAID = re.compile(
    r"(?:\banswer\s+is|\banswer\s*[:：=]|答案(?:是|为|[:：])|故?选[:：]?)\W{0,8}$", re.IGNORECASE
)
_SHORT = 60
"""Characters of an answer that a solution says without a mark."""
_ACCEPTED = ("selected", "accepted", "is_accepted", "is_selected")
_INSIDE = ("value", "text", "answer", "body", "content", "spans")
"""Where a mapping that is an answer has its text, in this order."""
_GOLD = ("discipline", "field", "level", "grade", "stem", "knowledge_points", "secondary_fields")


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
        reason, excerpt, *asked = error.args
        question, choices, index = asked or ("", [], None)
        return BadRow(
            line=line, reason=reason, excerpt=excerpt, question=question, choices=choices, answer_index=index
        )
    except ODD_INPUT as error:
        what = f"{type(error).__name__}: {error}; columns: {', '.join(map(str, list(row)[:12]))}"
        return BadRow(line=line, reason="malformed_row", excerpt=joined(what[:200]))


def _item(row: Mapping[str, Any], line: int, columns: Columns) -> Raw:
    plain = {_key(name): value for name, value in row.items()}
    if isinstance(stem := plain.get("question"), Mapping) and "stem" in stem:
        plain = {**plain, **stem, "question": stem["stem"]}
    get = {ours: _look_up(row, plain, ours, columns)[1] for ours in USUAL}
    question, context, answer = _prose(get["question"]), _about(get["context"]), _chosen(get["answer"])
    solution, passage = _prose(get["solution"]), _prose(get["passage"])
    if not question and isinstance(turns := plain.get("messages") or plain.get("conversations"), list):
        question, answer = _dialogue(turns)
    if context and get["context"] == get["question"]:
        context = ""
    if "question" not in columns and plain.get("instruction") == get["question"] and plain.get("input"):
        question = f"{question}\n\n{text_of(plain['input'])}"
    if not question and not passage:
        raise UnusableError("no_question_or_text", f"columns: {', '.join(map(str, list(row)[:12]))}"[:200])
    column = _look_up(row, plain, "answer", columns)[0]
    choices, letters, index = multiple_choice(get, plain, question, answer, column)
    if choices:
        answer = letters
    else:
        answer = _free(answer, question, get["question"], column)
        if "####" in answer and not solution:
            solution, answer = answer.rpartition("####")[0].strip(), final(answer)
        if not answer and solution and get["answer"] is None:
            answer = _stated(solution)
    title = get["title"]
    return Raw(
        question=question,
        context=context if question else "",
        choices=choices,
        answer=answer,
        answer_index=index,
        solution=solution,
        passage=passage,
        formula=text_of(get["formula"]),
        variables=_variables(get["variables"]),
        question_type="multiple_choice" if choices else text_of(get["question_type"]) or None,
        language=text_of(get["language"]) or None,
        gold={name: value for name in _GOLD if (value := _label(get[name]))},
        line=line,
        heading=[text for part in (title if isinstance(title, list) else [title]) if (text := text_of(part))],
        id=text_of(get["id"]),
        url=text_of(get["url"]) or None,
        license=text_of(get["license"]),
    )


def _key(name: str) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def _look_up(
    row: Mapping[str, Any], plain: Mapping[str, Any], ours: str, columns: Columns
) -> tuple[str, Any]:
    """(name of the file's column as by `_key`, its value)."""
    theirs = columns.get(ours)
    if isinstance(theirs, str):
        value: Any = row
        if theirs in row:
            return _key(theirs), row[theirs]
        for part in theirs.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return _key(theirs.rpartition(".")[2]), value
    if theirs is not None:
        return "", [row.get(name) for name in theirs]
    return next(
        ((name, plain[name]) for name in USUAL[ours] if plain.get(name) not in (None, "")), ("", None)
    )


def _label(value: Any) -> str | list[str]:
    return [text for part in value if (text := text_of(part))] if isinstance(value, list) else text_of(value)


def _free(answer: Any, question: str, asked: Any, column: str) -> str:
    """The answer where nothing is to choose from: of several accepted ones the first.

    A number in a column that says which option is right is none. HTML stays as it is where it is asked for.
    """
    if column in KEY_COLUMNS and re.fullmatch(r"-?\d+", text_of(answer)):
        return ""
    if isinstance(answer, list) and answer and all(isinstance(part, str) for part in answer):
        answer = next(filter(None, answer), "")
    code = _CODE.search(question) and not _MARKUP.match(text_of(asked))
    return text_of(answer) if code else _prose(answer)


def _about(value: Any) -> str:
    """A context that is a text or several; no mapping, whose parts are not told from each other."""
    several = isinstance(value, list) and all(isinstance(part, str) for part in value)
    return _prose(value) if isinstance(value, str) or several else ""


def _prose(value: Any) -> str:
    """Text of a value; a piece of HTML, as dumps of forums hold, as Markdown."""
    text = text_of(value)
    if _MARKUP.match(text) and text.endswith(">"):
        from boostqa.readers.html import main_text

        return main_text(f"<html><body>{text}</body></html>", whole=True)[2] or text
    return text


def _chosen(value: Any) -> Any:
    """The answer among several, or out of what is beside it: the accepted one, else the best, else the first."""
    if isinstance(value, Mapping):
        inner = next((value[name] for name in _INSIDE if value.get(name) not in (None, "")), None)
        if isinstance(inner, list):
            return text_of(inner[0]) if inner else ""
        return "" if inner is None and "text" in value else value if inner is None else inner
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        accepted = [part for part in value if any(part.get(name) in (True, 1) for name in _ACCEPTED)]
        marked = any(name in part for part in value for name in _ACCEPTED)
        # Of a thread without an accepted answer none is known to be right.
        best = accepted[0] if accepted else None if marked else max(value, key=_votes)
        return _chosen(best) if best is not None else ""
    return value


def _stated(solution: str) -> str:
    """The final answer of a worked solution, where it is marked, or said in few words at the end; else empty."""
    found = final(solution)
    if not found or "\\boxed{" in solution or "####" in solution:
        return found
    before, _, rest = solution.rpartition(found)
    ends = len(found) <= _SHORT and not rest.strip(" .。．*$)\n")
    return found.rstrip(" .。．") if ends and _SAID.search(before) else ""


def _votes(answer: Mapping[str, Any]) -> float:
    score = next((answer[name] for name in ("score", "pm_score", "votes") if name in answer), 0)
    return float(score) if isinstance(score, (int, float)) and not isinstance(score, bool) else 0.0


def _dialogue(turns: list[Any]) -> tuple[str, str]:
    """First question and answer of a chat in the shapes {role, content} and {from, value}."""
    found = {"user": "", "assistant": ""}
    for turn in turns:
        if isinstance(turn, dict):
            name = str(turn.get("role") or turn.get("from")).lower()
            role = {"human": "user", "gpt": "assistant"}.get(name, name)
            if role in found and not found[role]:
                said = turn.get("content") or turn.get("value")
                if isinstance(said, list):
                    said = "\n\n".join(text_of(part.get("text")) for part in said if isinstance(part, dict))
                found[role] = _prose(said)
    return found["user"], found["assistant"]


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
