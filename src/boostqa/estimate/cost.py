"""From projected calls to money, hours and disk: the guesses that this needs, and plain arithmetic.

Knows nothing of stages, seeds or where the calls come from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from boostqa.estimate.projection import Calls
from boostqa.estimate.spans import Span, words
from boostqa.llm.config import ModelConfig, PeakPrices, Prices
from boostqa.llm.prices import prices_of
from boostqa.llm.replicas import addresses

SPEED = Span(60, 30, 15)
"""Guess: generated tokens per second of one call, best case first."""
BATCH_HOURS = Span(0.2, 2.0, 24.0)
"""Guess: hours from sending a batch to its answers; providers promise 24."""
IN_A_ROW = Span(1.0, 2.0, 4.0)
"""Guess: batches of one stage and round that wait for each other, since a flow asks one thing after another."""
IN_FLIGHT = Span(0.9, 0.6, 0.25)
"""Guess: share of the calls that `concurrency` allows which really are in flight."""
SPEED_EMBEDDED = Span(180, 120, 40)
"""Guess: tokens per second that the embedded model generates, all calls together; best case first."""
READ_EMBEDDED = Span(600, 300, 120)
"""Guess: prompt tokens per second that the embedded model reads, beyond those it has read before."""
LEDGER_IN, LEDGER_OUT = Span(0.1, 0.4, 1.5), Span(1.0, 1.6, 2.5)
"""Guess: bytes of ledger per prompt token (prompts repeat) and per generated token."""
TABLES = Span(4_000, 10_000, 30_000)
"""Guess: bytes of work tables per task, over all stages."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an estimate. Spans are [at least, most likely, at most]."""

    stage: str
    role: str
    model: str
    task: str
    requests: Span
    prompt_tokens: Span
    completion_tokens: Span
    money: Span | None
    """In `currency`; None: the price is not known."""
    currency: str


def priced(calls: Calls, config: ModelConfig) -> Amount:
    """The sums of some calls, with what they cost.

    At least: the shared beginning of the prompts is cached, and the cheaper hours. Most likely: cached, and
    the hours of the week evenly. At most: nothing is cached, and the dearer hours.

    Raises:
        UserError: when the recipe names a price that the table does not have.
    """
    prices = prices_of(calls.model, config)
    completion = calls.requests.times(calls.completion)
    money = None
    if prices is not None:
        rates = [_rates(prices, end) for end in range(3)]
        cached = (calls.shared, calls.shared, 0.0)
        money = Span(
            *(
                calls.requests[end] * ((calls.prompt - cached[end]) * rate[0] + cached[end] * rate[1]) / 1e6
                + completion[end] * rate[2] / 1e6
                for end, rate in enumerate(rates)
            )
        )
    return Amount(
        stage=calls.stage,
        role=calls.role,
        model=calls.model,
        task=calls.task,
        requests=calls.requests,
        prompt_tokens=calls.requests.times(calls.prompt),
        completion_tokens=completion,
        money=money,
        currency=prices.currency if prices else "",
    )


def _rates(prices: Prices, end: int) -> tuple[float, float, float]:
    """(input, cached input, output) per million tokens, for the end 0, 1 or 2 of an interval."""

    def three(rates: Prices | PeakPrices) -> tuple[float, float, float]:
        return rates.input, rates.input if rates.cached is None else rates.cached, rates.output

    usual = three(prices)
    if prices.peak is None:
        return usual
    peak = three(prices.peak)
    hours_a_day = sum(stop - start for start, stop in prices.peak.hours)
    share = hours_a_day * len(set(prices.peak.days)) / (24 * 7)
    mixed = [low * (1 - share) + high * share for low, high in zip(usual, peak, strict=True)]
    pick = (min, None, max)[end]
    if pick is None:
        return mixed[0], mixed[1], mixed[2]
    return pick(usual[0], peak[0]), pick(usual[1], peak[1]), pick(usual[2], peak[2])


def hours(calls: Sequence[Calls], models: Mapping[str, ModelConfig], rounds: Span) -> Span:
    """Wall time in hours. At most: the models work one after another. Else: as long as the busiest one.

    On top comes what no concurrency can shorten: in every round the stages' slowest calls, one after another;
    with a Batch API a few batches for each of them.
    """
    busy: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for one in calls:
        config = models[one.model]
        # All embedded models of a recipe share this machine.
        name = "embedded" if config.embedded else one.model
        for end in range(3):
            busy[name][end] += _seconds(one, config, end)
    slowest: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for one in calls:
        for end in range(3):
            seconds = one.completion[end] / SPEED[end] * rounds[end]
            if models[one.model].transport == "batch":
                seconds = BATCH_HOURS[end] * IN_A_ROW[end] * 3600 * rounds[end]
            slowest[one.stage][end] = max(slowest[one.stage][end], seconds)
    tail = [sum(seconds[end] for seconds in slowest.values()) for end in range(3)]
    most = [max((seconds[end] for seconds in busy.values()), default=0.0) for end in range(3)]
    most[2] = sum(seconds[2] for seconds in busy.values())
    return Span(*((most[end] + tail[end]) / 3600 for end in range(3)))


def _seconds(calls: Calls, config: ModelConfig, end: int) -> float:
    number, generated = calls.requests[end], calls.requests[end] * calls.completion[end]
    if config.transport == "batch":
        return 0.0  # however many there are, they take as long as a batch does: see `hours`
    if config.embedded:
        return generated / SPEED_EMBEDDED[end] + number * (calls.prompt - calls.shared) / READ_EMBEDDED[end]
    in_flight = max(1.0, config.concurrency * len(addresses(calls.model, config)) * IN_FLIGHT[end])
    seconds = generated / SPEED[end] / min(in_flight, max(1.0, number))
    if config.rpm:
        seconds = max(seconds, number / config.rpm * 60)
    if config.tpm:
        seconds = max(seconds, (number * calls.prompt + generated) / config.tpm * 60)
    return seconds


def bytes_on_disk(calls: Sequence[Calls], tasks: Span, free: int) -> Span:
    """Ledger and work tables of a run; `free` is what the free stages have written, in bytes."""
    total = Span.of(float(free)).plus(tasks.times(TABLES))
    for one in calls:
        prompts, replies = one.requests.times(one.prompt), one.requests.times(one.completion)
        total = total.plus(prompts.times(LEDGER_IN)).plus(replies.times(LEDGER_OUT))
    return total


def assumptions() -> list[str]:
    """The guesses of this module as sentences for people."""
    ledger = f"{words(LEDGER_IN)} bytes of ledger per prompt token, {words(LEDGER_OUT)} per generated token"
    return [
        f"guess: {words(SPEED)} generated tokens/s of one call, {words(IN_FLIGHT)} of the allowed calls",
        f"guess: the embedded model writes {words(SPEED_EMBEDDED)}, reads {words(READ_EMBEDDED)} tokens/s",
        f"guess, with `transport: batch`: {words(BATCH_HOURS)} hours per batch, {words(IN_A_ROW)} in a row "
        "per stage and round",
        "money: at least with the prompts' shared beginning cached and in the cheaper hours, at most with "
        "nothing cached and in the dearer hours",
        f"disk: {ledger}; {words(TABLES.times(1e-3))} kB of tables per task",
    ]
