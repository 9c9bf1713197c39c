"""Which options an answer means: letters, labels, places, texts or marks.

A wrong letter is worse than a row less: an answer that can be read in two ways, or not at all, is refused.
Knows the options as `choices` gives them and the name of the answer's column, nothing of files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from boostqa.readers.choices import (
    INDEX_COLUMNS,
    KEY_COLUMNS,
    LETTERED,
    Options,
    UnusableError,
    label_of,
    listed,
    mixed,
    option_columns,
    options_of,
    text_of,
    unusable,
    wrong_answers,
)
from boostqa.text.answers import lettered, same_text
from boostqa.text.normalise import fold

_MORE = re.compile(r"[,;&、，]|and\b|or\b|和|或", re.IGNORECASE)
"""What follows a letter that is not the whole answer."""


def multiple_choice(
    get: Mapping[str, Any], plain: Mapping[str, Any], question: str, answer: Any, column: str
) -> tuple[list[str], str, int | None]:
    """(options, letters of the right ones, the answer's number from 0); no options where the row has none.

    `get` has values by our names, `plain` by the file's; `column` is that of the answer.

    Raises:
        UnusableError: `answer_not_in_choices`, with the question and its options where they can be read.
    """
    options = options_of(get["choices"]) if get["choices"] is not None else option_columns(plain, column)
    if not options.texts and (wrong := wrong_answers(get["wrong_answers"], plain)):
        # The answer is a text here, whatever it looks like.
        right = text_of(answer[0] if isinstance(answer, list) and answer else answer)
        return (*mixed(question, right, wrong), None) if right else ([], "", None)
    if not options.texts and column == "answers" and isinstance(answer, list) and len(answer) > 1:
        # Beside a column that says which, these are what it chooses from.
        which = next((name for name in KEY_COLUMNS if text_of(plain.get(name))), "")
        if which:
            options, answer, column = options_of(answer), plain[which], which
    if not options.texts:
        return [], "", None
    try:
        if get["answer_number"] is not None:
            return options.texts, numbered(get["answer_number"], options), None
        return options.texts, *letters_of(answer, options, column)
    except UnusableError as error:
        reason, excerpt, *index = error.args
        raise UnusableError(reason, excerpt, question, options.texts, *(index or [None])) from error


def letters_of(answer: Any, options: Options, column: str) -> tuple[str, int | None]:
    """(the item's letters of the answer, its number where it was a place counted from 0); "" without an answer.

    An answer is read as a label, as a text and as a place from 0. Where these differ, the column's name or the
    kinds of the values must tell which is meant.

    Raises:
        UnusableError: `answer_not_in_choices`.
    """
    right = options.right
    if text_of(answer) == "":
        return right, None
    places, index = _places(answer, options, column)
    found = options.letters(places)
    if right and found != right:
        raise unusable(f"the marks say {right}, the answer {found}")
    return found, index


def numbered(answer: Any, options: Options) -> str:
    """The letter of an option's number from 1.

    Raises:
        UnusableError: for what is no such number.
    """
    number = _number(answer)
    if number is None or not 1 <= number <= len(options.places):
        raise unusable(f"{text_of(answer)!r} is no number of an option, counted from 1")
    return options.letters([number - 1])


def _places(answer: Any, options: Options, column: str) -> tuple[list[int], int | None]:
    """Places from 0 that an answer means, and its number, if it is a place."""
    if isinstance(answer, list):
        flags = all(isinstance(part, (int, float)) and part in (0, 1) for part in answer)
        if flags and len(answer) == len(options.places):
            return [i for i, part in enumerate(answer) if part], None
        if len(answer) > len(options.places):
            raise unusable(f"{len(answer)} answers of {len(options.places)} options")
        found = [_places(part, options, column) for part in answer if text_of(part)]
        return [place for places, _ in found for place in places], found[0][1] if len(found) == 1 else None
    number, text = _number(answer), text_of(answer)
    letter = _one_letter(text)
    # A letter within range is one, which `_by_letter` holds against the options' texts.
    within = letter is not None and ord(letter) - ord("a") < len(options.places)
    same = None if within else same_text(text, [option.text for option in options.places])
    if number is not None:
        return _by_number(answer, number, same, options, column)
    labels = [option.label for option in options.places]
    mine = labels.index(label_of(text)) if label_of(text) in labels else None
    if same is not None and letter is None:
        return [same], None
    return ([mine] if mine is not None else _by_letter(text, same, options, column)), None


def _one_letter(text: str) -> str | None:
    """A text that is one letter and no more, in brackets or not."""
    label = label_of(text)
    return label if len(label) == 1 and label.isalpha() else None


def _number(answer: Any) -> int | None:
    if isinstance(answer, bool) or not isinstance(answer, (int, float, str)):
        return None
    if isinstance(answer, float) and not answer.is_integer():
        raise unusable(f"{answer!r} is no option's number")
    text = unicodedata.normalize("NFKC", text_of(answer))
    match = re.fullmatch(r"(-?\d{1,9})(?:\.0)?", text)
    return int(match[1]) if match else None


def _by_number(
    answer: Any, number: int, same: int | None, options: Options, column: str
) -> tuple[list[int], int | None]:
    labels = [option.label for option in options.places]
    if any(label.isdigit() for label in labels):
        mine = labels.index(str(number)) if str(number) in labels else None
        if column in INDEX_COLUMNS and labels[0] != "0":
            raise unusable(
                f"{column} {number} beside options numbered {', '.join(labels)} may count from 0 or 1: "
                f"use `columns: {{answer_number: {column}}}`, or name the options' columns as `choices`"
            )
        if mine is None:
            raise unusable(f"{number} of options {', '.join(labels)}")
        if same not in (None, mine) and column not in KEY_COLUMNS:
            raise unusable(f"{number} is the label of one option and the text of another")
        return [mine], None
    size = len(options.places)
    by_text = same is not None and same != number and column not in KEY_COLUMNS
    if by_text and 0 <= number < size:
        if options.kind is None or (isinstance(answer, str) and options.kind is not str):
            raise unusable(f"{number} is the place of one option and the text of another")
        # Numbers beside texts are places; what is of one kind is the option itself.
        by_text = isinstance(answer, str) == (options.kind is str)
    if by_text and same is not None:
        return [same], None
    if any(labels) and labels != list("abcdefghij"[:size]):
        raise unusable(f"{number} of options {', '.join(labels)}")
    if number == size:
        what = f"index {number} of {size} choices, counted from 0"
        raise UnusableError("answer_not_in_choices", what, number)
    if not 0 <= number < size:
        raise unusable(f"index {number} of {size} choices, counted from 0")
    return [number], number


def _by_letter(text: str, same: int | None, options: Options, column: str) -> list[int]:
    """Places of an answer that is one letter or several, with or without the option's text behind it."""
    labels = [option.label for option in options.places]
    texts = [option.text for option in options.places]
    found, rest = lettered(text)
    if not found and text.startswith("[") and (inner := listed(text)):
        return _places(inner, options, column)[0] if isinstance(inner, list) else []
    if not found and (match := re.fullmatch(r"\(?([A-J])\)? (.+)", text)):
        found, rest = match[1], match[2]
        if same_text(rest, texts) is None:
            raise unusable(f"{text!r} of {options.texts!r}")
    by_label = any(labels) and not "".join(labels).isdigit()
    places = []
    for letter in found:
        place = ord(letter) - ord("A")
        if by_label:
            place = labels.index(letter.lower()) if letter.lower() in labels else len(texts)
        places.append(place)
    if same is not None and (not places or max(places) >= len(texts)):
        return [same]
    if not places or max(places) >= len(texts) or (rest and (len(places) > 1 or _MORE.match(rest))):
        raise unusable(f"{text!r} of {options.texts!r}")
    exact = [i for i, one in enumerate(texts) if one == text and column not in KEY_COLUMNS]
    behind = same_text(rest, texts) if rest else exact[0] if exact else None
    if behind is not None and behind != places[0] and fold(texts[behind]) != fold(texts[places[0]]):
        raise unusable(f"letter and text of {text!r} differ in {options.texts!r}")
    others = {match[1].upper(): i for i, one in enumerate(texts) if (match := LETTERED.match(one))}
    if len(others) > 1 and any(
        others.get(letter, place) != place for letter, place in zip(found, places, strict=True)
    ):
        raise unusable(f"{text!r} is a letter within another option of {options.texts!r}")
    return places
