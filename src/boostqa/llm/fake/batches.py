"""The fake provider's Batch API: files, batches, and what can go wrong with them.

All requests of a batch are answered, and so billed, the moment it is created; the client sees that `seconds`
later. Knows the protocol and time; what is answered comes from `reply`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Protocol

import msgspec
import xxhash
from aiohttp import BodyPartReader, web

from boostqa.llm.fake import strict
from boostqa.llm.fake.reply import Config, Replier, Reply

FAULTS = (
    "upload_500",
    "create_500",
    "create_lost",
    "create_hang",
    "poll_500",
    "gone",
    "failed",
    "queue_full",
    "expired",
    "cancelled",
    "lost_line",
    "broken_line",
    "line_500",
    "download_cut",
)
"""`create_lost`: the batch is created and the client is told of an error; `create_hang`: it is told nothing."""
_ENDPOINTS: dict[str, strict.Endpoint] = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}


class Host(Protocol):
    """What this needs of the server."""

    config: Config
    replier: Replier

    def count(self, reply: Reply, digest: str) -> None:
        """Bill a reply."""


class _File(msgspec.Struct):
    name: str
    data: bytes
    fault: str = ""
    """Of the batch over this file."""
    played: bool = False
    """Whether a fault that happens once has happened."""


class _Batch(msgspec.Struct):
    id: str
    input_file_id: str
    endpoint: str
    ready: float
    """When the client sees the end, by the monotonic clock."""
    final: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, str]] = []


class Batches:
    """Files and batches of one server. `seconds` and `faults` are `Config.batch`, read at each call."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self.counts: Counter[str] = Counter()
        """uploads, batches, requests (lines that were worked on), polls."""

    async def handle(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a call below `/files` or `/batches`; the key was checked."""
        parts = path.strip("/").split("/")
        post = request.method == "POST"
        if parts == ["files"] and post:
            return await self._upload(request)
        if parts[0] == "files" and parts[2:] == ["content"] and parts[1] in self._files:
            return await self._content(request, self._files[parts[1]])
        if parts == ["batches"]:
            return await self._create(request) if post else self._list(request)
        if parts[0] == "batches" and parts[1] in self._batches:
            batch = self._batches[parts[1]]
            if post and parts[2:] == ["cancel"]:
                batch.final, batch.ready = "cancelled", 0.0
            return self._poll(batch)
        return _error(404, f"no such thing: {path}")

    def _fault(self, file: _File, *names: str) -> bool:
        """Whether one of these faults is to be played now, for the first time."""
        if file.fault not in names or file.played:
            return False
        file.played = True
        return True

    async def _upload(self, request: web.BaseRequest) -> web.StreamResponse:
        purpose, name, data = "", "", b""
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "file":
                name = part.filename or ""
                while chunk := await part.read_chunk(1 << 18):  # `read` takes a megabyte at most
                    data += chunk
            elif part.name == "purpose":
                purpose = await part.text()
        if purpose != "batch" or not name:
            return _error(400, "purpose must be batch, and file a file")
        planned = self._host.config.batch.faults[self.counts["uploads"] :]
        fault = planned[0] if planned else ""
        self.counts["uploads"] += 1
        if fault == "upload_500":
            return _error(500, "The server had an error")
        file = self._keep(name, data, fault)
        return _json({"id": file, "object": "file", "purpose": "batch", "filename": name})

    def _keep(self, name: str, data: bytes, fault: str = "") -> str:
        file = f"file-{len(self._files) + 1:04}"
        self._files[file] = _File(name, data, fault)
        return file

    async def _content(self, request: web.BaseRequest, file: _File) -> web.StreamResponse:
        if not self._fault(file, "download_cut"):
            return web.Response(body=file.data, content_type="application/jsonl")
        response = web.StreamResponse(headers={"Content-Length": str(len(file.data))})
        await response.prepare(request)
        await response.write(file.data[: len(file.data) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    async def _create(self, request: web.BaseRequest) -> web.StreamResponse:
        wanted = msgspec.json.decode(await request.read())
        file = self._files.get(wanted.get("input_file_id"))
        if (
            file is None
            or wanted.get("endpoint") not in _ENDPOINTS
            or wanted.get("completion_window") != "24h"
        ):
            return _error(400, f"Invalid batch: {wanted}")
        if self._fault(file, "create_500"):
            return _error(500, "The server had an error")
        batch = _Batch(
            id=f"batch_{len(self._batches) + 1:04}",
            input_file_id=wanted["input_file_id"],
            endpoint=wanted["endpoint"],
            ready=time.monotonic() + self._host.config.batch.seconds,
            final="completed",
        )
        self._work(batch, file)
        self._batches[batch.id] = batch
        self.counts["batches"] += 1
        if self._fault(file, "create_lost"):
            return _error(500, "The server had an error")
        if self._fault(file, "create_hang"):
            await asyncio.sleep(10**6)
        return self._shown(batch)

    def _work(self, batch: _Batch, file: _File) -> None:
        """Answer every line, or fail as planned."""
        problem = _checked(file.data, batch.endpoint)
        if problem or file.fault in ("failed", "queue_full"):
            code = "token_limit_exceeded" if file.fault == "queue_full" else "invalid_request"
            batch.final = "failed"
            batch.errors = [{"code": code, "message": problem or "planned: the batch is not taken"}]
            return
        lines = [msgspec.json.decode(line) for line in file.data.splitlines()]
        lines.sort(
            key=lambda line: xxhash.xxh3_64_hexdigest(line["custom_id"].encode())
        )  # no provider keeps the order
        done = len(lines) // 2 if file.fault in ("expired", "cancelled") else len(lines)
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for number, line in enumerate(lines):
            row: dict[str, Any] = {"id": f"req_{number}", "custom_id": line["custom_id"], "error": None}
            if number >= done:
                if file.fault == "expired":
                    error = {
                        "code": "batch_expired",
                        "message": "This request could not be executed in time.",
                    }
                    bad.append(row | {"response": None, "error": error})
                continue
            status, body = 500, b'{"error":{"message":"The server had an error"}}'
            if not (number == 0 and file.fault == "line_500"):
                status, body = self._answer(line, _ENDPOINTS[batch.endpoint])
            answer = {"status_code": status, "request_id": f"r{number}", "body": msgspec.Raw(body)}
            if not (number == 0 and file.fault == "lost_line"):
                (good if status == 200 else bad).append(row | {"response": answer})
        if file.fault in ("expired", "cancelled"):
            batch.final = file.fault
        output = [msgspec.json.encode(row) for row in good]
        if output and file.fault == "broken_line":
            output[0] = output[0][:-20]
        if output:
            fault = "download_cut" if file.fault == "download_cut" else ""
            batch.output_file_id = self._keep("output", b"\n".join(output) + b"\n", fault)
        if bad:
            batch.error_file_id = self._keep("errors", b"\n".join(map(msgspec.json.encode, bad)))

    def _answer(self, line: dict[str, Any], endpoint: strict.Endpoint) -> tuple[int, bytes]:
        self.counts["requests"] += 1
        body, name = line["body"], str(line["body"].get("model"))
        if name not in self._host.config.models:
            return 404, strict.error_body("openai", strict.Refused(404, "no such model"))
        digest = xxhash.xxh3_128_hexdigest(msgspec.json.encode(body) + line["custom_id"].encode())
        try:
            reply = self._host.replier.reply(name, endpoint, body, "", line["custom_id"])
        except strict.Refused as error:
            dialect = self._host.config.models[name].dialect
            return error.status, strict.error_body(dialect, error)
        self._host.count(reply, digest)
        return 200, reply.body

    def _list(self, request: web.BaseRequest) -> web.StreamResponse:
        """Newest first, in pages."""
        ids = sorted(self._batches, reverse=True)
        after = request.query.get("after")
        start = ids.index(after) + 1 if after else 0
        page = ids[start : start + int(request.query.get("limit", "20"))]
        rows = [self._plain(self._batches[name]) for name in page]
        return _json({"object": "list", "data": rows, "has_more": start + len(page) < len(ids)})

    def _poll(self, batch: _Batch) -> web.StreamResponse:
        self.counts["polls"] += 1
        file = self._files[batch.input_file_id]
        if self._fault(file, "poll_500"):
            return _error(500, "The server had an error")
        return _error(404, "No such batch") if file.fault == "gone" else self._shown(batch)

    def _shown(self, batch: _Batch) -> web.StreamResponse:
        return _json(self._plain(batch))

    def _plain(self, batch: _Batch) -> dict[str, Any]:
        over = time.monotonic() >= batch.ready
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.endpoint,
            "input_file_id": batch.input_file_id,
            "completion_window": "24h",
            "status": batch.final if over else "in_progress",
            "output_file_id": batch.output_file_id if over else None,
            "error_file_id": batch.error_file_id if over else None,
            "errors": {"object": "list", "data": batch.errors} if over and batch.errors else None,
        }


def _checked(data: bytes, endpoint: str) -> str:
    """What is wrong with an input file as a whole; empty when it is good."""
    seen: set[str] = set()
    models: set[str] = set()
    for number, line in enumerate(data.splitlines(), 1):
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            return f"line {number}: not JSON"
        if row.get("method") != "POST" or row.get("url") != endpoint or not isinstance(row.get("body"), dict):
            return f"line {number}: method, url or body is wrong"
        if row.get("custom_id") in seen:
            return f"line {number}: custom_id is there twice"
        seen.add(str(row.get("custom_id")))
        models.add(str(row["body"].get("model")))
    return "" if len(models) == 1 else "the requests are for several models, or there are none"


def _json(data: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    body = strict.error_body("openai", strict.Refused(status, message))
    return web.Response(status=status, body=body, content_type="application/json")
