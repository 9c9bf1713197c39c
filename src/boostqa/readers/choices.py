"""Multiple choice in its usual shapes: which texts are the options, and which of them the answer means.

Knows nothing of files, and of a row only what may hold options.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from boostqa.identity import digest
from boostqa.text.answers import choice_letter, letters
from boostqa.text.surrogates import joined

_OPTION_COLUMNS = (
    "{}", "option_{}", "choice_{}", "option{}", "choice{}", "opt_{}", "op{}", "ending{}", "ending_{}", "sol{}",
)  # fmt: skip
_LETTERED = re.compile(r"\s*[(（]?([A-Ja-j])\s?[.)）:：、．]\s*")
_INLINE = re.compile(r"(?:(?<=[\s,;])|^)[(（]?([A-Ja-j])\s?[.)）]\s")
"""The letter of an option among others in one line."""


class UnusableError(Exception):
    """A row that cannot become an item. Never leaves the package.

    `args` are reason and excerpt, and where only its answer is wrong its question and options.
    """


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


def option_columns(plain: Mapping[str, Any]) -> tuple[list[Any] | None, list[str]]:
    """Options that have a column each, such as A, B, C or option1, option2, and the columns' numbers, if they are."""
    for pattern in _OPTION_COLUMNS:
        for names in ("abcdefghij", "12345678", "01234567"):
            found = []
            for name in names:
                value = plain.get(pattern.format(name))
                if (pattern == "{}" and name.isdigit()) or value is None or text_of(value) == "":
                    break
                found.append(value)
            if len(found) >= 2:
                return found, list(names[: len(found)]) if names[0].isdigit() else []
    return None, []


def wrong_answers(value: Any, plain: Mapping[str, Any]) -> list[str]:
    """Wrong answers given beside the right one, as a list or as the columns distractor1, distractor2, ..."""
    if value is None:
        value = [plain.get(f"distractor{i}") for i in range(1, 10)]
    if isinstance(value, str):
        value = _parse_choices(value) or [value]
    return [text for part in value if (text := text_of(part))] if isinstance(value, list) else []


def mixed(question: str, right: str, wrong: list[str]) -> list[str]:
    """All answers in an order that does not tell the right one."""
    options = dict.fromkeys([right, *wrong])
    return sorted(options, key=lambda text: digest("option", question, text))


def counted_from_0(value: Any) -> int:
    """An option's number from 1 as an index from 0.

    Raises:
        UnusableError: for what is no such number.
    """
    text = text_of(value)
    if not re.fullmatch(r"\d{1,2}", text) or text in ("0", "00"):
        raise UnusableError("answer_not_in_choices", f"{text!r} is no number of an option, counted from 1")
    return int(text) - 1


def choices_of(value: Any) -> tuple[list[str], list[str], str | None]:
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
            labels, value = list(map(text_of, value)), list(value.values())
        elif isinstance(value.get("labels"), list):
            marks, value = value["labels"], inner
        else:
            labels, value = list(map(text_of, value.get("label") or [])), inner
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        labels = [text_of(_any(part, "label", "key", "id")) for part in value]
        marks = [_any(part, "correct", "is_correct", "isCorrect") for part in value]
        value = [_any(part, "text", "content", "option", "value") for part in value]
    texts = [text for part in value if (text := text_of(part))] if isinstance(value, list) else []
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
    marks = list(_INLINE.finditer(text)) if len(parts) < 2 else []
    if [mark[1].lower() for mark in marks[:2]] == ["a", "b"]:
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        parts = [text[mark.start() : end].strip(" ,;\t") for mark, end in zip(marks, ends, strict=True)]
    return list(parts) if len(parts) > 1 else None


def letter_of(answer: Any, choices: list[str], labels: list[str]) -> str:
    """The answer's letter(s), from a letter, label, 0-based index or option text; "" if there is none.

    Raises:
        UnusableError: `answer_not_in_choices`.
    """
    if answer is None or answer == "" or (isinstance(answer, float) and math.isnan(answer)):
        return ""
    if isinstance(answer, list):
        return "".join(sorted({letter_of(part, choices, labels) for part in answer}))
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return _by_index(answer, choices)
    text = text_of(answer)
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
