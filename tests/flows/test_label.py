import asyncio
import re

import pytest

from boostqa.flows.label import combined_level, label
from boostqa.llm.model import Outcome
from boostqa.record import Labels, Record
from boostqa.taxonomy import load
from scripted import Scripted

ITEM = Record(
    id="i", kind="seed", question="What is the boiling point of water at sea level?", answer="100 °C"
)
WHOLE = {
    "field": "Physics",
    "confidence": 0.8,
    "second_field": "Chemistry",
    "second_confidence": 0.1,
    "secondary_fields": ["Chemistry", "Physics", "Other"],
    "level": "H1",
    "grade": "middle",
    "question_type": "short_answer",
    "language": "EN",
    "self_contained": True,
    "knowledge_points": ["boiling  point", " "],
}
LEVEL = {"level": "H2", "grade": "high", "question_type": "short_answer", "self_contained": True}


def run(model, record=ITEM, **options):
    return asyncio.run(label(model, record, **options))


def test_one_pass_gives_field_parent_stem_level_and_grade():
    found = run(Scripted("m", label=WHOLE))
    labels = found.labels
    assert (labels.field, labels.discipline, labels.stem) == ("Physics", "Science", "core")
    assert (labels.level, labels.level_rubric, labels.level_measured, labels.grade) == (
        "H1",
        "H1",
        None,
        "middle",
    )
    assert (labels.field_confidence, labels.secondary_fields) == (0.8, ["Chemistry"])
    assert (labels.field_second, labels.field_second_confidence) == ("Chemistry", 0.1)
    assert (labels.knowledge_points, labels.labeller) == (["boiling point"], "llm:m")
    assert (found.language, found.self_contained, found.failure) == ("en", True, "")


def test_votes_majority_for_the_field_median_for_the_level():
    def vote(request):
        fields, shown = ("Physics", "Chemistry", "Physics"), ("H1", "H3", "H5")
        return WHOLE | {"field": fields[request.sample], "level": shown[request.sample]}

    model = Scripted("m", label=vote)
    labels = run(model, votes=3).labels
    assert (labels.field, labels.level) == ("Physics", "H3")
    assert labels.field_confidence == pytest.approx(0.8 * 2 / 3, abs=1e-4)
    assert labels.field_second == "Chemistry"
    assert labels.field_second_confidence == pytest.approx((0.8 + 0.1 + 0.1) / 3, abs=1e-4)
    assert {request.sample for request in model.asked} == {0, 1, 2}
    assert all(request.temperature > 0 for request in model.asked)


def test_at_least_85_percent_of_the_prompt_is_a_shared_prefix():
    model = Scripted("m", label=WHOLE)
    run(model)
    run(model, Record(id="j", kind="seed", passage="The moon circles the earth. " * 40))
    first, second = (request.messages for request in model.asked)
    assert first[:-1] == second[:-1]
    # Words, numbers, signs and Chinese characters: what tokens are made of, whatever the model's own are.
    count = [len(re.findall(r"[^\W\d_]+?(?=[^a-zA-Z]|$)|\d|[^\w\s]", message.content)) for message in second]
    assert sum(count[:-1]) / sum(count) > 0.85


def test_two_passes_ask_for_the_field_and_then_the_level():
    def field(request):
        assert {"Physics", "Law"} <= set(request.schema["properties"]["field"]["enum"])
        return {"field": "Physics"}

    model = Scripted("m", label_field=field, label_level=LEVEL)
    labels = run(model, passes=2).labels
    assert (labels.field, labels.discipline, labels.level, labels.grade) == (
        "Physics",
        "Science",
        "H2",
        "high",
    )
    assert labels.field_confidence is None
    assert len(model.asked) == 2


def test_three_passes_ask_for_the_discipline_then_for_one_of_its_fields():
    def field(request):
        offered = request.schema["properties"]["field"]["enum"]
        assert {"Physics", "Chemistry"} <= set(offered)
        assert "Law" not in offered
        return {"field": "Physics"}

    def discipline(request):
        offered = request.schema["properties"]["discipline"]["enum"]
        assert len(offered) == 13
        assert "General" not in offered, "small models say it whenever they are unsure"
        return {"discipline": "Science"}

    model = Scripted("m", label_discipline=discipline, label_field=field, label_level=LEVEL)
    labels = run(model, passes=3).labels
    assert (labels.field, labels.discipline, labels.level) == ("Physics", "Science", "H2")
    assert model.count("label_discipline") == model.count("label_field") == model.count("label_level") == 1


def test_three_passes_multiply_the_votes_and_offer_all_fields_where_the_discipline_fails():
    model = Scripted(
        "m",
        label_discipline=lambda request: {"discipline": "Law" if request.sample == 1 else "Science"},
        label_field=lambda request: {"field": "Chemistry" if request.sample == 1 else "Physics"},
        label_level=LEVEL,
    )
    assert run(model, passes=3, votes=4).labels.field_confidence == 0.75 * 0.75
    failed = Scripted("m", label_discipline=Outcome.FAILED, label_field={"field": "Law"}, label_level=LEVEL)
    found = run(failed, passes=3)
    assert (found.labels.field, found.labels.level, found.failure) == ("Law", "H2", "")
    none = run(
        Scripted("m", label_discipline=Outcome.FAILED, label_field=Outcome.FAILED, label_level=LEVEL),
        passes=3,
    )
    assert (none.labels.field, none.labels.level) == (None, "H2")
    assert "failed" in none.failure


def test_three_passes_do_not_ask_what_follows():
    tree = load()
    only = [d.name for d in tree.disciplines if len(tree.of(d.name)) == 1]
    assert only, "a discipline with one field"
    model = Scripted("m", label_discipline={"discipline": only[0]}, label_level=LEVEL)
    assert run(model, passes=3).labels.field == tree.of(only[0])[0].name
    known = Scripted("m", label_level=LEVEL)
    assert run(known, passes=3, known=Labels(field="Law")).labels.discipline == tree.parent("Law")
    assert known.count("label_discipline") == 0


def test_two_passes_do_not_pay_for_what_is_known():
    def field(request):
        assert "Law" not in request.schema["properties"]["field"]["enum"]
        return {"field": "Physics"}

    model = Scripted("m", label_level=LEVEL, label_field=field)
    assert run(model, passes=2, known=Labels(field="Law")).labels.discipline == "Law"
    assert model.count("label_level") == len(model.asked) == 1
    known = Labels(discipline="Science", level="H1", grade="high")
    assert run(model, passes=2, known=known).labels.field == "Physics"
    assert model.count("label_field") == 1
    assert len(model.asked) == 2


def test_confidence_of_two_passes_is_the_share_of_votes():
    model = Scripted(
        "m",
        label_field=lambda request: {"field": "Law" if request.sample == 1 else "Physics"},
        label_level=LEVEL,
    )
    labels = run(model, passes=2, votes=3).labels
    assert labels.field == "Physics"
    assert labels.field_confidence == pytest.approx(2 / 3)


def test_a_failed_call_is_a_failure_and_not_an_exception():
    found = run(Scripted("m", label=Outcome.REFUSED))
    assert found.labels == Labels()
    assert "refused: planned" in found.failure
    half = Scripted("m", label_field={"field": "Law"}, label_level=Outcome.FAILED)
    found = run(half, passes=2)
    assert (found.labels.field, found.labels.level) == ("Law", None)
    assert "failed" in found.failure


@pytest.mark.parametrize(
    ("rubric", "measured", "error", "counts"),
    [
        ("H5", "H2", 0.3, "H2"),
        ("H5", "H2", 0.9, "H5"),
        ("H5", None, None, "H5"),
        (None, "H2", 0.9, "H2"),
        (None, None, None, None),
    ],
)
def test_the_measured_level_counts_when_its_error_is_small(rubric, measured, error, counts):
    assert combined_level(rubric, measured, error) == counts
