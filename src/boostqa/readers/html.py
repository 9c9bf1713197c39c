"""HTML: the main text as Markdown, with headings, code, tables and formulas kept.

Extraction is resiliparse's; before it, the parts that plain text would lose are replaced by their Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from boostqa.readers.files import DamagedError, excerpt, read_whole
from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import items

_LATEX = re.compile(r"\\[a-zA-Z]+|\^\{?\w|_\{|^\$.*\$$")
_FILE = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp)", re.IGNORECASE)
_DISPLAY = re.compile(r"^\{\\displaystyle\s*(.*)\}$", re.DOTALL)
_TEX_SCRIPT = "script[type^='math/tex']"
_MATHS_CLASSES = ("math", "tex", "latex", "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display")
_LINK = 40
"""Characters of a link's text up to which it may be one of a bar of links."""
_MARK = "\ue000"
"""Private character that stands for a line break or blank which extraction must not touch."""


def read_html(path: str) -> Iterator[Raw | BadRow]:
    """Question items and one text item of a page; `empty_page` if it has no main text."""
    from resiliparse.parse.encoding import detect_encoding

    try:
        data = read_whole(path)
    except DamagedError as error:
        yield BadRow(line=0, reason="damaged_file", excerpt=excerpt(error))
        return
    if data is None:
        yield BadRow(line=0, reason="file_too_large", excerpt="a page of more than 64 MB")
        return
    try:
        html = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        html = data.decode(detect_encoding(data) or "cp1252", "replace")
    title, url, text = main_text(html)
    if not text.strip():
        yield BadRow(line=0, reason="empty_page", excerpt=excerpt(title))
        return
    for found in items(text, [title] if title and not re.search(r"^# ", text, re.MULTILINE) else []):
        if isinstance(found, Raw):
            # Lines of the extracted text are not lines of the file.
            yield Raw(
                **{
                    name: getattr(found, name)
                    for name in Raw.__struct_fields__
                    if name not in ("line", "url")
                },
                url=url,
            )
        else:
            yield found


def main_text(html: str) -> tuple[str, str | None, str]:
    """(title, canonical address, main text as Markdown) of a page."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html.replace(_MARK, ""))
    if tree.body is None:
        return "", None, ""
    for link in tree.body.query_selector_all("a.headerlink, a.anchor, a.anchor-link"):
        link.decompose()
    _furniture(tree)
    _formulas(tree)
    _code(tree)
    _tables(tree)
    _lists(tree)
    for level in range(1, 7):
        for heading in tree.body.query_selector_all(f"h{level}"):
            title_text = " ".join((heading.text or "").replace("¶", "").split())
            _replace(tree, heading, "p", "#" * level + " " + title_text)
    text = extract_plain_text(tree, main_content=True, alt_texts=True, preserve_formatting=True)
    text = "\n".join(
        line.rstrip() for line in text.replace(_MARK + "n", "\n").replace(_MARK + "s", " ").split("\n")
    )
    text = re.sub(r"^ *• +", "- ", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\n)(- [^\n]*\n)\n(?=- )", r"\1", text)
    canonical = tree.head.query_selector("link[rel='canonical']") if tree.head else None
    url = canonical.getattr("href") if canonical else None
    url = url if url and url.startswith(("http://", "https://")) else None
    return " ".join((tree.title or "").split()), url, re.sub(r"\n{3,}", "\n\n", text).strip()


def _replace(tree: Any, node: Any, tag: str, text: str) -> None:
    if node.parent is None:
        return
    new = tree.create_element(tag)
    new.text = text
    node.parent.replace_child(new, node)


def _guard(text: str) -> str:
    """Line breaks and indentation in a form that survives white space collapsing."""
    return re.sub(r" (?= )|(?<= ) |^ ", _MARK + "s", text, flags=re.MULTILINE).replace("\n", _MARK + "n")


def _furniture(tree: Any) -> None:
    """Removes blocks of nothing but short links and buttons, such as share bars: they are for the page."""
    # Inner blocks first: what is removed is not looked at again, and an emptied outer one has no links.
    for node in reversed(list(tree.body.query_selector_all("div, p, ul, ol, section"))):
        links = [" ".join((link.text or "").split()) for link in node.query_selector_all("a, button")]
        if len(links) < 2 or max(map(len, links)) > _LINK or node.query_selector("img, math, pre, table"):
            continue
        letters = sum(map(str.isalnum, node.text or ""))
        if letters == sum(map(str.isalnum, "".join(links))):
            node.decompose()


def _formulas(tree: Any) -> None:
    """MathML, TeX scripts and images of formulas as $...$ or $$...$$."""
    for node in tree.document.query_selector_all(_TEX_SCRIPT):
        mark = "$$" if "display" in (node.getattr("type") or "") else "$"
        _replace(tree, node, "span", f"{mark}{node.text.strip()}{mark}")
    for node in tree.body.query_selector_all("math"):
        source = node.query_selector("annotation[encoding='application/x-tex']")
        tex = source.text.strip() if source else node.getattr("alttext") or ""
        tex = _DISPLAY.sub(r"\1", tex)
        if tex:
            mark = "$$" if node.getattr("display") == "block" else "$"
            _replace(tree, node, "span", f"{mark}{tex}{mark}")
    for node in tree.body.query_selector_all("img"):
        alt = (node.getattr("alt") or "").strip()
        maths = any(name in _MATHS_CLASSES for name in (node.getattr("class") or "").split())
        if _FILE.fullmatch(alt):
            node.setattr("alt", "")
        elif alt and (maths or _LATEX.search(alt)):
            alt = _DISPLAY.sub(r"\1", alt)
            _replace(tree, node, "span", alt if alt.startswith("$") else f"${alt}$")


def _code(tree: Any) -> None:
    for node in tree.body.query_selector_all("pre"):
        code = node.text.strip("\n")
        if code.strip():
            _replace(tree, node, "p", _guard(f"```\n{code}\n```"))


def _lists(tree: Any) -> None:
    """Flat lists without links as Markdown: the extractor takes them for menus, but menus have links."""
    for node in tree.body.query_selector_all("ul, ol"):
        if node.closest("nav, header, footer, aside") or node.query_selector("a, ul, ol, p, pre"):
            continue
        entries = [" ".join((entry.text or "").split()) for entry in node.query_selector_all("li")]
        marks = [f"{i}." if node.tag == "ol" else "-" for i in range(1, len(entries) + 1)]
        lines = [f"{mark} {entry}" for mark, entry in zip(marks, entries, strict=True) if entry]
        if lines and not node.closest("li"):
            _replace(tree, node, "p", _guard("\n".join(lines)))


def _tables(tree: Any) -> None:
    """Data tables as Markdown; nested ones, or of one row or column, are layout and stay."""
    for table in tree.body.query_selector_all("table"):
        if table.query_selector("table") or table.closest("table table"):
            continue
        rows = [
            [" ".join(cell.text.split()).replace("|", "\\|") for cell in row.query_selector_all("td, th")]
            for row in table.query_selector_all("tr")
        ]
        rows = [row for row in rows if any(row)]
        width = max(map(len, rows), default=0)
        if len(rows) < 2 or width < 2 or max(len(cell) for row in rows for cell in row) > 600:
            continue
        lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
        lines.insert(1, "|" + " --- |" * width)
        _replace(tree, table, "p", _guard("\n".join(lines)))
