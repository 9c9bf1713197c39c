"""DOCX: paragraphs, headings, lists, tables and formulas of an office document as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from boostqa.readers.epub import open_package, parse_xml, read_part
from boostqa.readers.files import Limits
from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import items
from boostqa.readers.maths import latex

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"


def read_docx(data: bytes, limits: Limits) -> Iterator[Raw | BadRow]:
    """Question items and one text item of a document; deleted text, notes, headers and footers are left out.

    Raises:
        UnreadableError: `damaged_file`, `password_protected`, `file_too_large`, `expands_too_much`,
            `xml_entities`.
    """
    with open_package(data) as packed:
        names = set(packed.namelist())
        body = parse_xml(read_part(packed, "word/document.xml", limits)).find(f"{_W}body")
        levels = (
            _levels(parse_xml(read_part(packed, "word/styles.xml", limits)))
            if "word/styles.xml" in names
            else {}
        )
        title = ""
        if "docProps/core.xml" in names:
            title = parse_xml(read_part(packed, "docProps/core.xml", limits)).findtext(_TITLE) or ""
    blocks = [_block(node, levels) for node in (body if body is not None else ())]
    text = ""
    for block in filter(None, blocks):
        text += ("\n" if text.rpartition("\n")[2][:2] == block[:2] == "- " else "\n\n") + block
    yield from items(text.strip(), [title.strip()] if title.strip() else [])


def _levels(styles: Any) -> dict[str, int]:
    """Style id -> level of heading, 1..6, by the styles' own outline levels and names."""
    found = {}
    for style in styles.iter(f"{_W}style"):
        name = style.find(f"{_W}name")
        name = (name.get(f"{_W}val") if name is not None else "").lower()
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        if name == "title":
            found[style.get(f"{_W}styleId")] = 1
        elif outline is not None and outline.get(f"{_W}val", "9").isdigit():
            level = int(outline.get(f"{_W}val")) + 1
            if level <= 6:
                found[style.get(f"{_W}styleId")] = level
        elif name.startswith("heading ") and name[8:].isdigit():
            found[style.get(f"{_W}styleId")] = min(6, int(name[8:]))
    return found


def _block(node: Any, levels: dict[str, int]) -> str:
    if node.tag == f"{_W}tbl":
        return _table(node)
    if node.tag == f"{_W}sdt":
        content = node.find(f"{_W}sdtContent")
        return (
            "\n\n".join(filter(None, (_block(part, levels) for part in content)))
            if content is not None
            else ""
        )
    if node.tag != f"{_W}p":
        return ""
    text = " ".join(_text(node).split(" ")).strip()
    settings = node.find(f"{_W}pPr")
    style = settings.find(f"{_W}pStyle") if settings is not None else None
    name = style.get(f"{_W}val", "") if style is not None else ""
    if not text:
        return ""
    if name in levels:
        return "#" * levels[name] + " " + " ".join(text.split())
    listed = settings is not None and settings.find(f"{_W}numPr") is not None
    return "- " + text if listed or name.startswith("List") else text


def _text(node: Any) -> str:
    """A paragraph's text: runs, line breaks, and formulas as $...$, or $$...$$ where they stand alone."""
    parts = []
    for part in node:
        if part.tag == f"{_W}t":
            parts.append(part.text or "")
        elif part.tag == f"{_W}tab":
            parts.append(" ")
        elif part.tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif part.tag == f"{_M}oMath":
            parts.append(f"${latex(part).strip()}$")
        elif part.tag == f"{_M}oMathPara":
            parts += [f"\n$$\n{latex(one).strip()}\n$$\n" for one in part if one.tag == f"{_M}oMath"]
        elif part.tag not in (f"{_W}del", f"{_W}pPr", f"{_W}rPr", f"{_W}instrText"):
            parts.append(_text(part))
    return "".join(parts)


def _table(node: Any) -> str:
    rows = [
        [
            " ".join(" ".join(map(_text, cell.iter(f"{_W}p"))).split()).replace("|", "\\|")
            for cell in row.findall(f"{_W}tc")
        ]
        for row in node.findall(f"{_W}tr")
    ]
    width = max(map(len, rows), default=0)
    if not width:
        return ""
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])
