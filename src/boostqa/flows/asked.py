"""What a question asks for, and what each of its numbers stands for: whether a rewording keeps both.

Read off the words alone, so strictly: what a rule cannot see to be kept counts as lost. Knows sentences, not
records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import combinations, pairwise

from boostqa.text.answers import evaluate, numbers_in
from boostqa.text.normalise import CJK, cjk_share, words


def numbers_of(text: str) -> list[float]:
    """The numbers of a text in order, also where they touch Chinese characters on their left."""
    return numbers_in(re.sub(rf"(?<=[{CJK}])(?=\d)", " ", text))


# `..., in litres per minute?`: the unit in which the answer is wanted.
ASKED_UNIT = re.compile(
    r"\bin ((?!(?:the|an?|this|that|these|its?|total|all|each|which|what)\b)"
    r"(?:(?!in\b)[^\s?,\d]+ ?){1,5})\?$",
    re.I,
)
_NUMBER_WITH_WORD = re.compile(r"(\d+(?:,\d{3})*(?:\.\d+)?)\s*-?\s*([%°]?[^\W\d_]*)")


def unit_of(text: str, number: float) -> str:
    """The word or sign right after a number, made comparable; "" where it is a function word or nothing."""
    for digits, word in _NUMBER_WITH_WORD.findall(text):
        if float(digits.replace(",", "")) == number:
            bare = word.casefold()
            if cjk_share(bare) > 0:
                return str(bare[0])
            return "" if bare in FUNCTION_WORDS else str(bare.rstrip("s") or bare)
    return ""


_FUNCTION_LIST = (
    "a about after all also an and any are as at be been before being between both but by call called "
    "can could did do does during each every find following for from get gets given had has have he her "
    "him his how i if in into is it its just known make makes many may me might more much must name no "
    "nor not of on one ones only or other our over per shall she should so some such take takes term "
    "than that the their them then there these they this those through to under us use used very was we "
    "were what when where which while who whom whose why will with word would you your"
)
FUNCTION_WORDS = frozenset(_FUNCTION_LIST.split())
"""Words that carry no content of their own."""


def demand(text: str) -> str:
    """The sentence that asks: the last one with a question mark, else the last one."""
    sentences = [part.strip() for part in re.findall(r"[^.!?。！？]+[.!?。！？]*", text) if part.strip()]
    asking = [part for part in sentences if part.endswith(("?", "？"))] or sentences
    return asking[-1] if asking else text


def content_words(text: str) -> set[str]:
    """Stems of the words that carry content; pairs of neighbouring characters for Chinese."""
    return set(content(text))


def content(text: str) -> Counter[str]:
    """How often each of `content_words` occurs."""
    tokens = words(text)
    if cjk_share(text) > 0.3:
        return Counter(a + b for a, b in pairwise(tokens) if cjk_share(a + b) == 1.0)
    return Counter(stem(word) for word in tokens if word[0].isalpha() and word not in FUNCTION_WORDS)


def stem(word: str) -> str:
    """A word without the endings of number and tense: alike for forms of one word, no more."""
    for ending in ("ing", "ies", "ied", "ed", "es", "s", "ly", "e"):
        # `rise` as `rises`, but `gas` and `mass` as they are.
        longer = len(word) > 4 or ending == "e"
        if longer and word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("y") and len(word) > 4 else word


_QUESTION_WORD = re.compile(
    r"(?:^|[,;:]\s*|\b(?:and|then|to|at|in|by|of|from|with|for|on|under)\s+)"
    r"(?:what|which|whom?|whose|when|where|why|how)\b",
    re.I,
)
_SUBORDINATE = re.compile(
    r"[\s,](?:when|if|after|before|until|while|who|which|whose|where|because|once|given that|that(?! in\b|\W*$))\s",
    re.I,
)
_HEAD = re.compile(
    r"\b(?:what|which|how (?:many|much))\s+(?:(?:is|are|was|were)\s+)?(?:(?:the|its|his|her|their|an?)\s+)?(.*)",
    re.I | re.S,
)
CHINESE_FRAME = re.compile("[它他她的是多少几求出为了其有要问请那么这每该试计算]")


def asked(text: str) -> str:
    """The clause that asks, from its question word up to the next subordinate clause."""
    sentence = demand(text)
    if cjk_share(sentence) > 0.3:
        clauses = [part for part in re.split("[，。,；;？?！]", sentence) if part.strip()]
        return clauses[-1] if clauses else sentence
    found = _QUESTION_WORD.search(sentence)
    clause = sentence[found.start() :].lstrip(",;: ") if found else sentence
    end = _SUBORDINATE.search(clause, len(found.group()) if found else 1)
    return clause[: end.start()] if end else clause


def head(text: str) -> list[str]:
    """Stems of the words right behind the question word: `average`, `speed` of `What is the average speed in`."""
    found = _HEAD.search(asked(text))
    run: list[str] = []
    for word in words(found[1]) if found else []:
        if word in FUNCTION_WORDS or not word[0].isalpha():
            # `What is the name of the fallacy`: the small words before it say nothing.
            if run:
                break
            continue
        run.append(stem(word))
    return run


def thing_kept(question: str, base: str) -> str:
    """Whether the question still names what kind of thing is wanted; why not, or ""."""
    wanted = head(base)[:2]
    if wanted and not set(wanted) & set(content(question)):
        return f"no longer asks for {' '.join(wanted)!r}"
    return ""


def quantity_kept(question: str, base: str, close: bool) -> str:
    """Whether a calculation still asks for the same quantity; why not, or "".

    Something that the asking clause names, other than units, must stand in the clause that asks (where the
    unit of the answer is asked for: anywhere). If `close`, all words behind the question word must, and all
    that only the asking clause has.
    """
    clause, unit = asked(base), ASKED_UNIT.search(demand(base))
    named = clause[: unit.start()] if unit and clause.endswith(unit.group()) else clause
    if cjk_share(base) > 0.3:
        wanted, ours = (set(content(CHINESE_FRAME.sub(" ", part))) for part in (named, asked(question)))
        return "no longer asks for the same" if wanted and not wanted & ours else ""
    units = {stem(unit_of(base, number)) for number in numbers_of(base)}
    wanted, ours = set(content(named)) - units, set(content(asked(question)))
    if close:
        before = set(content(base.replace(clause, " ")))
        lost = ((wanted - before) | set(head(base))) - ours
        return f"no longer asks for {sorted(lost)[0]!r}" if lost else ""
    # A free writer may put it otherwise, but not name something else.
    loose = set(content(question)) if unit else ours
    return f"no longer asks for {sorted(wanted)[0]!r}" if wanted and not wanted & loose else ""


def roles_kept(question: str, base: str, formula: str, variables: Mapping[str, float]) -> str:
    """Whether numbers of one unit still stand for the same things; what changed, or "".

    Each is known by the words next to it; where these tell nothing, by its place. Numbers that a formula
    treats alike may change places.
    """
    here, there = _neighbours(question), _neighbours(base)
    for (a, left), (b, right) in combinations(there.items(), 2):
        units = {unit_of(base, a), unit_of(base, b)} - {""}
        if a not in here or b not in here or len(units) > 1 or _alike(a, b, formula, variables):
            continue
        straight = _shared(here[a], left) + _shared(here[b], right)
        crossed = _shared(here[a], right) + _shared(here[b], left)
        moved = list(here).index(a) > list(here).index(b)
        both = min(_shared(here[a], right), _shared(here[b], left)) > 0
        if (moved and crossed >= straight) or (both and straight == 0 and cjk_share(base) == 0):
            return f"{a:g} and {b:g} changed places"
    return ""


def _neighbours(text: str) -> dict[float, dict[str, float]]:
    """Number -> words around it up to the next number or stop, with a weight that falls with the distance."""
    text = re.sub(rf"(?<=[{CJK}])(?=\d)", " ", text)
    hits = list(_NUMBER_WITH_WORD.finditer(text))
    found: dict[float, dict[str, float]] = {}
    for index, hit in enumerate(hits):
        start = hits[index - 1].end() if index else 0
        end = hits[index + 1].start() if index + 1 < len(hits) else len(text)
        left = re.split(r"[.;,?!，。；？！]", text[start : hit.start()])[-1]
        right = re.split(r"[.;,?!，。；？！]", text[hit.end() : end])[0]
        near: dict[str, float] = {}
        for side in (reversed(words(left)), words(right)):
            stems = [stem(word) for word in side if word[0].isalpha() and word not in FUNCTION_WORDS]
            for distance, form in enumerate(stems, 1):
                near[form] = max(near.get(form, 0.0), 1 / distance)
        found[float(hit[1].replace(",", ""))] = near
    return found


def _shared(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    return sum(min(ours[word], theirs[word]) for word in ours.keys() & theirs.keys())


def _alike(a: float, b: float, formula: str, variables: Mapping[str, float]) -> bool:
    """Whether the formula gives the same with the two values exchanged."""
    swapped = {name: b if value == a else a if value == b else value for name, value in variables.items()}
    try:
        return swapped != variables and evaluate(formula, swapped) == evaluate(formula, variables)
    except ValueError:
        return False
