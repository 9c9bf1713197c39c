import numpy as np
import pytest

from boostqa.annotation.irt import fit, level_scores


def simulated(items, ability, slope, tries, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=items)
    hard = (hard - hard.mean()) / hard.std()  # the scale on which difficulties are reported
    chance = 1 / (1 + np.exp(-np.array(slope) * (np.array(ability) - hard[:, None])))
    tried = np.where(rng.random(chance.shape) < missing, 0, tries)
    return hard, rng.binomial(tried, chance), tried


@pytest.mark.parametrize(
    ("model", "slope"), [("1PL", [1.4, 1.4, 1.4, 1.4]), ("2PL", [0.7, 1.2, 2.0, 2.5])], ids=["1PL", "2PL"]
)
def test_what_was_simulated_is_recovered(model, slope):
    ability = [-1.0, 0.0, 0.5, 1.5]
    hard, solved, tried = simulated(3000, ability, slope, 4, missing=0.2)
    found = fit(solved, tried, model)
    assert found.steps < 500
    assert found.ability == pytest.approx(ability, abs=0.15)
    assert found.slope == pytest.approx(slope, rel=0.15)
    assert np.corrcoef(found.difficulty, hard)[0, 1] > 0.8
    # The errors are true to what they claim: standardised misses have deviation 1.
    missed = (found.difficulty - hard) / found.error
    assert float(missed.std()) == pytest.approx(1.0, abs=0.06)
    assert abs(float(missed.mean())) < 0.06
    inside = np.abs(missed) < 1.96
    assert float(inside.mean()) == pytest.approx(0.95, abs=0.02)


def test_more_tries_are_surer_and_none_say_nothing():
    tried = np.array([[0, 0], [1, 1], [8, 8]])
    _, solved, many = simulated(500, [0.0, 1.0], [1.5, 1.5], 4)
    found = fit(np.vstack([tried // 2, solved]), np.vstack([tried, many]))
    assert found.difficulty[0] == pytest.approx(0.0, abs=1e-9)
    assert found.error[0] == pytest.approx(1.0, abs=0.01)
    assert found.error[0] > found.error[1] > found.error[2]


def test_who_solved_it_counts_not_only_how_often():
    # One item solved by the strong solver alone, another by the weak one alone: equal pass rates.
    _, solved, tried = simulated(2000, [-1.5, 1.5], [0.8, 2.0], 6)
    found = fit(np.vstack([[[0, 6], [6, 0]], solved]), np.vstack([[[6, 6], [6, 6]], tried]), "2PL")
    assert found.difficulty[1] > found.difficulty[0] + 0.3


def test_all_or_nothing_stays_finite():
    solved = np.array([[5.0, 5.0]] * 10 + [[0.0, 0.0]] * 10)
    found = fit(solved, np.full((20, 2), 5.0), "2PL")
    assert np.isfinite(found.difficulty).all()
    assert found.difficulty[:10].max() < found.difficulty[10:].min()
    assert np.isfinite(found.slope).all()


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match="both be"):
        fit(np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="between 0 and the count of tried"):
        fit(np.ones((3, 2)), np.zeros((3, 2)))
    for odd in (np.inf, np.nan):
        with pytest.raises(ValueError, match="and finite"):
            fit(np.full((3, 2), odd), np.full((3, 2), odd))


def test_levels_by_cuts():
    levels, error = level_scores(
        np.array([-3.0, 0.0, 3.0]), np.array([0.5, 0.5, 0.5]), (-1.5, -0.5, 0.5, 1.5)
    )
    assert levels == [1, 3, 5]
    assert error.tolist() == [0.5, 0.5, 0.5]
