import json

import pytest

from boostqa.flows.check import Limits, Problem
from boostqa.flows.variant import answer_like, number_text, renumbered, support, variant
from boostqa.prompts import render
from boostqa.record import Record, Requested, SeedText

SEED = SeedText(
    id="s",
    question="A cyclist rides 45 km in 3 hours at a constant speed. "
    "What is the speed of the cyclist in km/h?",
    answer="15 km/h",
    formula="d / t",
    variables={"d": 45.0, "t": 3.0},
)
FACT = SeedText(
    id="f", question="Who wrote the novel Middlemarch under a male pen name?", answer="George Eliot"
)


def item(question, answer="15 km/h", *, strategy="vary", seed=SEED, **fields):
    requested = Requested(strategy=strategy, language="en")
    return Record(
        id="q", kind="qa", question=question, answer=answer, seeds=[seed], requested=requested, **fields
    )


def off(record):
    problem = variant(record, Limits())
    return problem.evidence if problem else None


def test_a_good_rewording_passes():
    assert (
        off(item("Maria needs 3 hours to cover 45 km by bicycle at constant speed. How many km/h?")) is None
    )
    assert (
        off(item("Which author wrote the novel Middlemarch, and who used a male pen name?", seed=FACT))
        is None
    )


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Maria needs 3 hours to cover 54 km by bicycle at constant speed. How fast?", "numbers wanted"),
        ("A cyclist rides 45 km at constant speed. What is the speed of the cyclist?", "numbers wanted"),
        ("A cyclist does not ride 45 km in 3 hours at constant speed. Which speed in km/h?", "negation"),
        ("A cyclist rides 45 km in 3 hours at a constant speed. What is the speed?", "in 'km/h'"),
    ],
)
def test_a_question_that_became_another_is_found(question, why):
    assert why in off(item(question))


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Who wrote this novel under a male pen name?", "'Middlemarch' is missing"),
        ("When was the novel Middlemarch written under a male pen name?", "asks 'who'"),
        ("Who was Middlemarch?", "keeps 0.20"),
    ],
)
def test_names_demand_and_words_must_stay(question, why):
    assert why in off(item(question, seed=FACT))


CAPITAL = SeedText(id="c", question="What is the capital of Australia?", answer="Canberra")
GAS = SeedText(id="g", question="Which gas do plants take in from the air?", answer="carbon dioxide")
GARDEN = SeedText(
    id="r",
    question="A rectangular garden is 8 m long and 5 m wide. What is its area in square metres?",
    answer="40",
    formula="a * b",
    variables={"a": 8.0, "b": 5.0},
)
TANK = SeedText(
    id="t",
    question="A tank holds 50 litres. Then 20 litres flow out. How many litres are left?",
    answer="30",
    formula="a - b",
    variables={"a": 50.0, "b": 20.0},
)


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize(
    ("seed", "question"),
    [
        (CAPITAL, "Name the currency used in Australia, please?"),
        (GAS, "Into which sugar do plants convert water?"),
        (GARDEN, "What is the perimeter of a rectangular garden 8 m long and 5 m wide?"),
        (GARDEN, "A rectangular garden has an area 8 m long and 5 m wide. What is its perimeter in metres?"),
        (TANK, "How many litres are left in a tank that holds 20 litres after 50 litres flow out?"),
        (TANK, "A tank holds 20 litres. Then 50 litres flow out of it. How many litres are left?"),
        (
            TANK,
            "Water flows out until 50 litres are left after 20 litres. How many litres did the tank hold?",
        ),
        (TANK, "How many litres did the tank hold if 50 litres are left when 20 litres flow out?"),
    ],
)
def test_another_quantity_other_roles_and_the_inverse_are_found(seed, question, close):
    found = variant(item(question, seed.answer, seed=seed), Limits(close_variants=close))
    assert found is not None
    assert found.reason == "off_variant"


def test_numbers_that_the_formula_treats_alike_may_change_places():
    turned = "What is the area in square metres of a rectangular garden 5 m wide and 8 m long?"
    assert off(item(turned, seed=GARDEN)) is None
    kept = "How many litres are left in a tank when 20 litres flow out and it holds 50 litres before?"
    assert off(item(kept, seed=TANK)) is None


def test_formulas_must_stay():
    seed = SeedText(id="m", question="Find the derivative of $x^2 + 1$ with respect to $x$.", answer="$2x$")
    assert off(item("Differentiate: find the derivative of $x^2 - 1$ by $x$.", seed=seed)) is not None


def numbers(question, answer="20 km/h", **variables):
    return item(
        question,
        answer,
        strategy="vary_numbers",
        formula="d / t",
        variables=variables or {"d": 80.0, "t": 4.0},
    )


def test_new_numbers_must_all_stand_there_with_their_units():
    assert (
        off(numbers("At constant speed a cyclist rides 80 km in 4 hours. Which speed is that in km/h?"))
        is None
    )
    left = off(
        numbers("A cyclist rides 80 km in 3 hours at constant speed. What is the speed of the cyclist?")
    )
    assert "numbers wanted" in left
    swapped = off(
        numbers("A cyclist rides 4 km in 80 hours at constant speed. What is the speed of the cyclist?")
    )
    assert swapped == "80 km became 80 hour"


CHINESE = SeedText(
    id="z",
    question="一列火车2小时行驶120千米，它的平均速度是多少？",
    answer="60千米/时",
    formula="s / t",
    variables={"s": 120.0, "t": 2.0},
)


def test_the_answer_must_not_come_in_with_new_words():
    found = variant(
        item("Who, known as George, wrote the novel Middlemarch?", "George Eliot", seed=FACT), Limits()
    )
    assert found.reason == "answer_leak"


def close(question, seed):
    problem = variant(item(question, seed.answer, seed=seed), Limits(close_variants=True))
    return problem.evidence if problem else None


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("The male who wrote Middlemarch used which pen name for the novel? Who was it?", "2 question marks"),
        ("Middlemarch is a book. Who wrote it?", "keeps"),
        ("Who wrote the novel Middlemarch under a female pen name?", "has 'female' for 'male'"),
        ("Who wrote the novel Middlemarch under a male pen name.", "does not end"),
        ("Who wrote the novel Middlemarch under a male pen name, and how was it?", "more than one thing"),
        ("Who wrote the novel Middlemarch, a novel with a male pen name?", "says 'novel' more often"),
        ("Who wrote the novel Middlemarch in England under a male pen name?", "brings in the name 'England'"),
        (
            "Under a male pen name, who wrote Middlemarch, that famous long English country novel of love?",
            "are new",
        ),
    ],
)
def test_close_variants_are_held_close(question, why):
    assert why in close(question, FACT)
    assert close("The novel Middlemarch was wrote under a male pen name. Who did it?", FACT) is None


@pytest.mark.parametrize("name", ["vary", "vary_name", "vary_point", "vary_numbers"])
def test_the_examples_in_the_prompts_pass_the_checks(name):
    variables = {"answer_wanted": False} if name == "vary_numbers" else {}
    turns = render(name, question="?", **variables)[1:-1]
    assert len(turns) >= 12
    for asked, told in zip(turns[::2], turns[1::2], strict=True):
        seed = SeedText(id="e", question=asked.content.partition("\n")[2], answer="zzz")
        strategy = "vary_numbers" if name == "vary_numbers" else "vary"
        example = item(json.loads(told.content)["question"], "zzz", seed=seed, strategy=strategy)
        # `vary` is for writers that need not be held close.
        limits = Limits(close_variants=name != "vary", max_copied_variant=0.85)
        assert variant(example, limits) is None


def test_a_word_exchanged_in_a_copy_is_still_a_copy():
    question = SEED.question.replace("rides", "covers")
    assert variant(item(question), Limits()).reason == "seed_copy"
    assert variant(item(SEED.question), Limits()).reason == "seed_copy"
    exchanged = SEED.question.replace("45", "80").replace("3", "4")
    assert variant(numbers(exchanged), Limits()).reason == "seed_copy"
    turned = "What is the speed in km/h of a cyclist who rides 80 km in 4 hours at a constant speed?"
    assert variant(numbers(turned), Limits()) is None


def test_numbers_are_replaced_where_it_is_plain_which():
    assert renumbered(SEED, {"d": 80.0, "t": 4.0}).startswith("A cyclist rides 80 km in 4 hours")
    twice = SeedText(id="w", question="3 of 3 pens?", variables={"a": 3.0})
    with pytest.raises(ValueError, match="value of 'a' stands 2 times in the question of seed w"):
        renumbered(twice, {"a": 5.0})


def test_chinese_variants_are_checked_alike():
    assert off(item("已知火车行驶120千米用了2小时，求它的平均速度是多少。", seed=CHINESE)) is None
    assert "numbers wanted" in off(item("已知火车行驶150千米用了2小时，它的平均速度是多少？", seed=CHINESE))
    renewed = {
        "strategy": "vary_numbers",
        "seed": CHINESE,
        "formula": "s / t",
        "variables": {"s": 150.0, "t": 3.0},
    }
    assert off(item("如果火车行驶150千米用了3小时，平均速度是多少？", "50千米/时", **renewed)) is None
    swapped = off(item("已知火车150小时行驶3千米，它的平均速度是多少？", "50千米/时", **renewed))
    assert swapped == "3 小 became 3 千"


def test_the_persons_of_a_word_problem_may_change_but_not_its_conjunctions():
    seed = SeedText(
        id="p", question="Tom has 12 apples and gives 5 of the apples away. How many are left?", answer="7"
    )
    assert (
        off(
            item(
                "Of 12 apples that Ann has she gives 5 away when asked. How many apples are left?", seed=seed
            )
        )
        is None
    )


def test_the_seed_vouches_for_its_own_answer_only():
    assert support(item("any")) == "seed_answer"
    assert support(item("any", "16 km/h")).reason == "wrong_answer"
    assert support(item("any", strategy="write")) is None
    options = ["14 km/h", "15 km/h"]
    assert support(item("any", "B", choices=options, strategy="distract")) == "seed_answer"
    assert support(item("any", "A", choices=options, strategy="distract")).reason == "wrong_answer"


def test_the_formula_vouches_for_the_new_answer_only():
    assert support(numbers("any")) == "symbolic"
    assert support(numbers("any", "20")) == "symbolic"
    wrong = support(numbers("any", "21 km/h"))
    assert isinstance(wrong, Problem)
    assert wrong.evidence == "the formula gives 20 km/h, the answer is '21 km/h'"
    assert isinstance(support(numbers("any", "20 m/s")), Problem)
    assert "formula" in support(numbers("any", "20", d=80.0)).evidence


def test_numbers_are_written_as_the_seed_does():
    assert answer_like(SEED, 20.0) == "20 km/h"
    assert number_text(2.50) == "2.5"
    assert number_text(1200000.0) == "1200000"
