"""HTML: the main text as Markdown, with headings, code, tables, lists and formulas kept.

Extraction is resiliparse's. Before it, what plain text would lose (levels of headings, code, tables,
formulas) is written as Markdown into the page, by patterns over its source: ten times cheaper than walks
through its tree. The patterns are linear, and what they miss the extractor still treats as text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import msgspec

from boostqa.readers.files import UnreadableError
from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import items
from boostqa.readers.maths import latex_of_markup
from boostqa.readers.threads import answered

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
_HEADING = re.compile(r"<h([1-6])(?:\s[^<>]*)?>", re.IGNORECASE)
_HASHES = {str(level): "#" * level + " " for level in range(1, 7)}
_PRE = re.compile(r"<pre(?:[ \t][^<>]*)?>|</pre>", re.IGNORECASE)
_MATH = re.compile(r"<(\w+:)?math\b([^<>]*)>(.*?)</(?:\w+:)?math>", re.DOTALL)
_ANNOTATION = re.compile(r"<annotation\b[^<>]*tex[^<>]*>(.*?)</annotation>", re.DOTALL | re.IGNORECASE)
_TEX_SCRIPT = re.compile(
    r"<script\b[^<>]*type=[\"']?math/tex([^<>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE
)
_IMAGE = re.compile(r"<img\b[^<>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\b(alt|class|alttext|display)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_TABLE = re.compile(r"<table\b(?:(?!<table\b).)*?</table>", re.DOTALL | re.IGNORECASE)
_ROW = re.compile(r"<tr\b[^<>]*>", re.IGNORECASE)
_CELL = re.compile(r"<t[dh]\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_LATEX = re.compile(r"\\[a-zA-Z]+|\^\{?\w|_\{|^\$.*\$$")
_DISPLAY = re.compile(r"^\{\\(?:display|text)style\s*(.*)\}$", re.DOTALL)
_MATHS_CLASSES = frozenset(
    ("math", "tex", "latex", "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display")
)
_CANONICAL = re.compile(r"<link\b[^<>]*\brel=[\"']?canonical[^<>]*>", re.IGNORECASE)
_HREF = re.compile(r"\bhref=[\"'](https?://[^\"'<>\s]+)", re.IGNORECASE)
_LIST_TAG = re.compile(r"<(/?)(ul|ol|li|a|pre)(?:\s[^<>]*)?>", re.IGNORECASE)
_BLANKS = re.compile(r"\n{3,}")
_INDENTED_FENCE = re.compile(r"^[ \t]+```", re.MULTILINE)
_BULLET = re.compile(r"^( *)• +", re.MULTILINE)
_ENDS = re.compile(r"[ \t¶]+$", re.MULTILINE)
_LOOSE = re.compile(r"(?<=\n)((?:-|\d{1,3}\.) [^\n]*\n)\n(?=(?:-|\d{1,3}\.) )")
_CLOSING = "\ue000"
"""Private character before a fence that closes a code block."""
_FROM, _TO = "\ue001", "\ue002"
"""Private characters before and behind the text of a link."""
_LINKS = re.compile(f"{_FROM}([^{_TO}\n]*){_TO}?")
_LINK = 40
"""Characters of a link's text up to which it may be one of a bar or list of links."""
_WORD = re.compile(r"[^\W_]")
_SKIPPED = [
    "a.headerlink", "a.anchor", "a.anchor-link", "td.linenos", "span.linenos", ".katex-html", ".MathJax_Preview",
    ".MathJax", "mjx-container", ".mw-editsection", ".noprint", ".printonly",
]  # fmt: skip


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
    if any(pair.question_type == "thread" for pair in pairs):
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
    """(title, canonical address, main text as Markdown) of a page."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    canonical = _CANONICAL.search(page)
    href = _HREF.search(canonical[0]) if canonical else None
    tree = HTMLTree.parse(_marked(page))
    if tree.body is None:
        return "", None, ""
    text = extract_plain_text(
        tree, main_content=not whole, alt_texts=False, preserve_formatting=True, skip_elements=_SKIPPED
    )
    return " ".join((tree.title or "").split()), html.unescape(href[1]) if href else None, _tidy(text)


def _marked(page: str) -> str:
    """The page with Markdown where its text alone would lose something."""
    if "math/tex" in page:
        page = _TEX_SCRIPT.sub(lambda m: _dollars(m[2], "display" in m[1]), page)
    if "<math" in page or ":math" in page:
        page = _MATH.sub(_math, page)
    if "alt=" in page:
        page = _IMAGE.sub(_image, page)
    page = _links(page)
    page = _HEADING.sub(lambda m: m[0] + _HASHES[m[1]], page)
    if "<table" in page:
        page = _TABLE.sub(_table, page)
    if "<ul" in page or "<ol" in page:
        page = _lists(page)
    if "<pre" in page:
        page = _PRE.sub(lambda m: f"\n{_CLOSING}```</pre>" if m[0][1] == "/" else m[0] + "\n```\n", page)
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


def _image(match: re.Match[str]) -> str:
    attributes = {name.lower(): a or b for name, a, b in _ATTRIBUTE.findall(match[0])}
    alt = html.unescape(attributes.get("alt", "")).strip()
    if not alt or not (
        _LATEX.search(alt) or not _MATHS_CLASSES.isdisjoint(attributes.get("class", "").split())
    ):
        return match[0]
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
    return "<pre\n>" + "\n".join(lines) + "</pre\n>"


def _links(page: str) -> str:
    """The page with the text of each link between two private characters."""
    first, *rest = page.replace("</a>", f"{_TO}</a>").split("<a ")
    parts = [first]
    for part in rest:
        end = part.find(">") + 1
        parts.append(f"{part[:end]}{_FROM}{part[end:]}")
    return "<a ".join(parts)


def _lists(page: str) -> str:
    """Lists without links as paragraphs: the extractor takes short ones for menus, but menus have links."""
    open_: list[list[int]] = []
    plain: list[tuple[int, int]] = []
    tags = list(_LIST_TAG.finditer(page))
    for number, tag in enumerate(tags):
        name = tag[2].lower()
        if name in ("a", "pre"):
            for entry in open_:
                entry[1] = 1
        elif name == "li":
            continue
        elif not tag[1]:
            for entry in open_:
                entry[1] = 1
            open_.append([number, 0])
        elif open_:
            first, linked = open_.pop()
            if not linked:
                plain.append((first, number))
    parts: list[str] = []
    position = 0
    for first, last in plain:
        ordered, count = tags[first][2].lower() == "ol", 0
        for tag in tags[first : last + 1]:
            parts.append(page[position : tag.start()])
            position = tag.end()
            if tag[2].lower() != "li":
                parts.append("</div>" if tag[1] else "<div>")
            elif tag[1]:
                parts.append("</p>")
            else:
                count += 1
                parts.append(f"<p>{count}. " if ordered else "<p>- ")
    return "".join(parts) + page[position:] if parts else page


def _tidy(text: str) -> str:
    if _FROM in text:
        text = _without_bars(text)
    text = text.replace(f"\n\n{_CLOSING}", f"\n{_CLOSING}").replace(_CLOSING, "")
    text = _BULLET.sub(r"\1- ", _ENDS.sub("", text))
    text = _LOOSE.sub(r"\1", _INDENTED_FENCE.sub("```", text))
    return _BLANKS.sub("\n\n", text).strip()


def _without_bars(text: str) -> str:
    """Without lines of nothing but short links, where two stand in a line or three lines together."""
    kept: list[str] = []
    single: list[int] = []
    for line in text.split("\n"):
        links = _LINKS.findall(line) if _FROM in line else []
        bare = links and max(map(len, links)) <= _LINK and not _WORD.search(_LINKS.sub("", line))
        if bare and len(links) > 1:
            continue
        if bare:
            single.append(len(kept))
        elif line.strip():
            kept = _unlisted(kept, single)
            single = []
        kept.append(line)
    return "\n".join(_unlisted(kept, single)).replace(_FROM, "").replace(_TO, "")


def _unlisted(lines: list[str], single: list[int]) -> list[str]:
    return lines if len(single) < 3 else [line for i, line in enumerate(lines) if i not in set(single)]
