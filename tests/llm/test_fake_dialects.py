"""The fake provider: what each kind of server accepts and how its replies look."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from boostqa.llm.fake import FakeServer, read_config
from boostqa.llm.fake.reply import Replier
from fake_seeds import (
    CHAT,
    asked,
    messages,
    replier,
    seed_rows,
    serve,
)

SCHEMA = {
    "type": "object",
    "properties": {"solution": {"type": "string"}, "answer": {"type": "string", "minLength": 1}},
    "required": ["solution", "answer"],
    "additionalProperties": False,
}


def test_schema_in_the_prompt_is_read_where_the_dialect_has_json_mode_only():
    text = "## Question\nWho?\n\nAnswer with one JSON object. It must fit this schema:\n" + json.dumps(SCHEMA)
    fake = Replier(read_config({"models": {"m": {"dialect": "deepseek"}}}, "test"))
    body = {"model": "m", "messages": messages("other", text), "response_format": {"type": "json_object"}}
    message = msgspec.json.decode(fake.reply("m", "chat", body).body)["choices"][0]["message"]
    assert set(json.loads(message["content"])) == {"solution", "answer"}
    assert message["reasoning_content"]  # thinking is on by default there
    off = fake.reply("m", "chat", {**body, "thinking": {"type": "disabled"}})
    assert "reasoning_content" not in msgspec.json.decode(off.body)["choices"][0]["message"]


def test_compact_json_for_a_grammar():
    fake = Replier(read_config({"models": {"m": {"dialect": "llamacpp"}}}, "test"))
    grammar = "%llguidance {}\nstart: %json " + json.dumps(SCHEMA)
    row = seed_rows(1)[0]
    body = {"model": "m", "messages": messages("solve", asked(row)), "grammar": grammar, "cache_prompt": True}
    content = msgspec.json.decode(fake.reply("m", "chat", body).body)["choices"][0]["message"]["content"]
    assert content.startswith('{"solution":"')


def test_llamacpp_ignores_echo_and_reports_chat_style_log_probabilities():
    fake = Replier(read_config({"models": {"m": {"dialect": "llamacpp"}}}, "test"))
    body = {"model": "m", "prompt": "Question: Who?\nAnswer:", "max_tokens": 0, "echo": True, "logprobs": 1}
    choice = msgspec.json.decode(fake.reply("m", "completions", body).body)["choices"][0]
    assert not choice["text"].startswith("Question")
    assert [token["token"] for token in choice["logprobs"]["content"]] == [choice["text"]]


JSON_MODE = {"type": "json_object"}
HI = [{"role": "user", "content": "hi"}]
STRICT = {
    "type": "json_schema",
    "json_schema": {"name": "x", "strict": True, "schema": {"type": "object", "properties": {}}},
}


@pytest.mark.parametrize(
    ("dialect", "path", "body", "status", "text"),
    [
        ("openai", "/chat/completions", {**CHAT, "chat_template_kwargs": {}}, 400, "chat_template_kwargs"),
        ("vllm", "/chat/completions", {**CHAT, "thinking": {"type": "enabled"}}, 400, "'thinking'"),
        ("deepseek", "/chat/completions", {**CHAT, "seed": 1}, 400, "unknown field `seed`"),
        ("llamacpp", "/chat/completions", {**CHAT, "guided_json": {}}, 400, "guided_json"),
        ("deepseek", "/chat/completions", {**CHAT, "response_format": STRICT}, 400, "unavailable now"),
        ("deepseek", "/completions", {"prompt": "x"}, 400, "beta"),
        ("openai", "/completions", {"prompt": "x", "echo": True, "logprobs": 1}, 400, "same time"),
        ("openai", "/chat/completions", {**CHAT, "response_format": STRICT}, 400, "additionalProperties"),
        ("openai", "/chat/completions", {"messages": HI, "response_format": JSON_MODE}, 400, "'json'"),
        ("vllm", "/chat/completions", {**CHAT, "top_logprobs": 3}, 400, "logprobs"),
        ("vllm", "/chat/completions", {**CHAT, "max_tokens": 0}, 400, "max_tokens"),
        ("vllm", "/chat/completions", {**CHAT, "max_tokens": 99999}, 400, "maximum context length"),
        ("vllm", "/chat/completions", {**CHAT, "temperature": 3}, 400, "temperature"),
        ("vllm", "/chat/completions", {"messages": []}, 400, "messages"),
        ("vllm", "/chat/completions", {**CHAT, "stream": True}, 400, "stream"),
        ("vllm", "/chat/completions", {**CHAT, "model": "other"}, 404, "does not exist"),
        ("openai", "/chat/completions", {**CHAT, "model": "other"}, 404, "model_not_found"),
        ("deepseek", "/chat/completions", {**CHAT, "model": "other"}, 400, "Model Not Exist"),
        ("vllm", "/embeddings", {**CHAT}, 404, "no route"),
    ],
)  # fmt: skip
def test_what_a_server_would_not_take_is_an_error(
    dialect: str, path: str, body: dict[str, Any], status: int, text: str
):
    async def test(server: FakeServer, post: Any) -> None:
        got, _, answer = await post(path, {"model": "m", **body})
        assert got == status
        assert text in answer.decode()
        assert "error" in json.loads(answer)

    serve({"models": {"m": {"dialect": dialect}}}, test)


def test_openai_reasoning_models_refuse_what_they_refuse():
    fake = Replier(read_config({"models": {"m": {"dialect": "openai", "thinking": True}}}, "test"))
    with pytest.raises(Exception, match="max_completion_tokens"):
        fake.reply("m", "chat", {"model": "m", **CHAT, "max_tokens": 5})
    with pytest.raises(Exception, match="'temperature' does not support"):
        fake.reply("m", "chat", {"model": "m", **CHAT, "temperature": 0})
    reply = msgspec.json.decode(fake.reply("m", "chat", {"model": "m", **CHAT}).body)
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert set(reply["choices"][0]["message"]) == {"role", "content"}


def test_thought_counts_towards_the_limit_and_stands_where_the_server_puts_it():
    row = seed_rows(1, levels=("H5",))[0]
    for field, place in (("", "reasoning"), ("reasoning_content", "reasoning_content")):
        fake = replier(thinking=True, reasoning_field=field, thought_tokens=200)
        body = {"model": "m", "messages": messages("solve", asked(row)), "temperature": 0}
        choice = msgspec.json.decode(fake.reply("m", "chat", {**body, "max_tokens": 50}).body)["choices"][0]
        assert choice["finish_reason"] == "length"
        assert choice["message"]["content"] == ""
        assert choice["message"][place]
        full = fake.reply("m", "chat", body)
        assert full.completion_tokens > 200
        off = {**body, "chat_template_kwargs": {"enable_thinking": False}}
        assert place not in msgspec.json.decode(fake.reply("m", "chat", off).body)["choices"][0]["message"]
    inline = replier(thinking=True, reasoning_field="inline")
    content = msgspec.json.decode(inline.reply("m", "chat", body).body)["choices"][0]["message"]["content"]
    assert content.startswith("<think>\n")
    assert "</think>" in content


def test_prompt_cache_counts_the_shared_prefix():
    fake = Replier(read_config({"models": {"m": {"dialect": "deepseek"}, "n": {}}}, "test"))
    system = {"role": "system", "content": "long and static. " * 100}

    def usage(model: str, text: str) -> Any:
        body = {"model": model, "messages": [system, {"role": "user", "content": text}]}
        return msgspec.json.decode(fake.reply(model, "chat", body).body)["usage"]

    assert usage("m", "one")["prompt_cache_hit_tokens"] == 0
    second = usage("m", "two")
    assert 350 < second["prompt_cache_hit_tokens"] < second["prompt_tokens"]
    assert second["prompt_cache_hit_tokens"] + second["prompt_cache_miss_tokens"] == second["prompt_tokens"]
    assert usage("n", "one")["prompt_tokens_details"]["cached_tokens"] == 0
