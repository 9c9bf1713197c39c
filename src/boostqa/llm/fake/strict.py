"""What each kind of server accepts, and how it words an error.

Stricter than the real servers in one point: a field that a server does not know is an error everywhere, not
silently ignored.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Endpoint = Literal["chat", "completions"]


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


_COMMON = _set(
    "model messages max_tokens temperature top_p stop stream stream_options frequency_penalty "
    "presence_penalty logprobs top_logprobs response_format tools tool_choice"
)
_OPENAI = _COMMON | _set(
    "max_completion_tokens seed n user logit_bias metadata modalities parallel_tool_calls prediction "
    "prompt_cache_key prompt_cache_retention reasoning_effort safety_identifier service_tier store "
    "verbosity"
)
_SAMPLERS = _set("top_k min_p repetition_penalty ignore_eos min_tokens stop_token_ids logit_bias n seed user")
_VLLM_ONLY = _set(
    "length_penalty include_stop_str_in_output skip_special_tokens spaces_between_special_tokens "
    "prompt_logprobs truncate_prompt_tokens allowed_token_ids bad_words add_special_tokens "
    "structured_outputs priority request_id return_tokens_as_token_ids return_token_ids cache_salt "
    "vllm_xargs"
)
_CHAT_TEMPLATE = _set(
    "max_completion_tokens chat_template chat_template_kwargs add_generation_prompt "
    "continue_final_message reasoning_effort parallel_tool_calls"
)
_SGLANG_ONLY = _set(
    "regex ebnf json_schema no_stop_trim separate_reasoning stream_reasoning return_hidden_states rid "
    "skip_special_tokens lora_path"
)
_LLAMA_ONLY = _set(
    "n_predict n_probs n_keep id_slot cache_prompt grammar json_schema samplers typical_p mirostat "
    "mirostat_tau mirostat_eta repeat_penalty repeat_last_n dynatemp_range dynatemp_exponent "
    "timings_per_token post_sampling_probs return_tokens reasoning_format t_max_predict_ms "
    "dry_multiplier xtc_probability"
)
_LEGACY = _set(
    "model prompt max_tokens temperature top_p stop stream stream_options frequency_penalty "
    "presence_penalty logprobs echo n best_of seed user suffix logit_bias"
)
FIELDS: dict[str, dict[str, frozenset[str]]] = {
    "openai": {"chat": _OPENAI, "completions": _LEGACY},
    "vllm": {
        "chat": _COMMON
        | _SAMPLERS
        | _VLLM_ONLY
        | _CHAT_TEMPLATE
        | {"echo", "documents", "include_reasoning"},
        "completions": _LEGACY | _SAMPLERS | _VLLM_ONLY | {"response_format"},
    },
    "sglang": {
        "chat": _COMMON | _SAMPLERS | _SGLANG_ONLY | _CHAT_TEMPLATE,
        "completions": _LEGACY | _SAMPLERS | _SGLANG_ONLY,
    },
    "deepseek": {"chat": _COMMON | {"thinking", "reasoning_effort", "user_id"}, "completions": _LEGACY},
    "llamacpp": {
        "chat": _COMMON | _SAMPLERS | _LLAMA_ONLY | _CHAT_TEMPLATE,
        "completions": _LEGACY | _SAMPLERS | _LLAMA_ONLY | {"response_format"},
    },
}
"""Dialect -> endpoint -> the fields that its server knows."""
DIALECTS = tuple(FIELDS)
_MESSAGE = _set("role content name prefix reasoning_content reasoning refusal tool_calls tool_call_id")
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_balance",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def error_body(dialect: str, error: Refused) -> bytes:
    """An error as the dialect's server words it."""
    status, kind = error.status, _ERROR_TYPES.get(error.status, "server_error")
    inner: dict[str, Any] = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    if dialect in {"vllm", "sglang"}:
        names = {
            400: "BadRequestError",
            401: "AuthenticationError",
            404: "NotFoundError",
            429: "RateLimitError",
        }
        inner |= {"type": names.get(status, "InternalServerError"), "code": status}
    elif dialect == "llamacpp":
        inner = {"code": status, "message": error.message, "type": kind}
    elif dialect == "deepseek":
        inner["code"] = error.code or kind
    return msgspec.json.encode({"error": inner})


def check(dialect: str, endpoint: Endpoint, body: Any, thinking: bool | None) -> None:
    """Whether the server would take the request.

    Raises:
        Refused: naming the field and what is wrong with it.
    """
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    for name in body:
        if name not in FIELDS[dialect][endpoint]:
            raise Refused(400, _unknown(dialect, name), param=name, code="unknown_parameter")
    if endpoint == "chat":
        _check_messages(body.get("messages"))
    elif not isinstance(body.get("prompt"), str):
        raise Refused(
            400, "prompt: a string is needed (lists of prompts are not played by this fake)", param="prompt"
        )
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("top_logprobs", 0, 20)):
        value = body.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high
        ):
            raise Refused(400, f"Invalid '{name}': {value!r} is not between {low} and {high}.", param=name)
    if body.get("stream") or body.get("n", 1) != 1:
        raise Refused(
            400, "stream and n > 1 are not played by this fake", param="stream" if body.get("stream") else "n"
        )
    _check_limit(body, echo=bool(body.get("echo")))
    if endpoint == "chat" and body.get("top_logprobs") and body.get("logprobs") is not True:
        raise Refused(400, "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    _check_format(dialect, body)
    if dialect == "openai":
        _check_openai(endpoint, body, thinking)
    if dialect == "deepseek" and endpoint == "completions":
        raise Refused(
            400,
            "completions api is only available when using beta api (set base_url="
            '"https://api.deepseek.com/beta")',
        )
    if dialect == "deepseek" and "thinking" in body:
        kind = body["thinking"].get("type") if isinstance(body["thinking"], dict) else None
        if kind not in {"enabled", "disabled"}:
            raise Refused(400, f"thinking.type: {kind!r} is not enabled or disabled", param="thinking")


def _unknown(dialect: str, name: str) -> str:
    if dialect in {"vllm", "sglang"}:
        kind = "Extra inputs are not permitted"
        return f"[{{'type': 'extra_forbidden', 'loc': ('body', '{name}'), 'msg': '{kind}'}}]"
    if dialect == "deepseek":
        return f"Failed to deserialize the JSON body into the target type: unknown field `{name}`"
    return f"Unrecognized request argument supplied: {name}"


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: a list with at least one message is needed", param="messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in {
            "system",
            "user",
            "assistant",
            "tool",
            "developer",
        }:
            raise Refused(400, f"messages[{i}].role: not a known role", param="messages")
        if not isinstance(message.get("content"), str):
            raise Refused(400, f"messages[{i}].content: a string is needed", param="messages")
        for name in message:
            if name not in _MESSAGE:
                raise Refused(400, f"messages[{i}]: unknown field {name}", param="messages")


def _check_limit(body: dict[str, Any], echo: bool) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < (0 if echo else 1)
        ):
            raise Refused(400, f"{name} must be at least 1, got {value!r}.", param=name)


def _check_format(dialect: str, body: dict[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in {"text", "json_object", "json_schema"}:
        raise Refused(400, f"response_format.type: {kind!r} is not known", param="response_format")
    if kind == "json_schema":
        if dialect == "deepseek":
            raise Refused(400, "This response_format type is unavailable now", param="response_format")
        inner = wanted.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if not isinstance(schema, dict) or not inner.get("name"):
            raise Refused(
                400, "response_format.json_schema: name and schema are needed", param="response_format"
            )
        if dialect == "openai" and inner.get("strict"):
            _check_strict(schema, inner["name"])
    texts = [message["content"].lower() for message in body.get("messages", ())]
    if (
        kind == "json_object"
        and dialect in {"openai", "deepseek"}
        and not any("json" in text for text in texts)
    ):
        need = "Prompt must contain the word 'json' in some form"
        raise Refused(400, f"{need} to use 'response_format' of type 'json_object'.", param="messages")


def _check_strict(schema: Any, name: str, where: str = "()") -> None:
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            raise Refused(
                400,
                f"Invalid schema for response_format '{name}': In context={where}, "
                "'additionalProperties' is required to be supplied and to be false.",
            )
        if set(schema.get("required", ())) != set(schema.get("properties", {})):
            raise Refused(
                400,
                f"Invalid schema for response_format '{name}': In context={where}, 'required' is "
                "required to be supplied and to be an array including every key in properties.",
            )
    for key, inner in (schema.get("properties") or {}).items():
        _check_strict(inner, name, f"('properties', '{key}')")
    _check_strict(schema.get("items"), name, "('items')")


def _check_openai(endpoint: Endpoint, body: dict[str, Any], thinking: bool | None) -> None:
    if endpoint == "completions":
        if body.get("echo") and body.get("logprobs"):
            raise Refused(
                400, "Setting 'echo' and 'logprobs' at the same time is not supported for this model."
            )
        return
    if not thinking:
        return
    if "max_tokens" in body:
        raise Refused(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    for name, only in (("temperature", 1), ("top_p", 1), ("logprobs", False)):
        if body.get(name, only) != only:
            raise Refused(
                400,
                f"Unsupported value: '{name}' does not support {body[name]!r} with this model.",
                param=name,
                code="unsupported_value",
            )
