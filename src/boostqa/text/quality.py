"""What is wrong with a passage, and masking of personal data.

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
from boostqa.text.spans import spans, without

MIN_TOKENS = 24
"""Shortest passage, in estimated tokens."""
_BOILERPLATE = (
    r"(?i)lorem ipsum|enable javascript|cookie (?:policy|settings)|accept (?:all )?cookies|all rights reserved|"
    r"terms of (?:use|service)|privacy policy|subscribe to our|sign up for|"
    r"版权所有|用户协议|隐私政策|扫码关注|点击下载"
)
_MOJIBAKE = re.compile("Ã[\x80-\xbf]|锟斤拷")
_LINK = r"\[[^\n]{0,200}?\]\([^()\s]*\)|https?://[^\s)]+|[-*\d.]"
_RARE = _BOILERPLATE + r"|https?://|\]\(|```"
"""What few passages hold, so that one look tells that three others are not needed."""
_SET_APART_RE2 = (
    r"(?s)```.*?(?:```|\z)|(?m:^[ \t]*>>> [^\n]*(?:\n[ \t]*[^\s][^\n]*)*)|\$\$.*?\$\$|\$[^$\n]+\$|"
    r"\\\(.*?\\\)|\\\[.*?\\\]|"
    r"\\begin\{(?:equation|align|gather|multline|eqnarray|array|[bpvBV]?matrix|cases|split|tabular|tikzpicture|verbatim|"
    r"lstlisting|displaymath|math)\*?\}.*?\\end\{(?:equation|align|gather|multline|eqnarray|array|[bpvBV]?matrix|cases|"
    r"split|tabular|tikzpicture|verbatim|lstlisting|displaymath|math)\*?\}|"
    r"(?m:^[ \t]*\|[^\n]*\|[ \t]*$)"
)
"""Code, formulas and table rows, which may repeat themselves; in RE2's syntax, twice as quick."""
_RE2_LONGEST = 8000
"""Characters; RE2 reads to the end of a text again from each opening that nothing closes."""
_ENVIRONMENT = (
    r"\{(?:equation|align|gather|multline|eqnarray|array|[bpvBV]?matrix|cases|split|tabular|tikzpicture|verbatim|"
    r"lstlisting|displaymath|math)\*?\}"
)
_SESSION = r"^[ \t]*>>> [^\n]*(?:\n[ \t]*[^ \t\n\f\r][^\n]*)*"
"""A session of Python ends at an empty line."""
_FORMULAS = rf"```|\$\$|\$[^$\n]+\$|\\[(\[]|\\begin{_ENVIRONMENT}"
_SET_APART = {
    False: re.compile(_FORMULAS),
    True: re.compile(rf"{_SESSION}|^[ \t]*\|[^\n]*\|[ \t]*$|{_FORMULAS}", re.MULTILINE),
}
"""Code, formulas and table rows, which may repeat themselves. By whether sessions or rows may be there: what
begins with a line takes three times as long to look for."""
_DISPLAY = re.compile(rf"\$\$|\\\[|{_SESSION}", re.MULTILINE)
_ENDS = {
    mark: re.compile(end)
    for mark, end in (("```", r"```|\Z"), ("$$", r"\$\$"), ("\\(", r"\\\)"), ("\\[", r"\\\]"))
}
_ENVIRONMENT_END = re.compile(rf"\\end{_ENVIRONMENT}")
_APART_MARKS = r"```|>>> |\$|\\[(\[]|\\begin\{|\|"
"""What any text with one of them holds."""
_STOP_WORD = re.compile(r"\b(?:the|be|to|of|and|that|have|with|is|are|in|for|by|from|or)\b", re.IGNORECASE)
_REFERENCES = re.compile(
    r"(?:[\d.]+\s*)?(?:references?|bibliography|works cited|literature(?: cited)?|citations|sources|"
    r"notes and references|(?:for )?further (?:reading|exploration|research)|external links|see also|websites?|links|"
    r"参考(?:文献|资料|书目)\S{0,8}|延伸阅读|拓展阅读|相关链接|外部链接)",
    re.IGNORECASE,
)
_CITED = re.compile(
    r"https?://|\bwww\.|\bdoi\b|\b(?:19|20)\d\d\b|\bpp?\.\s?\d|\bvol\.|\bISBN\b|\]\(", re.IGNORECASE
)
"""What the entry of a bibliography has."""
_EXPLAINS = re.compile(r"[:：]\s*\S|\s[–—-]\s|[,，.。;；]\s*\S+ \S")
"""What an item of a list has that says more than a name."""
_HAN = re.compile("[\u3400-\u9fff]")
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
_MACHINE = re.compile(
    r"\b(?:IPs?|IPv4|address(?:es)?|hosts?|servers?|DNS|ping|ssh|logged in from)\W[^\n]{0,20}$|"
    r"(?:地址|服务器)[^\n]{0,8}$",
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
    set_apart: float = 0.3
    """The same of what is hardly anything but code, formulas and tables."""
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
    "zh": Rules(word_length=(0.0, 60.0), needs_signs=True, letters=0.3, runs=0.35),
    "ja": Rules(word_length=(0.0, 60.0), needs_signs=True, letters=0.3, runs=0.35),
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
    strings = pa.array(texts, pa.large_string())
    marked = pc.indices_nonzero(pc.match_substring_regex(strings, _APART_MARKS))
    places = marked.to_pylist()
    short = [i for i in places if len(texts[i]) <= _RE2_LONGEST]
    strings = pa.array([texts[i] for i in short], pa.large_string())
    bare = pc.replace_substring_regex(strings, _SET_APART_RE2, " ").to_pylist()
    for i, text in zip(short, bare, strict=True):
        found[i] = text
    for i in sorted(set(places).difference(short)):
        text = texts[i]
        opening = _SET_APART["|" in text or ">>> " in text]
        found[i] = without(text, spans(text, opening, _end_of), " ")
    return found


def _end_of(opening: re.Match[str]) -> re.Pattern[str] | None:
    return _ENVIRONMENT_END if opening[0].startswith("\\begin") else _ENDS.get(opening[0])


def judge(
    texts: Sequence[str], prose: Sequence[str], measures: Sequence[Measures], languages: Sequence[str | None]
) -> list[Verdict]:
    """A verdict on each passage, from its `prose_of`, the measures of that, and its language (None: unknown).

    Problems: too_short, damaged_encoding, few_letters, no_sentences, odd_word_lengths, contents_list, list_only,
    short_lines, ellipses, links_only, repeated_lines, repetitive, boilerplate.
    """
    # Where there is prose enough, nothing is asked of the rest.
    changed = [i for i, bare in enumerate(measures) if not _is_ample(bare) and texts[i] != prose[i]]
    whole = list(measures)
    for i, full in zip(changed, measure([texts[i] for i in changed], words=False), strict=True):
        whole[i] = full
    rare = _rare(texts)
    found = []
    for i, (full, bare) in enumerate(zip(whole, measures, strict=True)):
        code = languages[i]
        cjk = bare.han + bare.kana > 0.3 * bare.letters
        rules = RULES["zh"] if cjk else _OTHER if code in ("zh", "ja") else RULES.get(code or "", _OTHER)
        problems = _shape_problems(texts[i], (full, bare), rules)
        phrases, only_links, coded = rare.get(i, (0, False, False))
        if only_links:
            problems.append("links_only")
        problems += _line_problems(prose[i] if coded else texts[i], bare, rules)
        if bare.words >= 50 and bare.runs < rules.runs * bare.words:
            problems.append("repetitive")
        if phrases > bare.words / 150:
            problems.append("boilerplate")
        problems += _word_problems(texts[i], bare, rules)
        found.append(Verdict(tuple(problems), _score(bare, len(problems))))
    return found


def _rare(texts: Sequence[str]) -> dict[int, tuple[int, bool, bool]]:
    """Phrases of boilerplate, whether there is nothing but links, and whether there is code; by place, if any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    strings = pa.array(texts, pa.large_string())
    places = pc.indices_nonzero(pc.match_substring_regex(strings, _RARE))
    some = strings.take(places)
    phrases = pc.count_substring_regex(some, _BOILERPLATE).to_pylist()
    unlinked = pc.replace_substring_regex(some, _LINK, "").to_pylist()
    found = {}
    for i, phrase, rest in zip(places.to_pylist(), phrases, unlinked, strict=True):
        linked = "http" in texts[i] or "](" in texts[i]
        found[i] = (phrase, linked and estimate_tokens(rest) < MIN_TOKENS // 2, "```" in texts[i])
    return found


def is_references(text: str, headings: Sequence[str]) -> bool:
    """Whether a passage under these headings, outermost first, is a list of works or links to be read elsewhere."""
    if not any(len(part) <= 60 and _REFERENCES.fullmatch(part.strip()) for part in headings[-3:]):
        return False
    entries = [line for line in map(str.strip, text.split("\n")) if line]
    cited = sum(_CITED.search(line) is not None for line in entries)
    return cited >= max(1, len(entries) / 2)


def _is_prose(bare: Measures) -> bool:
    """Whether a text has a sentence or two beside its code and formulas."""
    wide = bare.han + bare.kana
    return wide + (bare.dense - wide) // 4 >= MIN_TOKENS // 2


def _is_ample(bare: Measures) -> bool:
    return bare.tokens >= MIN_TOKENS and _is_prose(bare)


def _shape_problems(text: str, measures: tuple[Measures, Measures], rules: Rules) -> list[str]:
    full, bare = measures
    found = []
    if full.tokens < MIN_TOKENS:
        found.append("too_short")
    lost = text.count("\ufffd") + (len(_MOJIBAKE.findall(text)) if "Ã" in text or "锟" in text else 0)
    if lost > len(text) / 200:
        found.append("damaged_encoding")
    # What has a sentence or two beside its formulas is judged by these.
    seen, least = (bare, rules.letters) if _is_prose(bare) else (full, min(rules.letters, rules.set_apart))
    if seen.letters < least * seen.dense or not seen.dense:
        found.append("few_letters")
    return found


def _word_problems(text: str, bare: Measures, rules: Rules) -> list[str]:
    found = []
    # A formula set apart ends a sentence, too.
    unsigned = rules.needs_signs and not bare.signs and bare.words >= 20 and "$$" not in text
    unlinked = bare.spaced >= 20 and bare.stop < rules.stop_words
    # A table may hold the sentences.
    if unsigned or (unlinked and ("|" not in text or len(_STOP_WORD.findall(text)) < 2 * rules.stop_words)):
        found.append("no_sentences")
    least, most = rules.word_length
    # Letters that stand for quantities are no sign of damage among words that make sentences.
    sentences = 0 < rules.stop_words <= bare.stop and bare.stop >= bare.spaced / 12
    if bare.spaced >= 10 and not (sentences or least <= bare.word_letters / bare.spaced <= most):
        found.append("odd_word_lengths")
    return found


def _line_problems(text: str, bare: Measures, rules: Rules) -> list[str]:
    found: list[str] = []
    if bare.lines < 4:
        return found
    if bare.leaders > 0.3 * bare.lines:
        found.append("contents_list")
    if bare.bullets > rules.bullets * bare.lines and _only_bullets(text, rules):
        found.append("list_only")
    if (
        bare.lines >= 10
        and bare.short > rules.short * bare.lines
        and bare.unfinished > 0.88 * bare.lines
        and _short_lines(text, rules)
    ):
        found.append("short_lines")
    if bare.ellipses > rules.ellipses * bare.lines:
        found.append("ellipses")
    most = rules.repeated * bare.lines
    if _repeated(text) > most and _repeated(without(text, spans(text, _DISPLAY, _end_of), "")) > most:
        found.append("repeated_lines")
    return found


def _only_bullets(text: str, rules: Rules) -> bool:
    """Whether bullets that explain nothing are most of a text with its tables and programs."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    bare = [line for line in lines if line[0] in "-*•·●▪◦‣+" and not _EXPLAINS.search(line[1:])]
    return len(bare) > rules.bullets * len(lines) - 1


def _short_lines(text: str, rules: Rules) -> bool:
    """Whether lines are short with their formulas, too."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    short = sum(len(line) < (15 if _HAN.search(line) else 30) for line in lines)
    return short > rules.short * len(lines)


def _repeated(text: str) -> int:
    """Lines of some length that were there before."""
    long_ = [line for line in map(str.strip, text.split("\n")) if len(line) > 10 and line[0] not in "|\\&$"]
    return len(long_) - len(set(long_))


def _score(bare: Measures, problems: int) -> float:
    """From length and Guiraud's index of richness (different words by the root of all), each at most 1."""
    if not bare.words:
        return 0.0
    length = min(1.0, bare.words / 300)
    richness = min(1.0, bare.distinct / bare.words**0.5 / 15)
    return round(float((0.6 + 0.2 * length + 0.2 * richness) * 0.6**problems), 4)


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
    # 3.1.4.2 is a section or version, not a machine, unless it is called one.
    before = match.string[max(0, match.start() - 30) : match.start()]
    numbered = address.version == 4 and max(address.packed) < 20 and not _MACHINE.search(before)
    return "[ip]" if address.is_global and not numbered else match[0]
