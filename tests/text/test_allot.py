import pytest

from boostqa.text.allot import allot, choose, even_shares


def test_sums_exactly_and_is_proportional():
    assert allot([1, 1, 1], 10) == [4, 3, 3]
    assert allot([3, 1], 8) == [6, 2]
    assert allot([], 0) == []


def test_floors_and_caps_hold_and_the_rest_flows_on():
    assert allot([10, 1, 1], 30, caps=[10, 100, 100]) == [10, 10, 10]
    assert allot([10, 1, 1], 30, floors=[0, 8, 0]) == [20, 8, 2]
    assert allot([0, 0], 5) == [3, 2]
    assert allot([1, 0], 5, caps=[2, 9]) == [2, 3]


def test_never_falls_when_the_weight_rises():
    last = 0
    for weight in range(1, 40):
        parts = allot([weight / 10, 1, 2, 0.5, 1.7], 137, floors=[0, 3, 0, 9, 0], caps=[60] * 5)
        assert sum(parts) == 137
        assert parts[0] >= last
        last = parts[0]


def test_impossible_demands_are_named():
    with pytest.raises(ValueError, match="3 is outside what floors"):
        allot([1, 1], 3, floors=[2, 2])
    with pytest.raises(ValueError, match="weights must be 0 or more"):
        allot([1, float("nan")], 3)


def test_even_shares_take_small_groups_whole():
    shares = even_shares({"big": 1000, "small": 10, "none": 0}, 110)
    assert shares == {"big": 0.1, "small": 1.0}
    assert even_shares({"a": 3}, 100) == {"a": 1.0}


def test_choose_follows_the_weights():
    weights = {"a": 1.0, "b": 0.0, "c": 3.0}
    drawn = [choose(weights, point / 1000) for point in range(1000)]
    assert drawn.count("a") == 250
    assert drawn.count("b") == 0
    with pytest.raises(ValueError, match="no name with a positive weight"):
        choose({"a": 0.0}, 0.5)
