"""Checks of a whole recipe against the world: files, keys, endpoints; for `boostqa check` and before a run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import msgspec

from boostqa.errors import BudgetStop, ProviderStop, UserError
from boostqa.identity import digest
from boostqa.llm import embedded
from boostqa.llm.budget import Account, Ask, Governor, Grant
from boostqa.llm.check import probe_endpoint, reach_endpoint
from boostqa.llm.client import Client, abilities_of
from boostqa.llm.clients import Address, Clients
from boostqa.llm.config import ModelConfig
from boostqa.llm.dialects import BodyError
from boostqa.llm.index import Index, index_path
from boostqa.llm.leases import Meter, meter_path
from boostqa.llm.ledger import LedgerWriter, current_journal
from boostqa.llm.lines import RawReply
from boostqa.llm.model import Abilities, Request
from boostqa.llm.prices import check_prices
from boostqa.llm.trial import REFUSED, TIMEOUT_S, Findings, Trial, try_out
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

    What was found is noted in run.json. It holds for starts of the same day (UTC) until one ends with exit code 2 or 4,
    and for as long as the budget has no room to try again. Not asked are the embedded model, which is known, and those
    behind a Batch API, whose answers would take hours.

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
        Stop: as any call; ProviderStop also when a call fails for reasons that may pass.
    """
    models = _tried_out(recipe, roles)
    for name in recipe.roles.of("target"):
        needs(name, abilities_of(recipe.models[name]), recipe.probe.methods)
    noted = _noted(recipe, run, models)
    found = {name: note.abilities for name, note in noted.items()}
    due = {name: models[name] for name in models if name not in noted or noted[name].turn != _turn(run)}
    new: dict[str, Abilities] = {}
    if due:
        some = f"{len(due)} endpoint{'s' if len(due) > 1 else ''}"
        print(f"trying out {some} ({', '.join(due)})", file=sys.stderr, flush=True)
        try:
            new = await _try_all(recipe, run, governor, addresses, due)
        except BudgetStop:  # perhaps nothing need be paid any more
            if any(name not in noted for name in due):
                raise
    found |= new
    for name in recipe.roles.of("target"):
        if name in found:
            needs(name, found[name], recipe.probe.methods)
    _note(recipe, run, noted, new)
    return found


class _Note(msgspec.Struct, frozen=True):
    """What was found about an endpoint, as noted in run.json."""

    about: str
    """Hash of what was tried out, and under which settings."""
    turn: str
    abilities: Abilities


def _turn(run: Run) -> str:
    """For how long a note holds: the day, and how many sessions ended as they do where an endpoint is to blame."""
    sessions = run.info["sessions"]
    day = sessions[-1]["start"][:10] if sessions else ""
    return f"{day} {sum(session.get('exit') in {2, 4} for session in sessions)}"


def _noted(recipe: Recipe, run: Run, names: Iterable[str]) -> dict[str, _Note]:
    notes = msgspec.convert(run.info.get("endpoints", {}), dict[str, _Note])
    return {
        name: notes[name] for name in names if name in notes and notes[name].about == _about(recipe, name)
    }


def _note(recipe: Recipe, run: Run, noted: Mapping[str, _Note], found: Mapping[str, Abilities]) -> None:
    """Note what was found now, and say what is not as before: the target may now be asked in another way."""
    for name in found.keys() & noted.keys():
        old, new = msgspec.structs.asdict(noted[name].abilities), msgspec.structs.asdict(found[name])
        changed = [f"{key}: {old[key]} -> {new[key]}" for key in old if old[key] != new[key]]
        if changed:
            print(
                f"models.{name}: the endpoint has changed: {', '.join(changed)}", file=sys.stderr, flush=True
            )
    notes = {name: _Note(_about(recipe, name), _turn(run), able) for name, able in found.items()}
    if notes:
        run.info["endpoints"] = run.info.get("endpoints", {}) | msgspec.to_builtins(notes)
        run.save()


def _about(recipe: Recipe, name: str) -> str:
    config = recipe.models[name]
    return digest(
        [config.base_url, config.replicas, config.identity(), _wanted(recipe, name), _limited(recipe)]
    )


def _tried_out(recipe: Recipe, roles: Collection[str] | None) -> dict[str, ModelConfig]:
    return {
        name: config
        for name, config in recipe.models_in_use(roles).items()
        if not config.embedded and config.transport == "online"
    }


def _wanted(recipe: Recipe, name: str) -> list[str]:
    wanted = ["chat", "limit", "json_schema"]
    if name in recipe.roles.of("target"):
        wanted += ["logprobs", "score"] if recipe.models[name].chat else ["complete", "score"]
    return wanted


def _limited(recipe: Recipe) -> bool:
    """Whether there is a budget that rests on the limit of tokens."""
    return recipe.budget.money is not None or recipe.budget.tokens is not None


async def _try_all(
    recipe: Recipe,
    run: Run,
    governor: Governor,
    addresses: Mapping[str, Address],
    models: Mapping[str, ModelConfig],
) -> dict[str, Abilities]:
    async def ask_governor(message: Ask) -> Grant:
        return governor.ask(message)

    hasty = {
        name: config.model_copy(update={"timeout": min(config.timeout, TIMEOUT_S)})
        for name, config in models.items()
    }
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(LedgerWriter())
        index = Index(index_path(run.root))
        stack.callback(index.close)
        account, place = Account("worker-check", ask_governor), meter_path(run.root, "worker-check")
        stack.push_async_callback(account.close)
        if place is not None:
            account.meter = Meter(place)
            stack.callback(account.meter.close)
        clients = await stack.enter_async_context(Clients(hasty, account=account, addresses=addresses))
        journal = writer.open(run.root, ("start", "check", "try"), "all", index)
        stack.push_async_callback(journal.close)
        token = current_journal.set(journal)
        stack.callback(current_journal.reset, token)
        found = await _all_or_none([_tried(recipe, run, name, clients.model(name)) for name in models])
    return dict(zip(models, found, strict=True))


async def _all_or_none(works: Iterable[Coroutine[Any, Any, Abilities]]) -> list[Abilities]:
    """All results, or the first error, once the others have ended and booked what they had sent."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()  # nothing, where it is done
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tried(recipe: Recipe, run: Run, name: str, client: Client) -> Abilities:
    config = recipe.models[name]
    about, turn = _about(recipe, name), _turn(run)

    async def ask(kind: str, request: Request, abilities: Abilities) -> RawReply:
        # In the key: another server or way to ask may answer otherwise, and the same one another day.
        mark = f"check {digest([about, turn, list(abilities.unsent)])}"
        try:
            return await client.try_once(kind, msgspec.structs.replace(request, attempt=mark), abilities)
        except BodyError as error:
            if _may_pass(kind, str(error)):
                raise ProviderStop(
                    f"{error}; what the endpoint obeys cannot be found out; see to it and run the same command again"
                ) from error
            raise

    trial = Trial(name, ", ".join(config.urls) or str(config.replicas), config, ask)
    found = await try_out(trial, _wanted(recipe, name))
    found.raise_for_errors("chat", *(["limit"] if _limited(recipe) else []))
    return found.abilities


def _may_pass(kind: str, said: str) -> bool:
    """Whether a call was given up for what may pass; an endpoint that has no completions may say so with status 200."""
    return (
        "; given up after" in said
        and not REFUSED.search(said)
        and (kind == "chat" or ": answered " not in said)
    )


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


def start_embedded(
    recipe: Recipe, stack: ExitStack, roles: Collection[str] | None = None
) -> dict[str, Address]:
    """Starts one server per embedded model that one of `roles` (None: all) uses; `stack` stops them.

    Returns:
        Addresses by model name.
    """
    started: dict[tuple[str | None, str], Address] = {}
    addresses = {}
    for name, model in recipe.models_in_use(roles).items():
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
