"""Asking a model one item whose answer is known, in the best way that its endpoint allows.

Methods, the first that is allowed and possible:
    likelihood  the option with the highest log-likelihood per UTF-8 byte, given the question (`Model.score`)
    choice      the letter with the highest probability; options shuffled, and rotated from sample to sample
    generate    a generated answer, compared by rule (`text/answers.py`); options as for choice
Bits per byte of the reference answer come with `Model.score` alone; without it they stay None. A model
without chat is given plain text to continue. A call that failed leaves the item unscored, never wrong; so does
a short answer that was cut off, while a worked solution without an end has not reached the answer.
Knows nothing of stages, cells or hold-outs.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from boostqa.flows.solve import letter_probabilities, solve_request
from boostqa.llm.model import Model, Outcome, Reply, Request, Score
from boostqa.prompts import LETTERS
from boostqa.record import Record
from boostqa.text.answers import choice_letter, equal
from boostqa.text.normalise import words

Method = Literal["likelihood", "choice", "generate"]
_SHORT_ANSWER = 8
"""Tokens (words, Chinese characters) up to which an answer in words can be checked by rule."""
_CHATTER = 4
"""Tokens that a generated answer may have beyond the reference."""
_UNSETTLED = frozenset(
    """
    not no never neither nor none cannot cant isn aren wasn weren doesn don didn without except but than rather
    instead false incorrect wrong unlikely or either maybe perhaps possibly and versus vs unknown unsure
    不 非 没 无 否 或 未 错
    """.split()  # noqa: SIM905
)
"""Tokens with which an answer denies what it names, or names another beside it."""


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask."""

    methods: tuple[Method, ...] = ("likelihood", "choice", "generate")
    """Allowed ones, the preferred first."""
    samples: int = 1
    short: bool = True
    """Ask for the answer alone; False lets the model work the solution out first."""
    max_tokens: int = 256


class Finding(msgspec.Struct, kw_only=True):
    """What one item showed."""

    method: str | None = None
    attempts: int = 0
    """Attempts that count."""
    correct: float | None = None
    """1, 0 or the share of attempts; None: unscored."""
    choice_logprob: float | None = None
    """Natural logarithm of the right letter's probability, averaged over the attempts."""
    bits: float | None = None
    """-log2 of the likelihood of the reference answer."""
    answer_bytes: int | None = None
    truncated: int = 0
    """Attempts that were cut off before they had an answer."""
    note: str = ""
    """Why it is unscored, or what could not be had."""


async def ask(model: Model, record: Record, manner: Manner, rng: random.Random) -> Finding:
    """What `model` makes of one item; `rng` orders the options.

    Raises:
        Stop: as `Model.chat`.
    """
    able = model.abilities
    likely = Finding()
    if able.score and "likelihood" in manner.methods:
        likely = await _likelihood(model, record)
    for method in manner.methods:
        if method == "likelihood" and able.score and record.choices:
            return likely
        if method == "choice" and record.choices and able.logprobs and able.chat:
            found = await _by_letter(model, record, manner, rng)
        elif method == "generate" and able.chat:
            found = await _generated(model, record, manner, rng)
        elif method == "generate" and able.complete:
            found = await _completed(model, record, manner)
        else:
            continue
        found.bits, found.answer_bytes = likely.bits, likely.answer_bytes
        found.note = found.note or likely.note
        return found
    likely.note = likely.note or f"none of {', '.join(manner.methods)} is possible with this model and item"
    return likely


def checkable(record: Record) -> bool:
    """Whether a rule can tell a right answer of this item from a wrong one."""
    if record.choices:
        return choice_letter(record.answer, record.choices) is not None
    if record.question_type in ("proof", "case_analysis"):
        return False
    return 0 < len(words(record.answer)) <= _SHORT_ANSWER


def reaches(given: str, record: Record) -> bool:
    """Whether a generated answer is the record's.

    Where `equal` cannot tell (words), the reference must stand in the answer, a few tokens longer at most, none
    of which denies it or offers another answer.
    """
    if not given:
        return False
    if record.choices:
        wanted, named = (choice_letter(text, record.choices) for text in (record.answer, given))
        return named is not None and named == wanted
    same = equal(given, record.answer, record.question_type)
    if same is not None:
        return same
    reference, own = words(record.answer), words(given)
    starts = range(len(own) - len(reference) + 1)
    contained = any(own[i : i + len(reference)] == reference for i in starts)
    beside = Counter(own) - Counter(reference)
    settled = _UNSETTLED.isdisjoint(beside) and given.count("/") <= record.answer.count("/")
    return contained and settled and beside.total() <= _CHATTER


async def _likelihood(model: Model, record: Record) -> Finding:
    """Bits of the reference answer and, among options, whether it is the likeliest per byte."""
    scores = await model.score(_prefix(record), [" " + text for text in record.choices or [record.answer]])
    if scores is None or not all(math.isfinite(score.logprob) for score in scores):
        note = "scoring failed" if scores is None else "a likelihood is not a number"
        return Finding(method="likelihood", note=note)
    right = _right(record) if record.choices else 0
    found = Finding(
        method="likelihood",
        attempts=1,
        bits=-scores[right].logprob / math.log(2),
        answer_bytes=scores[right].num_bytes,
    )
    if record.choices:
        found.correct = float(max(range(len(scores)), key=lambda i: _per_byte(scores[i])) == right)
    return found


def _turns(record: Record, samples: int, rng: random.Random) -> list[list[int]]:
    """Orders of the options for each sample: shuffled once, then rotated."""
    order = list(range(len(record.choices)))
    rng.shuffle(order)
    return [order[i % len(order) :] + order[: i % len(order)] if order else [] for i in range(samples)]


async def _asked(
    model: Model, record: Record, manner: Manner, turns: list[list[int]], **how: Any
) -> list[Reply]:
    """A reply for each order of the options."""
    requests = [
        solve_request(
            record.question, [record.choices[place] for place in turn], max_tokens=manner.max_tokens, **how
        )
        for turn in turns
    ]
    samples = (msgspec.structs.replace(item, sample=index) for index, item in enumerate(requests))
    return list(await asyncio.gather(*(model.chat(item) for item in samples)))


async def _by_letter(model: Model, record: Record, manner: Manner, rng: random.Random) -> Finding:
    turns = _turns(record, manner.samples, rng)
    replies = await _asked(model, record, manner, turns, short=True, top_logprobs=20)
    hits, logs, failed = [], [], []
    for turn, reply in zip(turns, replies, strict=True):
        chances = letter_probabilities(reply, len(turn)) if reply.ok else None
        if chances is None:
            failed.append(_why(reply) if not reply.ok else "no letter probabilities")
            continue
        wanted = LETTERS[turn.index(_right(record))]
        hits.append(float(max(chances, key=lambda letter: chances[letter]) == wanted))
        logs.append(math.log(max(chances[wanted], 1e-9)))
    found = _finding("choice", hits, failed, replies)
    found.choice_logprob = _mean(logs) if logs else None
    return found


async def _generated(model: Model, record: Record, manner: Manner, rng: random.Random) -> Finding:
    turns = _turns(record, manner.samples, rng)
    temperature = 0.0 if manner.samples == 1 else 0.7
    replies = await _asked(model, record, manner, turns, short=manner.short, temperature=temperature)
    hits, failed = [], []
    for turn, reply in zip(turns, replies, strict=True):
        if reply.ok:
            given = str(reply.data.get("answer", "")) if isinstance(reply.data, dict) else ""
            hits.append(float(reaches(given.strip(), _shown(record, turn))))
        elif reply.outcome == Outcome.TRUNCATED and not manner.short:
            hits.append(0.0)
        else:
            failed.append(_why(reply))
    return _finding("generate", hits, failed, replies)


def _shown(record: Record, turn: list[int]) -> Record:
    """The record with its options, and the letter of the right one, in the order that the model saw."""
    if not turn:
        return record
    answer = LETTERS[turn.index(_right(record))]
    return msgspec.structs.replace(record, choices=[record.choices[i] for i in turn], answer=answer)


async def _completed(model: Model, record: Record, manner: Manner) -> Finding:
    request = Request(
        prompt=_prefix(record),
        max_tokens=manner.max_tokens,
        temperature=0.0 if manner.samples == 1 else 0.7,
        stop=("\n",),
    )
    asked = (msgspec.structs.replace(request, sample=index) for index in range(manner.samples))
    replies = await asyncio.gather(*(model.complete(item) for item in asked))
    # Running on to the limit is what base models do; the first line is the answer all the same.
    told = [reply for reply in replies if reply.outcome in (Outcome.OK, Outcome.TRUNCATED)]
    hits = [float(reaches(reply.text.strip().partition("\n")[0], record)) for reply in told]
    failed = [_why(reply) for reply in replies if reply not in told]
    return _finding("generate", hits, failed, [])


def _finding(
    method: Method, hits: Sequence[float], failed: Sequence[str], replies: Sequence[Reply]
) -> Finding:
    truncated = sum(reply.outcome == Outcome.TRUNCATED for reply in replies)
    if not hits:
        return Finding(method=method, truncated=truncated, note=failed[0] if failed else "no reply")
    return Finding(method=method, attempts=len(hits), correct=_mean(hits), truncated=truncated)


def _right(record: Record) -> int:
    """Place of the right option; the record is `checkable`."""
    return LETTERS.index(choice_letter(record.answer, record.choices) or LETTERS[0])


def _prefix(record: Record) -> str:
    """The question as plain text, for models without a chat template; options are not listed."""
    if record.language == "zh":
        return f"问题：{record.question}\n答案："
    return f"Question: {record.question}\nAnswer:"


def _per_byte(score: Score) -> float:
    return score.logprob / max(1, score.num_bytes)


def _why(reply: Reply) -> str:
    return f"{reply.outcome}: {reply.error[:120]}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
