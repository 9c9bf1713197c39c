"""Which (step, shard) may run now: the segment's steps as a graph of nodes with queues.

Pure bookkeeping over what is on disk; no clock, no processes. A shard enters a map step as soon as it is
committed by the step before; gathers and reduces wait for all. Work per finished shard does not depend on
the number of shards, so a segment of 100,000 shards costs no more per shard than one of ten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from boostqa.pipeline import Entry
from boostqa.shard import EntryFolder
from boostqa.stage import Gather, Map, Shuffle, Stage, Step

Kind = Literal["map", "split", "reduce", "gather"]
WHOLE = ""
"""Shard name of a gather's single task."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work: plain data, idempotent; its output file is its completion."""

    segment: str
    entry: str
    """Name of the entry within its part."""
    step: str
    kind: Kind
    shard: str
    segments: list[str]
    """Segments begun so far, in order: what the task may read."""
    sources: list[str] | None = None
    """Seed sources of the segment; None where it reads none."""


@dataclass(eq=False)
class Node:
    """One step of one entry: its shards, which are done, and which wait in line."""

    entry: Entry
    step: Step
    kind: Kind
    folder: EntryFolder
    waits: list[Node] = field(default_factory=list)
    """Nodes that must be complete before any shard of this one."""
    follows: list[Node] = field(default_factory=list)
    """Nodes whose shard of the same name must be done first; the first one gives the list of shards."""
    followers: list[Node] = field(default_factory=list)
    shards: list[str] | None = None
    done: set[str] = field(default_factory=set)
    queued: set[str] = field(default_factory=set)
    queue: deque[str] = field(default_factory=deque)

    @property
    def complete(self) -> bool:
        """All shards are known and done."""
        return self.shards is not None and len(self.done) == len(self.shards)

    @property
    def is_output(self) -> bool:
        """Whether its shards are the entry's kept and dropped records."""
        return isinstance(self.step, Map) and self.step.rows is None

    def on_disk(self) -> set[str]:
        """Shards that are committed already."""
        if self.kind == "gather":
            return {WHOLE} if self.folder.state(self.step.name).exists() else set()
        if self.is_output:
            return self.folder.done("kept")
        return self.folder.done(f"state/{self.step.name}" + (".split" if self.kind == "split" else ""))

    def learn(self, shards: list[str]) -> None:
        """Takes the list of shards, marks those on disk as done, and queues what can run."""
        self.shards = shards
        self.done = self.on_disk() & set(shards)
        for follower in self.followers:
            if follower.follows[0] is self and follower.shards is None:
                follower.learn(shards)
        for shard in shards:
            self.offer(shard)

    def offer(self, shard: str) -> None:
        """Queues a shard if it is neither done nor queued and all it follows is done."""
        if shard in self.done or shard in self.queued or self.shards is None:
            return
        if all(shard in node.done for node in self.follows):
            self.queued.add(shard)
            self.queue.append(shard)

    def finish(self, shard: str) -> None:
        """Marks a shard as done and offers it to the nodes behind."""
        self.done.add(shard)
        for follower in self.followers:
            follower.offer(shard)


class Schedule:
    """The nodes of one segment."""

    def __init__(self, entries: list[tuple[Entry, Stage, EntryFolder]]) -> None:
        self.nodes: list[Node] = []
        self.by_entry: dict[str, list[Node]] = {}
        for entry, stage, folder in entries:
            self._add(entry, stage, folder)
        for node in self.nodes:
            self.update(node)

    def _add(self, entry: Entry, stage: Stage, folder: EntryFolder) -> None:
        source = next((n for n in self.by_entry.get(entry.input or "", []) if n.is_output), None)
        # Other entries of this segment that the stage reads must be complete before its first step.
        refs = {ref for group in entry.reads.values() for ref in group}
        reads = [node for nodes in self.by_entry.values() for node in nodes if node.entry.ref in refs]
        own: list[Node] = []
        for step in stage.steps():
            kinds: tuple[Kind, ...] = ("gather",)
            if isinstance(step, Map):
                kinds = ("map",)
            elif isinstance(step, Shuffle):
                kinds = ("split", "reduce")
            for kind in kinds:
                node = Node(entry, step, kind, folder)
                self._connect(node, own, source, reads)
                own.append(node)
        self.nodes += own
        self.by_entry[entry.name] = own

    @staticmethod
    def _connect(node: Node, own: list[Node], source: Node | None, reads: list[Node]) -> None:
        step = node.step
        whole = [
            n for n in own if n.kind in ("gather", "reduce") or (isinstance(n.step, Map) and n.step.over)
        ]
        if isinstance(step, Map) and step.over is None:
            shardwise = [n for n in own if n.kind == "map" and n not in whole]
            node.follows = [*([source] if source else []), *shardwise]
            node.waits = [*whole, *reads]
        elif node.kind == "split":
            node.follows = [
                n for n in own if isinstance(step, Shuffle) and n.step.name == step.of and n.kind == "map"
            ]
        elif node.kind == "reduce":
            node.waits = [own[-1], *whole, *reads]
        else:
            node.waits = [*own, *([source] if source else []), *reads]
        for other in node.follows:
            other.followers.append(node)

    def update(self, node: Node) -> None:
        """Learns the shards of a node where they do not come from the node that it follows."""
        if node.shards is not None or node.follows or not all(other.complete for other in node.waits):
            return
        if isinstance(node.step, Shuffle):
            node.learn([f"part-{p:05d}" for p in range(node.step.partitions)])
        elif isinstance(node.step, Gather):
            node.learn([WHOLE])
        elif isinstance(node.step, Map) and node.step.over:
            state = node.folder.read_state(node.step.over)
            node.learn([shard_name(spec, index) for index, spec in enumerate(state["shards"])])

    def finish(self, node: Node, shard: str) -> None:
        """Marks a task as done; nodes that waited for it may open."""
        node.finish(shard)
        if node.complete:
            for other in self.nodes:
                self.update(other)

    def next(self) -> tuple[Node, str] | None:
        """A task that may run now, taken off its queue; later steps first, so that shards flow to the end."""
        for node in reversed(self.nodes):
            if node.queue and all(other.complete for other in node.waits):
                return node, node.queue.popleft()
        return None

    @property
    def complete(self) -> bool:
        """Whether every node is complete."""
        return all(node.complete for node in self.nodes)

    def entry_complete(self, entry: Entry) -> bool:
        """Whether all steps of an entry are complete."""
        return all(node.complete for node in self.by_entry[entry.name])

    def outputs(self, entry: Entry) -> list[str]:
        """Shards of an entry's records."""
        return [s for node in self.by_entry[entry.name] if node.is_output for s in sorted(node.shards or [])]

    def progress(self) -> Iterator[tuple[str, int, int]]:
        """(entry, shards of all its steps done, known) for display."""
        for name, nodes in self.by_entry.items():
            known = [node for node in nodes if node.shards is not None]
            yield name, sum(len(n.done) for n in known), sum(len(n.shards or []) for n in known)


def shard_name(spec: dict[str, object], index: int) -> str:
    """Name of a shard that a gather's state lists."""
    return str(spec.get("name", f"part-{index:05d}"))
