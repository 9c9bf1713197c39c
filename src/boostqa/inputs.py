"""Files that a recipe names: which they are, what they are called, and whether they changed.

A path is a file, a folder (everything below it), a glob (`**` allowed), or any of these as a URL that fsspec
knows: `s3://bucket/folder`, `hf://datasets/owner/name`, `https://...`. Folders and globs leave out hidden
files and what is about the data and not data: texts of licences, and the descriptions that `datasets` writes.
Files are called by their path below the folder or below the glob's fixed part, so a name never depends on the
machine. This is the only place that touches storage; addresses and keys of a storage service come from its
usual environment variables.
Knows nothing of formats, stages or recipes' sections.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from boostqa.errors import UserError

T = TypeVar("T")

SAMPLE = 65_536
"""Bytes of each of the samples that stand for a large file."""
SAMPLES = 16
"""A file of at most SAMPLE * SAMPLES bytes is hashed whole, a larger one by this many samples."""

_ASIDE = re.compile(
    r"(?:^|/)(?:\.(?!\.?/)|__MACOSX/|(?:LICEN[CS]E|COPYING|NOTICE)(?:[-.][^/]*)?$|"
    r"(?:dataset_infos?|dataset_dict|state)\.json$|cache-[^/]*\.arrow$)",
    re.IGNORECASE,
)
_ODD_NAME = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_EXTRAS = {"s3": "s3", "s3a": "s3", "hf": "hf"}
"""Protocol -> the extra of ours that installs what it needs."""


@dataclass(frozen=True)
class InputFile:
    """One file under a path of the recipe."""

    name: str
    """Relative, with forward slashes; the same on every machine."""
    path: str
    """Where it lies on this one, or its URL."""


def is_aside(name: str) -> bool:
    """Whether a file's name says that it is hidden, or about the data and not data."""
    return _ASIDE.search(name) is not None


def is_url(path: str) -> bool:
    """Whether a path is not one of this machine."""
    return "://" in path


def expand(path: str, key: str) -> list[InputFile]:
    """Files under `path`, sorted by name; `key` is the recipe key for messages.

    Raises:
        UserError: if there is no such file, or the folder or glob has no files, or they may not be listed.
    """
    if is_url(path):
        files, named = _expand_url(path, key), False
    else:
        base = _base(path)
        with _Storage(key):
            found = _found(path, base)
        files = [InputFile(p.relative_to(base).as_posix(), str(p)) for p in found if p.is_file()]
        for p in found:
            _refuse_odd(p, p.relative_to(base).as_posix(), key, base == Path(path))
        named = found == [Path(path)]
    if not named and [file.path for file in files] != [path]:
        files = [file for file in files if not is_aside(file.name)]
    if not files:
        raise UserError(f"{key}: {path}: {_remedy(path)}")
    return sorted(files, key=lambda file: file.name)


def _refuse_odd(path: Path, name: str, key: str, whole: bool) -> None:
    """Raises for what stands where files are and cannot be read as one; `whole` says that a whole folder is taken."""
    if is_aside(name) or (path.is_dir() and not (whole and path.is_symlink())):
        return
    shown = ascii(str(path))[1:-1]
    if not path.is_file():
        kind = (
            "a link to a folder, which is not followed"
            if path.is_dir()
            else "a link to a file that is not there"
            if path.is_symlink()
            else "a device, socket or named pipe"
            if path.exists()
            else ""
        )
        if kind:
            raise UserError(f"{key}: {shown}: is {kind}; remove it, or name the files by a glob without it")
    elif _ODD_NAME.search(name):
        raise UserError(f"{key}: {shown}: the name has control characters or is not UTF-8; rename the file")


def _walk(base: Path) -> Iterator[Path]:
    """What is in a folder and its folders; raises `OSError` for one that may not be listed."""

    def refuse(error: OSError) -> None:
        raise PermissionError(f"{error.filename}: {error.strerror}") from error

    for folder, below, files in os.walk(base, onerror=refuse):
        yield from (Path(folder, name) for name in files)
        yield from (path for name in below if (path := Path(folder, name)).is_symlink())


def _found(path: str, base: Path) -> list[Path]:
    if base == Path(path):
        return list(_walk(base))
    return [Path(name) for name in glob.glob(path, recursive=True)] if _is_glob(path) else [Path(path)]


def _remedy(path: str) -> str:
    if is_url(path):
        return "no files there; correct the address"
    if _is_glob(path):
        return "the glob matches no file; correct the pattern"
    if Path(path).is_dir():
        return "the folder has no files; put files there or name another"
    return "no such file or folder; correct the path (it is relative to the recipe's folder)"


def _expand_url(path: str, key: str) -> list[InputFile]:
    import fsspec

    with _Storage(f"{key}: {path}"):
        system, root = fsspec.core.url_to_fs(path)
        if glob.has_magic(root):
            found = [name for name in system.glob(root) if system.isfile(name)]
            base = re.split(r"[*?\[]", root)[0].rpartition("/")[0]
        elif system.isfile(root):
            found, base = [root], root.rpartition("/")[0]
        else:
            found, base = system.find(root), root
        base = base.rstrip("/") + "/"
        return [InputFile(name.removeprefix(base), str(system.unstrip_protocol(name))) for name in found]


def locate(path: str, name: str) -> str:
    """Where the file called `name` under `path` lies on this machine, or its URL."""
    if not is_url(path):
        return str(_base(path) / name)
    magic = re.search(r"[*?\[]", path)
    if magic:
        return path[: magic.start()].rpartition("/")[0] + "/" + name
    if path.rpartition("/")[2] == name:
        import fsspec

        with _Storage(path):
            system, root = fsspec.core.url_to_fs(path)
            if system.isfile(root):
                return path
    return path.rstrip("/") + "/" + name


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


class _Storage:
    """Turns errors of a storage inside its `with` into `UserError`s that name the place."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, UserError):
            return
        place = self.place
        if isinstance(error, FileNotFoundError):
            what = "no such file or bucket" if is_url(place) else "no such file"
            raise UserError(f"{place}: {what}; check the path in the recipe") from error
        if isinstance(error, IsADirectoryError):
            raise UserError(f"{place}: is a folder; name the files in it, such as {place}/*.jsonl") from error
        if isinstance(error, PermissionError):
            where = f"{place}: {error}" if error.args and error.errno is None else place
            raise UserError(f"{where}: may not be read; check its permissions, or your key for it") from error
        if isinstance(error, ImportError):
            protocol = (re.search(r"(\w+)://", place) or ["", ""])[1]
            extra = _EXTRAS.get(protocol)
            remedy = f"pip install boostqa[{extra}]" if extra else f"{error}"
            raise UserError(f"{place}: reading this needs a further package: {remedy}") from error
        if isinstance(error, storage_errors()):
            raise UserError(f"{place}: cannot be read ({error}); check address, key and network") from error


def storage_errors() -> tuple[type[BaseException], ...]:
    """What storage clients raise, of those that are loaded."""
    found: list[type[BaseException]] = [OSError, ValueError]
    for module, name in (
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("aiohttp", "ClientError"),
        ("huggingface_hub.errors", "HfHubHTTPError"),
        ("httpx", "HTTPError"),
        ("httpx2", "HTTPError"),
    ):
        if module in sys.modules and hasattr(sys.modules[module], name):
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def open_file(path: str) -> IO[bytes]:
    """The stored bytes of a local file or a URL.

    Raises:
        UserError: if there is no such file or it may not be read.
    """
    with _Storage(path):
        if not is_url(path):
            return cast("IO[bytes]", open(path, "rb"))
        import fsspec

        return cast("IO[bytes]", fsspec.open(path, "rb").open())


def size_of(path: str) -> int:
    """Bytes of a local file or a URL as stored; 0 where the storage does not say.

    Raises:
        UserError: if there is no such file or it may not be read.
    """
    with _Storage(path):
        if not is_url(path):
            return Path(path).stat().st_size
        import fsspec

        system, root = fsspec.core.url_to_fs(path)
        return int(system.size(root) or 0)
    raise AssertionError


def fingerprint(file: InputFile) -> list[str | int]:
    """[name, size in bytes, hash]: equal as long as the file is, as far as size and samples show.

    Raises:
        UserError: if the file cannot be read.
    """
    state = hashlib.blake2b(digest_size=16)
    size = size_of(file.path)
    with open_file(file.path) as stream, _Storage(file.path):
        if size <= SAMPLE * SAMPLES:
            state.update(stream.read())
        else:
            for i in range(SAMPLES):
                stream.seek((size - SAMPLE) * i // (SAMPLES - 1))
                state.update(stream.read(SAMPLE))
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
