"""Whether a rewording still asks the seed's question, and what the seed then says of the answer.

No model is asked. A variant inherits a checked answer, so these checks are strict: a good rewording that they
refuse costs one more try, a bad one that they let through would carry a wrong answer with evidence. Knows
nothing of stages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from boostqa.flows.asked import (
    ASKED_UNIT,
    content,
    content_words,
    demand,
    numbers_of,
    quantity_kept,
    roles_kept,
    thing_kept,
    unit_of,
)
from boostqa.flows.check import VARIANTS, Limits, Problem, answer_text, strategy_of
from boostqa.flows.exchanged import amounts, amounts_kept, changed, replaced
from boostqa.prompts import LETTERS
from boostqa.record import Record, SeedText
from boostqa.text.answers import choice_letter, equal, evaluate, numbers_in
from boostqa.text.normalise import cjk_share, fold, squeeze, words


def variant(record: Record, limits: Limits) -> Problem | None:
    """Whether a rewording still asks the seed's question, and does so in other words.

    Compared are numbers with their units, names, formulas, negations, the kind of demand and the content
    words; the seed's numbers are replaced first where the item has new ones.
    """
    if strategy_of(record) not in VARIANTS or not record.seeds:
        return None
    seed, question = record.seeds[0], record.question
    new = strategy_of(record) == "vary_numbers"
    try:
        base = renumbered(seed, record.variables) if new else seed.question
    except ValueError as error:
        return Problem("off_variant", str(error))
    values = record.variables if new else seed.variables
    found = (
        _numbers_kept(question, base)
        or _names_kept(question, base)
        or changed(question, base)
        or _demand_kept(question, base, limits, calculation=bool(seed.formula))
        or roles_kept(question, base, seed.formula, values)
        or _words_kept(question, base, limits, answer_text(record))
    )
    if found:
        return Problem("off_variant", found)
    # New numbers make it another problem; merely to exchange them is no rewording all the same.
    share = max(overlap(question, seed.question), overlap(question, base) - (_RENUMBERED if new else 0.0))
    if share > limits.max_copied_variant:
        evidence = (
            f"{share:.2f} of the question is that of seed {seed.id}; at most {limits.max_copied_variant}"
        )
        return Problem("seed_copy", evidence)
    return _given_away(record, base)


def doubtful(record: Record) -> str:
    """Why the seed's word alone is not enough for a rewording, or "".

    Where nothing is calculated, one word in another's place may ask something else; only who answers the new
    question can tell a synonym from that.
    """
    if strategy_of(record) not in VARIANTS or not record.seeds:
        return ""
    seed = record.seeds[0]
    if seed.formula or amounts(seed.question).total() >= 2:
        return ""
    return replaced(record.question, seed.question)


_RENUMBERED = 0.2
"""What a problem with new numbers may share with its renumbered original beyond the cut for rewordings."""


def overlap(question: str, base: str) -> float:
    """Share of the question's runs of three tokens that `base` has too, 0..1.

    A rewording shares phrases with what it rewords; moved phrases cost few runs here, a word that was merely
    replaced in an otherwise copied sentence hardly more.
    """
    known, runs = (list(zip(w, w[1:], w[2:], strict=False)) for w in (words(base), words(question)))
    return sum(map(set(known).__contains__, runs)) / len(runs) if runs else 1.0


def _given_away(record: Record, base: str) -> Problem | None:
    """Whether a word of the answer occurs that the seed's question does not have."""
    answer = answer_text(record)
    if record.question_type == "true_false" or numbers_of(answer):
        return None
    fresh = content_words(answer) - content_words(base)
    told = fresh & content_words(record.question)
    return Problem("answer_leak", f"the rewording brings in {sorted(told)} of the answer") if told else None


def renumbered(seed: SeedText, new: Mapping[str, float]) -> str:
    """The seed's question with the values of its variables replaced by new ones.

    Raises:
        ValueError: if the value of a variable does not stand in the question exactly once.
    """
    text = seed.question
    spots: list[tuple[int, int, str]] = []
    for name, value in new.items():
        old = seed.variables.get(name)
        hits = [hit for hit in _PRINTED.finditer(text) if float(hit.group().replace(",", "")) == old]
        if len(hits) != 1:
            raise ValueError(
                f"the value of {name!r} stands {len(hits)} times in the question of seed {seed.id}"
            )
        spots.append((hits[0].start(), hits[0].end(), number_text(value)))
    for start, end, digits in sorted(spots, reverse=True):
        text = text[:start] + digits + text[end:]
    return text


_PRINTED = re.compile(r"(?<![\d.,^_])\d+(?:,\d{3})*(?:\.\d+)?(?![\d/]|[.,]\d)")


def _numbers_kept(question: str, base: str) -> str:
    if found := amounts_kept(question, base):
        return found
    wanted = Counter(numbers_of(base))
    for number, times in wanted.items():
        before, after = unit_of(base, number), unit_of(question, number)
        if times == 1 and before and after and before != after:
            return f"{number:g} {before} became {number:g} {after}"
    asked = ASKED_UNIT.search(demand(base))
    if wanted and asked and asked[1].strip().casefold() not in demand(question).casefold():
        return f"no longer asks for the answer in {asked[1]!r}"
    return ""


_TURNS = {
    name: re.compile(rf"\b(?:{english})\b|{chinese}", re.IGNORECASE)
    for name, english, chinese in (
        (
            "negation",
            r"not|never|except|without|neither|nor|cannot|incorrect|false|\w+n['’]t",
            "不(?![久同断仅但])|没有|除了|错误",
        ),
        ("maximum", "most|maximum|maximal|largest|greatest|highest|biggest|longest", "最大|最多|最高|最长"),
        ("minimum", "least|minimum|minimal|smallest|lowest|fewest|shortest", "最小|最少|最低|最短"),
    )
}
_KINDS = {
    name: re.compile(rf"(?:^|[,;:] *)(?:\w+ )?(?:{english})\b|{chinese}", re.IGNORECASE)
    for name, english, chinese in (
        ("who", r"[^?]*\bwho|whom|whose", "谁"),
        (
            "when",
            r"when(?!.*\b(?:what|which|who|how)\b)|(?:what|which) (?:year|date|century|day|month)",
            "何时|什么时候|哪一?年",
        ),
        (
            "where",
            r"where(?!.*\b(?:what|which|who|how)\b)",
            "哪里|何处|在哪",
        ),
        ("why", "why|for what reason|what causes?", "为什么|为何|原因"),
    )
}


def _demand_kept(question: str, seed: str, limits: Limits, calculation: bool) -> str:
    """Small words that turn a question round, and what kind of thing it asks for."""
    for name, pattern in _TURNS.items():
        if bool(pattern.search(question)) != bool(pattern.search(seed)):
            return f"{name}: in one of seed and question only"
    if calculation or len(numbers_of(seed)) >= 2:
        # A calculation asks for a number, however it is put.
        return quantity_kept(question, seed, limits.close_variants)
    ours, theirs = demand(question), demand(seed)
    for name, pattern in _KINDS.items():
        if bool(pattern.search(ours)) != bool(pattern.search(theirs)):
            return f"asks {name!r}: one of seed and question only"
    return thing_kept(question, seed)


def _names_kept(question: str, base: str) -> str:
    """Names, abbreviations, formulas and code of the seed must stand in the question as they are."""
    here, text = squeeze(question), squeeze(base)
    for formula in re.findall(r"\$[^$]+\$|`[^`]+`", text):
        if formula not in here:
            return f"{formula!r} is missing"
    if len(numbers_of(text)) >= 2:
        # A word problem stands by its numbers and units; who the persons are does not matter.
        return ""
    lower = here.casefold()
    for name in _names(text):
        if name.casefold().removesuffix("'s") not in lower:
            return f"{name!r} is missing"
    return ""


def _names(text: str) -> list[str]:
    """Capitalised words that do not begin a sentence."""
    found = re.findall(r"(?<![.?!:\"“]\s)(?<!^)\b[A-Z][\w'’-]*", text)
    return [name for name in found if name not in ("I", "A")]


def _words_kept(question: str, base: str, limits: Limits, answer: str) -> str:
    """Content words of the seed must come again; in close variants little else may."""
    ours, theirs = content(_POINTING.sub(" ", question)), content(base)
    if not theirs:
        return ""
    kept = len(theirs.keys() & ours.keys()) / len(theirs)
    needed, allowed = _CLOSE[_kind(base, answer)] if limits.close_variants else (0.0, 1.0)
    needed = max(needed, limits.min_kept_words)
    if kept < needed:
        return f"keeps {kept:.2f} of the seed's words; at least {needed:.2f}"
    if not limits.close_variants:
        return ""
    fresh = [word for word in ours if word not in theirs]
    if len(fresh) > allowed * len(ours):
        return f"{len(fresh) / len(ours):.2f} of its words are new; at most {allowed:.2f}"
    lost = [word for word in theirs if word not in ours]
    if lost and fresh and _kind(base, answer) != "calculation" and cjk_share(base) == 0:
        return f"has {fresh[0]!r} for {lost[0]!r}"
    often = [word for word, times in ours.items() if times > max(1, theirs[word])]
    if often:
        return f"says {often[0]!r} more often than the seed"
    return _one_question(question, base)


_CLOSE = {"calculation": (0.75, 0.4), "number": (0.95, 0.1), "words": (0.6, 0.25)}
"""Kind of question -> share of the seed's content words that a close variant keeps at least, and share of its own
that may be new. Measured on what a small model wrote: they refuse most bad rewordings and few good ones."""


def _kind(base: str, answer: str) -> str:
    if len(numbers_of(base)) >= 2:
        return "calculation"
    return "number" if re.search(r"[\d=^\\]|\w\(", answer) else "words"


def _one_question(question: str, base: str) -> str:
    """Whether a close variant asks one thing and brings in no name; why not, or ""."""
    known = base.casefold()
    strange = [name for name in _names(squeeze(question)) if name.casefold() not in known]
    if strange:
        return f"brings in the name {strange[0]!r}"
    marks = question.count("?") + question.count("？")
    if marks > 1:
        return f"has {marks} question marks"
    if base.rstrip().endswith("?") and not question.rstrip().endswith("?"):
        return "does not end in its question mark"
    asking = len(_ASKING_WORD.findall(demand(question)))
    if asking > max(2, len(_ASKING_WORD.findall(demand(base)))) or _SECOND_DEMAND.search(question):
        return "asks more than one thing"
    return ""


# `This metal is liquid. Which metal is it?` names it twice and says it once.
_POINTING = re.compile(r"\b(?:which|what) \w+ (?:is|was|are|were) (?:it|this|that|they)\b", re.I)
_SECOND_DEMAND = re.compile(r"\b(?:and|or|but),? (?:what|which|who|when|where|why|how)\b", re.I)
_ASKING_WORD = re.compile(r"\b(?:what|which|who|whom|whose|when|where|why|how)\b", re.I)


def support(record: Record) -> str | Problem | None:
    """What the seed says of the answer: the name of the evidence, a problem, or None where it cannot tell.

    `symbolic`: the seed's formula with the item's own numbers gives the answer. `seed_answer`: the item
    rewords a question whose answer was checked. Whether it really is that question is for `variant` to say.
    """
    strategy = strategy_of(record)
    if strategy not in VARIANTS or not record.seeds:
        return None
    seed = record.seeds[0]
    if strategy == "vary_numbers":
        return _by_formula(record, seed)
    right = seed_answer_text(seed)
    same = same_text(answer_text(record), right)
    if same:
        return "seed_answer"
    return Problem("wrong_answer", f"the seed's answer is {right!r}, the item's {answer_text(record)!r}")


def _by_formula(record: Record, seed: SeedText) -> str | Problem | None:
    try:
        value = evaluate(record.formula, record.variables)
        right = answer_like(seed, value)
    except ValueError as error:
        return Problem("wrong_answer", f"formula {record.formula!r}: {error}")
    # A bare number is forgiven its missing unit, but another unit is another answer.
    bare = not any(char.isalpha() for char in record.answer)
    if equal(record.answer, right) or (bare and equal(record.answer, number_text(value))):
        return "symbolic"
    return Problem("wrong_answer", f"the formula gives {right}, the answer is {record.answer!r}")


def answer_like(seed: SeedText, value: float) -> str:
    """`value` written as the seed writes its answer, unit and all; the bare number where that cannot be told.

    Raises:
        ValueError: if the seed's formula cannot be evaluated with its own variables.
    """
    old = evaluate(seed.formula, seed.variables)
    found = list(_NUMBER.finditer(seed.answer))
    if len(found) != 1 or numbers_in(found[0].group()) != [old]:
        return number_text(value)
    return seed.answer[: found[0].start()] + number_text(value) + seed.answer[found[0].end() :]


_NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})*(?:\.\d+)?")


def number_text(value: float) -> str:
    """A number as a problem would print it: no trailing zeros, no exponent for usual sizes."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.12g}"


def seed_answer_text(seed: SeedText) -> str:
    """The seed's answer in words: the text of the option where it has options."""
    letter = choice_letter(seed.answer, seed.choices) if seed.choices else None
    return seed.choices[LETTERS.index(letter)] if letter else seed.answer


def same_text(left: str, right: str) -> bool:
    """Whether two answers are the same by rule or as text; doubt is a no."""
    return fold(left) == fold(right) != "" or equal(left, right) is True
