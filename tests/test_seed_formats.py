"""Every snippet of docs/seeds.md is a source that can be read."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from boostqa.stages.seeds import Seeds, SeedsConfig
from harness import run_stage

SNIPPETS = re.findall(
    r"^```yaml\n(sources:.*?)^```",
    (Path(__file__).parent.parent / "docs" / "seeds.md").read_text(encoding="utf-8"),
    re.M | re.S,
)
PROSE = (
    "Light travels in straight lines until something bends it, and this is why shadows have edges. What bends it is "
    "a change of speed: in glass and in water the waves are slower than in air."
)
PAGE = f"<html><head><title>Light</title></head><body><main><h1>Light</h1><p>{PROSE}</p></main></body></html>"
ROWS = [{"question": f"What is {i} + {i}, written in digits?", "answer": str(2 * i)} for i in range(4)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def make_table(path: Path) -> None:
    with path.open("w", newline="") as stream:
        rows = [
            ["stem", "opt1", "opt2", "opt3", "right"],
            ["Which of them is the colour of blood?", "red", "blue", "green", "1"],
        ]
        csv.writer(stream).writerows(rows)


def make_saved(path: Path) -> None:
    path.mkdir()
    (path / "dataset_info.json").write_text("{}")
    (path / "state.json").write_text("{}")
    with (path / "data-00000-of-00001.arrow").open("wb") as stream:
        table = pa.Table.from_pylist(ROWS)
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)


def make_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with path.open("wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)


def make_pages(path: Path) -> None:
    path.parent.mkdir(parents=True)
    (path.parent / "light.html").write_text(PAGE)


def make_crawl(path: Path) -> None:
    body = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{PAGE}".encode()
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.org/\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(body)}\r\n\r\n"
    path.write_bytes(gzip.compress(head.encode() + body + b"\r\n\r\n"))


def make_pdf(path: Path) -> None:
    text = "".join(f"({part}) Tj T* " for part in re.findall(r".{1,70}(?:\s|$)", PROSE))
    content = f"BT /F 12 Tf 14 TL 50 700 Td {text}ET".encode()
    path.write_bytes(
        b"%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 1/Kids[4 0 R]>>endobj\n"
        b"3 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n4 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]"
        b"/Contents 5 0 R/Resources<</Font<</F 3 0 R>>>>>>endobj\n5 0 obj<</Length %d>>stream\n%s\nendstream endobj\n"
        b"trailer<</Root 1 0 R>>\n%%%%EOF" % (len(content), content)
    )


def make_book(path: Path) -> None:
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>'
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="a.html" media-type="application/xhtml+xml"/>'
        '</manifest><spine><itemref idref="a"/></spine></package>'
    )
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": container,
        "b.opf": book,
        "a.html": PAGE,
    }
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in parts.items():
            packed.writestr(name, text)


def make_script(path: Path) -> None:
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    text = f'<w:document xmlns:w="{space}"><w:body><w:p><w:r><w:t>{PROSE}</w:t></w:r></w:p></w:body></w:document>'
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("[Content_Types].xml", "<Types/>")
        packed.writestr("word/document.xml", text)


def make_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a/pairs.jsonl", lines(ROWS))
        packed.writestr("a/page.html", PAGE)


def make_remote(path: str, data: bytes) -> None:
    fsspec.filesystem("memory").pipe(path.replace("*", "0"), data)


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


MAKERS: dict[str, Callable[[Path], Any]] = {
    "data/pairs.jsonl.gz": lambda p: p.write_bytes(
        gzip.compress(lines([{"prompt": row["question"], "reply": row["answer"]} for row in ROWS]))
    ),
    "data/array.json": lambda p: p.write_text(json.dumps(ROWS)),
    "data/table.csv": make_table,
    "data/rows.parquet": lambda p: p.write_bytes(parquet()),
    "data/rows.arrow": make_arrow,
    "data/saved": make_saved,
    "data/notes.md": lambda p: p.write_text(
        f"# Light\n\n{PROSE}\n\n**Q:** How fast is light?\n**A:** Very\n"
    ),
    "data/chapter.txt": lambda p: p.write_text(PROSE),
    "data/pages/*.html": make_pages,
    "data/crawl.warc.gz": make_crawl,
    "data/handout.pdf": make_pdf,
    "data/book.epub": make_book,
    "data/script.docx": make_script,
    "data/archive.zip": make_archive,
    "data/licensed.jsonl": lambda p: p.write_bytes(
        lines([ROWS[0], {**ROWS[1], "license": "CC-BY-NC-4.0"}, {**ROWS[2], "license": "CC0-1.0"}])
    ),
}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: yaml.safe_load(text)["sources"][0]["name"])
def test_a_snippet_reads_its_sources(snippet: str, tmp_path: Path) -> None:
    section = yaml.safe_load(snippet)
    (tmp_path / "data").mkdir()
    for source in section["sources"]:
        path = source["path"]
        if "://" in path:
            # The same code reads every file system of fsspec; test_inputs.py has a real S3 server.
            source["path"] = path = re.sub(r"^\w+://", "memory://", path)
            make_remote(path, parquet() if path.endswith("parquet") else gzip.compress(lines(ROWS)))
        else:
            if path.endswith(".pdf"):
                pytest.importorskip("pypdfium2")
            MAKERS[path](tmp_path / path)
            source["path"] = str(tmp_path / path)
    out = run_stage(Seeds(SeedsConfig.model_validate(section)), segment="head")
    counts = {source["name"]: 0 for source in section["sources"]}
    for record in out.kept:
        assert record.source
        counts[record.source.name] += 1
    assert all(counts.values()), counts
    if section["sources"][0]["name"] == "mixed":
        assert counts == {"mixed": 1}
        assert [record.dropped.reason for record in out.dropped if record.dropped] == ["licence_not_allowed"]
        assert out.kept[0].source
        assert out.kept[0].source.license == "CC-BY-4.0"
    else:
        assert out.dropped == []


def test_all_formats_have_a_snippet() -> None:
    assert {path for path in MAKERS if any(path in snippet for snippet in SNIPPETS)} == set(MAKERS)
