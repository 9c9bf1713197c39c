"""The calls of a provider's Batch API (the OpenAI-compatible protocol of files and batches), and its files.

    POST /files (multipart, purpose=batch) -> id      POST /batches {input_file_id, endpoint, completion_window}
    GET /batches/ID    GET /batches?limit&after       GET /files/ID/content -> JSON lines

Input line: {custom_id, method, url, body}. Output line: {custom_id, response: {status_code, body}, error}.
Knows nothing of ledgers, keys of requests, or when to call what (see `batch.py`). These few large transfers
stream between disk and socket, so they do not go through the seam of `http.py`, which is made for many small ones.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from boostqa.llm.http import MAX_BODY, Response

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
MAX_LINE = 64 << 20
"""Bytes of one line of a result file; a longer one is passed over."""
FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""States after which a batch does not change any more."""
_RETRIED = frozenset({408, 409, 425, 429})
_CALL_S, _FILE_S = 600.0, 6 * 3600.0
"""Longest that a call may take, and the transfer of a file."""
_PAGES = 50


class ApiError(Exception):
    """A call that did not succeed. `status` is 0 where no whole answer came, which says nothing about what was done."""

    def __init__(self, status: int, body: bytes, detail: str, *, retry_after: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.body = body
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status == 0 or self.status >= 500 or self.status in _RETRIED


class DownError(Exception):
    """The endpoint has not answered for longer than the patience."""


async def patiently(
    call: Callable[[], Awaitable[T]], delays: tuple[float, float], patience: float, jammed: float
) -> T:
    """Call until it succeeds; `delays` are the shortest and the longest pause between tries, in seconds.

    Raises:
        ApiError: when calling again cannot help.
        DownError: when nothing but failures came for `patience` seconds, or failures and 429 for `jammed` ones.
    """
    failing: float | None = None
    began = time.monotonic()
    delay, longest = delays
    while True:
        try:
            return await call()
        except ApiError as error:
            if not error.passing:
                raise
            now = time.monotonic()
            failing = now if error.status == 429 or failing is None else failing
            if now - failing > patience or now - began > jammed:
                raise DownError(f"{error} (for {now - began:.0f} s)") from error
            wait = delay
            with suppress(ValueError):
                wait = max(delay, min(300.0, float(error.retry_after)))
        await asyncio.sleep(wait)
        delay = min(delay * 2, longest)


class _Problem(msgspec.Struct, frozen=True):
    code: str | None = None
    message: str | None = None


class _Problems(msgspec.Struct, frozen=True):
    data: list[_Problem] | None = None


class Batch(msgspec.Struct, frozen=True):
    """A batch as the provider describes it."""

    id: str
    status: str = ""
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Problems | None = None

    @property
    def state(self) -> str:
        """The status in lower case, which not all providers use."""
        return self.status.lower()

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(code, message) of why it failed as a whole."""
        found = (self.errors.data if self.errors else None) or []
        return [(problem.code or "", problem.message or "") for problem in found]


class _Page(msgspec.Struct, frozen=True):
    data: list[Batch] = []
    has_more: bool = False


class _File(msgspec.Struct, frozen=True):
    id: str


class BatchApi:
    """The calls to one address; make it inside the event loop. Each raises `ApiError`."""

    def __init__(self, url: str, key: str | None) -> None:
        import aiohttp

        self.url = url
        self._secret = key
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # A file may take long as a whole, but never stand still for long. No `trust_env`, which would let a netrc
        # file replace the key; the proxy is looked up here.
        self._session = aiohttp.ClientSession(
            headers=headers,
            proxy=_proxy(url),
            timeout=_timeout(_CALL_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def upload(self, path: Path) -> str:
        """Upload the file at `path` for use by a batch; returns its id. Costs nothing."""
        import aiohttp

        with path.open("rb") as file:
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", file, filename=path.name, content_type="application/jsonl")
            return _decoded(
                await self._call("POST", "/files", data=form, timeout=_timeout(_FILE_S)), _File
            ).id

    async def create(self, file_id: str, endpoint: str, window: str) -> Batch:
        """Start a batch over an uploaded file; from here on it costs."""
        body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": window}
        return _decoded(await self._call("POST", "/batches", json=body), Batch)

    async def get(self, batch_id: str) -> Batch:
        """How a batch is doing."""
        return _decoded(await self._call("GET", f"/batches/{batch_id}"), Batch)

    async def find(self, file_id: str) -> Batch | None:
        """The batch over an uploaded file, if it was started; the newest `100 * _PAGES` batches are looked at."""
        after = ""
        for _ in range(_PAGES):
            page = _decoded(await self._call("GET", f"/batches?limit=100{after}"), _Page)
            for batch in page.data:
                if batch.input_file_id == file_id:
                    return batch
            if not page.has_more or not page.data:
                return None
            after = f"&after={page.data[-1].id}"
        return None

    async def download(self, file_id: str, path: Path) -> None:
        """Append a file's content to `path`, which ends with a whole line afterwards."""
        import aiohttp

        try:
            async with self._session.get(
                f"{self.url}/files/{file_id}/content", allow_redirects=True, timeout=_timeout(_FILE_S)
            ) as answer:
                if answer.status != 200:
                    raise self._error(answer.status, await answer.content.read(2000), answer.headers)
                with path.open("ab") as file:
                    async for part in answer.content.iter_chunked(1 << 20):
                        file.write(part)
                    file.write(b"\n")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, b"", f"{self.url}/files: {error or type(error).__name__}") from error

    async def _call(self, method: str, path: str, **content: Any) -> bytes:
        import aiohttp

        try:
            async with self._session.request(
                method, self.url + path, allow_redirects=False, **content
            ) as answer:
                body = b""
                async for part in answer.content.iter_any():
                    body += part
                    if len(body) > MAX_BODY:
                        raise ApiError(0, b"", f"{self.url}{path}: an answer of more than {MAX_BODY} bytes")
                if not 200 <= answer.status < 300:
                    raise self._error(answer.status, body, answer.headers)
                return body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, b"", f"{self.url}{path}: {error or type(error).__name__}") from error

    def _error(self, status: int, body: bytes, headers: Any) -> ApiError:
        said = " ".join(body[:300].decode("utf-8", "replace").split())
        said = said.replace(self._secret, "***") if self._secret else said
        detail = f"{self.url}: HTTP {status}: {said or '(empty body)'}"
        return ApiError(status, body, detail, retry_after=headers.get("Retry-After", ""))


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    import aiohttp

    return aiohttp.ClientTimeout(total=seconds, sock_connect=20, sock_read=300)


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    bypass = not parts.hostname or proxy_bypass(parts.netloc) or proxy_bypass(parts.hostname)
    return None if bypass else getproxies().get(parts.scheme)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = " ".join(body[:120].decode("utf-8", "replace").split())
        raise ApiError(0, body, f"the answer is not what the Batch API has ({error}): {said}") from error


class Wanted(msgspec.Struct, frozen=True):
    """One line of an input file."""

    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


class _Answer(msgspec.Struct, frozen=True):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"")


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None
    message: str | None = None


class Result(msgspec.Struct, frozen=True):
    """One line of a result file."""

    custom_id: str
    response: _Answer | None = None
    error: _Error | None = None

    @property
    def code(self) -> str:
        """Code of the error of a request that was not answered, such as `batch_expired`."""
        return (self.error.code or "") if self.error else ""

    def answer(self) -> Response | None:
        """The answer as if it had come online; None where there was none."""
        if self.response is None or not self.response.status_code:
            return None
        return Response(status=self.response.status_code, body=bytes(self.response.body))


_result = msgspec.json.Decoder(Result)


def write_input(path: Path, lines: Iterator[Wanted]) -> None:
    """Write an input file, on the medium when this returns."""
    with path.open("wb") as file:
        for line in lines:
            file.write(msgspec.json.encode(line) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def places(path: Path, *, paid: bool = False) -> dict[str, int]:
    """Where the line of each request begins in a result file; the first of several counts. No file: none.

    With `paid` only those that were answered, and not with an error.
    """
    found: dict[str, int] = {}
    if not path.exists():  # another worker was done with it
        return found
    with path.open("rb") as file:
        while True:
            at = file.tell()
            line = file.readline(MAX_LINE)
            if not line:
                return found
            result = _read(line)
            if result is None or (paid and (result.response is None or result.response.status_code != 200)):
                continue
            found.setdefault(result.custom_id, at)


def result_at(path: Path, at: int) -> Result | None:
    """The line that begins at `at`."""
    with path.open("rb") as file:
        file.seek(at)
        return _read(file.readline(MAX_LINE))


def _read(line: bytes) -> Result | None:
    try:
        return _result.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
