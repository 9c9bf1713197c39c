"""Stage, steps and kit: how a stage says what it does, without knowing where and when it runs.

A stage is a config and a short list of steps over shards:

    Map      shard -> records (the last step of a stage) or -> rows (a step in between)
    Shuffle  rows of an earlier map -> partitions by key -> rows
    Gather   everything so far -> one small state (plain data)

The runner decides which (step, shard) may run; the executor decides where; `Kit` is all that a step sees
besides its records. Fates are not declared but derived and checked (`run.py`): an input id that comes back
is kept or, with `dropped` set, dropped; a task that does not come back must have left children and is spent;
any id that was not an input is born.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from boostqa.identity import digest

if TYPE_CHECKING:
    import pyarrow as pa

    from boostqa.llm.model import Model
    from boostqa.record import Record

State = dict[str, Any]


class StageConfig(BaseModel):
    """Base of every stage's config: unknown keys fail, values are frozen.

    A field marked `json_schema_extra={"identity": "grow"}` may be raised between runs of one folder;
    `{"identity": "free"}` may change at will (it cannot alter results). All others make the fingerprint.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Map:
    """One call per record or per shard; the only kind of step that may ask models.

    `takes` chooses the form of `run`:
        "record"   async def run(record, kit) -> list[Record] (or list of row dicts); many run at once
        "records"  def run(records: list[Record], kit) -> Iterable of Record or row dicts
        "table"    def run(table: pa.Table, kit) -> pa.Table of rows; without `rows`, the very records that came in,
                   as a table of `table.record_schema()`: for what needs no Python object per record
    With `over`, the shards are not the input's but the list `state["shards"]` that the named gather made, and
    `run(shard: dict, kit)` gets one entry of it (async or not) instead of records; `takes` is then ignored.
    If that entry has `refs` (a list of shard references of `read_kept`), the records behind them are its inputs,
    to be loaded with `kit.load(refs)`, and each needs a fate.
    """

    name: str
    run: Callable[..., Any]
    takes: Literal["record", "records", "table"] = "records"
    rows: Mapping[str, str] | None = None
    """Column -> Arrow type name of the rows, for a step in between; None: the stage's records."""
    over: str | None = None
    columns: tuple[str, ...] | None = None
    """Columns of the records that a table holds, for a step with `rows`; None: all."""


@dataclass(frozen=True)
class Shuffle:
    """Rows of the map step `of`, split by `key` over `partitions`, then reduced partition by partition.

    `reduce(table: pa.Table, kit) -> pa.Table | list[dict]` sees all rows whose keys fall into its partition.
    """

    name: str
    of: str
    key: str
    """Column of unsigned 64-bit hashes; partition = key modulo `partitions`."""
    reduce: Callable[..., Any]
    rows: Mapping[str, str]
    partitions: int = 8
    split: Callable[[pa.Table], pa.Table] | None = None
    """Makes the rows that are split out of a shard's rows of `of`; None: these themselves."""
    columns: tuple[str, ...] | None = None
    """Columns of the rows of `of` that are looked at; None: all."""


@dataclass(frozen=True)
class Gather:
    """One task after all shards of the steps before it; `run(kit) -> dict` returns plain data.

    Values that are `pa.Table` are stored as Parquet beside the JSON and come back as `pa.Table`. The key
    `files` (name -> text) is written as files into the entry's folder, for people: a plan.csv, a card.
    """

    name: str
    run: Callable[[Kit], State]


Step = Map | Shuffle | Gather


class Stage:
    """Base of all stages: class data that names it, a config, and the steps."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it when the same input and config give another result."""
    Config: ClassVar[type[StageConfig]] = StageConfig
    roles: ClassVar[tuple[str, ...]] = ()
    """Roles whose models this stage may ask."""
    assets: ClassVar[tuple[str, ...]] = ()
    """Files below the package that results depend on (prompts, taxonomies), such as `taxonomy/levels.yaml`."""

    def __init__(self, config: StageConfig) -> None:
        self.config = config

    def steps(self) -> tuple[Step, ...]:
        """The steps in order; exactly one, the last of its `Map`s, has no `rows` and makes the records."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """Extra plain data that results depend on beyond config and assets, such as input files' hashes."""
        return {}

    def check(self) -> None:
        """Validates what can be known before anything runs or is paid: files, labels, licences.

        Raises:
            UserError: naming the recipe key, the value and the remedy.
        """

    def wanted(self, kit: Kit) -> bool:
        """Whether another round that starts with this stage would have work; asked of `plan` alone."""
        return False


class Shards(Protocol):
    """Read access to what is committed; implemented by `run.py`, used through `Kit`."""

    def rows(self, step: str, shard: str, columns: list[str] | None) -> pa.Table:
        """See `Kit.rows`."""
        ...

    def batches(self, step: str, columns: list[str] | None) -> Iterator[pa.Table]:
        """See `Kit.batches`."""
        ...

    def state(self, step: str) -> State:
        """See `Kit.state`."""
        ...

    def read_states(self, name: str, step: str) -> list[State]:
        """See `Kit.read_states`."""
        ...

    def read_rows(self, name: str, step: str, columns: list[str] | None) -> Iterator[pa.Table]:
        """See `Kit.read_rows`."""
        ...

    def read_kept(self, name: str, columns: list[str] | None) -> Iterator[tuple[str, pa.Table]]:
        """See `Kit.read_kept`."""
        ...

    def read_dropped(self, name: str, columns: list[str] | None) -> Iterator[tuple[str, pa.Table]]:
        """See `Kit.read_dropped`."""
        ...

    def lookup(self, name: str, ids: Mapping[str, Iterable[str]]) -> dict[str, Record]:
        """See `Kit.lookup`."""
        ...

    def load(self, refs: Iterable[str]) -> list[Record]:
        """See `Kit.load`."""
        ...


@dataclass
class Kit:
    """What a step may use besides its records. Made by the executor for one (step, shard) task.

    A stage does not know the pipeline: other entries are reached by the logical names of its entry's `reads`
    (see `pipeline.py`), such as `seeds` or `incumbents`. What a name gives is all that was committed before
    this task's place in the pipeline: all earlier segments (grown heads, rounds), oldest first, and the same
    segment where the entry stands earlier in it.
    """

    entry: str
    """Name of the pipeline entry, for drop reasons and history (a stage may stand in the pipeline twice)."""
    segment: str
    """`head`, `grow-1`, ... or `round-1`, ...: the part of the run this task belongs to."""
    shard: str
    """Name of the shard, such as `part-00003`; empty in a gather."""
    shards: Shards
    models: Mapping[str, list[Model]] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    """Ids of seeds taken down with `boostqa remove`; they and their descendants are not released."""

    @property
    def round(self) -> int:
        """Number of the round, 0 outside rounds."""
        return int(self.segment.removeprefix("round-")) if self.segment.startswith("round-") else 0

    def model(self, role: str) -> Model:
        """The (first) model of a role.

        Raises:
            KeyError: if the stage did not list the role in `Stage.roles`, or the recipe leaves it open.
        """
        return self.models[role][0]

    def all_models(self, role: str) -> list[Model]:
        """All models of a role, empty when the recipe gives none."""
        return list(self.models.get(role, ()))

    def rng(self, record_id: str) -> random.Random:
        """A random generator that depends on the record and the entry alone, never on shard or worker."""
        return random.Random(digest(self.entry, record_id))

    def state(self, step: str) -> State:
        """State of a gather of this stage in this segment."""
        return self.shards.state(step)

    def rows(self, step: str, columns: list[str] | None = None) -> pa.Table:
        """Rows of an earlier map step of this stage for this very shard."""
        return self.shards.rows(step, self.shard, columns)

    def batches(self, step: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Rows of an earlier map or shuffle step of this stage, all shards, one table a shard."""
        return self.shards.batches(step, columns)

    def read_states(self, name: str, step: str) -> list[State]:
        """States of the gather `step` of the entries called `name`."""
        return self.shards.read_states(name, step)

    def read_rows(self, name: str, step: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Rows of `step` of the entries called `name`, one table a shard: such as the incumbents' signatures."""
        return self.shards.read_rows(name, step, columns)

    def read_kept(self, name: str, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Kept records as (shard reference, table with the given columns); see `table.py` for both directions."""
        return self.shards.read_kept(name, columns)

    def read_dropped(self, name: str, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Dropped records, likewise; such as the probe's held-out items."""
        return self.shards.read_dropped(name, columns)

    def lookup(self, name: str, ids: Mapping[str, Iterable[str]]) -> dict[str, Record]:
        """Kept records of `name` by shard reference -> ids (as `read_kept` gave the references)."""
        return self.shards.lookup(name, ids)

    def load(self, refs: Iterable[str]) -> list[Record]:
        """All kept records of the shards that `read_kept` called so."""
        return self.shards.load(refs)
