"""Rows in the shapes of data sets that people have: which text is asked, offered and right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boostqa import readers
from boostqa.readers import BadRow, Raw, markdown
from boostqa.readers.items import item


def read(row: dict[str, Any]) -> Raw:
    found = item(row, 1)
    assert isinstance(found, Raw), found
    return found


ASKED = "Which of them is a noble gas?"
OPTIONS = ["oxygen", "neon", "iron", "gold"]


@pytest.mark.parametrize(
    "row",
    [
        {"question": ASKED, "choices": OPTIONS, "answer": 1},
        {"question": ASKED, "choices": OPTIONS, "answer": "1"},
        {"question": ASKED, "choices": OPTIONS, "answer": "B"},
        {"question": ASKED, "choices": OPTIONS, "answer": "(b)"},
        {"question": ASKED, "choices": OPTIONS, "answer": "neon"},
        {
            "question": ASKED,
            "options": [f"{c}){t}" for c, t in zip("ABCD", OPTIONS, strict=True)],
            "correct": "B",
        },
        {"problem": ASKED, "options": "a ) oxygen , b ) neon , c ) iron , d ) gold", "correct": "b"},
        {"question": ASKED, "choices": {"text": OPTIONS, "label": ["A", "B", "C", "D"]}, "answerKey": "B"},
        {"question": ASKED, "choices": {"text": OPTIONS, "label": ["1", "2", "3", "4"]}, "answerKey": "2"},
        {
            "question": {
                "stem": ASKED,
                "choices": [{"text": t, "label": c} for c, t in zip("ABCD", OPTIONS, strict=True)],
            },
            "answerKey": "B",
        },
        {"question_stem": ASKED, "choices": {"text": OPTIONS, "label": list("ABCD")}, "answerKey": "B"},
        {"Question": ASKED, "A": "oxygen", "B": "neon", "C": "iron", "D": "gold", "Answer": "B", "": "0"},
        {"question": ASKED, "opa": "oxygen", "opb": "neon", "opc": "iron", "opd": "gold", "cop": 1},
        {
            "question": ASKED,
            "options": {"A": "oxygen", "B": "neon", "C": "iron", "D": "gold"},
            "answer_idx": "B",
        },
        {"goal": ASKED, "sol1": "oxygen", "sol2": "neon", "label": 1},
        {"question": ASKED, "option1": "oxygen", "option2": "neon", "answer": "2"},
        {"ctx": ASKED, "endings": OPTIONS, "label": "1"},
    ],
)
def test_multiple_choice(row: dict[str, Any]) -> None:
    found = read(row)
    assert found.question == ASKED
    assert found.choices == OPTIONS[: len(found.choices)]
    assert found.choices["ABCD".index(found.answer)] == "neon"


SHAPES = {
    "list and index": lambda o, i: {"choices": o, "answer": i},
    "list and text of an index": lambda o, i: {"choices": o, "label": str(i)},
    "list and letter": lambda o, i: {"choices": o, "answer": "ABCD"[i]},
    "list and text": lambda o, i: {"choices": o, "answer": o[i]},
    "list and letter with text": lambda o, i: {"choices": o, "answer": f"{'ABCD'[i]}. {o[i]}"},
    "list and one-hot": lambda o, i: {"choices": o, "answer": [int(i == j) for j in range(4)]},
    "Python's list": lambda o, i: {"choices": str(o), "answer": i},
    "numpy's list": lambda o, i: {"choices": f"[{' '.join(map(repr, o))}]", "answer": "ABCD"[i]},
    "line of letters": lambda o, i: {
        "choices": " ".join(f"{c}.{t}" for c, t in zip("ABCD", o, strict=True)),
        "answer": "ABCD"[i],
    },
    "columns from 0": lambda o, i: {**{f"ending{j}": t for j, t in enumerate(o)}, "label": i},
    "columns from 0, text": lambda o, i: {**{f"choice{j}": t for j, t in enumerate(o)}, "answer": str(i)},
    "columns from 1": lambda o, i: {**{f"option{j}": t for j, t in enumerate(o, 1)}, "answer": i + 1},
    "columns from 1, text": lambda o, i: {
        **{f"option{j}": t for j, t in enumerate(o, 1)},
        "answer": f"{i + 1}",
    },
    "columns from 1, classes": lambda o, i: {**{f"sol{j}": t for j, t in enumerate(o, 1)}, "label": i},
    "columns from 1, a label of another kind": lambda o, i: {
        **{f"option{j}": t for j, t in enumerate(o, 1)},
        "answer": i + 1,
        "label": "easy",
    },
    "columns answer0": lambda o, i: {**{f"answer{j}": t for j, t in enumerate(o)}, "label": i},
    "answers and label": lambda o, i: {"answers": o, "label": i},
    "labels in text, int beside": lambda o, i: {
        "choices": {"text": o, "label": list("1234")},
        "answerKey": i + 1,
    },
    "labels as numbers": lambda o, i: {"choices": {"text": o, "label": [1, 2, 3, 4]}, "answer": i + 1},
    "mapping of numbers": lambda o, i: {"options": {str(j): t for j, t in enumerate(o, 1)}, "answer": i + 1},
    "mappings with ids": lambda o, i: {
        "options": [{"id": j, "text": t} for j, t in enumerate(o, 1)],
        "answer": i + 1,
    },
    "labels in brackets": lambda o, i: {
        "choices": {"text": o, "label": ["(D)", "(C)", "(B)", "(A)"]},
        "answer": "DCBA"[i],
    },
    "out of order": lambda o, i: {"choices": dict(zip("DBCA", o, strict=True)), "answer": f"({'dbca'[i]})"},
    "letters out of order": lambda o, i: {
        "choices": [f"{c}. {t}" for c, t in zip("BADC", o, strict=True)],
        "answer": "BADC"[i],
    },
    "marks": lambda o, i: {"choices": [{"text": t, "correct": j == i} for j, t in enumerate(o)]},
    "empty in the middle, letter": lambda o, i: {"choices": [o[0], "", *o[1:]], "answer": "ACDE"[i]},
    "empty in the middle, index": lambda o, i: {"choices": [o[0], None, *o[1:]], "answer": [0, 2, 3, 4][i]},
    "empty in a mapping": lambda o, i: {
        "choices": dict(zip("ABCDE", [o[0], None, *o[1:]], strict=True)),
        "answer": "ACDE"[i],
    },
    "empty column": lambda o, i: {**dict(zip("ABCDE", [o[0], "", *o[1:]], strict=True)), "answer": "ACDE"[i]},
    "empty at the end": lambda o, i: {"choices": [*o, "", None], "answer": "ABCD"[i]},
    "empty beside marks": lambda o, i: {
        "mc1_targets": {"choices": ["", *o], "labels": [0, *(int(i == j) for j in range(4))]}
    },
    "texts with letters behind": lambda o, i: {
        "choices": "a ) oxygen , b ) neon , c ) iron , d ) gold",
        "correct": "abcd"[i],
    },
}


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_right_option_in_each_shape_at_each_place(shape: str, index: int) -> None:
    found = read({"question": ASKED, **SHAPES[shape](OPTIONS, index)})
    assert found.choices == OPTIONS
    assert found.answer == "ABCD"[index]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("A", ["B", "O", "AB"]),
        ("B", ["A", "O", "AB"]),
        ("O", ["A", "B", "AB"]),
        (2, [3, 4, 5]),
        (0, [1, 2, 3]),
    ],
)
def test_an_answer_beside_wrong_ones_is_a_text(right: Any, wrong: list[Any]) -> None:
    for row in ({"distractors": wrong}, {f"distractor{i}": text for i, text in enumerate(wrong, 1)}):
        found = read({"question": ASKED, "correct_answer": right, **row})
        assert found.choices["ABCD".index(found.answer)] == str(right)
        assert sorted(found.choices) == sorted(map(str, [right, *wrong]))


def test_wrong_answers_in_one_text() -> None:
    found = read({"question": ASKED, "Best Answer": "neon", "Incorrect Answers": "iron; gold"})
    assert sorted(found.choices) == ["gold", "iron", "neon"]
    assert found.choices["ABC".index(found.answer)] == "neon"


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"choices": [1, 2, 3, 4], "answer": 2}, "B"),
        ({"choices": ["1", "2", "3", "4"], "answer": "2"}, "B"),
        ({"choices": ["1", "2", "3", "4"], "answer": 2}, "C"),
        ({"choices": ["1", "2", "3", "4"], "answer_index": "2"}, "C"),
        ({"choices": ["bad", "good", "BAD", "fine"], "answer": "BAD"}, "C"),
        ({"choices": ["CO", "Co", "Ca"], "answer": "Co"}, "B"),
        ({"choices": ["m", "M", "k"], "answer": "M"}, "B"),
        ({"choices": OPTIONS, "answer": '["A","C"]'}, "AC"),
        ({"choices": OPTIONS, "answer": "Option C"}, "C"),
        ({"choices": OPTIONS, "answer": "[C]"}, "C"),
        ({"choices": OPTIONS, "answer": "C iron"}, "C"),
        ({"choices": OPTIONS, "answer": "2.0"}, "C"),
        ({"choices": OPTIONS, "answer": "ABD"}, "ABD"),
    ],
)
def test_answers_that_look_like_something_else(row: dict[str, Any], answer: str) -> None:
    assert read({"question": ASKED, **row}).answer == answer


@pytest.mark.parametrize(
    "row",
    [
        {"choices": OPTIONS, "answer": "A. iron"},
        {"choices": OPTIONS, "answer": "B) iron"},
        {"choices": OPTIONS, "answer": "A, maybe"},
        {"choices": OPTIONS, "answer": "D and so on"},
        {"choices": OPTIONS, "answer": "BAD"},
        {"choices": OPTIONS, "answer": [2, 2]},
        {"choices": OPTIONS, "answer": 4},
        {"choices": ["B", "A", "AB", "O"], "answer": "B"},
        {"choices": ["oxygen", "", "iron", "gold"], "answer": "B"},
        {"choices": ["A. oxygen", "C. neon", "D. iron"], "answer": "C"},
        {"choices": {"B": "oxygen", "A": "neon"}, "answer": 0},
        {"choices": {"text": OPTIONS, "label": ["A", "A", "B", "C"]}, "answer": "A"},
        {"choices": [{"text": "oxygen", "correct": True}, {"text": "neon", "correct": False}], "answer": "B"},
        {"choices": "a ) x , b ) both a ) and c ) , c ) y", "answer": "b) x"},
        {"choices": "oxygen; neon; iron", "answer": "C"},
        {"choices": ["oxygen"], "answer": "A"},
        {"choices": "['1' '2' '3' '4']", "answer": "2"},
        {"option1": "oxygen", "option2": "neon", "option3": "iron", "answer_index": 1},
    ],
)
def test_what_can_be_read_in_two_ways_is_dropped(row: dict[str, Any]) -> None:
    found = item({"question": ASKED, **row}, 1)
    assert isinstance(found, BadRow), found
    assert found.reason == "answer_not_in_choices"


@pytest.mark.parametrize(
    ("lines", "rest", "choices", "answer"),
    [
        (
            "I. Gold\nII. Neon\nA. I only\nB. II only\nC. both",
            "I. Gold\nII. Neon",
            ["I only", "II only", "both"],
            "B",
        ),
        ("B. iron\nA. neon", "", ["iron", "neon"], "A"),
        ("A. iron\nB. neon\nD. gold", "", ["iron", "neon", "gold"], "B"),
        ("A. iron is\n   a metal\nB. neon", "", ["iron is a metal", "neon"], "B"),
    ],
)
def test_options_in_lines_keep_their_letters(lines: str, rest: str, choices: list[str], answer: str) -> None:
    (found,) = markdown.items(f"Q: Which?\n{lines}\nAnswer: {answer}\n")
    assert isinstance(found, Raw)
    assert found.question == f"Which?\n{rest}".strip()
    assert found.choices == choices
    assert found.choices["ABC".index(found.answer)] in ("II only", "neon")


def test_no_answer_is_made_of_a_class_without_options() -> None:
    assert read({"question": "Is it so?", "passage": "It is so.", "label": 1}).answer == ""


def test_code_that_is_asked_for_stays_as_it_is() -> None:
    assert read(
        {"question": "Write HTML for a list.", "answer": "<ul>\n<li>a</li>\n</ul>"}
    ).answer.startswith("<ul>")
    assert read({"question": "When?", "answer": "<p>In <b>May</b>.</p>"}).answer == "In May."


def test_of_accepted_answers_the_first_counts() -> None:
    assert (
        read({"question": "When?", "answer": ["14 December 1972", "December 1972"]}).answer
        == "14 December 1972"
    )
    assert (
        read({"question": "Who?", "context": {"title": ["A"], "sentences": [["s"]]}, "answer": "yes"}).context
        == ""
    )


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"instruction": "Add them.", "input": "2 and 3", "output": "5"}, "Add them.\n\n2 and 3", "5"),
        ({"instruction": "Name a noble gas.", "input": "", "output": "neon"}, "Name a noble gas.", "neon"),
        ({"instruction": "Name it.", "context": "It glows red.", "response": "neon"}, "Name it.", "neon"),
        ({"prompt": "Name a noble gas.", "completion": "neon"}, "Name a noble gas.", "neon"),
        ({"input": "Name a noble gas.", "target": "neon"}, "Name a noble gas.", "neon"),
        (
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": [{"type": "text", "text": "Name a noble gas."}]},
                    {"role": "assistant", "content": "neon"},
                ]
            },
            "Name a noble gas.",
            "neon",
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Name a noble gas."},
                    {"from": "gpt", "value": "neon"},
                ]
            },
            "Name a noble gas.",
            "neon",
        ),
        (
            {"question": "Name it.", "answers": {"text": ["neon", "Neon"], "answer_start": [3, 9]}},
            "Name it.",
            "neon",
        ),
        ({"question": "Name it.", "answer": {"value": "neon", "aliases": ["Ne"]}}, "Name it.", "neon"),
        (
            {
                "question": "<p>Why is <b>neon</b> red?</p>\n<pre><code>glow()\n</code></pre>",
                "answers": [
                    {"text": "<p>It is not.</p>", "score": 9, "selected": False},
                    {"text": "<p>Its lines are.</p>", "score": 2, "selected": True},
                ],
            },
            "Why is neon red?\n\n```\nglow()\n```",
            "Its lines are.",
        ),
        (
            {"question": "Why?", "answers": [{"body": "So.", "score": 1}, {"body": "As.", "score": 4}]},
            "Why?",
            "As.",
        ),
        ({"question": "Why?", "answers": [{"body": "So.", "accepted": False}]}, "Why?", ""),
        ({"question": "Is it so?", "passage": "It is so.", "answer": True}, "Is it so?", "true"),
    ],
)
def test_questions_and_answers(row: dict[str, Any], question: str, answer: str) -> None:
    found = read(row)
    assert (found.question, found.answer) == (question, answer)


def test_what_is_asked_about_is_kept_apart() -> None:
    assert read({"question": "Which?", "context": "Two of them.", "answer": "b"}).context == "Two of them."
    assert read({"question": "Which?", "instruction": "Choose one.", "answer": "b"}).context == "Choose one."
    assert read({"instruction": "Choose one.", "output": "b"}).context == ""
    assert read(
        {"article": "Two of them.", "question": "Which?", "options": ["a", "b"], "answer": "B"}
    ).context


def test_articles_with_paragraphs_of_questions(tmp_path: Path) -> None:
    asked = [{"id": "1", "question": "Which?", "answers": [{"text": "neon", "answer_start": 0}]}]
    asked += [{"id": "2", "question": "Why?", "is_impossible": True, "answers": []}]
    data = {
        "version": "2",
        "data": [{"title": "Gases", "paragraphs": [{"context": "Neon glows.", "qas": asked}]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    (found,) = readers.open(str(tmp_path / "a.json"))
    assert isinstance(found, Raw)
    assert (found.question, found.answer, found.context, found.heading) == (
        "Which?",
        "neon",
        "Neon glows.",
        ["Gases"],
    )


@pytest.mark.parametrize("name", ["a.html", "a.md", "a.txt", "a.parquet", "a"])
def test_rows_under_another_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        '{"question": "Which?", "answer": "neon"}\n{"question": "Why?", "answer": "so"}\n'
    )
    assert [one.answer for one in readers.open(str(tmp_path / name)) if isinstance(one, Raw)] == [
        "neon",
        "so",
    ]


def test_a_table_under_the_name_of_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("question,answer\nWhich?,neon\n")
    (found,) = readers.open(str(tmp_path / "a.parquet"))
    assert isinstance(found, BadRow)
    assert (found.reason, found.excerpt[:33]) == ("unknown_format", "it does not begin as parquet does")


@pytest.mark.parametrize(
    ("name", "head"), [("a.csv", "question,answer\r"), ("a.jsonl", '{"question": "W?"}\r')]
)
def test_carriage_returns_alone(tmp_path: Path, name: str, head: str) -> None:
    (tmp_path / name).write_bytes((head * 3).encode())
    assert [one.reason for one in readers.open(str(tmp_path / name)) if isinstance(one, BadRow)] == [
        "odd_line_ends"
    ]
    (tmp_path / "a.txt").write_bytes(b"# Gases\r\rNeon glows.\r")
    (text,) = readers.open(str(tmp_path / "a.txt"))
    assert isinstance(text, Raw)
    assert text.passage == "# Gases\n\nNeon glows.\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_utf_16_is_named(tmp_path: Path, name: str, encoding: str) -> None:
    text = (
        "question,answer\nWhich?,neon\n" if name == "a.csv" else '{"question": "Which?", "answer": "neon"}\n'
    )
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert [one.reason for one in readers.open(str(tmp_path / name)) if isinstance(one, BadRow)] == [
        "other_encoding"
    ]


def test_the_line_by_which_excel_names_the_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfsep=;\r\nquestion;answer\r\nOne, two, which?;b\r\n")
    (found,) = readers.open(str(tmp_path / "a.csv"))
    assert isinstance(found, Raw)
    assert (found.question, found.answer, found.line) == ("One, two, which?", "b", 3)


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("Two and three make five, so it is $\\boxed{5}$ of them.", "5"),
        ("2 + 3 = 5\n#### 5", "5"),
        ("Two and three make five. The answer is 5.", "5"),
        ("二加三得五，故选B．", "B"),
        (
            "The answer is (b). Two and three make five, and so they do in every case that has been looked at.",
            "",
        ),
        ("a. The answer to both depends on this. b. It is 5.", ""),
        ("The answer seems reasonable at about 5 m; b. 6 m", ""),
        ("a. (0.5, 0.6)\nb. No: the answer is (0.5, 0.6), so less than half may say so.", ""),
    ],
)
def test_the_answer_of_a_worked_solution(solution: str, answer: str) -> None:
    assert read({"question": "How many?", "solution": solution}).answer == answer
