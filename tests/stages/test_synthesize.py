import re

import pytest

from boostqa.llm.model import Outcome
from boostqa.record import Record, Requested, SeedText
from boostqa.stages.synthesize import Synthesize, SynthesizeConfig
from boostqa.stages.verify import Verify, VerifyConfig
from harness import run_stage
from scripted import Scripted, section

SEED = SeedText(
    id="s1",
    question="A cyclist rides 45 km in 3 hours at a constant speed. "
    "What is the speed of the cyclist in km/h?",
    answer="15 km/h",
    solution="45 km / 3 h = 15 km/h",
    formula="d / t",
    variables={"d": 45.0, "t": 3.0},
    language="en",
)
PASSAGE = SeedText(id="s2", passage="Plants take in carbon dioxide and give off oxygen.", language="en")
NEW = {
    "question": "Which gas would a greenhouse run short of if no fresh air came in by day?",
    "solution": "Plants use it up.",
    "answer": "carbon dioxide",
}


def task(strategy="write", seed=PASSAGE, route="multi_grade", **requested):
    fields = {"language": "en", "question_type": "short_answer", **requested}
    return Record(
        id=f"task-{strategy}",
        kind="task",
        parents=[seed.id],
        seeds=[seed],
        requested=Requested(strategy=strategy, route=route, **fields),
    )


def run(record, teacher, solvers=(), **config):
    models = {"teacher": [teacher], "solvers": list(solvers)}
    out = run_stage(Synthesize(SynthesizeConfig(**config)), [record], models=models)
    for child in out.kept + [item for item in out.dropped if item.kind == "qa"]:
        assert child.parents == [record.id, *record.parents]
        assert child.kind == "qa"
    return out


def test_a_new_question_carries_its_wish_its_seed_and_its_writer():
    out = run(task(level="H2", grade="middle"), Scripted(write=NEW), keep_reasoning=True)
    (child,) = out.kept
    assert not out.dropped
    assert (child.question, child.answer, child.draft_answer) == (
        NEW["question"],
        "carbon dioxide",
        "carbon dioxide",
    )
    assert child.requested.level == "H2"
    assert child.seeds == [PASSAGE]
    assert (child.teacher, child.round, child.reasoning) == ("teacher-id", 1, "a thought")
    assert len(child.prompt_hash) == 32
    assert child.labels.level is None
    assert not child.evidence


def test_thought_is_dropped_by_default():
    assert run(task(), Scripted(write=NEW)).kept[0].reasoning == ""


def test_candidates_are_drawn_until_one_has_the_right_form():
    replies = [{**NEW, "question": "Plants take in"}, Outcome.FAILED, NEW, NEW]
    teacher = Scripted(write=lambda r: replies[r.sample])
    out = run(task(), teacher, candidates=4)
    assert [child.question for child in out.kept] == [NEW["question"]]
    assert [child.dropped.reason for child in out.dropped] == ["broken_structure"]
    assert teacher.count("write") == 3


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Outcome.FAILED, "call_failed"), (Outcome.TRUNCATED, "truncated"), (Outcome.REFUSED, "refused")],
)
def test_a_task_without_any_draft_is_dropped_with_the_reason(outcome, reason):
    for kind in (task(), task("limiting_case", route="high_difficulty")):
        out = run(kind, Scripted(write=outcome, harden=outcome))
        assert not out.kept
        assert [(item.id, item.dropped.reason) for item in out.dropped] == [(kind.id, reason)]
        assert "planned" in out.dropped[0].dropped.evidence


def test_a_rewording_keeps_answer_and_solution_of_the_seed():
    question = "Maria needs 3 hours to cover 45 km by bicycle at constant speed. How many km/h is that?"
    out = run(task("vary", SEED), Scripted(vary={"question": question}))
    (child,) = out.kept
    assert (child.question, child.answer, child.solution) == (question, SEED.answer, SEED.solution)


def test_wordings_take_turns_and_the_first_of_each_may_be_greedy():
    teacher = Scripted(vary={"question": SEED.question})
    run(
        task("vary", SEED), teacher, candidates=4, vary_prompts=["vary_name", "vary_point"], greedy_first=True
    )
    starts = [request.messages[2].content[:24] for request in teacher.asked]
    assert starts[0] == starts[2] != starts[1] == starts[3]
    assert [(request.sample, request.temperature) for request in teacher.asked] == [
        (0, 0.0),
        (0, 0.0),
        (1, 0.8),
        (1, 0.8),
    ]


def test_a_copy_of_the_seed_is_no_rewording():
    out = run(task("vary", SEED), Scripted(vary={"question": SEED.question}), candidates=2)
    assert [item.dropped.reason for item in out.dropped] == ["seed_copy", "seed_copy"]
    assert not out.kept


def numbers(answer):
    """Rewords the exercise, whose numbers are new already, and answers with `answer(right value)`."""

    def reply(request):
        d, t = re.findall(r"\d+", section(request, "Question"))
        question = f"At constant speed a cyclist rides {d} km in {t} hours. Which speed is that in km/h?"
        return {"question": question, "answer": answer(float(d) / float(t))}

    return Scripted(vary_numbers=reply)


def test_new_numbers_come_with_formula_and_values():
    out = run(task("vary_numbers", SEED), numbers(lambda value: f"{value:g} km/h"))
    (child,) = out.kept
    value = child.variables["d"] / child.variables["t"]
    assert child.formula == "d / t"
    assert set(child.variables.values()).isdisjoint({45.0, 3.0})
    assert child.answer == f"{value:g} km/h"
    assert child.question_type == "calculation"


def test_a_wrong_answer_of_the_writer_is_caught_or_replaced_as_configured():
    out = run(task("vary_numbers", SEED), numbers(lambda value: f"{value + 1:g} km/h"))
    assert [item.dropped.reason for item in out.dropped] == ["wrong_answer"]
    out = run(
        task("vary_numbers", SEED), numbers(lambda value: f"{value + 1:g} km/h"), number_answers="formula"
    )
    (child,) = out.kept
    d, t = child.variables["d"], child.variables["t"]
    assert child.answer == f"{d / t:g} km/h"
    assert child.solution == f"d / t with d = {d:g}, t = {t:g}: {child.answer}"


def test_wrong_options_are_mixed_with_the_right_one():
    question = "Maria needs 3 hours to cover 45 km by bicycle at constant speed. How many km/h is that?"
    teacher = Scripted(
        vary={"question": question}, distract={"distractors": ["135 km/h", "42 km/h", "48 km/h"]}
    )
    letters = set()
    for index in range(12):
        record = task("distract", SEED)
        out = run(
            Record(**{**{f: getattr(record, f) for f in record.__struct_fields__}, "id": f"t{index}"}),
            teacher,
        )
        (child,) = out.kept
        assert child.choices["ABCD".index(child.answer)] == "15 km/h"
        assert sorted(child.choices) == ["135 km/h", "15 km/h", "42 km/h", "48 km/h"]
        assert child.question_type == "multiple_choice"
        letters.add(child.answer)
    assert len(letters) > 1


def test_a_distractor_that_is_right_too_is_caught():
    question = "Maria needs 3 hours to cover 45 km by bicycle at constant speed. How many km/h is that?"
    teacher = Scripted(
        vary={"question": question}, distract={"distractors": ["15.0 km/h", "42 km/h", "48 km/h"]}
    )
    out = run(task("distract", SEED), teacher)
    assert [item.dropped.reason for item in out.dropped] == ["broken_structure"]


def test_seeds_that_lack_what_a_strategy_needs_are_named():
    out = run(task("vary_numbers", PASSAGE), Scripted())
    assert (out.dropped[0].dropped.reason, out.dropped[0].dropped.evidence) == (
        "unsuitable_seed",
        "vary_numbers needs question, formula",
    )
    out = run(task("nonsense"), Scripted())
    assert out.dropped[0].dropped.reason == "unknown_strategy"


# ---- high difficulty: the writer's questions have a planted difficulty, which the solvers reveal

SUBJECTS = [
    "magnets",
    "glaciers",
    "enzymes",
    "comets",
    "volcanoes",
    "antennas",
    "proteins",
    "turbines",
    "lenses",
]


def hard_writer(difficulties):
    """Question i is solved by a solver's sample s when s >= difficulties[i]."""

    def reply(request):
        index = request.sample
        question = f"Item {index}: which of two {SUBJECTS[index]} reaches equilibrium first, and why?"
        return {"mechanism": "m", "question": question, "solution": "S", "answer": f"{100 + index}"}

    def solve(request):
        index = int(section(request, "Question").split(":")[0].removeprefix("Item "))
        right = request.sample >= difficulties[index]
        return {"solution": "s", "answer": f"{100 + index}" if right else f"{900 + request.sample}"}

    return Scripted(harden=reply), Scripted("solver", solve=solve)


def hard(difficulties, level="H5", **config):
    teacher, solver = hard_writer(difficulties)
    out = run(
        task("limiting_case", route="high_difficulty", level=level, question_type="calculation"),
        teacher,
        [solver],
        **{"solver_samples": 4, **config},
    )
    return out, teacher


def test_the_hardest_valid_candidate_is_kept():
    out, _ = hard([0, 3, 4, 2], hard_candidates=4, hard_attempts=1)
    (child,) = out.kept
    assert child.answer == "103"
    assert child.scores["pass_rate"] == 0.5
    assert child.scores["solver_agree:solver"] == 2
    reasons = {item.answer: item.dropped.reason for item in out.dropped}
    # One of four and three others that differ: nothing tells the right answer from the wrong ones.
    assert reasons == {"100": "easier_candidate", "101": "unsolved_candidate", "102": "unsolved_candidate"}


def test_what_is_kept_as_hardest_is_what_verify_accepts():
    out, _ = hard([6, 3, 0], hard_candidates=3, hard_attempts=1, solver_samples=8)
    (child,) = out.kept
    assert (child.answer, child.scores["pass_rate"]) == ("100", 0.25)
    _, solver = hard_writer([6, 3, 0])
    models = {"teacher": [Scripted()], "refiner": [], "solvers": [solver], "judge": [], "annotator": []}
    (accepted,) = run_stage(Verify(VerifyConfig(relabel=False)), [child], models=models).kept
    assert accepted.evidence == ["solver:solver"]


def test_one_lucky_agreement_against_a_rival_is_no_valid_candidate():
    def solve(request):
        return {"solution": "s", "answer": "100" if request.sample == 0 else "7"}

    teacher, _ = hard_writer([0])
    record = task("limiting_case", route="high_difficulty", level="H5", question_type="calculation")
    out = run(record, teacher, [Scripted("solver", solve=solve)], hard_candidates=1, hard_attempts=1)
    assert [item.dropped.reason for item in out.dropped] == ["unsolved_candidate"]


def test_it_is_raised_until_hard_enough():
    out, teacher = hard([0, 1, 2, 3, 0, 0], level="H4", hard_candidates=2, hard_attempts=3)
    assert [child.answer for child in out.kept] == ["102"]
    assert teacher.count("harden") == 4
    assert "Solved in 100% of tries" in teacher.asked[2].messages[-1].content
    assert "Earlier question" not in teacher.asked[0].messages[-1].content


def test_it_stops_when_it_gets_no_harder():
    out, teacher = hard([1, 2, 1, 1, 3, 3], hard_candidates=2, hard_attempts=3)
    assert [child.answer for child in out.kept] == ["101"]
    assert teacher.count("harden") == 4


def test_candidates_that_nobody_solves_are_not_kept():
    out, _ = hard([4, 4], hard_candidates=2, hard_attempts=1)
    assert not out.kept
    assert [item.dropped.reason for item in out.dropped] == ["unsolved_candidate"] * 2


def test_without_solvers_one_candidate_is_written():
    teacher, _ = hard_writer([])
    out = run(task("limiting_case", route="high_difficulty", level="H5"), teacher, [])
    assert len(out.kept) == 1
    assert teacher.count("harden") == 1
    assert "pass_rate" not in out.kept[0].scores
