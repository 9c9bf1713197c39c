from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostqa.identity import canonical, changes, digest, unit

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), plain, min_size=2, max_size=5))
def test_canonical_bytes_do_not_depend_on_key_order(value):
    assert canonical(value) == canonical(dict(reversed(list(value.items()))))


@given(plain, plain)
def test_digest_tells_values_apart_exactly_when_their_bytes_differ(a, b):
    assert (digest(a) == digest(b)) == (canonical(a) == canonical(b))


def test_digest_is_the_same_on_every_machine():
    assert digest("seed", 1, 0.5, ["中"], {"b": None, "a": True}) == "98c657dc6ada443dc04484169d32086f"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [math.nan]}, r"\$\.a\[0\]: nan has no canonical form"),
        ({1: "x"}, "key 1 is not a string"),
        (object(), "object has no canonical form"),
        (b"x", "bytes has no canonical form"),
    ],
)
def test_values_without_a_stable_form_are_refused(value, message):
    with pytest.raises(TypeError, match=message):
        canonical(value)


def test_changes_name_place_old_and_new():
    old = {"verify": {"votes": 3, "judge": True}, "gone": 1}
    new = {"verify": {"votes": 5, "judge": True}, "come": [2]}
    assert list(changes(old, new)) == [
        "come: (absent) -> [2]",
        "gone: 1 -> (absent)",
        "verify.votes: 3 -> 5",
    ]
    assert list(changes(old, old)) == []


def test_unit_is_uniform_and_depends_on_its_parts_alone():
    values = [unit("holdout", i) for i in range(4000)]
    assert all(0 <= v < 1 for v in values)
    assert abs(sum(v < 0.2 for v in values) / 4000 - 0.2) < 0.03
    assert unit("holdout", 7) == values[7]
