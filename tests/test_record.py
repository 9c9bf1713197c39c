from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from boostqa.errors import ContractError
from boostqa.record import Event, Labels, Record, Requested, SeedText, Source
from boostqa.table import arrow_type, from_table, record_schema, to_table


def full() -> Record:
    return Record(
        id="a" * 32,
        kind="qa",
        parents=["t", "s"],
        question="1 + 1?",
        choices=["1", "2"],
        answer="B",
        variables={"z": 1.0, "b": 2.5},
        labels=Labels(discipline="Science", field="Mathematics", secondary_fields=["Physics"], level_se=0.3),
        gold=Labels(field="Mathematics"),
        requested=Requested(level="H5", route="high_difficulty"),
        seeds=[SeedText(id="s", question="q", variables={"n": 3.0})],
        source=Source(name="x", line=3, heading=["a", "b"]),
        scores={"z": 0.1, "a": 1.0},
        evidence=["symbolic"],
        history=[Event(stage="synthesize", action="born")],
    )


def test_records_survive_the_trip_through_arrow():
    records = [full(), full().drop("verify", "wrong_answer", "3 is not 2"), Record(id="b", kind="seed")]
    back = from_table(to_table(records))
    assert back == [msgspec.structs.replace(r, scores=dict(sorted(r.scores.items()))) for r in records]


def test_equal_records_give_equal_bytes_whatever_the_order_of_their_scores():
    other = msgspec.structs.replace(full(), scores={"a": 1.0, "z": 0.1}, variables={"b": 2.5, "z": 1.0})
    assert to_table([full()]).equals(to_table([other]))


def test_an_empty_table_has_the_full_schema():
    assert to_table([]).schema.equals(record_schema(), check_metadata=True)
    assert record_schema().field("labels").type.field("level_se").type == pa.float64()


def test_edit_keeps_the_id_and_adds_to_the_history():
    record = full()
    edited = record.edit("refine", "improved", "units added", answer="A")
    assert (edited.id, edited.answer, record.answer) == (record.id, "A", "B")
    assert edited.history == [*record.history, Event(stage="refine", action="improved", detail="units added")]


def test_a_child_names_its_parents_and_has_an_id_of_its_own():
    task = Record(id="t", kind="task", parents=["s"])
    first, second = (task.child("synthesize", "qa", i, question="q") for i in range(2))
    assert first.parents == ["t", "s"]
    assert len({first.id, second.id, task.id}) == 3
    assert task.child("synthesize", "qa", 0, question="other").id == first.id


def test_unknown_arrow_types_are_named():
    with pytest.raises(ContractError, match="'decimal' is not known"):
        arrow_type("list<decimal>")
