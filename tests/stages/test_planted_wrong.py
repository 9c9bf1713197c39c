"""Planted wrong answers on the repository's own seeds: the checks of the quickstart, with nothing lowered."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from pathlib import Path

import msgspec
import yaml

from boostqa.flows.asked import head
from boostqa.flows.variant import answer_like, renumbered
from boostqa.flows.write import new_numbers
from boostqa.record import Record, Requested, SeedText
from boostqa.stages.seeds import Seeds, SeedsConfig
from boostqa.stages.verify import Verify, VerifyConfig
from boostqa.text.answers import evaluate
from harness import run_stage


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
    return f"Do you know this one, or can you make it known to us all: {question[0].lower()}{question[1:]}"


def _items(seeds: list[SeedText]) -> list[tuple[Record, list[str]]]:
    """Right items, each with answers that are wrong for it."""
    rng = random.Random(0)
    found = []
    for seed in seeds:
        if seed.formula and (new := new_numbers(seed, rng)):
            value = evaluate(seed.formula, new)
            wrong = [
                value * 1.1 + 1,
                value * 10,
                -value - 1,
                value + 7,
                evaluate(seed.formula, seed.variables),
            ]
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


WRONG = {
    "A rectangular garden": [
        "What is the perimeter in square metres of a rectangular garden that is 14 m long and 7 m wide?",
        "How many metres of fence go around a rectangular garden that is 14 m long and 7 m wide?",
    ],
    "A train travels": ["What is its time in hours when a train of average speed travels 180 km in 3 hours?"],
    "A chemist dilutes": [
        "What is the new concentration in mol/L if a chemist dilutes 150 mL of a 3 mol/L acid to a final volume of 20 mL?",
        "What is the amount of acid in mol if a chemist dilutes 20 mL of a 3 mol/L acid to a final volume of 150 mL?",
    ],
    "A culture starts": ["How many hours does a culture of 500 bacteria need until it doubles 4 times?"],
    "A drawing shows": [
        "What is the magnification of a drawing of a cell that is 0.02 mm wide when the real cell is 60 mm wide?"
    ],
    "On a map": [
        "What is the distance on the map in km if two towns are 5 km apart, each centimetre stands for 7 km?"
    ],
    "The air at the foot": [
        "What is the temperature in degrees Celsius at the foot of a mountain when the air cools by 6 degrees per "
        "kilometre of height and has 26 degrees Celsius 3 km higher?"
    ],
    "A test score": [
        "What is the z-score of a test score of 70 from a population with mean 82 and standard deviation 8?"
    ],
    "A hash table": ["How many keys does a hash table with a load factor of 40 slots and 30 keys store?"],
    "A gear with": [
        "What is the speed of the driven gear in rpm if a gear with 60 teeth turns at 900 rpm and drives one with 20 teeth?"
    ],
    "In a group of": [
        "What is the attack rate in percent if in a group of 24 people, 400 people fall ill after a meal?"
    ],
    "A tablet contains": [
        "How many mg of a drug are in tablets that contain 250 mg and make up a dose of 750 mg?"
    ],
    "The price of a good": [
        "What is the absolute price elasticity of demand if the price of a good rises by 10 percent and the quantity "
        "demanded falls by 4 percent?"
    ],
    "A firm has": [
        "How many units must a firm sell to break even if it has fixed costs of 6000 dollars and sells each unit for "
        "10 dollars at a variable cost of 25 dollars?"
    ],
    "A shop buys": [
        "What is the profit in percent of the cost if a shop buys a lamp for 52 dollars and sells it for 40?"
    ],
    "One pipe fills": [
        "How many hours does one pipe need if both pipes together need 6 hours and another pipe 12 hours?"
    ],
    "Which hormone": [
        "Which hormone from the alpha cells of the pancreas raises the level of glucose in the blood?"
    ],
    "Which planet": ["Which planet of the solar system is farthest from the Sun?"],
    "Which alloy": ["Which alloy is made mainly of copper and tin?"],
    "Who wrote the novel": ["Who is the hero of the novel Pride and Prejudice?"],
    "Who painted": ["Who is shown in the Mona Lisa?", "Who stole the Mona Lisa from the Louvre?"],
    "In which year": ["In which year did the building of the Berlin Wall start?"],
    "How many days": ["How many weeks does February have in a leap year?"],
    "How many lines": ["How many syllables does a line of a Shakespearean sonnet have?"],
    "Which type of cell": [
        "Which type of cell division produces body cells with the same number of chromosomes?"
    ],
    "Which chemical": ["What is the atomic number of the chemical element that has the symbol Na?"],
    "What is a market": ["What is a market with only one buyer called?"],
    "Who was the first": ["Who was the last emperor of Rome?"],
    "Which note": ["Which note value lasts half as long as a quarter note?"],
    "Two parents": [
        "Two parents are both carriers of the same autosomal recessive disease but healthy. What is the probability "
        "that their child is a carrier?"
    ],
}
"""Start of a seed's question -> questions near to it that have another answer."""


def _wrong_questions(seeds: list[SeedText]) -> list[Record]:
    """Items with the seed's right answer under a question that asks something else."""
    rng = random.Random(1)
    found = []
    for seed in seeds:
        wrong = [text for start, texts in WRONG.items() if seed.question.startswith(start) for text in texts]
        found += [_item(seed, "vary", text, seed.answer) for text in wrong]
        heads = [word for word in head(seed.question) if word in seed.question]
        if heads:
            other = _reworded(seed.question).replace(heads[0], "colour")
            found.append(_item(seed, "vary", other, seed.answer))
        new = new_numbers(seed, rng) if seed.formula else None
        for a, b in combinations(new or {}, 2):
            swapped = {**new, a: new[b], b: new[a]}
            if evaluate(seed.formula, swapped) != evaluate(seed.formula, new):
                answer = answer_like(seed, evaluate(seed.formula, new))
                found.append(
                    _item(
                        seed, "vary_numbers", _reworded(renumbered(seed, swapped)), answer,
                        formula=seed.formula, variables=new,
                    )
                )  # fmt: skip
    return [msgspec.structs.replace(record, id=f"{record.id}-{i}") for i, record in enumerate(found)]


def test_planted_wrong_questions_are_rejected(root: Path):
    recipe = yaml.safe_load((root / "recipes" / "quickstart.yaml").read_text())
    stage = Verify(VerifyConfig.model_validate(recipe["verify"]))
    planted = _wrong_questions(_seeds(root))
    out = run_stage(stage, planted)
    assert len(out.kept) + len(out.dropped) == len(planted) >= 100
    assert len(out.dropped) / len(planted) >= 0.95, [record.question for record in out.kept]
    reasons = Counter(record.dropped.reason for record in out.dropped)
    assert reasons["off_variant"] >= 0.9 * len(planted), reasons


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
                Record(
                    **{
                        **{f: getattr(item, f) for f in item.__struct_fields__},
                        "id": f"{item.id}-{i}",
                        "answer": w,
                    }
                )
                for i, w in enumerate(wrong)
            ]
    out = run_stage(stage, planted)
    assert len(out.kept) + len(out.dropped) == len(planted) >= 150
    rejected = len(out.dropped) / len(planted)
    assert rejected >= 0.95, [record.answer for record in out.kept]
    assert {record.dropped.reason for record in out.dropped} >= {"wrong_answer"}
