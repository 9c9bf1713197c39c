"""PDF with a text layer; needs the extra `pdf`. Pages that are only pictures are named, not read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from boostqa.errors import UserError
from boostqa.readers.files import UnreadableError, excerpt
from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import items

_PAGE_NUMBER = re.compile(
    r"\s*(?:page\s+)?[-–]?\s*\d{1,4}\s*[-–]?(?:\s*(?:of|/)\s*\d{1,4})?\s*", re.IGNORECASE
)

_EDGE = 2
"""Lines at the top and at the bottom of a page among which its running title and footer are."""


def read_pdf(data: bytes) -> Iterator[Raw | BadRow]:
    """Question items and one text item per page, `line` is the page; bad pages as `scanned_page`.

    Page numbers, and titles and footers that most pages have, are left out.

    Raises:
        UserError: if pypdfium2 is not installed.
        UnreadableError: `password_protected`, or `damaged_file` for any other file that cannot be read.
    """
    try:
        import pypdfium2 as pdfium
    except ImportError as error:
        raise UserError("reading PDF needs a further package: pip install boostqa[pdf]") from error
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        reason = "password_protected" if "password" in str(error).lower() else "damaged_file"
        raise UnreadableError(reason, excerpt(error)) from error
    title = str(document.get_metadata_value("Title") or "").strip()
    pages = [_layer(document, number) for number in range(1, len(document) + 1)]
    document.close()
    running = running_lines([page[0] for page in pages if not isinstance(page, BadRow)])
    for number, page in enumerate(pages, 1):
        if isinstance(page, BadRow):
            yield page
            continue
        text = page_text(page[0], running)
        if len(text) >= 8:
            yield from items(text, [title] if title else [], line=number)
        elif text or page[1]:
            yield BadRow(line=number, reason="scanned_page", excerpt="no text layer; run OCR first")


def _layer(document: Any, number: int) -> tuple[str, bool] | BadRow:
    """A page's text as it lies on the page, and whether anything is drawn there: a blank page has nothing."""
    import pypdfium2 as pdfium

    page = document[number - 1]
    try:
        layer = page.get_textpage()
        text = str(layer.get_text_range())
        layer.close()
        return text, next(iter(page.get_objects(max_depth=1)), None) is not None
    except pdfium.PdfiumError as error:
        return BadRow(line=number, reason="damaged_page", excerpt=excerpt(error))
    finally:
        page.close()


def running_lines(pages: list[str]) -> frozenset[str]:
    """Titles and footers: lines, without their numbers, among the first or last two of most of the pages.

    Fewer than three pages have none: two that begin alike prove nothing.
    """
    counts: Counter[str] = Counter()
    for page in pages:
        keys = [_key(line) for line in page.splitlines() if line.strip() and not _PAGE_NUMBER.fullmatch(line)]
        counts.update({*keys[:_EDGE], *keys[-_EDGE:]})
    filled = sum(bool(page.strip()) for page in pages)
    return frozenset(key for key, count in counts.items() if count >= 3 and 2 * count > filled)


def _key(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.split()).casefold())


def page_text(raw: str, running: frozenset[str] = frozenset()) -> str:
    """A page's text in paragraphs: hyphenated words and wrapped lines joined, page numbers gone.

    So are, at its edges, the lines that `running_lines` found. A line goes on in the next unless it ends a
    sentence or is much shorter than the widest; what starts like a list item, a question or an answer begins
    a new line.
    """
    # pdfium marks a hyphen at a line's end with U+FFFE or U+0002.
    text = re.sub("[\ufffe\x02]\r?\n?", "", raw).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if not _PAGE_NUMBER.fullmatch(line) or not line]
    filled = [i for i, line in enumerate(lines) if line]
    edges = {i for i in (*filled[:_EDGE], *filled[-_EDGE:]) if _key(lines[i]) in running}
    lines = [line for i, line in enumerate(lines) if i not in edges]
    widest = max(map(len, lines), default=0)
    joined: list[str] = []
    ended = True
    for line in lines:
        begins = re.match(
            r"(?:[-•*]|\d{1,2}[.)]|[A-J][.)]|[QA问答][:：]|Question|Answer|Solution|答案|解析)", line
        )
        if not line or ended or begins or not joined:
            joined.append(line)
        else:
            gap = (
                ""
                if re.search("[\u3040-\u9fff，、。]$", joined[-1]) and re.match("[\u3040-\u9fff]", line)
                else " "
            )
            joined[-1] += gap + line
        ended = (
            not line
            or len(line) < 0.6 * widest
            or line.endswith((".", "?", "!", "。", "？", "！", ":", "："))
        )
    return re.sub(r"\n{3,}", "\n\n", "\n".join(joined)).strip()
