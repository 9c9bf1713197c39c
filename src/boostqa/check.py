"""Checks of a whole recipe against the world: files, keys, endpoints; for `boostqa check` and before a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from boostqa.errors import UserError
from boostqa.llm.check import Findings, probe_endpoint, reach_endpoint
from boostqa.llm.clients import Address
from boostqa.llm.config import ModelConfig
from boostqa.llm.prices import prices_of
from boostqa.recipe import Recipe, load


def models_in_use(recipe: Recipe) -> dict[str, ModelConfig]:
    """The models that have a role; others are not asked."""
    names = {name for role in type(recipe.roles).model_fields for name in recipe.roles.of(role)}
    return {name: config for name, config in recipe.models.items() if name in names}


async def preflight(recipe: Recipe, addresses: Mapping[str, Address]) -> None:
    """Before the first paid request: every endpoint answers, takes its key and knows its model.

    Raises:
        UserError: naming the entry of `models`, the address, what it said, and the remedy.
    """
    models = models_in_use(recipe)
    if recipe.budget.money is not None:
        unpriced = [name for name, config in models.items() if prices_of(name, config) is None]
        if unpriced:
            raise UserError(
                f"budget.money is set, but models.{unpriced[0]} has no known price; give models.{unpriced[0]}.prices "
                "or use budget.tokens instead"
            )
    found = await asyncio.gather(*(reach_endpoint(n, c, address=addresses.get(n)) for n, c in models.items()))
    for findings in [one for group in found for one in group]:
        findings.raise_for_errors()


def check_recipe(path: Path, *, as_json: bool) -> int:
    """Validates a recipe and asks every endpoint in use a few tiny questions; prints a table.

    Returns:
        0 when the recipe can be run, 2 when some endpoint cannot be used as the recipe says.
    """
    import msgspec

    from boostqa.runner import check_files
    from boostqa.session import start_embedded

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
    models = models_in_use(recipe)
    groups = await asyncio.gather(*(probe_endpoint(n, c, address=addresses.get(n)) for n, c in models.items()))
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
