import math

import pytest

from boostqa.flows.probing import reaches
from boostqa.identity import unit
from boostqa.llm.model import Abilities, Outcome, Reply, Score, TokenLogprob
from boostqa.record import Labels, Record
from boostqa.stages.probe import Probe, ProbeConfig
from harness import run_stage
from scripted import Scripted, section

LEVELS = ("H1", "H2", "H3")
FIELDS = {"Physics": "Science", "Law": "Law"}


def item(i, field="Physics", level="H2", **fields):
    base = {
        "question": f"Question {i} of {field} at {level}?",
        "answer": str(i),
        "question_type": "calculation",
    }
    labels = Labels(field=field, discipline=FIELDS[field], level=level, grade="high")
    return Record(id=f"{field}-{level}-{i}", kind="seed", labels=labels, language="en", **{**base, **fields})


def items(n=120, **fields):
    return [item(i, field, level, **fields) for field in FIELDS for level in LEVELS for i in range(n)]


def choices(n=60):
    return [
        item(i, field, choices=["right", "wrong", "worse"], answer="A", question_type="multiple_choice")
        for field in FIELDS
        for i in range(n)
    ]


def weak(request):
    """Knows everything but physics at H3."""
    question = section(request, "Question")
    knows = "Physics at H3" not in question or question.split()[1].endswith("0")
    return {"answer": question.split()[1] if knows else "no idea"}


def run(records, target, shard_size=1000, **config):
    models = {"target": [target]} if target else {}
    stage = Probe(ProbeConfig(**config))
    return run_stage(stage, records, models=models, segment="head", shard_size=shard_size)


def cell(found, discipline, level):
    return next(
        c for c in found.states["cells"]["cells"] if (c["discipline"], c["level"]) == (discipline, level)
    )


def test_a_planted_weakness_is_found_with_its_interval():
    found = run(items(), Scripted("t", solve_short=weak))
    state = found.states["cells"]
    bad = cell(found, "Science", "H3")
    others = [c for c in state["cells"] if c["n"] and c is not bad]
    assert bad["n"] > 10
    assert bad["accuracy"] < 0.3
    assert bad["high"] < min(c["low"] for c in others)
    assert bad["accuracy"] < bad["shrunk"] < 0.5
    assert state["by"]["method"] == {"generate": state["by"]["method"]["generate"]}
    assert state["overall"]["bits_per_byte"] is None
    assert any("bits per byte are not available" in note for note in state["notes"])
    empty = cell(found, "Law", "H5")
    assert (empty["n"], empty["accuracy"]) == (0, None)
    assert empty["low"] < empty["shrunk"] < empty["high"]


def test_held_out_items_are_never_kept_and_passages_never_held_out():
    passages = [Record(id=f"p{i}", kind="seed", passage="text", language="en") for i in range(50)]
    twins = [item(i, dup_cluster=f"c{i % 20}") for i in range(200)]
    found = run(twins + passages, Scripted("t", solve_short=weak), share=0.3)
    held = {f"c{i}" for i in range(20) if unit("holdout", f"c{i}") < 0.3}
    assert held
    assert {record.dup_cluster for record in found.dropped} == held
    assert {record.dropped.reason for record in found.dropped} == {"held_out"}
    assert not {record.dup_cluster for record in found.kept} & held
    assert sum(record.passage != "" for record in found.kept) == 50
    assert len(found.kept) + len(found.dropped) == 250
    assert {record.scores["probe_correct"] for record in found.dropped} == {1.0}


def test_a_failing_call_is_unscored_and_never_wrong():
    def half(request):
        return Outcome.FAILED if int(section(request, "Question").split()[1]) % 2 else weak(request)

    found = run(items(60), Scripted("t", solve_short=half))
    state = found.states["cells"]
    assert sum(state["unscored"].values()) == state["asked"] - state["scored"] > 10
    assert "failed: planned" in state["unscored"]
    assert cell(found, "Law", "H1")["accuracy"] == 1.0
    assert all("probe_correct" not in r.scores for r in found.dropped if int(r.id.split("-")[2]) % 2)


def test_items_are_spread_over_cells_and_capped():
    target = Scripted("t", solve_short=weak)
    found = run(items(100) + [item(i, "Law", "H5") for i in range(10)], target, share=0.5, max_items=60)
    assert 35 <= len(target.asked) <= 85
    assert found.states["chosen"]["held_out"] == len(found.dropped) > 200
    assert cell(found, "Law", "H5")["n"] == sum(r.labels.level == "H5" for r in found.dropped)


def test_what_no_rule_can_check_is_held_out_but_not_asked():
    target = Scripted("t", solve_short=weak)
    essay = [item(i, question_type="proof") for i in range(40)]
    wordy = [
        item(i, "Law", answer="because of many things that must be weighed carefully here") for i in range(40)
    ]
    found = run(essay + wordy, target)
    assert found.dropped
    assert not target.asked
    assert "nothing was asked" in found.states["cells"]["notes"][0]


LONG = (
    "A glider leaves a hill 340 metres high and sinks one metre for every forty metres that it flies; how far "
    "does it come over level ground?"
)
SHORT = "Which metal melts at 3422 degrees?"
STEM = "Which of these is true?"


def held_and_not(n=40):
    """Ids that are held out and ids that are not."""
    names = [f"seed-{i}" for i in range(n)]
    held = [name for name in names if unit("holdout", name) < 0.2]
    return held, [name for name in names if name not in held]


def test_seeds_that_contain_a_held_out_question_are_dropped():
    held, free = held_and_not()
    options = ["Gold rusts", "Iron rusts", "Glass rusts"]
    records = [
        Record(id=held[0], kind="seed", question=LONG, answer="13600 m"),
        Record(id=held[1], kind="seed", question=SHORT, answer="tungsten"),
        Record(id=held[2], kind="seed", question=STEM, choices=options, answer="B"),
        Record(id=held[3], kind="seed", question="Why is that?", answer="gravity"),
    ]
    leaking = [
        Record(
            id=free[0], kind="seed", question=f"Read with care. {LONG} Give kilometres.", answer="13.6 km"
        ),
        Record(id=free[1], kind="seed", passage=f"A quiz asked: {SHORT.lower()} Tungsten, of course."),
        Record(id=free[2], kind="seed", question=f"Say it! {STEM}", choices=options[::-1], answer="B"),
        Record(
            id=free[3], kind="seed", passage=f"{STEM} It is said that iron rusts, nobody that gold rusts."
        ),
        Record(id=free[4], kind="seed", question="Things fall. Why is that?", answer="because of gravity"),
    ]
    clean = [
        Record(id=free[5], kind="seed", question=STEM, choices=["2 is odd", "3 is odd"], answer="B"),
        Record(id=free[6], kind="seed", question="Which metal melts at 1064 degrees?", answer="gold"),
        Record(id=free[7], kind="seed", passage="Why is that? Nobody knows."),
        Record(id=free[8], kind="seed", passage="A glider leaves a hill and sinks one metre a second."),
    ]
    found = run(records + leaking + clean, None, shard_size=5)
    assert {r.id for r in found.kept} == {r.id for r in clean}
    reasons = {r.id: r.dropped.reason for r in found.dropped}
    assert reasons == dict.fromkeys(held[:4], "held_out") | dict.fromkeys(free[:5], "holdout_overlap")
    evidence = next(r.dropped.evidence for r in found.dropped if r.id == free[0])
    assert evidence == f"held-out {held[0]} score 1.00"


def test_chinese_questions_are_found_in_longer_ones():
    held, free = held_and_not()
    question = "一个水池有两个进水管，单开甲管六小时注满，单开乙管四小时注满，两管齐开几小时注满？"
    records = [
        Record(id=held[0], kind="seed", question=question, answer="2.4"),
        Record(id=free[0], kind="seed", question="请回答：" + question + "请写出过程。", answer="2.4"),
        Record(id=free[1], kind="seed", question="一个水池有三个出水管，各管几小时放空？", answer="3"),
    ]
    found = run(records, None)
    assert {r.id for r in found.kept} == {free[1]}


def test_a_cluster_is_held_out_with_its_members_without_an_answer():
    held, _ = held_and_not()
    twins = [item(1, dup_cluster=held[0]), item(2, dup_cluster=held[0], answer="")]
    found = run(twins, Scripted("t", solve_short=weak))
    assert {r.dropped.reason for r in found.dropped} == {"held_out"}
    assert len(found.dropped) == 2
    assert found.states["cells"]["asked"] == 1


def test_what_was_cut_off_is_told_apart_from_what_is_wrong():
    cut = Scripted("t", solve_short=Outcome.TRUNCATED, solve=Outcome.TRUNCATED)
    short = run(items(30), cut).states["cells"]
    assert (short["scored"], short["truncated"]) == (0, short["asked"])
    assert list(short["unscored"]) == ["truncated: planned"]
    worked = run(items(30), cut, short=False).states["cells"]
    assert worked["scored"] == worked["truncated"] == worked["asked"] > 0
    assert worked["overall"]["accuracy"] == 0
    assert any("cut off before an answer" in note for note in worked["notes"])


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("Paris", True),
        ("It is Paris", True),
        ("Paris, France", True),
        ("the city of Paris", True),
        ("It is not Paris", False),
        ("It isn't Paris", False),
        ("Paris or London", False),
        ("Paris/London", False),
        ("either London, Paris", False),
        ("Paris and London", False),
        ("London", False),
        ("It is the one that people call Paris", False),
    ],
)
def test_a_generated_answer_must_settle_on_the_reference(given, right):
    assert reaches(given, Record(id="a", kind="seed", question="Capital?", answer="Paris")) is right


def test_chinese_denials_do_not_count():
    record = Record(id="a", kind="seed", question="首都？", answer="北京")
    assert [reaches(text, record) for text in ("是北京", "不是北京", "北京或上海")] == [True, False, False]
    assert reaches("not guilty", Record(id="b", kind="seed", question="Verdict?", answer="not guilty"))


def test_generated_choices_are_rotated_from_sample_to_sample():
    def first(request):
        return {"answer": "A"}

    target = Scripted("t", solve_short=first)
    found = run(choices(20), target, share=0.5, samples=3, methods=["generate"])
    state = found.states["cells"]
    assert state["overall"]["accuracy"] == pytest.approx(1 / 3)
    shown = [section(request, "Choices") for request in target.asked]
    assert all(len(set(shown[i : i + 3])) == 3 for i in range(0, len(shown), 3))
    assert [request.sample for request in target.asked[:3]] == [0, 1, 2]
    right = Scripted("t", solve_short=lambda r: {"answer": right_letter(r)})
    assert run(choices(20), right, methods=["generate"]).states["cells"]["overall"]["accuracy"] == 1.0


def right_letter(request):
    return next(line[0] for line in section(request, "Choices").splitlines() if line.endswith("right"))


class Letters(Scripted):
    """Says A always, but its probabilities favour the right option by a little."""

    async def chat(self, request):
        self.asked.append(request)
        lines = section(request, "Choices").splitlines()
        right = next(line[0] for line in lines if line.endswith("right"))
        chances = {line[0]: 0.6 if line[0] == right else 0.2 for line in lines}
        token = TokenLogprob(
            token="A", logprob=math.log(chances["A"]), top={k: math.log(v) for k, v in chances.items()}
        )
        return Reply(outcome=Outcome.OK, data={"answer": "A"}, logprobs=[token])


def test_letters_are_read_off_their_probabilities_with_options_shuffled():
    target = Letters("t")
    found = run(choices(), target, share=0.5, samples=2)
    state = found.states["cells"]
    assert state["overall"]["accuracy"] == 1.0
    orders = {section(request, "Choices") for request in target.asked}
    assert len(orders) > 2
    row = found.rows["ask"][0].to_pylist()[0]
    assert row["attempts"] == 2
    assert row["choice_logprob"] == pytest.approx(math.log(0.6))
    assert any("probabilities of the letters" in note for note in state["notes"])


class Base(Scripted):
    """Scores given text, has no chat: likes the right option, is surer of law."""

    def __init__(self, value=None):
        super().__init__("base")
        self.abilities = Abilities(chat=False, complete=True, score=True)
        self.value = value

    async def score(self, prefix, continuations):
        cost = 0.5 if "Law" in prefix else 1.0
        per_byte = [cost if text.strip() in ("right", "7") else 2.0 for text in continuations]
        return [
            Score(logprob=-c * len(t) if self.value is None else self.value, tokens=1, num_bytes=len(t))
            for c, t in zip(per_byte, continuations, strict=True)
        ]

    async def complete(self, request):
        self.asked.append(request)
        return Reply(outcome=Outcome.TRUNCATED, text=" 7 m\nQuestion: and so on")


def test_a_base_model_is_scored_by_likelihood_and_completion():
    found = run(choices() + [item(i, answer="7 m") for i in range(60)], Base())
    state = found.states["cells"]
    assert state["overall"]["accuracy"] == 1.0
    assert set(state["by"]["method"]) == {"generate", "likelihood"}
    law = cell(found, "Law", "H2")["bits_per_byte"]
    assert law == pytest.approx(0.5 / math.log(2))
    assert cell(found, "Science", "H2")["bits_per_byte"] > law
    assert state["notes"] == [state["notes"][0]]


def test_a_likelihood_that_is_not_a_number_is_unscored():
    found = run(choices(), Base(float("nan")))
    assert found.states["cells"]["scored"] == 0
    assert list(found.states["cells"]["unscored"]) == ["a likelihood is not a number"]


def test_shards_do_not_matter():
    one = run(items(40), Scripted("t", solve_short=weak))
    other = run(items(40)[::-1], Scripted("t", solve_short=weak), shard_size=31)
    assert one.states["cells"] == other.states["cells"]
