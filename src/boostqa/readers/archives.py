"""Members of zip and tar files, each a stream of its own; nothing is unpacked to a place that a name gives."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, cast

import msgspec

from boostqa.inputs import is_aside
from boostqa.readers.files import Limits, Place, Stream, UnreadableError, excerpt
from boostqa.readers.items import BadRow, Raw
from boostqa.text.surrogates import joined

Member = tuple[str, "Callable[[], IO[bytes]]", int, int]
"""Name, how to open it, its size after unpacking and as it is stored, both in bytes."""


_TOO_MUCH = 2**63
"""Size of a member that would break the limit of its archive; larger than any limit."""


def read_members(
    members: Iterator[Member], read: Callable[[Stream], Iterator[Raw | BadRow]], place: Place, limits: Limits
) -> Iterator[Raw | BadRow]:
    """Items of all members from `place` on, with their names; a member that cannot be read is a bad row."""
    first, count = place.member, place.items
    spent, allowed = 0, limits.document
    for number, (name, start, size, stored) in enumerate(members):
        # Many members that each keep the limit may break it together.
        allowed += limits.ratio * stored
        total = spent + size
        size, spent = (size, total) if total <= allowed else (_TOO_MUCH, spent)
        if number < first:
            continue
        if number > first:
            place.items, place.member, place.line, place.byte = count, number, 0, 0
        for item in _read_member(joined(name), start, (size, stored), read, limits):
            count += 1
            yield msgspec.structs.replace(item, member=f"{joined(name)}/{item.member}".rstrip("/"))


def _read_member(
    name: str,
    start: Callable[[], IO[bytes]],
    sizes: tuple[int, int],
    read: Callable[[Stream], Iterator[Raw | BadRow]],
    limits: Limits,
) -> Iterator[Raw | BadRow]:
    try:
        if sizes[0] > limits.document + limits.ratio * sizes[1]:
            raise UnreadableError("expands_too_much", f"more than {limits.ratio} times its packed size")
        with Stream(name, start(), limits) as stream:
            found = False
            for item in read(stream):
                found = True
                yield item
            if not found:
                yield BadRow(line=0, reason="empty_file")
    except UnreadableError as error:
        yield BadRow(line=0, reason=error.args[0], excerpt=error.args[1])


def zip_members(stream: Stream) -> Iterator[Member]:
    """Files of a zip file in the order of its directory.

    Raises:
        UnreadableError: where the directory cannot be read.
    """
    try:
        packed = zipfile.ZipFile(stream.seekable())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error
    with packed:
        end = -1
        own = {}
        for info in sorted(packed.infolist(), key=lambda info: info.header_offset):
            # Of members that share their bytes only the first has them for its own.
            own[id(info)] = info.compress_size if info.header_offset > end else 0
            end = max(end, info.header_offset + info.compress_size)
        for info in packed.infolist():
            if not info.is_dir() and not is_aside(info.filename):
                yield info.filename, _Zipped(packed, info), info.file_size, own[id(info)]


class _Zipped:
    """Opens one member of a zip file."""

    def __init__(self, packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self.packed, self.info = packed, info

    def __call__(self) -> IO[bytes]:
        if self.info.flag_bits & 1:
            raise UnreadableError("password_protected", "the member has a password; remove it")
        try:
            return self.packed.open(self.info)
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise UnreadableError("damaged_file", excerpt(error)) from error


def tar_members(stream: Stream) -> Iterator[Member]:
    """Files of a tar file in order; links and devices are none.

    Raises:
        UnreadableError: where the archive breaks off.
    """
    try:
        # The stream goes forward only: each member is read before the next is looked for.
        with tarfile.open(fileobj=cast("IO[bytes]", stream.data), mode="r:") as packed:
            for info in packed:
                # What is remembered of earlier members would grow with the archive.
                packed.members = []  # type: ignore[attr-defined]
                if info.isfile() and not is_aside(info.name):
                    spans = (
                        cast("list[tuple[int, int]]", info.sparse or [])
                        if info.issparse()
                        else [(0, info.size)]
                    )
                    stored = sum(size for _, size in spans)
                    yield info.name, _Tarred(packed, info), info.size, stored
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UnreadableError("damaged_file", excerpt(error)) from error


class _Tarred:
    """Opens one member of a tar file."""

    def __init__(self, packed: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        self.packed, self.info = packed, info

    def __call__(self) -> IO[bytes]:
        return cast("IO[bytes]", self.packed.extractfile(self.info))
