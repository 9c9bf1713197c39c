from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import tarfile
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from boostqa import readers
from boostqa.readers import BadRow, Limits, Place, Raw

ROWS = [{"question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(40)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def _parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), stream, row_group_size=7)
    return stream.getvalue()


def _csv() -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerows([["question", "answer"], *(list(row.values()) for row in ROWS)])
    return stream.getvalue().encode()


MEMBERS = {
    "notes/a.md": b"# Light\n\nLight travels in straight lines.\n",
    "rows/a.jsonl": LINES,
    "rows/b.jsonl.gz": gzip.compress(LINES),
    "rows/c.parquet": _parquet(),
    "rows/d.csv.bz2": bz2.compress(_csv()),
    "rows/LICENSE": b"not data",
    "rows/.hidden": b"not data either",
}


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return path


def _tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def _pack(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        return _zip(path, members)
    if path.name.endswith(".tar.zst"):
        _tar(path, members)
        path.write_bytes(zstd.compress(path.read_bytes()))
        return path
    return _tar(path, members, "w:gz" if path.name.endswith("gz") else "w")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.zst"])
def test_members_read_like_files_and_can_be_entered_anywhere(tmp_path: Path, name: str) -> None:
    path = str(_pack(tmp_path / name, MEMBERS))
    place, places = Place(), []
    found = []
    for item in readers.open(path, place=place):
        found.append(item)
        places.append(Place(place.items, place.line, place.byte, place.member))
    assert [item for item in found if isinstance(item, BadRow)] == []
    assert len(found) == 1 + 4 * len(ROWS)
    assert [item.member for item in found[::40]] == [
        "notes/a.md", "rows/a.jsonl", "rows/b.jsonl.gz", "rows/c.parquet", "rows/d.csv.bz2",
    ]  # fmt: skip
    for ordinal in (1, 2, 39, 45, 95, 130, 160):
        start = places[ordinal - 1]
        skipped = ordinal - start.items
        assert skipped in range(8), "of row groups a few come again"
        assert next(islice(readers.open(path, place=start), skipped, None)) == found[ordinal]


def test_a_tar_file_made_of_a_folder(tmp_path: Path) -> None:
    """`tar -C folder -cf a.tar .` writes ./ before each name, which does not hide what it names."""
    members = {"./q.jsonl": LINES, "./.hidden.jsonl": LINES, "./a/.git/x.jsonl": LINES, "./LICENSE": b"x"}
    for name in ("a.tar", "a.zip"):
        found = list(readers.open(str(_pack(tmp_path / name, members))))
        assert {item.member for item in found} == {"./q.jsonl"}
        assert len(found) == len(ROWS)


def test_bad_members_are_named_and_do_not_end_the_archive(tmp_path: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", {"x.md": b"x"}).read_bytes()
    members = {
        "/etc/x.jsonl": LINES,
        "b.zip": inner,
        "c.bin": b"\x00\x01",
        "d.md": b"",
        "e.jsonl": LINES[:90],
    }
    for name in ("a.zip", "a.tar.gz"):
        found = list(readers.open(str(_pack(tmp_path / name, members))))
        bad = [(item.member, item.reason) for item in found if isinstance(item, BadRow)]
        assert bad == [
            ("b.zip", "nested_archive"), ("c.bin", "unknown_format"), ("d.md", "empty_file"),
            ("e.jsonl", "malformed_json"),
        ]  # fmt: skip
        assert sum(isinstance(item, Raw) for item in found) == 41


def test_a_tar_file_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar.gz", {f"{i}.jsonl": LINES for i in range(30)}, "w:gz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = list(readers.open(str(path)))
    assert sum(isinstance(item, Raw) for item in found) > 40
    assert isinstance(found[-1], BadRow)
    assert found[-1].reason == "damaged_file"


@pytest.mark.parametrize("kind", ["file", "stream", "stream.gz"])
def test_arrow_and_what_datasets_saves(tmp_path: Path, kind: str) -> None:
    features = {"level": {"_type": "ClassLabel", "names": ["easy", "hard"]}}
    schema = pa.schema(
        [("question", pa.string()), ("answer", pa.string()), ("level", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows: list[dict[str, Any]] = [{**row, "level": i % 2} for i, row in enumerate(ROWS)]
    path = tmp_path / "data-00000-of-00001.arrow"
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with path.open("wb") as stream, make(stream, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema), max_chunksize=9)
    if kind == "stream.gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    place, found, places = Place(), [], []
    for item in readers.open(str(path), place=place):
        found.append(item)
        places.append(Place(place.items, place.line))
    assert [item.gold["level"] for item in found[:3] if isinstance(item, Raw)] == ["easy", "hard", "easy"]
    assert [item.line for item in found] == list(range(1, 41))
    for ordinal in (1, 8, 9, 39):
        start = places[ordinal - 1]
        assert (
            next(islice(readers.open(str(path), place=start), ordinal - start.items, None)) == found[ordinal]
        )
    path.write_bytes(path.read_bytes()[:-200] if kind != "stream.gz" else path.read_bytes()[:-20])
    assert [item.reason for item in readers.open(str(path)) if isinstance(item, BadRow)] == ["damaged_file"]


def _record(kind: str, url: str, body: bytes, type_: str = "application/http; msgtype=response") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
    head += f"WARC-Record-ID: <urn:uuid:{len(url):032d}>\r\nContent-Type: {type_}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


def _response(body: bytes, type_: str = "text/html", status: str = "200 OK", more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {type_}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


@pytest.mark.parametrize("packed", [False, True])
def test_warc_and_wet(tmp_path: Path, packed: bool) -> None:
    page = b"<html><body><main><h1>Light</h1><p>Light travels in straight lines, and very fast.</p></main></body></html>"
    coded = gzip.compress(page)
    records = [
        _record("warcinfo", "", b"software: x", "application/warc-fields"),
        _record("response", "https://a.org/1", _response(page)),
        _record("response", "https://a.org/2", _response(b"gone", status="404 Not Found")),
        _record("response", "https://a.org/3", _response(b"\x89PNG", "image/png")),
        _record("response", "https://a.org/4", _response(coded, more="Content-Encoding: gzip\r\n")),
        _record("conversion", "https://a.org/5", b"Sound is slower than light.", "text/plain"),
        _record("response", "https://a.org/6", _response(b"<html><body></body></html>")),
    ]
    path = tmp_path / ("a.warc.gz" if packed else "a.warc")
    path.write_bytes(b"".join(gzip.compress(one) if packed else one for one in records))
    place, found, places = Place(), [], []
    for item in readers.open(str(path), place=place):
        found.append(item)
        places.append(Place(place.items, place.line, place.byte))
    assert [item.url if isinstance(item, Raw) else item.reason for item in found] == [
        "https://a.org/1", "http_status", "unsupported_type", "https://a.org/4", "https://a.org/5", "empty_page",
    ]  # fmt: skip
    assert [item.line for item in found] == [1, 2, 3, 4, 5, 6]
    assert isinstance(found[3], Raw)
    assert found[3].passage.startswith("# Light\n\nLight travels")
    for ordinal, start in enumerate(places[:-1], 1):
        assert start.items == ordinal - 1
        assert next(islice(readers.open(str(path), place=start), 1, None)) == found[ordinal]


def _pages(count: int) -> list[bytes]:
    text = "<p>Light travels in straight lines, and very fast.</p>" * 200
    page = f"<html><body><main><h1>Light</h1>{text}</main></body></html>".encode()
    return [_record("response", f"https://a.org/{i}", _response(page)) for i in range(count)]


@pytest.mark.parametrize("pack", [None, gzip.compress, zstd.compress])
@pytest.mark.parametrize("where", [0.75, 0.5, 0.999, "header", "tail"])
def test_a_warc_file_that_breaks_off_is_named_and_keeps_whole_pages(
    tmp_path: Path, pack: Any, where: float | str
) -> None:
    records = [pack(one) if pack else one for one in _pages(5)]
    whole = b"".join(records)
    last = len(whole) - len(records[-1])
    end = {"header": last + 25, "tail": len(whole) - 12}.get(str(where)) or int(float(where) * len(whole))
    path = tmp_path / "a.warc"
    path.write_bytes(whole)
    good = list(readers.open(str(path)))
    assert len(good) == 5
    path.write_bytes(whole[:end])
    *found, bad = readers.open(str(path))
    assert isinstance(bad, BadRow)
    assert bad.reason == "damaged_file"
    assert found == good[: len(found)]
    assert len(found) >= int(end / len(records[0])) - 1, "at most the page before the break is lost"


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, bz2.compress])
def test_a_warc_file_packed_as_a_whole(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "a.warc.x"
    path.write_bytes(pack(b"".join(_pages(5))))
    place, found, places = Place(), [], []
    for item in readers.open(str(path), place=place):
        found.append(item)
        places.append(Place(place.items, place.line, place.byte))
    assert [item.url for item in found if isinstance(item, Raw)] == [f"https://a.org/{i}" for i in range(5)]
    for ordinal, start in enumerate(places):
        again = readers.open(str(path), place=start)
        assert next(islice(again, ordinal - start.items, None)) == found[ordinal]


def _sparse(name: str, data: bytes, size: int) -> bytes:
    """A member of a tar file in GNU's sparse form: `data` at its beginning, zeros up to `size`."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[156:157] = b"S"
    head[386:410] = b"%011o\0%011o\0" % (0, len(data))
    head[483:495] = b"%011o\0" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + bytes(-len(data) % 512)


def test_sparse_members_of_a_tar_file_are_measured_by_what_they_hold(tmp_path: Path) -> None:
    rows, end = b"question,answer\nq,a\n", bytes(1024)
    path = tmp_path / "a.tar"
    path.write_bytes(_sparse("a.csv", rows, 7 * 2**30) + _sparse("b.csv", rows, len(rows)) + end)
    found = list(readers.open(str(path)))
    assert [(item.member, item.reason if isinstance(item, BadRow) else item.answer) for item in found] == [
        ("a.csv", "expands_too_much"), ("b.csv", "a"),
    ]  # fmt: skip
    path.write_bytes(b"".join(_sparse(f"{i}.txt", rows, 60 * 2**20) for i in range(4)) + end)
    found = list(readers.open(str(path), limits=Limits(document=64 * 2**20, line=2**10)))
    assert [item.reason for item in found[1:] if isinstance(item, BadRow)] == ["expands_too_much"] * 3


def test_members_of_a_zip_file_that_share_their_bytes_count_once(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"0.txt": b"Light travels in straight lines. " * 20_000})
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    entry, tail = data[at : data.rindex(b"PK\x05\x06")], bytearray(data[data.rindex(b"PK\x05\x06") :])
    entries = b"".join(entry.replace(b"0.txt", b"%d.txt" % i) for i in range(9))
    tail[8:12] = (9).to_bytes(2, "little") * 2
    tail[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(data[:at] + entries + bytes(tail))
    found = list(readers.open(str(path), limits=Limits(document=10**6, ratio=300)))
    assert [item.reason for item in found if isinstance(item, BadRow)][-7:] == ["expands_too_much"] * 7
