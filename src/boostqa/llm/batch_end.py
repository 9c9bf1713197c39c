"""What a batch came to, call by call, and how those who wait for it are told, whatever ended the work on it.

Knows the provider's words for the end of a batch; nothing of how a batch is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from boostqa.errors import StorageStop
from boostqa.llm.batch_api import ApiError, Batch, DownError, result_at
from boostqa.llm.batch_state import State
from boostqa.llm.http import Kind, Response, WireError

_FULL = ("token_limit_exceeded", "rate_limit_exceeded", "request_limit_exceeded")
"""Codes of a batch that was refused only because others are queued."""
_EMPTY = ("insufficient_quota", "billing_hard_limit_reached", "billing_limit_reached")


class End(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch came to."""

    path: Path | None = None
    where: dict[str, int] = {}
    """Key -> where its line begins in the file at `path`."""
    reply: Response | None = None
    """For those without a line: as if the provider had answered this,"""
    kind: Kind = "cut"
    """or else a failure of the wire."""
    detail: str = ""
    sent: bool = False

    def of(self, key: str) -> Response:
        """The answer to one call. Raises `WireError` where there is none."""
        at = self.where.get(key)
        result = None if at is None or self.path is None else result_at(self.path, at)
        if result is None:
            if self.reply is not None:
                return self.reply
            raise WireError(self.kind, self.detail, sent=self.sent)
        answer = result.answer()
        if answer is not None:
            return answer
        if "expired" in result.code:
            raise WireError(
                "expired", f"{result.code}: the batch ended before this request's turn", sent=False
            )
        if "cancel" in result.code:
            raise WireError("batch", f"{result.code}: the batch was cancelled at the provider", sent=False)
        said = (result.error.message if result.error else "") or "no answer and no reason"
        return Response(500, msgspec.json.encode({"error": {"code": result.code, "message": said}}))


def rest_of(batch: Batch, poll: float) -> End:
    """What becomes of the calls of a finished batch that have no line in its results."""
    if batch.state == "expired":
        return End(kind="expired", detail=f"batch {batch.id} ended before this request's turn")
    if batch.state == "cancelled":
        why = f"batch {batch.id} was cancelled at the provider; a new start sends what it left again"
        return End(kind="batch", detail=why)
    if batch.state == "completed":
        return End(kind="cut", detail=f"batch {batch.id} has no line for this request", sent=True)
    said = "; ".join(f"{code}: {message}" for code, message in batch.problems) or "no reason given"
    codes = {code for code, _ in batch.problems}
    if codes & set(_EMPTY):
        error = {"error": {"code": "insufficient_quota", "message": said}}
        return End(reply=Response(429, msgspec.json.encode(error)))
    if codes & set(_FULL):
        error = {"error": {"code": "queue_full", "message": said}}
        return End(reply=Response(429, msgspec.json.encode(error), retry_after=str(poll)))
    return End(kind="batch", detail=f"batch {batch.id} failed as a whole: {said}")


class LateError(Exception):
    """The provider does not end a batch."""


@contextmanager
def told(future: asyncio.Future[End], state: State) -> Iterator[None]:
    """Whatever ends the work on a batch, those who wait for it are told."""
    try:
        yield
    except ApiError as error:
        if error.status == 404 and state.step in ("created", "done"):
            gone = f"the provider does not know batch {state.batch_id} any more: {error}"
            found = End(kind="cut", detail=gone, sent=True)
        elif error.status in (401, 402, 403):
            found = End(reply=Response(error.status, error.body))
        elif error.status == 413:
            found = End(
                kind="batch", detail=f"{error}; the provider takes less at once: lower `batch.megabytes`"
            )
        else:
            found = End(
                kind="batch", detail=f"{error}; is there a Batch API? Else leave out `transport: batch`"
            )
        _set(future, found)
    except DownError as error:
        kept = f"{error}; what was sent is not lost, the next start attaches to it"
        _set(future, End(kind="batch", detail=kept))
    except LateError as error:
        _set(future, End(kind="batch", detail=str(error)))
    except StorageStop as error:
        if not future.done():
            future.set_exception(error)
            future.exception()  # marks it as seen
    except asyncio.CancelledError:
        future.cancel()
        raise


def _set(future: asyncio.Future[End], end: End) -> None:
    if not future.done():
        future.set_result(end)
