"""Finds records that say the same, keeps the best of each group, and gives every record a cluster.

Compared is the question side: question and choices (in any order) of a question-answer pair, the whole text
of a passage. Records that share a band of their MinHash signatures, their exact folded text or their skeleton
(the text with its numbers blanked) are looked at in pairs:

- equal text, or similarity at or above `threshold`: duplicates. Earlier segments are incumbents and win;
  else the best rank stays, then the smallest id. A record goes only for one that stays and is itself that
  similar to it: of a chain in which only neighbours are alike, every other link may stay.
- same skeleton, other numbers and another answer: numeric variants, which are no duplicates however alike
  they are. At most `max_variants` of one skeleton and kind stay; those beyond are `too_many_variants`.

A cluster joins duplicates and variants, because both must fall on the same side of the hold-out. Its id is
the smallest of its incumbents' clusters, else the smallest id in it. Memory: 16 bytes a key in one partition,
and one signature for each record that has a candidate partner; nothing depends on the order of shards.
Knows nothing of what records are for: the same stage serves seeds and what was synthesised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from boostqa.flows import duplicates
from boostqa.grouping import WINDOW, components, distinct, leaders, pairs
from boostqa.stage import Gather, Kit, Map, Shuffle, Stage, StageConfig, State, Step
from boostqa.table import schema_of, unpack, with_drops, with_scores
from boostqa.text import minhash

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Hashes = npt.NDArray[np.uint64]
    Indexes = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

CHUNK = 16_384
"""Pairs whose signatures are compared at once (each takes about half a kilobyte)."""
REASONS = (None, "exact_duplicate", "near_duplicate", "too_many_variants")
_EXACT, _NEAR, _MANY = 1, 2, 3

_NODES = ("id", "who", "kind", "exact", "skeleton", "numbers", "answer", "rank", "signature")
_KEYS = ("who", "keys")
_DECISIONS = {
    "who": "uint64",
    "cluster": "string",
    "similarity": "double",
    "reason": "string",
    "partner": "string",
    "partner_similarity": "double",
}


class DedupConfig(StageConfig):
    """Section `dedup` of a recipe; it holds for seeds and for what was synthesised."""

    threshold: float = Field(default=0.7, ge=0.5, le=1.0)
    """Estimated Jaccard similarity, 0.5..1, from which two records are duplicates. The estimate's standard error is
    0.04, so a cut at 0.7 finds those of 0.8 and above."""
    ngram: int = Field(default=minhash.NGRAM, ge=1, le=20)
    """Words (Chinese: characters) per n-gram."""
    bands: int = Field(default=minhash.BANDS, ge=1, le=128)
    """Bands of a signature; more bands find more pairs below the threshold."""
    rows: int = Field(default=minhash.ROWS, ge=1, le=32)
    """Hash functions per band; more rows find fewer pairs."""
    max_variants: int = Field(default=3, ge=1, le=WINDOW)
    """Records of one kind that may share a skeleton: the same words with other numbers and answers."""
    partitions: int = Field(default=8, ge=1, le=4096)
    """Parts into which the comparison is split; more parts need less memory each."""


class Dedup(Stage):
    """See the module docstring. Drops: `exact_duplicate`, `near_duplicate`, `too_many_variants`."""

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 3
    Config: ClassVar[type[StageConfig]] = DedupConfig
    config: DedupConfig

    def steps(self) -> tuple[Step, ...]:
        """Signatures, pairs that share a band, clusters, verdicts."""
        config = self.config
        edges = {"left": "uint64", "right": "uint64"}
        compared = duplicates.rows(config.bands, config.bands * config.rows)
        return (
            Map("signatures", self._compared, takes="table", rows=compared, columns=duplicates.COLUMNS),
            Shuffle(
                "edges",
                "signatures",
                "key",
                _candidates,
                rows=edges,
                partitions=config.partitions,
                split=_keys,
                columns=_KEYS,
            ),
            Gather("clusters", self._clusters),
            Map("decide", _decide, takes="table"),
        )

    def _compared(self, table: pa.Table, kit: Kit) -> pa.Table:
        config = self.config
        return duplicates.compared(table, bands=config.bands, rows_per_band=config.rows, n=config.ngram)

    def _clusters(self, kit: Kit) -> State:
        import numpy as np

        none = np.empty(0, dtype=np.uint64)
        left, right = none, none
        for rows in kit.batches("edges"):
            # Pairs that share many bands come from many partitions, so they are made one as they come.
            ends = (_array(rows, "left"), _array(rows, "right"))
            left, right = distinct(np.concatenate((left, ends[0])), np.concatenate((right, ends[1])))
        nodes = _nodes(kit, np.unique(np.concatenate((left, right))))
        groups = _Groups(nodes, left, right, self.config)
        reasons, table = groups.decisions(_Known(kit, nodes))
        counts = np.bincount(reasons, minlength=len(REASONS))
        found = {str(name): int(count) for name, count in zip(REASONS[1:], counts[1:], strict=True) if count}
        return {"clusters": table, "counts": found, "pairs": len(left)}


class _Known:
    """What earlier segments decided about the incumbents among the nodes.

    A record that no earlier segment decided about had no candidates: it was kept and is its own cluster.
    """

    def __init__(self, kit: Kit, nodes: pa.Table) -> None:
        import numpy as np
        import pyarrow as pa

        self.places = np.flatnonzero(nodes["old"].to_numpy())
        """Which nodes are incumbents."""
        parts = [schema_of(_DECISIONS).empty_table().select(["who", "cluster", "reason"])]
        needed = np.sort(_array(nodes, "who")[self.places])
        for state in kit.read_states("incumbents", "clusters"):
            table = state["clusters"].select(["who", "cluster", "reason"])
            parts.append(table.filter(pa.array(_among(_array(table, "who"), needed))))
        decided = pa.concat_tables(parts).sort_by("who").combine_chunks()
        mine = _array(nodes, "who")[self.places]
        at = np.searchsorted(_array(decided, "who"), mine)
        known = _among(mine, _array(decided, "who"))
        own = nodes["id"].take(pa.array(self.places))
        both = pa.chunked_array([*decided["cluster"].chunks, *own.chunks], pa.string())
        self.clusters = both.take(pa.array(np.where(known, at, len(decided) + np.arange(len(mine)))))
        """The cluster of each incumbent."""
        dropped = np.append(decided["reason"].is_valid().to_numpy(), False)
        self.gone = np.zeros(len(nodes), dtype=bool)
        """Which nodes are incumbents that were dropped: nothing goes for them any more."""
        self.gone[self.places[dropped[np.where(known, at, len(decided))]]] = True


class _Groups:
    """Everything about the records that have a candidate partner, as arrays over the nodes, sorted by id."""

    def __init__(self, nodes: pa.Table, left: Hashes, right: Hashes, config: DedupConfig) -> None:
        import numpy as np

        self.nodes, self.config = nodes, config
        self.signatures = unpack(nodes["signature"], "<u2")
        self.old = nodes["old"].to_numpy()
        self.exact, self.skeleton = _array(nodes, "exact"), _array(nodes, "skeleton")
        self.numbers, self.answers = _array(nodes, "numbers"), _array(nodes, "answer")
        who = _array(nodes, "who")
        order = np.argsort(who)
        self.a = order[np.searchsorted(who, left, sorter=order)]
        self.b = order[np.searchsorted(who, right, sorter=order)]
        # Place of each node in the order of who stays: incumbents, then better ranks, then smaller ids.
        ranks = unpack(nodes["rank"], "<f8")
        self.place = np.empty(len(nodes), dtype=np.int64)
        self.place[np.lexsort([*(-ranks.T[::-1]), ~self.old])] = np.arange(len(nodes))

    def similarity(self, a: Indexes, b: Indexes) -> Floats:
        """Estimated Jaccard similarity of pairs of nodes; 1 where the texts are equal."""
        import numpy as np

        result = np.empty(len(a))
        for start in range(0, len(a), CHUNK):
            part = slice(start, start + CHUNK)
            result[part] = (self.signatures[a[part]] == self.signatures[b[part]]).mean(axis=1)
        return np.where(self.exact[a] == self.exact[b], 1.0, result)

    def _same(self, a: Indexes, b: Indexes) -> npt.NDArray[np.bool_]:
        """Which pairs are duplicates."""
        mates = (self.skeleton[a] == self.skeleton[b]) & (self.skeleton[a] != 0)
        variants = mates & (self.numbers[a] != self.numbers[b]) & (self.answers[a] != self.answers[b])
        near = (self.similarity(a, b) >= self.config.threshold) & ~variants
        same: npt.NDArray[np.bool_] = (self.exact[a] == self.exact[b]) | near
        return same

    def decisions(self, known: _Known) -> tuple[Indexes, pa.Table]:
        """Index in `REASONS` and row of `_DECISIONS` for each node of this segment, the rows sorted by hash."""
        import numpy as np
        import pyarrow as pa

        a, b, count = self.a, self.b, len(self.nodes)
        mates = (self.skeleton[a] == self.skeleton[b]) & (self.skeleton[a] != 0)
        same = self._same(a, b)
        # The score of a pair belongs to the one that would have to go, so that a stricter cut needs no rerun.
        scores = np.zeros(count)
        np.maximum.at(scores, np.where(self.place[a] > self.place[b], a, b), self.similarity(a, b))
        partners = leaders((a[same], b[same]), self.place, self.old, known.gone, self._same)
        lost = (partners != np.arange(count)) & ~self.old
        reasons = np.where(lost, np.where(self.exact == self.exact[partners], _EXACT, _NEAR), 0)
        self._cap(reasons, partners, known.gone)
        component = components(count, a[same | mates], b[same | mates])
        clusters = self._names(component, known)
        who = _array(self.nodes, "who")
        mine = np.flatnonzero(~self.old)
        mine = mine[np.argsort(who[mine])]
        gone = pa.array(reasons[mine] == 0)
        table = {
            "who": who[mine],
            "cluster": clusters.take(pa.array(mine)),
            "similarity": scores[mine],
            "reason": pa.array(REASONS, pa.string()).take(pa.array(reasons[mine])),
            "partner": self.nodes["id"].take(pa.array(partners[mine], mask=gone.to_numpy(False))),
            "partner_similarity": pa.array(self.similarity(mine, partners[mine]), mask=gone.to_numpy(False)),
        }
        return reasons[mine], pa.table(table).cast(schema_of(_DECISIONS))

    def _cap(self, reasons: Indexes, partners: Indexes, gone: npt.NDArray[np.bool_]) -> None:
        """Marks what is beyond `max_variants` of one skeleton and kind, and names the first as partner."""
        import numpy as np

        kinds = self.nodes["kind"].combine_chunks().dictionary_encode().indices.to_numpy()
        some = np.flatnonzero((self.skeleton != 0) & (reasons == 0) & ~gone)
        some = some[np.lexsort((self.place[some], self.skeleton[some], kinds[some]))]
        new = np.ones(len(some), dtype=bool)
        for values in (kinds, self.skeleton):
            new[1:] &= values[some[1:]] == values[some[:-1]]
        new[1:] = ~new[1:]
        first = np.maximum.accumulate(np.where(new, np.arange(len(some)), 0))
        # Incumbents stand first in their group, so they count and stay.
        over = (np.arange(len(some)) - first >= self.config.max_variants) & ~self.old[some]
        reasons[some[over]], partners[some[over]] = _MANY, some[first[over]]

    def _names(self, component: Indexes, known: _Known) -> pa.ChunkedArray:
        """Cluster id of each node: of its incumbents' clusters the smallest, else the smallest id."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        order = pc.sort_indices(known.clusters).to_numpy().astype(np.int64)
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order))
        count = len(component)
        best = np.full(count, len(order))
        np.minimum.at(best, component[known.places], ranks)
        # Nodes are sorted by id, so a component's smallest index is its smallest id.
        names = pa.chunked_array([*self.nodes["id"].chunks, *known.clusters.chunks], pa.string())
        older = best[component]
        return names.take(
            pa.array(np.where(older < len(order), np.append(order, 0)[older] + count, component))
        )


def _array(table: pa.Table, column: str) -> Hashes:
    return cast("Hashes", table.column(column).to_numpy())


def _among(values: Hashes, sorted_set: Hashes) -> npt.NDArray[np.bool_]:
    """Which values are in a sorted array."""
    import numpy as np

    if not len(sorted_set):
        return np.zeros(len(values), dtype=bool)
    found: npt.NDArray[np.bool_] = sorted_set[np.searchsorted(sorted_set[:-1], values)] == values
    return found


def _keys(rows: pa.Table) -> pa.Table:
    """A row per key of each record, of rows of signatures."""
    import numpy as np
    import pyarrow as pa

    keys = unpack(rows["keys"], "<u8")
    owners = np.repeat(_array(rows, "who"), keys.shape[1])
    keys = keys.reshape(-1)
    return pa.table({"key": keys[keys != 0], "who": owners[keys != 0]})


def _candidates(table: pa.Table, kit: Kit) -> pa.Table:
    """Pairs that share a key of this partition, each with at least one record of this segment."""
    import numpy as np
    import pyarrow as pa

    keys, who = _array(table, "key"), _array(table, "who")
    mine, all_keys, all_who = keys[:0], [keys], [who]
    for rows in map(_keys, kit.read_rows("incumbents", "signatures", list(_KEYS))):
        mine = mine if len(mine) else np.sort(keys)
        found = _among(_array(rows, "key"), mine)
        all_keys.append(_array(rows, "key")[found])
        all_who.append(_array(rows, "who")[found])
    old = np.arange(sum(map(len, all_keys))) >= len(keys)
    left, right = pairs(np.concatenate(all_keys), np.concatenate(all_who), old)
    return pa.table({"left": pa.array(left, pa.uint64()), "right": pa.array(right, pa.uint64())})


def _nodes(kit: Kit, needed: Hashes) -> pa.Table:
    """Signature rows of the `needed` records, with `old` for incumbents, sorted by id."""
    import pyarrow as pa

    parts: list[pa.Table] = []

    def add(tables: Iterable[pa.Table], old: bool) -> None:
        for table in tables:
            rows = table.filter(pa.array(_among(_array(table, "who"), needed)))
            parts.append(rows.append_column("old", pa.array([old] * len(rows), pa.bool_())))

    add(kit.batches("signatures", list(_NODES)), False)
    add(kit.read_rows("incumbents", "signatures", list(_NODES)), True)
    return pa.concat_tables(parts).sort_by("id").combine_chunks()


def _decide(table: pa.Table, kit: Kit) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    found = kit.state("clusters")["clusters"]
    who = duplicates.identity_hashes(table["id"])
    mine = np.flatnonzero(_among(who, _array(found, "who")))
    rows = found.take(pa.array(np.searchsorted(_array(found, "who"), who[mine])))
    similarity = np.zeros(len(table))
    similarity[mine] = np.round(rows["similarity"].to_numpy(), 6)
    places = np.arange(len(table))
    places[mine] = len(table) + np.arange(len(mine))
    names = pa.chunked_array([*table["id"].chunks, *rows["cluster"].chunks], pa.string())
    lost = np.flatnonzero(rows["reason"].is_valid().to_numpy())
    drops: dict[int, tuple[str, str]] = {}
    for i, row in zip(mine[lost].tolist(), rows.take(pa.array(lost)).to_pylist(), strict=True):
        drops[i] = (row["reason"], f"{row['partner']} similarity {row['partner_similarity']:.3f}")
    field = table.schema.get_field_index("dup_cluster")
    table = table.set_column(field, table.schema.field(field), names.take(pa.array(places)))
    return with_drops(with_scores(table, dup_similarity=similarity), kit.entry, drops)
