"""What a call costs: price tables are data, and an unknown price stays unknown (None), never zero."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from boostqa.errors import UserError
from boostqa.llm.config import ModelConfig, PeakPrices, Prices
from boostqa.llm.model import Usage

_FREE = Prices(input=0.0, output=0.0, currency="")


@cache
def price_table() -> dict[str, dict[str, Any]]:
    """The entries of `taxonomy/prices.yaml` by name."""
    import yaml

    text = resources.files("boostqa").joinpath("taxonomy/prices.yaml").read_text("utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return table


def _entry(name: str) -> Prices:
    fields = {key: value for key, value in price_table()[name].items() if key in Prices.model_fields}
    return Prices.model_validate(fields)


def prices_of(name: str, config: ModelConfig) -> Prices | None:
    """Prices of a model: from the recipe, else from the table by host and model id, else None (unknown).

    The embedded model costs nothing. Those of a model behind a Batch API are the share of the usual ones that
    `batch` says, and unknown where it says nothing.

    Raises:
        UserError: when the recipe names an entry that the table does not have.
    """
    found = _online_prices(name, config)
    if config.transport == "online" or found is None:
        return found
    return None if found.batch is None else _scaled(found, found.batch)


def _scaled(prices: Prices, share: float) -> Prices:
    def times(rates: Prices | PeakPrices) -> dict[str, float | None]:
        cached = None if rates.cached is None else rates.cached * share
        return {"input": rates.input * share, "cached": cached, "output": rates.output * share}

    peak = prices.peak and prices.peak.model_copy(update=times(prices.peak))
    return prices.model_copy(update={**times(prices), "peak": peak})


def _online_prices(name: str, config: ModelConfig) -> Prices | None:
    if isinstance(config.prices, Prices):
        return config.prices
    if isinstance(config.prices, str):
        if config.prices not in price_table():
            known = ", ".join(sorted(price_table()))
            raise UserError(
                f"models.{name}.prices: no entry {config.prices!r} in taxonomy/prices.yaml (there: {known}); "
                "name one of them or write the prices out"
            )
        return _entry(config.prices)
    if config.embedded:
        return _FREE
    hosts = {urlsplit(url).hostname for url in config.urls}
    for key, entry in price_table().items():
        if hosts == {entry["host"]} and entry["model"] == config.model_id:
            return _entry(key)
    return None


def rates_at(prices: Prices, when: float) -> Prices | PeakPrices:
    """The rates that hold at `when` (seconds since 1970 UTC)."""
    peak = prices.peak
    if peak is not None:
        moment = datetime.fromtimestamp(when, UTC)
        hour = moment.hour + moment.minute / 60 + moment.second / 3600
        if moment.weekday() in peak.days and any(start <= hour < end for start, end in peak.hours):
            return peak
    return prices


def cost(prices: Prices | None, usage: Usage, when: float) -> float | None:
    """Price of one answered call, None where the price or the token counts are unknown.

    Args:
        prices: of the model.
        usage: tokens as the provider counted them.
        when: when the call was sent, seconds since 1970 UTC.
    """
    if prices is None:
        return None
    rates = rates_at(prices, when)
    if rates.input == 0 and rates.output == 0:
        return 0.0
    if usage.prompt is None or usage.completion is None:
        return None
    cached = min(usage.cached or 0, usage.prompt)
    cached_rate = rates.input if rates.cached is None else rates.cached
    total = (usage.prompt - cached) * rates.input + cached * cached_rate + usage.completion * rates.output
    return total / 1e6


def upper_cost(prices: Prices | None, prompt: float, completion: float) -> float:
    """Most that a call can cost at any hour, nothing cached; 0 where the price is unknown."""
    if prices is None:
        return 0.0
    highest = prompt * prices.input + completion * prices.output
    if prices.peak is not None:
        highest = max(highest, prompt * prices.peak.input + completion * prices.peak.output)
    return highest / 1e6


def check_prices(configs: Mapping[str, ModelConfig], money: float | None) -> str:
    """Check that a money budget can be kept, before anything is paid; returns the common currency.

    Raises:
        UserError: when there is a money budget and a model without a price, or prices in two currencies.
    """
    found = {name: prices_of(name, config) for name, config in configs.items()}
    currencies = sorted({prices.currency for prices in found.values() if prices and prices.currency})
    if money is None:
        return currencies[0] if len(currencies) == 1 else ""
    for name, prices in found.items():
        if prices is None:
            raise UserError(
                f"budget.money = {money}: models.{name} ({configs[name].model_id}) has no known price, "
                f"so the budget could not be kept; give models.{name}.prices"
                f"{'.batch (see the docs)' if configs[name].transport == 'batch' else ''} or limit "
                "budget.tokens or budget.hours instead"
            )
    if len(currencies) > 1:
        raise UserError(
            f"budget.money = {money}: the models' prices are in {' and '.join(currencies)}; "
            "state them all in one currency"
        )
    return currencies[0] if currencies else ""
