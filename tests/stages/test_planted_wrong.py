"""Planted wrong answers on the repository's own seeds: the checks of the quickstart, with nothing lowered."""

from __future__ import annotations

import random
from pathlib import Path

import yaml
from harness import run_stage

from boostqa.flows.variant import answer_like, renumbered
from boostqa.flows.write import new_numbers
from boostqa.record import Record, Requested, SeedText
from boostqa.stages.seeds import Seeds, SeedsConfig
from boostqa.stages.verify import Verify, VerifyConfig
from boostqa.text.answers import evaluate


def _seeds(root: Path) -> list[SeedText]:
    sources = [
        {"name": name, "path": str(root / "examples" / "seeds" / name), "license": "CC0-1.0"}
        for name in ("science.jsonl", "humanities.csv")
    ]
    stage = Seeds(SeedsConfig.model_validate({"sources": sources}))
    kept = run_stage(stage, segment="head").kept
    return [
        SeedText(
            id=record.id,
            question=record.question,
            choices=record.choices,
            answer=record.answer,
            solution=record.solution,
            formula=record.formula,
            variables=record.variables,
            language=record.language,
            field=record.gold.field,
        )
        for record in kept
        if record.language == "en" and not record.choices
    ]


def _item(seed: SeedText, strategy: str, question: str, answer: str, **fields) -> Record:
    task = Record(
        id=f"{seed.id}-{strategy}",
        kind="task",
        parents=[seed.id],
        seeds=[seed],
        requested=Requested(strategy=strategy, language="en", route="multi_grade"),
    )
    return task.child(
        "synthesize", "qa", 0, question=question, answer=answer, solution=answer, draft_answer=answer, language="en",
        seeds=[seed], requested=task.requested, teacher="any", question_type="short_answer", **fields
    )  # fmt: skip


def _reworded(question: str) -> str:
    return f"For a short quiz of a school class: {question[0].lower()}{question[1:]}"


def _items(seeds: list[SeedText]) -> list[tuple[Record, list[str]]]:
    """Right items, each with answers that are wrong for it."""
    rng = random.Random(0)
    found = []
    for seed in seeds:
        if seed.formula and (new := new_numbers(seed, rng)):
            value = evaluate(seed.formula, new)
            wrong = [value * 1.1 + 1, value * 10, -value - 1, value + 7, evaluate(seed.formula, seed.variables)]
            item = _item(
                seed, "vary_numbers", _reworded(renumbered(seed, new)), answer_like(seed, value),
                formula=seed.formula, variables=new,
            )  # fmt: skip
            found.append((item, [answer_like(seed, w) for w in wrong if abs(w - value) > 1e-9 * abs(value)]))
        elif not seed.formula:
            others = [other.answer for other in seeds if other.answer.lower() != seed.answer.lower()]
            item = _item(seed, "vary", _reworded(seed.question), seed.answer)
            found.append((item, [*rng.sample(others, 4), f"not {seed.answer}", seed.answer[::-1] + "x"]))
    return found


def test_planted_wrong_answers_are_rejected(root: Path):
    recipe = yaml.safe_load((root / "recipes" / "quickstart.yaml").read_text())
    stage = Verify(VerifyConfig.model_validate(recipe["verify"]))
    pairs = _items(_seeds(root))
    accepted = {record.id for record in run_stage(stage, [item for item, _ in pairs]).kept}
    # Without right ones among what passes, rejecting would prove nothing.
    assert len(accepted) >= 30
    planted = []
    for item, wrong in pairs:
        if item.id in accepted:
            planted += [
                Record(**{**{f: getattr(item, f) for f in item.__struct_fields__}, "id": f"{item.id}-{i}", "answer": w})
                for i, w in enumerate(wrong)
            ]
    out = run_stage(stage, planted)
    assert len(out.kept) + len(out.dropped) == len(planted) >= 150
    rejected = len(out.dropped) / len(planted)
    assert rejected >= 0.95, [record.answer for record in out.kept]
    assert {record.dropped.reason for record in out.dropped} >= {"wrong_answer"}
