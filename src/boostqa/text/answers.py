"""Whether two final answers are the same, where the final answer stands, whether a question leaks it.

`None` means: cannot be told by rule, ask a judge. A `True` or `False` from here is evidence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from boostqa.text.arithmetic import evaluate, exact, numbers_in, quantity, same_number, same_quantity
from boostqa.text.ngrams import copy_share
from boostqa.text.normalise import fold, squeeze, words

__all__ = [
    "choice_letter",
    "equal",
    "evaluate",
    "final",
    "leaks",
    "lettered",
    "letters",
    "numbers_in",
    "same_text",
]

_TRUE = frozenset(("true", "yes", "correct", "right", "t", "对", "正确", "是", "真", "√", "✓"))
_FALSE = frozenset(("false", "no", "incorrect", "wrong", "f", "错", "错误", "否", "假"))
_FALSE |= {"不正确", "不对", "×", "✗"}
_LETTERS = re.compile(r"\(?([A-Z])\)?(?:[.:、)]|$|\s*(?=[,;&]|and\b|和))", re.IGNORECASE)
_GAP = re.compile(r"\s*(?:[,;&、]|and\b|和)\s*", re.IGNORECASE)
_OPTION_NAME = re.compile(r"^(?:option|choice|选项)\s*(?=[(（]?[A-Ja-j][)）]?[.。]?$)", re.IGNORECASE)
_LEAD = re.compile(
    r"^(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct)\s+)?(?:answer|option|choice)"
    r"(?:\s+is|\s*[:=])\s*|^(?:正确)?(?:答案|选项)(?:是|为|[:：])\s*|^故?选(?:择)?[:：]?\s*(?=[A-Za-z])",
    re.IGNORECASE,
)
_MARKER = re.compile(
    r"(?:^|[\n.,;，。；]|\b(?:so|thus|therefore|hence)\b|所以|因此|故|则)\W{0,4}(?:(?:the\s+)?(?:final\s+|correct\s+)?answer\b(?:\s+is)?\s*[:：]?|答案(?:是|为)?\s*[:：]?|故?选)\W{0,4}\s*([^\n]+)",
    re.IGNORECASE,
)
_MATHS = re.compile(r"[\d\\^_=<>+*/{}\[\]|√π∞±]")
_OFFERS = re.compile(
    r"\bor\b|\bwhether\b|\bwhich of\b|\bchoose\b|\bfollowing\b|还是|下列|以下|哪|是否", re.IGNORECASE
)
_STATED = r"(?:answer|solution|result|答案|结果)\s*(?:is|are|=|:|：|为|是)\s*\W{0,3}"


def equal(left: str, right: str, question_type: str | None = None) -> bool | None:
    """Whether two final answers mean the same; None where this cannot be told by rule.

    In turn: choice letters and truth values (by `question_type`), the same text, numbers with units
    (rounding of three digits or more is forgiven), formulas. Two different texts in words are None.
    """
    a, b = _bare(left), _bare(right)
    if not a or not b:
        return None
    if question_type == "multiple_choice":
        ours, theirs = letters(a), letters(b)
        if ours and theirs:
            return ours == theirs
    truths = [_truth(a), _truth(b)]
    if question_type == "true_false" or None not in truths:
        return None if None in truths else truths[0] == truths[1]
    if a == b:
        return True
    mine, other = quantity(a), quantity(b)
    if mine and other:
        return same_quantity(mine, other)
    if a.casefold() == b.casefold():
        # Case carries meaning in formulas (m and M, k and K).
        return True if len(a) > 2 and not _MATHS.search(a) else None
    if _MATHS.search(a) or _MATHS.search(b) or min(len(a), len(b)) <= 2:
        from boostqa.text import formulas

        known = mine or other
        if known and (value := formulas.value(b if mine else a)) is not None:
            return same_number(known.number, exact(value))
        return formulas.same(a, b)
    return True if _sense(a) == _sense(b) != [] else None


def _bare(answer: str) -> str:
    """An answer without wrapping: boxes, dollars, lead-in words, final stop."""
    text = unicodedata.normalize("NFC", squeeze(answer))
    text = _boxed(text) or text
    for _ in range(2):
        text = _LEAD.sub("", text.strip("*").strip()).strip()
    if text.startswith("$") and text.endswith("$") and text.count("$") == 2:
        text = text.strip("$").strip()
    text = re.sub(r"^\\(?:text|mathrm|textbf)\s*\{([^{}]*)\}$", r"\1", text)
    return text.rstrip("。.;；").strip()


def _truth(text: str) -> bool | None:
    word = text.casefold().strip("()（）!！ ")
    return True if word in _TRUE else False if word in _FALSE else None


def _sense(text: str) -> list[str]:
    found = words(text)
    return found[1:] if len(found) > 1 and found[0] in ("the", "a", "an") else found


def letters(answer: str) -> str:
    """The choice letters that an answer is or starts with, sorted: `(B)` -> B, `C, A` -> AC; else "".

    A word that begins with a letter (`Acid`) is not a letter.
    """
    text = _bare(unicodedata.normalize("NFKC", answer))
    return "".join(sorted(set(text))) if re.fullmatch(r"[A-J]{1,8}", text) else lettered(answer)[0]


def lettered(answer: str) -> tuple[str, str]:
    """(letters as by `letters`, what stands behind them), for answers that may be words.

    Several without a mark between are letters only in order and each once: `ABD`, not `BAD`.
    """
    text = _bare(_OPTION_NAME.sub("", unicodedata.normalize("NFKC", answer).strip("[]\"' ")))
    if re.fullmatch(r"A?B?C?D?E?F?G?H?I?J?", text):
        return text, ""
    found, position, end = [], 0, 0
    while match := _LETTERS.match(text, position):
        found.append(match[1].upper())
        end = match.end()
        gap = _GAP.match(text, end)
        if gap is None:
            break
        position = gap.end()
    return "".join(sorted(set(found))), text[end:].strip()


def choice_letter(answer: str, choices: Sequence[str]) -> str | None:
    """The letter (A, B, ...) of the choice that an answer names, as letter or by its text; None if none.

    A bare capital within range is a letter even where an option reads the same (blood group `A`).
    """
    bare = squeeze(answer)
    if len(bare) == 1 and "A" <= bare < chr(ord("A") + len(choices)):
        return bare
    same = same_text(answer, choices)
    if same is not None:
        return chr(ord("A") + same)
    named = letters(answer)
    return named if len(named) == 1 and ord(named) - ord("A") < len(choices) else None


def same_text(answer: str, choices: Sequence[str]) -> int | None:
    """Which choice has the answer's text: exactly, else but for case, else but for marks; None if not just one."""
    raw, wanted = squeeze(answer), fold(_bare(answer))
    for same in (
        [i for i, choice in enumerate(choices) if squeeze(choice) == raw],
        [i for i, choice in enumerate(choices) if squeeze(choice).casefold() == raw.casefold()],
        [i for i, choice in enumerate(choices) if wanted and fold(choice) == wanted],
    ):
        if len(same) == 1:
            return same[0]
    return None


def final(text: str) -> str:
    r"""The final answer that a worked solution states (\\boxed{}, ####, `Answer:`, `答案：`), else ""."""
    boxed = _boxed(text)
    if boxed:
        return boxed
    _, mark, rest = text.rpartition("####")
    if mark:
        return squeeze(rest.strip().partition("\n")[0])
    stated = _MARKER.findall(text)
    return _bare(stated[-1]) if stated else ""


def _boxed(text: str) -> str:
    r"""Content of the last \\boxed{...} with balanced braces, else ""."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    begin = start + len("\\boxed{")
    depth = 1
    for position in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position].strip()
    return ""


def leaks(question: str, answer: str) -> bool:
    """Whether the question gives its answer away.

    By stating it (`the answer is ...`), or by containing a worded answer without offering alternatives. A
    number or letter that merely occurs in the question is no leak.
    """
    bare = _bare(answer)
    if not bare:
        return False
    if re.search(rf"{_STATED}{re.escape(bare)}(?!\w)", question, re.IGNORECASE):
        return True
    wanted = words(bare)
    if quantity(bare) or len(bare) < 2 or _truth(bare) is not None or _OFFERS.search(question):
        return False
    if len(wanted) == 1 and len(wanted[0]) < 5:
        return False
    if len(wanted) >= 8:
        return copy_share(bare, question) >= 0.8
    given = words(question)
    return any(given[i : i + len(wanted)] == wanted for i in range(len(given) - len(wanted) + 1))
