"""What is wrong with a passage or a question-answer pair, and masking of personal data.

Rules of the kind that Gopher, C4 and FineWeb use, few and blunt: each reason names something a person can
see in the text. They find what is broken, not what is good.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter

from boostqa.text.chunk import estimate_tokens
from boostqa.text.normalise import cjk_share, words

MIN_TOKENS = 24
"""Shortest passage, in estimated tokens."""
_STOP = "the be to of and that have with is are in for a an it as on by this from or which"
_STOP_WORDS = frozenset(_STOP.split())
_BOILERPLATE = re.compile(
    r"lorem ipsum|enable javascript|cookie (?:policy|settings)|accept (?:all )?cookies|all rights reserved|"
    r"terms of (?:use|service)|privacy policy|subscribe to our|sign up for|"
    r"版权所有|用户协议|隐私政策|扫码关注|点击下载",
    re.IGNORECASE,
)
_LEADER = re.compile(r"(?:\.\s?){4,}\s*\d+\s*$|…{2,}\s*\d+\s*$")
_LINK = re.compile(r"https?://[^\s)]+|\]\([^)]*\)")
_CONTEXT = re.compile(
    r"\b(?:according to|based on|as (?:stated|shown|described|mentioned) in|in|from) (?:the|this) "
    r"(?:above |given |following )?(?:passage|text|article|paragraph|excerpt|document|section|author)\b|"
    r"\b(?:the|this) (?:passage|excerpt|author)\b|"
    r"\b(?:figure|diagram|graph|table|picture|image) (?:above|below|shown)\b|"
    r"\b(?:above|following|shown) (?:figure|diagram|graph|picture|image)\b|\bas shown in (?:the )?fig|"
    r"根据(?:上文|本文|文章|原文|材料|短文)|(?:如|见|由|下|上)图(?:所示|可知)?|文中|本段|作者认为",
    re.IGNORECASE,
)
_REMNANT = re.compile(
    r"as an ai\b|as a language model|i(?:'m| am) (?:sorry|unable|happy to)|"
    r"^\s*(?:sure|certainly|of course)[!,.]|</?think>|<\|[a-z_]+\|>|\bhere(?:'s| is) (?:a|the|your) "
    r"(?:question|answer)|"
    r"作为(?:一个)?(?:AI|人工智能|语言模型)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\{\{\s*[a-z_]{3,}\s*\}\}|\{(?:question|answer|topic|passage|text)\}|<(?:question|answer|insert)\b[^>]*>|"
    r"\[(?:insert|your)\b[^\]]*\]|\bTODO\b",
    re.IGNORECASE,
)
_SET_APART = re.compile(
    r"```.*?(?:```|\Z)|\$\$.*?\$\$|\$[^$\n]+\$|\\\(.*?\\\)|\\\[.*?\\\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|^\s*\|.*\|\s*$",
    re.DOTALL | re.MULTILINE,
)
"""Code, formulas and table rows: they may repeat themselves."""
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}\b")
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


def problems(text: str, language: str = "en") -> list[str]:
    """Reasons (snake_case constants) why a passage is not worth keeping; empty: none found.

    One of: too_short, damaged_encoding, few_letters, no_sentences, odd_word_lengths, contents_list,
    list_only, links_only, repeated_lines, repetitive, boilerplate.
    """
    found = []
    if estimate_tokens(text) < MIN_TOKENS:
        found.append("too_short")
    dense = re.sub(r"\s", "", text)
    if not dense:
        return [*found, "few_letters"]
    if text.count("\ufffd") + len(re.findall("Ã[\x80-\xbf]|锟斤拷", text)) > len(text) / 200:
        found.append("damaged_encoding")
    if sum(map(str.isalpha, dense)) < 0.4 * len(dense):
        found.append("few_letters")
    tokens = words(text)
    found += _language_problems(text, tokens, language)
    prose = _SET_APART.sub(" ", text)
    found += _line_problems(prose)
    runs = tokens if prose == text else words(prose)
    if len(runs) >= 50 and len(set(zip(runs, runs[1:], runs[2:], strict=False))) < 0.4 * len(runs):
        found.append("repetitive")
    if len(_BOILERPLATE.findall(text)) > len(tokens) / 150:
        found.append("boilerplate")
    return found


def _language_problems(text: str, tokens: list[str], language: str) -> list[str]:
    if language == "zh" or cjk_share(text) > 0.5:
        return [] if re.search("[。！？；，：]|[.!?,;:]", text) else ["no_sentences"]
    found = []
    if language == "en" and len(tokens) >= 20 and len(_STOP_WORDS.intersection(tokens)) < 2:
        found.append("no_sentences")
    letters = [token for token in tokens if token.isalpha()]
    if len(letters) >= 10 and not 2.2 <= sum(map(len, letters)) / len(letters) <= 12:
        found.append("odd_word_lengths")
    return found


def _line_problems(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 4:
        return []
    found = []
    if sum(bool(_LEADER.search(line)) for line in lines) > 0.3 * len(lines):
        found.append("contents_list")
    if sum(line[0] in "-*•·" and estimate_tokens(line) < 15 for line in lines) > 0.9 * len(lines):
        found.append("list_only")
    if sum(map(len, _LINK.findall(text))) > 0.5 * len(text):
        found.append("links_only")
    long_lines = Counter(line for line in lines if len(line) > 10)
    if sum(count - 1 for count in long_lines.values()) > 0.3 * len(lines):
        found.append("repeated_lines")
    return found


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
    if _CONTEXT.search(question) and estimate_tokens(question) < 120:
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


def _balanced(text: str) -> bool:
    """Whether formula marks close; a lone $ is money, so only pairs that must match are counted."""
    dollars = text.replace("\\$", "")
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


def score(text: str, language: str = "en") -> float:
    """Quality of a text, 0..1, for choosing the best of a cluster of duplicates.

    Lower for every problem found; among texts without problems a longer and richer one is better.
    """
    tokens = words(text)
    if not tokens:
        return 0.0
    length = min(1.0, len(tokens) / 300)
    richness = len(set(tokens[:300])) / len(tokens[:300])
    return round((0.6 + 0.2 * length + 0.2 * richness) * 0.6 ** len(problems(text, language)), 4)


def mask_personal(text: str) -> tuple[str, int]:
    """Text with e-mail addresses, phone numbers and public IP addresses as [email], [phone], [ip]; the count.

    Cautious, because sums and section numbers look alike: a phone number needs a country code, the
    separators of one where nobody asks for a difference, or a word such as `tel` before it; addresses of
    private networks stay.
    """
    marks = ("[email]", "[phone]", "[ip]")
    before = sum(map(text.count, marks))
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    if any(map(str.isdigit, text)):
        text = _PHONE.sub(_phone, text)
        text = _MOBILE.sub(lambda match: match["word"] + "[phone]", text)
        text = _IP.sub(_ip, text)
    return text, sum(map(text.count, marks)) - before


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
