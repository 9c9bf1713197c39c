"""Numbers of a running session in the Prometheus text format, on request and on 127.0.0.1 alone.

All counters are of this session and begin at 0. What is not known (the cost where a price is missing) is left out,
never 0. Names and labels stand in docs/llm.md. Knows the executor and the schedule; changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from boostqa import __version__
from boostqa.errors import UserError
from boostqa.llm.budget import Amount, Governor
from boostqa.llm.lines import Totals
from boostqa.run import Run
from boostqa.runner import Progress
from boostqa.schedule import Schedule
from boostqa.shard import Counts

if TYPE_CHECKING:
    from aiohttp import web

NAMES = {
    "boostqa_info": "gauge",
    "boostqa_requests_total": "counter",
    "boostqa_answers_total": "counter",
    "boostqa_failures_total": "counter",
    "boostqa_tokens_total": "counter",
    "boostqa_cost_total": "counter",
    "boostqa_unpriced_answers_total": "counter",
    "boostqa_lost_cost_total": "counter",
    "boostqa_call_seconds_total": "counter",
    "boostqa_in_flight": "gauge",
    "boostqa_limit": "gauge",
    "boostqa_limit_cap": "gauge",
    "boostqa_limit_cuts_total": "counter",
    "boostqa_throttled_total": "counter",
    "boostqa_breaker_open": "gauge",
    "boostqa_records_total": "counter",
    "boostqa_shards": "gauge",
    "boostqa_kept_records_total": "counter",
    "boostqa_budget_spent": "gauge",
    "boostqa_budget_limit": "gauge",
}
"""Every metric with its type."""
Sample = tuple[str, dict[str, str], float]


class Watched:
    """A `Progress` that passes everything on and remembers what the metrics need."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.executor: Any = None
        self.spent = Amount()
        self.run = ""
        self.kept: dict[tuple[str, str], int] = {}
        self.part = ""
        self.schedule: Schedule | None = None

    def begin(self, run: Run, executor: Any, spent: Amount) -> None:
        """See `Progress.begin`."""
        self.run, self.executor, self.spent = run.root.name, executor, spent
        self._progress.begin(run, executor, spent)

    def segment(self, name: str, schedule: Schedule) -> None:
        """See `Progress.segment`."""
        self.part, self.schedule = name, schedule
        self._progress.segment(name, schedule)

    def entry(self, segment: str, name: str, counts: Counts) -> None:
        """See `Progress.entry`."""
        self.kept[segment, name] = counts.kept
        self._progress.entry(segment, name, counts)


def samples(watched: Watched, governor: Governor) -> Iterator[Sample]:
    """(name, labels, value) of every number at this moment."""
    yield "boostqa_info", {"version": __version__, "run": watched.run}, 1
    if watched.executor is not None:
        load = watched.executor.load
        for model, totals in sorted(load.models.items()):
            yield from _model(model, totals)
        for place in load.endpoints:
            labels = {"url": place.url, "model": place.model}
            yield "boostqa_in_flight", labels, place.in_flight
            yield "boostqa_limit", labels, place.limit
            yield "boostqa_limit_cap", labels, place.cap
            yield "boostqa_limit_cuts_total", labels, place.cuts
            yield "boostqa_throttled_total", labels, place.throttled
            yield "boostqa_breaker_open", labels, place.open
        usage = watched.executor.usage
        yield "boostqa_records_total", {}, usage.records
        spent = watched.spent + usage.amount
        if governor.limits.money is not None:  # else prices may be unknown, or in several currencies
            yield "boostqa_budget_spent", {"kind": "money"}, spent.money
        yield "boostqa_budget_spent", {"kind": "tokens"}, spent.tokens
        yield "boostqa_budget_spent", {"kind": "requests"}, spent.requests
        yield "boostqa_budget_spent", {"kind": "hours"}, governor.hours
    if watched.schedule is not None:
        for entry, done, known in watched.schedule.progress():
            labels = {"segment": watched.part, "entry": entry}
            yield "boostqa_shards", labels | {"state": "done"}, done
            yield "boostqa_shards", labels | {"state": "known"}, known
    for (segment, entry), count in watched.kept.items():
        yield "boostqa_kept_records_total", {"segment": segment, "entry": entry}, count
    for kind in ("money", "tokens", "requests", "hours"):
        limit = getattr(governor.limits, kind)
        if limit is not None:
            yield "boostqa_budget_limit", {"kind": kind}, limit


def _model(name: str, totals: Totals) -> Iterator[Sample]:
    labels = {"model": name}
    yield "boostqa_requests_total", labels, totals.requests
    yield "boostqa_answers_total", labels, totals.answers
    yield "boostqa_failures_total", labels, totals.errors
    for kind in ("prompt", "cached", "completion", "reasoning"):
        yield "boostqa_tokens_total", labels | {"kind": kind}, getattr(totals, kind)
    currency = {"currency": totals.currency}
    priced = bool(totals.currency or totals.answers)  # before the first answer nothing is known of prices
    if priced and totals.cost is not None:
        yield "boostqa_cost_total", labels | currency, totals.cost
    yield "boostqa_unpriced_answers_total", labels, totals.unpriced
    if priced and not totals.unpriced and totals.lost_cost is not None:
        yield "boostqa_lost_cost_total", labels | currency, totals.lost_cost
    yield "boostqa_call_seconds_total", labels, totals.seconds


def text(found: Iterator[Sample]) -> str:
    """Samples in the text exposition format 0.0.4, those of one name together."""
    by_name: dict[str, list[str]] = {name: [] for name in NAMES}
    for name, labels, value in found:
        inner = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        by_name[name].append(
            f"{name}{{{inner}}} {float(value):.10g}" if inner else f"{name} {float(value):.10g}"
        )
    parts = []
    for name, lines in by_name.items():
        if lines:
            parts += [f"# TYPE {name} {NAMES[name]}", *lines]
    return "\n".join(parts) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@asynccontextmanager
async def serving(port: int, watched: Watched, governor: Governor) -> AsyncIterator[str]:
    """Serves `GET /metrics` on 127.0.0.1 while the context lasts; gives the address. `port` 0 takes a free one.

    Raises:
        UserError: when the port is in use.
    """
    from aiohttp import web

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "GET" or request.path != "/metrics":
            return web.Response(status=404, text="GET /metrics is all there is\n")
        body = text(samples(watched, governor)).encode()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            raise UserError(
                f"--metrics {port}: {error.strerror}; give another port, or 0 for a free one"
            ) from error
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()
