"""Checks of a whole recipe against the world: files, keys, endpoints; for `boostqa check` and before a run."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import msgspec

from boostqa.errors import UserError
from boostqa.identity import digest
from boostqa.llm import embedded
from boostqa.llm.budget import Account, Ask, Governor, Grant
from boostqa.llm.check import probe_endpoint, reach_endpoint
from boostqa.llm.client import Client, abilities_of
from boostqa.llm.clients import Address, Clients
from boostqa.llm.index import Index, index_path
from boostqa.llm.leases import Meter, meter_path
from boostqa.llm.ledger import LedgerWriter, current_journal
from boostqa.llm.lines import RawReply
from boostqa.llm.model import Abilities, Request
from boostqa.llm.prices import check_prices
from boostqa.llm.trial import Findings, Trial, try_out
from boostqa.pipeline import PIPELINE
from boostqa.recipe import Recipe, load
from boostqa.run import Run


async def preflight(
    recipe: Recipe, addresses: Mapping[str, Address], roles: Collection[str] | None = None
) -> str:
    """Before the first paid request: every endpoint answers, takes its key and knows its model.

    Args:
        recipe: of the run.
        addresses: of what was started for it.
        roles: that will be asked; None: all.

    Returns:
        The currency that the prices of the models in use share; empty where there is none.

    Raises:
        UserError: naming the entry of `models`, the address, what it said, and the remedy; also when a budget of
            money could not be kept (`check_prices`).
    """
    models = recipe.models_in_use(roles)
    currency = check_prices(models, recipe.budget.money)
    found = await asyncio.gather(*(reach_endpoint(n, c, address=addresses.get(n)) for n, c in models.items()))
    for findings in [one for group in found for one in group]:
        findings.raise_for_errors()
    return currency


async def learn(
    recipe: Recipe,
    run: Run,
    governor: Governor,
    addresses: Mapping[str, Address],
    roles: Collection[str] | None = None,
) -> dict[str, Abilities]:
    """What the endpoints of a run obey, found out with a few tiny calls each, which go through ledger and budget.

    The next start finds the answers in the ledger and pays nothing. Not asked are the embedded model, which is known,
    and those behind a Batch API, whose answers would take hours.

    Args:
        recipe: of the run.
        run: whose ledger it is.
        governor: of its budgets.
        addresses: of what was started for it.
        roles: that will be asked; None: all.

    Returns:
        Abilities by name in `models`.

    Raises:
        UserError: when an endpoint refuses every chat, ignores the limit of tokens under a budget that rests on it, or
            cannot do what a stage needs of it.
        Stop: as any call.
    """
    models = {
        name: config
        for name, config in recipe.models_in_use(roles).items()
        if not config.embedded and config.transport == "online"
    }

    for name in recipe.roles.of("target"):
        needs(name, abilities_of(recipe.models[name]), recipe.probe.methods)

    async def ask_governor(message: Ask) -> Grant:
        return governor.ask(message)

    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(LedgerWriter())
        index = Index(index_path(run.root))
        stack.callback(index.close)
        account, place = Account("worker-check", ask_governor), meter_path(run.root, "worker-check")
        stack.push_async_callback(account.close)
        if place is not None:
            account.meter = Meter(place)
            stack.callback(account.meter.close)
        clients = await stack.enter_async_context(Clients(models, account=account, addresses=addresses))
        journal = writer.open(run.root, ("start", "check", "try"), "all", index)
        stack.push_async_callback(journal.close)
        current_journal.set(journal)
        found = await asyncio.gather(*(_tried(recipe, name, clients.model(name)) for name in models))
    return dict(zip(models, found, strict=True))


async def _tried(recipe: Recipe, name: str, client: Client) -> Abilities:
    config, budget = recipe.models[name], recipe.budget
    # In the key, since another server, or another way to ask, may answer otherwise.
    about = digest([config.base_url, config.replicas, config.dialect_name, config.json_mode])

    async def ask(kind: str, request: Request, abilities: Abilities) -> RawReply:
        mark = f"check {digest([about, list(abilities.unsent)])}"
        return await client.try_once(kind, msgspec.structs.replace(request, attempt=mark), abilities)

    trial = Trial(name, ", ".join(config.urls) or str(config.replicas), config, ask)
    wanted = ["chat", "limit", "json_schema"]
    if name in recipe.roles.of("target"):
        wanted += ["logprobs", "score"] if config.chat else ["complete", "score"]
    found = await try_out(trial, wanted)
    found.raise_for_errors(
        "chat", *(["limit"] if budget.money is not None or budget.tokens is not None else [])
    )
    if name in recipe.roles.of("target"):
        needs(name, found.abilities, recipe.probe.methods)
    return found.abilities


def needs(name: str, able: Abilities, methods: Collection[str]) -> None:
    """Whether the target can be asked in one of the ways that `probe.methods` allows.

    Raises:
        UserError: when it cannot.
    """
    possible = {
        "likelihood": able.score,
        "choice": able.chat and able.logprobs,
        "generate": able.chat or able.complete,
    }
    if not any(possible[method] for method in methods):
        can = ", ".join(method for method, yes in possible.items() if yes) or "none"
        raise UserError(
            f"probe.methods: {', '.join(methods)}, but the endpoint of models.{name} can do none of it "
            f"(it can: {can}); allow another method, or serve the target with a server that can"
        )


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
    for one in findings:
        if one.name in recipe.roles.of("target"):
            try:
                needs(one.name, one.abilities, recipe.probe.methods)
            except UserError as error:
                one.add("probe", "error", str(error))
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
