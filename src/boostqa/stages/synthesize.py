"""Synthesize: tasks in, question-answer pairs out, one flow per route.

`multi_grade` writes by the strategy that the task names: a new question from the seed, or a variant of a seed
whose answer is checked. Candidates are drawn one after another until one passes the checks that cost nothing.
`high_difficulty` writes several candidates by a named mechanism of hardness, has reference solvers try them,
and keeps the hardest that is still valid; what was solved too often is shown to the writer, who tries again,
until the wanted level is reached, it gets no harder, or the attempts end.

Every task is spent by its children (kept or dropped with a reason) or dropped with the reason why there is
none. Nothing is believed here: refine and verify follow.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from boostqa.flows import write as writing
from boostqa.flows.check import Limits, Problem, answer_text, first_problem
from boostqa.flows.solve import Tally, measured_level, pooled, solve, sound, tally, tally_from, tally_scores
from boostqa.flows.variant import answer_like, number_text, support, variant
from boostqa.flows.write import Call, Draft
from boostqa.identity import unit
from boostqa.llm.model import Model
from boostqa.prompts import LETTERS, Strategy, prompt_hash, strategies
from boostqa.record import Record
from boostqa.stage import Kit, Map, Stage, StageConfig, Step
from boostqa.text.answers import choice_letter, evaluate

SAMPLES_PER_USE = 64
"""More than the drafts of any task; keeps the samples of a seed's tasks apart, so that none is a repeat."""
UNSUITABLE_SEED = "unsuitable_seed"
EASIER_CANDIDATE = "easier_candidate"
UNSOLVED_CANDIDATE = "unsolved_candidate"
UNKNOWN_STRATEGY = "unknown_strategy"


class SynthesizeConfig(StageConfig):
    """How much is tried for one task."""

    candidates: int = 1
    """Drafts per `multi_grade` task at most; the next is asked for only when one fails a check of form."""
    hard_candidates: int = 3
    """Drafts per attempt of a `high_difficulty` task; one where there are no solvers to compare them."""
    hard_attempts: int = 2
    """Times that a `high_difficulty` task is written harder at most."""
    solver_samples: int = 4
    """Solutions per solver that measure a `high_difficulty` candidate."""
    temperature: float = 0.8
    """Sampling temperature of the writer."""
    max_tokens: int = 8192
    """Limit of a writer's reply, thought included, in tokens."""
    solver_tokens: int = 8192
    """Limit of a solver's reply, thought included, in tokens."""
    short_solutions: bool = False
    """Ask solvers for the answer alone (small models)."""
    vary_prompts: list[Literal["vary", "vary_name", "vary_point"]] = ["vary"]
    """Wordings of the task to reword a question, one candidate each in turn: `vary` leaves the writer free,
    the others show one fixed turn of phrase (tiny models)."""
    greedy_first: bool = False
    """Let the first rewording of each wording be the most likely one (temperature 0), later ones sampled."""
    number_answers: Literal["writer", "formula"] = "writer"
    """Whose answer a `vary_numbers` item carries: the writer's, which the formula then checks, or its own."""
    keep_reasoning: bool = False
    """Keep the writer's thought in `reasoning`."""
    seed_chars: int = 8000
    """Characters of each seed shown to the writer at most."""
    limits: Limits = Limits()
    """Cuts of the checks of form between candidates; verify has its own."""


class Synthesize(Stage):
    """Writes what the plan asks for."""

    name: ClassVar[str] = "synthesize"
    Config = SynthesizeConfig
    roles: ClassVar[tuple[str, ...]] = ("teacher", "solvers")
    assets: ClassVar[tuple[str, ...]] = (
        *(f"prompts/{name}.j2" for name in ("write", "harden", "vary", "vary_name", "vary_point")),
        "prompts/vary_numbers.j2",
        "prompts/distract.j2",
        "prompts/solve.j2",
        "prompts/solve_short.j2",
        "prompts/strategies.yaml",
        "taxonomy/grades.yaml",
        "taxonomy/levels.yaml",
        "taxonomy/types.yaml",
    )
    config: SynthesizeConfig

    def steps(self) -> tuple[Step, ...]:
        """One map over the tasks."""
        return (Map("write", self.run, takes="record"),)

    async def run(self, task: Record, kit: Kit) -> list[Record]:
        """The children of one task, or the task itself, dropped."""
        strategy = self._strategy(task, kit)
        if strategy is None:
            return [task.drop(kit.entry, UNKNOWN_STRATEGY, f"requested: {task.requested}")]
        missing = [name for name in strategy.needs if not task.seeds or not getattr(task.seeds[0], name)]
        if missing:
            return [task.drop(kit.entry, UNSUITABLE_SEED, f"{strategy.name} needs {', '.join(missing)}")]
        work = _Task(task, strategy, kit, self.config)
        return await (work.raise_difficulty() if strategy.prompt == "harden" else work.first_good())

    def _strategy(self, task: Record, kit: Kit) -> Strategy | None:
        requested = task.requested
        if requested is None:
            return None
        if requested.strategy:
            return strategies().get(requested.strategy)
        # A plan may leave the mechanism open; then it is drawn, the same for every run of this task.
        hard = [item for item in strategies().values() if item.route == requested.route == "high_difficulty"]
        return kit.rng(task.id).choice(hard) if hard else strategies()["write"]


class _Task:
    """One task while it is worked on."""

    def __init__(self, task: Record, strategy: Strategy, kit: Kit, config: SynthesizeConfig) -> None:
        self.task, self.strategy, self.kit, self.config = task, strategy, kit, config
        teachers = kit.all_models("teacher") or [kit.model("teacher")]
        self.teacher: Model = teachers[int(unit("teacher", task.id) * len(teachers))]
        self.solvers = kit.all_models("solvers")

    def call(self, sample: int) -> Call:
        """The settings of one draft; a seed that led before, by the same prompt, gets other samples this time."""
        config = self.config
        again = 0 if self.strategy.prompt == "vary_numbers" else int(self.task.scores.get("seed_use", 0))
        sample += again * SAMPLES_PER_USE
        return Call(sample=sample, temperature=config.temperature, max_tokens=config.max_tokens)

    def born(self, draft: Draft, key: int, **fields: object) -> Record:
        """The child for a draft; `key` tells the children of one task apart."""
        requested = self.task.requested
        child = self.task.child(
            self.kit.entry,
            "qa",
            key,
            **{
                "question": draft.question,
                "choices": draft.choices,
                "answer": draft.answer,
                "solution": draft.solution,
                "reasoning": draft.reply.reasoning if self.config.keep_reasoning else "",
                "question_type": requested.question_type if requested else None,
                "language": requested.language if requested else None,
                "requested": requested,
                "seeds": self.task.seeds,
                "draft_answer": draft.answer,
                "teacher": self.teacher.id,
                "prompt_hash": prompt_hash(draft.prompt),
                "round": self.kit.round or None,
                **fields,
            },
        )
        if child.choices and (letter := choice_letter(child.answer, child.choices)):
            child = (
                child.edit(self.kit.entry, "answer_as_letter", answer=letter)
                if letter != child.answer
                else child
            )
        return child.edit(self.kit.entry, "mechanism", draft.mechanism[:500]) if draft.mechanism else child

    def failed(self, drafts: Sequence[Draft]) -> Record:
        """The task dropped because no draft could be used; the first failure names the reason."""
        detail = "; ".join(f"{draft.failure}: {draft.reply.error[:200]}" for draft in drafts)
        return self.task.drop(self.kit.entry, drafts[0].failure, detail[:1000])

    # ---- multi_grade

    async def first_good(self) -> list[Record]:
        """Candidates one by one until one passes the checks that cost nothing; the others are dropped."""
        children: list[Record] = []
        failures: list[Draft] = []
        new: dict[str, float] | None = None
        if self.strategy.prompt == "vary_numbers":
            new = writing.new_numbers(self.task.seeds[0], self.kit.rng(self.task.id))
            if new is None:
                found = f"no new numbers found for formula {self.task.seeds[0].formula!r}"
                return [self.task.drop(self.kit.entry, UNSUITABLE_SEED, found)]
        for index in range(max(1, self.config.candidates)):
            draft = await self.draft(index, new)
            if draft.failure:
                failures.append(draft)
                continue
            child = self.shaped(draft, index, new)
            problem = first_problem(child, self.config.limits) or variant(child, self.config.limits)
            if problem is None and isinstance(against := support(child), Problem):
                problem = against
            if problem is None:
                return [*children, child]
            children.append(child.drop(self.kit.entry, problem.reason, problem.evidence))
        return children or [self.failed(failures)]

    async def draft(self, index: int, new: dict[str, float] | None) -> Draft:
        """One draft by the prompt of the strategy."""
        seeds, requested = self.task.seeds, self.task.requested
        assert requested is not None
        if self.strategy.prompt == "write":
            return await writing.write(
                self.teacher,
                seeds,
                requested,
                self.strategy,
                call=self.call(index),
                seed_limit=self.config.seed_chars,
            )
        wordings = ["vary_numbers"] if new is not None else self.config.vary_prompts
        call = self.call(index // len(wordings))
        if self.config.greedy_first and call.sample == 0:
            call = msgspec.structs.replace(call, temperature=0.0)
        if new is not None:
            own = self.config.number_answers == "writer"
            return await writing.vary_numbers(self.teacher, seeds[0], new, call=call, answer=own)
        reworded = await writing.vary(
            self.teacher, seeds[0], call=call, prompt=wordings[index % len(wordings)]
        )
        return await self.with_options(reworded, call) if self.strategy.prompt == "distract" else reworded

    async def with_options(self, reworded: Draft, call: Call) -> Draft:
        """A reworded question with wrong options; a seed's own options are kept."""
        seed = self.task.seeds[0]
        if reworded.failure or reworded.choices:
            return reworded
        return await writing.distract(self.teacher, reworded.question, seed.answer, call=call)

    def shaped(self, draft: Draft, index: int, new: dict[str, float] | None) -> Record:
        """The child for a draft, with what the strategy knows and the writer does not."""
        if self.strategy.prompt == "write":
            return self.born(draft, index)
        seed = self.task.seeds[0]
        if new is not None:
            fields: dict[str, object] = {
                "formula": seed.formula,
                "variables": new,
                "question_type": "calculation",
            }
            if self.config.number_answers == "formula":
                answer = answer_like(seed, evaluate(seed.formula, new))
                values = ", ".join(f"{name} = {number_text(value)}" for name, value in new.items())
                fields |= {"answer": answer, "draft_answer": answer}
                # Bare, but right; refine makes a worked solution of it.
                fields["solution"] = f"{seed.formula} with {values}: {answer}"
            return self.born(draft, index, **fields)
        if self.strategy.prompt == "distract" and not seed.choices:
            choices, letter = placed(draft.answer, draft.choices, self.kit.rng(self.task.id))
        elif draft.choices:
            given = choice_letter(draft.answer, draft.choices) or draft.answer
            choices, letter = draft.choices, given
        else:
            return self.born(draft, index, question_type=self.plain_type())
        fields = {"choices": choices, "answer": letter, "draft_answer": letter, "solution": seed.solution}
        return self.born(draft, index, question_type="multiple_choice", **fields)

    def plain_type(self) -> str:
        """Type of a reworded question without options."""
        wished = self.task.requested.question_type if self.task.requested else None
        return wished if wished and wished not in ("multiple_choice", "true_false") else "short_answer"

    # ---- high_difficulty

    async def raise_difficulty(self) -> list[Record]:
        """Attempt after attempt until hard enough; at most one child is kept, all others are dropped."""
        wanted = self.task.requested.level if self.task.requested else None
        best: Record | None = None
        losers: list[Record] = []
        failures: list[Draft] = []
        earlier: list[str] = []
        for attempt in range(max(1, self.config.hard_attempts)):
            tried, dropped, failed = await self.attempt(attempt, earlier)
            losers += dropped
            failures += failed
            valid = [child for child in tried if self.valid(child)]
            losers += [self.lost(child, UNSOLVED_CANDIDATE) for child in tried if not self.valid(child)]
            pool = [best, *valid] if best else valid
            if not pool:
                continue
            hardest = min(pool, key=_hardness)
            losers += [self.lost(child, EASIER_CANDIDATE) for child in pool if child is not hardest]
            stuck, best = hardest is best, hardest
            rate = best.scores.get("pass_rate")
            # Solvers that never fail to measure it: without a pass rate there is nothing to raise against.
            if stuck or rate is None or (wanted and self.level(best) >= wanted):
                break
            earlier = [
                f"{child.question}\nSolved in {child.scores['pass_rate']:.0%} of tries"
                for child in valid
                if "pass_rate" in child.scores
            ]
        kept = [best] if best else []
        return [*kept, *losers] or [self.failed(failures)]

    async def attempt(
        self, attempt: int, earlier: list[str]
    ) -> tuple[list[Record], list[Record], list[Draft]]:
        """Candidates of one attempt: measured ones, those that failed a check of form, and failed calls."""
        requested = self.task.requested
        assert requested is not None
        count = max(1, self.config.hard_candidates) if self.solvers else 1
        drafts = await asyncio.gather(
            *(
                writing.write(
                    self.teacher,
                    self.task.seeds,
                    requested,
                    self.strategy,
                    call=self.call(attempt * count + index),
                    earlier=earlier,
                    seed_limit=self.config.seed_chars,
                )
                for index in range(count)
            )
        )
        good, dropped, failed = [], [], []
        for index, draft in enumerate(drafts):
            if draft.failure:
                failed.append(draft)
                continue
            child = self.born(draft, attempt * count + index)
            problem = first_problem(child, self.config.limits)
            if problem:
                dropped.append(child.drop(self.kit.entry, problem.reason, problem.evidence))
            else:
                good.append(child)
        return list(await asyncio.gather(*(self.measured(child) for child in good))), dropped, failed

    async def measured(self, child: Record) -> Record:
        """The child with what the solvers made of it, in scores that verify reads."""
        config = self.config
        attempts = await asyncio.gather(
            *(
                solve(
                    solver,
                    child.question,
                    child.choices,
                    samples=config.solver_samples,
                    short=config.short_solutions,
                    max_tokens=config.solver_tokens,
                )
                for solver in self.solvers
            )
        )
        scores: dict[str, float] = {}
        counts: list[Tally] = []
        for solver, tries in zip(self.solvers, attempts, strict=True):
            counts.append(tally(tries, child.answer, child.question_type))
            scores |= tally_scores(solver.name, counts[-1])
        rate = pooled(counts).pass_rate
        return child.score(**scores, **({} if rate is None else {"pass_rate": rate}))

    def level(self, child: Record) -> str:
        """The level that the solvers measured."""
        total = pooled(_tallies(child, self.solvers))
        return measured_level(total.agree, total.tried)[0]

    def valid(self, child: Record) -> bool:
        """Whether a candidate may be right: verify's rule for hard items, or nobody could try or compare it.

        The writer's own family counts only where no other solver is there, as it measures but cannot vouch.
        """
        others = [solver for solver in self.solvers if solver.family != self.teacher.family]
        total = pooled(_tallies(child, others or self.solvers))
        guessable = bool(child.choices) or child.question_type == "true_false"
        return sound(total, guessable) if total.tried else True

    def lost(self, child: Record, reason: str) -> Record:
        """A candidate that is not kept."""
        rate = child.scores.get("pass_rate")
        found = "not measured" if rate is None else f"pass rate {rate:.2f}"
        return child.drop(self.kit.entry, reason, f"{found}; answer {answer_text(child)[:80]!r}")


def placed(answer: str, wrong: Sequence[str], rng: random.Random) -> tuple[list[str], str]:
    """The options in an order drawn by `rng`, and the letter of the right one."""
    options = [*wrong]
    position = rng.randrange(len(options) + 1)
    options.insert(position, answer)
    return options, LETTERS[position]


def _hardness(child: Record) -> tuple[float, str]:
    # Unmeasured ones last: hardness that nobody saw does not win. The id makes ties the same on every run.
    return child.scores.get("pass_rate", 2.0), child.id


def _tallies(child: Record, solvers: Sequence[Model]) -> list[Tally]:
    found = (tally_from(solver.name, child.scores) for solver in solvers)
    return [counts for counts in found if counts]
