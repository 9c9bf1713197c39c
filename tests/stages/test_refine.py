import pytest

from boostqa.llm.model import Outcome
from boostqa.record import Record, Requested, SeedText
from boostqa.stages.refine import Refine, RefineConfig
from harness import run_stage
from scripted import Scripted, section

SEED = SeedText(id="s", question="How far do 45 km/h get you in 2 hours?", answer="90 km")


def item(strategy="write", **fields):
    base = {
        "question": "What is the area of a square whose diagonal is 4 m long?",
        "answer": "8 m^2",
        "solution": "d^2 / 2",
        "question_type": "calculation",
        "teacher": "teacher-id",
        "seeds": [SEED],
    }
    return Record(id="q", kind="qa", requested=Requested(strategy=strategy), **{**base, **fields})


def run(record, reply, **config):
    refiner = Scripted("refiner", refine=reply)
    out = run_stage(Refine(RefineConfig(**config)), [record], models={"refiner": [refiner]})
    assert not out.dropped
    (refined,) = out.kept
    assert refined.id == record.id
    return refined, refiner


def said(answer, verdict="unchanged", solution="The full working."):
    return {"solution": solution, "answer": answer, "verdict": verdict}


def test_an_agreed_answer_gets_the_better_solution():
    refined, refiner = run(item(), said("8 m^2", "improved"))
    assert (refined.refine_verdict, refined.solution, refined.answer) == (
        "improved",
        "The full working.",
        "8 m^2",
    )
    assert (refined.refiner, refined.draft_answer) == ("refiner-id", "8 m^2")
    assert section(refiner.asked[0], "Answer") == "8 m^2"
    assert "90 km" in section(refiner.asked[0], "Seed")


@pytest.mark.parametrize("claim", ["unchanged", "improved", "contradicted"])
def test_another_answer_is_a_contradiction_whatever_the_refiner_claims(claim):
    refined, _ = run(item(), said("16 m^2", claim))
    assert refined.refine_verdict == "contradicted"
    assert (refined.draft_answer, refined.answer) == ("8 m^2", "16 m^2")
    assert "draft '8 m^2', refiner '16 m^2'" in refined.history[-1].detail


def test_the_same_value_in_another_form_is_no_contradiction():
    refined, _ = run(item(answer="0.5"), said("1/2", "contradicted"))
    assert refined.refine_verdict == "unchanged"
    assert "it said contradicted" in refined.history[-1].detail


@pytest.mark.parametrize(("claim", "verdict"), [("improved", "improved"), ("contradicted", "contradicted")])
def test_answers_in_words_that_no_rule_compares_go_by_the_claim(claim, verdict):
    record = item(answer="Because warm air rises.", question_type="open")
    refined, _ = run(
        record, said("Warm air is less dense and is pushed up by the cold air around it.", claim)
    )
    assert refined.refine_verdict == verdict


@pytest.mark.parametrize("claim", ["unchanged", "improved"])
def test_another_answer_in_words_comes_with_its_solution_and_without_the_drafts_evidence(claim):
    scores = {"solver_agree:s": 4.0, "pass_rate": 1.0, "quality": 0.5}
    record = item(answer="Napoleon", question_type="short_answer", scores=scores)
    refined, _ = run(record, said("Wellington", claim, solution="It was Wellington."))
    assert (refined.answer, refined.draft_answer) == ("Wellington", "Napoleon")
    assert (refined.solution, refined.refine_verdict) == ("It was Wellington.", "improved")
    assert refined.scores == {"quality": 0.5}


def test_what_the_seed_vouches_for_in_words_keeps_answer_and_solution():
    seed = SeedText(id="s", question="Who lost at Waterloo?", answer="Napoleon")
    record = item("vary", answer="Napoleon", solution="He lost.", question_type="short_answer", seeds=[seed])
    refined, _ = run(record, said("Napoleon Bonaparte", "improved"))
    assert (refined.answer, refined.solution, refined.refine_verdict) == ("Napoleon", "He lost.", "unchanged")


@pytest.mark.parametrize("claim", ["unchanged", "improved", "contradicted"])
def test_quite_another_answer_contradicts_what_the_seed_vouches_for(claim):
    seed = SeedText(id="s", question="Which gas do plants absorb?", answer="carbon dioxide")
    fields = {"answer": "carbon dioxide", "question_type": "short_answer", "seeds": [seed]}
    record = item("vary", question="Plants release which gas?", solution="They do.", **fields)
    refined, _ = run(record, said("oxygen", claim, "Plants release oxygen."))
    assert (refined.answer, refined.solution) == ("carbon dioxide", "They do.")
    assert refined.refine_verdict == "contradicted"
    assert "refiner 'oxygen'" in refined.history[-1].detail


def test_a_solution_that_ends_in_another_option_is_not_taken():
    record = item(choices=["Mars", "Jupiter", "Venus"], answer="B", question_type="multiple_choice", seeds=[])
    refined, _ = run(record, said("B", "improved", "It is the largest.\nAnswer: C"))
    assert (refined.solution, refined.refine_verdict) == ("d^2 / 2", None)
    refined, _ = run(record, said("B", "improved", "It is the largest.\nAnswer: Jupiter"))
    assert refined.refine_verdict == "improved"


def test_an_answer_that_the_seed_vouches_for_is_not_overwritten():
    refined, _ = run(item("vary", answer="90 km"), said("80 km"))
    assert refined.refine_verdict == "contradicted"
    assert (refined.answer, refined.draft_answer, refined.solution) == ("90 km", "90 km", "d^2 / 2")
    assert "'80 km'" in refined.history[-1].detail


def test_letters_are_compared_as_letters():
    record = item(choices=["4 m^2", "8 m^2"], answer="B", question_type="multiple_choice")
    refined, refiner = run(record, said("8 m^2"))
    assert (refined.refine_verdict, refined.answer) == ("unchanged", "B")
    assert refiner.asked[0].schema["properties"]["answer"]["enum"] == ["A", "B"]
    assert run(record, said("A"))[0].refine_verdict == "contradicted"


@pytest.mark.parametrize(
    "reply",
    [
        Outcome.FAILED,
        Outcome.TRUNCATED,
        said("8 m^2", solution=""),
        said("8 m^2", solution="So it is \\boxed{16 m^2}"),
    ],
)
def test_an_unusable_reply_keeps_the_draft_without_a_verdict(reply):
    record = item()
    refined, _ = run(record, reply)
    assert refined.refine_verdict is None
    assert (refined.answer, refined.solution) == (record.answer, record.solution)
    assert refined.history[-1].action == "kept_draft"


def test_strategies_can_be_skipped_and_seeds_hidden():
    refined, refiner = run(item("vary"), said("x"), skip_strategies=["vary"])
    assert not refiner.asked
    assert refined.history[-1].action == "skipped"
    _, refiner = run(item(), said("8 m^2"), show_seed=False)
    assert "## Seed" not in refiner.asked[0].messages[-1].content
