from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from boostqa import taxonomy
from boostqa.errors import UserError
from boostqa.flows.vocabulary import settle

ADDED = {"Statistics and Data Science", "Artificial Intelligence", "General Knowledge", "Interdisciplinary"}


def small() -> dict[str, Any]:
    """A valid taxonomy of two disciplines and three fields; a fresh copy for each test to break."""
    text = {"about": "What it is.", "about_zh": "是什么。"}
    leaf = {**text, "isced": "0511", "stem": "core", "topics": ["a"], "topics_zh": ["甲"]}
    return {
        "disciplines": [
            {"name": "Life", "name_zh": "生命", **text},
            {"name": "Law", "name_zh": "法学类", **text},
        ],
        "fields": [
            {"name": "Cells", "name_zh": "细胞", "discipline": "Life", **leaf},
            {"name": "Trees", "name_zh": "树木", "discipline": "Life", **leaf},
            {"name": "Law", "name_zh": "法学", "discipline": "Law", **leaf, "isced": "0421", "stem": "no"},
        ],
    }


def save(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path


def test_built_in_has_the_disciplines_and_fields_promised() -> None:
    tax = taxonomy.load()
    assert len(tax.disciplines) == 14
    assert len(tax.fields) == 76
    names = [field.name for field in tax.fields]
    assert len(set(names)) == 76
    assert len({field.name_zh for field in tax.fields}) == 76
    assert set(names) >= ADDED
    sizes = {entry.name: len(tax.of(entry.name)) for entry in tax.disciplines}
    assert sizes == {
        "Science": 13,
        "Engineering": 31,
        "Medicine": 6,
        "Agronomy": 5,
        "Economics": 2,
        "Management": 4,
        "Law": 2,
        "Education": 3,
        "Literature and Arts": 4,
        "Philosophy": 1,
        "History": 1,
        "Sociology": 1,
        "Military Science": 1,
        "General": 2,
    }


def test_stem_follows_the_discipline() -> None:
    expected = {"Science": "core", "Engineering": "core", "Medicine": "extended", "Agronomy": "extended"}
    for field in taxonomy.load().fields:
        assert field.stem == expected.get(field.discipline, "no"), field.name


def test_texts_are_there_in_both_languages() -> None:
    for field in taxonomy.load().fields:
        assert 6 <= len(field.topics) <= 10, field.name
        assert len(field.topics) == len(field.topics_zh), field.name
        assert len(set(field.topics)) == len(field.topics), field.name
        assert re.search("[一-鿿]", field.about_zh), field.name
        assert not re.search("[一-鿿]", field.about + "".join(field.topics)), field.name


def test_look_ups() -> None:
    tax = taxonomy.load()
    assert tax.parent("Physics") == "Science"
    assert tax.field("Physics").isced == "0533"
    assert tax.stem("Pharmacy") == "extended"
    assert "Physics" in tax
    assert tax.find("  computer_science and TECHNOLOGY") == "Computer Science and Technology"
    assert tax.find("物理学") == "Physics"
    assert tax.find("Alchemy") is None


def test_other_is_a_label_and_not_a_field() -> None:
    tax = taxonomy.load()
    assert tax.parent(taxonomy.OTHER) == taxonomy.OTHER
    assert tax.stem(taxonomy.OTHER) == "no"
    assert tax.of(taxonomy.OTHER) == ()
    assert taxonomy.OTHER not in tax
    assert tax.find(taxonomy.OTHER) is None
    with pytest.raises(UserError, match="no field 'Other'"):
        tax.field(taxonomy.OTHER)


def test_unknown_names_say_what_is_near() -> None:
    tax = taxonomy.load()
    with pytest.raises(UserError, match=r"disciplines\.yaml: no field 'Physic'; did you mean Physics"):
        tax.parent("Physic")
    with pytest.raises(UserError, match="no discipline 'Medecine'; did you mean Medicine"):
        tax.of("Medecine")


def test_own_file_is_loaded(tmp_path: Path) -> None:
    data = small()
    data["fields"][0]["isced"] = "0519"
    data["fields"][1]["isced"] = "0588"
    tax = taxonomy.load(save(tmp_path, data))
    assert [field.name for field in tax.of("Life")] == ["Cells", "Trees"]
    assert tax.parent("Law") == "Law"


def test_a_recipes_file_is_in_force_until_another_recipe_is_read(tmp_path: Path) -> None:
    path = save(tmp_path, small())
    taxonomy.use(path)
    assert [field.name for field in taxonomy.load().fields] == ["Cells", "Trees", "Law"]
    assert settle("field", "cells") == "Cells"
    assert settle("field", "physics") is None
    with pytest.raises(UserError, match="cannot be read"):
        taxonomy.use(tmp_path / "gone.yaml")
    assert "Cells" in taxonomy.load()
    taxonomy.use(None)
    assert "Cells" not in taxonomy.load()
    assert settle("field", "physics") == "Physics"


def test_bare_no_is_understood_as_stem(tmp_path: Path) -> None:
    text = save(tmp_path, small()).read_text(encoding="utf-8")
    path = tmp_path / "bare.yaml"
    path.write_text(text.replace("stem: 'no'", "stem: no"), encoding="utf-8")
    assert taxonomy.load(path).stem("Law") == "no"


def _field(**change: Any) -> dict[str, Any]:
    data = small()
    data["fields"][1].update(change)
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_field(name="Cells"), r"own\.yaml: fields: the name 'Cells' stands twice; give each"),
        (_field(name="cells "), r"fields: the name 'cells ' stands twice"),
        (_field(name_zh="细胞"), r"fields: the name '细胞' stands twice"),
        (_field(discipline="Lief"), r"field 'Trees': there is no discipline 'Lief'; did you mean Life"),
        (
            _field(discipline="Cells"),
            r"field 'Trees': there is no discipline 'Cells'; that is a field; there are",
        ),
        (
            _field(discipline="Trees"),
            r"field 'Trees': there is no discipline 'Trees'; the parents go in a circle \(Trees -> Trees\)",
        ),
        (_field(name="LAW", name_zh="法"), r"fields: the name 'Law' stands twice"),
        (_field(stem="maybe"), r"fields\[1\] 'Trees': Invalid enum value 'maybe' .* compare with"),
        (_field(isced="0599"), None),
        (_field(isced="0590"), r"field 'Trees': isced '0590' is not .* give four digits such as '0533'"),
        (_field(isced="5X"), r"field 'Trees': isced '5X' is not"),
        (_field(isced=511), r"fields\[1\] 'Trees': isced must be text; put the four digits in quotes"),
        (_field(colour="red"), r"fields\[1\] 'Trees': Object contains unknown field `colour`"),
        (_field(name="other"), r"fields\[1\] 'other': the name is empty or the reserved 'Other'; choose"),
        (_field(topics="all"), r"fields\[1\] 'Trees': Expected `array`, got `str` - at `\$\.topics`"),
        ({**small(), "levels": []}, r"unknown key 'levels'; the top has only 'disciplines' and 'fields'"),
        ({"disciplines": small()["disciplines"]}, r"'fields' must be a list with at least one entry"),
        ({**small(), "fields": small()["fields"][:2]}, r"discipline 'Law' has no fields; give it one"),
        ({**small(), "fields": ["Cells"]}, r"fields\[0\]: Expected `object`, got `str`"),
        (["Cells"], r"must hold keys at the top, not list"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, data: object, message: str | None) -> None:
    path = save(tmp_path, data)
    if message is None:
        assert len(taxonomy.load(path).fields) == 3
        return
    with pytest.raises(UserError, match=message) as caught:
        taxonomy.load(path)
    assert str(path) in str(caught.value)


def test_field_with_the_name_of_another_discipline(tmp_path: Path) -> None:
    data = small()
    data["fields"][1].update(name="Law", name_zh="森林法")
    data["fields"][2].update(name="Courts", name_zh="法院")
    with pytest.raises(UserError, match=r"'Law': has the name of a discipline \(Law\) but belongs to 'Life'"):
        taxonomy.load(save(tmp_path, data))
    data["fields"][1].update(name="Woods", name_zh=data["disciplines"][1]["name_zh"])
    with pytest.raises(UserError, match=r"'Woods': has the name of a discipline .* but belongs to 'Life'"):
        taxonomy.load(save(tmp_path, data))


def test_parents_that_go_in_a_circle(tmp_path: Path) -> None:
    data = small()
    data["fields"][0].update(discipline="Trees")
    data["fields"][1].update(discipline="Cells")
    with pytest.raises(UserError, match=r"field 'Cells': .* in a circle \(Cells -> Trees -> Cells\)"):
        taxonomy.load(save(tmp_path, data))


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    text = save(tmp_path, small()).read_text(encoding="utf-8")
    path = tmp_path / "twice.yaml"
    path.write_text(text.replace("name: Trees", "name: Trees\n  name: Bushes"), encoding="utf-8")
    with pytest.raises(UserError, match=r"twice\.yaml, line \d+: the key 'name' stands twice in one entry"):
        taxonomy.load(path)
    path.write_text(f"{text}\nfields: []\n", encoding="utf-8")
    with pytest.raises(UserError, match="the key 'fields' stands twice"):
        taxonomy.load(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read \(No such file"):
        taxonomy.load(tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("fields: [a", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.yaml: is not YAML in UTF-8"):
        taxonomy.load(path)


def test_levels_have_rubric_and_two_examples() -> None:
    levels = taxonomy.levels()
    assert [level.name for level in levels] == ["H1", "H2", "H3", "H4", "H5"]
    for level in levels:
        assert len(level.signs) == len(level.signs_zh) >= 3
        assert len(level.examples) == 2
        for example in level.examples:
            assert all(msgspec.structs.astuple(example))


def test_grades_stand_in_order() -> None:
    grades = taxonomy.grades()
    names = ["primary", "middle", "high", "undergraduate", "graduate", "professional"]
    assert [grade.name for grade in grades] == names
    starts = [grade.ages[0] for grade in grades[:5]]
    assert starts == sorted(starts)
    for grade in grades:
        assert grade.ages[0] < grade.ages[1]
        assert all(1 <= level <= 8 for level in grade.isced)


def test_question_types_say_how_they_are_checked() -> None:
    types = {entry.name: entry for entry in taxonomy.question_types()}
    assert set(types) == {
        "open",
        "multiple_choice",
        "true_false",
        "short_answer",
        "calculation",
        "proof",
        "case_analysis",
        "code_reading",
    }
    assert types["multiple_choice"].checks[0] == "choice"
    assert types["calculation"].checks[0] == "numeric"
    assert types["proof"].checks == ("judge",)


def test_crosswalk_is_complete_and_lands_on_fields() -> None:
    tax = taxonomy.load()
    tables = taxonomy.benchmarks()
    assert {name: len(tables[name]) for name in ("mmlu", "cmmlu", "ceval")} == {
        "mmlu": 57,
        "cmmlu": 67,
        "ceval": 52,
    }
    targets = {field for table in tables.values() for field in table.values() if field is not None}
    assert [field for field in targets if field not in tax] == []
    old = ("mmlu", "cmmlu", "ceval", "agieval")
    mixed = {(name, subject) for name in old for subject, f in tables[name].items() if f is None}
    assert mixed == {
        ("cmmlu", "chinese_civil_service_exam"),
        ("cmmlu", "security_study"),
        ("ceval", "civil_servant"),
        ("ceval", "professional_tour_guide"),
    }


def test_crosswalk_forgives_spelling_and_refuses_unknown_benchmarks() -> None:
    assert taxonomy.crosswalk("MMLU", "High School Physics") == "Physics"
    assert taxonomy.crosswalk("C-Eval", "operating_system") == "Computer Science and Technology"
    assert taxonomy.crosswalk("AGIEval", "sat_math") == "Mathematics"
    assert taxonomy.crosswalk("ceval", "civil_servant") is None
    assert taxonomy.crosswalk("mmlu", "alchemy") is None
    with pytest.raises(UserError, match="no benchmark 'mlu'; did you mean mmlu"):
        taxonomy.crosswalk("mlu", "anatomy")


def test_crosswalk_of_catalogues_reads_both_languages_and_leaves_upper_levels_open() -> None:
    assert (
        taxonomy.crosswalk("Xiezhi", "细胞生物学")
        == taxonomy.crosswalk("xiezhi", "Cell Biology")
        == "Biology"
    )
    assert taxonomy.crosswalk("xiezhi", "概率论与数理统计") == "Statistics and Data Science"
    assert [taxonomy.crosswalk("xiezhi", name) for name in ("工学", "Engineering", "Internal Medicine")] == [
        None,
        None,
        None,  # Chinese medicine has its internal medicine too
    ]
    assert taxonomy.crosswalk("MMLU-Pro", "engineering") is None
    assert taxonomy.crosswalk("mmlu_pro", "ori_mmlu-virology") == "Basic Medicine"
    assert taxonomy.crosswalk("m3ke", "Introduction to Psychology") == "Psychology"
    fields = {entry.name for entry in taxonomy.load().fields}
    ours = {
        "Statistics and Data Science",
        "Artificial Intelligence",
        "General Knowledge",
        "Interdisciplinary",
    }
    assert set(taxonomy.benchmarks()["supergpqa"]) == fields - ours


@pytest.mark.shared_data
def test_crosswalk_knows_every_subject_of_the_benchmarks(shared_data: Path) -> None:
    tables = taxonomy.benchmarks()
    subjects = msgspec.json.decode((shared_data / "taxonomy" / "benchmark_subjects.json").read_bytes())
    for name, known in subjects.items():
        assert set(known) == set(tables[name])
    named: dict[str, set[str]] = {"m3ke": set(), "mmlu_pro": set(), "supergpqa": set(), "xiezhi": set()}
    for file in (*(shared_data / "eval").glob("*.gz"), *(shared_data / "seeds" / "qa").glob("*.gz")):
        name = next((name for name in sorted(named, reverse=True) if file.name.startswith(name)), None)
        for line in gzip.decompress(file.read_bytes()).splitlines() if name else ():
            row = msgspec.json.decode(line)
            found = row["labels"]["disciplines"] if name == "xiezhi" else [row["subject"]]
            named[name] |= {*found, row["meta"]["src"]} if name == "mmlu_pro" else set(found)
    spelt = {name: {subject.casefold() for subject in tables[name]} for name in named}
    unknown = {name: {s for s in seen if s.casefold() not in spelt[name]} for name, seen in named.items()}
    assert unknown == {name: set() for name in named}
    assert all(named.values())


def test_isced_table_has_the_eighty_codes() -> None:
    codes = taxonomy.isced_names()
    assert len(codes) == 80
    assert all(re.fullmatch(r"(0\d|10)\d\d", code) for code in codes)


def test_builtin_benchmark_is_well_formed() -> None:
    lines = taxonomy.builtin_benchmark().read_text(encoding="utf-8").splitlines()
    items = [msgspec.json.decode(line) for line in lines]
    assert len(items) >= 30
    assert len({item["id"] for item in items}) == len({item["question"] for item in items}) == len(items)
    for item in items:
        assert set(item) == {"id", "question", "choices", "answer"}
        assert item["answer"]
        assert not item["choices"] or item["answer"] in "ABCDEFGHIJ"[: len(item["choices"])]
    assert sum(bool(re.search("[一-鿿]", item["question"])) for item in items) >= 5
