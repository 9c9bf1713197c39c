"""How the replies of each kind of server look, and what a request tells of the reply that is wanted.

Knows nothing of what is asked and answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import log
from typing import Any

from boostqa.llm.fake.complete import pieces
from boostqa.llm.fake.strict import Refused
from boostqa.llm.fake.world import normal, unit


def wanted_schema(dialect: str, body: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """(JSON Schema of the reply as far as the request tells, whether decoding is constrained to JSON).

    A schema that only stands in the last message counts too: a model would read it there.
    """
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return wanted["json_schema"]["schema"], True
    outputs = body.get("structured_outputs")
    if isinstance(outputs, dict) and isinstance(outputs.get("json"), dict):
        return outputs["json"], True
    if isinstance(body.get("json_schema"), dict):
        return body["json_schema"], True
    grammar = body.get("grammar")
    if isinstance(grammar, str) and "%json" in grammar:
        try:
            return json.loads(grammar.partition("%json")[2]), True
        except ValueError as error:
            raise Refused(400, f"grammar: {error}", param="grammar") from error
    constrained = wanted.get("type") == "json_object"
    for message in reversed(body.get("messages") or []):
        schema, _ = cut_schema(message["content"])
        if schema is not None:
            return schema, constrained
    return None, constrained


def cut_schema(text: str) -> tuple[dict[str, Any] | None, str]:
    """(JSON Schema in a message's last line, the message without it and without the words before it)."""
    head, _, last = text.rstrip().rpartition("\n")
    if not last.startswith("{") or '"properties"' not in last:
        return None, text
    try:
        schema = json.loads(last)
    except ValueError:
        return None, text
    return schema, head.rpartition("\n\n")[0]


def fit(schema: Mapping[str, Any], value: Any, salt: str) -> Any:
    """`value` made to fit `schema`, as constrained decoding would: what is missing is made up by hash."""
    if "const" in schema:
        return schema["const"]
    options = schema.get("enum")
    if isinstance(options, list) and options:
        same = [
            o for o in options if o == value or (isinstance(value, str) and normal(str(o)) == normal(value))
        ]
        return same[0] if same else options[int(unit("enum", salt, *map(str, options)) * len(options))]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        given = value if isinstance(value, dict) else {}
        required = set(schema.get("required", schema.get("properties", {})))
        return {
            key: fit(inner, given.get(key), f"{salt}.{key}")
            for key, inner in (schema.get("properties") or {}).items()
            if key in given or key in required
        }
    if kind == "array":
        items = list(value) if isinstance(value, (list, tuple)) else []
        size = max(len(items), int(schema.get("minItems", 0)))
        items = [*items, *[None] * (size - len(items))][: int(schema.get("maxItems", size))]
        return [fit(schema.get("items") or {}, item, f"{salt}.{i}") for i, item in enumerate(items)]
    if kind in {"integer", "number"}:
        number = value if isinstance(value, (int, float)) else unit("number", salt) * 5
        number = min(max(number, schema.get("minimum", number)), schema.get("maximum", number))
        return int(number) if kind == "integer" else float(number)
    if kind == "boolean":
        return value if isinstance(value, bool) else unit("bool", salt) < 0.5
    if kind == "string":
        return value if isinstance(value, str) and value else f"words {int(unit('text', salt) * 10**6)}"
    return value


def chat_logprobs(dialect: str, text: str, top: int, odds: dict[str, float] | None) -> list[dict[str, Any]]:
    """Log-probabilities of the tokens of a reply; at the chosen letter, those of the other letters too."""
    found = pieces(text)
    letter = max((i for i, piece in enumerate(found) if odds and piece.strip() in odds), default=-1)
    rows = []
    for i, piece in enumerate(found):
        if i == letter and odds:
            space = piece[: len(piece) - len(piece.lstrip())]
            shares = {space + name: log(share * 0.98) for name, share in odds.items()}
            alternatives = dict(sorted(shares.items(), key=lambda item: -item[1]))
        else:
            sure = -0.02 - 0.5 * unit("token", piece, i)
            alternatives = {piece: sure} | {f" w{k}": sure - 2 - k for k in range(min(top, 4) - 1)}
        row = _token_row(dialect, piece, alternatives[piece])
        row["top_logprobs"] = [
            _token_row(dialect, name, value) for name, value in list(alternatives.items())[:top]
        ]
        rows.append(row)
    return rows


def _token_row(dialect: str, token: str, logprob: float) -> dict[str, Any]:
    row: dict[str, Any] = {"token": token, "logprob": logprob, "bytes": list(token.encode())}
    return {"id": int(unit("id", token) * 49152), **row} if dialect == "llamacpp" else row


def legacy_logprobs(scores: list[tuple[str, float]], top: int, null_first: bool) -> dict[str, Any]:
    """The old form of completions: parallel lists; the first token of a prompt has no log-probability."""
    offsets, at = [], 0
    for token, _ in scores:
        offsets.append(at)
        at += len(token)
    values: list[float | None] = [value for _, value in scores]
    tops: list[dict[str, float] | None] = [{token: value} for token, value in scores]
    if null_first and scores:
        values[0] = tops[0] = None
    return {
        "tokens": [token for token, _ in scores],
        "token_logprobs": values,
        "text_offset": offsets,
        "top_logprobs": tops if top else None,
    }


def prompt_logprobs(scores: list[tuple[str, float]]) -> list[dict[str, Any] | None]:
    """The form of vLLM for the tokens of the prompt."""
    rows: list[dict[str, Any] | None] = []
    for i, (token, value) in enumerate(scores):
        name = str(int(unit("id", token) * 128_000))
        rows.append({name: {"logprob": value, "rank": 1, "decoded_token": token}} if i else None)
    return rows


def thinks(dialect: str, body: dict[str, Any], thinking: bool | None) -> bool:
    """Whether the model thinks before this reply."""
    able = dialect == "deepseek" if thinking is None else thinking
    wish: Any = None
    if dialect == "deepseek":
        wish = {"enabled": True, "disabled": False}.get(str((body.get("thinking") or {}).get("type")))
    elif isinstance(body.get("chat_template_kwargs"), dict):
        kwargs = body["chat_template_kwargs"]
        wish = kwargs.get("enable_thinking", kwargs.get("thinking"))
    elif body.get("reasoning_effort") == "none":
        wish = False
    return able if wish is None else able and bool(wish)


def json_text(dialect: str, data: Any, constrained: bool) -> str:
    """JSON as the kind of server tends to print it."""
    if dialect == "llamacpp" and constrained:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = json.dumps(data, ensure_ascii=False, indent=2 if dialect == "deepseek" else None)
    return text if constrained else f"Here it is:\n```json\n{text}\n```"


def cut_tokens(text: str, limit: int) -> str:
    """The beginning of a text that has `limit` tokens (of 4 bytes)."""
    return text.encode()[: limit * 4].decode("utf-8", "ignore")


def count_tokens(text: str) -> int:
    """Tokens of a text: its bytes by four, rounded up."""
    return (len(text.encode()) + 3) // 4


def model_row(name: str, dialect: str, context: int) -> dict[str, Any]:
    """An entry of the list of models; only some servers tell the context length, each in its own place."""
    row: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": "fake"}
    if dialect in {"vllm", "sglang"}:
        row["max_model_len"] = context
    elif dialect == "llamacpp":
        row["meta"] = {"n_ctx_train": context}
    return row
