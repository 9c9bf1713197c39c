"""Lines that are for finding one's way and not for reading, and lines that a document repeats, taken out.

Looks at whole lines only, so that no sentence loses a part; code, tables and formulas are left alone. What
goes leaves an empty line, so line numbers stay.
"""

from __future__ import annotations

import re
from collections import Counter

_PHRASES = frozenset(
    """
    skip to content|skip to main content|back to top|table of contents|share this|share this page|share|tweet|print|
    print this page|report an error|edit this page|edit on github|view page source|show source|improve this page|
    previous|next|prev|home|menu|search|log in|sign in|sign up|register|subscribe|contact us|about us|read more|
    learn more|load more|show more|see also|related articles|related posts|you may also like|advertisement|
    sponsored|comments|leave a comment|leave a reply|privacy policy|terms of use|terms of service|cookie policy|
    cookie settings|accept all cookies|accept cookies|all rights reserved|was this page helpful?|follow us|
    newsletter|download pdf|permalink|copyright|
    上一页|下一页|上一篇|下一篇|首页|返回顶部|返回首页|目录|分享|打印|收藏|登录|注册|搜索|相关阅读|相关文章|
    点击下载|扫码关注|版权所有|用户协议|隐私政策|联系我们|关于我们|阅读更多|查看更多|上一节|下一节
    """.replace("\n", "")
    .replace("    ", "")
    .split("|")
)
_RIGHTS = re.compile(
    r"(?:©|\(c\)|copyright\b|版权所有).{0,120}|"
    r".{0,120}\b(?:all rights reserved|privacy policy|terms of (?:use|service))\W*",
    re.IGNORECASE,
)
_DIRECTIVE = re.compile(
    r"\s*\.\. _[^:]+:\s*|"
    r"\s*\.\. (?:auto\w+|(?:py:)?(?:module|currentmodule|class|function)|toctree|index|highlight|contents)::.*|"
    r"\s+:(?:(?:(?:undoc|inherited|exclude|private|special)-)?members|show-inheritance|titlesonly|maxdepth|hidden|glob|"
    r"noindex|nosignatures):.*"
)
"""Lines by which Sphinx puts other texts in or names a place."""
_EDGE = " \t.:|·•»«›‹→←#*_-[]()"
_SHORT = 160
"""Characters up to which a line may be boilerplate."""
_REPEATS = 3
"""How often a line stands in a document that is a running title and not a coincidence."""
_LEAST = 12
"""Characters from which a repeated line counts; shorter ones are items of lists and names of sections."""
_FENCE = re.compile(r"\s*(?:```|~~~|\$\$)")


def without(text: str) -> tuple[str, int]:
    """The text without such lines, and how many there were; of a repeated line the first stays."""
    lines = text.split("\n")
    repeats = len(set(lines)) < len(lines) - max(0, lines.count("") - 1)
    counts = Counter(lines) if repeats else None
    gone: list[int] = []
    seen: set[str] = set()
    fenced = False
    for number, line in enumerate(lines):
        if not line:
            continue
        if (
            line[:3] == "~~~"
            and number
            and len(lines[number - 1].strip()) == len(line.strip()) == line.count("~")
        ):
            # What underlines a heading opens no code.
            continue
        if line[0] in "`~$ \t" and _FENCE.match(line):
            fenced ^= line.count("$$") != 2
        elif fenced or len(line) > _SHORT:
            continue
        elif counts is not None and counts[line] >= _REPEATS and _may_repeat(line):
            if line in seen:
                gone.append(number)
            seen.add(line)
        elif _is_phrase(line):
            gone.append(number)
    for number in gone:
        lines[number] = ""
    return ("\n".join(lines), len(gone)) if gone else (text, 0)


def _may_repeat(line: str) -> bool:
    """Tables, formulas, headings and lists may say the same again."""
    return len(line) >= _LEAST and line[0] not in "|#-*+>$\\ \t0123456789" and any(map(str.isalpha, line))


def _is_phrase(line: str) -> bool:
    if ":" in line and line.lstrip()[:1] in (".", ":") and _DIRECTIVE.fullmatch(line):
        return True
    bare = line.strip(_EDGE).lower()
    if len(bare) < 40 and bare in _PHRASES and bare:
        return line[:1] != "#"
    return (
        "©" in line
        or "ights" in line
        or "olicy" in line
        or "erms of" in line
        or "版权" in line
        or "(c)" in bare
    ) and (_RIGHTS.fullmatch(line.strip()) is not None)
