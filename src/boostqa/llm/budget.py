"""Hard budgets: one governor holds the limits, workers hold leases, every call is reserved before it is sent.

The governor lives in the parent process (or one actor); it is a plain object whose messages are plain data.
A worker's `Account` asks it for a slice now and then, never per request, and each call reserves its upper
bound from that slice and settles what it really used. So what is spent never passes a limit by more than
the calls in flight can exceed their upper bound, which is nothing as long as `max_tokens` is obeyed.
Knows nothing of models, prices or files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from boostqa.errors import BudgetStop

if TYPE_CHECKING:
    from boostqa.llm.leases import Meter

INFINITE = float("inf")
_DUST = 1e-9
"""What sums of floats may be off by."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """What calls use: money in the budget's currency, tokens in and out, HTTP requests."""

    money: float = 0.0
    tokens: float = 0.0
    requests: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            money=self.money + other.money,
            tokens=self.tokens + other.tokens,
            requests=self.requests + other.requests,
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            money=self.money - other.money,
            tokens=self.tokens - other.tokens,
            requests=self.requests - other.requests,
        )

    def times(self, factor: float) -> Amount:
        """All parts multiplied."""
        return Amount(money=self.money * factor, tokens=self.tokens * factor, requests=self.requests * factor)

    def lacks(self, other: Amount) -> str:
        """Name of the first part of which this has less than `other`; empty when it covers all."""
        if other.money > self.money + _DUST:
            return "money"
        if other.tokens > self.tokens + _DUST:
            return "tokens"
        return "requests" if other.requests > self.requests + _DUST else ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's `budget`; None means no limit."""

    money: float | None = None
    tokens: float | None = None
    requests: float | None = None
    hours: float | None = None
    """Wall time of the run, summed over resumes."""
    currency: str = ""

    def amount(self) -> Amount:
        """The limits as an amount, infinite where there is none."""
        parts = {name: getattr(self, name) for name in ("money", "tokens", "requests")}
        return Amount(**{name: INFINITE if value is None else float(value) for name, value in parts.items()})


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's message to the governor."""

    account: str
    used: Amount = Amount()
    """What the account has used since its last message."""
    need: Amount = Amount()
    """What it must have at least to send its next call."""
    final: bool = False
    """The account closes and gives back the rest of its lease."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The governor's answer."""

    amount: Amount = Amount()
    """Added to the lease."""
    seconds_left: float = INFINITE
    """Wall time until the limit of hours."""
    stop: str = ""
    """Message of the `BudgetStop` when the need cannot be met; empty otherwise."""


class Governor:
    """Keeps what is left of the budgets. `spent` and `hours` are what earlier starts of the run used.

    `unsettled` is the part of `spent` that no ledger tells: an upper bound of what was on its way when a start ended.
    """

    def __init__(
        self,
        limits: Limits,
        spent: Amount | None = None,
        hours: float = 0.0,
        *,
        unsettled: Amount | None = None,
        slices: int = 16,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.spent = spent or Amount()
        self._unsettled = unsettled or Amount()
        self._leased: dict[str, Amount] = {}
        self._slices = slices
        self._hours = hours
        self._clock = clock
        self._start = clock()

    @property
    def hours(self) -> float:
        """Wall time of the run so far, in hours, earlier starts included."""
        return self._hours + (self._clock() - self._start) / 3600

    def left(self) -> Amount:
        """What is neither spent nor leased."""
        rest = self.limits.amount() - self.spent
        for lease in self._leased.values():
            rest = rest - lease
        return rest

    def ask(self, message: Ask) -> Grant:
        """Book what an account used, then extend its lease or say which limit is reached."""
        lease = self._leased.get(message.account, Amount()) - message.used
        self._leased[message.account] = lease
        self.spent += message.used
        if message.final:
            del self._leased[message.account]
            return Grant()
        seconds = INFINITE
        if self.limits.hours is not None:
            seconds = (self.limits.hours - self.hours) * 3600
            if seconds <= 0:
                return Grant(seconds_left=seconds, stop=self._message("hours"))
        left = self.left()
        lacking = left.lacks(message.need)
        if lacking:
            return Grant(seconds_left=seconds, stop=self._message(lacking))
        amount = self._slice(left, message.need)
        self._leased[message.account] = lease + amount
        return Grant(amount=amount, seconds_left=seconds)

    def lost(self, account: str, used: Amount | None = None) -> None:
        """An account died without a word: book `used` on top of what it has told, else its whole lease."""
        lease = self._leased.pop(account, Amount())
        self.spent += lease if used is None else used

    def _slice(self, left: Amount, need: Amount) -> Amount:
        """The need and a share of what is left; shares shrink towards the end, so that little lies idle."""
        parts = {}
        for name in Amount.__struct_fields__:
            rest, least = getattr(left, name), getattr(need, name)
            # Without a limit a lease is still finite, so that `lost` books something meaningful.
            share = least * 64 if rest == INFINITE else (rest - least) / self._slices
            parts[name] = least + share
        return Amount(**parts)

    def _message(self, lacking: str) -> str:
        limit = getattr(self.limits, lacking)
        spent = self.hours if lacking == "hours" else getattr(self.spent, lacking)
        unit = f" {self.limits.currency}" if lacking == "money" and self.limits.currency else ""
        reserved = "" if lacking == "hours" else " and the next call could pass the limit"
        unsettled = 0.0 if lacking == "hours" else getattr(self._unsettled, lacking)
        if unsettled:
            open_ = f"at most {_number(unsettled)}{unit} of it by calls that a kill broke off or in batches"
            reserved = f", {open_}{reserved}"
        return (
            f"budget.{lacking} = {_number(limit)}{unit} is used up: {_number(spent)}{unit} spent{reserved}; "
            f"raise budget.{lacking} in the recipe and run the same command again to go on"
        )


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


class Account:
    """A worker's lease. `ask` carries a message to the governor; None means that there are no budgets."""

    def __init__(
        self,
        name: str,
        ask: Callable[[Ask], Awaitable[Grant]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.used = Amount()
        """All that this account has used."""
        self.meter: Meter | None = None
        """Where it is kept for the next start what is used and on the wire; None where nobody will ask."""
        self._ask = ask
        self._clock = clock
        self._free = Amount()
        self._unreported = Amount()
        self._reserved = 0
        self._settles = 0
        self._deadline = INFINITE
        self._asking = asyncio.Lock()
        self._settled = asyncio.Event()

    async def reserve(self, need: Amount, *, repeat: bool = False) -> None:
        """Set `need` (an upper bound) aside for a call; every `reserve` must be followed by one `settle`.

        With `repeat` it is for a repeated request of a call that has its reservation: the need is added to
        that one (settle both sums at once), and other calls are not waited for.

        Raises:
            BudgetStop: when a limit is reached and no call of this account is in flight that could free some.
        """
        if self._ask is None:
            return
        while self._short_of(need):
            settled = self._settles
            async with self._asking:
                # Others had their turn while this one waited for the lock: perhaps there is enough now.
                grant = await self._extend(need) if self._short_of(need) else Grant()
            if not grant.stop or settled != self._settles:
                continue
            if repeat or self._reserved == 0 or grant.seconds_left <= 0:
                raise BudgetStop(grant.stop)
            # Calls in flight will use less than their upper bound: wait for one of them before giving up,
            # without the lock, since they may have to ask for a repeat of their own before they end.
            self._settled.clear()
            await self._settled.wait()
        self._free = self._free - need
        self._reserved += 0 if repeat else 1

    def _short_of(self, need: Amount) -> bool:
        return bool(self._free.lacks(need)) or self._clock() >= self._deadline

    async def _extend(self, need: Amount) -> Grant:
        assert self._ask is not None
        missing = {name: max(0.0, getattr(need, name) - getattr(self._free, name)) for name in _PARTS}
        used, self._unreported = self._unreported, Amount()
        grant = await self._ask(Ask(account=self.name, used=used, need=Amount(**missing)))
        self._deadline = self._clock() + grant.seconds_left
        self._free = self._free + grant.amount
        return grant

    def release(self, booked: Amount) -> None:
        """Take back what the governor booked at the start for a call that is now made, and will reserve for itself."""
        if self._ask is not None:
            self._free = self._free + booked
            self._unreported -= booked

    def settle(self, reserved: Amount, used: Amount) -> None:
        """Give back the reservation of a call and book what it used (nothing, if it was never sent)."""
        self.used += used
        if self._ask is None:
            return
        self._free = self._free + reserved - used
        self._unreported += used
        self._reserved -= 1
        self._settles += 1
        self._settled.set()

    async def close(self) -> None:
        """Report the last use and give back the rest of the lease."""
        if self._ask is not None:
            used, self._unreported = self._unreported, Amount()
            self._free = Amount()
            await self._ask(Ask(account=self.name, used=used, final=True))


_PARTS = Amount.__struct_fields__
