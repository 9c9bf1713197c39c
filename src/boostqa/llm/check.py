"""Finding out about endpoints before a run pays anything, and trying them out for a person (`boostqa check`).

The calls go to the wire directly: no ledger, no retries, no budget; together they generate a few hundred tokens.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from boostqa.llm.client import abilities_of, policy_of
from boostqa.llm.clients import Address
from boostqa.llm.config import ModelConfig
from boostqa.llm.dialects import (
    DIALECTS,
    BodyError,
    Dialect,
    chat_body,
    complete_body,
    read_reply,
    score_body,
    thinks,
)
from boostqa.llm.http import AiohttpTransport, Response, Transport, WireError
from boostqa.llm.lines import RawReply
from boostqa.llm.model import Abilities, Request
from boostqa.llm.prices import prices_of
from boostqa.llm.replicas import addresses
from boostqa.llm.trial import TIMEOUT_S, Findings, Trial, try_out

_ROOM = 2048
"""Tokens that a prompt may have, and its answer again."""
_BODIES = {
    "chat": ("/chat/completions", chat_body),
    "complete": ("/completions", complete_body),
    "score": ("/completions", score_body),
}


class _Probe:
    """The calls to one address."""

    def __init__(self, config: ModelConfig, url: str, key: str | None, transport: Transport) -> None:
        self.url = url
        self._key = key
        self.config = config
        self.dialect: Dialect = DIALECTS[config.dialect_name]
        self._transport = transport
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    async def get(self, path: str) -> Response:
        return await self._transport.request("GET", self.url + path, None, self._headers, 30.0)

    async def ask(self, kind: str, request: Request, abilities: Abilities) -> RawReply:
        """See `trial.Ask`; a status other than 200 is a `BodyError`."""
        path, make = _BODIES[kind]
        body = make(self.dialect, policy_of(self.config, self.dialect, abilities), request)
        timeout = min(self.config.timeout, TIMEOUT_S)
        response = await self._transport.request(
            "POST", self.url + path, msgspec.json.encode(body), self._headers, timeout
        )
        if response.status != 200:
            said = " ".join(response.body[:300].decode("utf-8", "replace").split())
            said = said.replace(self._key, "***") if self._key else said
            raise BodyError(f"HTTP {response.status}: {said}")
        return read_reply(response.body)


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
    trial = Trial(name, probe.url, probe.config, probe.ask)
    found = trial.found
    if probe.config.api_key_env and key is None:
        variable = probe.config.api_key_env
        found.add("key", "error", f"the environment variable {variable} is not set; export it first")
        return found
    if not await _listed(found, probe):
        return found
    await try_out(trial)
    if probe.config.chat and not any(row.what == "chat" and row.level == "ok" for row in found.rows):
        return found
    _settings(found, probe)
    await _batches(found, probe)
    _price(found, probe)
    return found


async def _listed(found: Findings, probe: _Probe) -> bool:
    """Whether the address answers, takes the key and knows the model."""
    try:
        response = await probe.get("/models")
    except WireError as error:
        found.add("reachable", "error", f"not reachable ({error}); is the server running, is base_url right?")
        return False
    if response.status in {401, 403}:
        variable = probe.config.api_key_env or "(api_key_env is not set)"
        found.add("key", "error", f"the key is refused with HTTP {response.status}; check {variable}")
        return False
    found.add("reachable", "ok", f"answers at {probe.url}")
    try:
        items = [item for item in msgspec.json.decode(response.body)["data"] if isinstance(item, dict)]
        ids = [str(item["id"]) for item in items]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        found.add("model", "warning", f"GET /models gives no list (HTTP {response.status})")
        return True
    wanted = probe.config.model_id
    if wanted not in ids:
        shown = ", ".join(sorted(ids)[:10])
        found.add("model", "error", f"no model {wanted!r} at the endpoint; it has: {shown}; correct `model`")
        return False
    found.add("model", "ok", f"{wanted} is served")
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
    need = 2 * _ROOM + (
        probe.config.think_tokens if thinks(probe.dialect, Request(think=probe.config.think)) else 0
    )
    if size < need:
        detail = (
            f"{size} tokens, and a call with its thought may need {need}: lower `think_tokens`, or serve more"
        )
        found.add("context", "warning", detail)
    else:
        found.add("context", "ok", f"{size} tokens")


def _settings(found: Findings, probe: _Probe) -> None:
    """Settings that this dialect has no words for: they are not sent, so somebody should know."""
    config, dialect = probe.config, probe.dialect
    if config.effort is not None and not dialect.effort:
        detail = f"effort: {config.effort} is not sent, the dialect {dialect.name} has none; use `extra` if yours has"
        found.add("settings", "warning", detail)
    if config.think is not None and dialect.thinking == "none":
        said = "true" if config.think else "false"
        detail = (
            f"think: {said} is not sent, the dialect {dialect.name} has no switch; use `effort` or `extra`"
        )
        found.add("settings", "warning", detail)


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
        found.add("batch", "ok", "has a Batch API")
    else:
        found.add("batch", "error", f"no Batch API ({said}); leave out `transport: batch`")


def _price(found: Findings, probe: _Probe) -> None:
    prices = prices_of(found.name, probe.config)
    if prices is None:
        found.add("price", "warning", "unknown; give `prices` to see costs and to use budget.money")
    else:
        detail = f"{prices.input} in, {prices.output} out per million tokens {prices.currency}"
        found.add("price", "ok", detail.strip())
