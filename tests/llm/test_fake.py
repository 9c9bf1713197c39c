"""The fake provider: truths that can be read back, and models as good as their config says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from boostqa.llm.fake import Wish, World, read_keys
from boostqa.llm.fake import world as fake_world
from boostqa.llm.fake.reply import Replier
from boostqa.llm.fake.world import GRADES, LEVELS, rng
from boostqa.text.answers import equal
from fake_seeds import (
    asked,
    benchmark_rows,
    messages,
    passage_rows,
    replier,
    seed_rows,
    write_jsonl,
)


def ask(fake: Replier, task: str, user: str, **body: Any) -> Any:
    """The JSON that model `m` answers."""
    wanted = {"model": "m", "messages": messages(task, user), "temperature": 0, **body}
    wanted.setdefault("response_format", {"type": "json_object"})
    reply = msgspec.json.decode(fake.reply("m", "chat", wanted).body)
    return msgspec.json.decode(reply["choices"][0]["message"]["content"])


def test_truth_is_read_back_from_the_text_alone():
    world = World()
    for i, field in enumerate([*fake_world.words(), "Aquaculture"]):
        for level in LEVELS:
            for language in ("en", "zh"):
                kind = ("calculation", "multiple_choice", "true_false", "proof", "open")[(i + len(level)) % 5]
                wish = Wish(language=language, question_type=kind, grade=GRADES[i % 6])
                made = world.make(rng(field, level, language), field, level, wish)
                truth = world.truth(made.question, made.choices)
                assert (truth.field, truth.level, truth.grade) == (field, level, GRADES[i % 6]), made.question
                assert (truth.language, truth.question_type) == (language, kind)
                assert truth.answer == made.answer, made.question
                assert made.solution.endswith(made.answer)


def test_formulas_of_questions_give_their_answers():
    from boostqa.text.arithmetic import evaluate

    for row in seed_rows(40, types=("calculation",)):
        assert evaluate(row["formula"], row["variables"]) == pytest.approx(float(row["answer"]))
        assert len(set(row["variables"].values())) == len(row["variables"])


def test_wrong_answers_are_wrong_and_rewording_keeps_the_truth():
    world = World()
    for i, row in enumerate(seed_rows(60, types=("calculation", "multiple_choice", "true_false"))):
        truth = world.truth(row["question"], row.get("choices", []))
        assert world.wrong(truth, row.get("choices", []), i)[1] != row["answer"]
        other = world.vary(row["question"], rng("other", i))
        assert other != row["question"]
        assert world.truth(other, row.get("choices", [])).answer == row["answer"]


def test_answer_keys_serve_questions_that_are_not_of_the_world(tmp_path: Path):
    metal = {
        "question": "Which metal is liquid at room temperature?",
        "answer": "Mercury",
        "field": "Chemistry",
    }
    pens = {"question": "A shop sells 12 pens at 3 euros each. What is the sum?", "answer": "36", "extra": 1}
    rows = [
        metal | {"level": "H1"},
        pens | {"formula": "n * p", "variables": {"n": 12, "p": 3}, "level": "H2"},
    ]
    csv = tmp_path / "keys.csv"
    csv.write_text(
        "question,A,B,answer,field\nWho wrote Faust?,Goethe,Schiller,A,Literature\n", encoding="utf-8"
    )
    keys = read_keys(write_jsonl(tmp_path / "keys.jsonl", rows)) + read_keys(csv)
    world = World(0, keys)
    truth = world.truth("which metal is liquid at room temperature")
    assert (truth.answer, truth.field, truth.level, truth.known) == ("Mercury", "Chemistry", "H1", True)
    assert world.truth(world.vary(rows[0]["question"], rng(1))).answer == "Mercury"
    assert world.truth("Who wrote Faust?", ["Schiller", "Goethe"]).answer == "B"
    question, answer = world.renumber(rows[1]["question"], {12.0: 7.0, 3.0: 5.0}, rng(2))
    assert answer == "35"
    assert "7 pens" in question
    assert world.truth(question).answer == "35"
    unknown = world.truth("What is the airspeed of an unladen swallow?")
    assert not unknown.known
    assert unknown == World(0, keys).truth("What is the airspeed of an unladen swallow?")


def test_seed_helpers_make_distinct_rows():
    rows, items = seed_rows(200), benchmark_rows(50)
    questions = [row["question"] for row in rows + items]
    assert len(set(questions)) == len(questions)
    for row in passage_rows(16):
        assert World().truth(row["passage"]).field == row["field"]


def test_solver_is_right_as_often_as_its_cell_says():
    rows = seed_rows(
        900, fields=("Physics", "Law"), levels=("H1", "H4"), types=("calculation", "multiple_choice")
    )
    fake = replier(ability={"default": 0.9, "cells": {"Physics/H4": 0.2, "*/H4": 0.6}})
    right: Counter[str] = Counter()
    for row in rows:
        data = ask(fake, "solve", asked(row))
        right[f"{row['field']}/{row['level']}"] += data["answer"] == row["answer"]
    shares = {cell: count / 225 for cell, count in right.items()}
    assert shares["Physics/H4"] == pytest.approx(0.2, abs=0.09)
    assert shares["Law/H4"] == pytest.approx(0.6, abs=0.1)
    assert shares["Law/H1"] == pytest.approx(0.9, abs=0.07)


def test_samples_differ_by_seed_only_and_equal_requests_are_equal():
    row = seed_rows(1)[0]
    fake = replier(ability={"default": 0.5})
    body = {"model": "m", "messages": messages("solve", asked(row)), "temperature": 0.7}
    replies = {fake.reply("m", "chat", {**body, "seed": seed}).body for seed in range(30)}
    assert len(replies) > 1
    fresh = replier(ability={"default": 0.5}).reply("m", "chat", {**body, "seed": 3})
    assert fresh.body in replies


def test_letter_log_probabilities_agree_with_the_answer():
    rows = seed_rows(60, types=("multiple_choice",))
    fake = replier(ability={"default": 1.0})
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"answer": {"type": "string", "enum": list("ABCD")}},
        "required": ["answer"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "solve_short", "schema": schema}}
    for row in rows:
        body = {
            "model": "m",
            "messages": messages("solve_short", asked(row)),
            "logprobs": True,
            "top_logprobs": 5,
        }
        reply = msgspec.json.decode(fake.reply("m", "chat", {**body, "response_format": wanted}).body)
        choice = reply["choices"][0]
        assert json.loads(choice["message"]["content"]) == {"answer": row["answer"]}
        tokens = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
        (letter,) = [token for token in tokens if token["token"] in "ABCD"]
        assert letter["top_logprobs"][0]["token"] == row["answer"]
        assert {alternative["token"] for alternative in letter["top_logprobs"]} == set("ABCD")


@pytest.mark.parametrize("form", ["echo", "prompt_logprobs"])
def test_scores_of_given_text_agree_with_ability(form: str):
    rows = seed_rows(80, types=("calculation",), languages=("en",))

    def score(fake: Replier, row: dict[str, Any], answer: str) -> float:
        prefix = f"Question: What is 1 + 1?\nAnswer: 2\n\nQuestion: {row['question']}\nAnswer:"
        body = {"model": "m", "prompt": f"{prefix} {answer}", "max_tokens": 1, "temperature": 0}
        body |= {"echo": True, "logprobs": 1} if form == "echo" else {"prompt_logprobs": 0}
        choice = msgspec.json.decode(fake.reply("m", "completions", body).body)["choices"][0]
        if form == "echo":
            lists = choice["logprobs"]
            assert lists["token_logprobs"][0] is None
            pairs = zip(lists["text_offset"], lists["token_logprobs"], strict=True)
            end = len(body["prompt"])
            return sum(value for offset, value in pairs if len(prefix) <= offset < end)
        tokens = choice["prompt_logprobs"]
        assert tokens[0] is None
        texts = [next(iter(t.values()))["decoded_token"] for t in tokens[1:]]
        values = [next(iter(t.values()))["logprob"] for t in tokens[1:]]
        at, total = len("Question"), 0.0
        for text, value in zip(texts, values, strict=True):
            total += value if at >= len(prefix) else 0.0
            at += len(text)
        return total

    knows, guesses = replier(ability={"default": 1.0}), replier(ability={"default": 0.0})
    for row in rows:
        assert score(knows, row, row["answer"]) > score(knows, row, str(int(row["answer"]) + 5)) + 1
        assert score(guesses, row, row["answer"]) < score(knows, row, row["answer"]) - 1


def test_writer_makes_what_is_asked_for_with_the_planned_flaws():
    rates = {
        "wrong_answer": 0.3,
        "easier": 0.4,
        "leak": 0.1,
        "copy": 0.1,
        "passage_reference": 0.1,
        "ill_posed": 0.1,
    }
    fake, world = replier(write=rates), World()
    seed = "Question: What is the speed of sound in air?\nAnswer: 343 m/s"
    found: Counter[str] = Counter()
    for i in range(400):
        lines = "field: Chemistry\nlevel: H4\ngrade: graduate\nlanguage: zh\nquestion_type: multiple_choice"
        data = ask(fake, "write", f"## Seed\n{seed} {i}\n\n## Request\n{lines}")
        truth = world.truth(data["question"], data.get("choices", []))
        found["copy"] += data["question"].startswith("What is the speed of sound")
        if not truth.known:
            continue
        assert (truth.field, truth.language, truth.grade) == ("Chemistry", "zh", "graduate")
        found[truth.level] += 1
        found["ill_posed"] += truth.ill_posed
        found["leak"] += "（答案是" in data["question"]
        found["passage_reference"] += not truth.self_contained
        found["wrong"] += not truth.ill_posed and data["answer"] != truth.answer
    assert found["H3"] / (found["H3"] + found["H4"]) == pytest.approx(0.4, abs=0.08)
    assert found["wrong"] / 400 == pytest.approx(0.3 * 0.8, abs=0.07)
    for flaw in ("copy", "leak", "passage_reference", "ill_posed"):
        assert found[flaw] / 400 == pytest.approx(0.1, abs=0.05), flaw


def test_duplicates_come_from_a_small_pool():
    fake = replier(write={"duplicate": 1.0})
    request = "## Request\nfield: Law\nlevel: H2\nlanguage: en\nquestion_type: calculation"
    questions = {ask(fake, "harden", f"## Seed\nseed {i}\n\n{request}")["question"] for i in range(30)}
    assert 1 <= len(questions) <= 3


def test_refiner_fixes_and_breaks_and_judge_sees_as_configured():
    fake = replier(refine={"fixes": 0.7, "breaks": 0.1}, judge={"sensitivity": 0.8, "specificity": 0.9})
    world, counts = World(), Counter[str]()
    for i, row in enumerate(seed_rows(300, types=("calculation",))):
        wrong = world.wrong(world.truth(row["question"]), [], i)[1]
        for name, answer in (("right", row["answer"]), ("wrong", wrong)):
            user = f"{asked(row)}\n\n## Answer\n{answer}\n\n## Solution\nBy counting."
            refined = ask(fake, "refine", user)
            changed = not equal(refined["answer"], answer)
            assert changed == (refined["verdict"] == "contradicted")
            counts[f"{name} changed"] += changed
            counts["mended"] += name == "wrong" and refined["answer"] == row["answer"]
            verdict = ask(fake, "judge", user)
            counts[f"{name} passed"] += verdict["verdict"] == "correct"
            assert 1 <= verdict["score"] <= 5
    assert counts["mended"] == counts["wrong changed"]
    assert counts["wrong changed"] / 300 == pytest.approx(0.7, abs=0.08)
    assert counts["right changed"] / 300 == pytest.approx(0.1, abs=0.06)
    assert counts["wrong passed"] / 300 == pytest.approx(0.2, abs=0.08)
    assert counts["right passed"] / 300 == pytest.approx(0.9, abs=0.06)


def test_labels_are_true_as_often_as_configured_and_stay_in_the_schema():
    names = ["Physics", "Chemistry", "Law", "Biology"]
    schema = {"type": "object", "properties": {
        "field": {"enum": names}, "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "level": {"enum": list(LEVELS)}, "self_contained": {"type": "boolean"}}}  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
    rows = seed_rows(300, fields=names)
    for rate in (1.0, 0.7):
        fake = replier(label_accuracy=rate)
        right: Counter[str] = Counter()
        for row in rows:
            data = ask(fake, "label", asked(row), response_format=wanted)
            assert list(data) == list(schema["properties"])
            assert data["field"] in names
            right["field"] += data["field"] == row["field"]
            right["level"] += data["level"] == row["level"]
        assert right["field"] / 300 == pytest.approx(rate, abs=0.08 if rate < 1 else 0)
        assert right["level"] / 300 == pytest.approx(rate, abs=0.08 if rate < 1 else 0)


def test_varying_keeps_the_answer_and_new_numbers_get_a_new_one():
    fake, world = replier(), World()
    for row in seed_rows(20, types=("calculation",)):
        question = ask(fake, "vary", f"{asked(row)}\n\n## Answer\n{row['answer']}")["question"]
        assert world.truth(question).answer == row["answer"]
        new = {value: value * 2 + 1 for value in row["variables"].values()}
        lines = "\n".join(f"{old:g} -> {value:g}" for old, value in new.items())
        data = ask(fake, "vary_numbers", f"{asked(row)}\n\n## Replace\n{lines}\n\n## Request\na: 1")
        assert data["answer"] == world.truth(data["question"]).answer
        assert all(f"{value:g}" in data["question"] for value in new.values())
        options = ask(fake, "distract", f"{asked(row)}\n\n## Answer\n{row['answer']}")["distractors"]
        assert len({*options, row["answer"]}) == 4


def test_rendered_prompts_of_the_package_are_understood():
    from boostqa.prompts import render

    row = seed_rows(1, types=("multiple_choice",))[0]
    turns = render("solve", question=row["question"], choices=row["choices"])
    body = {
        "model": "m",
        "messages": [{"role": t.role, "content": t.content} for t in turns],
        "temperature": 0,
    }
    reply = replier(ability={"default": 1.0}).reply("m", "chat", body)
    assert reply.task == "solve"
    content = msgspec.json.decode(reply.body)["choices"][0]["message"]["content"]
    assert content.endswith("```")  # nothing constrained it, so it comes in a fence, as it would
    assert json.loads(content.split("```json")[1].strip("`"))["answer"] == row["answer"]
