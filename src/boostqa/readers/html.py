"""HTML: the main text as Markdown, with headings, code, tables, lists and formulas kept.

Extraction is resiliparse's. Before it, what plain text would lose (levels of headings, code, tables,
formulas) is written as Markdown into the page, by patterns over its source: ten times cheaper than walks
through its tree. The patterns are linear, and what they miss the extractor still treats as text. The extractor
is not: it looks at what is around each <div>, so that a page of very deep ones is refused.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import msgspec

from boostqa.readers.files import UnreadableError
from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import items
from boostqa.readers.maths import latex_of_markup
from boostqa.readers.threads import THREAD, answered

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
_MARKS = re.compile(r"<(?:/a>|(?:h([1-6])|/?pre|img|table|[uo]l)(?=[\s>])[^<>]*>)")
_CAPITAL_MARKS = re.compile(_MARKS.pattern, re.IGNORECASE)
"""The same for a page in capitals, which takes twice as long."""
_CAPITALS = re.compile(r"<(?:!DOCTYPE )?(?:HTML|HEAD|BODY|TITLE|TABLE|P)\b")
_HASHES = {str(level): "#" * level + " " for level in range(1, 7)}
# A body ends at the next tag of its own kind, and nothing is read twice: what never closes takes linear time.
_MATH = re.compile(
    r"<(\w+:)?math\b([^<>]*)>([^<]*+(?:<(?!/?(?:\w+:)?math\b)[^<]*+)*+)</(?:\w+:)?math>", re.DOTALL
)
_ANNOTATION = re.compile(
    r"<annotation\b(?=[^<>]*tex)[^<>]*>([^<]*+(?:<(?!/?annotation\b)[^<]*+)*+)</annotation>",
    re.DOTALL | re.IGNORECASE,
)
_TEX_SCRIPT = re.compile(
    r"<script\b(?=[^<>]*type=[\"']?math/tex)([^<>]*)>([^<]*+(?:<(?!/?script\b)[^<]*+)*+)</script>",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"\b(alt|class|alttext|display)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_TABLE = re.compile(r"<table\b[^<]*+(?:<(?!/?table\b)[^<]*+)*+</table>", re.IGNORECASE)
_ROW = re.compile(r"<tr\b[^<>]*>", re.IGNORECASE)
_CELL = re.compile(r"<t[dh]\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_LATEX = re.compile(r"\\[a-zA-Z]+|\^\{?\w|_\{|^\$.*\$$")
_DISPLAY = re.compile(r"^\{\\(?:display|text)style\s*(.*)\}$", re.DOTALL)
_MATHS_CLASSES = frozenset(
    ("math", "tex", "latex", "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display")
)
_CANONICAL = re.compile(r"<link\b(?=[^<>]*\brel=[\"']?canonical)[^<>]*>", re.IGNORECASE)
_HREF = re.compile(r"\bhref=[\"'](https?://[^\"'<>\s]+)", re.IGNORECASE)
_LIST_TAG = re.compile(r"</?(?:ul|ol|li)(?:\s[^<>]*)?>", re.IGNORECASE)
_INDENTED_FENCE = re.compile(r"^[ \t]+```", re.MULTILINE)
_SHORT_LIST = 3000
"""Characters of a list's source up to which the extractor may take it for a menu."""
_CLOSING = "\ue000"
"""Private character before a fence that closes a code block."""
_LINKED = "\ue001"
"""Private character behind the text of a link."""
_HEAD = 2000
"""Characters at a page's beginning that tell whether its tags are in capitals."""
_LINKED_END = f"{_LINKED}</a>"
_LINK = 40
"""Characters of a link's text up to which it may be one of a bar or list of links."""
_DIV = re.compile(r"<(/?)[dD][iI][vV](?=[\s/>])")
_STEP = {"": 1, "/": -1}
_DEEPEST = 512
"""Elements inside one another, as in browsers' parsers."""
_WORD = re.compile(r"[^\W_]")
_SENTENCE_END = (".", "!", "?", ":", "。", "！", "？", "：")
_SKIPPED = [
    "a.headerlink, a.anchor, a.anchor-link, td.linenos, span.linenos, .katex-html, .MathJax_Preview, .MathJax, "
    "mjx-container, .mw-editsection, .noprint, .printonly"
]


def read_html(data: bytes) -> Iterator[Raw | BadRow]:
    """Question items and one text item of a page; `empty_page` if it has no main text."""
    return page_items(data)


def page_items(data: bytes, whole: bool = False) -> Iterator[Raw | BadRow]:
    """As `read_html`; with `whole`, all of the page is its main text, as it is in a book."""
    text = _decoded(data)
    title, url, main = main_text(text, whole)
    pairs = list(answered(text))
    for pair in pairs:
        yield msgspec.structs.replace(pair, url=url, heading=[title] if title else [])
    if not main.strip():
        if not pairs:
            raise UnreadableError("empty_page", title[:200])
        return
    if any(pair.question_type == THREAD for pair in pairs):
        # The main text of a thread is the same questions with whatever else was said.
        return
    heading = [title] if title and not re.search(r"^# ", main, re.MULTILINE) else []
    for found in items(main, heading):
        # Lines of the extracted text are not lines of the file.
        yield msgspec.structs.replace(found, line=None, url=url) if isinstance(found, Raw) else found


def _decoded(data: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        stated = _CHARSET.search(data[:4096])
        for name in (stated[1].decode() if stated else "", detect_encoding(data) or "cp1252"):
            try:
                return data.decode(name, "replace") if name else ""
            except LookupError:
                continue
    return data.decode("cp1252", "replace")


def main_text(page: str, whole: bool = False) -> tuple[str, str | None, str]:
    """(title, canonical address, main text as Markdown) of a page.

    Raises:
        UnreadableError: `nested_too_deep`.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    head = page.find("</head>")
    canonical = _CANONICAL.search(page, 0, head if head > 0 else len(page))
    href = _HREF.search(canonical[0]) if canonical else None
    tree = HTMLTree.parse(_marked(page))
    if tree.body is None:
        return "", None, ""
    _refuse_deep(page, tree)
    text = extract_plain_text(
        tree, main_content=not whole, alt_texts=False, preserve_formatting=True, skip_elements=_SKIPPED
    )
    return " ".join((tree.title or "").split()), html.unescape(href[1]) if href else None, _tidy(text)


def _refuse_deep(page: str, tree: Any) -> None:
    """Raises UnreadableError where an element is deeper than that."""
    from resiliparse.parse.html import DOMContext, traverse_dom

    if page.count("<d") + page.count("<D") <= _DEEPEST:  # nearly all pages
        return
    # From the source, which is quick; a <div> that a parser closes by itself seems open, so the tree has the word.
    if max(accumulate(map(_STEP.__getitem__, _DIV.findall(page))), default=0) <= _DEEPEST:
        return

    def look(context: DOMContext) -> None:
        if context.depth > _DEEPEST:
            raise UnreadableError("nested_too_deep", f"more than {_DEEPEST} elements inside one another")

    traverse_dom(tree.body, look, elements_only=True)


def _marked(page: str) -> str:
    """The page with Markdown where its text alone would lose something."""
    if "math" in page:
        page = _TEX_SCRIPT.sub(lambda m: _dollars(m[2], "mode=display" in m[1]), page)
        page = _MATH.sub(_math, page)
    seen: set[str] = set()

    def mark(match: re.Match[str]) -> str:
        tag = match[0]
        if tag[2] in "aA" and tag[1] == "/":
            return _LINKED_END
        if match[1]:
            return tag + _HASHES[match[1]]
        if tag[1] in "iI":
            return _image(tag) if "alt=" in tag else tag
        seen.add(tag[1:3].lower())
        if tag[1] == "/":
            return f"\n{_CLOSING}```</pre>" if tag[2] in "pP" else _LINKED_END
        return tag + "\n```\n" if tag[1] in "pP" else tag

    capitals = _CAPITALS.search(page, 0, _HEAD) is not None
    page = (_CAPITAL_MARKS if capitals else _MARKS).sub(mark, page)
    if "pr" in seen:
        # Sphinx puts an empty block beside each line break of a program.
        page = page.replace('<div class="newline"></div>', "")
    if "ta" in seen:
        page = _TABLE.sub(_table, page)
    for kind in ("ul", "ol"):
        if kind in seen:
            page = _short_lists(page, kind)
    return page


def _dollars(tex: str, display: bool) -> str:
    tex = " ".join(tex.split())
    tex = _DISPLAY.sub(r"\1", tex).strip()
    if not tex:
        return ""
    # A dollar in it would end the formula, and an angle bracket would be taken for a tag.
    mark = "$$" if display else "$"
    return f"<span>{mark}{tex.replace('<', '&lt;')}{mark}</span>"


def _math(match: re.Match[str]) -> str:
    attributes = {name.lower(): a or b for name, a, b in _ATTRIBUTE.findall(match[2])}
    source = _ANNOTATION.search(match[3])
    if source:
        tex = html.unescape(_TAG.sub("", source[1]))
    elif "alttext" in attributes:
        tex = html.unescape(attributes["alttext"])
    else:
        tex = latex_of_markup(match[0])
    return _dollars(tex, attributes.get("display") == "block")


def _image(tag: str) -> str:
    attributes = {name.lower(): a or b for name, a, b in _ATTRIBUTE.findall(tag)}
    alt = html.unescape(attributes.get("alt", "")).strip()
    if not alt or not (
        _LATEX.search(alt) or not _MATHS_CLASSES.isdisjoint(attributes.get("class", "").split())
    ):
        return tag
    return _dollars(alt.strip("$"), alt.startswith("$$"))


def _table(match: re.Match[str]) -> str:
    """A data table as Markdown; what has one row or column, long cells, code or lists is layout and stays."""
    body = match[0]
    if "<pre" in body or "<li" in body:
        return body
    rows = []
    for row in _ROW.split(body)[1:]:
        cells = [" ".join(_TAG.sub(" ", cell).split()) for cell in _CELL.split(row)[1:]]
        if any(cells):
            rows.append([cell.replace("|", "\\|") for cell in cells])
    width = max(map(len, rows), default=0)
    if len(rows) < 2 or width < 2 or max(len(cell) for row in rows for cell in row) > 600:
        return body
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * width)
    return "<pre>" + "\n".join(lines) + "</pre>"


def _short_lists(page: str, kind: str) -> str:
    """Short lists without links as lines: the extractor takes them for menus, but menus have links."""
    parts: list[str] = []
    done = position = 0
    opening, closing = f"<{kind}", f"</{kind}>"
    while (end := page.find(closing, position)) >= 0:
        start = page.rfind(opening, max(position, end - _SHORT_LIST), end)
        position = end + len(closing)
        if start >= 0 and all(page.find(tag, start, end) < 0 for tag in ("<a ", "<p", "<div")):
            parts += (page[done:start], _short_list(page[start:position], kind))
            done = position
    parts.append(page[done:])
    return "".join(parts)


def _short_list(source: str, kind: str) -> str:
    number = 0

    def mark(tag: re.Match[str]) -> str:
        nonlocal number
        name = tag[0].strip("</>").split()[0].lower()
        if name != "li":
            return "</div>" if tag[0][1] == "/" else "<div>"
        if tag[0][1] == "/":
            return ""
        number += 1
        return f"<br>{number}. " if kind == "ol" else "<br>- "

    return _LIST_TAG.sub(mark, source)


def _tidy(text: str) -> str:
    if _LINKED in text:
        text = _without_bars(text)
    text = text.replace(f"\n\n{_CLOSING}", f"\n{_CLOSING}").replace(_CLOSING, "")
    text = text.replace("• ", "- ").replace("¶", "").replace(" \n", "\n")
    if " ```" in text:
        text = _INDENTED_FENCE.sub("```", text)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip()


def _without_bars(text: str) -> str:
    """Without lines of nothing but short links, where two stand in a line or three lines together."""
    kept: list[str] = []
    dropped: set[int] = set()
    single: list[int] = []
    for line in text.split("\n"):
        bare = False
        if _LINKED in line:
            *links, rest = line.split(_LINKED)
            bare = _is_bar(links, rest)
        if bare and len(links) > 1:
            continue
        if bare:
            single.append(len(kept))
        elif single and line:
            if len(single) > 2:
                dropped.update(single)
            single = []
        kept.append(line)
    if len(single) > 2:
        dropped.update(single)
    return "\n".join(one for i, one in enumerate(kept) if i not in dropped).replace(_LINKED, "")


def _is_bar(links: list[str], rest: str) -> bool:
    """Whether a line, given in pieces that each end with a link, is for finding one's way and not for reading."""
    return (
        not _WORD.search(rest)
        and max(map(len, links)) <= _LINK
        and not rest.rstrip().endswith(_SENTENCE_END)
        and any(map(_WORD.search, links))
    )
