"""Verify: a ladder of checks, cheapest first, that stops when the verdict is clear.

    form        complete, in its language, self-contained, no leak, no copy; a variant asks what its seed asks
    seed        the seed's checked answer or its formula agrees       -> evidence seed_answer, symbolic
    solvers     independent solutions that see only the question      -> evidence solver:<model>
    judge       a pessimistic reading by a rubric                     -> evidence judge:<model>
    labels      what the item turned out to be: by an annotator that saw no request, and by the pass rate

An answer enters the data only with evidence, and evidence counts only from a seed, a rule, or a model of
another family than the writer's (after a contradiction: also than the refiner's). What the writer's own
family says is kept as a score. What synthesize measured is used, not paid again.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Literal

from boostqa import taxonomy
from boostqa.flows.check import VARIANTS, Limits, Problem, first_problem, strategy_of
from boostqa.flows.judge import judge, worst
from boostqa.flows.label import ASSETS, combined_level, label, placed
from boostqa.flows.solve import (
    Tally,
    measured_level,
    pooled,
    solve,
    tally,
    tally_from,
    tally_scores,
)
from boostqa.flows.variant import support, variant
from boostqa.llm.model import Model
from boostqa.record import Labels, Record
from boostqa.stage import Kit, Map, Stage, StageConfig, Step

BROKEN_STRUCTURE = "broken_structure"
WRONG_LANGUAGE = "wrong_language"
PASSAGE_REFERENCE = "passage_reference"
ANSWER_LEAK = "answer_leak"
SEED_COPY = "seed_copy"
OFF_VARIANT = "off_variant"
WRONG_ANSWER = "wrong_answer"
CONTRADICTED = "contradicted"
ILL_POSED = "ill_posed"
JUDGE_REJECTED = "judge_rejected"
NO_EVIDENCE = "no_evidence"
BELOW_LEVEL = "below_level"


class VerifyConfig(StageConfig):
    """The rungs and where they cut."""

    limits: Limits = Limits()
    """Cuts of the checks of form."""
    solver_samples: int = 2
    """Solutions per solver; 0 asks no solver."""
    solver_tokens: int = 8192
    """Limit of a solver's reply, thought included, in tokens."""
    short_solutions: bool = False
    """Ask solvers for the answer alone (small models)."""
    min_agreement: float = 0.5
    """Share of independent solutions that must reach the answer, 0..1."""
    min_agreeing: int = 1
    """Independent solutions that must reach the answer."""
    min_agreeing_choices: int = 2
    """The same for multiple choice and true/false, where a guess often hits."""
    measure_levels: list[str] = ["H4", "H5"]
    """Requested levels at which an item is solved even if its answer is vouched for: to measure its level."""
    judge: Literal["off", "unclear", "always"] = "unclear"
    """Whom the judge reads: nobody, items that are still without evidence, or all that got so far."""
    judge_samples: int = 1
    """Readings per judge; any that finds an error rejects."""
    judge_tokens: int = 8192
    """Limit of a judge's reply, thought included, in tokens."""
    min_judge_score: int = 3
    """A right item with a lower score (1..5) is rejected all the same."""
    relabel: bool = True
    """Have the annotator label what came out; without it, variants get their seed's labels and others none."""
    label_passes: Literal[1, 2] = 1
    """One call for all labels, or discipline, field and level one after another (small models)."""
    label_votes: int = 1
    """Samples of each labelling call; the most frequent label (the median level) wins."""
    max_level_gap: int | None = None
    """Levels below the requested one at which an item is still kept; null: any, it is only relabelled."""


class Verify(Stage):
    """Lets through what independent evidence supports, labelled as what it is."""

    name: ClassVar[str] = "verify"
    Config = VerifyConfig
    # Teacher and refiner are never asked here: the stage must know their families.
    roles: ClassVar[tuple[str, ...]] = ("solvers", "judge", "annotator", "teacher", "refiner")
    assets: ClassVar[tuple[str, ...]] = (
        "prompts/solve.j2",
        "prompts/solve_short.j2",
        "prompts/judge.j2",
        *ASSETS,
    )
    config: VerifyConfig

    def steps(self) -> tuple[Step, ...]:
        """One map over the items."""
        return (Map("verify", self.run, takes="record"),)

    async def run(self, record: Record, kit: Kit) -> list[Record]:
        """The item with evidence and labels, or dropped at the rung that decided."""
        limits = self.config.limits
        problem = first_problem(record, limits) or variant(record, limits)
        if problem:
            return [record.drop(kit.entry, *problem)]
        vouched = support(record)
        if isinstance(vouched, Problem):
            return [record.drop(kit.entry, *vouched)]
        if vouched:
            record = record.edit(kit.entry, "supported", vouched, evidence=[*record.evidence, vouched])
        for rung in (self.solvers, self.judges):
            record = await rung(record, kit)
            if record.dropped:
                return [record]
        if not record.evidence:
            reason = CONTRADICTED if record.refine_verdict == CONTRADICTED else NO_EVIDENCE
            return [record.drop(kit.entry, reason, _unsupported(record))]
        return [await self.labelled(record, kit)]

    async def solvers(self, record: Record, kit: Kit) -> Record:
        """Independent solutions: they vouch for the answer, speak against it, and measure how hard it is."""
        wanted = record.requested.level if record.requested else None
        measure = wanted in self.config.measure_levels
        authors = _authors(record, kit)
        asked = [
            model
            for model in kit.all_models("solvers")
            if measure or (not record.evidence and _independent(model, authors))
        ]
        if not asked:
            return record
        found = await asyncio.gather(*(self.tally(record, model) for model in asked))
        counts = list(zip(asked, found, strict=True))
        for model, count in counts:
            if count != Tally():
                record = record.score(**tally_scores(model.name, count))
        rate = pooled(found).pass_rate
        if rate is not None:
            record = record.score(pass_rate=rate)
        if any(name in record.evidence for name in ("seed_answer", "symbolic")):
            return record
        others = [(model, count) for model, count in counts if _independent(model, authors)]
        return self.weighed(record, others, kit.entry)

    async def tally(self, record: Record, model: Model) -> Tally:
        """What `model` makes of the item: as synthesize measured it, or anew after a contradiction."""
        known = tally_from(model.name, record.scores) if record.refine_verdict != CONTRADICTED else None
        if known is not None or self.config.solver_samples <= 0:
            return known or Tally()
        attempts = await solve(
            model,
            record.question,
            record.choices,
            samples=self.config.solver_samples,
            short=self.config.short_solutions,
            max_tokens=self.config.solver_tokens,
        )
        return tally(attempts, record.answer, record.question_type)

    def weighed(self, record: Record, counts: list[tuple[Model, Tally]], entry: str) -> Record:
        """The item with the evidence of independent solvers, or dropped where they speak against it."""
        total = pooled(count for _, count in counts)
        guessable = bool(record.choices) or record.question_type == "true_false"
        needed = self.config.min_agreeing_choices if guessable else self.config.min_agreeing
        rate = total.pass_rate or 0.0
        if total.agree >= needed and rate >= self.config.min_agreement and total.agree > total.rival_votes:
            names = [f"solver:{model.name}" for model, count in counts if count.agree]
            detail = f"{total.agree} of {total.agree + total.differ} independent solutions agree"
            return record.edit(entry, "solved", detail, evidence=[*record.evidence, *names])
        if total.agree == 0 and total.differ >= 2:
            detail = f"answer {record.answer[:120]!r}; {total.differ} independent solutions differ"
            if total.rival_votes >= 2:
                detail += f", {total.rival_votes} of them say {total.rival[:120]!r}"
            if record.refine_verdict == CONTRADICTED:
                return record.drop(entry, CONTRADICTED, _unsupported(record))
            return record.drop(entry, WRONG_ANSWER if total.rival_votes >= 2 else NO_EVIDENCE, detail)
        return record

    async def judges(self, record: Record, kit: Kit) -> Record:
        """Readings by the judges: one error found by an independent one is enough to drop the item."""
        if self.config.judge == "off" or (self.config.judge == "unclear" and record.evidence):
            return record
        authors = _authors(record, kit)
        always = self.config.judge == "always"
        asked = [model for model in kit.all_models("judge") if always or _independent(model, authors)]
        readings = await asyncio.gather(
            *(
                judge(
                    model,
                    record.question,
                    record.answer,
                    choices=record.choices,
                    solution=record.solution,
                    samples=self.config.judge_samples,
                    max_tokens=self.config.judge_tokens,
                )
                for model in asked
            )
        )
        for model, verdicts in zip(asked, readings, strict=True):
            stands = worst(verdicts)
            if stands is None:
                continue
            record = record.score(**{f"judge:{model.name}": float(stands.score)})
            if not _independent(model, authors):
                continue
            record = record.score(judge=min(float(stands.score), record.scores.get("judge", 5.0)))
            found = f"judge {model.name}: {stands.verdict}, score {stands.score}: {stands.reason[:300]}"
            if stands.verdict == "ill_posed":
                return record.drop(kit.entry, ILL_POSED, found)
            if stands.verdict == "wrong" or stands.score < self.config.min_judge_score:
                return record.drop(kit.entry, JUDGE_REJECTED, found)
            names = [*record.evidence, f"judge:{model.name}"]
            record = record.edit(kit.entry, "judged", found, evidence=names)
        return record

    async def labelled(self, record: Record, kit: Kit) -> Record:
        """The accepted item with the labels that it earned, or dropped where it is far too easy."""
        counts = [tally_from(model.name, record.scores) for model in kit.all_models("solvers")]
        total = pooled(count for count in counts if count)
        record = await self.relabelled(record, kit)
        if total.agree + total.differ:
            level, error = measured_level(total.agree, total.agree + total.differ)
            counts_as = combined_level(record.labels.level_rubric, level, error)
            record = record.relabel(level_measured=level, level_se=error, level=counts_as)
        wanted, got = (record.requested.level if record.requested else None), record.labels.level
        if wanted and got and wanted != got:
            record = record.edit(kit.entry, "level_differs", f"requested {wanted}, obtained {got}")
        gap = self.config.max_level_gap
        if gap is not None and wanted and got and int(wanted[1:]) - int(got[1:]) > gap:
            return record.drop(kit.entry, BELOW_LEVEL, f"requested {wanted}, obtained {got}")
        return record

    async def relabelled(self, record: Record, kit: Kit) -> Record:
        """The item with the annotator's labels, or with its seed's where nobody is asked."""
        seed = record.seeds[0] if record.seeds and strategy_of(record) in VARIANTS else None
        inherited: dict[str, Any] = {}
        if seed and seed.field and seed.field in taxonomy.load():
            # A rewording is about what its seed is about.
            inherited = placed(seed.field, taxonomy.load())
        annotators = kit.all_models("annotator")
        if not self.config.relabel or not annotators:
            if not seed or not inherited:
                return record
            as_hard = {"level": seed.level, "level_rubric": seed.level, "grade": seed.grade}
            return record.relabel(**inherited, **as_hard, labeller="seed")
        found = await label(
            annotators[0],
            record,
            passes=self.config.label_passes,
            votes=self.config.label_votes,
            known=Labels(**inherited),
        )
        if found.self_contained is not None:
            record = record.score(self_contained=float(found.self_contained))
        detail = found.failure or f"{found.labels.field}, {found.labels.level}, {found.labels.grade}"
        action = "labels_missing" if found.failure else "relabelled"
        kind = record.question_type or found.question_type
        return record.edit(kit.entry, action, detail[:300], labels=found.labels, question_type=kind)


def _authors(record: Record, kit: Kit) -> frozenset[str] | None:
    """Families whose word does not count for this item; None (nobody's counts) if the writer is unknown."""
    families = {model.family for model in kit.all_models("teacher") if model.id == record.teacher}
    if not families:
        return None
    if record.refine_verdict == CONTRADICTED:
        families |= {model.family for model in kit.all_models("refiner") if model.id == record.refiner}
    return frozenset(families)


def _independent(model: Model, authors: frozenset[str] | None) -> bool:
    return authors is not None and model.family not in authors


def _unsupported(record: Record) -> str:
    """What is known of an item that nothing vouches for."""
    told = ", ".join(f"{name} {value:g}" for name, value in sorted(record.scores.items()))
    answers = f"answer {record.answer[:120]!r}"
    if record.refine_verdict == CONTRADICTED:
        answers = f"draft {record.draft_answer[:120]!r}, refined {record.answer[:120]!r}"
    return f"{answers}; {told or 'nothing measured'}"
