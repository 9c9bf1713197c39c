"""Checks of a written item that need no model: form, language, references, leaks, copying.

Synthesis uses them to go on to its next candidate at once, verification to decide. Each check gives the first
problem it finds, as a drop reason with what was seen, or None. Knows nothing of stages and asks nobody.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from boostqa.prompts import LETTERS
from boostqa.record import Record
from boostqa.text.answers import choice_letter, equal, final, leaks
from boostqa.text.language import detect
from boostqa.text.ngrams import copy_share
from boostqa.text.normalise import cjk_share, fold, squeeze, words

VARIANTS = ("vary", "vary_numbers", "distract")
"""Strategies that ask a seed's question again; a rewording is close to the seed and has a cut of its own."""


class Limits(BaseModel):
    """Where the checks cut."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    min_words: int = 4
    """Words (Chinese: characters) of a question at least."""
    max_words: int = 600
    """Words (Chinese: characters) of a question at most."""
    max_answer_words: int = 150
    """Words (Chinese: characters) of a final answer at most."""
    language_confidence: float = 0.6
    """A question is in the wrong language when another is found with at least this confidence, 0..1."""
    max_copied: float = 0.5
    """Share of a new question's words that may stand in runs copied from a seed, 0..1."""
    max_copied_variant: float = 0.7
    """Share of a rewording's runs of three words (Chinese: characters) that its original may have, 0..1."""
    min_kept_words: float = 0.3
    """Share of the seed question's content words that a rewording must keep, 0..1."""
    close_variants: bool = False
    """Hold rewordings close to the seed: most of its content words kept (nearly all where the answer is a number
    and nothing is calculated), few new ones, none exchanged for another, no new name, no word more often, one
    question mark at the end. For writers that cannot be trusted with more freedom."""


class Problem(NamedTuple):
    """Why an item cannot stay."""

    reason: str
    """A drop reason."""
    evidence: str
    """What was seen."""


def first_problem(record: Record, limits: Limits) -> Problem | None:
    """The first problem that any check of this module finds, cheapest first."""
    return (
        structure(record, limits)
        or language(record, limits)
        or reference(record)
        or leak(record)
        or copied(record, limits)
    )


def strategy_of(record: Record) -> str:
    """Name of the strategy that an item was asked for, or ""."""
    return (record.requested.strategy or "") if record.requested else ""


_ENDS = tuple(".?!。？！:：)）]】}$`\"”’'」』…_|")
_UNFILLED = re.compile(
    r'"(?:question|answer|choices)"\s*:|^\s*(?:##|@@)\s|\[(?:insert|your|todo)\b', re.I | re.M
)
_NO_TEXT = re.compile(r"^\s*(?:!\[[^\]]*\]\([^)]*\)|<img\b[^>]*>|https?://\S+)\s*$", re.I)
_OPTIONS = re.compile(
    r"\b(?:which|one|all|any|none) of the (?:following|options|choices)\b|(?:下列|以下)(?:选项|哪)", re.I
)
_LETTERED = re.compile(r"(?:^|\s)\(?[B-D][).．、]")
_DEMAND = re.compile(
    r"[?？]|\b(?:"
    r"add|analy[sz]e|answer|approximate|arrange|calculate|choose|classify|compare|complete|compute|"
    r"consider|construct|convert|decide|define|derive|describe|determine|discuss|divide|draw|enter|"
    r"estimate|evaluate|expand|explain|express|factor|fill|find|give|how|identify|integrate|interpret|"
    r"justify|list|match|multiply|name|obtain|order|outline|predict|prove|recommend|rewrite|round|"
    r"select|show|simplify|sketch|solve|state|subtract|summari[sz]e|suppose|translate|use|verify|what|"
    r"when|where|which|who|why|write"
    r")\b|___|"
    r"求|算|证明|说明|解释|判断|写出|指出|分析|比较|推导|化简|确定|给出|回答|简述|描述|列出|选择|填空|试|多少|几|什么|"
    r"哪|谁|如何|怎样|为何|是否|吗|（\s*）|\(\s*\)",
    re.I,
)
# Chinese questions are often left without a mark when they end in the word that asks.
_ASKING_END = re.compile(r"(?:多少|几|什么|哪|谁|如何|怎样|吗|呢)[^。，；]{0,8}$")
# A formula in brackets ends where another begins: then an open one costs no second look at the rest.
_FORMULA = re.compile(r"\$[^$]*\$|\\\[[^\\]*(?:\\(?![\[\]])[^\\]*)*\\\]|\\[a-zA-Z]+")
_WORD_LENGTH = 20
"""Characters per allowed word above which a question is not even split into words."""
_TRUTHS = frozenset(["true", "false", "yes", "no", "对", "错", "正确", "错误", "是", "否"])


def structure(record: Record, limits: Limits) -> Problem | None:
    """Whether question, options and answer are complete and of the form that the type demands."""
    for found in (_question_form(record, limits), _answer_form(record, limits), _options_form(record)):
        if found:
            return Problem("broken_structure", found)
    stated = final(record.solution)
    if ends_otherwise(stated, record.answer, record.choices, record.question_type):
        return Problem("wrong_answer", f"the solution ends in {stated!r}, the answer is {record.answer!r}")
    return None


def ends_otherwise(stated: str, answer: str, choices: Sequence[str], question_type: str | None) -> bool:
    """Whether the final answer that a solution states is another one than `answer`, as far as rules can tell.

    With options that is another letter, or the text of another option.
    """
    if choices and stated:
        return choice_letter(stated, choices) not in (None, answer)
    return bool(stated) and equal(stated, answer, question_type) is False


def _question_form(record: Record, limits: Limits) -> str:
    question = record.question.strip()
    if len(question) > _WORD_LENGTH * limits.max_words:
        return f"question of {len(question)} characters for at most {limits.max_words} words"
    tokens = words(question)
    if not limits.min_words <= len(tokens) <= limits.max_words:
        return f"question of {len(tokens)} words; allowed are {limits.min_words} to {limits.max_words}"
    # The stem of a multiple choice may be a sentence that its options complete.
    if not record.choices and not question.endswith(_ENDS) and not _ASKING_END.search(question):
        return f"question ends with {question[-20:]!r}"
    if _UNFILLED.search(question):
        return f"question contains a piece of a form: {squeeze(question)[:80]!r}"
    if record.question_type != "true_false" and not record.choices and not _DEMAND.search(question):
        return f"question asks nothing: {squeeze(question)[:80]!r}"
    if not record.choices and _OPTIONS.search(question) and not _LETTERED.search(question):
        return "question speaks of options, and there are none"
    prose = words(_FORMULA.sub(" ", question))
    runs = Counter(run for run in zip(prose, prose[1:], prose[2:], strict=False) if "".join(run).isalpha())
    if runs and (most := max(runs.values())) >= 4 and 3 * most > 0.3 * len(prose):
        return f"question repeats itself: {squeeze(question)[:80]!r}"
    return ""


def _answer_form(record: Record, limits: Limits) -> str:
    answer = record.answer.strip()
    if not answer or not any(char.isalnum() or char in "√×✓✗∞" for char in answer):
        return f"no answer: {answer!r}"
    if _NO_TEXT.match(answer) or _UNFILLED.search(answer):
        return f"answer is no text: {answer[:80]!r}"
    if len(words(answer)) > limits.max_answer_words:
        return f"answer of {len(words(answer))} words; at most {limits.max_answer_words}"
    if record.question_type == "true_false" and fold(answer) not in _TRUTHS:
        return f"answer to a true/false question is {answer[:40]!r}"
    return ""


def _options_form(record: Record) -> str:
    if not record.choices:
        return "multiple choice without options" if record.question_type == "multiple_choice" else ""
    if not 2 <= len(record.choices) <= len(LETTERS):
        return f"{len(record.choices)} options"
    letter = record.answer.strip()
    if len(letter) != 1 or letter not in LETTERS[: len(record.choices)]:
        return f"answer {letter!r} is no letter of {len(record.choices)} options"
    right = LETTERS.index(letter)
    seen: dict[str, int] = {}
    for i, option in enumerate(record.choices):
        if not option.strip() or _NO_TEXT.match(option):
            return f"option {LETTERS[i]} is empty or no text"
        # Reading formulas is dear, and a second right option is the harm: only that is compared by value.
        text = squeeze(option)
        first = seen.setdefault(text if re.search(r"[\\$_^]", text) else text.casefold(), i)
        twin = first if first != i else right if i != right and equal(option, record.choices[right]) else None
        if twin is not None:
            return f"options {LETTERS[twin]} and {LETTERS[i]} are the same: {option[:80]!r}"
    return ""


def answer_text(record: Record) -> str:
    """The answer in words: the text of the option for multiple choice."""
    if record.choices and record.answer in LETTERS[: len(record.choices)]:
        return record.choices[LETTERS.index(record.answer)]
    return record.answer


def language(record: Record, limits: Limits) -> Problem | None:
    """Whether the question is in the requested language, as far as a detector can tell."""
    wanted = record.requested.language if record.requested else None
    if not wanted or (len(record.question) < 20 and cjk_share(record.question) == 0):
        return None
    found, confidence = detect(record.question)
    if found in (wanted, "und") or confidence < limits.language_confidence:
        return None
    return Problem("wrong_language", f"requested {wanted}, found {found} ({confidence:.2f})")


_MATERIAL = r"(?:passage|text|article|excerpt|paragraph|reading|seed|author|snippet)"
_REFERENCE = re.compile(
    rf"\b(?:in|from|by|of|on|to|with) (?:the|this|that) (?:given |above |following |provided )?{_MATERIAL}\b|"
    rf"\bthe (?:above|preceding|provided|given) {_MATERIAL}\b|"
    r"\baccording to (?:the|this) (?:material|document|source|chapter)\b|"
    rf"\b(?:does|do|did) the {_MATERIAL} (?:say|state|mention|describe|explain|suggest|imply|argue)|"
    r"\b(?:mentioned|stated|described|shown|discussed|given) (?:above|below|earlier|previously)\b|"
    r"\b(?:figure|table|diagram|graph) (?:above|below)\b|\bin (?:the figure|fig\.)|"
    r"(?:根据|依据|按照|结合|阅读)(?:上述|以上|上面|本|这段|该|下列|所给)?(?:短文|文章|材料|文段|段落|课文|原文|资料|文本)|"
    r"文中|上文|前文|原文中|(?:如|见|由)[上下右左]?图|[上下右左]图|作者认为",
    re.I,
)


_TABLE = re.compile(r"\||\\begin\{|```")
"""Signs that what `the table below` speaks of stands in the question itself."""


def reference(record: Record) -> Problem | None:
    """Whether the question speaks of a text or picture that its reader does not have."""
    found = _REFERENCE.search(record.question)
    if found and _TABLE.search(record.question) and not re.search(_MATERIAL, found.group(), re.I):
        return None
    return Problem("passage_reference", found.group()) if found else None


def leak(record: Record) -> Problem | None:
    """Whether the question gives its answer away."""
    text = answer_text(record)
    if record.question_type == "true_false" or not leaks(record.question, text):
        return None
    return Problem("answer_leak", f"the question contains {text[:80]!r}")


def copied(record: Record, limits: Limits) -> Problem | None:
    """Whether the question is taken over from a seed, word for word or nearly so."""
    reworded, cut = strategy_of(record) in VARIANTS, limits.max_copied
    for index, seed in enumerate(record.seeds):
        # A rewording is measured against what it rewords, in `variant`: that may have new numbers.
        own = "" if reworded and index == 0 else seed.question
        for source in (own, seed.passage, "" if reworded else seed.solution):
            share = copy_share(record.question, source) if source else 0.0
            if share > cut:
                found = f"{share:.2f} of the question stands in seed {seed.id}; at most {cut}"
                return Problem("seed_copy", found)
    return None
