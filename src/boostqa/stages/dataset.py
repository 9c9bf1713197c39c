"""The release: of all accepted items exactly the planned number per cell, split, with card and sources.

Derived and free: it is made again whenever a round was added, a seed was taken down or its config changed.

Train and validation are split by the leading seed: all that was made from one seed, or from its duplicates,
goes to one side, however unlike the texts are. Drops: `revoked`, `unlabelled` (no discipline or level, so no
cell), `no_quota` (a cell that the plan wants nothing of), `over_quota` (the better-supported items fill it).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from boostqa.identity import digest_bytes, unit
from boostqa.release import render_text, token_counter
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, Step
from boostqa.table import schema_of, tally, unrevoked

if TYPE_CHECKING:
    import pyarrow as pa

    from boostqa.record import Record

Cell = tuple[str, str]
Rank = tuple[float, float, str]
_RANK = ("support", "judge", "id")
_RANKED = {"discipline": "string", "level": "string", "support": "double", "judge": "double", "id": "string"}


class DatasetConfig(StageConfig):
    """What is released, and how it is split."""

    validation_share: float = Field(0.02, ge=0, lt=1)
    """Share of seeds' duplicate clusters whose items go to the validation split, by the cluster's hash (0..1)."""
    surplus: Literal["drop", "keep"] = "drop"
    """Accepted items beyond a cell's quota: dropped as `over_quota`, or released, too; `keep` releases
    also what no quota asks for."""
    rows_per_file: int = Field(100_000, ge=1)
    """About how many rows a released file holds (items)."""
    tokenizer: str | None = None
    """A `tokenizer.json` (Hugging Face) that counts the column `tokens`; needs the extra `tokenizer`. Default:
    an estimate, bytes of `text` divided by 4; what providers count is a reply with its JSON and its thought."""
    title: str | None = None
    """Title of the dataset card; default: the recipe's name."""


class Dataset(Stage):
    """Selects, splits and writes the released files."""

    name = "dataset"
    version = 1
    Config = DatasetConfig
    config: DatasetConfig

    def steps(self) -> tuple[Step, ...]:
        """Select: where each cell's cut lies. Release: apply it, file by file."""
        return (Gather("select", self._select), Map("release", self._release, over="select"))

    def identity(self) -> dict[str, Any]:
        """Content of the tokenizer's file."""
        return {"tokenizer": digest_bytes(Path(path).read_bytes())} if (path := self.config.tokenizer) else {}

    def check(self) -> None:
        """Raises UserError when the tokenizer cannot be used."""
        if self.config.tokenizer:
            token_counter(self.config.tokenizer)

    def _select(self, kit: Kit) -> dict[str, Any]:
        import pyarrow as pa

        refs: list[tuple[str, int]] = []
        parts = [schema_of(_RANKED).empty_table()]
        for ref, table in kit.read_kept("accepted", ["id", "labels", "scores", "evidence", "parents"]):
            refs.append((ref, len(table)))
            parts.append(_ranked(unrevoked(table, kit.revoked)))
        ranked = pa.concat_tables(parts).sort_by([(name, "ascending") for name in _RANKED])
        cuts, quotas, start = [], _quotas(kit), 0
        for cell, accepted in sorted(tally(ranked, "discipline", "level").items()):
            quota = quotas.get(cell, 0)
            released = min(quota, accepted) if self.config.surplus == "drop" else accepted
            last = ranked.slice(start + released - 1, 1).to_pylist()[0] if released else None
            cuts.append(
                {"discipline": cell[0], "level": cell[1], "accepted": accepted, "released": released}
                | {"quota": quota, "cut": [last[name] for name in _RANK] if last else None}
            )
            start += accepted
        return {"cuts": cuts, "shards": _layout(refs, self.config.rows_per_file)}

    def _release(self, shard: dict[str, Any], kit: Kit) -> list[Record]:
        cuts = {(c["discipline"], c["level"]): c for c in kit.state("select")["cuts"]}
        decided = [self._decide(record, cuts, kit) for record in kit.load(shard["refs"])]
        if self.config.tokenizer:
            released = [i for i, record in enumerate(decided) if record.dropped is None]
            count = token_counter(self.config.tokenizer)
            for i, tokens in zip(released, count([render_text(decided[i]) for i in released]), strict=True):
                decided[i] = msgspec.structs.replace(decided[i], tokens=tokens)
        return decided

    def _decide(self, record: Record, cuts: dict[Cell, dict[str, Any]], kit: Kit) -> Record:
        revoked = kit.revoked.intersection(record.parents)
        if revoked:
            return _blank(record).drop(kit.entry, "revoked", f"seed {min(revoked)} was taken down")
        cell = _cell(msgspec.structs.asdict(record.labels))
        found = cuts[cell]
        rank = _rank(record.id, record.scores, record.evidence)
        if found["cut"] is None or rank > tuple(found["cut"]):
            return record.drop(kit.entry, *_why_not(record, found))
        held = unit("split", _origin(record)) < self.config.validation_share
        return msgspec.structs.replace(record, split="validation" if held else "train")


def _blank(record: Record) -> Record:
    """What tells the record and nothing more: a text that was taken down must not stand in a published folder."""
    from boostqa.record import Record

    return Record(id=record.id, kind=record.kind, parents=record.parents, round=record.round)


def _why_not(record: Record, found: dict[str, Any]) -> tuple[str, str]:
    """Reason and evidence of an item that its cell does not take; `found` is the cell's entry in the state."""
    labels = record.labels
    if labels.discipline is None or labels.level is None:
        return "unlabelled", f"discipline {labels.discipline or '-'}, level {labels.level or '-'}"
    name = f"cell {found['discipline']} {found['level']}"
    if not found["quota"]:
        return "no_quota", f"{name} has no quota in the plan"
    return "over_quota", f"{name} has its {found['quota']}, best supported of {found['accepted']}"


def _origin(record: Record) -> str:
    """What decides the side of the split. The salt differs from the hold-out's: seeds in that are gone."""
    if record.seeds:
        return record.seeds[0].cluster or record.seeds[0].id
    return record.dup_cluster or record.id


def _cell(labels: dict[str, Any]) -> Cell:
    return labels["discipline"] or "Other", labels["level"] or "unknown"


def _rank(identifier: str, scores: dict[str, float], evidence: list[str]) -> Rank:
    """Sorts better-supported items first, then by judge score; the id decides ties, so nothing else can."""
    return -float(len(evidence)), -scores.get("judge", 0.0), identifier


def _ranked(table: pa.Table) -> pa.Table:
    """Rows of `_RANKED` in the order of the records; `_cell` and `_rank` in bulk, and equal to them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    labels, judge = table.column("labels"), pc.map_lookup(table.column("scores"), "judge", "last")
    columns = [
        pc.fill_null(pc.struct_field(labels, "discipline"), "Other"),
        pc.fill_null(pc.struct_field(labels, "level"), "unknown"),
        pc.negate(pc.cast(pc.fill_null(pc.list_value_length(table.column("evidence")), 0), pa.float64())),
        pc.subtract(0.0, pc.fill_null(judge, 0.0)),
        table.column("id"),
    ]
    return pa.table(columns, schema=schema_of(_RANKED))


def _quotas(kit: Kit) -> dict[Cell, int]:
    """Quotas of the latest plan."""
    states = kit.read_states("plans", "quotas")
    return {(c["discipline"], c["level"]): c["quota"] for c in states[-1]["cells"]} if states else {}


def _layout(refs: list[tuple[str, int]], rows_per_file: int) -> list[dict[str, Any]]:
    """Groups of input shards of about `rows_per_file` rows; at least one file, so that a reader finds a schema."""
    groups: list[list[str]] = [[]]
    filled = 0
    for ref, rows in refs:
        if filled and filled + rows > rows_per_file:
            groups.append([])
            filled = 0
        groups[-1].append(ref)
        filled += rows
    return [{"name": f"{i:05d}-of-{len(groups):05d}", "refs": group} for i, group in enumerate(groups)]
