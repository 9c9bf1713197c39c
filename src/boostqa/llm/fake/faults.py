"""Planned faults of the fake provider: which request gets which, by rate or by script.

Faults of the wire depend on the request and on how often the server has seen it, so a retry can succeed.
Faults of the reply depend on the request alone, as a real model's bad answers would, so that a run that was
killed and resumed gets the same ones. Knows nothing of how a fault is played.
"""

from __future__ import annotations

import msgspec

from boostqa.llm.fake.world import unit

WIRE = (
    "408",
    "429",
    "429_retry_after",
    "500",
    "502",
    "503",
    "529",
    "reset",
    "hang",
    "cut_body",
    "broken_json",
    "html",
    "empty_body",
    "other_schema",
    "slow",
)
"""No usable reply comes (or comes late); sending again is what helps."""
REPLY = (
    "no_usage",
    "wrong_model",
    "truncated",
    "refusal",
    "empty_content",
    "unclosed_think",
    "loop",
    "bad_json",
)
"""A whole reply of status 200 comes, but there is something wrong with it."""
FINAL = ("400", "401", "402", "403", "404", "422")
"""Sending again does not help."""
ALL = WIRE + REPLY + FINAL


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault to play, and in a script: when."""

    fault: str
    """A name of `ALL`."""
    at: int = 0
    """Number of the request it hits, counted from 1 over all model calls; 0: any."""
    until: int = 0
    """With `at`: all requests from `at` to this number."""
    match: str = ""
    """Only requests whose body has this text in it."""
    model: str = ""
    """Only requests to this model."""
    times: int = 0
    """At most so often; 0: once with `at` alone, else without limit."""
    seconds: float = 0.0
    """Retry-After of 429_retry_after and 503; delay of slow; how long hang lasts (0: for ever)."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All faults of a server."""

    rates: dict[str, float] = {}
    """Fault -> share of requests, together at most 1."""
    script: list[Fault] = []
    """Comes before the rates; the first entry that fits counts."""
    retry_after_s: float = 0.2
    """Retry-After of faults by rate."""
    slow_s: float = 1.0
    """Delay of `slow` by rate."""
    hang_s: float = 0.0
    """How long `hang` by rate lasts; 0: until the client gives up."""


class BatchPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How batches go."""

    seconds: float = 0.05
    """From creating a batch to its end."""
    faults: list[str] = []
    """What goes wrong with the first upload and its batch, with the second, ...: names of `batches.FAULTS`, or
    empty. Later ones go well."""


class Faults:
    """Decides for each request. One object per server.

    Raises:
        ValueError: naming an unknown fault, or rates that add up to more than 1.
    """

    def __init__(self, plan: Plan, seed: int) -> None:
        for name in [*plan.rates, *(entry.fault for entry in plan.script)]:
            if name not in ALL:
                raise ValueError(f"faults: {name!r} is no fault; there are {', '.join(ALL)}")
        if sum(plan.rates.values()) > 1 + 1e-9:
            raise ValueError(
                f"faults.rates: they add up to {sum(plan.rates.values()):g}; at most 1 is possible"
            )
        self.plan = plan
        self.seed = seed
        self.done = [0] * len(plan.script)
        self.active = bool(plan.rates or plan.script)

    def pick(self, number: int, body: bytes, digest: str, attempt: int, model: str) -> Fault | None:
        """The fault of this request: `number` over all, `attempt` (from 1) of this very body; None: none."""
        if not self.active:
            return None
        for i, entry in enumerate(self.plan.script):
            if self._fits(i, entry, number, body, model):
                self.done[i] += 1
                return entry
        return self._by_rate(digest, attempt)

    def _fits(self, index: int, entry: Fault, number: int, body: bytes, model: str) -> bool:
        if entry.at and not entry.at <= number <= max(entry.at, entry.until):
            return False
        if entry.model and entry.model != model:
            return False
        if entry.match and entry.match.encode() not in body:
            return False
        limit = entry.times or (1 if entry.at and not entry.until else 0)
        return not limit or self.done[index] < limit

    def _by_rate(self, digest: str, attempt: int) -> Fault | None:
        plan = self.plan
        wire, fixed = unit(self.seed, "wire", digest, attempt), unit(self.seed, "reply", digest)
        for name, rate in plan.rates.items():
            if name in WIRE:
                wire -= rate
                hit = wire < 0
            else:
                fixed -= rate
                hit = fixed < 0
            if hit:
                seconds = {"slow": plan.slow_s, "hang": plan.hang_s}.get(name, plan.retry_after_s)
                return Fault(fault=name, seconds=seconds)
        return None
