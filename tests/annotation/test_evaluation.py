import numpy as np
import pytest

from boostqa.annotation.evaluation import (
    agreement,
    calibration_error,
    calibration_interval,
    ranks,
    spearman,
    top_two,
)


def test_agreement_by_hand():
    gold = ["a"] * 50 + ["b"] * 50
    found = ["a"] * 40 + ["b"] * 10 + ["b"] * 30 + ["a"] * 20
    seen = agreement(gold, found)
    # The example of Cohen's kappa: 0.70 agree, 0.60 * 0.50 + 0.40 * 0.50 = 0.50 by chance.
    assert (seen.n, seen.correct, seen.accuracy) == (100, 70, 0.7)
    assert seen.kappa == pytest.approx(0.4)
    assert (seen.kappa_high - seen.kappa_low) / 2 == pytest.approx(1.959964 * 0.0458257569 / 0.5)
    assert seen.macro_f1 == pytest.approx((2 * 40 / 110 + 2 * 30 / 90) / 2)
    assert seen.confused == [("b", "a", 20), ("a", "b", 10)]
    assert seen.rare == []
    assert seen.low < 0.7 < seen.high


def test_agreement_at_the_edges():
    assert agreement(["a", "a"], ["a", "a"]).kappa == 1.0
    assert agreement([], []).accuracy == 0.0
    assert agreement(["a", "b"], ["a", "Other"]).macro_f1 == 0.5
    assert agreement(["a", "b"], ["a", "b"]).rare == [("a", 1), ("b", 1)]
    with pytest.raises(ValueError, match="zip"):
        agreement(["a"], [])


def test_top_two_and_calibration():
    chances = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    assert top_two(["b", "a", "c", "c"], ["a", "b", "c"], chances) == 0.5
    assert top_two([], ["a"], np.zeros((0, 1))) == 0.0
    sure = np.array([0.95] * 10 + [0.55] * 10)
    hit = np.array([True] * 9 + [False] + [True] * 2 + [False] * 8)
    assert calibration_error(sure, hit) == pytest.approx((0.05 + 0.35) / 2)


def test_spearman_with_ties():
    assert ranks([5, 1, 5, 9]).tolist() == [1.5, 0, 1.5, 3]
    rho, low, high = spearman([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5])
    assert rho == pytest.approx(1 - 6 * 6 / (6 * 35))
    assert low < rho < high
    assert spearman([1, 2, 3, 4], [7, 8, 90, 1000])[0] == pytest.approx(1.0)
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]) == (0.0, -1.0, 1.0)
    with pytest.raises(ValueError, match="3 values and 2"):
        spearman([1, 2, 3], [1, 2])


def test_intervals_hold_what_is_true_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    f1 = calibrated = 0
    for _ in range(100):
        gold = rng.choice(["a", "b"], 400)
        found = np.where(rng.random(400) < 0.8, gold, np.where(gold == "a", "b", "a"))
        seen = agreement(gold.tolist(), found.tolist())
        assert seen.macro_f1_low < seen.macro_f1 < seen.macro_f1_high
        # Labels as frequent as each other and errors both ways: macro-F1 of all there could be is 0.8.
        f1 += seen.macro_f1_low <= 0.8 <= seen.macro_f1_high
        error, low, high = calibration_interval(np.full(400, 0.9), rng.random(400) < 0.7)
        assert low <= error <= high
        calibrated += low <= 0.2 <= high
    assert 85 < f1 <= 100
    assert 85 < calibrated <= 100


def test_intervals_at_the_edges():
    assert calibration_interval(np.array([]), np.array([], dtype=bool)) == (0.0, 0.0, 1.0)
    assert (agreement([], []).macro_f1_low, agreement([], []).macro_f1_high) == (0.0, 1.0)
    assert agreement(["a"] * 9, ["a"] * 9).macro_f1_low == 1.0
