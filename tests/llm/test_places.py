"""What is remembered of the latest answers is bounded, and the latest are always among it."""

from __future__ import annotations

from pathlib import Path

from boostqa.llm.places import Places


def key(n: int) -> bytes:
    return n.to_bytes(16, "big")


def test_the_latest_half_is_known_and_never_more_than_there_is_room_for() -> None:
    places = Places(100)
    for n in range(1000):
        places.add(key(n), Path("part"), n)
        assert len(places) <= 100
        assert all(places.get(key(m)) == (Path("part"), m) for m in range(max(0, n - 49), n + 1))
        assert n < 100 or key(n - 100) not in places


def test_the_first_place_of_a_key_stays() -> None:
    places = Places(4)
    for n in range(3):
        places.add(key(n), Path("first"), n)
    places.add(key(0), Path("second"), 9)
    assert places.get(key(0)) == (Path("first"), 0)
    assert len(places) == 3
