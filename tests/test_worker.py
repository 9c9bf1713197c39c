from __future__ import annotations

import pytest

from boostqa.errors import ContractError
from boostqa.record import Record
from boostqa.table import to_table, with_drops
from boostqa.worker import _counted


def test_a_table_of_records_is_counted_and_must_be_the_one_that_came_in() -> None:
    before = to_table(Record(id=f"r{i}", kind="qa") for i in range(4))
    after = with_drops(before, "dedup", {1: ("late", ""), 3: ("late", "")})
    found = _counted(before, after, "dedup/part-00000")
    assert (found.inputs, found.kept, found.dropped, found.reasons) == (4, 2, 2, {"late": 2})
    with pytest.raises(
        ContractError, match="dedup/part-00000: the records of the table that came out are not"
    ):
        _counted(before, after.slice(1), "dedup/part-00000")
