"""Which format a file has: by its first bytes, and where they leave it open by its ending."""

from __future__ import annotations

import json
import re
import zipfile

from boostqa.readers.files import HEAD, Stream

ROWS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow")
"""Formats of many rows, which are streamed."""
DOCUMENTS = ("markdown", "html", "pdf", "epub", "docx", "text")
"""Formats that are read whole."""
FORMATS = (*ROWS, *DOCUMENTS, "warc")
"""What `format` in a recipe may say. Archives (zip, tar) are known by their content and hold any of these."""

_ENDINGS = {
    "jsonl": "jsonl", "ndjson": "jsonl", "json": "json", "csv": "csv", "tsv": "tsv", "tab": "tsv",
    "parquet": "parquet", "arrow": "arrow", "feather": "arrow", "md": "markdown", "markdown": "markdown",
    "html": "html", "htm": "html", "xhtml": "html", "pdf": "pdf", "txt": "text", "text": "text",
    "warc": "warc", "wet": "warc", "rst": "text", "tex": "text",
}  # fmt: skip
_PACKED = re.compile(r"\.(?:gz|gzip|zst|zstd|bz2)$", re.IGNORECASE)
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*+-->\s*+)*+<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_XML = re.compile(rb"\s*(?:<\?xml\b|<[a-zA-Z][\w:.-]*\s[^<>]{0,400}?xmlns)")


def format_of(stream: Stream) -> str | None:
    """One of FORMATS, `zip` or `tar`; None if it is none of them. Leaves the stream where it is."""
    ending = format_by_name(stream.name)
    start = stream.head().removeprefix(b"\xef\xbb\xbf")
    if signed := _by_signature(start, stream):
        return signed if signed != "other" else None
    if _HTML.match(start):
        return "html"
    if _XML.match(start) and ending != "html":
        return None
    if ending in ("markdown", "text", "html") and _is_object(start):
        return "jsonl"
    if ending in ("csv", "tsv", "markdown", "text", "html"):
        return ending
    if start.lstrip().startswith((b"{", b"[")):
        return _json_kind(start, ending)
    if ending in ("jsonl", "json"):
        return ending
    if ending is not None:
        # It would be known by its first bytes, so it is damaged, or something else under this name.
        return None
    if b"\x00" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    return "text"


def format_by_name(path: str) -> str | None:
    """What the ending of a file's name says, that of its compression aside."""
    name = _PACKED.sub("", path.rstrip("/")).rpartition("/")[2]
    return _ENDINGS.get(name.rpartition(".")[2].lower()) if "." in name else None


def _by_signature(start: bytes, stream: Stream) -> str | None:
    """The format that the first bytes are the mark of; `other` for one that is known and not read."""
    if start.startswith(b"%PDF-"):
        return "pdf"
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    if start.startswith(b"WARC/"):
        return "warc"
    if start[257:262] == b"ustar":
        return "tar"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(stream)
    if start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\xd0\xcf\x11\xe0", b"7z\xbc\xaf", b"Rar!")):
        return "other"
    return None


def _zip_kind(stream: Stream) -> str:
    """EPUB and office documents are zip files, and say so in the names of their first members."""
    start = stream.head()
    if start[30:38] == b"mimetype":
        return "epub" if start[38:58] == b"application/epub+zip" else "other"
    if b"[Content_Types].xml" in start or b"_rels/.rels" in start[:4096]:
        try:
            with zipfile.ZipFile(stream.seekable()) as packed:
                names = packed.namelist()
            if "word/document.xml" in names:
                return "docx"
            # The name may be that of a part of an office document in the archive.
            return "other" if "[Content_Types].xml" in names else "zip"
        except (zipfile.BadZipFile, OSError):
            return "zip"
        finally:
            stream.data.seek(0)
    return "zip"


def _is_object(start: bytes) -> bool:
    """Whether the first line is a JSON object, which no line of prose or markup is."""
    line = start.split(b"\n", 1)[0]
    try:
        return line.startswith(b"{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json_kind(start: bytes, ending: str | None) -> str:
    """One object that closes on the first line, with more behind it, is JSON lines.

    One that is alone is JSON, as `json.dump` writes it, unless the name says otherwise. Whether it is alone
    can only be told of what ends within `HEAD`; of a longer line the name decides.
    """
    text = start.lstrip()
    first, _, rest = text.partition(b"\n")
    if text.startswith(b"["):
        return "json"
    if not rest.strip():
        if ending == "jsonl":
            return "jsonl"
        return "json" if ending == "json" or len(start) < HEAD - 3 else "jsonl"
    return "jsonl" if first.rstrip().endswith(b"}") or rest.lstrip().startswith(b"{") else "json"
