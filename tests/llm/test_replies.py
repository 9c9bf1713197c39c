"""Reading raw replies: each kind of damage has one named outcome."""

from __future__ import annotations

import pytest

from boostqa.llm.lines import RawReply
from boostqa.llm.model import Message, Outcome, Request
from boostqa.llm.replies import find_loop, interpret, parse_json, schema_problem, split_thought

SCHEMA = {
    "type": "object",
    "properties": {"level": {"type": "string", "enum": ["H1", "H2"]}, "n": {"type": "integer", "minimum": 1}},
    "required": ["level"],
    "additionalProperties": False,
}
ASK = Request(messages=(Message("user", "?"),), max_tokens=50)
ASK_JSON = Request(messages=(Message("user", "?"),), schema=SCHEMA)


@pytest.mark.parametrize(
    ("content", "field", "answer", "thought"),
    [
        ("42", "", "42", ""),
        ("42", "6 * 7", "42", "6 * 7"),
        ("<think>6 * 7</think>\n\n42", "", "42", "6 * 7"),
        ("<thinking>6 * 7</thinking>42", "", "42", "6 * 7"),
        ("<think>never ends", "", "", "never ends"),
        ("6 * 7</think>42", "", "42", "6 * 7"),  # opened by the chat template
        ("Use the <think> tag </think> so", "", "Use the <think> tag </think> so", ""),
    ],
)
def test_thought_is_kept_apart(content: str, field: str, answer: str, thought: str) -> None:
    assert split_thought(content, field) == (answer, thought)


@pytest.mark.parametrize(
    ("raw", "request_", "outcome", "error"),
    [
        (RawReply(text="Fine.", finish="stop"), ASK, Outcome.OK, ""),
        (
            RawReply(text="Cut of", finish="length"),
            ASK,
            Outcome.TRUNCATED,
            "cut off in the answer at max_tokens = 50",
        ),
        (RawReply(text="<think>so lo", finish="length"), ASK, Outcome.TRUNCATED, "cut off in the thought"),
        (RawReply(text="", finish="content_filter"), ASK, Outcome.REFUSED, "content_filter"),
        (RawReply(refusal="I cannot", finish="stop"), ASK, Outcome.REFUSED, "refused: I cannot"),
        (RawReply(text="  ", finish="stop"), ASK, Outcome.MALFORMED, "empty content"),
        (
            RawReply(text="", reasoning="hm", finish="stop"),
            ASK,
            Outcome.MALFORMED,
            "after a thought of 2 char",
        ),
        (RawReply(text="a " + "so on, " * 99, finish="stop"), ASK, Outcome.MALFORMED, "repetition loop"),
        (RawReply(text="x" * 999, finish="length"), ASK, Outcome.MALFORMED, "repetition loop"),
        (RawReply(reasoning="wait, " * 99, finish="length"), ASK, Outcome.MALFORMED, "repetition loop"),
        (
            RawReply(text="none here", finish="stop"),
            ASK_JSON,
            Outcome.MALFORMED,
            "no JSON object in 'none here'",
        ),
        (
            RawReply(text='{"level":"H9"}', finish="stop"),
            ASK_JSON,
            Outcome.MALFORMED,
            "data.level must be one of",
        ),
        (RawReply(text='{"lev', finish="length"), ASK_JSON, Outcome.TRUNCATED, "cut off"),
        (RawReply(text="", finish="stop"), ASK_JSON, Outcome.MALFORMED, "empty content instead of JSON"),
    ],
)
def test_outcomes(raw: RawReply, request_: Request, outcome: Outcome, error: str) -> None:
    reply = interpret(raw, request_, key="k", replayed=True)
    assert reply.outcome is outcome
    assert error in reply.error
    assert bool(reply.error) == (outcome is not Outcome.OK)
    assert (reply.key, reply.replayed, reply.finish) == ("k", True, raw.finish)


@pytest.mark.parametrize(
    "text",
    [
        '{"level":"H1","n":2}',
        '```json\n{"level": "H1", "n": 2}\n```',
        'Sure! Here it is:\n{"level": "H1", "n": 2}\nHope that helps.',
        '{"level": "H1", "n": 2,}',
        "{'level': 'H1', 'n': 2}",
        '{"level": "H1" "n": 2}',
        '<think>{"level":"H2"} or</think>{"level":"H1","n":2}',
    ],
)
def test_common_damage_is_repaired(text: str) -> None:
    reply = interpret(RawReply(text=text, finish="stop"), ASK_JSON)
    assert reply.ok
    assert reply.data == {"level": "H1", "n": 2}


@pytest.mark.parametrize("text", ["", "just words", "{", "[" * 100_000, "}{", "null", '"a string"'])
def test_nothing_is_invented(text: str) -> None:
    found, value = parse_json(text)
    assert not found or not isinstance(value, (dict, list))


def test_repaired_value_can_be_stored() -> None:
    found, value = parse_json("{'a': '\\ud800'}")
    assert not found or "\ud800" not in str(value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"level": "H1"}, ""),
        ({"n": 1}, "level"),
        ({"level": "H1", "n": 0}, "n must be bigger"),
        ({"level": "H1", "x": 1}, "must not contain"),
        ([], "must be object"),
    ],
)
def test_schema_problem(value: object, problem: str) -> None:
    found = schema_problem(value, SCHEMA)
    assert problem in found
    assert bool(found) == bool(problem)


def test_loops_are_not_seen_in_ordinary_text() -> None:
    table = "\n".join(f"| {i} | {i * i} | {i**3} |" for i in range(60))
    assert find_loop(table) == ""
    assert find_loop("short short short") == ""
    assert find_loop("start " + "甲乙丙" * 200) in {"甲乙丙", "乙丙甲", "丙甲乙"}


def test_paragraphs_that_repeat_are_a_loop_and_lists_are_none() -> None:
    thought = (
        "Wait, let me check the sign again. " + "The integral over the second part gives minus one half. " * 3
    )
    assert find_loop("So far so good. " + thought * 5) != ""
    assert find_loop("So far so good. " + thought * 3) == ""
    steps = [
        f"Step {n}: " + "we add the next term and check that the sum stays below the bound. " * 2
        for n in range(40)
    ]
    assert find_loop("\n".join(steps)) == ""
    assert find_loop(("ab" * 40 + "c") * 2000)  # many looks, each of them short


def test_halves_of_characters_never_leave_a_reply() -> None:
    raw = RawReply(text="a \ud83d b \ud83d\ude00", reasoning="\udc00", finish="stop")
    reply = interpret(raw, ASK)
    assert (reply.text, reply.reasoning) == ("a \ufffd b \U0001f600", "\ufffd")
    spelled = RawReply(text='{"level": "H1", "note": "\\ud83d x \\ud83d\\ude00 \\udc00"}', finish="stop")
    schema = {"type": "object", "properties": {"note": {"type": "string"}}}
    reply = interpret(spelled, Request(messages=ASK.messages, schema=schema))
    assert reply.outcome is Outcome.OK
    assert reply.data["note"] == "\ufffd x \U0001f600 \ufffd"
    assert "\ud83d" not in interpret(RawReply(refusal="no \ud83d"), ASK).error
