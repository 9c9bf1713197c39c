"""The run folder as a whole: run.json, the recipe in force, segments, fingerprints, lock, take-downs.

    RUN/recipe.yaml     the resolved recipe (no secrets)
        run.json        versions, segments in order, fingerprint and identity of every entry, sessions
        revoked.json    seeds taken down with `boostqa remove`
        00-seeds/ ...   entries of the head; grow-1/, round-1/, ... the same for the other segments
        dataset/        the release
        ledger/         every request and reply

Only the process that holds the lock writes here. Nothing in this module knows what a stage does.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boostqa import __version__
from boostqa.errors import ChangedRun, UserError
from boostqa.identity import changes, digest
from boostqa.release import ReleaseFolder
from boostqa.shard import EntryFolder, get_json, put, put_json, storage_errors

RUN_VERSION = 1
"""Version of the layout; a folder of another version is refused."""


class Run:
    """A run folder. Reading needs no lock; everything that writes does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._info: dict[str, Any] | None = None

    @classmethod
    def open(cls, root: Path) -> Run:
        """An existing run.

        Raises:
            UserError: when the folder is missing, not a run, or of another layout version.
        """
        run = cls(root)
        if not (root / "run.json").exists():
            raise UserError(
                f"{root}: no run here (run.json is missing); give the folder that `boostqa run --out` made"
            )
        if run.info.get("layout") != RUN_VERSION:
            found = run.info.get("layout")
            raise UserError(f"{root}/run.json: layout {found!r}, this version reads {RUN_VERSION}")
        return run

    @property
    def info(self) -> dict[str, Any]:
        """Content of run.json; an empty frame for a new folder."""
        if self._info is None:
            path = self.root / "run.json"
            self._info = (
                get_json(path)
                if path.exists()
                else {
                    "layout": RUN_VERSION,
                    "version": __version__,
                    "segments": [],
                    "entries": {},
                    "sessions": [],
                }
            )
        return self._info

    def save(self) -> None:
        """Writes run.json."""
        put_json(self.root / "run.json", self.info)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for this process.

        Raises:
            UserError: when another process holds it; names its process id.
        """
        try:
            with storage_errors(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"--out {self.root}: a file is in the way; give a folder") from error
        with storage_errors(self.root):
            handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(handle, 32, 0).decode() or "unknown"
                raise UserError(
                    f"{self.root}: another run (process {holder}) works in this folder; wait for it, stop it, "
                    "or choose another --out"
                ) from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)

    def is_running(self) -> bool:
        """Whether some process holds the lock now."""
        path = self.root / ".lock"
        if not path.exists():
            return False
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    # Segments and entries

    @property
    def segments(self) -> list[dict[str, Any]]:
        """Segments in the order in which they were begun: {"name", "sources"?}."""
        return list(self.info["segments"])

    def add_segment(self, segment: dict[str, Any]) -> None:
        """Begins a segment."""
        self.info["segments"].append(segment)
        self.save()

    def folder(self, segment: str, number: int, name: str) -> EntryFolder:
        """Folder of an entry: numbered by its place in the pipeline, below its segment."""
        if segment == "release":
            return ReleaseFolder(self.root / name)
        base = self.root if segment == "head" else self.root / segment
        return EntryFolder(base / f"{number:02d}-{name}")

    def claim(self, segment: str, name: str, identity: Mapping[str, Any]) -> str:
        """Notes the identity under which an entry is made, and returns its fingerprint.

        Raises:
            ChangedRun: when results made under another identity are there; names what changed.
        """
        key = f"{segment}/{name}"
        fingerprint = digest(identity)
        known = self.info["entries"].get(key)
        if known is not None and known["fingerprint"] != fingerprint:
            differences = list(changes(known["identity"], identity))
            # What changed in an input changes every entry after it: name the first cause, not its echoes.
            own = [line for line in differences if not line.startswith("inputs.")] or differences
            listed = "\n  ".join(own[:12])
            raise ChangedRun(
                f"{self.root}: {key} was made by another recipe:\n  {listed}\n"
                f"take another --out (--reuse {self.root} keeps what was paid), or --redo {name} to make it again here"
            )
        if known is None:
            self.info["entries"][key] = {"fingerprint": fingerprint, "identity": identity}
            self.save()
        return fingerprint

    def discard(self, paths: list[Path], entries: list[str]) -> None:
        """Forgets entries (`segment/name`) and removes their folders, safe against a kill at any moment.

        First each folder leaves its place by a rename, then run.json forgets them, then it is removed; what a kill
        leaves is swept at the next start. So no half-removed folder can be taken for a result, and none is left
        behind whose recipe nobody knows.

        Raises:
            StorageStop: when a folder cannot be renamed or removed.
        """
        for path in paths:
            with storage_errors(path):
                if path.exists():
                    path.rename(self.root / f".trash-{secrets.token_hex(6)}")
        for key in entries:
            self.info["entries"].pop(key, None)
        self.save()
        self.sweep()

    def sweep(self) -> None:
        """Removes what killed sessions left half-written or half-removed in the run's own folder."""
        for left in self.root.rglob("*.tmp"):
            left.unlink(missing_ok=True)
        for trash in self.root.glob(".trash-*"):
            with storage_errors(trash):
                shutil.rmtree(trash)

    def note_time(self, segment: str, name: str, seconds: float) -> None:
        """Adds to the wall time spent on an entry, in seconds."""
        entry = self.info["entries"][f"{segment}/{name}"]
        entry["seconds"] = round(entry.get("seconds", 0.0) + seconds, 3)

    # Sessions

    def begin_session(self, command: list[str]) -> None:
        """Notes the start of a process on this run; one that was killed before ended when it last wrote."""
        for session in self.info["sessions"][-1:]:
            if "end" not in session:
                written = [p.stat().st_mtime for p in (self.root / "ledger").glob("*/*/*/*.zst")]
                last = max([(self.root / "run.json").stat().st_mtime, *written])
                session |= {"end": _stamp(last), "message": "killed"}
        self.info["sessions"].append({"start": _now(), "version": __version__, "command": command})
        self.save()

    def end_session(self, exit_code: int, message: str = "") -> None:
        """Notes how that process ended."""
        self.info["sessions"][-1] |= {"end": _now(), "exit": exit_code, "message": message}
        self.save()

    def write_recipe(self, text: str) -> None:
        """Stores the resolved recipe."""
        put(self.root / "recipe.yaml", text.encode(), replace=True)

    # Take-downs

    @property
    def revoked(self) -> frozenset[str]:
        """Ids of seeds that were taken down."""
        path = self.root / "revoked.json"
        return frozenset(get_json(path)) if path.exists() else frozenset()

    def revoke(self, ids: list[str]) -> None:
        """Adds seeds to the take-downs."""
        put_json(self.root / "revoked.json", sorted(self.revoked | set(ids)))


def _now() -> str:
    return _stamp(time.time())


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
