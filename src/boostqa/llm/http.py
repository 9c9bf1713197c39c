"""The wire: one POST or GET over a pool of kept-alive connections, its failures as named kinds.

The seam is `Transport`; the engine knows nothing of the library behind it, and docs/decisions/006-aiohttp.md says why
it is aiohttp.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from boostqa.llm.budget import Amount

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

MAX_BODY = 64 << 20
"""Bytes of one answer; more is cut off as a failure, since a server gone mad must not fill the memory."""
_USER = re.compile(r"(?<=//)[^/\s]*@")
"""User and password in an address."""
Kind = Literal[
    "timeout",
    "dns",
    "certificate",
    "tls",
    "refused",
    "reset",
    "cut",
    "too_large",
    "proxy",
    "expired",
    "batch",
]
"""`expired`: a batch ended before this request's turn. `batch`: no batch can go on; stops the run."""


class Response(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    body: bytes
    retry_after: str = ""


class WireError(Exception):
    """No whole answer. `sent` tells whether the server may have begun to work on the request."""

    def __init__(self, kind: Kind, detail: str, *, sent: bool) -> None:
        # A proxy's address holds its password, and the library puts addresses into its messages.
        super().__init__(f"{kind}: {_USER.sub('', detail)}")
        self.kind: Kind = kind
        self.sent = sent


class Transport(Protocol):
    """What the client needs of an HTTP library. Cancelling a call closes its connection."""

    durable: bool
    """Whether a call that is given up is found again by its key, also after a restart; then it is not lost."""

    async def request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Response:
        """Send one request and read the whole answer; redirects are not followed.

        Raises:
            WireError: when there is no whole answer within `timeout` seconds.
        """
        ...

    def booked(self, key: str) -> Amount | None:
        """Most that a call which is on its way since an earlier start may cost, once; asked where `durable`."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class AiohttpTransport:
    """`Transport` on aiohttp; make it inside the event loop. Proxies come from the environment, once.

    At most `connections` at a time, 0: no limit but the throttles'.
    """

    durable = False

    def __init__(self, connections: int, *, connect_timeout: float = 20.0) -> None:
        import aiohttp

        self._failures = (aiohttp.ClientError, TimeoutError, OSError)
        self._connect_timeout = connect_timeout
        self._proxies = getproxies()
        self._session: aiohttp.ClientSession = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=60, ttl_dns_cache=60, socket_factory=_watched
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=1 << 18,
        )
        self._deadlines: dict[float, _Deadlines] = {}
        self._targets: dict[str, tuple[URL, str | None]] = {}

    async def request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Response:
        """See `Transport.request`."""
        target, proxy = self._targets.get(url) or self._target(url)
        deadlines = self._deadlines.get(timeout) or self._deadline(timeout)
        task = deadlines.start()
        cancelled = task.cancelling()
        try:
            # Not `async with`: an answer that was read whole has given its connection back already.
            answer = await self._session.request(
                method,
                target,
                data=body,
                headers=headers,
                timeout=deadlines.connecting,
                proxy=proxy,
                allow_redirects=False,
            )
            try:
                whole = await _read(answer)
            except BaseException:
                answer.close()
                raise
            status = answer.status
            return Response(status, whole, "" if status == 200 else answer.headers.get("Retry-After", ""))
        except self._failures as error:
            raise _named(error) from error
        except asyncio.CancelledError as error:
            if deadlines.passed(task) and task.uncancel() <= cancelled:
                raise WireError("timeout", "no whole answer in time", sent=True) from error
            raise
        finally:
            deadlines.end(task)

    def _deadline(self, seconds: float) -> _Deadlines:
        import aiohttp

        # Connecting ends a little earlier, so that it is known which of the two it was.
        connecting = aiohttp.ClientTimeout(sock_connect=min(self._connect_timeout, 0.9 * seconds))
        self._deadlines[seconds] = found = _Deadlines(seconds, connecting)
        return found

    def _target(self, url: str) -> tuple[URL, str | None]:
        """The address as aiohttp wants it, and its proxy; remembered, since there are few of them."""
        from yarl import URL

        parts = urlsplit(url)
        bypass = not parts.hostname or proxy_bypass(parts.netloc) or proxy_bypass(parts.hostname)
        self._targets[url] = found = (URL(url), None if bypass else self._proxies.get(parts.scheme))
        return found

    def booked(self, key: str) -> None:
        """Nothing survives here."""

    async def close(self) -> None:
        """Close all connections."""
        for deadlines in self._deadlines.values():
            deadlines.close()
        await self._session.close()
        await asyncio.sleep(0)  # lets the transports close before the loop may stop


class _Deadlines:
    """Cancels the calls that take longer than `seconds`: one timer for all of them.

    They fall due in the order in which they began. A timer for each, as the library has them, costs a twentieth of
    a call, nearly always for nothing. A task makes one call at a time.
    """

    def __init__(self, seconds: float, connecting: aiohttp.ClientTimeout) -> None:
        self.connecting = connecting
        """The library's own limits, which are for making a connection alone."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._due: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> asyncio.Task[Any]:
        """The task that runs, which is cancelled in `seconds` unless `end` comes first."""
        task = asyncio.current_task()
        assert task is not None
        self._due[task] = due = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look)
        return task

    def passed(self, task: asyncio.Task[Any]) -> bool:
        """Whether `task` was cancelled here."""
        return task not in self._due

    def end(self, task: asyncio.Task[Any]) -> None:
        """The call of `task` is over."""
        self._due.pop(task, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = []
        for task, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._look)
                break
            late.append(task)
        for task in late:
            del self._due[task]
            task.cancel()

    def close(self) -> None:
        """Cancels nobody any more."""
        if self._timer is not None:
            self._timer.cancel()


def _watched(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within a minute that its peer has vanished, however long an answer may take."""
    family, kind, proto = address[:3]
    found = socket.socket(family, kind, proto)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on every system
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return found


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body, at most `MAX_BODY`."""
    length = answer.content_length
    if length is not None:
        if length > MAX_BODY:
            raise WireError("too_large", f"an answer of {length} bytes", sent=True)
        if "Content-Encoding" not in answer.headers:  # else it may unpack to more than any memory
            return await answer.read()
    parts = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > MAX_BODY:
            raise WireError("too_large", f"an answer of more than {MAX_BODY} bytes", sent=True)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _named(error: Exception) -> WireError:
    import aiohttp

    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return WireError("timeout", f"no connection: {text}", sent=False)
    if isinstance(error, TimeoutError):
        return WireError("timeout", "no whole answer in time", sent=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return WireError("dns", text, sent=False)
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
        return WireError("certificate", text, sent=False)
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return WireError("tls", text, sent=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        host = error.request_info.real_url.host
        return WireError("proxy", f"{host} answered {error.status} {error.message}".rstrip(), sent=False)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return WireError("proxy", f"no connection to {error.host}:{error.port}", sent=False)
    if isinstance(error, (aiohttp.ClientConnectorError, socket.gaierror, ConnectionRefusedError)):
        return WireError("refused", text, sent=False)
    if isinstance(error, aiohttp.ClientPayloadError):
        return WireError("cut", text, sent=True)
    return WireError("reset", text, sent=True)
