"""Solving a question without seeing its answer, several times if wanted, and counting who agrees with whom.

The solver sees the question (and its options) and nothing else. A call that failed is an attempt without
an answer, never an exception. Knows nothing of stages; whose agreement counts as evidence is decided by the
caller with the family that each attempt carries.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from boostqa.llm.model import Model, Outcome, Reply, Request
from boostqa.prompts import LETTERS, render
from boostqa.text.answers import choice_letter, equal
from boostqa.text.normalise import fold


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of one model at one question."""

    model: str
    """Name of the model in the recipe."""
    family: str
    answer: str
    """Final answer, a letter where there are options; empty unless `reply.ok`."""
    solution: str = ""
    reply: Reply

    @property
    def counts(self) -> bool:
        """Whether it says something about the question: an answer, or a limit that was hit while trying."""
        return self.reply.outcome in (Outcome.OK, Outcome.TRUNCATED)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a group of attempts says about one answer."""

    agree: int = 0
    differ: int = 0
    """Attempts with another answer."""
    unclear: int = 0
    """Attempts whose answer could not be compared with the given one: mostly answers in words."""
    truncated: int = 0
    """Attempts cut off before they had an answer: a sign of hardness, never of a wrong answer."""
    failed: int = 0
    """Calls that failed: they say nothing of the item."""
    rival: str = ""
    """The most frequent answer among those that differ or are unclear."""
    rival_votes: int = 0

    @property
    def told(self) -> int:
        """Attempts that gave an answer."""
        return self.agree + self.differ + self.unclear

    @property
    def tried(self) -> int:
        """Attempts that measure hardness; 0 where none ended, or too many answers could not be compared."""
        if self.agree + self.differ == 0 or self.unclear > MAX_UNCLEAR * self.told:
            return 0
        return self.agree + self.differ + self.truncated

    @property
    def pass_rate(self) -> float | None:
        """Share of `tried` attempts that agree, 0..1; None where hardness cannot be told."""
        return self.agree / self.tried if self.tried else None

    def reached(self, least: int, share: float) -> bool:
        """Whether the answer was reached by `least` attempts, by `share` of all, and by more than any other."""
        return self.agree >= max(least, share * self.told) and self.agree > self.rival_votes


MAX_UNCLEAR = 0.25
"""Share of answers that no rule could compare, above which there is no pass rate."""


async def solve(
    model: Model,
    question: str,
    choices: Sequence[str] = (),
    *,
    samples: int = 1,
    short: bool = False,
    temperature: float | None = None,
    max_tokens: int = 2048,
) -> list[Attempt]:
    """`samples` independent attempts of `model`, all at once, in the order of their sample index.

    Args:
        model: who solves.
        question: the question alone.
        choices: option texts without letters; then answers are letters.
        samples: how many attempts; each is a request of its own in the ledger.
        short: ask for the final answer only (small models, probes); else for a worked solution first.
        temperature: None means 0 for one sample and 0.7 for several.
        max_tokens: limit of each reply.

    Raises:
        Stop: as `Model.chat`.
    """
    if temperature is None:
        temperature = 0.0 if samples == 1 else 0.7
    request = solve_request(question, choices, short=short, temperature=temperature, max_tokens=max_tokens)
    requests = [msgspec.structs.replace(request, sample=index) for index in range(samples)]
    replies = await asyncio.gather(*(model.chat(item) for item in requests))
    return [_attempt(model, reply, list(choices)) for reply in replies]


def solve_request(
    question: str,
    choices: Sequence[str] = (),
    *,
    short: bool = False,
    temperature: float = 0.0,
    max_tokens: int = 2048,
    top_logprobs: int = 0,
) -> Request:
    """The request that `solve` sends for its first sample; `top_logprobs` as in `Request`."""
    name = "solve_short" if short else "solve"
    answer: dict[str, Any] = {"type": "string", "minLength": 1}
    if choices:
        answer = {"type": "string", "enum": list(LETTERS[: len(choices)])}
    fields = {"answer": answer} if short else {"solution": {"type": "string"}, "answer": answer}
    return Request(
        messages=render(name, question=question, choices=list(choices)),
        max_tokens=max_tokens,
        temperature=temperature,
        schema=object_schema(fields),
        schema_name=name,
        top_logprobs=top_logprobs,
    )


def object_schema(properties: dict[str, Any], optional: Iterable[str] = ()) -> dict[str, Any]:
    """JSON Schema of an object with exactly these properties, all required but `optional`."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _attempt(model: Model, reply: Reply, choices: list[str]) -> Attempt:
    answer, solution = "", ""
    if reply.ok and isinstance(reply.data, dict):
        answer = str(reply.data.get("answer", "")).strip()
        solution = str(reply.data.get("solution", "")).strip()
        if choices:
            answer = choice_letter(answer, choices) or answer
    return Attempt(model=model.name, family=model.family, answer=answer, solution=solution, reply=reply)


def letter_probabilities(reply: Reply, count: int) -> dict[str, float] | None:
    """Probability of each of `count` option letters at the token where the reply chose one.

    Renormalised over the letters; a letter that is not among the alternatives gets none. Returns None where
    the reply has no log-probabilities or no token that is a letter. Needs a request with `top_logprobs`.
    """
    letters = LETTERS[:count]
    for token in reversed(reply.logprobs):
        if _letter(token.token, letters) is None:
            continue
        weights = dict.fromkeys(letters, 0.0)
        for text, logprob in {token.token: token.logprob, **token.top}.items():
            letter = _letter(text, letters)
            if letter is not None:
                weights[letter] += math.exp(logprob)
        total = math.fsum(weights.values())
        return {letter: weight / total for letter, weight in weights.items()} if total > 0 else None
    return None


def _letter(token: str, letters: str) -> str | None:
    # Tokens may carry the quotes or the space around the letter: `"B`, ` B`, `B"`.
    bare = token.strip(" \t\n\"'{}:,.()")
    return bare if len(bare) == 1 and bare in letters else None


def tally(attempts: Iterable[Attempt], answer: str, question_type: str | None = None) -> Tally:
    """Counts how many attempts reach `answer`; all other answers are grouped by what is the same."""
    counts: Counter[str] = Counter()
    rivals: list[list[str]] = []
    for attempt in attempts:
        if not attempt.answer:
            # A refusal or a broken reply says no more than no reply at all.
            counts["truncated" if attempt.reply.outcome is Outcome.TRUNCATED else "failed"] += 1
            continue
        same = equal(attempt.answer, answer, question_type)
        counts["unclear" if same is None else "agree" if same else "differ"] += 1
        if not same:
            _vote(rivals, attempt.answer, question_type)
    best = max(rivals, key=len, default=[])
    return Tally(
        agree=counts["agree"],
        differ=counts["differ"],
        unclear=counts["unclear"],
        truncated=counts["truncated"],
        failed=counts["failed"],
        rival=best[0] if best else "",
        rival_votes=len(best),
    )


def _vote(groups: list[list[str]], answer: str, question_type: str | None) -> None:
    for group in groups:
        if _alike(answer, group[0], question_type):
            group.append(answer)
            return
    groups.append([answer])


def _alike(left: str, right: str, question_type: str | None = None) -> bool:
    return equal(left, right, question_type) is True or fold(left) == fold(right) != ""


def sound(counts: Tally, guessable: bool) -> bool:
    """Whether the answer to a hard question may be right: the first choice of those who reached an answer.

    Two must reach it (or the only one who answered), and more than reach any other; where a guess often hits,
    half of all. So most may fail, which is what a hard question is for.
    """
    return counts.reached(min(2, max(1, counts.told)), 0.5 if guessable else 0.0)


_LEVEL_LIMITS = (0.2, 0.5, 0.75, 0.9)
"""Pass rates of the reference solvers up to which an item counts as H5, H4, H3, H2 (our own choice)."""


def measured_level(agree: float, tried: float) -> tuple[str, float]:
    """Level H1..H5 that a pass rate stands for, and its standard error in levels.

    H5 up to a pass rate of 0.2, H4 up to 0.5, H3 up to 0.75, H2 up to 0.9, H1 above. The error is the
    standard deviation of the pass rate after these tries (uniform before) times the 4 levels that its range
    spans, so a few tries are never certain.

    Raises:
        ValueError: if nothing was tried.
    """
    if tried <= 0:
        raise ValueError(f"a level cannot be measured from {tried:g} attempts; at least 1 is needed")
    rate = agree / tried
    level = 5 - sum(rate > limit for limit in _LEVEL_LIMITS)
    mean = (agree + 1) / (tried + 2)
    return f"H{level}", round(4 * math.sqrt(mean * (1 - mean) / (tried + 3)), 4)


_KEPT = ("agree", "differ", "unclear", "truncated", "failed", "rival")


def tally_scores(model: str, counts: Tally) -> dict[str, float]:
    """A tally of one model's attempts as scores of a record, so that no later stage pays for it again."""
    numbers = (
        counts.agree,
        counts.differ,
        counts.unclear,
        counts.truncated,
        counts.failed,
        counts.rival_votes,
    )
    return {f"solver_{kind}:{model}": float(number) for kind, number in zip(_KEPT, numbers, strict=True)}


def tally_from(model: str, scores: Mapping[str, float]) -> Tally | None:
    """The tally that `tally_scores` stored (without the rival's text), or None."""
    if f"solver_agree:{model}" not in scores:
        return None
    agree, differ, unclear, truncated, failed, rival = (
        int(scores.get(f"solver_{kind}:{model}", 0.0)) for kind in _KEPT
    )
    return Tally(
        agree=agree,
        differ=differ,
        unclear=unclear,
        truncated=truncated,
        failed=failed,
        rival_votes=rival,
    )


def without_tallies(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores without what solvers said: for an item whose answer became another one."""
    return {name: value for name, value in scores.items() if not name.startswith(("solver_", "pass_rate"))}


def pooled(counts: Iterable[Tally]) -> Tally:
    """Several models' tallies as one; equal rivals add up, of different ones the strongest stands."""
    listed = list(counts)
    votes: list[tuple[str, int]] = []
    for item in listed:
        for index, (rival, number) in enumerate(votes):
            if item.rival and _alike(item.rival, rival):
                votes[index] = (rival, number + item.rival_votes)
                break
        else:
            votes.append((item.rival, item.rival_votes))
    rival, number = max(votes, key=lambda vote: vote[1], default=("", 0))
    return Tally(
        agree=sum(item.agree for item in listed),
        differ=sum(item.differ for item in listed),
        unclear=sum(item.unclear for item in listed),
        truncated=sum(item.truncated for item in listed),
        failed=sum(item.failed for item in listed),
        rival=rival,
        rival_votes=number,
    )
