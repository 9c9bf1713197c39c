import random

import pytest

from boostqa.text.intervals import beta_interval, shrink, wilson


def test_wilson_known_values():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        (1, 1, 0.025, 0.975),
        (2, 1, 0.158114, 0.987421),
        (1, 3, 0.008404, 0.707598),
        (0.5, 0.5, 0.001541, 0.998459),
        (5000, 5000, 0.490200, 0.509800),
    ],
)
def test_beta_interval_against_exact_quantiles(a, b, low, high):
    # Closed forms: Beta(a, 1) has quantile q^(1/a), Beta(1/2, 1/2) sin^2(pi q / 2).
    assert beta_interval(a, b) == pytest.approx((low, high), abs=2e-3)


def test_a_cell_with_three_items_does_not_scream():
    counts = {("Science", level): (32.0, 40.0) for level in ("H1", "H2", "H3")}
    counts |= {("Law", level): (30.0, 40.0) for level in ("H1", "H2", "H3")}
    counts[("Science", "H4")] = (0.0, 3.0)
    counts[("Science", "H5")] = (0.0, 0.0)
    cells, groups, overall = shrink(counts)
    small, empty = cells["Science", "H4"], cells["Science", "H5"]
    assert small.raw == 0
    assert 0.3 < small.mean < groups["Science"].mean
    assert empty.raw is None
    assert empty.mean == pytest.approx(groups["Science"].mean, abs=0.01)
    assert empty.high - empty.low > cells["Science", "H1"].high - cells["Science", "H1"].low
    assert overall.low < overall.mean < overall.high


def test_intervals_cover_the_truth_in_simulated_cells():
    rng = random.Random(1)
    covered = total = 0
    for _ in range(20):
        truth, counts = {}, {}
        for group in range(8):
            centre = rng.betavariate(6, 4)
            for cell in range(5):
                key = str(group), str(cell)
                truth[key] = rng.betavariate(10 * centre, 10 * (1 - centre))
                n = rng.choice([5, 10, 20, 50, 200])
                counts[key] = float(sum(rng.random() < truth[key] for _ in range(n))), float(n)
        cells, _, _ = shrink(counts)
        covered += sum(cells[key].low <= p <= cells[key].high for key, p in truth.items())
        total += len(truth)
    assert 0.92 <= covered / total <= 0.98
