"""The table of the latest answers does what a dict with a limit would do, and takes no more room when it is full."""

from __future__ import annotations

import hashlib
from pathlib import Path

from boostqa.llm.places import Places


def key(n: int) -> bytes:
    return hashlib.blake2b(b"%d" % n, digest_size=16).digest()


def test_it_is_a_dict_that_forgets_the_oldest() -> None:
    room = 100
    places, wanted = Places(room), dict[bytes, tuple[Path, int]]()
    for n in range(5000):
        # Some keys come again, while they are known (the first place stays) and after they were forgotten.
        one, place = key(n % 317 if n % 3 else n), (Path(f"part-{n // 40}"), n << 20)
        places.add(one, *place)
        wanted.setdefault(one, place)
        if len(wanted) > room:
            wanted.pop(next(iter(wanted)))
        assert len(places) == len(wanted)
        assert places.get(one) == wanted[one]
        if n % 50 == 0:
            assert all(places.get(each) == where for each, where in wanted.items())
            assert not any(key(m) in places for m in range(n + 1) if key(m) not in wanted)
    assert (
        len(places._files)
        == len(places._numbers)
        == len(places._uses)
        == len({p for p, _ in wanted.values()})
    )


def test_keys_with_one_hash_are_told_apart() -> None:
    class Same(bytes):
        def __hash__(self) -> int:
            return 7

    places = Places(4)
    same = [Same(bytes([n]) * 16) for n in range(4)]
    for n, one in enumerate(same):
        places.add(one, Path("a"), n)
    assert [places.get(one) for one in same] == [(Path("a"), n) for n in range(4)]
    assert places.get(Same(bytes(16 * [9]))) is None
