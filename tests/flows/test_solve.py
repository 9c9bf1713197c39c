import asyncio
import math

import pytest

from boostqa.flows.solve import (
    Tally,
    letter_probabilities,
    measured_level,
    pooled,
    solve,
    solve_request,
    sound,
    tally,
    tally_from,
    tally_scores,
)
from boostqa.llm.model import Outcome, Reply, TokenLogprob
from scripted import Scripted


def attempts(*answers, choices=(), samples=None):
    queue = list(answers)
    model = Scripted("s", solve=lambda r: queue[r.sample])
    return asyncio.run(solve(model, "What is 2+2?", choices, samples=samples or len(queue))), model


def said(answer):
    return {"solution": "so", "answer": answer}


def test_samples_are_separate_requests_and_count_by_value():
    found, model = attempts(said("4"), said("4.0"), said("5"), Outcome.TRUNCATED, Outcome.FAILED)
    assert [request.sample for request in model.asked] == [0, 1, 2, 3, 4]
    counts = tally(found, "4", "calculation")
    assert (counts.agree, counts.differ, counts.rival, counts.rival_votes) == (2, 1, "5", 1)
    assert (counts.truncated, counts.failed) == (1, 1)
    assert counts.pass_rate == 0.5


def test_whoever_says_another_thing_in_words_is_counted():
    found, _ = attempts(said("Napoleon"), *[said("Wellington"), said("wellington.")] * 3, said("Blücher"))
    counts = tally(found, "Napoleon", "short_answer")
    assert (counts.agree, counts.differ, counts.unclear) == (1, 0, 7)
    assert (counts.rival, counts.rival_votes) == ("Wellington", 6)
    assert counts.pass_rate is None
    assert not counts.reached(1, 0.1)
    assert counts.reached(1, 0.1) == sound(counts, guessable=False)


def test_what_was_cut_off_measures_hardness_only_where_something_ended():
    found, _ = attempts(Outcome.TRUNCATED, Outcome.TRUNCATED)
    assert tally(found, "4").pass_rate is None
    found, _ = attempts(said("4"), Outcome.TRUNCATED, Outcome.TRUNCATED, Outcome.TRUNCATED)
    counts = tally(found, "4", "calculation")
    assert counts.pass_rate == 0.25
    assert counts.reached(1, 1.0)
    assert tally_from("s", tally_scores("s", counts)) == counts


def test_the_right_answer_to_a_hard_question_is_the_first_choice():
    assert sound(Tally(agree=2, differ=8, rival_votes=1), guessable=False)
    assert not sound(Tally(agree=2, differ=8, rival_votes=2), guessable=False)
    assert not sound(Tally(agree=1, differ=7, rival_votes=1), guessable=False)
    assert not sound(Tally(agree=3, differ=5, rival_votes=2), guessable=True)
    assert sound(Tally(agree=1), guessable=False)
    assert not sound(Tally(truncated=3), guessable=False)


def test_nothing_that_counts_gives_no_pass_rate():
    found, _ = attempts(Outcome.FAILED, Outcome.REFUSED)
    assert tally(found, "4").pass_rate is None


def test_option_texts_become_letters():
    found, model = attempts(said("(b)"), said("six"), choices=["five", "six"])
    assert [item.answer for item in found] == ["B", "B"]
    assert model.asked[0].schema["properties"]["answer"]["enum"] == ["A", "B"]


def test_the_solver_sees_the_question_only():
    request = solve_request("Why?", short=True)
    assert request.messages[-1].content == "## Question\nWhy?"
    assert request.schema_name == "solve_short"
    assert list(request.schema["properties"]) == ["answer"]


def test_letter_probabilities_are_read_at_the_chosen_letter():
    tokens = [
        TokenLogprob(token='{"answer":"', logprob=0.0),
        TokenLogprob(
            token="B", logprob=math.log(0.5), top={"B": math.log(0.5), " A": math.log(0.25), "x": -1.0}
        ),
        TokenLogprob(token='"}', logprob=0.0),
    ]
    found = letter_probabilities(Reply(outcome=Outcome.OK, logprobs=tokens), 3)
    assert found == pytest.approx({"A": 1 / 3, "B": 2 / 3, "C": 0.0})
    assert letter_probabilities(Reply(outcome=Outcome.OK), 3) is None


def test_tallies_survive_as_scores_and_add_up():
    found, _ = attempts(said("5"), said("5.0"), said("4"))
    counts = tally(found, "4", "calculation")
    again = tally_from("s", tally_scores("s", counts))
    assert (again.agree, again.differ, again.rival_votes) == (1, 2, 2)
    assert tally_from("other", {}) is None
    both = pooled([counts, counts])
    assert (both.agree, both.differ, both.rival_votes) == (2, 4, 4)


@pytest.mark.parametrize(
    ("agree", "level"), [(20, "H1"), (17, "H2"), (13, "H3"), (6, "H4"), (1, "H5"), (0, "H5")]
)
def test_levels_follow_the_pass_rate(agree, level):
    found, error = measured_level(agree, 20)
    assert found == level
    assert 0 < error < 1
    assert measured_level(agree / 5, 4)[1] > error


def test_a_level_needs_attempts():
    with pytest.raises(ValueError, match="cannot be measured from 0 attempts; at least 1"):
        measured_level(0, 0)
