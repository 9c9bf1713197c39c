"""What one line of the ledger holds, and the sums over many lines.

A line keeps the essentials of the provider's raw answer, not our reading of it: a reply is parsed again
each time it is replayed, so that better parsing never pays twice. No key, header or address is in it.
"""

from __future__ import annotations

import msgspec

from boostqa.llm.model import Request, TokenLogprob, Usage


class RawReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the provider answered, before any interpretation."""

    text: str = ""
    """Content as sent, with `<think>` and code fences if there were any."""
    reasoning: str = ""
    """Content of a separate reasoning field."""
    refusal: str = ""
    finish: str = ""
    usage: Usage = Usage()
    model: str = ""
    logprobs: list[TokenLogprob] = []


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call that was answered, or that failed for good, or that may have been billed without an answer."""

    k: str
    """Key of the request. The first field of the line, on which `frames.py` relies."""
    ts: float
    """When the answer came, seconds since 1970 UTC."""
    name: str
    """Name in the recipe's `models`."""
    model: str
    role: str = ""
    r: str = ""
    """Id of the record for which the call was made."""
    kind: str = "chat"
    """chat, complete or score."""
    request: Request | None = None
    reply: RawReply | None = None
    cost: float | None = None
    """Price of this call in `currency`; None where the price or the usage is unknown."""
    currency: str = ""
    seconds: float = 0.0
    """From sending to the whole answer."""
    tries: int = 1
    """HTTP requests that this line stands for, repeats included, but not those that were answered by 429."""
    err: str = ""
    """Why there is no usable answer; such a line is never replayed."""
    lost: float = 0.0
    """Upper bound of what a call without answer may have cost (time-out, cut connection)."""
    lost_tokens: int = 0
    """Upper bound of the tokens of such a call."""
    used_money: float = 0.0
    """What the budget was charged for all tries: the cost, or its upper bound where it is unknown."""
    used_tokens: float = 0.0
    """What the budget was charged in tokens, estimated from bytes where the provider did not count."""


class LineHead(msgspec.Struct, frozen=True):
    """The part of a line that an index needs; decoding skips the rest."""

    k: str
    err: str = ""


class LineSum(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a line that totals need, without the texts."""

    class _Reply(msgspec.Struct, frozen=True):
        usage: Usage = Usage()

    k: str
    name: str
    reply: _Reply | None = None
    cost: float | None = None
    currency: str = ""
    seconds: float = 0.0
    tries: int = 1
    err: str = ""
    lost: float = 0.0
    lost_tokens: int = 0
    used_money: float = 0.0
    used_tokens: float = 0.0


class Totals(msgspec.Struct, kw_only=True):
    """Sums over ledger lines. Tokens as the providers counted them."""

    requests: int = 0
    """HTTP requests, repeats included, but not those that were answered by 429."""
    answers: int = 0
    errors: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    money: float = 0.0
    """Sum of the known costs."""
    unpriced: int = 0
    """Answers whose cost is unknown; above 0 the whole cost is unknown."""
    lost: float = 0.0
    """Upper bound of what calls without an answer may have cost on top."""
    lost_tokens: int = 0
    used_money: float = 0.0
    """What the budget was charged, upper bounds of the unknown included."""
    used_tokens: float = 0.0
    seconds: float = 0.0
    """Sum over the calls, which overlap."""
    currency: str = ""
    mixed: bool = False
    """Whether there is more than one currency; no sum of money means anything then."""

    @property
    def cost(self) -> float | None:
        """What the answers cost, or None where any part of it is unknown."""
        unheard = self.requests and not self.answers and not self.currency  # nothing tells of a price
        return None if self.unpriced or self.mixed or unheard else self.money

    @property
    def lost_cost(self) -> float | None:
        """Upper bound of what calls without an answer may have cost, or None where it is unknown."""
        unknown = self.lost_tokens and not self.currency and (self.unpriced or not self.answers)
        return None if unknown or self.mixed else self.lost

    def add(self, line: Line | LineSum) -> None:
        """Count one line."""
        self.requests += line.tries
        self.seconds += line.seconds
        self.lost += line.lost
        self.lost_tokens += line.lost_tokens
        self.used_money += line.used_money
        self.used_tokens += line.used_tokens
        self._count_in(line.currency)
        if line.err:
            self.errors += 1
        else:
            self.answers += 1
        if line.reply is None:
            return
        usage = line.reply.usage
        self.prompt += usage.prompt or 0
        self.cached += usage.cached or 0
        self.completion += usage.completion or 0
        self.reasoning += usage.reasoning or 0
        if line.cost is None:
            self.unpriced += 1
        else:
            self.money += line.cost

    def _count_in(self, currency: str) -> None:
        self.mixed = self.mixed or "" != self.currency != currency != ""
        self.currency = self.currency or currency

    def merge(self, other: Totals) -> None:
        """Add `other` to this; in another currency it makes the cost unknown."""
        self.mixed = self.mixed or other.mixed
        self._count_in(other.currency)
        for name in self.__struct_fields__:
            if name not in ("currency", "mixed"):
                setattr(self, name, getattr(self, name) + getattr(other, name))
