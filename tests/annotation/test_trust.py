import pytest

from boostqa.annotation.evaluation import spearman
from boostqa.annotation.trust import calibrated, reliability


def test_two_meters_of_difficulty():
    pairs = {("H1", "H1"): 4, ("H2", "H3"): 3, ("H5", "H2"): 1, ("H4", "H4"): 2, ("H1", "none"): 9}
    found = reliability(pairs)
    assert (found["n"], found["same"], found["near"]) == (10, 6, 9)
    lists = [(int(a[1]), int(b[1])) for (a, b), n in pairs.items() if b != "none" for _ in range(n)]
    assert found["spearman"] == pytest.approx(spearman(*zip(*lists, strict=True))[0])
    assert reliability({("none", "H1"): 3}) is None
    assert reliability({("H1", "H1"): 3})["spearman"] is None


def test_confidence_without_a_curve_stays():
    assert calibrated(None, [1.0, 0.0]) is None
    assert calibrated(0.7, None) == 0.7
    assert calibrated(0.7, [1.0, 0.0]) == pytest.approx(0.7, abs=1e-4)
    assert calibrated(0.9, [0.5, -1.0]) < 0.9
