"""Records in tables: what is counted, left out or changed in bulk is what a loop over records would find."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from boostqa.errors import ContractError
from boostqa.record import Labels, Record, Requested
from boostqa.table import (
    arrow_type,
    from_table,
    pack,
    tally,
    to_table,
    unpack,
    unrevoked,
    with_drops,
    with_scores,
)


def records() -> list[Record]:
    made = []
    for i in range(40):
        labels = Labels(discipline=(None, "Science", "Law")[i % 3], level=("H1", "H2")[i % 2])
        asked = Requested(discipline="Law", level="H1") if i % 4 else None
        parents = [f"seed-{n}" for n in range(i % 3)]
        made.append(
            Record(id=f"r{i}", kind="qa", labels=labels, requested=asked, parents=parents, round=i % 2)
        )
    return made


def test_records_come_back_as_they_went() -> None:
    assert from_table(to_table(records())) == records()


def test_tally_counts_combinations_of_fields() -> None:
    wanted = Counter(
        (r.labels.discipline, r.labels.level, r.requested.level if r.requested else None, r.round)
        for r in records()
    )
    found = tally(to_table(records()), "labels.discipline", "labels.level", "requested.level", "round")
    assert found == dict(wanted)
    assert tally(to_table([]), "id") == {}


def test_what_was_taken_down_and_what_comes_of_it_is_left_out() -> None:
    table = to_table(records()).slice(3)
    left = unrevoked(table, {"seed-1", "seed-9", "r3"}).column("id").to_pylist()
    assert left == [r.id for r in records()[4:] if "seed-1" not in r.parents]
    assert unrevoked(table, set()).num_rows == table.num_rows
    assert unrevoked(table, {"seed-0"}).column("parents").to_pylist() == [[]] * 13


def scored() -> list[Record]:
    scores: list[dict[str, float]] = [{"b": 1.0, "a": 2.0}, {}, {"c": 3.0}]
    return [Record(id=f"r{i}", kind="qa", question="q", scores=one) for i, one in enumerate(scores)]


def test_scores_of_a_table_are_those_of_its_scored() -> None:
    values = np.array([0.1, 0.2, 0.3])
    table = with_scores(to_table(scored()), b=values, z=values * 2)
    expected = [one.score(b=float(v), z=float(v) * 2) for one, v in zip(scored(), values, strict=True)]
    assert table.equals(to_table(expected))
    part = with_scores(to_table(scored()).slice(1), b=values[1:])
    assert [one.scores for one in from_table(part)] == [{"b": 0.2}, {"b": 0.3, "c": 3.0}]


def test_drops_of_a_table_are_those_of_its_scored() -> None:
    table = with_drops(to_table(scored()), "dedup", {2: ("late", "x 1"), 0: ("early", "")})
    one, two, three = scored()
    assert table.equals(to_table([one.drop("dedup", "early"), two, three.drop("dedup", "late", "x 1")]))
    assert with_drops(to_table(scored()), "dedup", {}).equals(to_table(scored()))


def test_rows_of_numbers_are_packed_and_unpacked() -> None:
    values = np.arange(12, dtype="<u2").reshape(4, 3)
    column = pa.chunked_array([pack(values)])
    assert column.type == arrow_type("binary<6>")
    assert unpack(column, "<u2").tolist() == values.tolist()
    assert unpack(column.slice(1, 2), "<u2").tolist() == values[1:3].tolist()
    assert unpack(column.slice(0, 0), "<u2").shape == (0, 3)
    with pytest.raises(ContractError, match="arrow type 'bytes' is not known"):
        arrow_type("bytes")
