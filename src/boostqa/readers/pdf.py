"""PDF with a text layer; needs the extra `pdf`. Pages that are only pictures are named, not read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from boostqa.errors import UserError
from boostqa.readers.files import DamagedError, excerpt, read_whole
from boostqa.readers.items import BadRow, Raw
from boostqa.readers.markdown import items

_PAGE_NUMBER = re.compile(
    r"\s*(?:page\s+)?[-–]?\s*\d{1,4}\s*[-–]?(?:\s*(?:of|/)\s*\d{1,4})?\s*", re.IGNORECASE
)


def read_pdf(path: str) -> Iterator[Raw | BadRow]:
    """Question items and one text item per page, `line` is the page; bad pages as `scanned_page`.

    A file with a password is the bad row `password_protected`, any other unreadable one `damaged_file`.

    Raises:
        UserError: if pypdfium2 is not installed.
    """
    try:
        import pypdfium2 as pdfium
    except ImportError as error:
        raise UserError(f"{path}: reading PDF needs a further package: pip install boostqa[pdf]") from error
    try:
        data = read_whole(path)
    except DamagedError as error:
        yield BadRow(line=0, reason="damaged_file", excerpt=excerpt(error))
        return
    if data is None:
        yield BadRow(line=0, reason="file_too_large", excerpt="a PDF of more than 64 MB; split it")
        return
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        reason = "password_protected" if "password" in str(error).lower() else "damaged_file"
        yield BadRow(line=0, reason=reason, excerpt=excerpt(error))
        return
    title = str(document.get_metadata_value("Title") or "").strip()
    for number in range(1, len(document) + 1):
        page = document[number - 1]
        try:
            layer = page.get_textpage()
            text = page_text(layer.get_text_range())
            layer.close()
            # A blank page has nothing on it; a scanned one has a picture.
            drawn = bool(text) or next(iter(page.get_objects(max_depth=1)), None) is not None
        except pdfium.PdfiumError as error:
            yield BadRow(line=number, reason="damaged_page", excerpt=excerpt(error))
            continue
        finally:
            page.close()
        if len(text) < 8:
            if drawn:
                yield BadRow(line=number, reason="scanned_page", excerpt="no text layer; run OCR first")
            continue
        yield from items(text, [title] if title else [], line=number)
    document.close()


def page_text(raw: str) -> str:
    """A page's text in paragraphs: hyphenated words and wrapped lines joined, page numbers gone.

    A line goes on in the next unless it ends a sentence or is much shorter than the widest; what starts like
    a list item, a question or an answer begins a new line.
    """
    # pdfium marks a hyphen at a line's end with U+FFFE or U+0002.
    text = re.sub("[\ufffe\x02]\r?\n?", "", raw).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if not _PAGE_NUMBER.fullmatch(line) or not line]
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
