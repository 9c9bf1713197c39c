"""Drives a run: segments in order, rounds until nothing is missing, release; resume and growth.

The runner keeps no state that a resume would need: it reads what is committed, asks `schedule.py` what may
run now, hands tasks to the executor, and writes an entry's manifest when its last shard is in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from boostqa.errors import ContractError, Interrupted, Stop, UserError
from boostqa.identity import digest, digest_bytes
from boostqa.llm.budget import Amount
from boostqa.pipeline import PIPELINE, Entry, Part, entries, part_of
from boostqa.recipe import Recipe, identity_of
from boostqa.run import Run
from boostqa.schedule import Node, Schedule, Task
from boostqa.shard import Counts
from boostqa.stage import Kit, Stage
from boostqa.taxonomy import DISCIPLINES
from boostqa.taxonomy import load as load_taxonomy
from boostqa.view import View, entry_folder

PACKAGE = Path(__file__).parent
DRAIN_SECONDS = 60.0
"""How long a stopping run waits for calls in flight (the user's own stop is cut short, see `session.py`)."""


class Executor(Protocol):
    """Where tasks run."""

    slots: int
    """How many tasks may be submitted at once."""

    async def submit(self, task: Task) -> None:
        """Runs a task to its commit. Raises what the task raised."""
        ...

    def drain(self) -> None:
        """Lets records in work finish and starts no others; tasks then raise `Interrupted`."""
        ...


class Progress(Protocol):
    """What a session tells a display."""

    def begin(self, run: Run, executor: Any, spent: Amount) -> None:
        """The session begins; `executor.usage` is live, `spent` is what earlier sessions used."""
        ...

    def segment(self, name: str, schedule: Schedule) -> None:
        """A segment begins; `schedule` is live."""
        ...

    def entry(self, segment: str, name: str, counts: Counts) -> None:
        """An entry is complete."""
        ...


class Silent:
    """Progress that nobody watches."""

    def begin(self, run: Run, executor: Any, spent: Amount) -> None:
        """Nothing."""

    def segment(self, name: str, schedule: Schedule) -> None:
        """Nothing."""

    def entry(self, segment: str, name: str, counts: Counts) -> None:
        """Nothing."""


class Runner:
    """One session on a run folder. Use under the folder's lock."""

    def __init__(self, recipe: Recipe, run: Run, progress: Progress) -> None:
        self.recipe = recipe
        self.run = run
        self.progress = progress
        self.plan_mark = ""
        """Hash of an edited plan, noted with the round that is made from it."""
        self._active: dict[str, int] = {}
        self._since: dict[str, float] = {}

    def idle(self, until: str | None = None) -> bool:
        """Whether nothing is left to do, so that no endpoint need be reached."""
        if until or any(name not in self._begun() for name in self.recipe.source_names):
            return False
        release = entry_folder(self.run, "release", entries("release")[0])
        return (
            self.segments_complete()
            and self._next_round() is None
            and self._released()
            and release.manifest() is not None
        )

    def roles(self, until: str | None = None) -> set[str]:
        """Roles that a session up to `until` may ask: none where it ends before the first stage that asks models."""
        names = _names("head")
        chosen: Iterable[Entry] = PIPELINE
        if until in names and (until not in _names("round-1") or self._manifest("head", names[-1]) is None):
            chosen = entries("head")[: names.index(until) + 1]
        return {role for entry in chosen for role in entry.stage.roles}

    def segments_complete(self) -> bool:
        """Whether all entries of all segments begun so far are done."""
        return all(
            entry_folder(self.run, segment["name"], entry).manifest() is not None
            for segment in self.run.segments
            for entry in entries(part_of(segment["name"]))
        )

    async def __call__(self, executor: Executor, until: str | None = None) -> None:
        """Runs what is missing, up to and including the entry `until` if given.

        Raises:
            ChangedRun: results of another recipe are in the folder.
            Stop: budget, provider, storage or the user ended the run; resumable.
        """
        heads_only = until in _names("head") and until not in _names("round-1")
        for segment in self.segments(heads_only=heads_only):
            if heads_only and part_of(segment) == "round":
                if self._manifest(segment, _names(segment)[-1]) is None:
                    return
                continue
            here = until if until in _names(segment) else None
            made = self._manifest(segment, here) is None
            await self._segment(executor, segment, here)
            if here and (made or self._manifest(segment, _names(segment)[-1]) is None):
                return
        if until is None or until == "dataset":
            await self.release(executor)

    def _manifest(self, segment: str, name: str | None) -> dict[str, Any] | None:
        """Manifest of an entry by name; None while it is not done."""
        return (
            entry_folder(self.run, segment, self._entry(part_of(segment), name)).manifest() if name else None
        )

    @staticmethod
    def _entry(part: Part, name: str | None) -> Entry:
        return next(entry for entry in entries(part) if entry.name == name)

    def accept_recipe(self, redone: Collection[str] = ()) -> None:
        """Compares the recipe with what the folder was made with, but for the entries that will be `redone`.

        Raises:
            ChangedRun: naming what changed; nothing is written then.
        """
        for segment in self.run.segments:
            for entry in entries(part_of(segment["name"])):
                key = f"{segment['name']}/{entry.name}"
                if key in self.run.info["entries"] and key not in redone:
                    stage = self._stage(entry, segment["name"])
                    self.run.claim(segment["name"], entry.name, self.identity(entry, segment["name"], stage))

    def segments(self, *, heads_only: bool = False) -> Iterator[str]:
        """Segments begun earlier, then the head or a grown head for new sources, then rounds while wanted.

        With `heads_only` no round is begun.
        """
        yield from [segment["name"] for segment in self.run.segments]
        begun = self._begun()
        gone = begun - set(self.recipe.source_names)
        if gone:
            raise UserError(
                f"{self.run.root}: seeds.sources lacks {', '.join(sorted(gone))}, which this run was made with; "
                "put it back, or take another --out"
            )
        new = [name for name in self.recipe.source_names if name not in begun]
        if new:
            grown = sum(part_of(segment["name"]) == "head" for segment in self.run.segments)
            name = f"grow-{grown}" if grown else "head"
            self.run.add_segment({"name": name, "sources": new})
            yield name
        while not heads_only and (number := self._next_round()) is not None:
            segment = {"name": f"round-{number}"}
            self.run.add_segment(segment | ({"plan": self.plan_mark} if self.plan_mark else {}))
            yield f"round-{number}"

    def _begun(self) -> set[str]:
        return {name for segment in self.run.segments for name in segment.get("sources", [])}

    def _next_round(self) -> int | None:
        rounds = sum(part_of(segment["name"]) == "round" for segment in self.run.segments)
        entry = entries("round")[0]
        kit = self._kit(entry, f"round-{rounds + 1}")
        return rounds + 1 if self.recipe.stage(entry.stage).wanted(kit) else None

    def _kit(self, entry: Entry, segment: str) -> Kit:
        names = [s["name"] for s in self.run.segments]
        view = View(self.run, entry, segment, names)
        return Kit(entry=entry.name, segment=segment, shard="", shards=view, revoked=self.run.revoked)

    def _stage(self, entry: Entry, segment: str) -> Stage:
        sources = next((s.get("sources") for s in self.run.segments if s["name"] == segment), None)
        return self.recipe.stage(entry.stage, sources)

    # One segment

    async def _segment(self, executor: Executor, segment: str, until: str | None) -> None:
        chosen = []
        for entry in entries(part_of(segment)):
            stage = self._stage(entry, segment)
            fingerprint = self.run.claim(segment, entry.name, self.identity(entry, segment, stage))
            folder = entry_folder(self.run, segment, entry)
            manifest = folder.manifest()
            if manifest is not None and manifest["fingerprint"] != fingerprint:
                raise ContractError(
                    f"{folder.manifest_path}: made under {manifest['fingerprint']}, not {fingerprint}"
                )
            chosen.append((entry, stage, folder))
            if entry.name == until:
                break
        if all(folder.manifest() is not None for _, _, folder in chosen):
            return
        schedule = Schedule(chosen)
        self.progress.segment(segment, schedule)
        await self._drive(executor, segment, schedule)

    async def _drive(self, executor: Executor, segment: str, schedule: Schedule) -> None:
        """Keeps the executor full until the segment is complete or a task raises."""
        self._complete_entries(segment, schedule)
        running: dict[asyncio.Task[None], tuple[Node, str]] = {}
        names = [s["name"] for s in self.run.segments]
        sources = next((s.get("sources") for s in self.run.segments if s["name"] == segment), None)
        try:
            while not schedule.complete:
                while len(running) < executor.slots and (found := schedule.next()):
                    node, shard = found
                    task = Task(
                        segment=segment,
                        entry=node.entry.name,
                        step=node.step.name,
                        kind=node.kind,
                        shard=shard,
                        segments=names,
                        sources=sources,
                    )
                    running[asyncio.create_task(executor.submit(task))] = found
                    self._clock(segment, node.entry.name, +1)
                if not running:
                    stuck = [f"{n.entry.name}.{n.step.name}" for n in schedule.nodes if not n.complete]
                    raise ContractError(f"{segment}: nothing can run, but these are not complete: {stuck}")
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for finished in done:
                    node, shard = running.pop(finished)
                    self._clock(segment, node.entry.name, -1)
                    finished.result()
                    schedule.finish(node, shard)
                self._complete_entries(segment, schedule)
        except Stop as stop:
            # Calls in flight are being paid: let the records in work finish, start no others.
            executor.drain()
            ended = (await asyncio.wait(running, timeout=DRAIN_SECONDS))[0] if running else set()
            # Tasks that were only told to end may be heard first; the cause is what the user needs.
            causes = [stop, *(e for task in ended if (e := task.exception()) is not None)]
            raise next((e for e in causes if not isinstance(e, Interrupted)), stop) from None
        finally:
            for task_left in running:
                task_left.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for node, _ in running.values():
                self._clock(segment, node.entry.name, -1)

    def _complete_entries(self, segment: str, schedule: Schedule) -> None:
        for entry, folder in {n.entry.name: (n.entry, n.folder) for n in schedule.nodes}.values():
            if schedule.entry_complete(entry) and not folder.manifest_path.exists():
                known = self.run.info["entries"][f"{segment}/{entry.name}"]
                before = (
                    entry_folder(self.run, segment, self._entry(entry.part, entry.input)).manifest()
                    if entry.input
                    else None
                )
                counts = folder.commit_manifest(
                    schedule.outputs(entry),
                    known["identity"],
                    known["fingerprint"],
                    expected=before["counts"]["kept"] if before else None,
                )
                self.run.save()
                self.progress.entry(segment, entry.name, counts)

    def _clock(self, segment: str, name: str, step: int) -> None:
        """Counts the running tasks of an entry; the time with at least one is the entry's wall time."""
        before = self._active.get(name, 0)
        self._active[name] = before + step
        if before == 0:
            self._since[name] = time.monotonic()
        elif before + step == 0:
            self.run.note_time(segment, name, time.monotonic() - self._since[name])

    # The release is derived and costs nothing: it is made again whenever anything before it changed.

    async def release(self, executor: Executor) -> None:
        """Makes the data set from what the rounds have accepted, if it is not there as it should be."""
        entry = entries("release")[0]
        stage = self._stage(entry, "release")
        folder = entry_folder(self.run, "release", entry)
        if not self._released():
            self.run.discard([folder.path], [f"release/{entry.name}"])
        self.run.claim("release", entry.name, self.identity(entry, "release", stage))
        if folder.manifest() is None:
            schedule = Schedule([(entry, stage, folder)])
            self.progress.segment("release", schedule)
            await self._drive(executor, "release", schedule)

    def _released(self) -> bool:
        """Whether the data set is there, or begun, as recipe and rounds now want it."""
        entry = entries("release")[0]
        known = self.run.info["entries"].get(f"release/{entry.name}")
        wanted = self.identity(entry, "release", self._stage(entry, "release"))
        return known is not None and known["fingerprint"] == digest(wanted)

    # Identity

    def identity(self, entry: Entry, segment: str, stage: Stage) -> dict[str, Any]:
        """Everything that an entry's results depend on, as plain data; its hash is the fingerprint."""
        models = {}
        for role in stage.roles:
            models[role] = {name: self.recipe.models[name].identity() for name in self.recipe.roles.of(role)}
        identity: dict[str, Any] = {
            "stage": stage.name,
            "version": stage.version,
            "config": identity_of(stage.config),
            "models": models,
            "assets": {name: digest_bytes(_asset(name).read_bytes()) for name in stage.assets},
            "extra": stage.identity(),
            "inputs": self._inputs(entry, segment),
        }
        if part_of(segment) == "release":
            identity["revoked"] = sorted(self.run.revoked)
            identity["accepted"] = self._contents(entry)
            identity["config"] = stage.config.model_dump(mode="json")
        return identity

    def _contents(self, entry: Entry) -> dict[str, int]:
        """Records kept by each complete entry that the release reads: a finished round changes the release."""
        refs = {ref for group in entry.reads.values() for ref in group}
        found = {}
        for segment in self.run.segments:
            for other in entries(part_of(segment["name"])):
                manifest = entry_folder(self.run, segment["name"], other).manifest()
                if other.ref in refs and manifest is not None:
                    found[f"{segment['name']}/{other.name}"] = manifest["counts"]["kept"]
        return found

    def _inputs(self, entry: Entry, segment: str) -> dict[str, str]:
        """Fingerprints of all entries whose results this one may read."""
        names = [s["name"] for s in self.run.segments]
        before = names[: names.index(segment)] if segment in names else names
        refs = {ref for group in entry.reads.values() for ref in group}
        found = {}
        for place in [*before, segment]:
            for other in entries(part_of(place)):
                direct = place == segment and other.name == entry.input and other.part == entry.part
                read = other.ref in refs and (
                    place != segment or PIPELINE.index(other) < PIPELINE.index(entry)
                )
                known = self.run.info["entries"].get(f"{place}/{other.name}")
                if known is not None and (direct or read):
                    found[f"{place}/{other.name}"] = known["fingerprint"]
        return found


def _asset(name: str) -> Path:
    """The file behind an asset: the recipe's own taxonomy stands in the place of the built-in one."""
    return Path(load_taxonomy().file) if name == DISCIPLINES else PACKAGE / name


def _names(segment: str) -> list[str]:
    return [entry.name for entry in entries(part_of(segment))]
