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

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from pydantic import Field

from boostqa.grouping import WINDOW, components, distinct, leaders, pairs
from boostqa.record import Record
from boostqa.stage import Gather, Kit, Map, Shuffle, Stage, StageConfig, State, Step
from boostqa.text import minhash
from boostqa.text.normalise import fold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Hashes = npt.NDArray[np.uint64]
    Indexes = npt.NDArray[np.int64]
    Signatures = npt.NDArray[np.uint32]

CHUNK = 16_384
"""Pairs whose signatures are compared at once (each takes about a kilobyte)."""

RANKS = 4
"""Numbers in a rank."""

_NUMBER = re.compile(r"(?<![a-z\d.])\d+(?:\.\d+)?")
_COLUMNS = ("id", "kind", "question", "choices", "answer", "passage", "solution", "scores", "evidence")
_SIGNATURES: Mapping[str, str] = {
    "id": "string",
    "who": "uint64",
    "kind": "string",
    "exact": "uint64",
    "skeleton": "uint64",
    "numbers": "uint64",
    "answer": "uint64",
    "rank": "list<double>",
    "signature": "binary",
}
_DECISIONS: Mapping[str, str] = {
    "id": "string",
    "who": "uint64",
    "cluster": "string",
    "similarity": "double",
    "reason": "string",
    "partner": "string",
    "partner_similarity": "double",
}


class DedupConfig(StageConfig):
    """Section `dedup` of a recipe; it holds for seeds and for what was synthesised."""

    threshold: float = Field(default=0.8, ge=0.5, le=1.0)
    """Estimated Jaccard similarity, 0.5..1, from which two records are duplicates."""
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
    Config: ClassVar[type[StageConfig]] = DedupConfig
    config: DedupConfig

    def steps(self) -> tuple[Step, ...]:
        """Signatures, their bands, pairs that share one, clusters, verdicts."""
        keys = {"key": "uint64", "who": "uint64"}
        edges = {"left": "uint64", "right": "uint64"}
        return (
            Map("signatures", self._signatures, takes="table", rows=_SIGNATURES),
            Map("bands", self._bands, takes="table", rows=keys),
            Shuffle("edges", "bands", "key", _candidates, rows=edges, partitions=self.config.partitions),
            Gather("clusters", self._clusters),
            Map("decide", _decide),
        )

    def _signatures(self, table: pa.Table, kit: Kit) -> pa.Table:
        import pyarrow as pa

        from boostqa.table import schema_of

        config = self.config
        rows = table.select(_COLUMNS).to_pylist(maps_as_pydicts="strict")
        found = [_row(row) for row in rows]
        signatures = minhash.signatures(
            [one["text"] for one in found], bands=config.bands, rows=config.rows, n=config.ngram
        )
        for one, signature in zip(found, signatures, strict=True):
            one["signature"] = signature.astype("<u4").tobytes()
        return pa.Table.from_pylist(found, schema=schema_of(_SIGNATURES))

    def _bands(self, table: pa.Table, kit: Kit) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        rows = kit.rows("signatures")
        who = _array(rows, "who")
        keys = minhash.band_hashes(self._matrix(rows), self.config.bands).T.reshape(-1)
        owners = np.tile(who, self.config.bands)
        for column in ("exact", "skeleton"):
            hashes = _array(rows, column)
            keys = np.concatenate((keys, hashes[hashes != 0]))
            owners = np.concatenate((owners, who[hashes != 0]))
        return pa.table({"key": pa.array(keys, pa.uint64()), "who": pa.array(owners, pa.uint64())})

    def _matrix(self, rows: pa.Table) -> Signatures:
        import numpy as np

        data = b"".join(rows.column("signature").to_pylist())
        return np.frombuffer(data, dtype="<u4").reshape(rows.num_rows, self.config.bands * self.config.rows)

    def _clusters(self, kit: Kit) -> State:
        import numpy as np

        parts = [(_array(t, "left"), _array(t, "right")) for t in kit.batches("edges")]
        left = np.concatenate([a for a, _ in parts]) if parts else np.empty(0, dtype=np.uint64)
        right = np.concatenate([b for _, b in parts]) if parts else np.empty(0, dtype=np.uint64)
        left, right = distinct(left, right)
        nodes = _nodes(kit, np.unique(np.concatenate((left, right))))
        decisions = _Groups(nodes, self._matrix(nodes), left, right, self.config).decisions(kit)
        reasons = [reason for reason in decisions.column("reason").to_pylist() if reason]
        counts = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        return {"clusters": decisions, "counts": counts, "pairs": len(left)}


class _Groups:
    """Everything about the records that have a candidate partner, as arrays over the nodes, sorted by id."""

    def __init__(
        self, nodes: pa.Table, signatures: Signatures, left: Hashes, right: Hashes, config: DedupConfig
    ) -> None:
        import numpy as np

        self.nodes, self.signatures, self.config = nodes, signatures, config
        self.old = np.asarray(nodes.column("old").to_pylist(), dtype=bool)
        self.exact, self.skeleton = _array(nodes, "exact"), _array(nodes, "skeleton")
        self.numbers, self.answers = _array(nodes, "numbers"), _array(nodes, "answer")
        who = _array(nodes, "who")
        order = np.argsort(who)
        self.a = order[np.searchsorted(who, left, sorter=order)]
        self.b = order[np.searchsorted(who, right, sorter=order)]
        self.place = self._preference()

    def _preference(self) -> Indexes:
        """Place of each node in the order of who stays: incumbents, then better ranks, then smaller ids."""
        import numpy as np

        count = self.nodes.num_rows
        ranks = np.array(self.nodes.column("rank").to_pylist(), dtype=float).reshape(count, RANKS)
        keys = [np.arange(count), *(-ranks.T[::-1]), ~self.old]
        place = np.empty(count, dtype=np.int64)
        place[np.lexsort(keys)] = np.arange(count)
        return place

    def similarity(self, a: Indexes, b: Indexes) -> npt.NDArray[np.float64]:
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

    def decisions(self, kit: Kit) -> pa.Table:
        """Rows of `_DECISIONS` for the nodes of this segment."""
        import numpy as np
        import pyarrow as pa

        from boostqa.table import schema_of

        a, b, count = self.a, self.b, self.nodes.num_rows
        similar = self.similarity(a, b)
        mates = (self.skeleton[a] == self.skeleton[b]) & (self.skeleton[a] != 0)
        same = self._same(a, b)
        # The score of a pair belongs to the one that would have to go, so that a stricter cut needs no rerun.
        scores = np.zeros(count)
        np.maximum.at(scores, np.where(self.place[a] > self.place[b], a, b), similar)
        known = _known(kit, self.nodes.filter(pa.array(self.old)).column("id"))
        ids = self.nodes.column("id").to_pylist()
        # What an earlier segment dropped is not there any more, so nothing goes for it.
        gone = np.array([i in known and known[i].dropped for i in ids], dtype=bool)
        winners = leaders((a[same], b[same]), self.place, self.old, gone, self._same)
        partners = winners.copy()
        reasons = np.full(count, None, dtype=object)
        lost = (winners != np.arange(count)) & ~self.old
        equal = self.exact == self.exact[winners]
        reasons[lost & equal], reasons[lost & ~equal] = "exact_duplicate", "near_duplicate"
        self._cap(reasons, partners, known)
        clusters = self._names(components(count, a[same | mates], b[same | mates]), known)
        who = _array(self.nodes, "who")
        to_partner = self.similarity(np.arange(count), partners)
        rows = [
            {
                "id": ids[i],
                "who": who[i],
                "cluster": clusters[i],
                "similarity": float(scores[i]),
                "reason": reasons[i],
                "partner": ids[partners[i]] if reasons[i] else None,
                "partner_similarity": float(to_partner[i]) if reasons[i] else None,
            }
            for i in np.flatnonzero(~self.old)
        ]
        return pa.Table.from_pylist(rows, schema=schema_of(_DECISIONS)).sort_by("who")

    def _cap(self, reasons: npt.NDArray[np.object_], partners: Indexes, known: Mapping[str, _Known]) -> None:
        """Marks what is beyond `max_variants` of one skeleton and kind, and names the first as partner."""
        import numpy as np

        kinds, ids = self.nodes.column("kind").to_pylist(), self.nodes.column("id").to_pylist()
        stayed: dict[tuple[str, int], list[int]] = {}
        for i in np.argsort(self.place):
            if self.skeleton[i] == 0 or reasons[i] or (ids[i] in known and known[ids[i]].dropped):
                continue
            group = stayed.setdefault((kinds[i], int(self.skeleton[i])), [])
            if len(group) >= self.config.max_variants and not self.old[i]:
                reasons[i], partners[i] = "too_many_variants", group[0]
            else:
                group.append(int(i))

    def _names(self, component: Indexes, known: Mapping[str, _Known]) -> list[str]:
        """Cluster id of each node: of its incumbents' clusters the smallest, else the smallest id."""
        import numpy as np

        ids = self.nodes.column("id").to_pylist()
        older: dict[int, str] = {}
        for i in np.flatnonzero(self.old):
            cluster = known[ids[i]].cluster if ids[i] in known else ids[i]
            root = int(component[i])
            older[root] = min(older.get(root, cluster), cluster)
        # Nodes are sorted by id, so a component's smallest index is its smallest id.
        return [older.get(int(root), ids[root]) for root in component]


class _Known(msgspec.Struct, frozen=True):
    """What an earlier segment decided about a record."""

    cluster: str
    dropped: bool


def _known(kit: Kit, ids: pa.ChunkedArray) -> dict[str, _Known]:
    """Earlier decisions about `ids`; absent is a record that had no candidates: kept, its own cluster."""
    import pyarrow.compute as pc

    found: dict[str, _Known] = {}
    for state in kit.read_states("incumbents", "clusters"):
        table = state["clusters"]
        for row in table.filter(pc.is_in(table.column("id"), value_set=ids.combine_chunks())).to_pylist():
            found[row["id"]] = _Known(row["cluster"], row["reason"] is not None)
    return found


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """What is compared of one record, without its signature; `text` is what that is made from."""
    choices = row["choices"] or []
    question, options = fold(row["question"] or row["passage"] or ""), sorted(map(fold, choices))
    text = "\n".join((question, *options))
    skeleton = numbers = 0
    if row["question"] and _NUMBER.search(text):
        blanks = sorted(_NUMBER.sub("#", option) for option in options)
        skeleton = _hash("\n".join(("skeleton", _NUMBER.sub("#", question), *blanks))) or 1
        numbers = _hash(" ".join(_NUMBER.findall(text)))
    answer = row["answer"] or ""
    if choices and len(answer) == 1 and 0 <= ord(answer) - 65 < len(choices):
        answer = choices[ord(answer) - 65]
    return {
        "id": row["id"],
        "who": _hash(row["id"]),
        "kind": row["kind"],
        "exact": _hash(text) or 1,
        "skeleton": skeleton,
        "numbers": numbers,
        "answer": _hash(fold(answer)),
        "rank": _rank(row, len(text)),
        "text": text,
    }


def _hash(text: str) -> int:
    import xxhash

    return xxhash.xxh3_64_intdigest(text.encode())


def _rank(row: dict[str, Any], length: int) -> list[float]:
    """What makes a record worth keeping, most important first; higher is better."""
    scores = row["scores"] or {}
    if row["kind"] == "seed":
        answered = float(bool(row["answer"]))
        return [scores.get("priority", 0.0), answered, scores.get("quality", 0.0), float(length)]
    support, written = len(row["evidence"] or []), len(row["solution"] or "")
    return [float(support), scores.get("judge", 0.0), scores.get("pass_rate", 0.0), float(written)]


def _array(table: pa.Table, column: str) -> Hashes:
    return cast("Hashes", table.column(column).to_numpy())


def _candidates(table: pa.Table, kit: Kit) -> pa.Table:
    """Pairs that share a key of this partition, each with at least one record of this segment."""
    import numpy as np
    import pyarrow as pa

    keys, who = _array(table, "key"), _array(table, "who")
    mine = np.unique(keys)
    all_keys, all_who = [keys], [who]
    for rows in kit.read_rows("incumbents", "bands"):
        found = np.isin(_array(rows, "key"), mine)
        all_keys.append(_array(rows, "key")[found])
        all_who.append(_array(rows, "who")[found])
    old = np.arange(sum(map(len, all_keys))) >= len(keys)
    left, right = pairs(np.concatenate(all_keys), np.concatenate(all_who), old)
    return pa.table({"left": pa.array(left, pa.uint64()), "right": pa.array(right, pa.uint64())})


def _nodes(kit: Kit, needed: Hashes) -> pa.Table:
    """Signature rows of the `needed` records, with `old` for incumbents, sorted by id."""
    import numpy as np
    import pyarrow as pa

    from boostqa.table import schema_of

    parts = [schema_of({**_SIGNATURES, "old": "bool"}).empty_table()]

    def add(tables: Iterable[pa.Table], old: bool) -> None:
        for table in tables:
            rows = table.filter(pa.array(np.isin(_array(table, "who"), needed)))
            parts.append(rows.append_column("old", pa.array([old] * rows.num_rows, pa.bool_())))

    add(kit.batches("signatures"), False)
    add(kit.read_rows("incumbents", "signatures"), True)
    return pa.concat_tables(parts).sort_by("id")


def _decide(records: list[Record], kit: Kit) -> Iterator[Record]:
    import numpy as np

    # Sorted by hash, so that a shard looks its own up and does not go through everybody's.
    table = kit.state("clusters")["clusters"]
    mine = np.array([_hash(record.id) for record in records], dtype=np.uint64)
    place = np.searchsorted(_array(table, "who"), mine).clip(max=max(table.num_rows - 1, 0))
    found = {row["id"]: row for row in table.take(place).to_pylist()} if table.num_rows else {}
    for record in records:
        row = found.get(record.id)
        cluster, similarity = (row["cluster"], row["similarity"]) if row else (record.id, 0.0)
        record = record.score(dup_similarity=round(similarity, 6))
        record = msgspec.structs.replace(record, dup_cluster=cluster)
        if row and row["reason"]:
            evidence = f"{row['partner']} similarity {row['partner_similarity']:.3f}"
            record = record.drop(kit.entry, row["reason"], evidence)
        yield record
