"""Pictures: escaped, inside their frame, and drawn to the numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from boostqa.report import charts


def numbers(svg: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf' {name}="([-0-9.]+)"', svg)]


def test_names_are_escaped_and_the_picture_is_well_formed() -> None:
    svg = charts.bubbles({("<b>", "&"): 3}, ["<b>"], ["&", "H2"], ("wish", "<script>"))
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg
    assert ElementTree.fromstring(svg).find("title") is not None


def test_area_of_bubbles_follows_the_count() -> None:
    svg = charts.bubbles({("H1", "H1"): 400, ("H2", "H1"): 100}, ["H1", "H2"], ["H1"], ("wish", "got"))
    large, small = numbers(svg, "r")
    assert large / small == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("kept", "dropped", "after"), [(0, 0, None), (10, 0, 10), (3, 7, 3), (1, 999, 400), (5, 5, 0)]
)
def test_flow_stays_in_its_frame(kept: int, dropped: int, after: int | None) -> None:
    svg = charts.flow(kept, dropped, after, max(kept + dropped, after or 0), "a stage")
    assert ElementTree.fromstring(svg).tag == "svg"
    assert all(0 <= x <= 1000 for x in numbers(svg, "x") + numbers(svg, "width"))
    drawn = [
        float(value) for path in re.findall(r' d="([^"]+)"', svg) for value in re.findall(r"[0-9.]+", path)
    ]
    assert all(value <= 1003 for value in drawn)


def test_bars_and_intervals_are_clipped_and_empty_ones_are_empty() -> None:
    assert numbers(charts.bar(3, 2), "width") == [100.0]
    assert numbers(charts.bar(0, 0), "width") == [0.0]
    assert numbers(charts.bar(1, 1_000_000), "width") == [0.8]
    svg = charts.interval(-0.2, 1.4, 0.5, "a share")
    assert all(0 <= x <= 100 for x in numbers(svg, "x1") + numbers(svg, "x2"))
