import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from boostqa import taxonomy
from boostqa.cli import app
from boostqa.errors import UserError
from boostqa.report.annotation import kept
from subjects import LAW, PHYSICS

WORDS = {
    "Physics": PHYSICS,
    "Law": LAW,
    "Chemistry": ["氧化", "还原", "酸碱", "电解", "催化", "分子", "离子", "溶液", "沉淀", "反应"],
}


def rows(n, start=0):
    for i in range(start, start + n):
        for field, words in WORDS.items():
            a, b, c = (words[(i * k + k) % 10] for k in (1, 3, 7))
            text = (
                f"{a}与{b}和{c}在第{i}题中怎样?"
                if field == "Chemistry"
                else f"What about {a} and {b} and {c} in case {i}?"
            )
            yield {"id": f"{field}-{i}", "question": text, "field": field, "level": f"H{i % 2 + 1}"}


def write(path, lines):
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def call(*words):
    done = CliRunner().invoke(app, ["annotate", *map(str, words)])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def model(tmp_path):
    path = write(tmp_path / "known.jsonl", rows(40))
    call("fit", path, "--out", tmp_path / "model")
    return tmp_path / "model"


def test_fit_then_eval_then_apply(tmp_path, model):
    gold = write(tmp_path / "gold.jsonl", rows(20, 100))
    found = json.loads(call("eval", "--gold", gold, "--model", model, "--json"))
    assert found["items"] == 60
    by = {(row["label"], row["language"]): row for row in found["rows"]}
    assert by["field", "all"]["accuracy"] > 0.95
    assert by["field", "all"]["kappa"] > 0.9
    assert by["field", "zh"]["n"] == 20
    assert by["discipline", "en"]["n"] == 40
    assert by["field", "all"]["rare"] == [["Chemistry", 20], ["Law", 20], ["Physics", 20]]
    assert 0 <= by["field", "all"]["calibration_error"] < 0.2
    shown = call("eval", "--gold", gold, "--model", model)
    assert "macro-F1" in shown
    assert "fewer than 50 gold items: Chemistry 20" in shown
    out = tmp_path / "labelled.jsonl"
    assert "60 items: labelled" in call("apply", gold, "--model", model, "--out", out)
    labelled = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in labelled] == [row["id"] for row in rows(20, 100)]
    assert sum(row["field"] == row["id"].partition("-")[0] for row in labelled) >= 57
    physics = next(row for row in labelled if row["field"] == "Physics")
    assert (physics["discipline"], physics["stem"]) == ("Science", "core")
    assert physics["second"] in WORDS
    assert physics["confidence"] > physics["second_confidence"]


def test_what_it_was_fitted_on_is_no_test(tmp_path, model):
    gold = write(tmp_path / "both.jsonl", [*rows(40), *rows(5, 100)])
    found = json.loads(call("eval", "--gold", gold, "--model", model, "--json"))
    assert (found["items"], found["fitted_on"]) == (15, 120)
    same = write(tmp_path / "same.jsonl", rows(40))
    with pytest.raises(UserError, match=r"no labelled item that .* was not fitted on"):
        call("eval", "--gold", same, "--model", model)


def test_labels_outside_the_taxonomy_are_listed_and_counted(tmp_path, model):
    strange = [{"question": f"What about force {i}?", "field": "Alchemy", "level": "hard"} for i in range(3)]
    gold = write(tmp_path / "gold.jsonl", [*rows(5, 100), *strange])
    shown = call("eval", "--gold", gold, "--model", model)
    assert "labels outside the taxonomy, left out: 6" in shown
    assert "field 'Alchemy': 3" in shown
    alone = write(tmp_path / "alone.jsonl", strange)
    with pytest.raises(UserError, match="labels outside the taxonomy: field 'Alchemy': 3"):
        call("fit", alone, "--out", tmp_path / "m")


def test_a_label_with_one_example_is_left_out_and_named(tmp_path):
    path = write(
        tmp_path / "known.jsonl", [*rows(10), {"question": "When did Rome fall?", "field": "History"}]
    )
    shown = call("fit", path, "--out", tmp_path / "m")
    assert "left out, one example each: History" in shown
    out = tmp_path / "out.jsonl"
    call("apply", path, "--model", tmp_path / "m", "--out", out, "--min-confidence", "0")
    assert "History" not in out.read_text(encoding="utf-8")


def test_empty_questions_and_strange_languages_are_never_guessed(tmp_path, model):
    lines = [
        {"id": "empty", "question": "", "choices": ["force", "mass"]},
        {"id": "nothing", "question": "?!"},
        {"id": "unseen words", "question": "Zebras graze quietly beside hippos there", "language": "en"},
        {"id": "french", "question": "Quelle est la force de la masse au tribunal ?", "language": "fr"},
        {"id": "good", "question": "force and mass and energy", "language": "en"},
    ]
    path, out = write(tmp_path / "odd.jsonl", lines), tmp_path / "out.jsonl"
    shown = call("apply", path, "--model", model, "--out", out, "--min-confidence", "0")
    found = {row["id"]: row for row in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    assert (found["french"]["field"], found["french"]["why"]) == ("Other", "unknown_language")
    assert "level" not in found["french"]
    assert (found["nothing"]["field"], found["nothing"]["why"]) == ("Other", "unknown_text")
    for name in ("french", "nothing"):
        assert not {"confidence", "second", "second_confidence"} & set(found[name]), name
    assert found["good"]["field"] == "Physics" != found["good"]["second"]
    assert "empty" not in found
    assert "rows without question and text, left out: 1" in shown or "could not be read: 1" in shown


def test_own_taxonomy_and_crosswalk(tmp_path):
    text = {
        "about": "a",
        "about_zh": "甲",
        "isced": "0511",
        "stem": "no",
        "topics": ["a"],
        "topics_zh": ["甲"],
    }
    tree = {
        "disciplines": [{"name": "Work", "name_zh": "工作", "about": "a", "about_zh": "甲"}],
        "fields": [
            {"name": name, "name_zh": zh, "discipline": "Work", **text}
            for name, zh in (("Wood", "木"), ("Iron", "铁"))
        ],
    }
    own = write(tmp_path / "own.yaml", [tree])
    lines = [
        {"question": f"{w} {i}", "field": f} for i in range(8) for w, f in (("saw", "Wood"), ("forge", "铁"))
    ]
    path = write(tmp_path / "known.jsonl", lines)
    call("fit", path, "--out", tmp_path / "m", "--taxonomy", own)
    out = tmp_path / "out.jsonl"
    # The model brings its taxonomy.
    call("apply", path, "--model", tmp_path / "m", "--out", out, "--min-confidence", "0")
    labelled = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(row["field"], row["discipline"], row["stem"]) for row in labelled} == {
        ("Wood", "Work", "no"),
        ("Iron", "Work", "no"),
    }
    new = write(tmp_path / "new.jsonl", [{"question": "saw it 99", "field": "木"}])
    assert json.loads(call("eval", "--gold", new, "--model", tmp_path / "m", "--json"))["outside"] == 0
    with pytest.raises(UserError, match="no field"):
        call(
            "apply",
            path,
            "--model",
            tmp_path / "m",
            "--out",
            out,
            "--taxonomy",
            Path(taxonomy.__file__).with_name("disciplines.yaml"),
        )
    about = tmp_path / "m" / "model.json"
    about.write_text(about.read_text(encoding="utf-8").replace('"fields"', '"folds"'), encoding="utf-8")
    with pytest.raises(UserError, match=r"holds no taxonomy .* again with `boostqa annotate fit`"):
        call("apply", path, "--model", tmp_path / "m", "--out", out)
    mapped = [
        {"question": f"{w} {i}", "subject": s}
        for i in range(8)
        for w, s in (("star", "astronomy"), ("law", "jurisprudence"))
    ]
    shown = call("fit", write(tmp_path / "b.jsonl", mapped), "--out", tmp_path / "m2", "--crosswalk", "mmlu")
    assert "field: 16 examples of 2 labels" in shown
    with pytest.raises(UserError, match="no benchmark 'mlu'"):
        call("fit", path, "--out", tmp_path / "m2", "--crosswalk", "mlu")


def test_measure_gives_difficulty_with_error(tmp_path):
    tries = [
        {"id": f"q{i}", "solver": solver, "solved": max(0, min(4, 4 - i // 2 + bonus)), "tried": 4}
        for i in range(10)
        for solver, bonus in (("weak", -1), ("strong", 1))
    ]
    path, out = write(tmp_path / "tries.jsonl", tries), tmp_path / "out.jsonl"
    shown = call("measure", path, "--out", out)
    assert "10 items" in shown
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in found] == sorted(row["id"] for row in found)
    assert found[0]["difficulty"] < found[5]["difficulty"] < found[9]["difficulty"]
    assert found[0]["level_measured"] < found[9]["level_measured"]
    assert all(0 < row["se"] <= 1 for row in found)
    bad = write(tmp_path / "bad.jsonl", [{"id": "a", "solver": "s", "solved": 5, "tried": 4}])
    with pytest.raises(UserError, match=r"bad.jsonl:1: solved 5 is not between 0 and tried 4"):
        call("measure", bad, "--out", out)
    for solved, tried in (("inf", "inf"), (1, "inf"), ("nan", 4)):
        path = write(tmp_path / "bad.jsonl", [{"id": "a", "solver": "s", "solved": solved, "tried": tried}])
        with pytest.raises(
            UserError, match=r"bad.jsonl:1: solved .* is not between 0 and tried .*; give counts"
        ):
            call("measure", path, "--out", out)
    with pytest.raises(UserError, match=r"bad.jsonl:1: needs id, solver, solved and tried"):
        call("measure", write(tmp_path / "bad.jsonl", [{"id": "a"}]), "--out", out)
    with pytest.raises(UserError, match="no attempts"):
        call("measure", write(tmp_path / "none.jsonl", []), "--out", out)


def test_one_question_again_and_again_is_fitted_without_a_test(tmp_path):
    lines = [{"question": "What is force?", "field": field} for field in ("Physics", "Law") for _ in range(6)]
    path = write(tmp_path / "known.jsonl", lines)
    shown = call("fit", path, "--out", tmp_path / "m")
    assert "field: 12 examples of 2 labels" in shown
    assert "nothing could be held out" in shown
    found = json.loads(call("fit", path, "--out", tmp_path / "m", "--json"))
    assert found["heads"]["field"]["held_out"]["n"] == 0


def test_places_that_cannot_be_used(tmp_path, model):
    gold = write(tmp_path / "gold.jsonl", rows(5, 100))
    with pytest.raises(UserError, match=r"is not a fitted classifier .*boostqa annotate fit"):
        call("eval", "--gold", gold, "--model", tmp_path)
    with pytest.raises(UserError, match="no row with a question or text"):
        call("eval", "--gold", write(tmp_path / "empty.jsonl", [{"question": ""}]), "--model", model)
    with pytest.raises(UserError, match="cannot be written"):
        call("apply", gold, "--model", model, "--out", tmp_path / "no" / "such" / "out.jsonl")
    assert kept(tmp_path) is None


def test_rows_to_ask_a_model_about_are_marked(tmp_path, model):
    lines = [*rows(10, 100), {"id": "odd", "question": "Quelle est la force de la masse ?", "language": "fr"}]
    path, out = write(tmp_path / "new.jsonl", lines), tmp_path / "out.jsonl"
    call("apply", path, "--model", model, "--out", out, "--ask", "6")
    asked = [
        row["id"] for row in map(json.loads, out.read_text(encoding="utf-8").splitlines()) if row.get("ask")
    ]
    assert len(asked) == 6
    assert "odd" in asked


def test_apply_writes_parquet_like_json_lines_in_blocks(tmp_path, model, monkeypatch):
    monkeypatch.setattr("boostqa.annotation.commands._BLOCK", 7)
    path = write(tmp_path / "new.jsonl", [*rows(10, 300), {"id": "odd", "question": "ፊደል ሰላም ዓለም ጤና"}])
    lines, table = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    call("apply", path, "--model", model, "--out", lines, "--ask", "5")
    call("apply", path, "--model", model, "--out", table, "--ask", "5")
    one = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    other = pq.read_table(table).to_pylist()
    assert [row["id"] for row in one] == [row["id"] for row in other]
    assert [row.get("ask", False) for row in one] == [row["ask"] for row in other]
    assert sum(row["ask"] for row in other) == 5
    for a, b in zip(one, other, strict=True):
        assert all(b[name] == value for name, value in a.items())
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out")) == [
        "out.jsonl",
        "out.parquet",
    ]


def test_apply_that_fails_leaves_what_was_there(tmp_path, model):
    out = tmp_path / "out.jsonl"
    out.write_text("kept")
    empty = write(tmp_path / "empty.jsonl", [{"id": "1", "question": ""}])
    with pytest.raises(UserError, match="no row with a question"):
        call("apply", empty, "--model", model, "--out", out)
    assert out.read_text() == "kept"
    assert not list(tmp_path.glob("*.part"))
