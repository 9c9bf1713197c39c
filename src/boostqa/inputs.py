"""Files that a recipe names: which they are, what they are called, and whether they changed.

A path is a file, a folder (everything below it) or a glob (`**` allowed); folders and globs leave out hidden
files and the texts of licences, which are about the data and not data. Files are called by their path below
the folder or below the glob's fixed part, so a name never depends on the machine.
Knows nothing of formats, stages or recipes' sections.
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from boostqa.errors import UserError

T = TypeVar("T")

SAMPLE = 65_536
"""Bytes of each of the samples that stand for a large file."""
SAMPLES = 16
"""A file of at most SAMPLE * SAMPLES bytes is hashed whole, a larger one by this many samples."""

_ASIDE = re.compile(r"(?:^|/)(?:\.|(?:LICEN[CS]E|COPYING|NOTICE)(?:[-.][^/]*)?$)", re.IGNORECASE)


@dataclass(frozen=True)
class InputFile:
    """One file under a path of the recipe."""

    name: str
    """Relative, with forward slashes; the same on every machine."""
    path: str
    """Where it lies on this one."""


def expand(path: str, key: str) -> list[InputFile]:
    """Files under `path`, sorted by name; `key` is the recipe key for messages.

    Raises:
        UserError: if there is no such file, or the folder or glob has no files.
    """
    base = _base(path)
    if base == Path(path):
        found, what = list(base.rglob("*")), "the folder has no files; put files there or name another"
    elif _is_glob(path):
        found = [Path(name) for name in glob.glob(path, recursive=True)]
        what = "the glob matches no file; correct the pattern"
    else:
        found = [Path(path)]
        what = "no such file or folder; correct the path (it is relative to the recipe's folder)"
    files = [InputFile(p.relative_to(base).as_posix(), str(p)) for p in found if p.is_file()]
    if found != [Path(path)]:
        files = [file for file in files if not _ASIDE.search(file.name)]
    if not files:
        raise UserError(f"{key}: {path}: {what}")
    return sorted(files, key=lambda file: file.name)


def locate(path: str, name: str) -> str:
    """Where the file called `name` under `path` lies on this machine."""
    return str(_base(path) / name)


def _is_glob(path: str) -> bool:
    return glob.has_magic(path) and not Path(path).exists()


def _base(path: str) -> Path:
    """The folder that names of files under `path` are relative to."""
    base = Path(path)
    if base.is_dir():
        return base
    base = base.parent
    while _is_glob(path) and glob.has_magic(str(base)):
        base = base.parent
    return base


def fingerprint(file: InputFile) -> list[str | int]:
    """[name, size in bytes, hash]: equal as long as the file is, as far as size and samples show.

    Raises:
        UserError: if the file cannot be read.
    """
    state = hashlib.blake2b(digest_size=16)
    try:
        size = Path(file.path).stat().st_size
        with open(file.path, "rb") as stream:
            if size <= SAMPLE * SAMPLES:
                state.update(stream.read())
            else:
                for i in range(SAMPLES):
                    stream.seek((size - SAMPLE) * i // (SAMPLES - 1))
                    state.update(stream.read(SAMPLE))
    except OSError as error:
        what = f"{file.path}: cannot be read ({error.strerror}); check the file's permissions"
        raise UserError(what) from error
    return [file.name, size, state.hexdigest()]


def packed(items: Iterable[T], weight: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Neighbours together until their weights reach `limit`; an item is never split."""
    batch: list[T] = []
    total = 0
    for item in items:
        if batch and total + weight(item) > limit:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += weight(item)
    if batch:
        yield batch
