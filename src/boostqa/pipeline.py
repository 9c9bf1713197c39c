"""The order of the stages; read this file first.

One list of entries. Folder numbers come from it, and so does everything the runner knows of the order:

    head     seeds -> dedup -> decontaminate -> annotate -> probe
    round    plan -> synthesize -> refine -> verify -> dedup -> decontaminate     (repeated for what is missing)
    release  dataset

A run is a row of segments: `head`, `round-1`, `round-2`, ... A source added later makes a further head,
`grow-1`, and further rounds follow. `reads` gives a stage, under names of its own, the results of other
entries in all segments so far; so no stage knows another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from boostqa.stage import Stage
from boostqa.stages.annotate import Annotate
from boostqa.stages.dataset import Dataset
from boostqa.stages.decontaminate import Decontaminate
from boostqa.stages.dedup import Dedup
from boostqa.stages.plan import Plan
from boostqa.stages.probe import Probe
from boostqa.stages.refine import Refine
from boostqa.stages.seeds import Seeds
from boostqa.stages.synthesize import Synthesize
from boostqa.stages.verify import Verify

Part = Literal["head", "round", "release"]


@dataclass(frozen=True)
class Entry:
    """One place in the pipeline. A stage may stand in two of them (dedup and decontaminate do)."""

    part: Part
    stage: type[Stage]
    input: str | None = None
    """Name of the entry of the same part whose kept records come in; None: the stage makes its own shards."""
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Logical name -> references `part/entry` of what the stage may read besides its input."""

    @property
    def name(self) -> str:
        """The stage's name; unique within its part."""
        return self.stage.name

    @property
    def ref(self) -> str:
        """`part/name`, as `reads` uses it."""
        return f"{self.part}/{self.name}"


_LOST = ("round/synthesize", "round/refine", "round/verify", "round/dedup", "round/decontaminate")

PIPELINE: tuple[Entry, ...] = (
    Entry("head", Seeds),
    Entry("head", Dedup, "seeds", {"incumbents": ("head/dedup", "round/dedup")}),
    Entry("head", Decontaminate, "dedup", {"heldout": ("head/probe",)}),
    Entry("head", Annotate, "decontaminate", {"labelled": ("head/annotate",)}),
    Entry("head", Probe, "annotate"),
    Entry(
        "round",
        Plan,
        None,
        {
            "seeds": ("head/probe",),
            "probe": ("head/probe",),
            "accepted": ("round/decontaminate",),
            "plans": ("round/plan",),
            "lost": _LOST,
        },
    ),
    Entry("round", Synthesize, "plan"),
    Entry("round", Refine, "synthesize"),
    Entry("round", Verify, "refine"),
    Entry("round", Dedup, "verify", {"incumbents": ("head/dedup", "round/dedup")}),
    Entry("round", Decontaminate, "dedup", {"heldout": ("head/probe",)}),
    Entry("release", Dataset, None, {"accepted": ("round/decontaminate",), "plans": ("round/plan",)}),
)


def entries(part: Part) -> tuple[Entry, ...]:
    """The entries of one part, in order."""
    return tuple(entry for entry in PIPELINE if entry.part == part)


def number(entry: Entry) -> int:
    """Place of an entry in the whole list: the number of its folder."""
    return PIPELINE.index(entry)


def part_of(segment: str) -> Part:
    """The part that a segment (`head`, `grow-1`, `round-2`, `release`) is an instance of."""
    if segment.startswith("round-"):
        return "round"
    return "release" if segment == "release" else "head"
