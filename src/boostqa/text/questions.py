"""What is wrong with a question and its answer, by structure alone: whether it can stand by itself and is whole.

Whether an answer is right is not judged here.
"""

from __future__ import annotations

import re

from boostqa.text.chunk import estimate_tokens
from boostqa.text.normalise import words

_TEXT = re.compile(
    r"\b(?:according to|based on|as (?:stated|shown|described|mentioned) in|in|from) (?:the|this) "
    r"(?:above |given |following )?(?:passage|text|article|paragraph|excerpt|document)\b(?! of\b)|"
    r"\b(?:the|this) excerpt\b|\b(?:this passage|the passage)\b(?! (?:of|through|from|to|between)\b)|"
    r"\bthe author(?:'s (?:purpose|tone|attitude|view|main|point)| (?:means?|impl|suggest|argue|describe|state|mention|"
    r"refer|think|believe|feel|say|use))|"
    r"根据(?:上文|本文|文章|原文|材料|短文)|(?<!下)文中|本段|作者认为",
    re.IGNORECASE,
)
"""A reference that the question itself may answer, by quoting the text."""
_FIGURE = re.compile(
    r"\b(?:figure|diagram|graph|picture|image) (?:above|below|shown)\b|"
    r"\b(?:above|below|following|shown|previous|preceding) (?:figure|diagram|graph|picture|image)\b|"
    r"(?-i:\bThe (?:figure|diagram|picture|graph) (?:shows|depicts|illustrates))\b|\bas shown in (?:the )?fig|"
    r"\b(?:in|from|of|see|use|using) (?:the |this )?(?:figure|fig\.) \d|"
    r"\b(?:use|watch|view) this (?:figure|video|animation)\b|"
    r"(?:如|见|由|下|上|右|左)图(?!书)(?:所示|线所示|可知)?",
    re.IGNORECASE,
)
_TABLE = re.compile(
    r"\btable (?:above|below|shown)\b|\b(?:above|previous|preceding) table\b|"
    r"(?:下|上|右|左)表(?:反映|是|为|中|所示|列出)",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"\bpreceding (?:problem|question|example|exercise)|\bprevious (?:example|exercise)\b|"
    r"(?:\b(?:see|see the|repeat the|redo the|refer to the|setting of the) |^in the )previous (?:problem|question)\b|"
    r"\b(?:in|from|of|see|use|using|repeat) (?:example|exercise) \d|"
    r"\b(?:according to|based on|in|from) (?:the|this) (?:previous |preceding )?(?:section|chapter)\b(?! of\b)",
    re.IGNORECASE,
)
_HINTS = (
    *(
        "passage",
        "text",
        "article",
        "graph",
        "excerpt",
        "document",
        "author",
        "fig",
        "diagram",
        "picture",
        "image",
    ),
    *("video", "animation", "table", "problem", "question", "example", "exercise", "section", "chapter"),
    *("文", "材料", "段", "作者", "图", "表"),
)
"""One of these is in whatever the four expressions above find; much quicker to look for."""
_DRAWN = re.compile(r"\[asy\]|\\begin\{(?:asy|tikzpicture|picture)\}|<svg\b|!\[(?:[^\]!]|!(?!\[))*+\]\(")
"""A figure as the source that it is drawn from.

Here and below, what may not close ends where the next of its kind opens, so that nothing is read twice."""
_TABLED = re.compile(r"\\begin\{(?:tabular|array|[bpv]?matrix)\}|^[^\S\n]*\|.*\|", re.MULTILINE)
_QUOTED = re.compile(r"“([^“”]{8,4000})”|\"([^\"]{24,4000})\"")
_REMNANT = re.compile(
    r"as an ai\b|as a language model|i(?:'m| am) (?:sorry,? (?:but|i)\b|unable to|happy to (?:help|assist))|"
    r"^\s*(?:sure|certainly|of course)[!,.]|</?think>|<\|[a-z_]+\|>|\bhere(?:'s| is) (?:a|the|your) "
    r"(?:question|answer)|"
    r"作为(?:一个)?(?:AI|人工智能|语言模型)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\{\{\s*[a-z_]{3,}\s*\}\}|\{(?:question|answer|topic|passage|text)\}|"
    r"<(?:question|answer|insert)\b(?:[^<>]|<(?!(?:question|answer|insert)\b))*+>|"
    r"\[(?:insert|your)\b(?:[^\[\]]|\[(?!(?:insert|your)\b))*+\]|"
    r"\binsert pic\b|(?<!\s)\s{2,}+pic\s*\Z|(?-i:\bTODO\b)",
    re.IGNORECASE,
)


_LONG = 120
"""Estimated tokens from which a question is taken to hold the text or table that it refers to."""
_LEAST = 8
"""Estimated tokens of a text that a question may be about."""


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
    """Whether a question refers to a text, figure, table or exercise that is not in it."""
    low = question.lower()
    if not any(hint in low for hint in _HINTS):
        return False
    if _ELSEWHERE.search(question) or (_FIGURE.search(question) and not _DRAWN.search(question)):
        return True
    if estimate_tokens(question) >= _LONG:
        return False
    if _TABLE.search(question) and not _TABLED.search(question):
        return True
    match = _TEXT.search(question)
    return match is not None and not _quotes(question, match)


def _quotes(question: str, reference: re.Match[str]) -> bool:
    """Whether what is referred to is there: in another paragraph than the reference, or between quotation marks."""
    before = question[: reference.start()].rpartition("\n")[0].strip()
    after = question[reference.end() :].partition("\n")[2].strip()
    quoted = _QUOTED.search(question)
    inside = next(filter(None, quoted.groups()), "") if quoted else ""
    return any(text and estimate_tokens(text) >= _LEAST for text in (before, after, inside))


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
