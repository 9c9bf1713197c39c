"""What is wrong with a passage or a question-answer pair, and masking of personal data.

Rules of the kind that Gopher, C4 and FineWeb use, few and blunt: each reason names something a person can
see in the text. They find what is broken, not what is good.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from boostqa.text.chunk import estimate_tokens
from boostqa.text.measures import Measures, measure
from boostqa.text.normalise import words

MIN_TOKENS = 24
"""Shortest passage, in estimated tokens."""
_BOILERPLATE = (
    r"(?i)lorem ipsum|enable javascript|cookie (?:policy|settings)|accept (?:all )?cookies|all rights reserved|"
    r"terms of (?:use|service)|privacy policy|subscribe to our|sign up for|"
    r"版权所有|用户协议|隐私政策|扫码关注|点击下载"
)
_MOJIBAKE = re.compile("Ã[\x80-\xbf]|锟斤拷")
_LINK = re.compile(r"\[[^\n]{0,200}?\]\([^()\s]*\)|https?://[^\s)]+|[-*\d.]")
_CONTEXT = re.compile(
    r"\b(?:according to|based on|as (?:stated|shown|described|mentioned) in|in|from) (?:the|this) "
    r"(?:above |given |following )?(?:passage|text|article|paragraph|excerpt|document|section)\b(?! of\b)|"
    r"\b(?:the|this) excerpt\b|\b(?:this passage|the passage)\b(?! (?:of|through|from|to|between)\b)|"
    r"\bthe author(?:'s (?:purpose|tone|attitude|view|main|point)| (?:means?|impl|suggest|argue|describe|state|mention|"
    r"refer|think|believe|feel|say|use))|"
    r"\b(?:figure|diagram|graph|table|picture|image) (?:above|below|shown)\b|"
    r"\b(?:above|following|shown) (?:figure|diagram|graph|picture|image)\b|\bas shown in (?:the )?fig|"
    r"根据(?:上文|本文|文章|原文|材料|短文)|(?:如|见|由|下|上)图(?:所示|线所示|可知)?|文中|本段|作者认为",
    re.IGNORECASE,
)
_ITS_OWN = re.compile(r"passage|text|article|paragraph|excerpt|author|文|段|作者", re.IGNORECASE)
"""A reference that the question itself may answer, by quoting the text after a line break."""
_TABLE = re.compile(r"\\begin\{tabular\}|^\s*\|.*\|", re.MULTILINE)
_REMNANT = re.compile(
    r"as an ai\b|as a language model|i(?:'m| am) (?:sorry,? (?:but|i)\b|unable to|happy to (?:help|assist))|"
    r"^\s*(?:sure|certainly|of course)[!,.]|</?think>|<\|[a-z_]+\|>|\bhere(?:'s| is) (?:a|the|your) "
    r"(?:question|answer)|"
    r"作为(?:一个)?(?:AI|人工智能|语言模型)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\{\{\s*[a-z_]{3,}\s*\}\}|\{(?:question|answer|topic|passage|text)\}|<(?:question|answer|insert)\b[^>]*>|"
    r"\[(?:insert|your)\b[^\]]*\]|(?-i:\bTODO\b)",
    re.IGNORECASE,
)
_SET_APART = (
    r"(?s)```.*?(?:```|\z)|\$\$.*?\$\$|\$[^$\n]+\$|\\\(.*?\\\)|\\\[.*?\\\]|"
    r"\\begin\{(?:equation|align|gather|multline|eqnarray|array|[bpvBV]?matrix|cases|split|tabular|tikzpicture|verbatim|"
    r"lstlisting|displaymath|math)\*?\}.*?\\end\{(?:equation|align|gather|multline|eqnarray|array|[bpvBV]?matrix|cases|"
    r"split|tabular|tikzpicture|verbatim|lstlisting|displaymath|math)\*?\}|"
    r"(?m:^[ \t]*\|[^\n]*\|[ \t]*$)"
)
"""Code, formulas and table rows, which may repeat themselves; in RE2's syntax."""
_APART_MARKS = ("```", "$", "\\(", "\\[", "\\begin{", "|")
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}\b")
_NUMBERS = re.compile(r"\d[\d .()-]{5,}\d")
_DOUBTFUL = r"@|\d(?:[ .()-]{0,3}\d){9}|\d\.\d{1,3}\.\d{1,3}\.\d|(?:[\da-fA-F]{1,4}:){7}"
"""In RE2's syntax, what any text holds that `mask_personal` changes."""
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,4}|"
    r"\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4}|1[3-9]\d[ -]\d{4}[ -]\d{4}|0\d{2,3}-\d{7,8})(?![\w-]|\.\d)"
)
_MOBILE = re.compile(
    r"(?P<word>(?:电话|手机|联系方式|热线|微信|tel|phone|mobile|call)\D{0,8})1[3-9]\d{9}(?!\d)", re.IGNORECASE
)
_DASHED = re.compile(r"\d{3,4}(?:[ -]\d{4}){2}|\d{3}-\d{3}-\d{4}|0\d{2,3}-\d{7,8}")
"""Numbers that are written like a difference, too."""
_SUM_BEFORE = re.compile(
    r"(?:[=+*/×÷^$]|\b(?:what(?: is|'s)|how much is|compute|calculate|evaluate|find|simplify|solve|subtract|"
    r"difference|expression|result of|value of)\b[^\d\n]{0,12}|计算|求|等于)\s*$",
    re.IGNORECASE,
)
_SUM_AFTER = re.compile(r"\s*(?:[=+*/×÷^$]|\\|等于|是多少|equals\b)")
_CALLED = re.compile(
    r"\b(?:tel|phone|mobile|call|fax|contact|number|hotline|dial|reach)\b|电话|手机|热线|联系|号码",
    re.IGNORECASE,
)
_IP = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"
)


@dataclass(frozen=True)
class Rules:
    """What a passage in one language must be like; shares are 0..1."""

    stop_words: int = 0
    """Frequent words that 20 words must hold (Gopher: 2)."""
    word_length: tuple[float, float] = (2.2, 14.0)
    """Mean number of characters of a word, least and most (Gopher: 3 and 10)."""
    needs_signs: bool = False
    """Whether a text without any mark of a sentence or clause is none."""
    letters: float = 0.4
    """Least share of letters among what is not white space."""
    runs: float = 0.4
    """Least share of different ones among the runs of three words of a text of 50 words."""
    repeated: float = 0.3
    """Most lines that were there before (Gopher: 0.3)."""
    ellipses: float = 0.3
    """Most lines that end with an ellipsis (Gopher: 0.3)."""
    short: float = 0.67
    """Most lines that are short, where also most end in no mark (FineWeb: 0.67 and 0.88)."""
    bullets: float = 0.9
    """Most lines that are bullets (Gopher: 0.9)."""


RULES = {
    "en": Rules(stop_words=2, word_length=(2.2, 12.0)),
    "zh": Rules(word_length=(0.0, 60.0), needs_signs=True, runs=0.35),
    "ja": Rules(word_length=(0.0, 60.0), needs_signs=True, runs=0.35),
    "de": Rules(word_length=(2.2, 16.0)),
}
"""Language -> its rules; the others have those of `Rules()`."""
_OTHER = Rules()


class Verdict(msgspec.Struct, frozen=True):
    """What was found of one passage."""

    problems: tuple[str, ...]
    """Why it is not worth keeping, as snake_case constants; empty where nothing was found."""
    score: float
    """0..1, for choosing the best of a cluster of duplicates. Lower for every problem; among texts without
    problems a longer and richer one is better."""


def prose_of(texts: Sequence[str]) -> list[str]:
    """The texts without their code, formulas and table rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = list(texts)
    marked = [i for i, text in enumerate(texts) if any(mark in text for mark in _APART_MARKS)]
    if marked:
        strings = pa.array([texts[i] for i in marked], pa.large_string())
        bare = pc.replace_substring_regex(strings, _SET_APART, " ").to_pylist()
        for i, text in zip(marked, bare, strict=True):
            found[i] = text
    return found


def judge(
    texts: Sequence[str], prose: Sequence[str], measures: Sequence[Measures], languages: Sequence[str | None]
) -> list[Verdict]:
    """A verdict on each passage, from its `prose_of`, the measures of that, and its language (None: unknown).

    Problems: too_short, damaged_encoding, few_letters, no_sentences, odd_word_lengths, contents_list, list_only,
    short_lines, ellipses, links_only, repeated_lines, repetitive, boilerplate.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    changed = [i for i, text in enumerate(texts) if text != prose[i]]
    whole = list(measures)
    for i, full in zip(changed, measure([texts[i] for i in changed], words=False), strict=True):
        whole[i] = full
    phrases = pc.count_substring_regex(pa.array(texts, pa.large_string()), _BOILERPLATE).to_pylist()
    found = []
    for i, (full, bare) in enumerate(zip(whole, measures, strict=True)):
        code = languages[i]
        cjk = bare.han + bare.kana > 0.3 * bare.letters
        rules = RULES["zh"] if cjk else _OTHER if code in ("zh", "ja") else RULES.get(code or "", _OTHER)
        problems = _shape_problems(texts[i], (full, bare), rules)
        problems += _line_problems(prose[i] if "```" in texts[i] else texts[i], bare, rules)
        if bare.words >= 50 and bare.runs < rules.runs * bare.words:
            problems.append("repetitive")
        if phrases[i] > bare.words / 150:
            problems.append("boilerplate")
        problems += _word_problems(bare, rules)
        found.append(Verdict(tuple(problems), _score(bare, len(problems))))
    return found


def _shape_problems(text: str, measures: tuple[Measures, Measures], rules: Rules) -> list[str]:
    full, bare = measures
    found = []
    if full.tokens < MIN_TOKENS:
        found.append("too_short")
    lost = full.lost + (len(_MOJIBAKE.findall(text)) if "Ã" in text or "锟" in text else 0)
    if lost > full.characters / 200:
        found.append("damaged_encoding")
    # What has a sentence or two beside its formulas is judged by these.
    seen = bare if bare.tokens >= MIN_TOKENS // 2 else full
    if seen.letters < rules.letters * seen.dense or not seen.dense:
        found.append("few_letters")
    return found


def _word_problems(bare: Measures, rules: Rules) -> list[str]:
    found = []
    if (rules.needs_signs and not bare.signs and bare.words >= 20) or (
        bare.spaced >= 20 and bare.stop < rules.stop_words
    ):
        found.append("no_sentences")
    least, most = rules.word_length
    if bare.spaced >= 10 and not least <= bare.word_letters / bare.spaced <= most:
        found.append("odd_word_lengths")
    return found


def _line_problems(text: str, bare: Measures, rules: Rules) -> list[str]:
    lines = bare.lines
    if lines < 4:
        return []
    found = []
    if bare.leaders > 0.3 * lines:
        found.append("contents_list")
    if bare.bullets > rules.bullets * lines:
        found.append("list_only")
    if lines >= 10 and bare.short > rules.short * lines and bare.unfinished > 0.88 * lines:
        found.append("short_lines")
    if bare.ellipses > rules.ellipses * lines:
        found.append("ellipses")
    if ("http" in text or "](" in text) and estimate_tokens(_LINK.sub("", text)) < MIN_TOKENS // 2:
        found.append("links_only")
    long_ = [line for line in map(str.strip, text.split("\n")) if len(line) > 10 and line[0] not in "|\\&$"]
    if len(long_) - len(set(long_)) > rules.repeated * lines:
        found.append("repeated_lines")
    return found


def _score(bare: Measures, problems: int) -> float:
    """From length and Guiraud's index of richness (different words by the root of all), each at most 1."""
    if not bare.words:
        return 0.0
    length = min(1.0, bare.words / 300)
    richness = min(1.0, bare.distinct / bare.words**0.5 / 15)
    return round(float((0.6 + 0.2 * length + 0.2 * richness) * 0.6**problems), 4)


def qa_problems(question: str, answer: str, language: str = "en") -> list[str]:
    """Reasons (snake_case constants) why a question with its answer is not usable; empty: none found.

    One of: empty_question, empty_answer, question_too_short, question_too_long, needs_context (refers to a
    passage or figure that is not there), chat_remnant, placeholder, unbalanced_formula, repetitive,
    damaged_encoding. Structure only: whether the answer is right is not judged here.
    """
    found = []
    tokens = words(question)
    if not tokens:
        found.append("empty_question")
    elif len(tokens) < 3 and len(question.strip()) < 10:
        found.append("question_too_short")
    if estimate_tokens(question) > 2000:
        found.append("question_too_long")
    if not answer.strip():
        found.append("empty_answer")
    if _needs_context(question):
        found.append("needs_context")
    both = f"{question}\n{answer}"
    if _REMNANT.search(question) or _REMNANT.search(answer):
        found.append("chat_remnant")
    if _PLACEHOLDER.search(both):
        found.append("placeholder")
    if not all(map(_balanced, (question, answer))):
        found.append("unbalanced_formula")
    if any(map(_loops, (question, answer))):
        found.append("repetitive")
    if "\ufffd" in both or "锟斤拷" in both:
        found.append("damaged_encoding")
    return found


def _needs_context(question: str) -> bool:
    """Whether a question refers to a text or figure that is not in it."""
    match = _CONTEXT.search(question)
    if match is None or estimate_tokens(question) >= 120:
        return False
    quoted = question[match.end() :].partition("\n")[2].strip()
    if _ITS_OWN.search(match[0]) and estimate_tokens(quoted) >= 8:
        return False
    return not ("table" in match[0].lower() and _TABLE.search(question))


def _balanced(text: str) -> bool:
    """Whether formula marks close; a lone $ is money, so only pairs that must match are counted."""
    # A price in dollars, $\\$$5, must not look like a mark of a display.
    dollars = text.replace("\\$", "¤")
    if dollars.count("$$") % 2 and "$" not in dollars.replace("$$", ""):
        return False
    if text.count("\\(") != text.count("\\)") or text.count("\\begin{") != text.count("\\end{"):
        return False
    if "\\" not in text:
        return True
    bare = text.replace("\\{", "").replace("\\}", "")
    return bare.count("{") == bare.count("}")


def _loops(text: str) -> bool:
    """Whether the end of a text is one short piece over and over, as models produce when they are stuck."""
    found = re.search(r"(.{2,60}?)\1{5,}\s*$", text[-400:], re.DOTALL)
    return found is not None and re.search(r"[^\W_]", found[1]) is not None


def mask_personal(text: str) -> tuple[str, int]:
    """Text with e-mail addresses, phone numbers and public IP addresses as [email], [phone], [ip]; the count.

    Cautious, because sums and section numbers look alike: a phone number needs a country code, the
    separators of one where nobody asks for a difference, or a word such as `tel` before it; addresses of
    private networks stay.
    """
    numbered = _may_hold_numbers(text)
    if "@" not in text and not numbered:
        return text, 0
    marks = ("[email]", "[phone]", "[ip]")
    before = sum(map(text.count, marks))
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    if numbered:
        text = _PHONE.sub(_phone, text)
        text = _MOBILE.sub(lambda match: match["word"] + "[phone]", text)
        text = _IP.sub(_ip, text)
    return text, sum(map(text.count, marks)) - before


def mask_all(texts: Sequence[str]) -> list[tuple[str, int]]:
    """`mask_personal` of each text; many times quicker where most have nothing to mask.

    Raises:
        UnicodeEncodeError: for a text with half a surrogate pair; `normalise.repair` leaves none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    flags = pc.match_substring_regex(pa.array(texts, pa.large_string()), _DOUBTFUL).to_pylist()
    return [mask_personal(text) if flag else (text, 0) for text, flag in zip(texts, flags, strict=True)]


def _may_hold_numbers(text: str) -> bool:
    """Whether a telephone number or address may be there: ten digits, three dots or seven colons together."""
    for match in _NUMBERS.finditer(text):
        if match[0].count(".") >= 3 or sum(map(str.isdigit, match[0])) >= 10:
            return True
    return text.count(":") >= 7


def _phone(match: re.Match[str]) -> str:
    number = match[0]
    if sum(map(str.isdigit, number)) < 10 or (_DASHED.fullmatch(number) and _is_sum(match)):
        return number
    return "[phone]"


def _is_sum(match: re.Match[str]) -> bool:
    """Whether the text around a dashed number asks to work it out and says nothing of a telephone."""
    before, after = match.string[max(0, match.start() - 40) : match.start()], match.string[match.end() :]
    if _CALLED.search(before):
        return False
    return bool(_SUM_BEFORE.search(before) or _SUM_AFTER.match(after[:12]))


def _ip(match: re.Match[str]) -> str:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return match[0]
    # 3.1.4.2 is a section or version, not a machine.
    numbered = address.version == 4 and max(address.packed) < 20
    return "[ip]" if address.is_global and not numbered else match[0]
