"""How a fake base model continues a prompt, and how likely it finds the text it is given.

Prompts are examples and a last question, in lines such as `Question: ...`, options `A. ...`, and `Answer:`
(or the Chinese words); what stands after the last answer mark is scored. Scores agree with the model's
ability: what it knows is likelier than what it does not. Knows nothing of HTTP.
"""

from __future__ import annotations

import math
import re

import msgspec

from boostqa.llm.fake.tasks import Job, is_right, letter_odds, solved
from boostqa.llm.fake.world import Truth, same_answer, unit

_QUESTION = re.compile(
    r"(?:^|\n)[ \t#*]*(?:Question|Problem|Q|问题|题目)[ \t]*\d*[ \t*]*(?:[:：]|\n)\s*", re.IGNORECASE
)
_ANSWER = re.compile(
    r"(?:^|\n)[ \t#*]*(?:Answer|A|Solution|答案|解答|解)[ \t*]*(?:[:：]|\n(?=[^\n]))", re.IGNORECASE
)
_CHOICE = re.compile(r"^\(?([A-J])[.)）、:：] ?(.*)$", re.MULTILINE)
_PIECE = re.compile(r"\s?[A-Za-z]{1,8}|\s?\d{1,3}|[\u3000-\u9fff]|\s+|.", re.DOTALL)
_LONG = 40
"""Bytes beyond which a continuation is a text, scored by the byte, and not an answer."""


class Asked(msgspec.Struct, frozen=True):
    """The last question of a prompt."""

    question: str
    choices: list[str]
    tail: int
    """Where the answer begins in the prompt; its length, if the answer is still to come."""


def pieces(text: str) -> list[str]:
    """A text as tokens; joined they are the text."""
    return _PIECE.findall(text)


def read_prompt(prompt: str) -> Asked:
    """The question that the model is to answer, and where the answer begins."""
    start = 0
    for match in _QUESTION.finditer(prompt):
        start = match.end()
    rest = prompt[start:]
    marks = list(_ANSWER.finditer(rest))
    body = rest[: marks[0].start()] if marks else rest
    options = list(_CHOICE.finditer(body))
    question = body[: options[0].start()] if options else body
    if marks:
        tail = start + marks[0].end()
    else:
        # Without a mark the question ends at its last question mark, if it has one before the end.
        end = max(body.rfind("?"), body.rfind("？")) + 1
        tail = start + end if end else len(prompt)
        question = question[:end] if end and not options else question
    return Asked(question.strip(), [option[2].strip() for option in options], tail)


def continue_prompt(job: Job, prompt: str) -> tuple[str, dict[str, float] | None]:
    """(text that the model writes after the prompt, odds of the letters where it is to choose one)."""
    asked = read_prompt(prompt)
    truth = job.world.truth(asked.question, asked.choices)
    _, answer = solved(job, truth, asked.choices)
    odds = letter_odds(job, truth, asked.choices, answer) if asked.choices else None
    return f" {answer}\n\nQuestion: What comes next?", odds


def prompt_scores(job: Job, prompt: str) -> list[tuple[str, float]]:
    """(token, log-probability) of a prompt; the log-probability of the first is 0 and means nothing."""
    asked = read_prompt(prompt)
    tail = prompt[asked.tail :]
    scores: list[tuple[str, float]] = []
    for i, token in enumerate(pieces(prompt[: asked.tail])):
        scores.append((token, -0.3 - 3.0 * unit(token, i, job.model) if i else 0.0))
    if tail:
        truth = job.world.truth(asked.question, asked.choices)
        total = _total(job, truth, asked, tail)
        tokens = pieces(tail)
        weights = [len(token.encode()) for token in tokens]
        scores += [(token, total * w / sum(weights)) for token, w in zip(tokens, weights, strict=True)]
    return scores


def _total(job: Job, truth: Truth, asked: Asked, tail: str) -> float:
    """Log-likelihood of the whole continuation."""
    text = tail.strip()
    luck = unit(job.world.seed, job.model, "score", truth.key, text)
    right = is_right(job, truth)
    letter = text.strip("().")
    if asked.choices and len(letter) == 1 and letter in "ABCDEFGHIJ"[: len(asked.choices)]:
        answer = solved(job, truth, asked.choices)[1]
        return math.log(letter_odds(job, truth, asked.choices, answer)[letter])
    size = len(tail.encode())
    if size > _LONG:
        bits = (0.5 + 0.3 * luck) if right else (1.1 + 0.5 * luck)
        return -bits * math.log(2) * size
    known = truth.answer
    if asked.choices and known:
        known = asked.choices["ABCDEFGHIJ".index(known)]
    # By the byte, so that options of different length compare as `likelihood per byte` does.
    if same_answer(text, known):
        return -size * (0.05 + 0.25 * luck if right else 1.0 + 0.6 * luck)
    return -size * (1.3 + 1.2 * luck if right else 0.3 + 0.6 * luck)
