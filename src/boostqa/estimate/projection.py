"""What each paid stage will ask its models: the one place that knows this for all of them.

A projection is made from counts (how many seeds are left after the free stages), the recipe's sections, and
the stages' own prompts (`hearing.py`). How many candidates fail and how much is accepted are guesses, which
stand as tables below and are replaced by what a preview measured. One function per stage, listed in `STAGES`.
Knows nothing of money, time, disk or printing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec

from boostqa.estimate.hearing import REPLY, THOUGHT, Ear, Flow, hear, seed_text, stand_in
from boostqa.estimate.spans import Span, words
from boostqa.flows.judge import judge
from boostqa.flows.label import label
from boostqa.flows.probing import ask, checkable
from boostqa.flows.solve import solve
from boostqa.flows.write import Call, distract, vary, vary_numbers, write
from boostqa.prompts import Strategy, strategies
from boostqa.recipe import Recipe
from boostqa.record import Record, Requested
from boostqa.stages.refine import Refine
from boostqa.stages.synthesize import SynthesizeConfig
from boostqa.stages.verify import VerifyConfig

ACCEPTED = Span(0.3, 0.9, 1.6)
"""Guess: items per task that are accepted and land where they were wanted, as a multiple of
`plan.expected_yield`."""
LABELLED = Span(0.7, 0.95, 1.0)
"""Guess: share of the seeds that annotate keeps."""
HARDER = Span(0.7, 1.15, 1.7)
"""Guess: share of the quota at hard levels, as a multiple of their weight in `plan.levels`; the target
lacks more there."""
DRAFTED = Span(0.6, 0.85, 1.0)
"""Guess: items that synthesize keeps, per task; and items that pass verify's checks of form."""
UNCLEAR = Span(0.05, 0.25, 0.6)
"""Guess: share of items that the judge reads where it reads only unclear ones."""


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one kind by one stage to one model."""

    stage: str
    role: str
    model: str
    """Name in the recipe's `models`."""
    task: str
    """Name of the prompt, or `score`."""
    requests: Span
    prompt: float
    """Prompt tokens of one request."""
    shared: float
    """Of these, tokens at the beginning that all requests share."""
    completion: Span
    """Generated tokens of one request, thought included."""


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What a projection rests on."""

    recipe: Recipe
    questions: int
    """Question seeds left after the free stages."""
    passages: int
    """Passages left."""
    sample: list[Record]
    """A few of the seeds."""

    @property
    def acceptance(self) -> Span:
        """Accepted items per task: what the plan expects, with room on both sides."""
        expected = self.recipe.plan.expected_yield
        return Span(expected * ACCEPTED.low, expected * ACCEPTED.mid, min(1.0, expected * ACCEPTED.high))

    @property
    def supply(self) -> float:
        """Tasks that seeds, rounds and the limit per round allow at most."""
        plan = self.recipe.plan
        seeds = self.questions + self.passages
        return float(min(seeds * plan.max_tasks_per_seed, plan.rounds * plan.max_tasks))

    @property
    def tasks(self) -> Span:
        """Tasks, over all rounds, until the wanted number of items is accepted."""
        items, share = float(self.recipe.plan.items), self.acceptance
        return Span(items / share.high, items / share.mid, items / share.low).capped(self.supply)

    @property
    def hard(self) -> Span:
        """Share of the tasks that take the route high_difficulty."""
        plan = self.recipe.plan
        weight = sum(plan.levels.get(level, 0.0) for level in plan.draw.hard_levels)
        share = weight / sum(plan.levels.values())
        return HARDER.times(share).capped(1.0).times(plan.draw.high_difficulty_share)

    @property
    def strategies(self) -> list[tuple[Strategy, float]]:
        """Strategies of the route multi_grade with their shares of its tasks."""
        weights = self.recipe.plan.draw.strategies
        known = [item for item in strategies().values() if item.route == "multi_grade"]
        total = sum(weights.get(item.name, 0.0) for item in known)
        if not total:
            return [(strategies()["write"], 1.0)]
        shares = [(item, weights.get(item.name, 0.0) / total) for item in known]
        return [(item, share) for item, share in shares if share]

    @property
    def vouched(self) -> Span:
        """Share of the items whose answer a seed vouches for."""
        checked = sum(share for item, share in self.strategies if item.checked)
        return Span(1 - self.hard.high, 1 - self.hard.mid, 1 - self.hard.low).times(checked)

    @property
    def rounds(self) -> Span:
        """Rounds until then; a round asks for what is missing at the yield seen so far."""
        most = self.recipe.plan.rounds
        return Span(1.0, float(min(3, most)), float(most))

    @property
    def accepted(self) -> Span:
        """Items that come out: as many as wanted, fewer where the seeds do not suffice."""
        return self.acceptance.times(self.supply).capped(float(self.recipe.plan.items))


def calls(basis: Basis, stage: str, role: str, model: str, times: Span, flow: Flow) -> list[Calls]:
    """The calls of a flow that is run `times` times, as heard on the sample seeds."""
    return [
        Calls(
            stage=stage,
            role=role,
            model=model,
            task=heard.task,
            requests=times.times(heard.requests),
            prompt=heard.prompt,
            shared=heard.shared,
            completion=heard.completion,
        )
        for heard in hear(model, basis.recipe.models[model], flow, basis.sample)
    ]


# One function per paid stage


def annotate(basis: Basis) -> list[Calls]:
    """Both samples of seeds that a model labels, and with `use_gold` the few that check it."""
    config = basis.recipe.annotate
    paid = units(basis)["annotate"].mid
    # Which seeds have complete gold labels is known only when they are read; all might have them.
    times = Span(min(config.gold_checked, paid), paid, paid) if config.use_gold else Span.of(paid)
    flow = _labelling(config.passes, config.votes)
    return calls(basis, "annotate", "annotator", basis.recipe.roles.annotator, times, flow)


def probe(basis: Basis) -> list[Calls]:
    """Held-out questions, each asked in the ways that recipe and target allow."""
    manner = basis.recipe.probe.manner()

    async def flow(ear: Ear, record: Record) -> None:
        if checkable(record):
            await ask(ear, record, manner, random.Random(0))

    questions = [record for record in basis.sample if record.question]
    if not questions:
        return []
    asked = msgspec.structs.replace(basis, sample=questions)
    return calls(asked, "probe", "target", basis.recipe.roles.target, units(basis)["probe"], flow)


def synthesize(basis: Basis) -> list[Calls]:
    """Drafts of both routes, and the solvers that measure the hard ones."""
    config, roles, tasks = basis.recipe.synthesize, basis.recipe.roles, basis.tasks
    hard = tasks.times(basis.hard)
    plain = tasks.times(Span(1 - basis.hard.high, 1 - basis.hard.mid, 1 - basis.hard.low))
    more = Span(1.0, 1.0 + 0.15 * (config.candidates - 1), float(config.candidates))
    found = []
    for strategy, share in basis.strategies:
        times = plain.times(more).times(share)
        found += calls(basis, "synthesize", "teacher", roles.teacher, times, _writing(strategy, config))
    if basis.hard.high:
        drafts = float(config.hard_candidates if roles.solvers else 1)
        attempts = Span(drafts, drafts * (1 + config.hard_attempts) / 2, drafts * config.hard_attempts)
        strategy = next(item for item in strategies().values() if item.prompt == "harden")
        times = hard.times(attempts)
        found += calls(basis, "synthesize", "teacher", roles.teacher, times, _writing(strategy, config))
        solving = _solving(config.solver_samples, config.short_solutions, config.solver_tokens)
        for name in roles.solvers:
            found += calls(basis, "synthesize", "solvers", name, times.times(DRAFTED), solving)
    return found


def refine(basis: Basis) -> list[Calls]:
    """One call per drafted item."""
    config = basis.recipe.refine
    stage = Refine(config)

    async def flow(ear: Ear, record: Record) -> None:
        await ear.chat(stage.request(stand_in(record)))

    skipped = math.fsum(share for item, share in basis.strategies if item.name in config.skip_strategies)
    times = basis.tasks.times(DRAFTED).times(1 - skipped * (1 - basis.hard.mid))
    return calls(basis, "refine", "refiner", basis.recipe.roles.refiner, times, flow)


def verify(basis: Basis) -> list[Calls]:
    """Solvers where no seed vouches for the answer, the judge by its setting, labels of what is accepted."""
    config, roles = basis.recipe.verify, basis.recipe.roles
    items = basis.tasks.times(DRAFTED).times(DRAFTED)
    vouched = basis.vouched
    unsure = items.times(Span(1 - vouched.high, 1 - vouched.mid, 1 - vouched.low))
    found = []
    for name in roles.solvers if config.solver_samples else []:
        solving = _solving(config.solver_samples, config.short_solutions, config.solver_tokens)
        found += calls(basis, "verify", "solvers", name, unsure, solving)
    read = {"off": Span.of(0), "unclear": unsure.times(UNCLEAR), "always": items.times(DRAFTED)}[config.judge]
    if roles.judge and read.high:
        found += calls(basis, "verify", "judge", roles.judge, read, _judging(config))
    if config.relabel:
        times = basis.accepted.times(Span(1.0, 1.1, 1.5))
        flow = _labelling(config.label_passes, config.label_votes)
        found += calls(
            basis, "verify", "annotator", roles.annotator, times, lambda ear, r: flow(ear, stand_in(r))
        )
    return found


STAGES: tuple[Callable[[Basis], list[Calls]], ...] = (annotate, probe, synthesize, refine, verify)
"""All stages that ask models, in the pipeline's order."""


def project(basis: Basis) -> list[Calls]:
    """All calls of the run, to the models that the recipe gives those roles."""
    if not basis.sample:
        return []
    found: dict[tuple[str, str, str, str], Calls] = {}
    for stage in STAGES:
        for one in stage(basis):
            key = one.stage, one.role, one.model, one.task
            found[key] = _together(found[key], one) if key in found else one
    return [one for one in found.values() if one.requests.high > 0]


def _together(one: Calls, other: Calls) -> Calls:
    """Two kinds of calls by one prompt as one, with mean lengths."""
    share = one.requests.mid / ((one.requests.mid + other.requests.mid) or 1.0)
    return msgspec.structs.replace(
        one,
        requests=one.requests.plus(other.requests),
        prompt=one.prompt * share + other.prompt * (1 - share),
        shared=one.shared * share + other.shared * (1 - share),
    )


def units(basis: Basis) -> dict[str, Span]:
    """What the requests of a stage grow with where that is not accepted items: the seeds it asks about."""
    seeds = float(basis.questions + basis.passages)
    config = basis.recipe.annotate
    first = min(seeds, config.sample)
    # Without a first classifier there is no second sample; any seed may bring the gold labels that teach one.
    taught = (seeds if config.use_gold else first) >= config.min_fit
    held = LABELLED.times(basis.questions * basis.recipe.probe.share)
    most = basis.recipe.probe.max_items
    return {
        "annotate": Span.of(min(seeds, first + config.second) if taught else first),
        "probe": held if most is None else held.capped(most),
    }


def guesses(basis: Basis) -> list[str]:
    """What a projection rests on, as sentences for people."""
    plan = basis.recipe.plan
    found = [
        "measured: seeds left after the free stages; prompt lengths on sample seeds (bytes/4)",
        f"guess: {words(basis.acceptance)} accepted items per task (plan.expected_yield), "
        f"{words(basis.rounds)} rounds, {words(basis.hard)} of the tasks on the route high_difficulty",
        f"guess: {words(REPLY['write'])} tokens per written item, {words(REPLY['solve'])} per solution, "
        f"{words(REPLY['label'])} per label, {words(THOUGHT)} more where a model thinks",
        "`--preview N` pays for N items and measures these instead",
    ]
    if basis.accepted.mid < plan.items:
        most = f"seeds and limits allow {basis.supply:,.0f} tasks, too few for {plan.items:,} items"
        found.insert(0, f"short: {most}; add seeds or raise plan.max_tasks_per_seed")
    return found


# What the flows are run on


def _writing(strategy: Strategy, config: SynthesizeConfig) -> Flow:
    call = Call(max_tokens=config.max_tokens)
    asked = Requested(level="H3", grade="high", language="en", question_type="open")

    async def flow(ear: Ear, record: Record) -> None:
        item = seed_text(record)
        if strategy.prompt in ("vary", "distract"):
            await vary(ear, seed_text(stand_in(record)), call=call)
        if strategy.prompt == "distract" and not item.choices:
            await distract(ear, item.question, item.answer, call=call)
        if strategy.prompt == "vary_numbers":
            await vary_numbers(ear, item, record.variables, call=call)
        if strategy.prompt in ("write", "harden"):
            await write(ear, [item], asked, strategy, call=call, seed_limit=config.seed_chars)

    return flow


def _labelling(passes: int, votes: int) -> Flow:
    async def flow(ear: Ear, record: Record) -> None:
        await label(ear, record, passes=passes, votes=votes)

    return flow


def _solving(samples: int, short: bool, limit: int) -> Flow:
    async def flow(ear: Ear, record: Record) -> None:
        item = stand_in(record)
        await solve(ear, item.question, item.choices, samples=samples, short=short, max_tokens=limit)

    return flow


def _judging(config: VerifyConfig) -> Flow:
    async def flow(ear: Ear, record: Record) -> None:
        item = stand_in(record)
        await judge(
            ear,
            item.question,
            item.answer,
            choices=item.choices,
            solution=item.solution,
            samples=config.judge_samples,
            max_tokens=config.judge_tokens,
        )

    return flow
