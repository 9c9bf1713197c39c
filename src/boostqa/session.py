"""One session on a run folder: checks, lock, embedded server, budgets, executor, signals, and the ending.

This is what `boostqa run` does; the command line only parses its words and prints what comes out.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from boostqa.check import check_files, learn, preflight, start_embedded
from boostqa.child import Setup, event_loop
from boostqa.errors import BoostQAError, Interrupted, UserError
from boostqa.executor import LocalExecutor, ProcessExecutor
from boostqa.identity import digest_bytes
from boostqa.llm.batch_state import Store, batch_folder, sweep
from boostqa.llm.budget import Amount, Governor, Limits
from boostqa.llm.clients import Address, Batches, check_batches
from boostqa.llm.index import index_run
from boostqa.llm.leases import begin
from boostqa.llm.ledger_files import spent
from boostqa.metrics import Watched, serving
from boostqa.pipeline import entries
from boostqa.recipe import Recipe, dump, load
from boostqa.redo import check_stage, redo, redo_scope
from boostqa.run import Run
from boostqa.runner import Progress, Runner, Silent
from boostqa.view import entry_folder

T = TypeVar("T")
STOP_SECONDS = 3.0
"""After Ctrl-C: how long records in work may finish; with the clean-up this stays below 5 s."""


@dataclass(frozen=True)
class Options:
    """What the command line adds to a recipe."""

    out: Path
    until: str | None = None
    redo: str | None = None
    plan: Path | None = None
    reuse: list[Path] = field(default_factory=list)
    workers: int = 1
    metrics: int | None = None
    """Port for Prometheus; 0 takes a free one."""


def run_session(recipe_path: Path, options: Options, progress: Progress) -> Run:
    """Starts, resumes or grows a run; returns when it is complete (or complete up to `until`).

    Raises:
        UserError: before anything was paid, but for the few tiny calls that try the endpoints out. Stop: later,
            resumable. See `errors.py`.
    """
    recipe, plan_mark = _recipe(recipe_path, options)
    check_files(recipe)
    run = Run(options.out)
    with run.lock():
        run = _open(options.out)
        scope = redo_scope(run, options.redo) if options.redo else []
        if plan_mark:
            scope = scope or _replan_scope(run, plan_mark)
        runner = Runner(recipe, run, progress)
        runner.accept_recipe(scope)
        with _session(run), ExitStack() as stack:
            if scope or not runner.idle(options.until):
                roles = runner.roles(options.until)
                addresses = start_embedded(recipe, stack, roles)
                currency = event_loop(preflight(recipe, addresses, roles))
                runner.plan_mark = plan_mark
                limits = Limits(**recipe.budget.model_dump(), currency=currency)
                event_loop(_run(runner, options, addresses, limits, scope))
    return run


def _recipe(path: Path, options: Options) -> tuple[Recipe, str]:
    """The recipe with the command line's additions, all checked, and the mark of an edited plan."""
    recipe = load(path)
    if options.until:
        check_stage("--until", options.until)
    for other in options.reuse:
        Run.open(other)
    if options.plan is None:
        return recipe, ""
    if not options.plan.is_file():
        raise UserError(
            f"--plan {options.plan}: no such file; a round's plan stands in its folder as plan.csv"
        )
    plan = recipe.plan.model_copy(update={"edited": str(options.plan.resolve())})
    return recipe.model_copy(update={"plan": plan}), digest_bytes(options.plan.read_bytes())


def _open(root: Path) -> Run:
    """The run in `root`, swept, or a new one.

    Raises:
        UserError: when the folder holds something that is not a run: a run must not touch it.
    """
    if (root / "run.json").exists():
        run = Run.open(root)
        run.sweep()
        return run
    # A kill during the very first write leaves a file of ours.
    strangers = sorted(
        p.name for p in root.iterdir() if not fnmatch(p.name, ".run.json.*.tmp") and p.name != ".lock"
    )
    if strangers:
        raise UserError(
            f"--out {root}: holds {strangers[0]!r} but no run.json; give an empty or a new folder"
        )
    return Run(root)


def _replan_scope(run: Run, mark: str) -> list[str]:
    """What an edited plan replaces: the plan of the latest round, if nothing was made from it yet.

    Raises:
        UserError: when the round is being made from another plan.
    """
    rounds = [segment for segment in run.segments if segment["name"].startswith("round-")]
    if not rounds or rounds[-1].get("plan") == mark:
        return []
    name = rounds[-1]["name"]
    folders = {entry.name: entry_folder(run, name, entry) for entry in entries("round")}
    last = list(folders.values())[-1]
    if last.manifest() is not None or folders["plan"].manifest() is None:
        return []
    if any((run.root / "ledger" / name).glob("synthesize/*/*")):
        raise UserError(
            f"--plan: {name} is being made from another plan already; finish it (the edited plan then serves the "
            "next round), or add --redo plan"
        )
    return [f"{name}/{entry}" for entry in folders]


@contextmanager
def _session(run: Run) -> Iterator[None]:
    """Notes start and end in run.json, whatever happens."""
    run.begin_session(sys.argv[:1] and [Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        yield
    except BaseException as error:
        with suppress(BoostQAError, OSError):  # a full disk must not hide why the session ended
            run.end_session(_exit_code(error), str(error))
        raise
    run.end_session(0)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, BoostQAError):
        return error.exit_code
    return Interrupted.exit_code if isinstance(error, KeyboardInterrupt) else 1


async def _run(
    runner: Runner,
    options: Options,
    addresses: dict[str, Address],
    limits: Limits,
    scope: list[str],
) -> None:
    recipe, run, progress = runner.recipe, runner.run, runner.progress
    roles = runner.roles(options.until)
    governor = _governor(recipe, run, options, limits, roles)
    found = await _stoppable(learn(recipe, run, governor, addresses, roles), lambda task: task.cancel())
    if scope:  # only now, since nothing that refuses the start comes after it
        redo(run, scope)
    run.write_recipe(dump(recipe))
    setup = Setup(
        root=str(run.root),
        recipe=recipe.model_dump(mode="json"),
        roles=sorted(roles),
        addresses=addresses,
        abilities=found,
    )
    executor = (
        ProcessExecutor(setup, governor, options.workers)
        if options.workers > 1
        else LocalExecutor(setup, governor)
    )
    async with AsyncExitStack() as stack:
        if options.metrics is not None:
            progress = watched = Watched(progress)
            runner.progress = watched
            url = await stack.enter_async_context(serving(options.metrics, watched, governor))
            print(f"metrics at {url}", file=sys.stderr, flush=True)
        await stack.enter_async_context(executor)
        progress.begin(run, executor, governor.spent)

        def drain(main: asyncio.Future[None]) -> None:
            executor.drain()
            asyncio.get_running_loop().call_later(STOP_SECONDS, main.cancel)

        await _stoppable(runner(executor, options.until), drain)
    batches = Store(batch_folder(run.root))
    if batches.states():  # worker processes end at once and leave this to their parent
        index = index_run(run.root, options.reuse)
        sweep(batches, index.__contains__)
        index.close()


def _governor(recipe: Recipe, run: Run, options: Options, limits: Limits, roles: set[str]) -> Governor:
    """The budgets with all that earlier starts spent, or may have: calls that a kill broke off, batches under way.

    Raises:
        UserError: when calls of a batch under way would be paid for again.
    """
    ledger = spent(run.root)
    with closing(index_run(run.root, options.reuse)) as index:
        check_batches(recipe.models_in_use(roles), Batches(batch_folder(run.root), index.__contains__))
        batches = Store(batch_folder(run.root))
        owed = [batches.owed(state, index.__contains__) for state in batches.states()]
    unsettled = begin(run.root, ledger) + sum((part for found in owed for part in found.values()), Amount())
    return Governor(limits, ledger + unsettled, _hours(run), unsettled=unsettled)


async def _stoppable(work: Coroutine[Any, Any, T], stop: Callable[[asyncio.Future[T]], object]) -> T:
    """What `work` returns; Ctrl-C and SIGTERM call `stop` with it, which cancels it now or later."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop, task)
    try:
        return await task
    except asyncio.CancelledError:
        raise Interrupted("stopped; the same command resumes the run") from None
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _hours(run: Run) -> float:
    """Wall time of earlier sessions, in hours."""
    total = 0.0
    for session in run.info["sessions"][:-1]:
        start, end = (_seconds(session.get(key)) for key in ("start", "end"))
        if start is not None and end is not None:
            total += max(0.0, end - start)
    return total / 3600


def _seconds(stamp: str | None) -> float | None:
    import calendar

    return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))) if stamp else None


def remove_seeds(path: Path, seeds: list[str]) -> Run:
    """Takes seeds down: notes them, and makes the release again without them and their descendants.

    Raises:
        UserError: for an id that is no seed of this run; nothing is changed then.
    """
    run = Run.open(path)
    with run.lock():
        recipe = load(run.root / "recipe.yaml")
        known = _known_seeds(run, seeds)
        for seed in seeds:
            if seed not in known:
                raise UserError(
                    f"--seed {seed}: {run.root} has no such seed; `boostqa show` prints a record's parents"
                )
        run.revoke(seeds)
        release = entry_folder(run, "release", entries("release")[0])
        if Runner(recipe, run, Silent()).segments_complete():
            setup = Setup(root=str(run.root), recipe=recipe.model_dump(mode="json"))
            event_loop(_release_again(recipe, run, setup))
        else:
            # The run will release when it is complete; what was released so far must not stay.
            run.discard([release.path], [f"release/{release.path.name}"])
    return run


def _known_seeds(run: Run, ids: list[str]) -> set[str]:
    """Which of `ids` are seeds of the run."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from boostqa.shard import read_parquet

    found: set[str] = set()
    wanted = pa.array(ids, pa.string())
    for path in (
        path for place in ("", "grow-*/") for path in run.root.glob(f"{place}00-seeds/kept/*.parquet")
    ):
        column = read_parquet(path, ["id"]).column("id")
        found.update(column.filter(pc.is_in(column, value_set=wanted)).to_pylist())
    return found


async def _release_again(recipe: Recipe, run: Run, setup: Setup) -> None:
    executor = LocalExecutor(setup, Governor(Limits()), offline=True)
    async with executor:
        await Runner(recipe, run, Silent()).release(executor)
