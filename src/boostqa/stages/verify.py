"""Verify: a ladder of checks, cheapest first, that stops when the verdict is clear.

    form        complete, in its language, self-contained, no leak, no copy; a variant asks what its seed asks
    seed        the seed's checked answer or its formula agrees       -> evidence seed_answer, symbolic
    solvers     independent solutions that see only the question      -> evidence solver:<model>
    judge       a pessimistic reading by a rubric                     -> evidence judge:<model>
    labels      what the item turned out to be: by an annotator that saw no request, and by the pass rate

An answer enters the data only with evidence, and evidence counts only from a seed, a rule, or a model of
another family than the author's: the writer's, and the refiner's where the text in question is the refiner's.
What the author's own family says is kept as a score. The seed's word stands while nobody objects: after a
contradiction, where a rewording has one word for another, or where no independent solver reaches the answer,
others must vouch too. What synthesize
measured is used, not paid again.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Literal

import msgspec

from boostqa import taxonomy
from boostqa.flows.check import VARIANTS, Limits, Problem, first_problem, strategy_of
from boostqa.flows.judge import judge, worst
from boostqa.flows.label import ASSETS, combined_level, label, placed
from boostqa.flows.solve import (
    Tally,
    measured_level,
    pooled,
    solve,
    sound,
    tally,
    tally_from,
    tally_scores,
)
from boostqa.flows.variant import doubtful, same_text, support, variant
from boostqa.llm.model import Model, Outcome
from boostqa.record import Labels, Record
from boostqa.stage import Kit, Map, Stage, StageConfig, Step
from boostqa.text.answers import choice_letter

OFF_VARIANT = "off_variant"
WRONG_ANSWER = "wrong_answer"
CONTRADICTED = "contradicted"
ILL_POSED = "ill_posed"
JUDGE_REJECTED = "judge_rejected"
NO_EVIDENCE = "no_evidence"
BELOW_LEVEL = "below_level"
CALL_FAILED = "call_failed"
UNLABELLED = "unlabelled"

_FROM_SEED = ("seed_answer", "symbolic")


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
    """Share of independent solutions that must reach the answer, 0..1. At a level of `measure_levels` it is
    enough that two reach it and more than any other, as most must fail; where guesses hit, half all the same."""
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
    label_passes: Literal[1, 2, 3] = 1
    """Calls for all labels, as `annotate.passes`."""
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
        doubt = doubtful(record) if vouched else ""
        if vouched and not doubt and record.refine_verdict != CONTRADICTED and not _new_options(record):
            record = record.edit(kit.entry, "supported", vouched, evidence=[*record.evidence, vouched])
        for rung in (self.solvers, self.judges):
            record = await rung(record, kit)
            if record.dropped:
                return [record]
        if not record.evidence and doubt:
            return [record.drop(kit.entry, OFF_VARIANT, f"{doubt}; {_unsupported(record)}")]
        if not record.evidence:
            return [record.drop(kit.entry, _reason(record), _unsupported(record))]
        if vouched and vouched not in record.evidence:
            record = record.edit(kit.entry, "supported", vouched, evidence=[vouched, *record.evidence])
        return [await self.labelled(record, kit)]

    async def solvers(self, record: Record, kit: Kit) -> Record:
        """Independent solutions: they vouch for the answer, speak against it, and measure how hard it is."""
        authors = _authors(record, kit, _refiners_answer(record))
        asked = [
            model
            for model in kit.all_models("solvers")
            if self.hard(record) or (not record.evidence and _independent(model, authors))
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
        others = [(model, count) for model, count in counts if _independent(model, authors)]
        return self.weighed(record, others, kit.entry)

    def hard(self, record: Record) -> bool:
        """Whether the item was asked for at a level that is measured."""
        return bool(record.requested and record.requested.level in self.config.measure_levels)

    async def tally(self, record: Record, model: Model) -> Tally:
        """What `model` makes of the item: as synthesize measured it, or anew for another answer."""
        known = None if _refiners_answer(record) else tally_from(model.name, record.scores)
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
        least = self.config.min_agreeing_choices if guessable else self.config.min_agreeing
        told = f"{total.agree} of {total.told} independent solutions agree"
        told += f", {total.truncated} more cut off" if total.truncated else ""
        agreed = total.reached(least, self.config.min_agreement)
        if agreed or (self.hard(record) and total.agree >= least and sound(total, guessable)):
            names = [f"solver:{model.name}" for model, count in counts if count.agree]
            return record.edit(entry, "solved", told, evidence=[*record.evidence, *names])
        if total.agree or max(total.differ, total.rival_votes) < 2:
            return record
        detail = f"answer {record.answer[:120]!r}; {told}"
        if total.rival_votes >= 2:
            detail += f", {total.rival_votes} say {total.rival[:120]!r}"
        if total.differ >= 2 and record.refine_verdict == CONTRADICTED:
            return record.drop(entry, CONTRADICTED, _unsupported(record))
        if total.differ >= 2 and (total.rival_votes >= 2 or not record.evidence):
            return record.drop(entry, WRONG_ANSWER if total.rival_votes >= 2 else NO_EVIDENCE, detail)
        # No rule tells whether they object, or each says something else: then the seed's word is not enough.
        others = [name for name in record.evidence if name not in _FROM_SEED]
        return record.edit(entry, "doubted", detail, evidence=others) if record.evidence else record

    async def judges(self, record: Record, kit: Kit) -> Record:
        """Readings by the judges: one error found by an independent one is enough to drop the item."""
        if self.config.judge == "off" or (self.config.judge == "unclear" and record.evidence):
            return record
        authors = _authors(record, kit, _refiners_text(record))
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
                failed = sum(item.reply.outcome is Outcome.FAILED for item in verdicts)
                record = record.score(**{f"judge_failed:{model.name}": float(failed)})
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
        record, failure = await self.relabelled(record, kit)
        if total.tried:
            level, error = measured_level(total.agree, total.tried)
            counts_as = combined_level(record.labels.level_rubric, level, error)
            record = record.relabel(level_measured=level, level_se=error, level=counts_as)
        missing = [name for name in ("discipline", "level") if not getattr(record.labels, name)]
        if missing and failure:
            return record.drop(kit.entry, UNLABELLED, f"no {' and no '.join(missing)}: {failure[:300]}")
        wanted, got = (record.requested.level if record.requested else None), record.labels.level
        if wanted and got and wanted != got:
            record = record.edit(kit.entry, "level_differs", f"requested {wanted}, obtained {got}")
        gap = self.config.max_level_gap
        if gap is not None and wanted and got and int(wanted[1:]) - int(got[1:]) > gap:
            return record.drop(kit.entry, BELOW_LEVEL, f"requested {wanted}, obtained {got}")
        return record

    async def relabelled(self, record: Record, kit: Kit) -> tuple[Record, str]:
        """The item with the annotator's labels over those that a variant has from its seed; what failed, or ""."""
        seed = record.seeds[0] if record.seeds and strategy_of(record) in VARIANTS else None
        inherited: dict[str, Any] = {}
        if seed and seed.field and seed.field in taxonomy.load():
            # A rewording is about what its seed is about.
            inherited = placed(seed.field, taxonomy.load())
        annotators = kit.all_models("annotator")
        if seed and inherited:
            as_hard = {"level": seed.level, "level_rubric": seed.level, "grade": seed.grade}
            record = record.relabel(**inherited, **as_hard, labeller="seed")
        if not self.config.relabel or not annotators:
            return record, ""
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
        told = {name: value for name, value in msgspec.structs.asdict(found.labels).items() if value}
        if inherited and told.get("field") != inherited["field"]:
            for name in ("field_confidence", "field_second", "field_second_confidence"):
                told.pop(name, None)
        record = record.relabel(**(told | inherited))
        return record.edit(kit.entry, action, detail[:300], question_type=kind), found.failure


def _authors(record: Record, kit: Kit, refined: bool) -> frozenset[str] | None:
    """Families whose word does not count for this item; None (nobody's counts) if the writer is unknown.

    `refined`: whether the refiner is an author of what is in question, too.
    """
    families = {model.family for model in kit.all_models("teacher") if model.id == record.teacher}
    if not families:
        return None
    if refined:
        families |= {model.family for model in kit.all_models("refiner") if model.id == record.refiner}
    return frozenset(families)


def _refiners_answer(record: Record) -> bool:
    """Whether the answer came from the refiner, so that nothing said of the draft holds for it."""
    draft = record.draft_answer
    if record.choices:
        draft = choice_letter(draft, record.choices) or draft
    changed = bool(draft) and not same_text(record.answer, draft)
    return changed or record.refine_verdict == CONTRADICTED


def _refiners_text(record: Record) -> bool:
    """Whether a judge reads what the refiner wrote, answer or solution."""
    return record.refine_verdict is not None


def _new_options(record: Record) -> bool:
    """Whether options stand there that the seed does not have: its answer tells nothing of those."""
    return bool(record.choices) and set(record.choices) != set(record.seeds[0].choices)


def _independent(model: Model, authors: frozenset[str] | None) -> bool:
    return authors is not None and model.family not in authors


def _reason(record: Record) -> str:
    """Why an item without evidence ends: contradicted, nobody could be reached, or nobody vouched."""
    if record.refine_verdict == CONTRADICTED:
        return CONTRADICTED
    failed = heard = False
    for name, value in record.scores.items():
        kind = name.partition(":")[0]
        failed |= kind in ("solver_failed", "judge_failed") and value > 0
        heard |= kind == "judge" or (kind in _HEARD and value > 0)
    return CALL_FAILED if failed and not heard else NO_EVIDENCE


_HEARD = ("solver_agree", "solver_differ", "solver_unclear", "solver_truncated")


def _unsupported(record: Record) -> str:
    """What is known of an item that nothing vouches for."""
    told = ", ".join(f"{name} {value:g}" for name, value in sorted(record.scores.items()))
    answers = f"answer {record.answer[:120]!r}"
    if record.refine_verdict == CONTRADICTED:
        answers = f"draft {record.draft_answer[:120]!r}, refined {record.answer[:120]!r}"
    return f"{answers}; {told or 'nothing measured'}"
