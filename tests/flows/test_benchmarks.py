from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from boostqa.errors import UserError
from boostqa.flows.benchmarks import Source, is_task, odd_rows, read, sources, tasks
from boostqa.flows.indexed import Item
from boostqa.inputs import InputFile

STEM = "Which of these lamps gives the most light at night?"
CHOICES = ["the red one", "the old one", "the round one", "the tall one"]
LISTED = {"text": CHOICES, "label": list("ABCD")}
LETTERED = dict(zip("ABCD", CHOICES, strict=True))

ROWS: dict[str, dict[str, Any]] = {
    "mmlu": {"question": STEM, "subject": "s", "choices": CHOICES, "answer": 1},
    "mmlu_pro": {"question_id": 7, "question": STEM, "options": CHOICES, "answer": "B", "answer_index": 1},
    "supergpqa": {
        "uuid": "u",
        "question": STEM,
        "options": CHOICES,
        "answer": CHOICES[1],
        "answer_letter": "B",
    },
    "gpqa_main": {
        "Question": STEM,
        "Correct Answer": CHOICES[1],
        **{f"Incorrect Answer {i}": CHOICES[j] for i, j in ((1, 0), (2, 2), (3, 3))},
    },
    "arc_easy": {"id": "m", "question": STEM, "choices": LISTED, "answerKey": "B"},
    "openbookqa": {"id": "m", "question_stem": STEM, "choices": LISTED, "answerKey": "B"},
    "commonsense_qa": {"id": "m", "question": STEM, "choices": LISTED, "answerKey": "B"},
    "sciq": {
        "question": STEM,
        "correct_answer": CHOICES[1],
        "support": "Text.",
        **{f"distractor{i}": CHOICES[j] for i, j in ((1, 0), (2, 2), (3, 3))},
    },
    "medqa_4options": {"id": "m", "sent1": STEM, **{f"ending{i}": CHOICES[i] for i in range(4)}, "label": 1},
    "medmcqa": {"id": "m", "question": STEM, **{f"op{'abcd'[i]}": CHOICES[i] for i in range(4)}, "cop": 1},
    "truthfulqa": {"question": STEM, "mc1_targets": {"choices": CHOICES, "labels": [0, 1, 0, 0]}},
    "cmmlu": {"Question": STEM, **LETTERED, "Answer": "B"},
    "ceval": {"id": 0, "question": STEM, **LETTERED, "answer": "B", "explanation": ""},
    "kmmlu": {"question": STEM, **LETTERED, "answer": 2},
    "agieval_en": {"query": STEM, "choices": [f"({k}){v}" for k, v in LETTERED.items()], "gold": [1]},
    "hellaswag": {"ind": 4, "ctx": STEM, "ctx_a": "a", "ctx_b": "b", "endings": CHOICES, "label": "1"},
    "piqa": {"goal": STEM, "sol1": CHOICES[0], "sol2": CHOICES[1], "label": 1},
    "winogrande": {"sentence": STEM, "option1": CHOICES[0], "option2": CHOICES[1], "answer": "2"},
    "social_iqa": {
        "context": STEM,
        "question": "Why?",
        **{f"answer{k}": LETTERED[k] for k in "ABC"},
        "label": "2",
    },
    "copa": {"premise": STEM, "choice1": CHOICES[0], "choice2": CHOICES[1], "question": "cause", "label": 1},
    "gsm8k": {"question": STEM, "answer": "It is so.\n#### the old one"},
    "hendrycks_math": {"problem": STEM, "level": "Level 1", "solution": "So $\\boxed{the old one}$"},
    "math_500": {"problem": STEM, "solution": "s", "answer": CHOICES[1]},
    "aime": {"ID": "m", "Year": 1983, "Question": STEM, "Answer": CHOICES[1]},
    "aime24": {"ID": "m", "Problem": STEM, "Solution": "s", "Answer": CHOICES[1]},
    "aime25": {"problem": STEM, "answer": CHOICES[1], "id": "0"},
    "cmath": {"grade": 3, "question": STEM, "golden": CHOICES[1]},
    "triviaqa": {"question": STEM, "answer": {"value": CHOICES[1], "aliases": ["x"]}},
    "nq_open": {"question": STEM, "answer": [CHOICES[1]]},
    "drop": {"passage": "P", "question": STEM, "answer": {"number": "", "spans": [CHOICES[1]]}},
    "bbh": {"input": STEM, "target": CHOICES[1]},
    "humaneval": {"task_id": "m", "prompt": STEM, "canonical_solution": CHOICES[1], "test": "t"},
    "mbpp": {"task_id": 1, "text": STEM, "code": CHOICES[1], "test_list": ["t"]},
    "theoremqa": {"Question": STEM, "Answer": CHOICES[1], "Answer_type": "text"},
    "olympiadbench": {"question": STEM, "final_answer": [CHOICES[1]], "solution": ["s"]},
}
"""A row of each data set as its readers expect it."""


@pytest.mark.parametrize("name", ROWS)
def test_columns_of_a_task_become_an_item(name: str, tmp_path: Path) -> None:
    path = tmp_path / "0000.parquet"
    pq.write_table(pa.Table.from_pylist([ROWS[name]]), path)
    task = tasks()[name]
    (item,) = read(Source(name, InputFile(f"{name}/0000.parquet", str(path)), task.columns, "key"))
    assert item.question == STEM
    assert item.benchmark == name
    if name not in ("agieval_en", "copa"):
        assert item.answer == CHOICES[1]
    if item.choices:
        assert set(item.choices) <= set(CHOICES)
        assert len(item.choices) >= 2


def test_every_task_names_a_data_set_tasks_or_another_place() -> None:
    known = tasks()
    assert {"mmlu", "cmmlu", "ceval", "agieval", "gsm8k", "minerva_math", "super_glue", "gpqa"} <= set(known)
    for name, task in known.items():
        assert is_task(name)
        assert bool(task.hub) + bool(task.tasks) + bool(task.elsewhere) == 1, name
        assert bool(task.hub) == bool(task.splits), name
        assert set(task.tasks) <= set(known), name


def test_unknown_tasks_and_those_that_are_elsewhere() -> None:
    with pytest.raises(
        UserError, match=r"key\[0\]: 'mmlu-por' is neither a file nor a task .* did you mean mmlu_pro"
    ):
        sources(["mmlu-por"], None, "key")
    with pytest.raises(UserError, match=r"'zzzzzz' is neither .*; known: aclue, agieval"):
        sources(["zzzzzz"], None, "key")
    with pytest.raises(
        UserError, match=r"xiezhi is not on the hub but at the repository .* name its files here"
    ):
        sources(["xiezhi"], None, "key")


def test_a_group_of_tasks_from_a_mirror(tmp_path: Path) -> None:
    for config in ("ARC-Easy", "ARC-Challenge"):
        folder = tmp_path / "allenai" / "ai2_arc" / config
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([ROWS["arc_easy"]]), folder / "test-00000-of-00001.parquet")
        pq.write_table(pa.Table.from_pylist([ROWS["arc_easy"]]), folder / "train-00000-of-00001.parquet")
    found = sources(["arc", "arc_easy"], str(tmp_path), "key")
    assert [(one.benchmark, one.file.name) for one in found] == [
        ("arc_easy", "arc_easy/ARC-Easy/test-00000-of-00001.parquet"),
        ("arc_challenge", "arc_challenge/ARC-Challenge/test-00000-of-00001.parquet"),
    ]
    assert next(item for one in found for item in read(one)) == Item(
        id="m", benchmark="arc_easy", question=STEM, choices=CHOICES, answer=CHOICES[1]
    )


def task_file(tmp_path: Path, rows: list[dict[str, Any]]) -> Source:
    path = tmp_path / "0000.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Source("hellaswag", InputFile("hellaswag/0000.parquet", str(path)), {}, "key", task=True)


def test_a_row_whose_answer_is_not_among_its_options_is_indexed_without_it(tmp_path: Path) -> None:
    rows = [{"question": STEM, "choices": CHOICES, "answer": answer} for answer in (-1, 1, 9)]
    found = list(read(task_file(tmp_path, rows)))
    items = [row for row in found if isinstance(row, Item)]
    assert [(item.id, item.answer) for item in items] == [
        ("hellaswag/0000.parquet:1", ""),
        ("hellaswag/0000.parquet:2", CHOICES[1]),
        ("hellaswag/0000.parquet:3", ""),
    ]
    assert all((item.question, item.choices) == (STEM, CHOICES) for item in items)
    odd = odd_rows(found)["hellaswag"]
    assert (odd["no_answer"], odd["left_out"]) == (2, 0)
    assert odd["places"][0] == (
        "hellaswag/0000.parquet:1: answer_not_in_choices: index -1 of 4 choices, counted from 0"
    )
    own = task_file(tmp_path, rows)._replace(task=False)
    assert list(read(own)) == found


def test_a_row_that_asks_nothing_is_left_out_of_a_task_and_stops_a_file_of_ones_own(tmp_path: Path) -> None:
    rows = [{"question": text, "answer": "x"} for text in (STEM, "", "…", STEM)]
    source = task_file(tmp_path, rows)
    found = list(read(source))
    assert [isinstance(row, Item) for row in found] == [True, False, False, True]
    assert odd_rows(found)["hellaswag"]["left_out"] == 2
    with pytest.raises(UserError, match=r"key: .*0000.parquet:2: benchmark row is broken .*partial index"):
        list(read(source._replace(task=False)))


def test_a_task_of_which_nothing_or_less_than_half_can_be_used_stops(tmp_path: Path) -> None:
    for texts, items in (([""], 0), ([STEM, "", "?"], 1)):
        table = pa.table({"question": pa.array(texts, pa.string()), "answer": ["x"] * len(texts)})
        source = task_file(tmp_path, [])
        pq.write_table(table, source.file.path)
        with pytest.raises(
            UserError, match=rf"key: .*0000.parquet: the benchmark has {items} items and \d rows"
        ):
            list(read(source))
    whole = Path(task_file(tmp_path, [{"question": STEM, "answer": "x"}] * 9).file.path)
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"0000.parquet:\d+: benchmark row is broken \(damaged_file"):
        list(read(source))
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), whole)
    with pytest.raises(UserError, match=r"0000.parquet:\d+: benchmark row is broken \(empty_file"):
        list(read(source))
