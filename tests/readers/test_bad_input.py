"""What no reader must trip over: each case is named, with its place, and takes little memory."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import math
import resource
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from boostqa import readers
from boostqa.readers import BadRow, Limits, Raw

GOOD = b'{"question": "What is 2 + 2?", "answer": "4"}\n'


def _bad(path: Path, **options: Limits) -> list[tuple[int, str]]:
    return [
        (item.line, item.reason) for item in readers.open(str(path), **options) if isinstance(item, BadRow)
    ]


def test_gzip_that_breaks_off(tmp_path: Path) -> None:
    for name, text in (("a.jsonl.gz", GOOD * 5000), ("a.md.gz", b"Light travels in straight lines. " * 5000)):
        packed = gzip.compress(text)
        (tmp_path / name).write_bytes(packed[:-20])
        assert [reason for _, reason in _bad(tmp_path / name)][-1] == "damaged_file"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.txt.gz", "a.csv.gz"])
def test_gzip_bomb(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb") as stream:
        stream.write(GOOD if "json" in name else b"question,answer\n")
        for _ in range(64):
            stream.write(bytes(2**20))
    limits = Limits(document=2**20, line=2**19, ratio=20)
    assert _bad(path, limits=limits)[-1][1] in ("expands_too_much", "file_too_large")


def test_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.txt", bytes(40 * 2**20))
        packed.writestr("a.jsonl", GOOD)
    found = list(readers.open(str(path), limits=Limits(document=2**20)))
    assert [item.reason if isinstance(item, BadRow) else item.answer for item in found] == [
        "expands_too_much",
        "4",
    ]
    # A directory that lies about sizes does not help.
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"a.jsonl"))
    first = data.index(b"PK\x01\x02")
    assert first < at
    data[first + 24 : first + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    assert _bad(path, limits=Limits(document=2**20))[0][1] in (
        "damaged_file",
        "expands_too_much",
        "unknown_format",
        "null_bytes",
    )


def test_zip_member_with_a_password(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.jsonl", GOOD)
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    assert _bad(path) == [(0, "password_protected")]


def test_pdf_with_a_password(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    path = tmp_path / "a.pdf"
    key = "<" + "41" * 32 + ">"
    path.write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 0/Kids[]>>endobj\n"
        + f"3 0 obj<</Filter/Standard/V 1/R 2/O {key}/U {key}/P -4>>endobj\n".encode()
        + b"trailer<</Root 1 0 R/Encrypt 3 0 R/ID[<41><41>]>>\n%%EOF"
    )
    assert _bad(path) == [(0, "password_protected")]


def test_lines_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    other = '{"question": "光速是多少？", "answer": "每秒三十万公里"}\n'.encode("gb18030")
    path.write_bytes(GOOD + other + GOOD)
    assert _bad(path) == [(2, "other_encoding")]
    table = tmp_path / "a.csv"
    rows = ["问题,答案", "光速是多少？,每秒三十万公里", "水的沸点？,一百度"]
    table.write_bytes(
        "\n".join(rows).encode() + "\n音速？,三四零\n".encode("gb18030") + "电荷？,库仑\n".encode()
    )
    assert _bad(table) == [(4, "other_encoding")]
    table.write_bytes("\n".join(rows).encode("gb18030"))
    assert next(item.question for item in readers.open(str(table)) if isinstance(item, Raw)) == "光速是多少？"


def test_a_text_in_two_encodings_keeps_the_better_part(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("光沿直线传播。\n".encode() * 9 + "声音较慢。\n".encode("gb18030") * 2)
    (item,) = readers.open(str(path))
    assert isinstance(item, Raw)
    assert item.passage.count("光沿直线传播。") == 9
    assert "\ufffd" in item.passage, "the rest is a passage's damaged_encoding"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.html"])
def test_one_line_without_end_takes_little_memory(tmp_path: Path, name: str) -> None:
    """A sparse file of a gigabyte: zeros, read in well under that much memory."""
    path = tmp_path / name
    start = {"a.json": b'[{"question": "', "a.csv": b"question,answer\n", "a.html": b"<html><body>"}.get(
        name, b'{"q": "'
    )
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = _bad(path, limits=Limits(line=2**20, document=2**20))
    assert found[-1][1] in ("line_too_long", "file_too_large", "malformed_json")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


def test_null_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + GOOD.replace(b"2 + 2", b"2 \x00 2") + GOOD)
    assert _bad(tmp_path / "a.jsonl") == [(2, "null_bytes")]
    (tmp_path / "a.csv").write_bytes(b"question,answer\nq,a\nq\x00,a\nq,a\n")
    assert _bad(tmp_path / "a.csv") == [(3, "null_bytes")]
    (tmp_path / "a.txt").write_bytes(b"Light travels\nin straight\x00lines.\n")
    (found,) = readers.open(str(tmp_path / "a.txt"))
    assert isinstance(found, BadRow)
    assert (found.reason, found.excerpt[:7]) == ("null_bytes", "line 2:")
    (tmp_path / "blob").write_bytes(b"\x00\x01\x02")
    assert _bad(tmp_path / "blob") == [(0, "unknown_format")]


def test_ragged_rows(tmp_path: Path) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows(
        [["question", "answer"], ["q", "a"], ["q", "a", "b"], ["q"], ["two\nlines", "a"]]
    )
    (tmp_path / "a.csv").write_text(stream.getvalue())
    assert _bad(tmp_path / "a.csv") == [(3, "ragged_row"), (4, "ragged_row")]


def test_a_bad_line_inside_quotes_takes_only_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'question,answer\n"one\ntwo\x00"x,a\nq,a\n')
    assert _bad(tmp_path / "a.csv") == [(2, "null_bytes")] or _bad(tmp_path / "a.csv")[0][1] == "null_bytes"
    assert [item.question for item in readers.open(str(tmp_path / "a.csv")) if isinstance(item, Raw)] == ["q"]


def test_empty_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv", "a.parquet", "a.html", "a.pdf", "a.epub", "a.zip", "a.warc", "none"):
        (tmp_path / name).touch()
        assert _bad(tmp_path / name) == [(0, "empty_file")], name
    (tmp_path / "b.md").write_bytes(b"\n\n  \n")
    assert _bad(tmp_path / "b.md") == [(0, "empty_file")]
    with gzip.open(tmp_path / "b.jsonl.gz", "wb"):
        pass
    assert _bad(tmp_path / "b.jsonl.gz") == [(0, "empty_file")]


def test_html_under_the_name_of_rows(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        (tmp_path / name).write_text("<!DOCTYPE html><html><body>503 Service Unavailable</body></html>")
        assert _bad(tmp_path / name) == [(0, "html_not_rows")], name


def _reasons(path: Path) -> list[tuple[int, str]]:
    """(line, reason of a bad row or answer) of each item."""
    return [
        (item.line or 0, item.reason if isinstance(item, BadRow) else item.answer)
        for item in readers.open(str(path))
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"question": "q", "answer": ' + b"[" * 500 + b"]" * 500 + b"}", "malformed_row"),
        (b'{"question": "q", "answer": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "malformed_json"),
        (b"[" * 900 + b"]" * 900, "not_an_object"),
        (b'{"question": "q", "choices": ["a", "b"], "answer": 1e999}', "answer_not_in_choices"),
        (b'{"question": "q", "answer": "1", "variables": {"x": 1' + b"0" * 400 + b"}}", "bad_variables"),
        (b'{"question": "q", "answer": "1", "variables": {"x": 1e999}}', "bad_variables"),
    ],
)
def test_one_odd_row_is_named_and_ends_nothing(tmp_path: Path, row: bytes, reason: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + row + b"\n" + GOOD)
    (line, found), *others = [one for one in _reasons(tmp_path / "a.jsonl") if one[1] != "4"]
    assert (line, others) == (2, [])
    # Which of the two a very deep list is depends on how deep the parser goes.
    assert found == reason or {found, reason} <= {"malformed_json", "not_an_object", "malformed_row"}
    assert [answer for _, answer in _reasons(tmp_path / "a.jsonl")].count("4") == 2


def test_odd_columns_of_tables(tmp_path: Path) -> None:
    def read(**columns: list[object]) -> list[tuple[int, str]]:
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        return _reasons(tmp_path / "a.parquet")

    assert read(question=["q", "q"], choices=[["a", "b"]] * 2, answer=[math.inf, 1.0]) == [
        (1, "answer_not_in_choices"), (2, "B"),
    ]  # fmt: skip
    when = {"when": datetime.datetime(2020, 1, 1), "v": decimal.Decimal("1.5")}
    assert read(question=["q"], answer=[when]) == [(1, '{"when": "2020-01-01 00:00:00", "v": "1.5"}')]
    names = ["question", "choices", "answer"]
    rows = [("光速？".encode(), [b"slow", b"fast"], b"fast")]
    pq.write_table(
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / "b"
    )
    (found,) = readers.open(str(tmp_path / "b"))
    assert isinstance(found, Raw)
    assert (found.question, found.choices, found.answer) == ("光速？", ["slow", "fast"], "B")


def test_a_document_nested_without_end_does_not_end_the_archive(tmp_path: Path) -> None:
    name = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "<w:r>" * 3000 + "<w:t>x</w:t>" + "</w:r>" * 3000
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("[Content_Types].xml", "<Types/>")
        packed.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{name}"><w:body><w:p>{body}</w:p></w:body></w:document>',
        )
    (tmp_path / "a.docx").write_bytes(stream.getvalue())
    assert _bad(tmp_path / "a.docx") == [(0, "damaged_file")]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.docx", stream.getvalue())
        packed.writestr("b.jsonl", GOOD)
    assert [answer for _, answer in _reasons(tmp_path / "a.zip")] == ["damaged_file", "4"]


def test_a_header_that_is_no_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"question\rx,answer\nq,a\n")
    assert _bad(tmp_path / "a.csv") == [(0, "damaged_file")]


def test_an_odd_page_of_a_crawl_takes_only_itself(tmp_path: Path) -> None:
    def record(more: str, body: bytes) -> bytes:
        page = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{more}\r\n".encode() + body
        head = "WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http; msgtype=response\r\n"
        return f"{head}Content-Length: {len(page)}\r\n\r\n".encode() + page + b"\r\n\r\n"

    html = b"<html><body><p>Light travels in straight lines, and very fast.</p></body></html>"
    good = record("", html)
    (tmp_path / "a.warc").write_bytes(good + record("Content-Encoding: gzip\r\n", b"\x1f\x8bno") + good)
    found = list(readers.open(str(tmp_path / "a.warc")))
    assert [type(item) for item in found] == [Raw, BadRow, Raw]
    assert isinstance(found[1], BadRow)
    assert found[1].line == 2


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_row_of_a_table_beyond_the_limit_takes_little_memory(tmp_path: Path, name: str) -> None:
    """300 rows of a megabyte that are one entry of a dictionary: half a kilobyte of Parquet."""
    texts = pa.array(["short", *["x" * 10**6] * 300, "short"]).dictionary_encode()
    lists = pa.array([["a"], *[["y"]] * 300, None])
    maps = pa.array([[("k", "v")]] * 302, pa.map_(pa.string(), pa.string()))
    structs = pa.array([{"k": "v", "n": 1}] * 302)
    table = pa.table({"text": texts, "lists": lists, "maps": maps, "structs": structs})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(table, path)
    else:
        with path.open("wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = list(readers.open(str(path), limits=Limits(line=100_000, document=10**6)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"
    assert [(item.line, item.reason) for item in found if isinstance(item, BadRow)] == [
        (line, "line_too_long") for line in range(2, 302)
    ]
    assert [item.passage for item in found if isinstance(item, Raw)] == ["short"] * 2


def test_long_lists_of_a_table_are_rows_beyond_the_limit(tmp_path: Path) -> None:
    choices = [["a", "b"], ["c"] * 20_000, ["a", "b"]]
    pq.write_table(pa.table({"question": ["q"] * 3, "choices": choices, "answer": ["A"] * 3}), tmp_path / "a")
    found = list(readers.open(str(tmp_path / "a"), limits=Limits(line=100_000)))
    assert [type(item) for item in found] == [Raw, BadRow, Raw]
