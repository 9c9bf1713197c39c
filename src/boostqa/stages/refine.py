"""Refine: a second model checks each item and rewrites its solution.

The refiner sees the question, the draft and the seed, never the judge's prompt. Its verdict is not taken at
its word: whether the answer changed is found by comparing the two answers. `unchanged` and `improved` take
over the new solution; `contradicted` goes on to verify with both answers. An answer in words that no rule
finds equal comes in together with its solution, and what solvers said of the draft goes. Where the seed
itself vouches for the answer, a refiner cannot overwrite it; but an answer in quite other words counts as
`contradicted`, whatever it claims, so that verify wants another witness. A failed call leaves the draft as it
is, without a verdict: verify decides.
"""

from __future__ import annotations

from typing import Any, ClassVar

from boostqa.flows.asked import content
from boostqa.flows.check import ends_otherwise, strategy_of
from boostqa.flows.solve import object_schema, without_tallies
from boostqa.flows.variant import same_text, support
from boostqa.flows.write import describe
from boostqa.llm.model import Reply, Request
from boostqa.prompts import LETTERS, render
from boostqa.record import Record
from boostqa.stage import Kit, Map, Stage, StageConfig, Step
from boostqa.text.answers import choice_letter, equal, final
from boostqa.text.normalise import words

UNCHANGED, IMPROVED, CONTRADICTED = "unchanged", "improved", "contradicted"


class RefineConfig(StageConfig):
    """What is refined and how."""

    max_tokens: int = 8192
    """Limit of a reply, thought included, in tokens."""
    temperature: float = 0.0
    """Sampling temperature of the refiner."""
    skip_strategies: list[str] = []
    """Strategies whose items pass unrefined, such as variants that carry a seed's own checked solution."""
    show_seed: bool = True
    """Whether the refiner sees the seed that an item was made from."""
    seed_chars: int = 8000
    """Characters of each seed shown at most."""


class Refine(Stage):
    """Turns drafts into worked solutions and finds contradictions."""

    name: ClassVar[str] = "refine"
    Config = RefineConfig
    roles: ClassVar[tuple[str, ...]] = ("refiner",)
    assets: ClassVar[tuple[str, ...]] = ("prompts/refine.j2",)
    config: RefineConfig

    def steps(self) -> tuple[Step, ...]:
        """One map over the items."""
        return (Map("refine", self.run, takes="record"),)

    async def run(self, record: Record, kit: Kit) -> list[Record]:
        """The item with a verdict and a better solution, or as it was where there was none."""
        strategy = strategy_of(record)
        if strategy in self.config.skip_strategies:
            return [record.edit(kit.entry, "skipped", f"strategy {strategy} is not refined")]
        refiner = kit.model("refiner")
        reply = await refiner.chat(self.request(record))
        data = _usable(reply, record)
        if isinstance(data, str):
            return [record.edit(kit.entry, "kept_draft", data[:300])]
        return [_settled(record, data, kit.entry, refiner.id)]

    def request(self, record: Record) -> Request:
        """What the refiner is asked about an item."""
        answer: dict[str, Any] = {"type": "string", "minLength": 1}
        if record.choices:
            answer = {"type": "string", "enum": list(LETTERS[: len(record.choices)])}
        schema = object_schema(
            {
                "solution": {"type": "string", "minLength": 1},
                "answer": answer,
                "verdict": {"type": "string", "enum": [UNCHANGED, IMPROVED, CONTRADICTED]},
            }
        )
        seeds = record.seeds if self.config.show_seed else []
        messages = render(
            "refine",
            seeds=[describe(seed, self.config.seed_chars) for seed in seeds],
            question=record.question,
            choices=record.choices,
            answer=record.answer,
            solution=record.solution,
        )
        return Request(
            messages=messages,
            max_tokens=self.config.max_tokens,
            temperature=self.config.temperature,
            schema=schema,
            schema_name="refine",
        )


def _usable(reply: Reply, record: Record) -> dict[str, str] | str:
    """The reply's fields as text, or why it cannot be used."""
    if not reply.ok or not isinstance(reply.data, dict):
        return f"call {reply.outcome}: {reply.error}"
    data = {name: str(reply.data.get(name, "")).strip() for name in ("solution", "answer", "verdict")}
    if record.choices:
        data["answer"] = choice_letter(data["answer"], record.choices) or data["answer"]
    if not data["answer"] or not data["solution"]:
        return "reply without answer or solution"
    stated = final(data["solution"])
    if ends_otherwise(stated, data["answer"], record.choices, record.question_type):
        return f"its solution ends in {stated!r}, its answer is {data['answer']!r}"
    return data


def _settled(record: Record, data: dict[str, str], entry: str, refiner: str) -> Record:
    """The item after comparing the refiner's answer with the draft's."""
    draft, answer = record.answer, data["answer"]
    same = equal(answer, draft, record.question_type)
    if same is None and same_text(answer, draft):
        same = True
    fields: dict[str, Any] = {"refiner": refiner, "draft_answer": record.draft_answer or draft}
    vouched = isinstance(support(record), str)
    # Two answers in words that no rule can compare: then, and only then, the refiner's word counts.
    agrees = data["verdict"] != CONTRADICTED if same is None else same
    if same is None and vouched and _unlike(answer, draft):
        # A seed's answer to a question that is no longer the seed's would look like this.
        agrees = False
    claim = "" if agrees == (data["verdict"] != CONTRADICTED) else f"; it said {data['verdict']}"
    if not agrees:
        detail = f"draft {draft[:120]!r}, refiner {answer[:120]!r}{claim}"
        if vouched:
            detail += "; the seed vouches for the draft, which stays"
        else:
            fields |= _taken(record, data)
        return record.edit(entry, CONTRADICTED, detail, refine_verdict=CONTRADICTED, **fields)
    verdict = IMPROVED if data["verdict"] == IMPROVED or not record.solution else UNCHANGED
    if same is None:
        # Its solution ends in its own answer: both are taken, or neither.
        verdict = UNCHANGED if vouched else IMPROVED
        fields |= {} if vouched else _taken(record, data)
    elif verdict == IMPROVED and not vouched and not record.choices:
        fields |= {"answer": answer, "solution": data["solution"]}
    else:
        fields["solution"] = data["solution"]
    return record.edit(entry, verdict, claim.removeprefix("; "), refine_verdict=verdict, **fields)


def _unlike(left: str, right: str) -> bool:
    """Whether two answers in words have no word in common, so that they are hardly the same."""
    ours, theirs = (content(text) or set(filter(str.isalpha, words(text))) for text in (left, right))
    return bool(ours and theirs) and not set(ours) & set(theirs)


def _taken(record: Record, data: dict[str, str]) -> dict[str, Any]:
    """Fields of an item whose answer is now the refiner's: nobody has solved that one yet."""
    return {
        "answer": data["answer"],
        "solution": data["solution"],
        "scores": without_tallies(record.scores),
    }
