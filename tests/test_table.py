"""Records in tables: what is counted and left out in bulk is what a loop over records would find."""

from __future__ import annotations

from collections import Counter

from boostqa.record import Labels, Record, Requested
from boostqa.table import from_table, tally, to_table, unrevoked


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
