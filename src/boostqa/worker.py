"""Runs one task: loads the shard, calls the step, commits the result. The same code in every process.

A worker rebuilds the stages from the recipe; tasks carry only data. A record whose flow raises is dropped as
`internal_error` with the exception as evidence, so that one odd text cannot end a run of millions; when that
happens to many, it is a bug of ours, and the run stops.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostqa.errors import BoostQAError, ContractError, Interrupted, StorageStop
from boostqa.llm.ledger import Journal, LedgerWriter, current_journal, current_record
from boostqa.pipeline import PIPELINE, part_of
from boostqa.recipe import Recipe
from boostqa.record import Record
from boostqa.run import Run
from boostqa.schedule import Task, shard_name
from boostqa.shard import STORAGE_ERRORS, Counts, EntryFolder, read_parquet, read_records, rows_table
from boostqa.stage import Gather, Kit, Map, Shuffle, Stage
from boostqa.view import View, cached_state

if TYPE_CHECKING:
    import pyarrow as pa

    from boostqa.llm.clients import Clients
    from boostqa.llm.index import Index

RECORDS_AT_ONCE = 256
"""Records of one shard in work at a time: bounds memory; the throttle decides how many calls are in flight."""
BATCHED_AT_ONCE = 4096
"""The same where a model's calls go through a Batch API."""
MAX_INTERNAL_ERRORS = 0.05
"""Share of a shard's records (and at least 5) that may raise before the run stops."""


class Worker:
    """Executes tasks of one run in this process's event loop."""

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        clients: Clients,
        writer: LedgerWriter,
        index: Index | None,
        on_record: Callable[[], None] = lambda: None,
    ) -> None:
        self.recipe = recipe
        self.run = run
        self.clients = clients
        self.writer = writer
        self.index = index
        self.on_record = on_record
        self.revoked = run.revoked
        # Calls to a Batch API wait for each other: a whole shard asks before one of them is answered.
        batched = any(model.transport == "batch" for model in recipe.models_in_use().values())
        self._at_once = BATCHED_AT_ONCE if batched else RECORDS_AT_ONCE
        self.stopping = False
        """Set to end: lanes finish the record in work and start no other."""

    async def execute(self, task: Task) -> None:
        """Runs one task to its commit; nothing happens if its output is there already.

        Raises:
            BoostQAError: what the step raised, or `StorageStop` when memory ran out.
        """
        entry = next(e for e in PIPELINE if e.part == part_of(task.segment) and e.name == task.entry)
        stage = self.recipe.stage(entry.stage, task.sources)
        view = View(self.run, entry, task.segment, task.segments)
        step = next(s for s in stage.steps() if s.name == task.step)
        try:
            if isinstance(step, Gather):
                await self._gather(step, self._kit(task, view))
            elif isinstance(step, Shuffle):
                await self._shuffle(step, task, self._kit(task, view))
            else:
                await self._map(step, stage, task, view)
        except MemoryError as error:
            raise StorageStop(
                f"{task.segment}/{task.entry}.{task.step} {task.shard}: out of memory; use fewer --workers or a "
                "smaller seeds.shard_size in a new run"
            ) from error

    def _kit(self, task: Task, view: View, models: dict[str, list[Any]] | None = None) -> Kit:
        return Kit(
            entry=task.entry,
            segment=task.segment,
            shard=task.shard,
            shards=view,
            models=models or {},
            revoked=self.revoked,
        )

    async def _gather(self, step: Gather, kit: Kit) -> None:
        view = kit.shards
        assert isinstance(view, View)
        state = await asyncio.to_thread(step.run, kit)
        view.folder.commit_state(step.name, state)

    async def _shuffle(self, step: Shuffle, task: Task, kit: Kit) -> None:
        view = kit.shards
        assert isinstance(view, View)
        folder = view.folder
        if task.kind == "split":
            await asyncio.to_thread(split, step, task.shard, folder)
            return
        partition = int(task.shard.rsplit("-", 1)[1])
        shards = sorted(folder.done(f"state/{step.name}.split"))
        rows = await asyncio.to_thread(folder.read_split, step.name, shards, partition)
        result = await asyncio.to_thread(step.reduce, rows, kit)
        folder.commit_rows(step.name, task.shard, result, step.rows)

    async def _map(self, step: Map, stage: Stage, task: Task, view: View) -> None:
        journal: Journal | None = None
        token = None
        if stage.roles:
            place = (task.segment, task.entry, task.step)
            journal = self.writer.open(self.run.root, place, task.shard, self.index)
            token = current_journal.set(journal)
        try:
            models = {r: [self.clients.model(n, r) for n in self.recipe.roles.of(r)] for r in stage.roles}
            kit = self._kit(task, view, models)
            inputs, outputs = await self._outputs(step, kit, view)
            if step.rows is None and step.takes == "table":
                counts = _counted(inputs, outputs, f"{view.folder.path.name}/{task.shard}")
                await asyncio.to_thread(_commit_table, view.folder, task.shard, counts, outputs)
            elif step.rows is not None:
                view.folder.commit_rows(step.name, task.shard, rows_table(outputs, step.rows), step.rows)
            else:
                await asyncio.to_thread(view.folder.commit_records, task.shard, inputs, outputs)
        finally:
            if token is not None:
                current_journal.reset(token)
            if journal is not None:
                await journal.close()

    async def _outputs(self, step: Map, kit: Kit, view: View) -> tuple[Any, Any]:
        """The inputs, as (id, kind) or as a table, and what the step made of them."""
        if step.over is not None:
            specs = cached_state(view.folder, step.over)["shards"]
            spec = next(s for i, s in enumerate(specs) if shard_name(s, i) == kit.shard)
            tables = [read_parquet(path, ["id", "kind"]) for path in view.paths(spec.get("refs", []))]
            inputs = [
                pair for t in tables for pair in zip(t["id"].to_pylist(), t["kind"].to_pylist(), strict=True)
            ]
            return inputs, await _call(step.run, spec, kit)
        path = view.input_folder().kept(kit.shard)
        if step.takes == "table":
            columns = list(step.columns) if step.columns else None
            table = await asyncio.to_thread(read_parquet, path, columns)
            return table, await asyncio.to_thread(step.run, table, kit)
        records = await asyncio.to_thread(read_records, path)
        inputs = [(record.id, record.kind) for record in records]
        if step.takes == "records":
            return inputs, await _call(step.run, records, kit)
        return inputs, await self._each(step, records, kit)

    async def _each(self, step: Map, records: list[Record], kit: Kit) -> list[Any]:
        """Calls the step for every record, a bounded number at once; results in the records' order."""
        if not records:
            return []
        results: list[list[Any]] = [[] for _ in records]
        failures: list[str] = []
        ended: list[BaseException] = []
        waiting = iter(enumerate(records))

        async def lane() -> None:
            try:
                for place, record in waiting:
                    if self.stopping:
                        raise Interrupted("stopped; the same command resumes the run")
                    results[place] = await self._one(step, record, kit, failures)
                    if len(failures) > max(5, MAX_INTERNAL_ERRORS * len(records)):
                        listed = "\n  ".join(failures[:5])
                        raise ContractError(
                            f"{kit.entry}.{step.name} {kit.shard}: many records fail:\n  {listed}"
                        )
                    self.on_record()
            except BaseException as error:
                # The other lanes still finish the record in work, since its calls are being paid.
                self.stopping = True
                ended.append(error)
                raise

        lanes = [asyncio.create_task(lane()) for _ in range(min(self._at_once, len(records)))]
        try:
            await asyncio.gather(*lanes, return_exceptions=True)
        finally:
            for left in lanes:
                left.cancel()
        if ended:
            raise next((error for error in ended if not isinstance(error, Interrupted)), ended[0])
        return [item for part in results for item in part]

    async def _one(self, step: Map, record: Record, kit: Kit, failures: list[str]) -> list[Any]:
        """What the step makes of one record; an unexpected exception ends the record, not the run."""
        current_record.set(record.id)
        try:
            return list(await step.run(record, kit))
        except (BoostQAError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
                raise StorageStop(
                    f"{kit.entry} {kit.shard}: {error}; free what is full, then go on"
                ) from error
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            failures.append(f"{record.id}: {message}")
            return [] if step.rows else [record.drop(kit.entry, "internal_error", message)]


def split(step: Shuffle, shard: str, folder: EntryFolder) -> None:
    """Commits a shard's rows, or what `step.split` makes of them, by partition."""
    rows = read_parquet(folder.rows(step.of, shard), list(step.columns) if step.columns else None)
    folder.commit_split(step.name, shard, step.split(rows) if step.split else rows, step.key, step.partitions)


def _commit_table(folder: EntryFolder, shard: str, counts: Counts, table: pa.Table) -> None:
    gone = table["dropped"].is_valid()
    folder.commit_tables(shard, counts, table.filter(table["dropped"].is_null()), table.filter(gone))


def _counted(before: pa.Table, after: pa.Table, where: str) -> Counts:
    """Counts of a step whose records come out of the table that they came in with.

    Raises:
        ContractError: if they are not the same, in the same order.
    """
    import pyarrow.compute as pc

    if not before["id"].equals(after["id"]):
        raise ContractError(f"{where}: the records of the table that came out are not those that went in")
    reasons = pc.struct_field(after["dropped"], "reason").drop_null().value_counts().to_pylist()
    counted = dict(sorted((row["values"], row["counts"]) for row in reasons))
    dropped = sum(counted.values())
    return Counts(inputs=len(before), kept=len(after) - dropped, dropped=dropped, reasons=counted).check(
        where
    )


async def _call(run: Callable[..., Any], first: Any, kit: Kit) -> list[Any]:
    """Calls a step's function: a coroutine function in the loop, a plain one in a thread."""
    if inspect.iscoroutinefunction(run):
        return list(await run(first, kit))
    return await asyncio.to_thread(lambda: _listed(run(first, kit)))


def _listed(result: Iterable[Any]) -> Any:
    import pyarrow as pa

    return result if isinstance(result, pa.Table) else list(result)
