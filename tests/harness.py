"""Runs one stage in memory, without run folder, runner or processes: the fastest way to test a stage alone."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from boostqa.record import Record
from boostqa.stage import Gather, Kit, Map, Shuffle, Stage
from boostqa.table import from_table, record_schema, schema_of, to_table


@dataclass
class Committed:
    """What one entry left behind, as another stage may read it."""

    kept: list[Record] = field(default_factory=list)
    dropped: list[Record] = field(default_factory=list)
    rows: dict[str, list[pa.Table]] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)


class MemoryShards:
    """`stage.Shards` over Python objects."""

    def __init__(self, reads: Mapping[str, list[Committed]]) -> None:
        self.reads = reads
        self.by_step: dict[str, dict[str, pa.Table]] = {}
        self.by_state: dict[str, dict[str, Any]] = {}

    def rows(self, step: str, shard: str, columns: list[str] | None) -> pa.Table:
        table = self.by_step[step][shard]
        return table.select(columns) if columns else table

    def batches(self, step: str, columns: list[str] | None) -> Iterable[pa.Table]:
        return (table.select(columns or table.column_names) for table in self.by_step[step].values())

    def state(self, step: str) -> dict[str, Any]:
        return self.by_state[step]

    def read_states(self, name: str, step: str) -> list[dict[str, Any]]:
        return [c.states[step] for c in self.reads.get(name, []) if step in c.states]

    def read_rows(self, name: str, step: str, columns: list[str] | None) -> Iterable[pa.Table]:
        tables = [t for c in self.reads.get(name, []) for t in c.rows.get(step, [])]
        return (table.select(columns or table.column_names) for table in tables)

    def _read(self, name: str, part: str, columns: list[str] | None) -> Iterable[tuple[str, pa.Table]]:
        for i, committed in enumerate(self.reads.get(name, [])):
            table = to_table(getattr(committed, part))
            yield f"{name}-{i}/part-00000", table.select(columns) if columns else table

    def read_kept(self, name: str, columns: list[str] | None) -> Iterable[tuple[str, pa.Table]]:
        return self._read(name, "kept", columns)

    def read_dropped(self, name: str, columns: list[str] | None) -> Iterable[tuple[str, pa.Table]]:
        return self._read(name, "dropped", columns)

    def lookup(self, name: str, ids: Mapping[str, Iterable[str]]) -> dict[str, Record]:
        wanted = {i for group in ids.values() for i in group}
        return {r.id: r for c in self.reads.get(name, []) for r in c.kept if r.id in wanted}

    def load(self, refs: Iterable[str]) -> list[Record]:
        found = []
        for ref in refs:
            name, _, number = ref.partition("/")[0].rpartition("-")
            found += self.reads[name][int(number)].kept
        return found


def as_rows(result: Any, columns: Mapping[str, str]) -> pa.Table:
    schema = schema_of(columns)
    return (
        result.cast(schema)
        if isinstance(result, pa.Table)
        else pa.Table.from_pylist(list(result), schema=schema)
    )


async def _call(step: Map, kit: Kit, shard: Any) -> list[Any]:
    if step.over:
        result = step.run(shard, kit)
        return list(await result if inspect.isawaitable(result) else result)
    if step.takes == "record":
        lists = await asyncio.gather(*(step.run(record, kit) for record in shard))
        return [item for part in lists for item in part]
    if step.takes == "table":
        table = to_table(shard)
        result = step.run(table.select(step.columns) if step.columns else table, kit)
        return result if step.rows else from_table(result.select(record_schema().names))
    return list(step.run(list(shard), kit))


def run_stage(
    stage: Stage,
    records: list[Record] | None = None,
    *,
    models: Mapping[str, list[Any]] | None = None,
    reads: Mapping[str, list[Committed]] | None = None,
    entry: str | None = None,
    segment: str = "round-1",
    shard_size: int = 1000,
    revoked: frozenset[str] = frozenset(),
) -> Committed:
    """All steps of `stage` over `records` in shards of `shard_size`; returns kept, dropped, rows and states."""
    records = records or []
    memory = MemoryShards(reads or {})
    shards = {
        f"part-{n:05d}": records[i : i + shard_size]
        for n, i in enumerate(range(0, max(len(records), 1), shard_size))
    }
    out = Committed()
    for step in stage.steps():

        def kit(shard: str) -> Kit:
            return Kit(
                entry=entry or stage.name,
                segment=segment,
                shard=shard,
                shards=memory,
                models=models or {},
                revoked=revoked,
            )

        if isinstance(step, Gather):
            memory.by_state[step.name] = out.states[step.name] = step.run(kit(""))
        elif isinstance(step, Shuffle):
            rows = pa.concat_tables(memory.by_step[step.of].values())
            rows = step.split(rows) if step.split else rows
            keys = rows.column(step.key).to_numpy()
            memory.by_step[step.name] = {
                f"part-{p:05d}": as_rows(
                    step.reduce(rows.filter(pa.array(keys % step.partitions == p)), kit("")), step.rows
                )
                for p in range(step.partitions)
            }
            out.rows[step.name] = list(memory.by_step[step.name].values())
        else:
            inputs = shards
            if step.over:
                inputs = {
                    s.get("name", f"part-{n:05d}"): s
                    for n, s in enumerate(memory.by_state[step.over]["shards"])
                }
            for name, shard in inputs.items():
                result = asyncio.run(_call(step, kit(name), shard))
                if step.rows is not None:
                    memory.by_step.setdefault(step.name, {})[name] = as_rows(result, step.rows)
                    out.rows.setdefault(step.name, []).append(memory.by_step[step.name][name])
                else:
                    out.kept += from_table(to_table(r for r in result if r.dropped is None))
                    out.dropped += from_table(to_table(r for r in result if r.dropped is not None))
    return out
