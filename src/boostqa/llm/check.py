"""Finding out what an endpoint can do, with a handful of tiny calls, before anything large is paid.

What is found goes to a person (`boostqa check`); a run goes by dialect and recipe. The calls go to the wire
directly: no ledger, no retries, no budget; together they generate a few hundred tokens at most.
"""

from __future__ import annotations

import os
import time
from typing import Any, Literal

import msgspec

from boostqa.errors import UserError
from boostqa.llm.client import abilities_of, policy_of, score_of
from boostqa.llm.clients import Address
from boostqa.llm.config import ModelConfig
from boostqa.llm.dialects import (
    DIALECTS,
    BodyError,
    Dialect,
    Policy,
    chat_body,
    complete_body,
    read_reply,
    score_body,
    thinks,
)
from boostqa.llm.http import AiohttpTransport, Response, Transport, WireError
from boostqa.llm.lines import RawReply
from boostqa.llm.model import Abilities, Message, Request
from boostqa.llm.prices import prices_of
from boostqa.llm.replicas import addresses
from boostqa.llm.replies import interpret

_QUESTION = (Message("user", "Which planet do we live on? Answer with its name."),)
_ROOM = 2048
"""Tokens that a prompt may have, and its answer again."""
_SCHEMA = {
    "type": "object",
    "properties": {"planet": {"type": "string", "enum": ["Mars", "Earth", "Venus"]}},
    "required": ["planet"],
    "additionalProperties": False,
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report."""

    what: str
    """reachable, key, model, chat, json_schema, logprobs, complete, score, speed, context, settings, batch, price."""
    level: Literal["ok", "warning", "error"]
    """error: the model cannot be used as the recipe says."""
    detail: str


class Findings(msgspec.Struct, kw_only=True):
    """All about one endpoint."""

    name: str
    url: str
    abilities: Abilities
    rows: list[Finding] = []
    tokens_per_second: float | None = None
    """Of one call alone; many at once are faster together."""

    def raise_for_errors(self) -> None:
        """Raise `UserError` with all rows of level error."""
        bad = [row.detail for row in self.rows if row.level == "error"]
        if bad:
            raise UserError(f"models.{self.name} ({self.url}): " + "; ".join(bad))


class _Probe:
    """The calls to one address."""

    def __init__(self, config: ModelConfig, url: str, key: str | None, transport: Transport) -> None:
        self.url = url
        self._key = key
        self.config = config
        self.dialect: Dialect = DIALECTS[config.dialect_name]
        self.policy: Policy = policy_of(config, self.dialect)
        self._transport = transport
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    async def get(self, path: str) -> Response:
        return await self._transport.request("GET", self.url + path, None, self._headers, 30.0)

    async def ask(self, path: str, body: dict[str, Any]) -> RawReply:
        """Raises `WireError` or `BodyError`, the latter also for a status other than 200."""
        timeout = min(self.config.timeout, 300.0)
        response = await self._transport.request(
            "POST", self.url + path, msgspec.json.encode(body), self._headers, timeout
        )
        if response.status != 200:
            said = " ".join(response.body[:300].decode("utf-8", "replace").split())
            said = said.replace(self._key, "***") if self._key else said
            raise BodyError(f"HTTP {response.status}: {said}")
        return read_reply(response.body)

    def request(self, **fields: Any) -> Request:
        """A small chat request under the recipe's thinking policy."""
        request = Request(messages=_QUESTION, think=self.config.think, **{"max_tokens": 32, **fields})
        if thinks(self.dialect, request):
            request = msgspec.structs.replace(request, max_tokens=request.max_tokens + 1024)
        return request


async def probe_endpoint(
    name: str,
    config: ModelConfig,
    *,
    address: Address | None = None,
    transport: Transport | None = None,
) -> list[Findings]:
    """Ask each address of a model for a few tiny answers and say what it can do.

    Args:
        name: of the entry in `models`.
        config: the entry.
        address: where an embedded model really is.
        transport: instead of aiohttp.
    """
    key = address.key if address else os.environ.get(config.api_key_env or "", "").strip() or None
    wire = transport or AiohttpTransport(4)
    try:
        urls = [address.url.rstrip("/")] if address else addresses(name, config)
        return [await _probe_one(name, _Probe(config, url, key, wire), key) for url in urls]
    finally:
        if transport is None:
            await wire.close()


async def reach_endpoint(name: str, config: ModelConfig, *, address: Address | None = None) -> list[Findings]:
    """Whether each address answers, takes the key and knows the model; asks for its list alone, pays nothing.

    Args:
        name: of the entry in `models`.
        config: the entry.
        address: where an embedded model really is.
    """
    key = address.key if address else config.api_key(name)
    wire = AiohttpTransport(4)
    try:
        result = []
        for url in [address.url.rstrip("/")] if address else addresses(name, config):
            probe = _Probe(config, url, key, wire)
            found = Findings(name=name, url=url, abilities=abilities_of(config))
            if await _listed(found, probe):
                await _batches(found, probe)
            result.append(found)
        return result
    finally:
        await wire.close()


async def _probe_one(name: str, probe: _Probe, key: str | None) -> Findings:
    found = Findings(name=name, url=probe.url, abilities=abilities_of(probe.config))
    if probe.config.api_key_env and key is None:
        variable = probe.config.api_key_env
        _add(found, "key", "error", f"the environment variable {variable} is not set; export it first")
        return found
    if not await _listed(found, probe):
        return found
    abilities, chat = found.abilities, probe.config.chat
    if chat and not await _chat(found, probe):
        return found
    found.abilities = msgspec.structs.replace(
        abilities,
        json_schema=chat and await _schema(found, probe) and abilities.json_schema,
        logprobs=chat and abilities.logprobs and await _logprobs(found, probe),
        complete=abilities.complete and await _complete(found, probe),
        score=abilities.score and await _score(found, probe),
    )
    _settings(found, probe)
    await _batches(found, probe)
    _price(found, probe)
    return found


def _add(found: Findings, what: str, level: Literal["ok", "warning", "error"], detail: str) -> None:
    found.rows.append(Finding(what=what, level=level, detail=detail))


async def _listed(found: Findings, probe: _Probe) -> bool:
    """Whether the address answers, takes the key and knows the model."""
    try:
        response = await probe.get("/models")
    except WireError as error:
        _add(
            found, "reachable", "error", f"not reachable ({error}); is the server running, is base_url right?"
        )
        return False
    if response.status in {401, 403}:
        variable = probe.config.api_key_env or "(api_key_env is not set)"
        _add(found, "key", "error", f"the key is refused with HTTP {response.status}; check {variable}")
        return False
    _add(found, "reachable", "ok", f"answers at {probe.url}")
    try:
        items = [item for item in msgspec.json.decode(response.body)["data"] if isinstance(item, dict)]
        ids = [str(item["id"]) for item in items]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        _add(found, "model", "warning", f"GET /models gives no list (HTTP {response.status})")
        return True
    wanted = probe.config.model_id
    if wanted not in ids:
        shown = ", ".join(sorted(ids)[:10])
        _add(
            found, "model", "error", f"no model {wanted!r} at the endpoint; it has: {shown}; correct `model`"
        )
        return False
    _add(found, "model", "ok", f"{wanted} is served")
    _context(found, probe, next(item for item in items if item.get("id") == wanted))
    return True


def _context(found: Findings, probe: _Probe, item: dict[str, Any]) -> None:
    """The context length, where the server's list tells it (vLLM, SGLang, llama.cpp; OpenAI's does not)."""
    meta = item.get("meta")
    places = [item, meta] if isinstance(meta, dict) else [item]
    keys = ("max_model_len", "context_length", "n_ctx", "n_ctx_train")
    size = next((place[key] for place in places for key in keys if isinstance(place.get(key), int)), None)
    if size is None:
        return
    need = 2 * _ROOM + (probe.config.think_tokens if thinks(probe.dialect, probe.request()) else 0)
    if size < need:
        detail = (
            f"{size} tokens, and a call with its thought may need {need}: lower `think_tokens`, or serve more"
        )
        _add(found, "context", "warning", detail)
    else:
        _add(found, "context", "ok", f"{size} tokens")


def _settings(found: Findings, probe: _Probe) -> None:
    """Settings that this dialect has no words for: they are not sent, so somebody should know."""
    config, dialect = probe.config, probe.dialect
    if config.effort is not None and not dialect.effort:
        detail = f"effort: {config.effort} is not sent, the dialect {dialect.name} has none; use `extra` if yours has"
        _add(found, "settings", "warning", detail)
    if config.think is not None and dialect.thinking == "none":
        said = "true" if config.think else "false"
        detail = (
            f"think: {said} is not sent, the dialect {dialect.name} has no switch; use `effort` or `extra`"
        )
        _add(found, "settings", "warning", detail)


async def _chat(found: Findings, probe: _Probe) -> bool:
    request = probe.request(max_tokens=64)
    start = time.monotonic()
    try:
        raw = await probe.ask("/chat/completions", chat_body(probe.dialect, probe.policy, request))
    except (WireError, BodyError) as error:
        _add(found, "chat", "error", f"the chat call failed: {error}")
        return False
    seconds = time.monotonic() - start
    reply = interpret(raw, request)
    thought = f" after a thought of {len(reply.reasoning)} characters" if reply.reasoning else ""
    _add(found, "chat", "ok", f"answered {reply.text[:40].strip()!r}{thought}")
    if probe.config.think is False and reply.reasoning:
        _add(
            found,
            "settings",
            "warning",
            "think: false is ignored: it thought; such calls cost more, and are cut off",
        )
    if (raw.usage.completion or 0) > 2 * request.max_tokens:
        generated = f"{raw.usage.completion} tokens came for a limit of {request.max_tokens}"
        _add(
            found,
            "settings",
            "error",
            f"the limit of tokens is ignored ({generated}): no budget could be kept",
        )
    if raw.model and raw.model != probe.config.model_id:
        _add(found, "model", "warning", f"the endpoint calls the model {raw.model!r}")
    if raw.usage.prompt is None or raw.usage.completion is None:
        _add(found, "usage", "warning", "no token counts in the reply: costs will be unknown")
    else:
        found.tokens_per_second = raw.usage.completion / max(seconds, 1e-6)
        detail = (
            f"{seconds:.2f} s for {raw.usage.completion} tokens, {found.tokens_per_second:.0f} tokens/s alone"
        )
        _add(found, "speed", "ok", detail)
    return True


async def _schema(found: Findings, probe: _Probe) -> bool:
    request = probe.request(schema=_SCHEMA, schema_name="planet", max_tokens=64)
    try:
        raw = await probe.ask("/chat/completions", chat_body(probe.dialect, probe.policy, request))
    except (WireError, BodyError) as error:
        _add(found, "json_schema", "error", f"the call with a JSON Schema failed: {error}; set `json_mode`")
        return False
    reply = interpret(raw, request)
    if reply.ok:
        how = f"through {probe.policy.json_mode}"
        _add(found, "json_schema", "ok", f"answers fit a schema {how}")
    else:
        _add(found, "json_schema", "warning", f"the answer did not fit the schema: {reply.error}")
    return reply.ok


async def _logprobs(found: Findings, probe: _Probe) -> bool:
    request = probe.request(top_logprobs=5, max_tokens=4)
    try:
        raw = await probe.ask("/chat/completions", chat_body(probe.dialect, probe.policy, request))
    except (WireError, BodyError) as error:
        _add(found, "logprobs", "warning", f"none: {error}")
        return False
    good = bool(raw.logprobs) and len(raw.logprobs[0].top) > 1
    detail = f"{len(raw.logprobs[0].top)} alternatives per token" if good else "none in the reply"
    _add(found, "logprobs", "ok" if good else "warning", detail)
    return good


async def _complete(found: Findings, probe: _Probe) -> bool:
    request = Request(prompt="The planet we live on is called", max_tokens=4)
    try:
        raw = await probe.ask("/completions", complete_body(probe.dialect, probe.policy, request))
    except (WireError, BodyError) as error:
        _add(found, "complete", "warning", f"no plain completion: {error}")
        return False
    _add(found, "complete", "ok", f"continued with {raw.text[:40].strip()!r}")
    return True


async def _score(found: Findings, probe: _Probe) -> bool:
    """Whether echoed log-probabilities are there and tell a likely text from an unlikely one apart."""
    texts = ["The planet we live on is called Earth", "The planet we live on is called sgehjw"]
    scores = []
    for text in texts:
        request = Request(prompt=text, max_tokens=1)
        try:
            raw = await probe.ask("/completions", score_body(probe.dialect, probe.policy, request))
        except (WireError, BodyError) as error:
            _add(found, "score", "warning", f"no likelihood of a given text: {error}")
            return False
        scores.append(score_of(raw, 1, text))
    if any(score is None or score.tokens < 3 for score in scores):
        _add(found, "score", "warning", "echo is ignored: no likelihood of a given text")
        return False
    _add(found, "score", "ok", "likelihood of a given text")
    return True


async def _batches(found: Findings, probe: _Probe) -> None:
    """Whether there is a Batch API, where the recipe wants to use one."""
    if probe.config.transport != "batch":
        return
    try:
        response = await probe.get("/batches?limit=1")
        said = f"GET /batches is answered with HTTP {response.status}"
        good = response.status == 200 and "data" in msgspec.json.decode(response.body, type=dict)
    except (WireError, msgspec.DecodeError, UnicodeDecodeError) as error:
        said, good = f"GET /batches: {error}", False
    if good:
        _add(found, "batch", "ok", "has a Batch API")
    else:
        _add(found, "batch", "error", f"no Batch API ({said}); leave out `transport: batch`")


def _price(found: Findings, probe: _Probe) -> None:
    prices = prices_of(found.name, probe.config)
    if prices is None:
        _add(found, "price", "warning", "unknown; give `prices` to see costs and to use budget.money")
    else:
        detail = f"{prices.input} in, {prices.output} out per million tokens {prices.currency}"
        _add(found, "price", "ok", detail.strip())
