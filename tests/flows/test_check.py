import time

import pytest

from boostqa.flows.check import Limits, first_problem
from boostqa.record import Record, Requested, SeedText

QUESTION = "A train covers 120 km in 2 hours at constant speed. What is its speed in km/h?"


def item(question=QUESTION, answer="60 km/h", **fields):
    requested = Requested(language=fields.pop("wanted", "en"), strategy=fields.pop("strategy", "write"))
    fields.setdefault("question_type", "calculation")
    return Record(id="q", kind="qa", question=question, answer=answer, requested=requested, **fields)


def reason(record):
    problem = first_problem(record, Limits())
    return problem.reason if problem else None


def test_a_sound_item_passes():
    assert reason(item()) is None
    assert reason(item("一列火车2小时行驶120千米，它的速度是多少？", "60 km/h", wanted="zh")) is None


@pytest.mark.parametrize(
    "record",
    [
        item("Why?"),
        item("What is the speed of a train that covers 120 km in"),
        item("The train covers 120 km in 2 hours at constant speed."),
        item("Which of the following is the speed of the train?"),
        item("What is the answer to " + 4 * "the question of the answer to " + "it?"),
        item('{"question": "What is the speed of the train?"'),
        item(answer=""),
        item(answer="..."),
        item(answer="![speed](https://example.org/a.png)"),
        item(answer="https://example.org/answer"),
        item(answer="word " * 400),
        item(answer="maybe", question_type="true_false"),
        item(answer="A", question_type="multiple_choice"),
        item(answer="E", choices=["1", "2", "3", "4"]),
        item(answer="60", choices=["50", "60"]),
        item(answer="A", choices=["0.5", "1/2", "3", "4"]),
        item(answer="A", choices=["Paris", "paris ", "Rome", "Bonn"]),
        item(answer="A", choices=["Paris", "", "Rome", "Bonn"]),
    ],
)  # fmt: skip
def test_broken_items_are_found(record):
    assert reason(record) == "broken_structure"


def test_a_solution_that_ends_elsewhere_is_found():
    assert reason(item(solution="120/2 = 60, so \\boxed{60}")) is None
    assert reason(item(solution="120*2 = 240, so \\boxed{240}")) == "wrong_answer"


def test_a_solution_that_states_another_option_is_found():
    options = {"choices": ["Mars", "Jupiter", "Venus", "Saturn"], "question_type": "multiple_choice"}
    question = "Which planet is the largest of the Solar System?"
    told = "Jupiter is by far the largest planet.\nAnswer: "
    assert reason(item(question, "C", solution=told + "B", **options)) == "wrong_answer"
    assert reason(item(question, "C", solution=told + "Jupiter", **options)) == "wrong_answer"
    assert reason(item(question, "B", solution=told + "Jupiter", **options)) is None
    assert reason(item(question, "B", solution=told + "(B)", **options)) is None
    assert reason(item(question, "B", solution=told + "the giant", **options)) is None


def test_a_question_of_open_brackets_ends_quickly():
    assert reason(item("\\[" * 8192 + " what is this thing?")) == "broken_structure"
    start = time.process_time()
    first_problem(item("\\[" * 5900 + " what is this thing?"), Limits())
    # Quadratic time would be about two seconds.
    assert time.process_time() - start < 0.5
    assert reason(item(r"What is the sum of \[ 2 \cdot 3 \] and \[ 4 \]?", "10")) is None


def test_another_language_is_found():
    assert reason(item("一列火车2小时行驶120千米，它的平均速度是多少？")) == "wrong_language"
    assert reason(item(wanted="zh")) == "wrong_language"


@pytest.mark.parametrize(
    "question",
    [
        "According to the passage, what is the speed of the train in km/h?",
        "What does the author state about the speed of trains in general?",
        "Which speed is shown in the figure below for the express train?",
        "根据上述材料，这列火车的平均速度是多少？",
        "如图，火车从甲地开往乙地，它的平均速度是多少？",
    ],
)
def test_references_to_what_the_reader_lacks_are_found(question):
    wanted = "en" if question.isascii() else "zh"
    assert reason(item(question, wanted=wanted)) == "passage_reference"


@pytest.mark.parametrize(
    "question",
    [
        "What is the role of context in the interpretation of a text by its readers?",
        "A company operates in the following way: it sells at cost. What is its profit margin?",
    ],
)
def test_harmless_words_are_no_reference(question):
    assert reason(item(question)) is None


def test_a_leak_is_found():
    question = "Photosynthesis happens in the chloroplast. In which part of the cell does it happen?"
    assert reason(item(question, "the chloroplast", question_type="short_answer")) == "answer_leak"


def test_a_copy_is_found_and_a_new_question_is_not():
    seed = SeedText(id="s", passage="Trains were slow once. " + QUESTION + " Later they were fast.")
    assert reason(item(seeds=[seed])) == "seed_copy"
    edited = QUESTION.replace("covers", "travels")
    assert reason(item(edited, seeds=[seed])) == "seed_copy"
    new = "How far does a bus get in three hours when it holds 40 km/h all the time?"
    assert reason(item(new, "120 km", seeds=[seed])) is None
