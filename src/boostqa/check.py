"""Checks of a whole recipe against the world: files, keys, endpoints; for `boostqa check` and before a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from boostqa.llm import embedded
from boostqa.llm.check import Findings, probe_endpoint, reach_endpoint
from boostqa.llm.clients import Address
from boostqa.llm.prices import check_prices
from boostqa.pipeline import PIPELINE
from boostqa.recipe import Recipe, load


async def preflight(recipe: Recipe, addresses: Mapping[str, Address]) -> str:
    """Before the first paid request: every endpoint answers, takes its key and knows its model.

    Returns:
        The currency that the prices of the models in use share; empty where there is none.

    Raises:
        UserError: naming the entry of `models`, the address, what it said, and the remedy; also when a budget of
            money could not be kept (`check_prices`).
    """
    models = recipe.models_in_use()
    currency = check_prices(models, recipe.budget.money)
    found = await asyncio.gather(*(reach_endpoint(n, c, address=addresses.get(n)) for n, c in models.items()))
    for findings in [one for group in found for one in group]:
        findings.raise_for_errors()
    return currency


def start_embedded(recipe: Recipe, stack: ExitStack) -> dict[str, Address]:
    """Starts one server per embedded model in use; `stack` stops them. Addresses by model name."""
    started: dict[tuple[str | None, str], Address] = {}
    addresses = {}
    for name, model in recipe.models_in_use().items():
        if model.embedded:
            place = (model.model_path, model.model_id)
            if place not in started:
                server = stack.enter_context(embedded.serve(model.model_path, alias=model.model_id))
                started[place] = Address(server.url, server.api_key)
            addresses[name] = started[place]
    return addresses


def check_files(recipe: Recipe) -> None:
    """Checks everything about stages that can be known before the first paid request.

    Raises:
        UserError: a missing file, an unknown label, a licence that is not allowed, ... (each stage's `check`).
    """
    for stage in dict.fromkeys(entry.stage for entry in PIPELINE):
        recipe.stage(stage).check()


def check_recipe(path: Path, *, as_json: bool) -> int:
    """Validates a recipe and asks every endpoint in use a few tiny questions; prints a table.

    Returns:
        0 when the recipe can be run, 2 when some endpoint cannot be used as the recipe says.
    """
    recipe = load(path)
    check_files(recipe)
    with ExitStack() as stack:
        addresses = start_embedded(recipe, stack)
        findings = asyncio.run(_probe_all(recipe, addresses))
    if as_json:
        print(msgspec.json.encode(findings).decode())
    else:
        _print(findings)
    return 2 if any(row.level == "error" for found in findings for row in found.rows) else 0


async def _probe_all(recipe: Recipe, addresses: Mapping[str, Address]) -> list[Findings]:
    models = recipe.models_in_use()
    groups = await asyncio.gather(
        *(probe_endpoint(n, c, address=addresses.get(n)) for n, c in models.items())
    )
    return [found for group in groups for found in group]


def _print(findings: list[Findings]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("model", "what", "", "detail"):
        table.add_column(title)
    for found in findings:
        for place, row in enumerate(found.rows):
            table.add_row(found.name if place == 0 else "", row.what, row.level, row.detail)
    Console(highlight=False, markup=False).print(table)
