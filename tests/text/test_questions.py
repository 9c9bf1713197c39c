from __future__ import annotations

import pytest

from boostqa.text.questions import qa_problems


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("", "4", "empty_question"),
        ("What is 2 + 2?", " ", "empty_answer"),
        ("According to the passage, why did he leave?", "Fear", "needs_context"),
        ("如图所示，求角的大小。", "30", "needs_context"),
        ("Repeat the preceding problem with twice the mass.", "4 kg", "needs_context"),
        ("Using the model in Example 10, how many fall ill on day 15?", "895", "needs_context"),
        (
            "The diagram shows a ladder that leans against a wall. How high does it reach?",
            "4",
            "needs_context",
        ),
        ("下表反映了三年的产量，产量最高的是哪一年？", "1980", "needs_context"),
        ("How many moons will be seen?  insert pic", "67", "placeholder"),
        ("What is {{topic}}?", "x", "placeholder"),
        ("Sure! What is gravity?", "A force", "chat_remnant"),
        (r"What is \frac{1}{2?", "0.5", "unbalanced_formula"),
        ("Why is the sky blue?", "because " * 12, "repetitive"),
    ],
)
def test_each_qa_problem_is_named(question: str, answer: str, reason: str) -> None:
    assert reason in qa_problems(question, answer)


@pytest.mark.parametrize(
    "question",
    [
        "PESTLE stands for _____________",
        r"She pays $\$15.60$ for $2$ apples. How much for one?",
        "求 $$\\frac{1}{2}$$ 的值",
        "Which process initiates the passage of half of a parent's DNA to offspring?",
        "The Art of War is an old book. The author is _____",
        "What led to the passage of the Sedition Acts?",
        r"Xenia was able to earn $\$$47.60 more in June.",
        'Which figure of speech is used in this text?\n"This box weighs a ton!" Martin panted, and put it down.',
        "Which of the females in the table shown listen?\n| a | b |\n| --- | --- |\n| 1 | 2 |",
        "class T { int b; //todo which line goes here?",
        "A lake freezes over.\nThe ice is thin at its edge.\n\nAccording to the passage, where is the ice thin?",
        'He wrote: "Nothing is as quiet as a forest under fresh snow." What does the author mean?',
        "In the figure shown, find the angle. [asy] draw((0,0)--(4,0)--(0,3)--cycle); [/asy]",
        "The table shown lists prices. \\begin{tabular}{l|l} Pen & 1 \\end{tabular} What is a pen?",
    ],
)
def test_usable_questions_pass(question: str) -> None:
    assert qa_problems(question, "x") == []
