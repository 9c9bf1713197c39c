import pytest

from boostqa.llm.model import Outcome
from boostqa.record import Record, Requested, SeedText
from boostqa.stages.verify import Verify, VerifyConfig
from harness import run_stage
from scripted import Scripted

SEED = SeedText(
    id="s",
    question="A cyclist rides 45 km in 3 hours at a constant speed. "
    "What is the speed of the cyclist in km/h?",
    answer="15 km/h",
    formula="d / t",
    variables={"d": 45.0, "t": 3.0},
)
REWORDED = "Maria needs 3 hours to cover 45 km by bicycle at constant speed. How many km/h is that?"
RENEWED = "At constant speed a cyclist rides 80 km in 4 hours. Which speed is that in km/h?"


def item(strategy="write", level="H2", **fields):
    base = {
        "question": "What is the area in m^2 of a square whose diagonal is 4 m long?",
        "answer": "8",
        "question_type": "calculation",
        "teacher": "teacher-id",
        "refiner": "refiner-id",
        "language": "en",
    }
    requested = Requested(strategy=strategy, language="en", level=level)
    return Record(id="q", kind="qa", requested=requested, **{**base, **fields})


def vary(answer="15 km/h", **fields):
    return item("vary", question=REWORDED, answer=answer, seeds=[SEED], **fields)


def renewed(answer="20 km/h", question=RENEWED, **fields):
    values = {"formula": "d / t", "variables": {"d": 80.0, "t": 4.0}}
    return item("vary_numbers", question=question, answer=answer, seeds=[SEED], **values, **fields)


def solver(*answers, name="other", family=None):
    def reply(request):
        answer = answers[request.sample % len(answers)]
        return answer if isinstance(answer, Outcome) else {"solution": "s", "answer": answer}

    return Scripted(name, family, solve=reply)


def judge(verdict, score=4, name="judge", family=None):
    return Scripted(name, family, judge={"reason": "r", "verdict": verdict, "score": score})


def run(record, solvers=(), judges=(), annotator=None, **config):
    models = {
        "annotator": [annotator] if annotator else [],
        "teacher": [Scripted("teacher", "t-family")],
        "refiner": [Scripted("refiner", "r-family")],
        "solvers": list(solvers),
        "judge": list(judges),
    }
    out = run_stage(Verify(VerifyConfig(**{"relabel": False, **config})), [record], models=models)
    (found,) = [*out.kept, *out.dropped]
    assert found.id == record.id
    return found


def reason(record, *args, **config):
    found = run(record, *args, **config)
    return found.dropped.reason if found.dropped else None


# ---- seed and formula


def test_a_checked_answer_needs_nobody_else():
    other = solver("99")
    found = run(vary(), [other])
    assert found.dropped is None
    assert found.evidence == ["seed_answer"]
    assert not other.asked
    assert run(renewed(), [other]).evidence == ["symbolic"]


@pytest.mark.parametrize("answer", ["16 km/h", "150 km/h", "15 m/s", "-15 km/h", "3 hours"])
def test_a_wrong_answer_of_a_variant_is_dropped(answer):
    assert reason(vary(answer), [solver(answer)], [judge("correct")]) == "wrong_answer"


@pytest.mark.parametrize("answer", ["21 km/h", "15 km/h", "20 m/s", "320 km/h"])
def test_a_wrong_answer_to_new_numbers_is_dropped(answer):
    assert reason(renewed(answer), [solver(answer)], [judge("correct")]) == "wrong_answer"


def test_a_variant_that_became_another_question_is_dropped():
    assert reason(vary(), limits={"min_kept_words": 0.99}) == "off_variant"
    left_over = RENEWED.replace("80", "45")
    assert reason(renewed(question=left_over)) == "off_variant"


def test_a_copy_is_dropped():
    seed = SeedText(id="s", question=item().question, answer="8")
    assert reason(item(seeds=[seed]), [solver("8")]) == "seed_copy"
    assert reason(item("vary", question=SEED.question, answer="15 km/h", seeds=[SEED])) == "seed_copy"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"question": "What is the area in m^2 of"}, "broken_structure"),
        ({"question": "一个正方形的对角线长4米，它的面积是多少平方米？"}, "wrong_language"),
        ({"question": "According to the passage, what is the area of the square?"}, "passage_reference"),
        ({"question": "The answer is 8. What is the area of the square with diagonal 4 m?"}, "answer_leak"),
    ],
)
def test_items_of_bad_form_are_dropped_before_anyone_is_asked(fields, why):
    other = solver("8")
    assert reason(item(**fields), [other]) == why
    assert not other.asked


GAS = SeedText(id="g", question="Which gas do plants take in from the air by day?", answer="carbon dioxide")


def exchanged(question, answer="carbon dioxide"):
    fields = {"question_type": "short_answer", "answer": answer, "seeds": [GAS]}
    return item("vary", question=question, **fields)


def test_a_word_in_anothers_place_needs_another_witness():
    limits = {"max_copied_variant": 1.0}
    moved = "By day, plants take in which gas from the air?"
    assert run(exchanged(moved), limits=limits).evidence == ["seed_answer"]
    doubted = exchanged(moved.replace("air", "soil"))
    alone = run(doubted, limits=limits)
    assert alone.dropped.reason == "off_variant"
    assert "has 'soil' for 'air'" in alone.dropped.evidence
    other = solver("carbon dioxide", "Carbon dioxide.")
    assert run(doubted, [other], limits=limits).evidence == ["seed_answer", "solver:other"]
    assert len(other.asked) == 2
    assert reason(doubted, [solver("water")], limits=limits) == "off_variant"
    assert reason(doubted, [solver("carbon dioxide", family="t-family")], limits=limits) == "off_variant"
    assert reason(doubted, judges=[judge("wrong")], limits=limits) == "judge_rejected"
    assert run(doubted, judges=[judge("correct")], limits=limits).evidence == ["seed_answer", "judge:judge"]


# ---- independent solutions


def test_agreement_of_another_family_is_evidence():
    found = run(item(), [solver("8", "8.0"), solver("8", "9", name="third")])
    assert found.evidence == ["solver:other", "solver:third"]
    assert found.scores["pass_rate"] == 0.75
    assert found.scores["solver_agree:third"] == 1


def test_writer_and_solver_of_one_family_are_no_evidence():
    same = solver("8", name="teacher-2", family="t-family")
    assert reason(item(), [same], [judge("correct", family="t-family")]) == "no_evidence"
    assert not same.asked, "what cannot decide is not paid"


def test_nobody_vouches_for_an_unknown_writer():
    assert reason(item(teacher="gone"), [solver("8")], [judge("correct")]) == "no_evidence"


def test_solvers_that_agree_on_another_answer_reject():
    found = run(item(), [solver("16", "16")], [judge("correct")])
    assert found.dropped.reason == "wrong_answer"
    assert "'16'" in found.dropped.evidence
    assert reason(item(), [solver("16", "17")], [judge("correct")]) == "no_evidence"


def test_one_agreeing_guess_is_not_enough_for_a_choice():
    options = {"choices": ["4", "8", "16", "32"], "answer": "B", "question_type": "multiple_choice"}
    assert reason(item(**options), [solver("B", "C")]) == "no_evidence"
    assert run(item(**options), [solver("B", "B")]).evidence == ["solver:other"]


def test_failed_solutions_say_nothing():
    assert reason(item(), [solver(Outcome.FAILED)]) == "call_failed"
    assert (
        reason(item(), [solver(Outcome.FAILED)], [Scripted("judge", judge=Outcome.FAILED)]) == "call_failed"
    )
    assert reason(item(), [], [Scripted("judge", judge=Outcome.FAILED)]) == "call_failed"
    assert reason(item(), [solver("9", Outcome.FAILED)]) == "no_evidence"
    assert run(item(), [solver(Outcome.FAILED)], [judge("correct")]).evidence == ["judge:judge"]


def test_what_synthesize_measured_is_not_paid_again():
    other = solver("8")
    scores = {"solver_agree:other": 1.0, "solver_differ:other": 1.0, "solver_rival:other": 0.0}
    found = run(item(scores=scores, refine_verdict="improved"), [other])
    assert found.evidence == ["solver:other"]
    assert not other.asked


def test_dissent_in_words_is_counted():
    worded = {"answer": "Napoleon", "question_type": "short_answer"}
    crowd = solver("Napoleon", *["Wellington"] * 7)
    found = run(item(**worded), [crowd], solver_samples=8)
    assert found.dropped.reason == "no_evidence"
    assert "pass_rate" not in found.scores
    assert found.scores["solver_rival:other"] == 7
    found = run(item(**worded), [solver("Napoleon", "napoleon", "Wellington")], solver_samples=3)
    assert found.evidence == ["solver:other"]


def test_solutions_that_are_cut_off_reject_nothing():
    cut = solver(Outcome.TRUNCATED)
    found = run(item(), [cut], [judge("correct")], solver_samples=3)
    assert found.evidence == ["judge:judge"]
    assert "pass_rate" not in found.scores
    found = run(item(), [cut], solver_samples=3)
    assert found.dropped.reason == "no_evidence"
    assert "solver_truncated:other 3" in found.dropped.evidence
    found = run(item(), [solver("8", Outcome.TRUNCATED, Outcome.TRUNCATED)], solver_samples=3)
    assert found.evidence == ["solver:other"]
    assert found.scores["pass_rate"] == pytest.approx(1 / 3)


def test_of_a_hard_item_most_may_fail():
    scores = {"solver_agree:other": 2.0, "solver_differ:other": 8.0, "solver_rival:other": 1.0}
    found = run(item(level="H5", scores=scores), [solver("8")])
    assert found.evidence == ["solver:other"]
    assert found.labels.level_measured == "H5"
    assert reason(item(level="H2", scores=scores), [solver("8")]) == "no_evidence"
    rival = {**scores, "solver_rival:other": 3.0}
    assert reason(item(level="H5", scores=rival), [solver("8")]) == "no_evidence"


# ---- the seed's word while somebody objects


def test_the_seeds_word_does_not_outweigh_everyone_else():
    crowd = solver("99 km/h")
    assert reason(vary(level="H4"), [crowd], solver_samples=4) == "wrong_answer"
    assert reason(renewed(level="H4"), [crowd], [judge("correct")], solver_samples=4) == "wrong_answer"
    scattered = solver("90 km/h", "91 km/h", "92 km/h", "93 km/h")
    assert reason(vary(level="H4"), [scattered], solver_samples=4) == "no_evidence"
    strict = judge("wrong", 1)
    assert reason(vary(level="H4"), [scattered], [strict], solver_samples=4) == "judge_rejected"
    found = run(vary(level="H4"), [scattered], [judge("correct")], solver_samples=4)
    assert found.evidence == ["seed_answer", "judge:judge"]


OPTIONS = {"choices": ["11 km/h", "15 km/h", "13 km/h", "17 km/h"], "question_type": "multiple_choice"}


def option_item(seed=SEED):
    return item("distract", question=REWORDED, answer="B", seeds=[seed], draft_answer="B", **OPTIONS)


def test_the_seed_does_not_vouch_for_new_options():
    assert reason(option_item()) == "no_evidence"
    assert reason(option_item(), [], [judge("ill_posed", 2)]) == "ill_posed"
    assert run(option_item(), [solver("B")]).evidence == ["seed_answer", "solver:other"]
    own = SeedText(id="s", question=SEED.question, answer="B", choices=OPTIONS["choices"])
    assert run(option_item(own)).evidence == ["seed_answer"]


# ---- what the refiner wrote


def test_the_refiner_does_not_vouch_for_its_own_answer():
    changed = item(
        answer="Wellington", draft_answer="Napoleon", refine_verdict="improved", question_type="short_answer"
    )
    friend = solver("Wellington", name="refiner-2", family="r-family")
    assert reason(changed, [friend]) == "no_evidence"
    assert run(changed, [solver("Wellington")]).evidence == ["solver:other"]


def test_the_refiner_does_not_judge_its_own_solution():
    improved = item(solution="d^2 / 2", draft_answer="8", refine_verdict="improved")
    friend = judge("correct", family="r-family")
    assert reason(improved, [], [friend]) == "no_evidence"
    assert run(item(), [], [friend]).evidence == ["judge:judge"]
    assert run(improved, [solver("8", family="r-family")]).evidence == ["solver:other"]


def test_an_answer_that_changed_is_solved_anew():
    scores = {"solver_agree:other": 4.0, "solver_differ:other": 0.0}
    changed = item(
        answer="Wellington",
        draft_answer="Napoleon",
        refine_verdict="improved",
        scores=scores,
        question_type="short_answer",
    )
    other = solver("Napoleon")
    assert reason(changed, [other]) == "no_evidence"
    assert other.count("solve") == 2


def test_without_samples_only_known_measurements_count():
    other = solver("8")
    assert reason(item(), [other], solver_samples=0) == "no_evidence"
    scores = {"solver_agree:other": 2.0, "solver_differ:other": 0.0}
    assert run(item(scores=scores), [other], solver_samples=0).evidence == ["solver:other"]
    assert not other.asked


# ---- contradictions


def contradicted(**fields):
    return item(answer="8", draft_answer="16", refine_verdict="contradicted", **fields)


def test_a_contradiction_without_independent_evidence_is_dropped():
    found = run(contradicted())
    assert found.dropped.reason == "contradicted"
    assert "draft '16', refined '8'" in found.dropped.evidence
    assert reason(contradicted(), [solver("16", "16")]) == "contradicted"


def test_the_refiners_own_family_does_not_settle_a_contradiction():
    friend = solver("8", name="refiner-2", family="r-family")
    assert reason(contradicted(), [friend]) == "contradicted"
    assert run(item(), [friend]).evidence == ["solver:refiner-2"]


def test_a_third_family_settles_a_contradiction_by_new_solutions():
    other = solver("8", "8")
    old = {"solver_agree:other": 0.0, "solver_differ:other": 2.0, "solver_rival:other": 2.0}
    found = run(contradicted(scores=old), [other])
    assert found.evidence == ["solver:other"]
    assert other.count("solve") == 2


def test_a_contradicted_answer_of_the_seed_needs_others_too():
    doubted = vary(draft_answer="15 km/h", refine_verdict="contradicted")
    assert reason(doubted) == "contradicted"
    assert run(doubted, [solver("15 km/h")]).evidence == ["seed_answer", "solver:other"]


# ---- judges


@pytest.mark.parametrize(
    ("verdict", "score", "why"),
    [("wrong", 2, "judge_rejected"), ("ill_posed", 2, "ill_posed"), ("correct", 2, "judge_rejected")],
)
def test_one_judge_that_finds_an_error_is_enough(verdict, score, why):
    judges = [judge("correct"), judge(verdict, score, name="strict")]
    assert reason(item(), [], judges) == why
    assert reason(item(), [solver("8")], judges) is None, "clear already"
    assert reason(item(), [solver("8")], judges, judge="always") == why


def test_a_judge_of_the_writers_family_is_a_score_only():
    own = judge("wrong", 1, name="own", family="t-family")
    found = run(item(), [solver("8")], [own], judge="always")
    assert found.dropped is None
    assert found.evidence == ["solver:other"]
    assert found.scores["judge:own"] == 1.0


# ---- what came out


def test_an_easy_item_that_claims_to_be_hard_is_relabelled():
    found = run(item(level="H5"), [solver("8", "8", "8", "8")], solver_samples=4)
    assert found.dropped is None
    assert found.requested.level == "H5"
    assert (found.labels.level_measured, found.labels.level) == ("H1", "H1")
    assert found.labels.level_se > 0
    assert found.history[-1].action == "level_differs"


def test_an_easy_item_that_claims_to_be_hard_is_dropped_where_the_recipe_says_so():
    easy = [solver("8", "8", "8", "8")]
    assert reason(item(level="H5"), easy, solver_samples=4, max_level_gap=1) == "below_level"
    hard = [solver("8", "8", "8", "9", "7", "6", name="mixed")]
    assert reason(item(level="H5"), hard, solver_samples=6, max_level_gap=1) is None


def test_hardness_is_measured_even_when_the_answer_is_vouched_for():
    other = solver("15 km/h", "14 km/h")
    found = run(vary(level="H5"), [other])
    assert found.evidence == ["seed_answer"]
    assert found.labels.level_measured == "H4"
    assert found.labels.level is None or found.labels.level == "H4"
    assert other.count("solve") == 2


LABELS = {
    "field": "Physics",
    "confidence": 0.9,
    "second_field": "Chemistry",
    "second_confidence": 0.1,
    "secondary_fields": [],
    "level": "H3",
    "grade": "middle",
    "question_type": "calculation",
    "language": "en",
    "self_contained": True,
    "knowledge_points": ["area"],
}


def test_labels_come_from_an_annotator_that_saw_no_request():
    annotator = Scripted("annotator", label=LABELS)
    found = run(item(level="H5"), [solver("8")], annotator=annotator, relabel=True, measure_levels=[])
    assert (found.labels.field, found.labels.discipline, found.labels.grade) == (
        "Physics",
        "Science",
        "middle",
    )
    assert (found.labels.level, found.labels.level_rubric) == ("H3", "H3")
    assert found.labels.level_measured == "H1", (
        "two tries are a measurement, but not yet the level that counts"
    )
    assert "H5" not in annotator.asked[0].messages[-1].content
    assert found.requested.level == "H5"


def test_a_failed_annotator_leaves_a_variant_the_labels_of_its_seed():
    annotator = Scripted("annotator", label=Outcome.FAILED)
    seed = SeedText(id="s", question=SEED.question, answer="15 km/h", field="Physics", level="H2")
    reworded = item("vary", question=REWORDED, answer="15 km/h", seeds=[seed])
    found = run(reworded, annotator=annotator, relabel=True)
    assert found.dropped is None
    assert (found.labels.field, found.labels.discipline, found.labels.level) == ("Physics", "Science", "H2")
    assert "labels_missing" in [event.action for event in found.history]


def test_an_item_without_any_label_is_dropped_as_such():
    annotator = Scripted("annotator", label=Outcome.FAILED)
    found = run(item(), [solver("8")], annotator=annotator, relabel=True)
    assert found.dropped.reason == "unlabelled"
    assert "failed: planned" in found.dropped.evidence


def test_a_variant_inherits_the_field_of_its_seed():
    seed = SeedText(id="s", question=SEED.question, answer="15 km/h", field="Physics")
    found = run(item("vary", question=REWORDED, answer="15 km/h", seeds=[seed]))
    assert (found.labels.field, found.labels.discipline, found.labels.labeller) == (
        "Physics",
        "Science",
        "seed",
    )
