"""From the body of a request to the body of a fake model's reply, without HTTP, time or order.

Puts together what is true (`truth`), what the model makes of it (`tasks`, `complete`) and how
its kind of server words it (`wire`). Only the counts of cached prompt tokens depend on earlier requests.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from boostqa.errors import UserError
from boostqa.llm.fake import strict, wire
from boostqa.llm.fake.complete import continue_prompt, pieces, prompt_scores
from boostqa.llm.fake.faults import BatchPlan, Plan
from boostqa.llm.fake.keys import Key, read_keys
from boostqa.llm.fake.persona import Persona
from boostqa.llm.fake.tasks import Job, Result, read_sections, respond
from boostqa.llm.fake.truth import World
from boostqa.llm.fake.world import unit

_BLOCK = 256  # bytes, so 64 tokens: the unit of the prompt cache
_CACHE_LIMIT = 200_000
_RAW_KINDS = 256
_CREATED = 1_700_000_000  # a constant, because a reply must not depend on time


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fake server is: the content of a config file, as JSON."""

    models: dict[str, Persona]
    """Model id -> what it is like."""
    seed: int = 0
    """Of the world; another seed gives other questions and other luck."""
    api_key: str | None = None
    """The key that requests must bring; None: none is asked for."""
    answer_keys: list[str] = []
    """Files (or folders of them) with the answers to questions that are not of the world: JSONL or CSV with
    the columns of `keys.Key`; other columns are ignored, so files of seeds will do."""
    faults: Plan = Plan()
    batch: BatchPlan = BatchPlan()
    prompt_cache: bool = True
    """Whether prompt tokens that were seen before are counted as cached."""
    keep: int = 0
    """How many of the last request bodies `FakeServer.seen` keeps."""


def default_config() -> Config:
    """One server with a model for each role, good enough for a whole run."""
    write = {
        "wrong_answer": 0.1,
        "easier": 0.35,
        "leak": 0.03,
        "copy": 0.03,
        "passage_reference": 0.03,
        "ill_posed": 0.03,
        "duplicate": 0.05,
    }
    target = {
        "default": 0.75,
        "cells": {"*/H3": 0.55, "*/H4": 0.35, "*/H5": 0.15, "Physics": 0.3, "Chemistry": 0.4},
    }
    models = {
        "fake-teacher": {"dialect": "deepseek", "ability": {"default": 0.9}, "write": write},
        "fake-refiner": {"dialect": "deepseek", "thinking": False, "refine": {"fixes": 0.75, "breaks": 0.02}},
        "fake-solver": {
            "dialect": "vllm",
            "ability": {"default": 0.85, "cells": {"*/H5": 0.55, "*/H4": 0.7}},
        },
        "fake-judge": {"dialect": "openai"},
        "fake-target": {"dialect": "vllm", "ability": target},
        "fake-small": {
            "dialect": "llamacpp",
            "ability": {"default": 0.4},
            "label_accuracy": 0.8,
            "write": write,
        },
    }
    return read_config({"models": models}, "the default")


def read_config(data: Any, where: str) -> Config:
    """A config from plain data; `where` names its place in messages.

    Raises:
        UserError: naming the key that is wrong.
    """
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise UserError(
            f"{where}: {error}; the keys are those of Config and Persona in boostqa.llm.fake"
        ) from error
    if not config.models:
        raise UserError(f"{where}: models is empty; name at least one")
    for name, persona in config.models.items():
        if persona.dialect not in strict.DIALECTS:
            known = ", ".join(strict.DIALECTS)
            raise UserError(f"{where}: models.{name}.dialect {persona.dialect!r} is not one of {known}")
    return config


class Reply(msgspec.Struct, frozen=True):
    """A reply ready to be sent."""

    body: bytes
    task: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Replier:
    """Replies for one config.

    Args:
        config: models and world.
        keys: answer keys beyond the config's files.

    Raises:
        UserError: when a file of answer keys cannot be read.
    """

    def __init__(self, config: Config, keys: Iterable[Key] = ()) -> None:
        found = list(keys)
        for name in config.answer_keys:
            path = Path(name)
            try:
                parts = (
                    [p for p in sorted(path.iterdir()) if p.suffix in {".jsonl", ".csv"}]
                    if path.is_dir()
                    else [path]
                )
                for part in parts:
                    found += read_keys(part)
            except (OSError, ValueError) as error:
                raise UserError(f"answer_keys: {name}: {error}") from error
        self.config = config
        self.world = World(config.seed, found)
        self._cache: set[int] = set()
        self._raw = {name: _raw_bodies(name, p) for name, p in config.models.items() if p.raw_bytes}

    def raw(self, name: str, digest: str) -> bytes | None:
        """A canned reply of a model with `raw_bytes`."""
        bodies = self._raw.get(name)
        return bodies[int(digest[:4], 16) % len(bodies)] if bodies else None

    def reply(
        self, name: str, endpoint: strict.Endpoint, body: dict[str, Any], fault: str = "", mark: str = ""
    ) -> Reply:
        """The reply of model `name`, with a fault of the reply, if any.

        `mark` tells samples apart where the body has no seed: an idempotency key or the number of the call.

        Raises:
            Refused: when the server would not take the request.
        """
        persona = self.config.models[name]
        for field in persona.refuses:
            if field in body:
                raise strict.Refused(400, f"Unsupported parameter: '{field}' is not supported.", param=field)
        body = {field: value for field, value in body.items() if field not in persona.ignores}
        strict.check(persona.dialect, endpoint, body, persona.thinking)
        prompt = (
            "\x1e".join(m["role"] + m["content"] for m in body["messages"])
            if endpoint == "chat"
            else body["prompt"]
        )
        # Clients of echoed log-probabilities rely on the exact count.
        size = wire.count_tokens(prompt) if endpoint == "chat" else len(pieces(prompt))
        limit = self._limit(persona, body, size)
        job = self._job(name, persona, endpoint, body, mark)
        if endpoint == "chat":
            choice, out = _chat(job, body, limit, fault)
        else:
            choice, out = _complete(job, body, limit)
        cached = self._cached(name, prompt) if self.config.prompt_cache else 0
        payload = {
            "id": ("chatcmpl-" if endpoint == "chat" else "cmpl-") + job.salt,
            "object": "chat.completion" if endpoint == "chat" else "text_completion",
            "created": _CREATED,
            "model": "another-model" if fault == "wrong_model" else name,
            "choices": [choice],
            "usage": _usage(persona.dialect, size, cached, out),
        }
        if fault == "no_usage":
            del payload["usage"]
        return Reply(msgspec.json.encode(payload), job.task, size, cached, out[0])

    def _limit(self, persona: Persona, body: dict[str, Any], size: int) -> int:
        """Tokens that may be generated."""
        asked = body.get("max_completion_tokens") or body.get("max_tokens")
        default = 16 if "prompt" in body else persona.context
        wanted = asked if asked is not None else min(default, max(persona.context - size, 1))
        over = size if persona.dialect == "llamacpp" else size + wanted
        if over > persona.context:
            raise strict.Refused(
                400,
                f"This model's maximum context length is {persona.context} tokens. However, you requested "
                f"{over} tokens ({size} in the messages, {wanted} in the completion).",
                param="max_tokens",
                code="context_length_exceeded",
            )
        return min(wanted, persona.context - size)

    def _job(
        self, name: str, persona: Persona, endpoint: strict.Endpoint, body: dict[str, Any], mark: str
    ) -> Job:
        sampled = bool(body.get("temperature", 1.0)) or wire.thinks(persona.dialect, body, persona.thinking)
        draw = str(body.get("seed", mark)) if sampled else ""
        schema, _ = wire.wanted_schema(persona.dialect, body)
        if endpoint == "completions":
            salt = xxhash.xxh3_64_hexdigest(f"{body['prompt']}\x1f{draw}".encode())
            return Job(self.world, name, persona, "completion", [], salt, draw, schema)
        messages = body["messages"]
        salt = xxhash.xxh3_64_hexdigest(msgspec.json.encode([messages, draw]))
        task, sections = "", []
        if messages[0]["role"] == "system":
            first = messages[0]["content"].lstrip().partition("\n")[0]
            task = first.removeprefix("Task:").strip() if first.startswith("Task:") else ""
        for message in reversed(messages):
            if message["role"] == "user":
                sections = read_sections(wire.cut_schema(message["content"])[1])
                if sections:
                    break
        return Job(self.world, name, persona, task, sections, salt, draw, schema)

    def _cached(self, name: str, prompt: str) -> int:
        """Tokens at the beginning of the prompt that this model has seen, in whole blocks."""
        data = prompt.encode()
        state = xxhash.xxh3_64(name.encode())
        if len(self._cache) > _CACHE_LIMIT:
            self._cache.clear()
        found, hit = 0, True
        for at in range(_BLOCK, len(data) + 1, _BLOCK):
            state.update(data[at - _BLOCK : at])
            key = state.intdigest()
            hit = hit and key in self._cache
            found += hit
            self._cache.add(key)
        return found * _BLOCK // 4


def _usage(dialect: str, size: int, cached: int, out: tuple[int, int]) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": size,
        "completion_tokens": out[0],
        "total_tokens": size + out[0],
    }
    usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if dialect == "deepseek":
        usage |= {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": size - cached}
    if dialect in {"deepseek", "openai"}:
        usage["completion_tokens_details"] = {"reasoning_tokens": out[1]}
    return usage


def _chat(job: Job, body: dict[str, Any], limit: int, fault: str) -> tuple[dict[str, Any], tuple[int, int]]:
    """(choice, (completion tokens, of them thought))."""
    persona, dialect = job.persona, job.persona.dialect
    result = respond(job)
    text = _text(job, result, body)
    thought = _thought(job, result) if wire.thinks(dialect, body, persona.thinking) else ""
    finish = "stop"
    text, thought, finish, refusal = _spoil(job, text, thought, limit, fault)
    for stop in [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []:
        text = text.split(stop, 1)[0] if stop else text
    thinking = min(wire.count_tokens(thought), limit)
    if thinking + wire.count_tokens(text) > limit:
        finish = "length"
        thought, text = wire.cut_tokens(thought, limit), wire.cut_tokens(text, limit - thinking)
    rows = (
        wire.chat_logprobs(dialect, text, body.get("top_logprobs") or 0, result.letters)
        if body.get("logprobs")
        else None
    )
    used = thinking + (len(rows) if rows is not None else wire.count_tokens(text))
    place = persona.reasoning_field or {"openai": "", "vllm": "reasoning"}.get(dialect, "reasoning_content")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thought and place == "inline":
        # Cut off inside the thought, the tag stays open.
        message["content"] = f"<think>\n{thought}" + (
            "" if finish == "length" and not text else f"\n</think>\n\n{text}"
        )
    elif thought and place:
        message[place] = thought
    if refusal and dialect == "openai":
        message |= {"content": None, "refusal": refusal}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish}
    choice["logprobs"] = {"content": rows} if rows is not None else None
    return choice, (used, thinking)


def _text(job: Job, result: Result, body: dict[str, Any]) -> str:
    if result.data is None:
        return result.text
    _, constrained = wire.wanted_schema(job.persona.dialect, body)
    data = wire.fit(job.schema, result.data, job.salt) if job.schema is not None else result.data
    return wire.json_text(job.persona.dialect, data, constrained)


def _thought(job: Job, result: Result) -> str:
    lines = ["Let me think about this first.", result.thought]
    while 4 * job.persona.thought_tokens > sum(map(len, lines)):
        lines.append(
            f"Check {len(lines)}: {int(unit(job.salt, len(lines)) * 10**12)} is not the way, so go on."
        )
    return "\n".join(line for line in lines if line)


def _spoil(job: Job, text: str, thought: str, limit: int, fault: str) -> tuple[str, str, str, str]:
    """(text, thought, finish reason, refusal) after a fault of the reply."""
    if fault == "truncated":
        return text[: len(text) // 2], thought, "length", ""
    if fault == "refusal":
        words = "I'm sorry, but I can't help with that."
        filtered = job.persona.dialect == "deepseek"
        return ("" if filtered else words), thought, ("content_filter" if filtered else "stop"), words
    if fault in {"empty_content", "unclosed_think"}:
        long = "\n".join(f"Step {i}: {int(unit(job.salt, i) * 10**9)} leads nowhere." for i in range(60))
        return ("", long, "stop", "") if fault == "empty_content" else (f"<think>\n{long}", "", "stop", "")
    if fault == "loop":
        return text[:120] + " and so on and on" * min(limit // 5 + 1, 400), thought, "length", ""
    if fault == "bad_json":
        return text[: max(len(text) * 2 // 3, 1)], thought, "stop", ""
    return text, thought, "stop", ""


def _complete(job: Job, body: dict[str, Any], limit: int) -> tuple[dict[str, Any], tuple[int, int]]:
    dialect, prompt, top = job.persona.dialect, body["prompt"], body.get("logprobs")
    echo = bool(body.get("echo")) and dialect != "llamacpp"
    text, odds = continue_prompt(job, prompt)
    if job.schema is not None:
        text = wire.json_text(
            dialect, wire.fit(job.schema, {"answer": text.split("\n")[0].strip()}, job.salt), True
        )
    for stop in [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []:
        text = text.split(stop, 1)[0] if stop else text
    asked = body.get("max_tokens", 16)
    rows = wire.chat_logprobs(dialect, text, int(top or 0), odds)
    rows = rows[: max(limit, 1) if asked or dialect == "llamacpp" else 0]
    made = "".join(row["token"] for row in rows)
    choice: dict[str, Any] = {"index": 0, "text": prompt + made if echo else made, "logprobs": None}
    choice["finish_reason"] = "length" if len(made) < len(text) else "stop"
    scores = (
        prompt_scores(job, prompt)
        if (echo and top is not None) or body.get("prompt_logprobs") is not None
        else []
    )
    if top is not None and dialect == "llamacpp":
        choice["logprobs"] = {"content": rows}
    elif top is not None:
        generated = [(row["token"], row["logprob"]) for row in rows]
        choice["logprobs"] = wire.legacy_logprobs((scores if echo else []) + generated, int(top), echo)
        if not echo:
            tops = [{r["token"]: r["logprob"] for r in row["top_logprobs"]} for row in rows]
            choice["logprobs"]["top_logprobs"] = tops if top else None
    if body.get("prompt_logprobs") is not None:
        choice["prompt_logprobs"] = wire.prompt_logprobs(scores)
    return choice, (len(rows), 0)


def _raw_bodies(name: str, persona: Persona) -> list[bytes]:
    """Canned replies: a QA as JSON, filled with words up to the wanted size."""
    source = random.Random(name)
    words = [
        "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randrange(2, 10))) for _ in range(4000)
    ]
    bodies = []
    for i in range(_RAW_KINDS):
        content: dict[str, Any] = {"question": f"What is {i} + {i}?", "solution": "", "answer": str(2 * i)}
        usage = _usage(persona.dialect, 400, 0, (persona.raw_bytes // 4, 0))
        for _ in range(2):
            message = {"role": "assistant", "content": msgspec.json.encode(content).decode()}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            body = msgspec.json.encode(
                {
                    "id": f"chatcmpl-{i}",
                    "object": "chat.completion",
                    "created": _CREATED,
                    "model": name,
                    "choices": [choice],
                    "usage": usage,
                }
            )
            missing = max(persona.raw_bytes - len(body), 0)
            content["solution"] = " ".join(source.choices(words, k=missing // 3 + 1))[:missing]
        bodies.append(body)
    return bodies
