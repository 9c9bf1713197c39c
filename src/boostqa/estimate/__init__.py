"""The dry run: what a recipe would ask for, and what that would cost in money, hours and disk.

The stages that ask no model run for real, in a folder that is thrown away; from their counts `projection.py`
says what the others would ask. With a preview, a few items are paid for in a folder of their own, and what
its ledger shows replaces the guesses. A price that is not known stays unknown: it never counts as 0.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path

import msgspec

from boostqa.errors import UserError
from boostqa.estimate.cost import Amount, assumptions, bytes_on_disk, hours, priced
from boostqa.estimate.projection import Basis, Calls, guesses, project, units
from boostqa.estimate.spans import Span
from boostqa.recipe import Recipe, dump, load
from boostqa.record import Record
from boostqa.run import Run

SAMPLE = 24
"""Seeds on which prompt lengths are measured."""
FREE = "decontaminate"
"""The last stage of the head that asks no model."""
PREVIEW_HEAD = 300
"""Seeds that a preview labels and probes at most; a run with `--reuse` finds them again."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole estimate; what `--json` prints. Spans are [at least, most likely, at most]."""

    recipe: str
    kept: dict[str, int]
    """Records that each free stage kept."""
    questions: int
    """Of those left: question seeds."""
    passages: int
    wanted: int
    """Items that the plan wants."""
    accepted: Span
    """Items that would come out."""
    rounds: Span
    lines: list[Amount]
    money: dict[str, Span]
    """By currency, over the models whose price is known."""
    unpriced: list[str]
    """Models whose price is unknown; with any, the money is only a part."""
    hours: Span
    disk_bytes: Span
    rests_on: list[str]
    """What is measured and what is guessed, for people."""


class Free(msgspec.Struct, frozen=True, kw_only=True):
    """What the free stages left."""

    kept: dict[str, int]
    questions: int
    passages: int
    sample: list[Record]
    size: int
    """Bytes of their work tables."""


def estimate_recipe(path: Path, *, preview: int, as_json: bool) -> None:
    """Prints what a run of the recipe would ask for; pays nothing, or `preview` items when that is above 0.

    Raises:
        UserError: as `boostqa run` before its first request, or when a preview accepted nothing.
        Stop: only with a preview, as a run.
    """
    result = estimate(path, preview=preview)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
    else:
        _print(result)


def estimate(path: Path, *, preview: int = 0) -> Estimate:
    """What `estimate_recipe` prints. Raises as it does."""
    from boostqa.check import check_files

    recipe = load(path)
    check_files(recipe)
    free = free_part(recipe)
    basis = Basis(recipe=recipe, questions=free.questions, passages=free.passages, sample=free.sample)
    calls, rests_on = project(basis), [*guesses(basis), *assumptions()]
    if preview:
        run = run_preview(recipe, preview)
        calls, rests_on = calibrated(calls, basis, run)
        rests_on.append(f"`boostqa run {path} --reuse {run.root}` takes over what was paid there")
    lines = [priced(one, recipe.models[one.model]) for one in calls]
    return Estimate(
        recipe=recipe.name,
        kept=free.kept,
        questions=free.questions,
        passages=free.passages,
        wanted=recipe.plan.items,
        accepted=basis.accepted,
        rounds=basis.rounds,
        lines=lines,
        money=_money(lines),
        unpriced=sorted({line.model for line in lines if line.money is None}),
        hours=hours(calls, recipe.models, basis.rounds),
        disk_bytes=bytes_on_disk(calls, basis.tasks, free.size),
        rests_on=rests_on,
    )


def _money(lines: list[Amount]) -> dict[str, Span]:
    sums: dict[str, Span] = defaultdict(lambda: Span.of(0))
    for line in lines:
        if line.money is not None and (line.currency or line.money.high):
            sums[line.currency] = sums[line.currency].plus(line.money)
    return dict(sums)


# The free part


def free_part(recipe: Recipe) -> Free:
    """Runs the stages that ask no model in a temporary folder. Raises `UserError` as they do."""
    from boostqa.pipeline import entries
    from boostqa.view import entry_folder

    with tempfile.TemporaryDirectory(prefix="boostqa-estimate-") as folder:
        run = Run(Path(folder))
        run.save()
        asyncio.run(_run_free(recipe, run))
        kept = {}
        for entry in entries("head"):
            manifest = entry_folder(run, "head", entry).manifest()
            if manifest is not None:
                kept[entry.name] = int(manifest["counts"]["kept"])
        last = next(entry for entry in entries("head") if entry.name == FREE)
        files = sorted((entry_folder(run, "head", last).path / "kept").glob("*.parquet"))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        questions = sum(_questions(path) for path in files)
        sample = _sample(files)
    return Free(kept=kept, questions=questions, passages=kept[FREE] - questions, sample=sample, size=size)


async def _run_free(recipe: Recipe, run: Run) -> None:
    from boostqa.child import Setup
    from boostqa.executor import LocalExecutor
    from boostqa.llm.budget import Governor, Limits
    from boostqa.runner import Runner, Silent

    setup = Setup(root=str(run.root), recipe=recipe.model_dump(mode="json"))
    executor = LocalExecutor(setup, Governor(Limits()), offline=True)
    async with executor:
        await Runner(recipe, run, Silent())(executor, until=FREE)


def _questions(path: Path) -> int:
    import pyarrow.compute as pc

    from boostqa.shard import read_parquet

    column = read_parquet(path, ["question"]).column("question")
    return int(pc.sum(pc.not_equal(pc.fill_null(column, ""), "")).as_py() or 0)


def _sample(files: list[Path]) -> list[Record]:
    """`SAMPLE` records spread over a few shards, the same ones every time."""
    from boostqa.shard import read_records

    chosen = files[:: max(1, len(files) // 4)][:4]
    records: list[Record] = []
    for path in chosen:
        found = sorted(read_records(path), key=lambda record: record.id)
        share = max(1, SAMPLE // len(chosen))
        records += found[:: max(1, len(found) // share)][:share]
    return records


# The preview


def run_preview(recipe: Recipe, items: int) -> Run:
    """Makes `items` items for real in `runs/NAME-preview`, or resumes that. Raises as `boostqa run`."""
    from boostqa.display import Display
    from boostqa.session import Options, run_session

    head = {
        "annotate": {"sample": min(recipe.annotate.sample, PREVIEW_HEAD), "second_sample": 0},
        "probe": {"max_items": min(recipe.probe.max_items or PREVIEW_HEAD, PREVIEW_HEAD)},
        "plan": {"items": items},
    }
    changed = {name: getattr(recipe, name).model_copy(update=fields) for name, fields in head.items()}
    small = recipe.model_copy(update=changed)
    with tempfile.TemporaryDirectory(prefix="boostqa-estimate-") as folder:
        written = Path(folder) / "recipe.yaml"
        written.write_text(dump(small), encoding="utf-8")
        with Display() as display:
            return run_session(written, Options(out=Path("runs") / f"{recipe.name}-preview"), display)


def calibrated(calls: list[Calls], basis: Basis, run: Run) -> tuple[list[Calls], list[str]]:
    """The calls of the whole run from what the preview's ledger shows, and what that rests on.

    Requests of annotate and probe grow with the seeds that they ask about, those of the rounds with accepted
    items; tokens per request stay as measured. Intervals are two standard errors, taken as 2 / sqrt(n).

    Raises:
        UserError: when nothing was accepted, so that nothing can be said per item.
    """
    from boostqa.report.numbers import collect

    numbers = collect(run)
    accepted = int(numbers["accepted"])
    if not accepted:
        raise UserError(
            f"{run.root}: the preview accepted no item, so a cost per item cannot be told; "
            "look at its report (`boostqa report`), mend the recipe, or preview more items"
        )
    spent: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in numbers["entries"]:
        for model, part in row["models"].items():
            for name in ("requests", "prompt_tokens", "cached_tokens", "completion_tokens"):
                spent[row["entry"], model][name] += part[name]
    own = load(run.root / "recipe.yaml")
    before = units(msgspec.structs.replace(basis, recipe=own))
    after = units(basis)
    found = []
    for (stage, model), part in spent.items():
        roles = sorted({one.role for one in calls if (one.stage, one.model) == (stage, model)})
        sampled = before[stage].mid if stage in before else float(accepted)
        target = after.get(stage, basis.accepted)
        growth = target.times(1 / max(1.0, sampled))
        requests = max(1.0, part["requests"])
        found.append(
            Calls(
                stage=stage,
                role=", ".join(roles),
                model=model,
                task="all",
                requests=growth.times(requests).times(_error(sampled)),
                prompt=part["prompt_tokens"] / requests,
                shared=part["cached_tokens"] / requests,
                completion=_error(requests).times(part["completion_tokens"] / requests),
            )
        )
    return found, [
        f"measured: requests and tokens per request, in {run.root}, which accepted {accepted} items",
        "interval: two standard errors of that sample; guessed are speed and the share of cached prompts",
    ]


def _error(count: float) -> Span:
    """Two standard errors around 1, taken as 2 / sqrt(count)."""
    error = 2 / max(1.0, count) ** 0.5
    return Span(max(0.1, 1 - error), 1.0, 1 + error)


# For people


def _print(result: Estimate) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    kept = ", ".join(f"{name} keeps {count:,}" for name, count in result.kept.items())
    console.print(f"{result.recipe}: {kept}")
    console.print(f"{result.questions:,} questions and {result.passages:,} passages are left as seeds")
    rounds = f"{_span(result.rounds)} rounds"
    console.print(f"wanted {result.wanted:,} items; would come out: {_span(result.accepted)} in {rounds}\n")
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "role", "model", "prompt", "requests", "tokens in", "tokens out", "money"):
        table.add_column(title, justify="left" if title in ("stage", "role", "model", "prompt") else "right")
    for line in result.lines:
        money = "unknown" if line.money is None else _span(line.money, line.currency)
        table.add_row(
            line.stage, line.role, line.model, line.task,
            _span(line.requests), _span(line.prompt_tokens), _span(line.completion_tokens), money,
        )  # fmt: skip
    console.print(table)
    sums = [_span(span, currency) for currency, span in result.money.items()]
    if result.unpriced:
        sums.append(f"unknown ({', '.join(result.unpriced)} without a price)")
    console.print(f"\nmoney: {' + '.join(sums) or '0'}")
    console.print(f"time:  {_span(result.hours)} hours")
    console.print(f"disk:  {_span(result.disk_bytes.times(1e-6))} MB")
    console.print("\nWhat this rests on (most likely value, then the interval):")
    for sentence in result.rests_on:
        console.print(f"- {sentence}")


def _span(span: Span, unit: str = "") -> str:
    unit = f" {unit}" if unit else ""
    if span.low == span.high:
        return f"{_number(span.mid)}{unit}"
    return f"{_number(span.mid)} ({_number(span.low)} to {_number(span.high)}){unit}"


def _number(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e4):
            return f"{value / size:,.3g}{letter}" if value < 1000 * size else f"{value / size:,.0f}{letter}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
