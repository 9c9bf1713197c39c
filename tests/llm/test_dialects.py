"""Bodies hold what the server obeys and nothing that it would silently ignore."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from boostqa.llm.client import policy_of
from boostqa.llm.config import ModelConfig
from boostqa.llm.dialects import (
    DIALECTS,
    BodyError,
    chat_body,
    complete_body,
    read_reply,
    score_body,
    thinks,
)
from boostqa.llm.model import Message, Request, Usage

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
MESSAGES = (Message("system", "Be brief."), Message("user", "Hello"))


def body(dialect: str, request: Request, **config: Any) -> dict[str, Any]:
    settings = ModelConfig(base_url="http://h/v1", model="m", dialect=dialect, **config)
    return chat_body(DIALECTS[dialect], policy_of(settings, DIALECTS[dialect]), request)


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_vllm_and_sglang(dialect: str) -> None:
    request = Request(
        messages=MESSAGES, max_tokens=9, temperature=0.8, top_p=0.9, stop=("\n",), schema=SCHEMA,
        schema_name="answer", top_logprobs=3, think=False, sample=2,
    )  # fmt: skip
    sent = body(dialect, request)
    seed = sent.pop("seed")
    assert isinstance(seed, int)
    assert sent == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "max_tokens": 9,
        "temperature": 0.8,
        "top_p": 0.9,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 3,
        "chat_template_kwargs": {"enable_thinking": False},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
    }


def test_seed_differs_by_sample_and_is_absent_when_greedy() -> None:
    warm = [body("vllm", Request(messages=MESSAGES, temperature=1.0, sample=i))["seed"] for i in range(20)]
    assert len(set(warm)) == 20
    assert "seed" not in body("vllm", Request(messages=MESSAGES))


def test_deepseek_thinking_ignores_sampling_so_it_is_not_sent() -> None:
    request = Request(messages=MESSAGES, temperature=0.9, schema=SCHEMA, think=True, sample=1)
    sent = body("deepseek", request, effort="high")
    assert sent["thinking"] == {"type": "enabled"}
    assert sent["reasoning_effort"] == "high"
    assert not {"temperature", "top_p", "seed", "logprobs", "chat_template_kwargs"} & set(sent)
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["messages"][0]["content"] == "Be brief."
    assert "JSON Schema" in sent["messages"][-1]["content"]
    assert sent["messages"][-1]["content"].startswith("Hello\n\n")


def test_deepseek_without_thinking() -> None:
    sent = body("deepseek", Request(messages=MESSAGES, temperature=0.9, think=False), effort="high")
    assert sent["thinking"] == {"type": "disabled"}
    assert sent["temperature"] == 0.9
    assert "reasoning_effort" not in sent


def test_deepseek_logprobs_turn_thinking_off_which_would_refuse_them() -> None:
    request = Request(messages=MESSAGES, top_logprobs=5)
    assert not thinks(DIALECTS["deepseek"], request)
    sent = body("deepseek", request)
    assert sent["thinking"] == {"type": "disabled"}
    assert sent["top_logprobs"] == 5


def test_thinking_is_on_at_deepseek_unless_said() -> None:
    assert thinks(DIALECTS["deepseek"], Request(messages=MESSAGES))
    assert not thinks(DIALECTS["vllm"], Request(messages=MESSAGES))


def test_llamacpp_gets_a_compact_grammar() -> None:
    sent = body("llamacpp", Request(messages=MESSAGES, schema=SCHEMA))
    assert "response_format" not in sent
    head, _, rest = sent["grammar"].partition("start: %json ")
    assert head == "%llguidance {}\n"
    assert msgspec.json.decode(rest) == {**SCHEMA, "x-guidance": {"whitespace_flexible": False}}


def test_json_mode_can_be_overruled() -> None:
    asked = Request(messages=MESSAGES, schema=SCHEMA)
    assert "json_schema" in body("llamacpp", asked, json_mode="response_format")["response_format"]
    plain = body("vllm", asked, json_mode="prompt")
    assert "response_format" not in plain
    assert '"required":["a"]' in plain["messages"][-1]["content"]


def test_openai_has_its_own_name_for_the_limit_and_extra_wins() -> None:
    sent = body(
        "openai",
        Request(messages=MESSAGES, max_tokens=7, think=True),
        extra={"temperature": None, "top_k": 5},
    )
    assert sent["max_completion_tokens"] == 7
    assert "max_tokens" not in sent
    assert "temperature" not in sent
    assert sent["top_k"] == 5
    assert "thinking" not in sent


def test_completion_and_score() -> None:
    dialect = DIALECTS["vllm"]
    policy = policy_of(ModelConfig(base_url="http://h/v1", model="m", dialect="vllm"), dialect)
    asked = Request(prompt="Once", max_tokens=5, top_logprobs=2)
    assert complete_body(dialect, policy, asked) == {
        "model": "m", "prompt": "Once", "max_tokens": 5, "temperature": 0.0, "logprobs": 2,
    }  # fmt: skip
    assert score_body(dialect, policy, Request(prompt="Once", max_tokens=1)) == {
        "model": "m", "prompt": "Once", "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1,
    }  # fmt: skip
    assert not DIALECTS["llamacpp"].abilities.score
    assert not DIALECTS["deepseek"].abilities.complete


def reply_with(message: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": "stop"} | more.pop("choice", {})
    return msgspec.json.encode({"id": "x", "model": "m-2", "choices": [choice], **more})


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_fields(field: str) -> None:
    raw = read_reply(reply_with({"role": "assistant", "content": "42", field: "6 * 7"}))
    assert (raw.text, raw.reasoning, raw.finish, raw.model) == ("42", "6 * 7", "stop", "m-2")
    assert raw.usage == Usage()
    assert read_reply(reply_with({"content": None})).text == ""


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 3}},
        {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}},
    ],
)  # fmt: skip
def test_usage_forms(usage: dict[str, Any]) -> None:
    raw = read_reply(reply_with({"content": "x"}, usage=usage))
    assert raw.usage == Usage(prompt=9, cached=4, completion=5, reasoning=3)


def test_logprobs_in_both_forms() -> None:
    chat = {
        "content": [
            {
                "token": "A",
                "logprob": -0.1,
                "top_logprobs": [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -2}],
            }
        ]
    }
    raw = read_reply(reply_with({"content": "A"}, choice={"logprobs": chat}))
    assert raw.logprobs[0].top == {"A": -0.1, "B": -2.0}
    old = {"tokens": ["On", "ce"], "token_logprobs": [None, -1.5], "top_logprobs": [None, {"ce": -1.5}]}
    body_ = msgspec.json.encode({"choices": [{"text": "Once", "finish_reason": "length", "logprobs": old}]})
    raw = read_reply(body_)
    assert [(item.token, item.logprob, item.top) for item in raw.logprobs] == [
        ("On", 0.0, {}),
        ("ce", -1.5, {"ce": -1.5}),
    ]
    assert raw.text == "Once"


@pytest.mark.parametrize(
    ("body_", "what"),
    [
        (b"", "an empty body"),
        (b"<html><body>502</body></html>", "HTML instead of JSON"),
        (b'{"choices": [{"mess', "broken JSON of 19 bytes"),
        (b"[1]", r"no object: \[1\]"),
        (b'{"id": 1, "output": []}', "without `choices`; its fields are id, output"),
        (b'{"choices": []}', "without `choices`"),
        (b'{"error": {"message": "overloaded"}}', "an error with status 200: .*overloaded"),
        (b'{"choices": [{"finish_reason": "stop"}]}', "without `message`"),
        (b"[" * 100_000, "broken JSON"),
    ],
)
def test_what_is_no_reply_is_named(body_: bytes, what: str) -> None:
    with pytest.raises(BodyError, match=what):
        read_reply(body_)


def test_half_surrogates_do_not_cost_the_reply() -> None:
    raw = read_reply(b'{"choices":[{"message":{"content":"a\\ud800b"},"finish_reason":"stop"}]}')
    assert raw.text == "a?b"
    msgspec.json.encode(raw)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_url": "https://me:secret@host/v1"}, r"holds credentials \(host host\).*api_key_env"),
        ({"base_url": "https://host/v1?token=secret"}, r"\(host host\) has a query or a fragment"),
        ({"base_url": "https://host/v1#secret"}, r"\(host host\) has a query or a fragment"),
        ({"base_url": "me:secret@host/v1"}, "holds credentials"),
        ({"api_key_env": "sk-ant-api03-secret"}, "api_key_env is not the name of an environment variable"),
        ({"api_key_env": "hf_secretZfGhIjKlMnOpQrStUvWxYz0123456"}, "perhaps the key itself"),
        ({"api_key_env": "9secret"}, "api_key_env is not the name"),
        ({"base_url": "host:8000"}, "is no address"),
        ({"base_url": []}, "empty list"),
        ({"model": ""}, "model is missing"),
        ({"model_path": "x.gguf"}, "only for base_url: embedded"),
        ({"concurency": 3}, "concurency"),
    ],
)
def test_config_mistakes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        ModelConfig.model_validate({"base_url": "http://h/v1", "model": "m"} | fields)
    shown = "; ".join(error["msg"] for error in caught.value.errors())
    assert "secret" not in shown


def test_config_guesses() -> None:
    assert ModelConfig(base_url="https://api.deepseek.com", model="m").dialect_name == "deepseek"
    assert ModelConfig(base_url="http://h:1/v1", model="m").dialect_name == "openai"
    small = ModelConfig(base_url="embedded")
    assert (small.dialect_name, small.model_id) == ("llamacpp", "smollm2-135m")
    assert ModelConfig(base_url="embedded", model_path="models/Qwen3-1.7B.gguf").model_id == "Qwen3-1.7B"
    two = ModelConfig(base_url=["http://a/v1/", "http://b/v1"], model="m")
    assert two.urls == ["http://a/v1", "http://b/v1"]


def test_a_key_in_the_place_of_its_name_is_not_part_of_the_error() -> None:
    """A recipe's errors show refused values (`input`), so the value must not be with the error."""
    with pytest.raises(ValidationError) as caught:
        ModelConfig.model_validate({"base_url": "http://h/v1", "model": "m", "api_key_env": "sk-ant-secret"})
    assert not any(isinstance(error.get("input"), str) for error in caught.value.errors())
    assert "secret" not in str(caught.value)
