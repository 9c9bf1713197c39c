"""EPUB: chapters in reading order, each an HTML page whose whole text is the main text."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import unquote
from zipfile import BadZipFile, ZipFile

import msgspec

from boostqa.readers.files import Limits, UnreadableError, excerpt
from boostqa.readers.html import page_items
from boostqa.readers.items import ODD_INPUT, BadRow, Raw

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"


def read_epub(data: bytes, limits: Limits) -> Iterator[Raw | BadRow]:
    """Items of all chapters, with the book's title first in their headings.

    A chapter that is missing or damaged is a bad row; the others are read all the same.

    Raises:
        UnreadableError: `damaged_file`, `password_protected` (an encrypted book), `file_too_large`,
            `expands_too_much`, `xml_entities`.
    """
    with open_package(data) as packed:
        if "META-INF/rights.xml" in packed.namelist():
            raise UnreadableError("password_protected", "the book is encrypted")
        container = parse_xml(read_part(packed, "META-INF/container.xml", limits))
        root = container.find(f".//{_CONTAINER}rootfile")
        path = root.get("full-path", "") if root is not None else ""
        book = parse_xml(read_part(packed, path, limits))
        title = " ".join((book.findtext(f".//{_DC}title") or "").split())
        language = (book.findtext(f".//{_DC}language") or "").strip() or None
        parts = {item.get("id"): item for item in book.iter(f"{_OPF}item")}
        sizes = {info.filename: info.file_size for info in packed.infolist()}
        spent = 0
        for reference in book.iter(f"{_OPF}itemref"):
            part = parts.get(reference.get("idref"))
            if part is None or "html" not in part.get("media-type", "") or part.get("properties") == "nav":
                continue
            name = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(part.get("href", ""))))
            spent += sizes.get(name, 0)
            if spent > limits.document:
                raise UnreadableError("file_too_large", f"chapters of more than {limits.document} bytes")
            for item in _chapter(packed, name, limits):
                item = msgspec.structs.replace(item, member=name)
                if isinstance(item, Raw):
                    heading = ([title] if title else []) + item.heading
                    item = msgspec.structs.replace(item, heading=heading, language=language, url=None)
                yield item


def _chapter(packed: ZipFile, name: str, limits: Limits) -> Iterator[Raw | BadRow]:
    """Items of one chapter; one that cannot be read is a bad row, one without text (a cover) is nothing."""
    try:
        yield from page_items(read_part(packed, name, limits), whole=True)
    except UnreadableError as error:
        if error.args[0] != "empty_page":
            yield BadRow(line=0, reason=error.args[0], excerpt=error.args[1])
    except ODD_INPUT as error:
        yield BadRow(line=0, reason="damaged_file", excerpt=excerpt(f"{type(error).__name__}: {error}"))


def open_package(data: bytes) -> ZipFile:
    """The zip file that an EPUB or an office document is.

    Raises:
        UnreadableError: if it is none.
    """
    try:
        return ZipFile(BytesIO(data))
    except (BadZipFile, OSError, ValueError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error


def read_part(packed: ZipFile, name: str, limits: Limits) -> bytes:
    """One part of a package, after unpacking.

    Raises:
        UnreadableError: if it is missing, damaged, has a password or breaks a limit.
    """
    import zlib

    try:
        info = packed.getinfo(name)
        if info.flag_bits & 1:
            raise UnreadableError("password_protected", f"{name} has a password")
        with packed.open(info) as stream:
            data = stream.read(limits.document + 1)
    except (KeyError, BadZipFile, NotImplementedError, OSError, EOFError, zlib.error) as error:
        raise UnreadableError("damaged_file", excerpt(f"{name}: {error}")) from error
    if len(data) > limits.document:
        raise UnreadableError("file_too_large", f"{name}: more than {limits.document} bytes")
    # A small part may well be all zeros; only what is large and packed beyond all reason is a bomb.
    if len(data) > 2**20 + limits.ratio * info.compress_size:
        raise UnreadableError("expands_too_much", f"{name}: more than {limits.ratio} times its packed size")
    return data


def parse_xml(data: bytes) -> Any:
    """The root element of an XML document that defines no entities.

    Raises:
        UnreadableError: if it is no XML, or defines entities, by which few bytes can become many.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        return fromstring(data)
    except DefusedXmlException as error:
        raise UnreadableError("xml_entities", excerpt(error)) from error
    except (ParseError, ValueError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error
