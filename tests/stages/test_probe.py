import math

import pytest

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
