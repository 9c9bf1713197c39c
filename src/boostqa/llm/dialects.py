"""What the servers understand: a request as a JSON body, and a JSON body as a raw reply.

All speak the OpenAI protocol, each with its own gaps. A server that does not know a field may ignore it
without a word, so a field is sent only where the table below says that the server obeys it.

    dialect    schema               thinking               seed  complete  score
    openai     response_format      reasoning_effort only  yes   yes       no
    vllm       response_format      chat_template_kwargs   yes   yes       yes (echo)
    sglang     response_format      chat_template_kwargs   yes   yes       yes (echo)
    deepseek   JSON mode + prompt   thinking               no    no        no
    llamacpp   llguidance grammar   chat_template_kwargs   yes   yes       no (echo is ignored)
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec

from boostqa.llm.lines import RawReply
from boostqa.llm.model import Abilities, Request, TokenLogprob, Usage

LIMITS = ("max_tokens", "max_completion_tokens")  # the two names of the limit on generated tokens
JsonMode = Literal["response_format", "json_object", "grammar", "prompt"]
_OTHER = dict(zip(LIMITS, reversed(LIMITS), strict=True))
_MAX_SEED = 2**31 - 1


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of server obeys."""

    name: str
    abilities: Abilities
    json_mode: JsonMode
    thinking: Literal["none", "template", "deepseek"]
    effort: bool = False
    """Whether `reasoning_effort` is obeyed."""
    seed: bool = True
    limit_field: str = "max_tokens"
    chat_style_logprobs: bool = False
    """Whether completions report log-probabilities in the form of chat replies."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's settings that shape a body (see `config.ModelConfig`)."""

    model: str
    json_mode: JsonMode
    effort: str | None = None
    extra: dict[str, Any] = {}
    unsent: tuple[str, ...] = ()
    """Fields that the endpoint was found to refuse or to ignore (see `Abilities`)."""


_PLAIN = Abilities(chat=True, complete=True, logprobs=True, json_schema=True)
_SCORING = Abilities(chat=True, complete=True, score=True, logprobs=True, json_schema=True)
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="openai",
            abilities=_PLAIN,
            json_mode="response_format",
            thinking="none",
            effort=True,
            limit_field="max_completion_tokens",
        ),
        Dialect(name="vllm", abilities=_SCORING, json_mode="response_format", thinking="template"),
        Dialect(name="sglang", abilities=_SCORING, json_mode="response_format", thinking="template"),
        Dialect(
            name="deepseek",
            abilities=Abilities(chat=True, logprobs=True),
            json_mode="json_object",
            thinking="deepseek",
            effort=True,
            seed=False,
        ),
        Dialect(
            name="llamacpp",
            abilities=_PLAIN,
            json_mode="grammar",
            thinking="template",
            chat_style_logprobs=True,
        ),
    )
}


def thinks(dialect: Dialect, request: Request) -> bool:
    """Whether the model will (or by the server's default may) think before this reply."""
    if request.top_logprobs and dialect.thinking == "deepseek":
        return False  # log-probabilities are refused in thinking mode; who asks for them means the answer
    if request.think is None:
        return dialect.thinking == "deepseek"  # on by default there
    return request.think


def chat_body(dialect: Dialect, policy: Policy, request: Request) -> dict[str, Any]:
    """Body of `POST /chat/completions`."""
    messages = [{"role": turn.role, "content": turn.content} for turn in request.messages]
    body: dict[str, Any] = {"model": policy.model, "messages": messages}
    limit = dialect.limit_field
    body[_OTHER[limit] if limit in policy.unsent else limit] = request.max_tokens
    thinking = thinks(dialect, request)
    if dialect.thinking == "deepseek":
        body["thinking"] = {"type": "enabled" if thinking else "disabled"}
    elif dialect.thinking == "template" and request.think is not None:
        body["chat_template_kwargs"] = {"enable_thinking": request.think}
    if not (dialect.thinking == "deepseek" and thinking):  # it ignores sampling settings while thinking
        body |= _sampling(request)
    if policy.effort is not None and dialect.effort and request.think is not False:
        body["reasoning_effort"] = policy.effort
    if request.stop:
        body["stop"] = list(request.stop)
    if request.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.schema is not None:
        _ask_for_schema(body, policy.json_mode, request)
    return _finished(body, dialect, policy, request)


def complete_body(dialect: Dialect, policy: Policy, request: Request) -> dict[str, Any]:
    """Body of `POST /completions` for a continuation."""
    body: dict[str, Any] = {"model": policy.model, "prompt": request.prompt or ""}
    body |= {"max_tokens": request.max_tokens} | _sampling(request)
    if request.stop:
        body["stop"] = list(request.stop)
    if request.top_logprobs:
        body["logprobs"] = request.top_logprobs
    if request.schema is not None:
        # A base model reads no instructions: constrain the decoding where possible, else only check.
        _constrain(body, policy.json_mode, request)
    return _finished(body, dialect, policy, request)


def score_body(dialect: Dialect, policy: Policy, request: Request) -> dict[str, Any]:
    """Body of `POST /completions` that reports the log-probability of each token of the prompt.

    One token is generated and thrown away, because some versions refuse to generate none.
    """
    body = {"model": policy.model, "prompt": request.prompt or "", "max_tokens": 1, "temperature": 0.0}
    return _finished(body | {"echo": True, "logprobs": 1}, dialect, policy, None)


def _sampling(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {"temperature": request.temperature}
    if request.top_p != 1.0:
        fields["top_p"] = request.top_p
    return fields


def _finished(
    body: dict[str, Any], dialect: Dialect, policy: Policy, request: Request | None
) -> dict[str, Any]:
    if request is not None and dialect.seed and request.temperature > 0:
        # The same sample of the same request should come out alike where the server can do that.
        body["seed"] = (request.sample * 2654435761 + (1 if request.attempt else 0)) % _MAX_SEED
    if policy.unsent:
        body = {key: value for key, value in body.items() if key not in policy.unsent or key in LIMITS}
    if not policy.extra:
        return body
    body |= policy.extra
    return {key: value for key, value in body.items() if value is not None}  # null there takes a field out


def _constrain(body: dict[str, Any], mode: JsonMode, request: Request) -> None:
    if mode == "response_format":
        inner = {"name": request.schema_name, "schema": request.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": inner}
    elif mode == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif mode == "grammar":
        # Without this option llguidance allows white space anywhere, in which weak models lose themselves.
        schema = {**(request.schema or {}), "x-guidance": {"whitespace_flexible": False}}
        body["grammar"] = "%llguidance {}\nstart: %json " + msgspec.json.encode(schema).decode()


def _ask_for_schema(body: dict[str, Any], mode: JsonMode, request: Request) -> None:
    _constrain(body, mode, request)
    if mode not in {"json_object", "prompt"}:
        return
    schema = msgspec.json.encode(request.schema).decode()
    wish = f"\n\nAnswer with one JSON object and nothing else. It must fit this JSON Schema:\n{schema}"
    messages = body["messages"]
    messages[-1] = {**messages[-1], "content": messages[-1]["content"] + wish}


class BodyError(ValueError):
    """A body with status 200 that is no reply; the message says what it is instead."""


_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_cache_hit_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Answer(msgspec.Struct):
    """A body of the usual form, of which only what is needed becomes objects; others take the way by plain data."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Counts | None = None
    model: str | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_reply(body: bytes) -> RawReply:
    """The essentials of a reply of `/chat/completions` or `/completions`.

    Raises:
        BodyError: when the body is HTML, empty, cut off, an error or of another schema.
    """
    try:
        answer = _decode_answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_unusual(body)
    choice = answer.choices[0]
    message = choice.message
    if message is None and choice.text is None:
        return _read_unusual(body)
    if message is None:
        message = _Message(content=choice.text)
    counts = answer.usage
    return RawReply(
        text=message.content or "",
        reasoning=message.reasoning_content or message.reasoning or "",
        refusal=message.refusal or "",
        finish=choice.finish_reason or "",
        usage=Usage() if counts is None else _usage_of(counts),
        model=answer.model or "",
        logprobs=[] if choice.logprobs is None else _read_logprobs(choice.logprobs),
    )


def _usage_of(counts: _Counts) -> Usage:
    prompt, completion = counts.prompt_tokens_details, counts.completion_tokens_details
    cached = counts.prompt_cache_hit_tokens
    if cached is None and prompt is not None:
        cached = prompt.cached_tokens
    return Usage(
        prompt=counts.prompt_tokens,
        cached=cached,
        completion=counts.completion_tokens,
        reasoning=None if completion is None else completion.reasoning_tokens,
    )


def _read_unusual(body: bytes) -> RawReply:
    """The same as `read_reply` for content in parts, counts of another type, bad Unicode, and what is no reply."""
    data = _json_object(body)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        if "error" in data:
            raise BodyError(f"an error with status 200: {_short(data['error'])}")
        raise BodyError(f"JSON without `choices`; its fields are {', '.join(sorted(data)) or 'none'}")
    choice = choices[0]
    message = choice.get("message")
    if isinstance(message, dict):
        text = message.get("content")
        thought = message.get("reasoning_content") or message.get("reasoning")
        refusal = message.get("refusal")
    else:
        text, thought, refusal = choice.get("text"), None, None
        if text is None:
            raise BodyError("a choice without `message` and without `text`")
    return RawReply(
        text=_text(text),
        reasoning=_text(thought),
        refusal=_text(refusal),
        finish=_text(choice.get("finish_reason")),
        usage=read_usage(data.get("usage")),
        model=_text(data.get("model")),
        logprobs=_read_logprobs(choice.get("logprobs")),
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        data = _lenient(body)
        if isinstance(data, dict):
            return data
        start = body[:200].lstrip().lower()
        if not start:
            raise BodyError("an empty body") from None
        if start.startswith(b"<"):
            raise BodyError(
                f"HTML instead of JSON: {_short(body[:120].decode('utf-8', 'replace'))}"
            ) from None
        raise BodyError(f"broken JSON of {len(body)} bytes ({error})") from None
    if not isinstance(data, dict):
        raise BodyError(f"JSON that is no object: {_short(data)}")
    return data


def _lenient(body: bytes) -> Any:
    """What the standard library makes of a body that strict decoding refuses (half surrogates, NaN)."""
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def read_usage(value: Any) -> Usage:
    """Token counts in any of the forms in use; None where the provider did not say."""
    if not isinstance(value, dict):
        return Usage()
    prompt_details = value.get("prompt_tokens_details")
    completion_details = value.get("completion_tokens_details")
    cached = value.get("prompt_cache_hit_tokens")
    if cached is None and isinstance(prompt_details, dict):
        cached = prompt_details.get("cached_tokens")
    reasoning = completion_details.get("reasoning_tokens") if isinstance(completion_details, dict) else None
    return Usage(
        prompt=_count(value.get("prompt_tokens")),
        cached=_count(cached),
        completion=_count(value.get("completion_tokens")),
        reasoning=_count(reasoning),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        # Half a surrogate pair cannot be stored as UTF-8.
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):  # content parts
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return ""


def _read_logprobs(value: Any) -> list[TokenLogprob]:
    if not isinstance(value, dict):
        return []
    content = value.get("content")
    if isinstance(content, list):  # the form of chat replies
        return [_chat_logprob(item) for item in content if isinstance(item, dict)]
    tokens, logprobs = value.get("tokens"), value.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        return []
    tops = value.get("top_logprobs")
    tops = tops if isinstance(tops, list) else [None] * len(tokens)
    return [
        TokenLogprob(
            token=_text(token),
            # The first token of an echoed prompt has no probability: null.
            logprob=_number(logprob),
            top={k: _number(v) for k, v in top.items()} if isinstance(top, dict) else {},
        )
        for token, logprob, top in zip(tokens, logprobs, tops, strict=False)
    ]


def _chat_logprob(item: dict[str, Any]) -> TokenLogprob:
    tops = item.get("top_logprobs")
    top: dict[str, float] = {}
    for other in tops if isinstance(tops, list) else []:
        # Several tokens can share one text (parts of a character): the most likely comes first and counts.
        top.setdefault(_text(other.get("token")), _number(other.get("logprob")))
    return TokenLogprob(token=_text(item.get("token")), logprob=_number(item.get("logprob")), top=top)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _short(value: Any, limit: int = 200) -> str:
    text = _text(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"
