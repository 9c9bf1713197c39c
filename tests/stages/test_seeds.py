from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from boostqa import readers
from boostqa.errors import UserError
from boostqa.record import Record
from boostqa.stages.seeds import Seeds, SeedsConfig, check
from harness import Committed, run_stage

PROSE = (
    "The roof of the old market is carried by thin iron columns, which were cast in a foundry near the "
    "river. Each column stands on a block of granite, and the rain that falls on the glass runs through the "
    "columns to the drains below. When the hall was built, nobody knew whether such a roof would bear the "
    "snow of a hard winter, so the builders loaded it with sacks of sand and measured how far it bent."
)
NOTE = f"""# Market hall

Introduction to the building, which is the subject of the whole of this chapter of the book. {PROSE}

## Columns

{PROSE} Write to the keeper at keeper@market-hall.org for the key to the cellar.

## Roof

{PROSE.replace("roof", "cover")}
"""


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "question": f"A shelf holds {i} red and {i + 3} blue books. How many books is that?",
            "answer": str(2 * i + 3),
        }
        for i in range(start, start + count)
    ]


def lines(items: list[Any]) -> str:
    return "".join(
        (item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)) + "\n" for item in items
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "data"
    (base / "sub").mkdir(parents=True)
    (base / "pairs.jsonl").write_text(
        lines([*rows(5), '{"question": "broken', *rows(4, 20)]), encoding="utf-8"
    )
    (base / "sub" / "note.md").write_text(NOTE, encoding="utf-8")
    (base / "sub" / "zh.jsonl").write_text(
        lines([{"question": "三角形的内角和是多少度？请说明理由。", "answer": "180度"}]), encoding="utf-8"
    )
    return base


def config(*sources: dict[str, Any], **more: Any) -> SeedsConfig:
    filled = [{"name": "main", "license": "CC0-1.0", **source} for source in sources]
    return SeedsConfig.model_validate({"sources": filled, **more})


def seeds(*sources: dict[str, Any], **more: Any) -> Committed:
    return run_stage(Seeds(config(*sources, **more)), segment="head")


def by_id(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.id)


def test_heterogeneous_folder_becomes_seeds_and_the_broken_line_is_counted(folder: Path) -> None:
    out = seeds({"path": str(folder)}, passage_tokens=150)
    pairs = [r for r in out.kept if r.question]
    passages = [r for r in out.kept if r.passage]
    assert len(pairs) == 10
    assert {r.language for r in pairs} == {"en", "zh"}
    assert len(passages) == 3
    assert {r.source.file for r in out.kept if r.source} == {"pairs.jsonl", "sub/note.md", "sub/zh.jsonl"}
    (bad,) = out.dropped
    assert bad.kind == "seed"
    assert bad.dropped
    assert bad.dropped.reason == "malformed_row"
    assert bad.dropped.evidence.startswith("pairs.jsonl:6: malformed_json:")
    assert "broken" in bad.dropped.evidence
    assert len({r.id for r in [*out.kept, *out.dropped]}) == 14


def test_passages_know_place_heading_licence_and_quality(folder: Path) -> None:
    out = seeds(
        {"path": str(folder / "sub" / "note.md"), "license": "CC BY-SA 4.0", "priority": 2},
        passage_tokens=150,
    )
    columns = next(r for r in out.kept if r.source and r.source.heading[-1:] == ["Columns"])
    assert columns.source
    assert columns.source.name == "main"
    assert columns.source.license == "CC-BY-SA-4.0"
    assert columns.source.heading == ["Market hall", "Columns"]
    assert NOTE.splitlines()[columns.source.line - 1].startswith(columns.passage[:40])  # type: ignore[operator]
    assert columns.scores["priority"] == 2.0
    assert 0.0 < columns.scores["quality"] <= 1.0


def test_personal_data_is_masked_unless_switched_off(folder: Path) -> None:
    note = {"path": str(folder / "sub" / "note.md")}
    masked = "\n".join(r.passage for r in seeds(note).kept)
    assert "cellar" in masked
    assert "keeper@market-hall.org" not in masked
    assert any("1 masked" in event.detail for r in seeds(note).kept for event in r.history)
    assert "keeper@market-hall.org" in "\n".join(r.passage for r in seeds(note, mask_personal=False).kept)


def test_damaged_text_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        lines([{"question": "What does the word cafÃ© mean in the French language?", "answer": "coffee"}])
    )
    assert (
        seeds({"path": str(path)}).kept[0].question == "What does the word café mean in the French language?"
    )


def test_worthless_texts_are_dropped_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "short.md").write_text("Click here.\n")
    (tmp_path / "loop.txt").write_text("\n".join(["Buy our wonderful product today."] * 40))
    (tmp_path / "good.md").write_text(PROSE)
    out = seeds({"path": str(tmp_path)})
    assert [r.source.file for r in out.kept if r.source] == ["good.md"]
    reasons = {r.source.file: r.dropped.reason for r in out.dropped if r.source and r.dropped}
    assert reasons["short.md"] == "too_short"
    assert "loop.txt" in reasons
    strict = seeds({"path": str(tmp_path / "good.md")}, min_quality=1.0)
    assert [r.dropped.reason for r in strict.dropped if r.dropped] == ["low_quality"]


def test_question_without_answer_is_still_a_seed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([{"question": "Why does the sky look red when the sun goes down?"}, *rows(1)]))
    assert [r.answer for r in seeds({"path": str(path)}).kept] == ["", "3"]


def test_gold_labels_come_from_rows_first_then_constants_never_into_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {**rows(1)[0], "field": "mathematics", "level": "5", "discipline": "Sums"}
    path.write_text(lines([row, rows(2)[1]]))
    constants = {
        "field": "statistics and data science",
        "grade": "primary",
        "knowledge_points": "sums",
        "language": "en",
    }
    first, second = seeds({"path": str(path), "constants": constants}).kept
    assert first.gold
    assert second.gold
    assert (first.gold.field, second.gold.field) == ("Mathematics", "Statistics and Data Science")
    assert first.gold.discipline is None, "nor are its own subjects"
    assert first.gold.level is None, "a set's own scale is not ours"
    assert second.gold.grade == "primary"
    assert second.gold.knowledge_points == ["sums"]
    assert second.gold.labeller == "gold"
    assert second.labels.field is None
    assert seeds({"path": str(path)}).kept[1].gold is None


def test_languages_and_question_types_of_rows_become_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    stated = [("zh-CN", "Multiple Choice"), ("English", "Short-answer"), ("deu", "quiz"), ("", "")]
    found = rows(4)
    for row, (code, kind) in zip(found, stated, strict=True):
        row |= {"language": code, "question_type": kind}
    path.write_text(lines(found))
    kept = seeds({"path": str(path), "constants": {"question_type": "calculation"}}).kept
    assert [r.language for r in kept] == ["zh", "en", "de", "en"]
    assert [r.question_type for r in kept] == [None, "short_answer", "calculation", "calculation"]


def test_source_from_which_nothing_may_be_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(rows(1)))
    with pytest.raises(UserError, match=r"\[0\].license: 'main' is under 'CC BY-ND 3.0', which forbids"):
        check(config({"path": str(path), "license": "CC BY-ND 3.0"}))


def test_columns_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ask,right\nWhich river flows through the city of Paris?,Seine\n")
    record = seeds({"path": str(path), "columns": {"question": "ask", "answer": "right"}}).kept[0]
    assert (record.question, record.answer) == ("Which river flows through the city of Paris?", "Seine")


def write_rows(path: Path, count: int) -> Path:
    """Rows in the format of the ending, with blank lines, broken rows and cells of two lines among them."""
    good = [{**row, "solution": f"Add\nboth {i}"} for i, row in enumerate(rows(count))]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(good), path, row_group_size=16)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(list(good[0]))
            for i, row in enumerate(good):
                writer.writerow([*row.values(), *(["more"] if i % 9 == 4 else [])])
                stream.write("\n" if i % 7 == 3 else "")
    else:
        text = lines([line for i, row in enumerate(good) for line in [row, *(["", "{"] * (i % 9 == 4))]])
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_a_shard_begins_where_its_part_of_the_file_does(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"path": str(write_rows(tmp_path / name, 150))}
    whole = seeds(source)
    assert len(whole.kept) + len(whole.dropped) >= 150
    read = Counter[int]()
    for module in (readers.jsonl, readers.tables):
        make = module.item
        monkeypatch.setattr(
            module, "item", lambda row, line, *more, m=make: read.update([line]) or m(row, line, *more)
        )
    parts = seeds(source, shard_size=10)
    assert len(parts.states["listing"]["shards"]) >= 15
    assert by_id(parts.kept) == by_id(whole.kept)
    assert by_id(parts.dropped) == by_id(whole.dropped)
    # Once to count, once to read; of Parquet at most one row group more per part.
    assert read.total() <= 2 * 150 + 15 * (16 if name.endswith("parquet") else 1)


def test_halves_of_characters_are_replaced_before_they_reach_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {**rows(1)[0], "url": "https://example.org/\ud83d", "title": "Roof \ud83d\ude00 \ud83d"}
    path.write_text(json.dumps(row) + "\n" + '{"question": "\\ud83d and so' + "\n" + lines(rows(2)))
    out = seeds({"path": str(path)})
    assert out.kept[0].source
    assert out.kept[0].source.url == "https://example.org/\ufffd"
    assert out.kept[0].source.heading == ["Roof \U0001f600 \ufffd"]
    assert len(out.dropped) == 1


@pytest.mark.parametrize("size", [1, 3, 7])
def test_result_does_not_depend_on_the_size_of_shards_or_the_place_of_files(folder: Path, size: int) -> None:
    expected = seeds({"path": str(folder)})
    moved = folder.rename(folder.with_name("elsewhere"))
    again = seeds({"path": str(moved)}, shard_size=size)
    assert by_id(again.kept) == by_id(expected.kept)
    assert by_id(again.dropped) == by_id(expected.dropped)
    shards = again.states["listing"]["shards"]
    assert len(shards) == {1: 12, 3: 4, 7: 2}[size]
    assert str(moved) not in json.dumps(again.states), "no machine path in the run folder"


def test_shards_hold_about_their_size_and_pack_small_files(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text(lines(rows(25)))
    for i in range(12):
        (tmp_path / f"z{i:02d}.md").write_text(PROSE.replace("iron", f"iron{i}"))
    out = seeds({"path": str(tmp_path)}, shard_size=10)
    sizes = [
        sum(part["stop"] - part["start"] for part in shard["parts"])
        for shard in out.states["listing"]["shards"]
    ]
    assert sum(sizes) == 37
    assert max(sizes) <= 10
    assert len(sizes) <= 5
    assert len(out.kept) == 37


def test_cap_takes_the_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(rows(30)))
    out = seeds({"path": str(path), "max_items": 12}, {"name": "rest", "path": str(path)}, shard_size=5)
    assert Counter(r.source.name for r in out.kept if r.source) == {"main": 12, "rest": 30}
    assert len({r.id for r in out.kept}) == 42
    mine = [r.source.line for r in out.kept if r.source and r.source.name == "main"]
    assert mine == list(range(1, 13))


def test_file_with_more_than_half_broken_lines_stops(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([*rows(3), *["{broken"] * 3]))
    assert len(seeds({"path": str(path)}).dropped) == 3
    path.write_text(lines([*rows(3), *["{broken"] * 4]))
    with pytest.raises(
        UserError,
        match=r"'main': a.jsonl: 4 of 7 rows cannot be read, first line 4: malformed_json: .broken; correct the file",
    ):
        seeds({"path": str(path)}, shard_size=2)


def test_empty_file_is_dropped_among_others_and_an_empty_source_stops(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "good.jsonl").write_text(lines(rows(2)))
    out = seeds({"path": str(tmp_path)})
    assert [r.dropped.reason for r in out.dropped if r.dropped] == ["empty_file"]
    with pytest.raises(UserError, match=r"'main': .*empty.jsonl: no readable item"):
        seeds({"path": str(tmp_path / "empty.jsonl")})


def test_missing_things_are_found_at_validation(tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text(lines(rows(2)))
    Seeds(config({"path": str(good)})).check()
    with pytest.raises(
        UserError, match=r"seeds.sources\[1\].path: .*none.jsonl: no such file or folder; correct"
    ):
        check(config({"path": str(good)}, {"name": "b", "path": str(tmp_path / "none.jsonl")}))
    with pytest.raises(UserError, match=r"seeds.sources\[0\].path: .*\*.csv: the glob matches no file"):
        check(config({"path": str(tmp_path / "*.csv")}))
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match=r"seeds.sources\[0\].path: .*hollow: the folder has no files"):
        check(config({"path": str(tmp_path / "hollow")}))
    with pytest.raises(UserError, match=r"seeds.sources\[1\].name: 'main' is used twice"):
        check(config({"path": str(good)}, {"path": str(good)}))
    with pytest.raises(
        UserError, match=r"\[0\].license: 'main' is under 'CC-BY-NC-4.0', which seeds.licence_allow"
    ):
        check(config({"path": str(good), "license": "CC-BY-NC-4.0"}, licence_allow=["MIT", "CC0"]))
    check(config({"path": str(good), "license": "CC0-1.0"}, licence_allow=["MIT", "CC0"]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"license": ""}, r"source 'main' has no license; give an SPDX id"),
        ({"format": "xls"}, r"source 'main': format 'xls' is not known; use jsonl"),
        ({"constants": {"colour": "red"}}, r"source 'main': constants \['colour'\] are not known"),
        ({"constants": {"level": "hard"}}, r"source 'main': level: 'hard' is not known; use H1"),
        (
            {"constants": {"discipline": "Sciense"}},
            r"discipline: 'Sciense' is not known; did you mean 'Science'",
        ),
        ({"constants": {"field": "Fysics"}}, r"field: 'Fysics' is not known; did you mean 'Physics'\?"),
        ({"constants": {"secondary_fields": ["Law", "Lore"]}}, r"secondary_fields: 'Lore' is not known"),
        ({"constants": {"question_type": "quiz"}}, r"question_type: 'quiz' is not known; use calculation"),
        (
            {"constants": {"language": "Klingon"}},
            r"language: 'Klingon' is not known; use a code of ISO 639-1",
        ),
    ],
)
def test_bad_source_names_itself(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config({"path": "x", **source})


def test_identity_follows_content_per_source(folder: Path) -> None:
    def identity(path: Path) -> dict[str, Any]:
        sources = ({"path": str(path)}, {"name": "note", "path": str(path / "sub" / "*.md")})
        return Seeds(config(*sources)).identity()

    before = identity(folder)
    assert [name for name, *_ in before["main"]["files"]] == ["pairs.jsonl", "sub/note.md", "sub/zh.jsonl"]
    assert [name for name, *_ in before["note"]["files"]] == ["note.md"]
    moved = folder.rename(folder.with_name("elsewhere"))
    assert identity(moved) == before
    with (moved / "pairs.jsonl").open("a") as file:
        file.write("\n")
    after = identity(moved)
    assert after["main"] != before["main"]
    assert after["note"] == before["note"]
    changed = Seeds(config({"path": str(moved), "priority": 3})).identity()
    assert changed["main"]["settings"] != after["main"]["settings"]
    assert str(moved) not in json.dumps(changed)


def test_rows_that_share_an_id_are_named_and_have_one_fate(tmp_path: Path) -> None:
    made = [
        {"id": f"r{i}", "question": f"What is {i} plus {i}, written in digits?", "answer": str(2 * i)}
        for i in range(6)
    ]
    again = {**made[2], "answer": "5"}
    (tmp_path / "a.jsonl").write_text(lines([*made, made[1], again, made[2]]), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(lines(made[:2]), encoding="utf-8")
    for size in (1, 3, 2000):
        out = seeds({"path": str(tmp_path)}, shard_size=size)
        assert sorted((r.dropped.reason, r.dropped.evidence) for r in out.dropped if r.dropped) == [
            ("duplicate_id", "a.jsonl:7: id 'r1' and the same content as line 2"),
            ("duplicate_id", "a.jsonl:9: id 'r2' and the same content as line 3"),
        ]
        noted = [event.detail for r in out.kept for event in r.history if "stands at" in event.detail]
        assert noted == ["id 'r2' stands at line 3, too, with other content"]
        assert len(out.kept) == 9


def test_what_a_question_is_about_comes_with_it(tmp_path: Path) -> None:
    asked = {"question": "According to the passage, where is the ice thin?", "answer": "At its edge"}
    (tmp_path / "a.jsonl").write_text(
        lines(
            [
                {
                    **asked,
                    "passage": "A lake freezes over. The ice is thin at its edge and thick where it is deep.",
                },
                {
                    "instruction": "In what follows, x is a whole number.",
                    "question": "Which x has x + 2 = 9?",
                    "answer": "7",
                },
            ]
        ),
        encoding="utf-8",
    )
    first, second = (r.question for r in seeds({"path": str(tmp_path)}).kept)
    assert (
        first
        == f"A lake freezes over. The ice is thin at its edge and thick where it is deep.\n\n{asked['question']}"
    )
    assert second == "In what follows, x is a whole number.\n\nWhich x has x + 2 = 9?"


def test_lists_of_works_and_headings_with_odd_spaces(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        f"# 1.\u00a0Wheels\n\n{PROSE}\n\n## References\n\nDoe, J. 1999. On wheels and how they turn round. Some Press, "
        "Anytown.\n\nRoe, A. 2004. On belts and how they slip off. Some Press, Anytown.\n",
        encoding="utf-8",
    )
    out = seeds({"path": str(tmp_path)})
    assert {tuple(r.source.heading) for r in out.kept if r.source} == {("1. Wheels",)}
    assert [r.dropped.reason for r in out.dropped if r.dropped] == ["references"]


@pytest.mark.parametrize(("first", "refused"), [(1, True), (0, False)])
def test_answers_counted_from_1_are_refused_by_file(tmp_path: Path, first: int, refused: bool) -> None:
    options = {"opa": "iron", "opb": "neon", "opc": "gold", "opd": "zinc"}
    asked = [
        {"question": f"Which of these is number {i} in the list?", **options, "cop": i % 4 + first}
        for i in range(8)
    ]
    (tmp_path / "a.jsonl").write_text(lines(asked))
    source = {"name": "bank", "path": str(tmp_path), "license": "CC0-1.0"}
    if refused:
        with pytest.raises(UserError, match=r"a\.jsonl: line 4: index 4 of 4 .*answer_number"):
            seeds(source)
        source["columns"] = {"answer_number": "cop"}
    found = sorted(seeds(source).kept, key=lambda record: record.question)
    assert [record.answer for record in found] == [*"ABCDABCD"]
