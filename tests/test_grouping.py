from __future__ import annotations

import random

import numpy as np

from boostqa.grouping import components, pairs


def test_pairs_are_those_of_every_key() -> None:
    rng = random.Random(1)
    rows = [(rng.randrange(40), who) for who in range(60) for _ in range(2)]
    keys, who = (np.array(column, dtype=np.uint64) for column in zip(*rows, strict=True))
    old = who < 20
    left, right = pairs(keys, who, old)
    expected = {
        (min(a, b), max(a, b))
        for k, a in rows
        for other, b in rows
        if k == other and a != b and not (a < 20 and b < 20)
    }
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == expected
    alone = np.arange(5, dtype=np.uint64)
    assert pairs(alone, alone, np.zeros(5, dtype=bool))[0].tolist() == []


def test_components_are_those_reached_over_edges() -> None:
    a, b = np.array([5, 4, 1]), np.array([4, 3, 0])
    assert components(7, a, b).tolist() == [0, 0, 2, 3, 3, 3, 6]
