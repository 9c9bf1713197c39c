"""Reading a raw reply: thought apart from answer, JSON checked against its schema, and the outcome.

Pure functions of (raw reply, request), so that a reply from the ledger reads the same as a fresh one, and
better reading reaches old replies too. Rules, first match counts:

    refused     the provider says so (`content_filter`, `refusal`)
    malformed   the text ends in a loop; empty; with a schema: no JSON even after repair, or it does not fit
    truncated   finish reason `length`
    ok          everything else
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from boostqa.llm.lines import RawReply
from boostqa.llm.model import Outcome, Reply, Request, Score
from boostqa.text.surrogates import joined, joined_escapes

_THINK = re.compile(r"\s*<think(?:ing)?>(.*?)(?:</think(?:ing)?>|\Z)", re.DOTALL)
_THINK_END = re.compile(r"</think(?:ing)?>")
_FENCE = re.compile(r"```[A-Za-z0-9_-]*\s*\n?(.*?)```", re.DOTALL)
_LOOP_TAIL = 480
_LOOP_REPEATS = 6
_LOOP_END = 8
_LONG_PERIOD = 2000
_LONG_REPEATS = 4
_LONG_END = 64
_LONG_LOOKS = 32
_REPAIR_LIMIT = 200_000
_decode = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def interpret(raw: RawReply, request: Request, *, key: str = "", replayed: bool = False) -> Reply:
    """The reply that a caller sees, by the rules in the module docstring."""
    # Cleaned here and nowhere else: half a character would only fail where a record is written.
    if not (raw.text.isascii() and raw.reasoning.isascii() and raw.refusal.isascii()):
        raw = msgspec.structs.replace(
            raw, text=joined(raw.text), reasoning=joined(raw.reasoning), refusal=joined(raw.refusal)
        )
    text, thought = split_thought(raw.text, raw.reasoning)
    outcome, data, error = _judge(raw, request, text, thought)
    return Reply(
        outcome=outcome,
        text=text,
        reasoning=thought,
        data=data,
        logprobs=raw.logprobs,
        usage=raw.usage,
        model=raw.model,
        finish=raw.finish,
        error=error,
        key=key,
        replayed=replayed,
    )


def _judge(raw: RawReply, request: Request, text: str, thought: str) -> tuple[Outcome, Any, str]:
    if raw.refusal:
        return Outcome.REFUSED, None, f"refused: {raw.refusal[:200]}"
    if raw.finish == "content_filter":
        return Outcome.REFUSED, None, "refused: finish_reason is content_filter"
    loop = find_loop(text) or (find_loop(thought) if not text else "")
    if loop:
        return Outcome.MALFORMED, None, f"repetition loop: the text ends in repeats of {loop[:60]!r}"
    if raw.finish == "length":
        where = "the thought" if not text and thought else "the answer"
        return Outcome.TRUNCATED, None, f"cut off in {where} at max_tokens = {request.max_tokens}"
    if request.schema is not None:
        return _check(text, thought, request.schema)
    if not text.strip() and request.prompt is None:
        after = f" after a thought of {len(thought)} characters" if thought else ""
        return Outcome.MALFORMED, None, f"empty content{after} (finish_reason {raw.finish or 'missing'})"
    return Outcome.OK, None, ""


def split_thought(content: str, reasoning: str) -> tuple[str, str]:
    """(answer, thought): the thought from its own field, or from `<think>` in the content, closed or not."""
    if "<" not in content:  # most answers; looking for a whole tag in 6 kB takes 50 times as long
        return content, reasoning
    match = _THINK.match(content)
    if match is not None:
        return content[match.end() :].strip(), reasoning or match[1].strip()
    # Some templates open the tag in the prompt, so that only its end is in the reply.
    end = _THINK_END.search(content) if "</think" in content else None
    if end is not None and "<think" not in content[: end.start()]:
        return content[end.end() :].strip(), reasoning or content[: end.start()].strip()
    return content, reasoning


def find_loop(text: str) -> str:
    """The unit that `text` repeats at its end for hundreds of characters; empty when there is none."""
    # What repeats within the text has its last words there before; most texts are done after one look.
    if text.rfind(text[-_LOOP_END:], max(0, len(text) - _LOOP_END - _LONG_PERIOD), len(text) - 1) < 0:
        return ""
    tail = text[-_LOOP_TAIL:]
    if len(tail) < _LOOP_TAIL:
        return ""
    longest = _LOOP_TAIL // _LOOP_REPEATS
    end = tail[-_LOOP_END:]
    at = _LOOP_TAIL - _LOOP_END
    # What repeats ends as it ended one period before.
    while (at := tail.rfind(end, _LOOP_TAIL - _LOOP_END - longest, at + _LOOP_END - 1)) >= 0:
        period = _LOOP_TAIL - _LOOP_END - at
        if tail[period:] == tail[:-period]:
            return tail[-period:]
    return _find_long_loop(text)


def _find_long_loop(text: str) -> str:
    """The same for whole paragraphs, as reasoning models repeat them: four times, each up to 2,000 characters."""
    end = text[-_LONG_END:]
    at = len(text) - _LONG_END
    for _ in range(_LONG_LOOKS):  # bounded, since a text may be full of its own end
        at = text.rfind(end, max(0, len(text) - _LONG_END - _LONG_PERIOD), at + _LONG_END - 1)
        if at < 0:
            return ""
        period = len(text) - _LONG_END - at
        tail = text[-_LONG_REPEATS * period :]
        if len(tail) == _LONG_REPEATS * period and tail[period:] == tail[:-period]:
            return tail[-period:]
    return ""


def _check(text: str, thought: str, schema: dict[str, Any]) -> tuple[Outcome, Any, str]:
    if not text.strip():
        after = f" after a thought of {len(thought)} characters" if thought else ""
        return Outcome.MALFORMED, None, f"empty content{after} instead of JSON"
    found, data = parse_json(text)
    if not found:
        return Outcome.MALFORMED, None, f"no JSON object in {text[:80]!r}"
    problem = schema_problem(data, schema)
    if problem:
        return Outcome.MALFORMED, None, f"JSON does not fit the schema: {problem}"
    return Outcome.OK, data, ""


def parse_json(text: str) -> tuple[bool, Any]:
    """(found, value): strictly first, then without fences and text around it, then repaired."""
    found, value = _strictly(text)
    if found:
        return True, value
    text = joined_escapes(text)
    fence = _FENCE.search(text)
    for candidate in (text, fence[1] if fence else "", _outermost(text)):
        found, value = _strictly(candidate)
        if found:
            return True, value
    candidate = _outermost(fence[1] if fence else text)
    if not candidate or len(candidate) > _REPAIR_LIMIT:
        return False, None
    import json_repair

    try:
        # Encoded once to make sure that the result can be stored (no half surrogates).
        value = msgspec.json.decode(msgspec.json.encode(json_repair.loads(candidate, skip_json_loads=True)))
    except (UnicodeError, RecursionError):
        return False, None
    return (True, value) if isinstance(value, (dict, list)) and value else (False, None)


def _strictly(text: str) -> tuple[bool, Any]:
    try:
        return True, _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False, None


def _outermost(text: str) -> str:
    """From the first opening to the last closing bracket; empty when one of them is missing."""
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if not starts:
        return ""
    start = min(starts)
    end = text.rfind("}" if text[start] == "{" else "]")
    return text[start : end + 1] if end > start else ""


def schema_problem(value: Any, schema: dict[str, Any]) -> str:
    """Where `value` breaks the JSON Schema, for a person and for a model; empty when it fits."""
    validate, broken = _validator(_encode_sorted(schema))
    try:
        validate(value)
    except broken as error:
        return str(error)[:300]
    return ""


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> tuple[Callable[[Any], Any], type[Exception]]:
    """The compiled schema, and what it raises where a value does not fit."""
    import fastjsonschema

    compiled: Callable[[Any], Any] = fastjsonschema.compile(_decode(schema), use_default=False)
    return compiled, fastjsonschema.JsonSchemaValueException


def score_of(raw: RawReply | None, start: int, continuation: str) -> Score | None:
    """Sum the log-probabilities of the tokens that make up `continuation` at the end of an echoed prompt.

    Args:
        raw: reply to a scoring request; its last token was generated and does not count.
        start: tokens of the prefix, where the continuation begins unless tokens span the border.
        continuation: text that was scored.
    """
    if raw is None or len(raw.logprobs) < 2:
        return None
    end = raw.usage.prompt if raw.usage.prompt is not None else len(raw.logprobs) - 1
    if len(raw.logprobs) < end:
        return None  # the server ignored `echo`: these are tokens that it generated
    tokens = raw.logprobs[:end]
    start = max(1, min(start, len(tokens)))
    # A token may span the border; it then belongs to the continuation. Halves of characters are shown as
    # replacement marks, whose lengths say nothing.
    while start > 1 and "\ufffd" not in (text := "".join(item.token for item in tokens[start:])):
        if len(text) >= len(continuation):
            break
        start -= 1
    scored = tokens[start:]
    return Score(
        logprob=sum(item.logprob for item in scored), tokens=len(scored), num_bytes=len(continuation.encode())
    )
