"""The record: the only thing that travels between stages.

Frozen plain data. A record keeps its id for life; `edit` makes a copy and adds to the history,
`child` makes a new record that names its parents, `drop` marks the end of the road with a reason.
What is on disk is exactly these fields (`run.py` holds the Arrow schema that mirrors them).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from boostqa.identity import digest

Kind = Literal["seed", "task", "qa", "benchmark"]
"""seed: a question with answer, or a passage; task: one line of a plan; qa: what was synthesised;
benchmark: an item that must never be trained on."""

Level = Literal["H1", "H2", "H3", "H4", "H5"]


class Labels(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a record was found to be. None means: not labelled (never: a default guess)."""

    discipline: str | None = None
    """Name in the taxonomy; the parent of `field`."""
    field: str | None = None
    """Leaf of the taxonomy."""
    field_confidence: float | None = None
    """Probability in 0..1 that `field` is right, by whoever labelled it (see `labeller`)."""
    field_second: str | None = None
    """The leaf that would be right if `field` is not, by the same labeller."""
    field_second_confidence: float | None = None
    """Probability in 0..1 that it is `field_second` instead."""
    secondary_fields: list[str] = []
    """Further leaves of an item that crosses disciplines."""
    stem: Literal["core", "extended", "no"] | None = None
    level: str | None = None
    """H1..H5: the level that counts, from the two below or learned from other items (see `flows/label.py`)."""
    level_rubric: str | None = None
    """H1..H5 as read off the rubric by a labeller."""
    level_measured: str | None = None
    """H1..H5 from the pass rate of reference solvers; None where nothing was solved."""
    level_se: float | None = None
    """Standard error of the measured difficulty, in levels."""
    grade: str | None = None
    """primary, middle, high, undergraduate, graduate or professional."""
    knowledge_points: list[str] = []
    labeller: str | None = None
    """`gold` (came with the seed), `llm:<model>`, `classifier`, or `seed` (a variant has its seed's labels)."""


class Requested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task asks for; copied to the records made for it, so that wish and outcome can be compared."""

    discipline: str | None = None
    field: str | None = None
    level: str | None = None
    grade: str | None = None
    language: str | None = None
    question_type: str | None = None
    route: str | None = None
    """multi_grade or high_difficulty."""
    strategy: str | None = None
    """Name of a strategy of the route (see `prompts/strategies.yaml`)."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a seed came from. Paths are relative to what the recipe names, never absolute."""

    name: str | None = None
    """Name of the source in the recipe."""
    license: str | None = None
    """SPDX id or the recipe's own words."""
    file: str | None = None
    line: int | None = None
    """1-based line, row or page in `file`."""
    heading: list[str] = []
    """Heading path of a passage."""
    url: str | None = None


class SeedText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A seed's content as a task carries it, so that no later stage has to look the seed up."""

    id: str
    question: str = ""
    choices: list[str] = []
    answer: str = ""
    solution: str = ""
    passage: str = ""
    formula: str = ""
    variables: dict[str, float] = {}
    language: str | None = None
    field: str | None = None
    level: str | None = None
    grade: str | None = None
    source: str | None = None
    """Name of the source in the recipe."""
    license: str | None = None
    cluster: str | None = None
    """Id of the seed's duplicate cluster: what is made from it or its like goes to one side of the split."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a record's history."""

    stage: str
    """Name of the pipeline entry, such as `refine`."""
    action: str
    """What happened, such as `born`, `improved`, `relabelled`."""
    detail: str = ""


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """Why a record ended."""

    stage: str
    reason: str
    """A short constant in snake_case that can be counted, such as `near_duplicate`."""
    evidence: str = ""
    """What was seen, for a person: the partner's id and similarity, the two answers, the broken line."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A seed, task, question-answer pair or benchmark item. See the module docstring for its life."""

    id: str
    kind: Kind
    parents: list[str] = []
    """Ids of the direct parents: a task names its seeds, a qa its task and that task's seeds."""
    question: str = ""
    choices: list[str] = []
    """Option texts without letters; empty unless multiple choice."""
    answer: str = ""
    """The letter for multiple choice, else the final answer alone."""
    solution: str = ""
    """Worked solution or explanation that ends in the answer."""
    reasoning: str = ""
    """The writer's thought, where the recipe keeps it."""
    passage: str = ""
    """Text of a passage seed; empty for question-answer seeds."""
    formula: str = ""
    """Checked formula of a numeric seed over the names in `variables`, such as `d / t`."""
    variables: dict[str, float] = {}
    """Values of the names in `formula` as they stand in the question."""
    question_type: str | None = None
    """A name from `taxonomy/types.yaml`: open, multiple_choice, true_false, calculation, ..."""
    language: str | None = None
    """ISO 639-1 code."""
    labels: Labels = Labels()
    gold: Labels | None = None
    """Labels that came with the seed, kept apart so that the annotator can be measured against them."""
    requested: Requested | None = None
    seeds: list[SeedText] = []
    """The seeds of a task or qa, the leading one first; empty for seeds and in the released data set."""
    source: Source | None = None
    scores: dict[str, float] = {}
    """Named numbers: quality, dup_similarity, contamination, pass_rate, judge, ... Absent means not measured."""
    evidence: list[str] = []
    """What supports the answer, such as `seed_answer`, `symbolic`, `solver:<model>`."""
    refine_verdict: str | None = None
    """unchanged, improved or contradicted."""
    draft_answer: str = ""
    """The writer's own answer before refinement."""
    dup_cluster: str | None = None
    """Id of the duplicate cluster; a record without duplicates is its own cluster."""
    teacher: str | None = None
    """Model id that wrote the record."""
    refiner: str | None = None
    prompt_hash: str | None = None
    round: int | None = None
    tokens: int | None = None
    split: str | None = None
    """train or validation, set by the dataset stage."""
    history: list[Event] = []
    dropped: Drop | None = None

    def edit(self, stage: str, action: str, detail: str = "", **fields: Any) -> Record:
        """A copy with `fields` replaced and one more event in the history; the id stays."""
        event = Event(stage=stage, action=action, detail=detail)
        return msgspec.structs.replace(self, history=[*self.history, event], **fields)

    def relabel(self, **fields: Any) -> Record:
        """A copy whose `labels` have `fields` replaced (no event: use `edit` for what a person should see)."""
        return msgspec.structs.replace(self, labels=msgspec.structs.replace(self.labels, **fields))

    def score(self, **scores: float) -> Record:
        """A copy with further `scores`."""
        return msgspec.structs.replace(self, scores={**self.scores, **scores})

    def drop(self, stage: str, reason: str, evidence: str = "") -> Record:
        """A copy that ends here; the runner files it under `dropped/`."""
        return msgspec.structs.replace(self, dropped=Drop(stage=stage, reason=reason, evidence=evidence))

    def child(self, stage: str, kind: Kind, *key: Any, **fields: Any) -> Record:
        """A new record whose parents are this one and its parents; its id depends on this id and `key`."""
        parents = [self.id, *self.parents]
        event = Event(stage=stage, action="born")
        return Record(id=digest(kind, self.id, *key), kind=kind, parents=parents, history=[event], **fields)
