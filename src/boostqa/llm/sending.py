"""Sending one body until it is answered or cannot be: replicas, throttle, retries, and the end of patience.

Retried is only what can succeed: time-outs, broken connections, 408, 409, 425, 429, 5xx, and answers with
status 200 that are no replies. A 429 is waited out and does not count as a try; neither does a probe that finds an
endpoint still down (no connection, 503). A wrong key, an empty account, an unknown model or a certificate that
cannot be trusted stop the run; so does an endpoint of which all replicas give nothing but failures. Everything else
that fails is this one call's own failure.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from boostqa.errors import BudgetStop, ProviderStop
from boostqa.llm.budget import Amount
from boostqa.llm.dialects import BodyError, read_reply
from boostqa.llm.http import Response, Transport, WireError
from boostqa.llm.leases import Meter
from boostqa.llm.lines import RawReply
from boostqa.llm.refusals import read_error, retry_after, unknown_model
from boostqa.llm.replicas import Replica, Replicas
from boostqa.llm.throttle import ClosedError, DownError, Ended, Permit, ShutError

_RETRIED = {408, 409, 425}
_STRUGGLING = {503, 529}
_STOPPING = {
    401: "the key is refused; check the variable named in api_key_env",
    402: "the account is empty; top it up",
    403: "access is denied; check the key's rights",
    407: "the proxy wants a login; check HTTP_PROXY and HTTPS_PROXY",
}
_BILLABLE_AFTER = 1.0
"""Seconds after which a call that broke off may have been worked on and so billed."""
_CHOOSE_AGAIN = 0.1
"""Seconds before a call looks again for a replica that is up."""
_GATEWAY = {502, 504, 520, 522, 524}
"""What stands between says that the server did not answer it, which may have worked all the same."""
_ALL_FAIL = 50
"""Requests in a row that the endpoint calls wrong, with no good one between, that stop the run."""


class Sent(msgspec.Struct, kw_only=True):
    """What became of a call."""

    raw: RawReply | None = None
    """None: failed for good, see `error`."""
    error: str = ""
    tries: int = 0
    """Requests that were sent, except those answered 429."""
    unanswered: int = 0
    """Tries that may have been billed though no answer came."""
    metered: int = 0
    """Requests for which the meter holds the upper bound."""
    sent_at: float = 0.0
    """Seconds since 1970 UTC when the last try was sent."""
    seconds: float = 0.0
    """How long the last try took."""


class _Again(msgspec.Struct, frozen=True):
    """A try that failed but may be repeated."""

    ended: Ended
    reason: str
    counts: bool = True
    retry_after: float = 0.0


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often."""

    timeout: float
    """Seconds for one request."""
    retries: int
    """Repeats that count."""
    backoff: float = 0.5
    """Seconds before the first repeat; grows with each one."""
    hedge: float | None = None
    """Seconds without an answer after which a second request is sent beside the first; None: never."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sent."""

    path: str
    """Below the version in the address, such as `/chat/completions`."""
    body: bytes
    """JSON."""
    tokens: float
    """Expected size of request and answer, for the cap on tokens a minute."""
    key: str
    """Of the call in the ledger; sent as `Idempotency-Key`, so that whoever stands between (a proxy, a test server)
    can tell a repeat from another sample of the same question."""
    upper: Amount = Amount()
    """Most that one request can use."""
    prefix: str = ""
    """Beginning of the prompt; equal ones go to the same replica, whose cache knows them."""


class Sender:
    """Sends to one model. `place` names the model for messages, such as `models.teacher`."""

    def __init__(
        self,
        place: str,
        replicas: Replicas,
        transport: Transport,
        *,
        key: str | None,
        patience: Patience,
        meter: Meter | None = None,
    ) -> None:
        self._place = place
        self.replicas = replicas
        self._transport = transport
        self._meter = None if transport.durable else meter
        self._secret = key
        # Unpacking would cost more than the network between a client and its servers does.
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._patience = patience
        self._wrong = 0
        self._last_error = ""
        self._given_up = asyncio.Event()

    def booked(self, key: str) -> Amount | None:
        """What the budget was charged for this call at the start, where a batch of an earlier one holds it; once."""
        return self._transport.booked(key) if self._transport.durable else None

    async def send(self, call: Call, sent: Sent, reserve: Callable[[int], Awaitable[None]]) -> None:
        """Send a call until it is answered or must be given up.

        Args:
            call: what is sent.
            sent: filled with what became of it; right at any moment, also when this raises.
            reserve: awaited before each further request that counts, with how many will then be in flight.

        Raises:
            ProviderStop: when no call to this endpoint can succeed. After a refused key or the like, all calls
                that wait and all later ones raise it without being sent.
        """
        counted = jammed = 0
        while True:
            replica, permit = await self._permit(call)
            if self._patience.hedge is None:
                result = await self._try(replica, call, permit, sent)
            else:
                result = await self._either(replica, call, permit, sent, reserve)
            if not isinstance(result, _Again):
                return
            self._last_error = result.reason
            while self._meter is not None and sent.metered > sent.unanswered:  # not billed
                sent.metered -= 1
                self._meter.add(call.upper, -1)
            if result.ended is Ended.OVERLOAD:
                jammed += 1
                await self._pause(min(jammed, 5))
                continue
            if result.counts:
                counted += 1
                if counted > self._patience.retries:
                    sent.error = f"{self._place}: {result.reason}; given up after {sent.tries} tries"
                    return
            await reserve(1)
            await self._pause(counted)

    async def _either(
        self,
        replica: Replica,
        call: Call,
        permit: Permit,
        sent: Sent,
        reserve: Callable[[int], Awaitable[None]],
    ) -> RawReply | _Again | None:
        """One request, and a second one when the first takes long; the first answer counts, both are booked."""
        other = Sent()
        first = asyncio.ensure_future(self._try(replica, call, permit, sent))
        tasks = [first]
        try:
            await asyncio.wait(tasks, timeout=self._patience.hedge)
            if first.done():
                return first.result()
            try:
                await reserve(2)
            except BudgetStop:  # not enough for a second one
                return await first
            tasks.append(asyncio.ensure_future(self._second(replica, call, other)))
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                results = [task.result() for task in done]
                final = [result for result in results if not isinstance(result, _Again)]
                if final:
                    return final[0]
            return first.result()
        finally:
            for task in tasks:
                task.cancel()  # nothing, where it is done
            await asyncio.gather(*tasks, return_exceptions=True)
            _merge(sent, other)

    async def _second(self, first: Replica, call: Call, sent: Sent) -> RawReply | _Again | None:
        replica, permit = await self._permit(call, first)
        return await self._try(replica, call, permit, sent)

    async def _permit(self, call: Call, besides: Replica | None = None) -> tuple[Replica, Permit]:
        """A replica with room, and the permit to use it. Of several, none is waited for that is shut or lost.

        Raises:
            ProviderStop: when the endpoint was given up, or every replica is lost.
        """
        while True:
            replica = self.replicas.choose(call.prefix, besides)
            try:
                return replica, await replica.throttle.acquire(call.tokens, wait_shut=len(self.replicas) == 1)
            except ClosedError as closed:
                if not replica.gone or self._given_up.is_set():
                    raise ProviderStop(str(closed)) from closed
            except (ShutError, DownError):
                if all(each.throttle.lost for each in self.replicas):
                    raise ProviderStop(
                        f"{self._place} ({replica.url}): {replica.throttle.lost}; the last failure was: "
                        f"{self._last_error}. See to the endpoint and run the same command again"
                    ) from None
            # Another one may be up, or come into the list; and a turn of the loop must pass in any case.
            await asyncio.sleep(_CHOOSE_AGAIN)

    async def _try(
        self, replica: Replica, call: Call, permit: Permit, sent: Sent
    ) -> RawReply | _Again | None:
        """One request; fills `sent`. None: failed for good."""
        sent.sent_at = time.time()
        start = time.monotonic()
        if self._meter is not None:
            sent.metered += 1
            self._meter.add(call.upper)
        result: RawReply | _Again | None
        try:
            response = await self._transport.request(
                "POST",
                replica.url + call.path,
                call.body,
                {**self._headers, "Idempotency-Key": call.key},
                self._patience.timeout,
            )
        except WireError as error:
            sent.seconds = time.monotonic() - start
            if error.kind == "batch":  # nothing was sent, or it is found again: nothing is lost
                replica.throttle.done(permit, Ended.ABANDONED)
                self._give_up(stopped := f"{self._place}: {error}")
                raise ProviderStop(stopped) from error
            sent.tries += 1
            sent.unanswered += int(error.sent and sent.seconds >= _BILLABLE_AFTER)
            if error.kind == "certificate":
                replica.throttle.done(permit, Ended.FAILURE)
                why = (
                    f"{self._place} ({replica.url}): {error}; mend the certificate, or name the file of the "
                )
                why += "authority that signed it in SSL_CERT_FILE, then run the same command again"
                self._give_up(why)
                raise ProviderStop(why) from error
            late = error.kind == "timeout"
            ended = Ended.STRUGGLE if late else Ended.FAILURE
            # A probe that reached nobody says nothing of its call; a time-out may be the call's own fault.
            result = _Again(ended, f"{replica.url}: {error}", counts=late or not permit.probe)
        except BaseException:
            # Cancelled: the server may be at work on it, however short the time, and nobody will ever know.
            sent.seconds = time.monotonic() - start
            if not self._transport.durable:
                sent.tries += 1
                sent.unanswered += 1
            replica.throttle.done(permit, Ended.ABANDONED)
            raise
        else:
            sent.seconds = time.monotonic() - start
            try:
                result = self._judge(replica, response, sent, permit)
            except ProviderStop as stop:
                replica.throttle.done(permit, Ended.OK)
                self._give_up(str(stop))
                raise
            except BaseException:
                replica.throttle.done(permit, Ended.FAILURE)
                raise
        self._done(replica, permit, result)
        return result

    def _done(self, replica: Replica, permit: Permit, result: RawReply | _Again | None) -> None:
        if isinstance(result, _Again):
            replica.throttle.done(permit, result.ended, retry_after=result.retry_after)
        elif result is None:
            replica.throttle.done(permit, Ended.OK)
        else:
            usage = result.usage
            used = None if usage.prompt is None else float(usage.prompt + (usage.completion or 0))
            replica.throttle.done(permit, Ended.OK, completion=usage.completion or 0, used=used)

    def _judge(
        self, replica: Replica, response: Response, sent: Sent, permit: Permit
    ) -> RawReply | _Again | None:
        status = response.status
        sent.tries += int(status != 429)
        if status == 200:
            try:
                raw = read_reply(response.body)
            except BodyError as error:
                sent.unanswered += int(sent.seconds >= _BILLABLE_AFTER)
                return _Again(Ended.FAILURE, f"{replica.url}: answered {error}")
            if raw.finish == "insufficient_system_resource":
                return _Again(Ended.STRUGGLE, f"{replica.url}: broke off for lack of resources")
            self._wrong = 0
            sent.raw = raw
            return raw
        code, message = read_error(response.body)
        if self._secret:
            message = message.replace(self._secret, "***")
        said = f"{replica.url}: HTTP {status}{f' {code}' if code else ''}: {message}"
        if status in _STOPPING or code == "insufficient_quota" or unknown_model(status, code, message):
            remedy = _STOPPING.get(status, "check `model` against the endpoint's list")
            remedy = "check the account" if code == "insufficient_quota" else remedy
            raise ProviderStop(f"{self._place}: {said}; {remedy}, then run the same command again")
        if status == 429:
            return _Again(Ended.OVERLOAD, said, retry_after=retry_after(response.retry_after))
        if status in _STRUGGLING:
            after = retry_after(response.retry_after)
            return _Again(Ended.STRUGGLE, said, counts=not permit.probe, retry_after=after)
        if status in _RETRIED or status >= 500:
            sent.unanswered += int(status in _GATEWAY and sent.seconds >= _BILLABLE_AFTER)
            return _Again(Ended.FAILURE, said)
        return self._own_fault(status, code, message, said, sent)

    def _own_fault(self, status: int, code: str, message: str, said: str, sent: Sent) -> RawReply | None:
        """A request that the server calls wrong: never repeated."""
        text = f"{code} {message}".lower()
        if "content exists risk" in text or "content_filter" in text or "content_policy" in text:
            self._wrong = 0
            sent.raw = RawReply(refusal=message[:500], finish="content_filter")
            return sent.raw
        sent.error = f"{self._place}: {said}"
        if not ("context" in text or "too long" in text or status == 413):
            self._wrong += 1
            if self._wrong >= _ALL_FAIL:
                raise ProviderStop(
                    f"{self._place}: the last {self._wrong} requests were all called wrong, the latest with "
                    f"{said}; check dialect and base_url with `boostqa check` before the next start"
                )
        return None

    def _give_up(self, why: str) -> None:
        self._given_up.set()
        for replica in self.replicas:
            replica.throttle.close(why)

    async def _pause(self, times: int) -> None:
        longest = min(30.0, self._patience.backoff * 2 ** max(0, times - 1))
        # Jitter keeps calls that failed together from coming back together; results do not depend on it.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._given_up.wait(), longest * random.uniform(0.5, 1.0))


def _merge(sent: Sent, other: Sent) -> None:
    """Add what became of the second request to `sent`."""
    sent.tries += other.tries
    sent.unanswered += other.unanswered
    sent.metered += other.metered
    if sent.raw is None and other.raw is not None:
        sent.raw, sent.error = other.raw, ""
        sent.sent_at, sent.seconds = other.sent_at, other.seconds
    elif other.raw is not None:  # both were answered at once: one counts, the other is paid as well
        sent.unanswered += 1
    sent.error = sent.error or other.error if sent.raw is None else ""
