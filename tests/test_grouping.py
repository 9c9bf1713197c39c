from __future__ import annotations

import random

import numpy as np
import pytest

from boostqa import grouping
from boostqa.grouping import components, leaders, pairs


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


def test_each_round_of_leaders_looks_only_at_what_is_left_of_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours of a chain are alike, so every other link stays; the nodes outside it cost no round anything."""
    links, nodes = 40, 5_000
    looked_at = []

    def counted(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        looked_at.append(count)
        return components(count, a, b)

    monkeypatch.setattr(grouping, "components", counted)
    at = np.random.default_rng(1).permutation(nodes)[:links]
    chain = {int(node): place for place, node in enumerate(at)}
    place = np.arange(links, links + nodes)
    place[at] = np.arange(links)
    none = np.zeros(nodes, dtype=bool)

    def alike(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.array(
            [abs(chain[i] - chain[j]) <= 1 for i, j in zip(x.tolist(), y.tolist(), strict=True)], dtype=bool
        )

    winners = leaders((at[:-1], at[1:]), place, none, none, alike)
    expected = np.arange(nodes)
    expected[at[1::2]] = at[::2]
    assert winners.tolist() == expected.tolist()
    assert looked_at == list(range(links, 0, -2))
