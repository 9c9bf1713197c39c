"""Sums over ledger lines: what is not known, or in two currencies, has no sum."""

from __future__ import annotations

from typing import Any

from boostqa.llm.lines import Line, RawReply, Totals


def line(**fields: Any) -> Line:
    return Line(k="0" * 32, ts=1.0, name="strong", model="m", **{"reply": RawReply(text="yes"), **fields})


def test_two_currencies_have_no_sum() -> None:
    euros = Totals(answers=1, money=1.0, currency="EUR", lost=0.5)
    euros.merge(Totals(answers=1, money=2.0))  # free: no currency
    assert (euros.cost, euros.lost_cost, euros.currency) == (3.0, 0.5, "EUR")
    euros.merge(Totals(answers=1, money=70.0, currency="CNY"))
    assert (euros.cost, euros.lost_cost) == (None, None)
    later = Totals(answers=1, money=1.0, currency="EUR")
    later.merge(euros)
    assert later.cost is None


def test_lines_in_two_currencies_have_no_sum() -> None:
    totals = Totals()
    totals.add(line(cost=1.0, currency="EUR"))
    assert totals.cost == 1.0
    totals.add(line(cost=70.0, currency="CNY"))
    assert totals.cost is None


def test_what_a_call_without_a_price_may_have_cost_is_unknown() -> None:
    totals = Totals()
    totals.add(line(reply=None, err="cut off", lost_tokens=9))
    assert totals.lost_cost is None
    assert totals.cost is None  # requests were sent and nothing tells what they cost: not 0
    totals.add(line(cost=0.0))  # the model is free
    assert totals.lost_cost == 0.0
    assert totals.cost == 0.0
    assert Totals().cost == 0.0  # nothing was sent
