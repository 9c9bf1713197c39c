import json

import pytest

from boostqa.identity import unit
from boostqa.llm.model import Outcome
from boostqa.record import Labels, Record, Source
from boostqa.stages import annotate
from boostqa.stages.annotate import Annotate, AnnotateConfig
from boostqa.taxonomy import load
from harness import Committed, run_stage
from scripted import Scripted, section
from subjects import LAW, PHYSICS
from world import boostqa, fake_server, make_recipe

WORDS = {
    "Physics": PHYSICS,
    "Law": LAW,
    "Biology": ["cell", "gene", "enzyme", "leaf", "root", "virus", "protein", "membrane", "nerve", "species"],
}


def seed(i, field="Physics", *, source="a", gold=None, **fields):
    words = WORDS[field]
    asked = " and ".join(words[(i * k + k) % 10] for k in (1, 3, 7))
    base = {"question": f"What about {asked} in case {i}?", "answer": "x", "language": "en"}
    return Record(
        id=f"{field}-{source}-{i}", kind="seed", source=Source(name=source), gold=gold, **{**base, **fields}
    )


def seeds(n, **fields):
    return [seed(i, list(WORDS)[i % 3], **fields) for i in range(n)]


def reply(request, wrong=()):
    question = section(request, "Question")
    field = next(
        (name for name, words in WORDS.items() if words[0] in question or any(w in question for w in words)),
        "Other",
    )
    if question in wrong:
        field = "History"
    return {
        "field": field,
        "confidence": 0.9,
        "second_field": "Chemistry",
        "second_confidence": 0.1,
        "secondary_fields": [],
        "level": "H2" if field == "Physics" else "H1",
        "grade": "high",
        "question_type": "short_answer",
        "language": "en",
        "self_contained": "the figure" not in question,
        "knowledge_points": [],
    }


def run(records, model=None, reads=None, shard_size=1000, **config):
    models = {"annotator": [model]} if model else {}
    stage = Annotate(AnnotateConfig(**config))
    return run_stage(stage, records, models=models, reads=reads, segment="head", shard_size=shard_size)


def test_every_seed_gets_field_parent_level_and_grade():
    found = run(
        [*seeds(3), seed(9, passage="energy of a wave", question="", answer="")], Scripted("m", label=reply)
    )
    by_id = {record.id: record for record in found.kept}
    labels = by_id["Physics-a-0"].labels
    assert (labels.field, labels.discipline, labels.stem, labels.level, labels.grade) == (
        "Physics",
        "Science",
        "core",
        "H2",
        "high",
    )
    assert by_id["Law-a-1"].labels.discipline == "Law"
    assert by_id["Law-a-1"].question_type == "short_answer"
    assert by_id["Physics-a-9"].labels.field
    assert by_id["Law-a-1"].history[-1].action == "labelled"
    assert found.states["fit"]["classifier"].startswith("not needed")


def test_wrong_labels_show_in_the_agreement_with_gold():
    gold = [Labels(field=name.lower(), level="H2", grade="high") for name in WORDS]
    records = [seed(i, list(WORDS)[i % 3], gold=gold[i % 3]) for i in range(30)]
    wrong = {record.question for record in records[:6]}
    found = run(records, Scripted("m", label=lambda request: reply(request, wrong)))
    field = found.states["fit"]["agreement"]["field"]
    assert (field["n"], field["correct"]) == (30, 24)
    assert field["low"] < 0.8 < field["high"]
    assert found.states["fit"]["agreement"]["discipline"]["correct"] == 24
    level = found.states["fit"]["agreement"]["level"]
    assert (level["correct"], level["within_one"]) == (10 - 2, 30)
    # Gold is only measured against: without use_gold the model's label stands, wrong as it is.
    assert sum(record.labels.field == "History" for record in found.kept) == 6
    assert found.states["fit"]["agreement"]["grade"]["correct"] == 30


def test_gold_labels_correct_wrong_ones_and_save_the_money():
    whole = [seed(i, gold=Labels(field="physics", level="H3", grade="middle")) for i in range(20)]
    model = Scripted("m", label=lambda request: reply(request) | {"field": "History"})
    found = run(whole, model, use_gold=True, gold_checked=0)
    assert not model.asked
    assert {(r.labels.field, r.labels.level, r.labels.labeller) for r in found.kept} == {
        ("Physics", "H3", "gold")
    }
    checked = run(whole, model, use_gold=True, gold_checked=20)
    assert len(model.asked) == 20
    assert checked.states["fit"]["agreement"]["field"]["correct"] == 0
    assert {record.labels.field for record in checked.kept} == {"Physics"}


def test_texts_of_gold_seeds_are_kept_for_a_bounded_number(monkeypatch):
    monkeypatch.setattr(annotate, "_FIT_ITEMS", 60)
    known = [
        seed(i, name, gold=Labels(field=name, level="H1", grade="high")) for i in range(80) for name in WORDS
    ]
    unknown = [seed(200 + i, list(WORDS)[i % 3]) for i in range(9)]
    found = run([*known, *unknown], use_gold=True, gold_checked=0, sample=0, min_fit=20)
    texts = [row["text"] for table in found.rows["label"] for row in table.to_pylist()]
    assert len(texts) == 240
    assert 30 < sum(text is not None for text in texts) < 90
    assert found.states["fit"]["labelled"] == 240
    assert found.states["fit"]["classifier"] == "fitted"
    guessed = [r for r in found.kept if r.labels.labeller == "classifier"]
    assert len(guessed) == 9


def test_partial_gold_is_completed_and_not_counted_as_agreement():
    record = seed(1, gold=Labels(field="Physics"))
    level = {"level": "H4", "grade": "high", "question_type": "open", "self_contained": True}
    model = Scripted("m", label_level=level)
    found = run([record], model, use_gold=True, passes=2)
    labels = found.kept[0].labels
    assert (labels.field, labels.level, labels.grade, labels.labeller) == ("Physics", "H4", "high", "gold")
    assert found.states["fit"]["agreement"]["field"]["n"] == 0


def test_the_classifier_labels_what_was_not_sampled():
    model = Scripted("m", label=reply)
    records = [*seeds(240), seed(1, source="b", question="zzz qqq xxx"), seed(2, source="c", language="fr")]
    found = run(records, model, sample=120, second_sample=0, min_fit=60)
    assert 90 <= len(model.asked) <= 150
    by_id = {record.id: record for record in found.kept}
    guessed = [r for r in found.kept if r.labels.labeller == "classifier" and r.source.name == "a"]
    assert len(guessed) > 80
    right = sum(record.id.startswith(record.labels.field) for record in guessed)
    assert right / len(guessed) > 0.9
    assert all(0.4 <= r.labels.field_confidence <= 1 for r in guessed if r.labels.field != "Other")
    assert {record.labels.level for record in guessed} <= {"H1", "H2"}
    assert {record.labels.level_rubric for record in guessed} == {None}
    head = found.states["fit"]["heads"]["field"]
    assert head["fitted"]
    assert head["tested"]["share"] > 0.9
    assert set(by_id) == {record.id for record in records}


def test_a_language_that_no_example_had_is_never_guessed():
    strange = [seed(i, source="b", language="fr") for i in range(40)]
    found = run(
        seeds(120) + strange, Scripted("m", label=reply), sample=0, min_fit=60, reads={"labelled": earlier()}
    )
    french = [record for record in found.kept if record.language == "fr"]
    assert {record.labels.field for record in french} == {"Other"}
    assert {record.labels.level for record in french} == {None}
    english = [record for record in found.kept if record.language == "en"]
    assert sum(record.id.startswith(record.labels.field) for record in english) > 110


def earlier():
    done = run(seeds(120), Scripted("m", label=reply))
    return [Committed(rows=done.rows)]


def test_little_to_learn_from_is_said_and_the_rest_dropped():
    found = run(seeds(60), Scripted("m", label=reply), sample=30)
    assert "not fitted" in found.states["fit"]["classifier"]
    assert {record.dropped.reason for record in found.dropped} == {"unlabelled"}
    assert "annotate.min_fit is 200" in found.dropped[0].dropped.evidence
    assert len(found.kept) + len(found.dropped) == 60
    assert 15 < len(found.kept) < 45


def test_failed_calls_and_questions_that_need_a_figure_are_dropped():
    broken = Scripted("m", label=Outcome.MALFORMED)
    found = run(seeds(2), broken)
    assert {record.dropped.reason for record in found.dropped} == {"unlabelled"}
    assert "malformed" in found.dropped[0].dropped.evidence
    lost = seed(1, question="What is the mass in the figure?")
    assert run([lost], Scripted("m", label=reply)).dropped[0].dropped.reason == "not_self_contained"
    assert run([lost], Scripted("m", label=reply), drop_not_self_contained=False).kept


def test_the_sample_depends_on_ids_alone_and_spreads_over_sources():
    records = seeds(300) + [seed(i, source="small") for i in range(10)]
    whole, split = Scripted("m", label=reply), Scripted("m", label=reply)
    one = run(records, whole, sample=60, second_sample=0, min_fit=20)
    other = run(records[::-1], split, sample=60, second_sample=0, min_fit=20, shard_size=37)
    shown = [{section(r, "Question") for r in m.asked} for m in (whole, split)]
    assert shown[0] == shown[1]
    assert sorted(one.kept, key=lambda r: r.id) == sorted(other.kept, key=lambda r: r.id)
    small = [r for r in records if r.source.name == "small" and r.question in shown[0]]
    assert len(small) == 10
    share = next(s["share"] for s in one.states["sample"]["strata"] if s["stratum"].startswith("a /"))
    assert share == pytest.approx(50 / 300)
    expected = {r.question for r in records if r.source.name == "a" and unit("annotate", r.id) < share}
    assert shown[0] - {r.question for r in small} == expected


def test_the_second_sample_is_what_the_first_classifier_does_not_know():
    rare = [seed(i, source="a", question=f"zzz{i} qqq{i} xxx{i}?") for i in range(900, 912)]
    records = [*seeds(300), *rare]
    whole, split = Scripted("m", label=reply), Scripted("m", label=reply)
    one = run(records, whole, sample=100, second_sample=40, min_fit=30)
    other = run(records[::-1], split, sample=100, second_sample=40, min_fit=30, shard_size=37)
    first = {row["id"] for table in one.rows["label"] for row in table.to_pylist()}
    second = set(one.states["choose"]["ids"])
    assert (len(second), second & first) == (40, set())
    assert {record.id for record in rare} <= first | second
    assert sum(record.id in first for record in rare) < 12
    shown = [sorted(section(r, "Question") for r in m.asked) for m in (whole, split)]
    assert shown[0] == shown[1]
    assert len(shown[0]) == len(first) + 40
    assert sorted(one.kept, key=lambda r: r.id) == sorted(other.kept, key=lambda r: r.id)
    labelled = {record.id for record in one.kept if record.labels.labeller == "llm:m"}
    assert second <= labelled
    fit = one.states["fit"]
    assert (fit["second"], fit["labelled"]) == (40, len(labelled))
    assert fit["heads"]["field"]["examples"] > one.states["draft"]["heads"]["field"]["examples"]


@pytest.mark.long
def test_a_run_chooses_the_same_second_sample_on_any_shards_and_workers(tmp_path):
    found = []
    with fake_server(tmp_path) as server:
        for workers, size in ((1, 500), (3, 17)):
            name = f"run-{workers}"
            paid = {"sample": 60, "second_sample": 20, "min_fit": 30}
            recipe = make_recipe(tmp_path, server.url, seeds=200, annotate=paid)
            text = recipe.read_text().replace("shard_size: 60", f"shard_size: {size}")
            recipe.write_text(text)
            words = ("--until", "annotate", "--workers", str(workers))
            boostqa("run", recipe, "--out", tmp_path / name, *words)
            state = tmp_path / name / "03-annotate" / "state"
            fit = json.loads((state / "fit.json").read_text())
            found.append((json.loads((state / "choose.json").read_text()), fit["labelled"], fit["heads"]))
    assert found[0] == found[1]
    assert len(found[0][0]["ids"]) == 20
    # Both samples teach, save what the model called Other.
    assert 70 < found[0][2]["field"]["examples"] <= found[0][1]


def test_the_second_sample_teaches_the_others_and_the_next_head():
    # The first sample hardly meets Biology; what is unsure is asked, and then the rest is known.
    records = [*seeds(240), *(seed(i, "Biology", source="b") for i in range(60))]
    done = run(records, Scripted("m", label=reply), sample=60, second_sample=60, min_fit=30)
    grown = Scripted("m", label=reply)
    found = run(seeds(90, source="c"), grown, sample=0, min_fit=30, reads={"labelled": [done]})
    assert not grown.asked
    assert (
        found.states["fit"]["heads"]["field"]["examples"] == done.states["fit"]["heads"]["field"]["examples"]
    )


def test_agreement_is_counted_on_the_first_sample_alone():
    gold = [Labels(field=name, level="H2", grade="high") for name in WORDS]
    records = [seed(i, list(WORDS)[i % 3], gold=gold[i % 3]) for i in range(200)]
    found = run(records, Scripted("m", label=reply), sample=80, second_sample=30, min_fit=30)
    first = sum(table.num_rows for table in found.rows["label"])
    assert found.states["fit"]["agreement"]["field"]["n"] == first
    assert found.states["fit"]["confidence"]["n"] == first
    assert sum(table.num_rows for table in found.rows["ask"]) == 30


def test_there_is_no_second_sample_without_a_first_classifier():
    model = Scripted("m", label=reply)
    found = run(seeds(120), model, sample=60)
    assert len(model.asked) == sum(table.num_rows for table in found.rows["label"])
    assert found.states["choose"]["ids"] == []
    assert "annotate.min_fit is 200" in found.states["fit"]["classifier"]
    assert "choose" not in run(seeds(3), Scripted("m", label=reply), sample=2, second_sample=0).states


def test_the_pool_of_the_second_sample_is_bounded(monkeypatch):
    monkeypatch.setattr(annotate, "_POOL", 50)
    monkeypatch.setattr(annotate, "_POOL_TIMES", 1)
    found = run(seeds(600), Scripted("m", label=reply), sample=100, second_sample=20, min_fit=30)
    assert 25 < found.states["choose"]["pool"] < 75
    assert len(found.states["choose"]["ids"]) == 20


def test_the_meter_gives_the_level_where_nobody_read_the_rubric():
    records = [seed(i, name, solution="So. " * len(name)) for i in range(120) for name in WORDS]
    records.append(seed(1, source="b", language="fr"))
    found = run(records, Scripted("m", label=reply), sample=150, second_sample=30, min_fit=60)
    meter = found.states["fit"]["meter"]
    assert meter["fitted"]
    assert meter["held_out"]["same"] > 0.8 * meter["held_out"]["n"]
    bulk = [r for r in found.kept if r.labels.labeller == "classifier" and r.language == "en"]
    assert len(bulk) > 150
    truth = ["H2" if record.id.startswith("Physics") else "H1" for record in bulk]
    assert sum(r.labels.level == level for r, level in zip(bulk, truth, strict=True)) > 0.9 * len(bulk)
    assert {record.labels.level_rubric for record in bulk} == {None}
    assert all(1 <= round(record.scores["level_meter"]) <= 2 for record in bulk)
    paid = [r for r in found.kept if r.labels.labeller == "llm:m"]
    assert all(r.labels.level_rubric == r.labels.level and "level_meter" not in r.scores for r in paid)
    (strange,) = [r for r in found.kept if r.language == "fr"]
    if strange.labels.labeller == "classifier":
        assert (strange.labels.level, strange.scores) == (None, {})


def test_labels_are_those_of_the_taxonomy():
    found = run(seeds(6), Scripted("m", label=reply))
    assert all(record.labels.field in load() for record in found.kept)


def test_confidence_is_calibrated_by_gold_where_there_is_enough():
    gold = [Labels(field=name) for name in WORDS]
    records = [seed(i, list(WORDS)[i % 3], gold=gold[i % 3]) for i in range(90)]
    wrong = {record.question for record in records[:45]}
    found = run(records, Scripted("m", label=lambda request: reply(request, wrong)))
    told = found.states["fit"]["confidence"]
    # It says 0.9 and is right half the time.
    assert (told["n"], told["error"]) == (90, pytest.approx(0.4, abs=0.001))
    assert told["error_after"] < 0.1
    assert {0.4 < record.labels.field_confidence < 0.6 for record in found.kept} == {True}
    few = run(records[:20], Scripted("m", label=lambda request: reply(request, wrong)))
    assert few.states["fit"]["confidence"]["curve"] is None
    assert {record.labels.field_confidence for record in few.kept} == {0.9}
    assert {record.labels.field_second for record in few.kept} == {"Chemistry"}
