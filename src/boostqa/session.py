"""One session on a run folder: checks, lock, embedded server, budgets, executor, signals, and the ending.

This is what `boostqa run` does; the command line only parses its words and prints what comes out.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boostqa.check import check_files, preflight, start_embedded
from boostqa.errors import BoostQAError, Interrupted, UserError
from boostqa.executor import LocalExecutor, ProcessExecutor, Setup
from boostqa.llm.budget import Governor, Limits
from boostqa.llm.clients import Address
from boostqa.llm.ledger_files import index_run, spent
from boostqa.recipe import Recipe, load
from boostqa.run import Run
from boostqa.runner import Progress, Runner, Silent, redo

STOP_SECONDS = 4.0
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


def run_session(recipe_path: Path, options: Options, progress: Progress) -> Run:
    """Starts, resumes or grows a run; returns when it is complete (or complete up to `until`).

    Raises:
        UserError: before anything was paid. Stop: later, resumable. See `errors.py`.
    """
    recipe = load(recipe_path)
    if options.plan is not None:
        plan = recipe.plan.model_copy(update={"edited": str(options.plan.resolve())})
        recipe = recipe.model_copy(update={"plan": plan})
    check_files(recipe)
    run = Run(options.out)
    with run.lock():
        if (options.out / "run.json").exists():
            run = Run.open(options.out)
            for left in run.root.glob(".*.tmp"):  # a killed session's half-written run.json
                left.unlink(missing_ok=True)
        if options.redo:
            redo(run, options.redo)
        with _session(run), ExitStack() as stack:
            runner = Runner(recipe, run, progress)
            runner.accept_recipe()
            if not runner.idle(options.until):
                addresses = start_embedded(recipe, stack)
                asyncio.run(_run(runner, options, progress, addresses))
    return run


@contextmanager
def _session(run: Run) -> Iterator[None]:
    """Notes start and end in run.json, whatever happens."""
    run.begin_session(sys.argv[:1] and [Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        yield
    except BaseException as error:
        code = error.exit_code if isinstance(error, BoostQAError) else 1
        with suppress(BoostQAError, OSError):  # a full disk must not hide why the session ended
            run.end_session(code, str(error))
        raise
    run.end_session(0)


async def _run(runner: Runner, options: Options, progress: Progress, addresses: dict[str, Address]) -> None:
    recipe, run = runner.recipe, runner.run
    await preflight(recipe, addresses)
    governor = Governor(_limits(recipe), spent(run.root), _hours(run))
    index_run(run.root, options.reuse).close()
    setup = Setup(root=str(run.root), recipe=recipe.model_dump(mode="json"), addresses=addresses)
    executor = (
        ProcessExecutor(setup, governor, options.workers)
        if options.workers > 1
        else LocalExecutor(setup, governor)
    )
    async with executor:
        progress.begin(run, executor, governor.spent)
        main = asyncio.ensure_future(runner(executor, options.until))
        with _stopping(executor, main):
            try:
                await main
            except asyncio.CancelledError:
                raise Interrupted("stopped; the same command resumes the run") from None


@contextmanager
def _stopping(executor: LocalExecutor | ProcessExecutor, main: asyncio.Future[None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM: drain first, cancel after `STOP_SECONDS`."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        executor.drain()
        loop.call_later(STOP_SECONDS, main.cancel)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _limits(recipe: Recipe) -> Limits:
    budget: dict[str, Any] = recipe.budget.model_dump()
    return Limits(**budget)


def _hours(run: Run) -> float:
    """Wall time of earlier sessions, in hours; one that was killed counts until the run.json's last change."""
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
        known = _seed_ids(run)
        for seed in seeds:
            if seed not in known:
                raise UserError(
                    f"--seed {seed}: {run.root} has no such seed; `boostqa show` prints a record's parents"
                )
        run.revoke(seeds)
        if any(segment["name"].startswith("round-") for segment in run.segments):
            setup = Setup(root=str(run.root), recipe=recipe.model_dump(mode="json"))
            asyncio.run(_release_again(recipe, run, setup))
    return run


def _seed_ids(run: Run) -> set[str]:
    from boostqa.shard import read_parquet

    paths = [p for s in ("", "grow-*/") for p in run.root.glob(f"{s}00-seeds/kept/*.parquet")]
    return {i for path in paths for i in read_parquet(path, ["id"]).column("id").to_pylist()}


async def _release_again(recipe: Recipe, run: Run, setup: Setup) -> None:
    executor = LocalExecutor(setup, Governor(Limits()), offline=True)
    async with executor:
        await Runner(recipe, run, Silent()).release(executor)
