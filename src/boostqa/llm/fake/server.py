"""The fake provider: an OpenAI-compatible server whose models have hidden abilities and planned faults.

A reply is a function of world seed, model name and request body; see `reply` for what is in it. In a test:

    async with FakeServer({"models": {"m": {"dialect": "vllm"}}}) as server:
        ... server.url ... server.stats()

As a process: `python -m boostqa.llm.fake --port 0 --config FILE.json` prints `{"url": ...}` and serves.
This module knows HTTP, time and counting; it must not know what is asked and answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import xxhash
from aiohttp import web

from boostqa.errors import BoostQAError, UserError
from boostqa.llm.fake import strict, wire
from boostqa.llm.fake.batches import Batches
from boostqa.llm.fake.counts import Gate, Stats
from boostqa.llm.fake.faults import FINAL, WIRE, Fault, Faults, Plan
from boostqa.llm.fake.keys import Key
from boostqa.llm.fake.reply import Config, Replier, Reply, default_config, read_config

_JSON = "application/json"
_FOREVER = 10**6
_ENDPOINTS: dict[str, strict.Endpoint] = {"/chat/completions": "chat", "/completions": "completions"}


class _Call(msgspec.Struct, frozen=True):
    """One model call as it was read."""

    endpoint: strict.Endpoint
    name: str
    data: dict[str, Any]
    digest: str
    key: str
    """The client's `Idempotency-Key`, or empty."""
    fault: Fault | None


class FakeServer:
    """The server on 127.0.0.1, as an async context manager.

    Args:
        config: a `Config`, or its plain data.
        port: 0 lets the system choose.
        keys: answers to questions that are not of the world, beyond the config's files.

    Raises:
        UserError: when the config is wrong.
    """

    def __init__(self, config: Config | dict[str, Any], *, port: int = 0, keys: Iterable[Key] = ()) -> None:
        self._keys = list(keys)
        self._port = port
        self.seen: deque[dict[str, Any]] = deque(maxlen=0)
        """The last `Config.keep` bodies of model calls."""
        self._configure(config if isinstance(config, Config) else read_config(config, "config"))
        self._stats = Stats()
        self._batches = Batches(self)
        self.url = ""
        """Base address, such as `http://127.0.0.1:40001/v1`; known once the server runs."""

    def _configure(self, config: Config) -> None:
        try:
            self._faults = Faults(config.faults, config.seed)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.config = config
        self.replier = Replier(config, self._keys)
        self._gates = {name: Gate(persona) for name, persona in config.models.items()}
        self._dialect = next(iter(config.models.values())).dialect
        self._bearer = f"Bearer {config.api_key}"
        only = next(iter(config.models)) if len(config.models) == 1 else ""
        self._raw_only = only if only and config.models[only].raw_bytes else ""
        self.seen = deque(self.seen, maxlen=config.keep)

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None, keepalive_timeout=600)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise UserError(f"port {self._port}: {error.strerror}; give another one, or 0") from error
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def stats(self, *, bodies: bool = False) -> dict[str, Any]:
        """The same as `GET /fake/stats`; with `bodies` also the count of every body by its digest."""
        return self._stats.summary(bodies) | {"batches": dict(self._batches.counts)}

    def control(self, command: dict[str, Any]) -> None:
        """The same as `POST /fake/control`.

        Keys: `faults` (a plan or None), `models` (replaces those named), `batch`, `api_key`, `reset_stats`.

        Raises:
            UserError: naming what is wrong; nothing is changed then.
        """
        known = {"faults", "models", "api_key", "batch", "reset_stats"}
        if unknown := sorted(set(command) - known):
            raise UserError(f"control: {unknown[0]!r} is not one of {', '.join(sorted(known))}")
        data = msgspec.to_builtins(self.config)
        if "faults" in command:
            data["faults"] = command["faults"] or {}
        data["models"] |= command.get("models", {})
        data["batch"] |= command.get("batch", {})
        data["api_key"] = command.get("api_key", data["api_key"])
        if set(command) == {"faults"}:  # the common case keeps slots, caches and buckets
            faults = msgspec.convert(data["faults"], Plan)
            try:
                self._faults = Faults(faults, self.config.seed)
            except ValueError as error:
                raise UserError(str(error)) from error
            self.config = msgspec.structs.replace(self.config, faults=faults)
        elif set(command) - {"reset_stats"}:
            self._configure(read_config(data, "control"))
        if command.get("reset_stats"):
            flying = self._stats.in_flight
            self._stats = Stats()
            self._stats.in_flight = self._stats.max_in_flight = flying

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix("/v1")
        endpoint = _ENDPOINTS.get(path)
        if endpoint is not None and request.method == "POST":
            stats = self._stats
            stats.in_flight += 1
            stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)
            try:
                return await self._model_call(request, endpoint)
            finally:
                self._stats.in_flight -= 1
        if path in {"/health", "/healthz"}:
            return _answer(200, b'{"status":"ok"}')
        if path.startswith(("/models", "/files", "/batches")):
            if not self._allowed(request):
                return self._no_key()
            if path != "/models":
                return await self._batches.handle(request, path)
            rows = [wire.model_row(n, p.dialect, p.context) for n, p in self.config.models.items()]
            return _answer(200, msgspec.json.encode({"object": "list", "data": rows}))
        if path == "/fake/stats":
            return _answer(200, msgspec.json.encode(self.stats(bodies="bodies" in request.query)))
        if path == "/fake/control" and request.method == "POST":
            try:
                self.control(msgspec.json.decode(await request.content.read(), type=dict))
            except (UserError, msgspec.MsgspecError) as error:
                return _answer(400, msgspec.json.encode({"error": str(error)}))
            return _answer(200, b"{}")
        return _answer(
            404,
            strict.error_body(
                self._dialect, strict.Refused(404, f"no route {request.method} {request.path}")
            ),
        )

    def _allowed(self, request: web.BaseRequest) -> bool:
        return self.config.api_key is None or request.headers.get("Authorization") == self._bearer

    def _no_key(self) -> web.Response:
        text = (
            "Incorrect API key provided."
            if self._dialect == "openai"
            else "Authentication Fails, the api key is invalid"
        )
        return _answer(
            401, strict.error_body(self._dialect, strict.Refused(401, text, code="invalid_api_key"))
        )

    async def _model_call(self, request: web.BaseRequest, endpoint: strict.Endpoint) -> web.StreamResponse:
        stats = self._stats
        body = await request.content.read()
        stats.requests += 1
        number = stats.requests
        # A client that sends a key of its own per wanted sample tells equal bodies apart with it.
        key = request.headers.get("Idempotency-Key", "")
        digest = xxhash.xxh3_128_hexdigest(body + key.encode())
        stats.seen[digest] += 1
        try:
            if not self._allowed(request):
                stats.status[401] += 1
                return self._no_key()
            name, data = self._read(body)
            if self.seen.maxlen:
                self.seen.append(data)
            stats.models[name] += 1
            fault = self._faults.pick(number, body, digest, stats.seen[digest], name)
            if fault is not None:
                stats.faults[fault.fault] += 1
            call = _Call(endpoint, name, data, digest, key, fault)
            response = await self._reply(request, call)
        except strict.Refused as error:
            stats.status[error.status] += 1
            return _answer(error.status, strict.error_body(self._dialect_of(body), error))
        stats.status[response.status] += 1
        return response

    def _read(self, body: bytes) -> tuple[str, dict[str, Any]]:
        """(model, body) of a request for a model that is there."""
        if self._raw_only and not self.seen.maxlen:
            return self._raw_only, {}
        try:
            data = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise strict.Refused(400, f"the body is not JSON: {error}") from error
        name = data.get("model") if isinstance(data, dict) else None
        if not isinstance(name, str) or name not in self.config.models:
            if self._dialect == "deepseek":
                raise strict.Refused(400, "Model Not Exist")
            raise strict.Refused(
                404, f"The model `{name}` does not exist.", param="model", code="model_not_found"
            )
        return name, data

    def _dialect_of(self, body: bytes) -> str:
        try:
            return self.config.models[msgspec.json.decode(body)["model"]].dialect
        except (msgspec.DecodeError, KeyError, TypeError):
            return self._dialect

    async def _reply(self, request: web.BaseRequest, call: _Call) -> web.StreamResponse:
        gate, fault, digest = self._gates[call.name], call.fault, call.digest
        wait = gate.refusal()
        if wait is not None:
            return _fault_response(
                Fault(fault="429_retry_after" if wait else "429", seconds=wait), gate.persona.dialect
            )
        kind = fault.fault if fault else ""
        if fault is not None and kind in _AT_ONCE:
            return await self._at_once(request, fault, gate.persona.dialect)
        gate.in_flight += 1
        try:
            raw = self.replier.raw(call.name, digest)
            if raw is not None:
                reply = Reply(raw, "raw", 0, 0, len(raw) // 4)
            else:
                made_up = kind if kind not in WIRE else ""
                mark = f"#{self._stats.seen[digest]}" if gate.persona.fresh_samples else call.key
                reply = self.replier.reply(call.name, call.endpoint, call.data, made_up, mark)
            await gate.work(reply.completion_tokens, fault.seconds if fault and kind == "slow" else 0.0)
        finally:
            gate.in_flight -= 1
        if fault is not None and kind in _BODIES:
            return await _bad_body(request, kind, reply.body)
        self.count(reply, digest)
        return _answer(200, reply.body)

    def count(self, reply: Reply, digest: str) -> None:
        """Note a reply that would be billed."""
        stats = self._stats
        stats.answered[digest] += 1
        stats.tasks[reply.task or "other"] += 1
        stats.tokens["prompt"] += reply.prompt_tokens
        stats.tokens["cached"] += reply.cached_tokens
        stats.tokens["completion"] += reply.completion_tokens

    async def _at_once(self, request: web.BaseRequest, fault: Fault, dialect: str) -> web.StreamResponse:
        if fault.fault == "hang":
            await asyncio.sleep(fault.seconds or _FOREVER)
        if fault.fault in {"hang", "reset"}:
            return _dropped(request)
        return _fault_response(fault, dialect)


_BODIES = ("cut_body", "broken_json", "html", "empty_body", "other_schema")
_AT_ONCE = frozenset(set(WIRE + FINAL) - set(_BODIES) - {"slow"})
_WORDS = {
    "429": "Rate limit reached for requests",
    "500": "Internal server error",
    "503": "Service is overloaded",
    "400": "The request is invalid",
    "401": "Incorrect API key provided",
    "402": "Insufficient Balance",
    "404": "The model does not exist",
    "403": "Not allowed",
    "422": "Invalid parameters",
}


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, content_type=_JSON, headers=headers)


def _fault_response(fault: Fault, dialect: str) -> web.Response:
    code = fault.fault.partition("_")[0]
    error = strict.Refused(int(code), _WORDS.get(code, "The server has a problem"))
    timed = fault.fault == "429_retry_after" or (code == "503" and fault.seconds > 0)
    # The standard has whole seconds; OpenAI-compatible servers send fractions too.
    headers = {"Retry-After": f"{fault.seconds:.3f}".rstrip("0").rstrip(".")} if timed else None
    return _answer(int(code), strict.error_body(dialect, error), headers)


def _dropped(request: web.BaseRequest) -> web.Response:
    """Ends the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _bad_body(request: web.BaseRequest, kind: str, body: bytes) -> web.StreamResponse:
    if kind == "cut_body":
        response = web.StreamResponse(headers={"Content-Type": _JSON, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
    if kind == "html":
        page = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
        return web.Response(body=page, content_type="text/html")
    bodies = {
        "broken_json": body[: len(body) // 2],
        "empty_body": b"",
        "other_schema": b'{"result":"ok","data":[]}',
    }
    return _answer(200, bodies[kind])


async def serve(config: Config, *, port: int = 0, announce: bool = True) -> None:
    """Serve until cancelled; with `announce`, print `{"url": ...}` on a line of its own when ready.

    Raises:
        UserError: when config or port cannot be used.
    """
    async with FakeServer(config, port=port) as server:
        if announce:
            sys.stdout.write(json.dumps({"url": server.url}) + "\n")
            sys.stdout.flush()
        await asyncio.sleep(_FOREVER)


def serve_forever(config: Path | None = None, *, port: int = 0) -> None:
    """Serve until interrupted, for `boostqa serve --fake`; prints `{"url": ...}` when ready.

    Args:
        config: JSON file; a model for each role when absent (see `default_config`).
        port: 0 lets the system choose.

    Raises:
        UserError: when config or port cannot be used.
    """
    found = default_config()
    if config is not None:
        try:
            found = read_config(json.loads(config.read_text(encoding="utf-8")), str(config))
        except (OSError, ValueError) as error:
            raise UserError(f"{config}: {error}; give a JSON file") from error
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(found, port=port))
    else:
        uvloop.run(serve(found, port=port))


def main(arguments: list[str] | None = None) -> int:
    """Command line of `python -m boostqa.llm.fake`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m boostqa.llm.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--config", type=Path, help="JSON file; a model for each role when absent")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    if options.with_parent:
        from boostqa.llm.embedded_child import die_with_parent

        die_with_parent()
    try:
        serve_forever(options.config, port=options.port)
    except BoostQAError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0
