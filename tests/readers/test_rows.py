from __future__ import annotations

import bz2
import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from boostqa import readers
from boostqa.errors import UserError
from boostqa.readers import BadRow, Limits, Place, Raw
from boostqa.readers.items import item

ROWS: list[dict[str, Any]] = [
    {"question": "What is 2 + 2?", "answer": 4, "field": "Arithmetic", "grade": "primary"},
    {"prompt": "Pick one", "options": ["red", "green"], "label": 1},
    {"text": "A passage.", "title": "Book"},
]


def _read(path: Path, **options: Any) -> list[Raw | BadRow]:
    return list(readers.open(str(path), **options))


def _write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_jsonl_with_usual_names(tmp_path: Path) -> None:
    question, choice, passage = _read(_write_jsonl(tmp_path / "a.jsonl", ROWS))
    assert question == Raw(
        question="What is 2 + 2?", answer="4", gold={"field": "Arithmetic", "grade": "primary"}, line=1
    )
    assert choice == Raw(
        question="Pick one",
        choices=["red", "green"],
        answer="B",
        answer_index=1,
        question_type="multiple_choice",
        line=2,
    )
    assert passage == Raw(passage="A passage.", heading=["Book"], line=3)


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("zst", zstd.compress), ("bz2", bz2.compress)]
)
def test_packed_files_read_like_plain_ones(tmp_path: Path, ending: str, pack: Any) -> None:
    plain = _write_jsonl(tmp_path / "a.jsonl", ROWS)
    packed = tmp_path / f"b.jsonl.{ending}"
    packed.write_bytes(pack(plain.read_bytes()))
    assert _read(packed) == _read(plain)


def test_bad_lines_are_named_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"question": "q", "answer": "a"}\n'
    long = b'{"question": "' + b"x" * 500 + b'"}\n'
    rest = b"\xff\xfe{}\n" + b'{"id": 1}\n' + good
    path.write_bytes(b"\xef\xbb\xbf" + good + b"{broken\n\n[1]\n" + long + rest)
    found = _read(path, limits=Limits(line=100))
    assert [(bad.line, bad.reason) for bad in found if isinstance(bad, BadRow)] == [
        (2, "malformed_json"),
        (4, "not_an_object"),
        (5, "line_too_long"),
        (6, "malformed_json"),
        (7, "no_question_or_text"),
    ]
    assert [good.line for good in found if isinstance(good, Raw)] == [1, 8]


def test_a_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"q{i} {i**9}", "answer": "a"}) for i in range(3000)]
    data = gzip.compress("\n".join(rows).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(data[: len(data) // 2])
    found = _read(path)
    assert len(found) > 100
    assert isinstance(found[-1], BadRow)
    assert found[-1].reason == "damaged_file"
    assert all(isinstance(row, Raw) for row in found[:-2])


def test_json_arrays_stream_and_objects_hold_lists(tmp_path: Path) -> None:
    array, table = tmp_path / "a.json", tmp_path / "b.json"
    rows = [{"question": f"q{i}" + "x" * 300, "answer": str(i)} for i in range(9000)]
    array.write_text(json.dumps(rows, indent=1))
    table.write_text(json.dumps({"data": rows[:3]}, indent=1))
    found = _read(array)
    assert len(found) == 9000
    assert [row.answer for row in found[-2:] if isinstance(row, Raw)] == ["8998", "8999"]
    assert _read(table) == found[:3]
    array.write_text('[{"question": "q", "answer": "a"}, {"question": ')
    assert [type(row) for row in _read(array)] == [Raw, BadRow]


def test_csv_with_option_columns_and_ragged_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows(
            [["Question", "A", "B", "Answer"], ["two\nlines", "x", "y", "y"], ["q"], ["q", "x", "y", "Z"]]
        )
    assert _read(path) == [
        Raw(question="two\nlines", choices=["x", "y"], answer="B", question_type="multiple_choice", line=2),
        BadRow(line=4, reason="ragged_row", excerpt="1 cells under 4 columns: ['q']"),
        BadRow(
            line=5,
            reason="answer_not_in_choices",
            excerpt="'Z' of ['x', 'y']",
            question="q",
            choices=["x", "y"],
        ),
    ]


def test_tsv_and_parquet_with_mapped_columns(tmp_path: Path) -> None:
    tsv, parquet = tmp_path / "a.tsv", tmp_path / "a.parquet"
    tsv.write_text("ask\treply\nq\ta\n")
    pq.write_table(pa.table({"ask": ["q"], "reply": ["a"], "meta": [{"url": "u"}]}), parquet)
    columns = {"question": "ask", "answer": "reply"}
    assert _read(tsv, columns=columns) == [Raw(question="q", answer="a", line=2)]
    assert _read(parquet, columns={**columns, "url": "meta.url"}) == [
        Raw(question="q", answer="a", url="u", line=1)
    ]
    with pytest.raises(
        UserError, match=r"columns\.question: the file has no column 'asks'; did you mean 'ask'\?"
    ):
        _read(tsv, columns={"question": "asks"})
    parquet.write_bytes(parquet.read_bytes()[:40])
    assert [row.reason for row in _read(parquet) if isinstance(row, BadRow)] == ["damaged_file"]


@pytest.mark.parametrize(
    ("row", "choices", "answer"),
    [
        ({"choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}, ["x", "y"], "B"),
        ({"choices": {"A": "x", "B": "y"}, "answer": "B"}, ["x", "y"], "B"),
        (
            {"choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "answer": "A"},
            ["x", "y"],
            "A",
        ),
        ({"choices": ["A. x", "B. y"], "answer": "(B)"}, ["x", "y"], "B"),
        ({"options": '["x", "y", "z"]', "answer": "z"}, ["x", "y", "z"], "C"),
        ({"option_a": "x", "option_b": "y", "answer": 0.0}, ["x", "y"], "A"),
        ({"choices": ["x", "y", "z"], "answer": ["A", "C"]}, ["x", "y", "z"], "AC"),
        ({"choices": ["x", "y"], "answer": None}, ["x", "y"], ""),
    ],
)
def test_shapes_of_multiple_choice(row: dict[str, Any], choices: list[str], answer: str) -> None:
    found = item({"question": "q", **row}, 1)
    assert isinstance(found, Raw)
    assert (found.choices, found.answer) == (choices, answer)


def test_solutions_variables_and_chats() -> None:
    gsm = item({"question": "q", "answer": "3+4 = 7\n#### 7"}, 1)
    maths = item({"problem": "p", "solution": "so $\\boxed{x}$"}, 1)
    chat = item({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, 1)
    numeric = item({"question": "q", "answer": "5", "formula": "d / t", "variables": '{"d": 10, "t": 2}'}, 1)
    assert isinstance(gsm, Raw)
    assert isinstance(maths, Raw)
    assert isinstance(chat, Raw)
    assert isinstance(numeric, Raw)
    assert (gsm.answer, gsm.solution) == ("7", "3+4 = 7")
    assert maths.answer == "x"
    assert (chat.question, chat.answer) == ("q", "a")
    assert (numeric.formula, numeric.variables) == ("d / t", {"d": 10.0, "t": 2.0})
    bad = item({"question": "q", "variables": "{"}, 1)
    assert isinstance(bad, BadRow)
    assert bad.reason == "bad_variables"


def test_mistakes_of_the_user(tmp_path: Path) -> None:
    path = _write_jsonl(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(UserError, match=r"columns: unknown key 'questin'; did you mean 'question'\?"):
        readers.open(str(path), columns={"questin": "x"})
    with pytest.raises(UserError, match=r"format: 'xls' is not known; use one of jsonl"):
        readers.open(str(path), format="xls")
    with pytest.raises(UserError, match=r"none\.jsonl: no such file"):
        readers.open(str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match="is a folder"):
        readers.open(str(tmp_path))


def test_content_beats_ending_and_empty_files_are_named(tmp_path: Path) -> None:
    page, lines, empty = tmp_path / "a.jsonl", tmp_path / "rows", tmp_path / "e.csv"
    page.write_text("<!DOCTYPE html><html><body>x</body></html>")
    _write_jsonl(lines, ROWS)
    empty.write_text("")
    assert readers.sniff(str(page)) == "html"
    assert readers.sniff(str(lines)) == "jsonl"
    assert _read(empty) == [BadRow(line=0, reason="empty_file", excerpt="e.csv")]


@pytest.mark.parametrize("end", ["", "\n", "\r\n\n"])
@pytest.mark.parametrize("name", ["a.json", "a", "a.json.gz"])
def test_one_object_on_one_line_is_read_for_its_list(tmp_path: Path, name: str, end: str) -> None:
    rows = [{"question": "What is 2 + 2?", "answer": "4"}, {"question": "What is 3 + 3?", "answer": "6"}]
    data = (json.dumps({"version": "1", "data": rows}) + end).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = _read(tmp_path / name)
    assert [(row.answer, row.line) for row in found if isinstance(row, Raw)] == [("4", 1), ("6", 2)]


def test_one_row_alone_is_a_row_whatever_lists_it_has(tmp_path: Path) -> None:
    row = {"question": "Which comes first?", "answer": "a", "examples": ["b", "c"]}
    for name in ("a.json", "a.jsonl", "a"):
        (tmp_path / name).write_text(json.dumps(row))
        assert [item.line for item in _read(tmp_path / name) if isinstance(item, Raw)] == [1]


def test_long_lines_under_a_name_that_says_json(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i}? " + "x" * 100_000, "answer": str(i)} for i in range(4)]
    whole = tmp_path / "a.json"
    whole.write_text(json.dumps({"data": rows}))
    assert [item.answer for item in _read(whole) if isinstance(item, Raw)] == ["0", "1", "2", "3"]
    lines = _write_jsonl(tmp_path / "b.json", rows)
    assert [item.answer for item in _read(lines) if isinstance(item, Raw)] == ["0", "1", "2", "3"]
    assert [item.line for item in _read(lines, limits=Limits(document=150_000))] == [1, 2, 3, 4]
    place = Place()
    for _ in zip(range(3), readers.open(str(lines), place=place), strict=False):
        pass
    assert [item.line for item in _read(lines, place=place)] == [4]
    lines.write_bytes(gzip.compress(lines.read_bytes())[:-20])
    found = _read(lines)
    assert [item.answer for item in found if isinstance(item, Raw)] == ["0", "1", "2"]
    assert isinstance(found[-1], BadRow)
    assert found[-1].reason == "damaged_file"
