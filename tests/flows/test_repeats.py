"""Rows that share an id are told by their lines; a column whose values mostly come again is no id."""

from __future__ import annotations

from boostqa.flows.repeats import MANY, Ids
from boostqa.readers.items import Raw


def ids(rows: list[tuple[str, str]]) -> Ids:
    found = Ids()
    for number, (name, question) in enumerate(rows):
        found.add(number, Raw(id=name, question=question, line=number + 1))
    return found


def test_each_row_that_shares_an_id_is_told_with_the_first_line() -> None:
    rows = [("a", "one"), ("b", "two"), ("a", "one"), ("", "three"), ("a", "four"), ("", "three")]
    assert ids(rows).repeats() == {2: (3, 1, True), 4: (5, 1, False)}
    assert ids([("same", "x")] * 3).repeats() == {1: (2, 1, True), 2: (3, 1, True)}


def test_a_column_that_tells_no_rows_apart_is_no_id() -> None:
    assert ids([(f"user-{n % 9}", f"question {n}") for n in range(MANY)]).repeats() == {}
    assert len(ids([(f"row-{n % 900}", f"question {n}") for n in range(MANY)]).repeats()) == MANY - 900
