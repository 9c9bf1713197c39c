from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boostqa import readers
from boostqa.errors import UserError
from boostqa.inputs import (
    SAMPLE,
    SAMPLES,
    InputFile,
    expand,
    fingerprint,
    is_aside,
    locate,
    open_file,
    packed,
    size_of,
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("a.md", "sub/b.md", "sub/deep/c.txt", ".hidden", ".git/d.md", "LICENSE", "sub/COPYING.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", ["a.md", "sub/b.md", "sub/deep/c.txt"]),
        ("a.md", ["a.md"]),
        ("LICENSE", ["LICENSE"]),
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "sub/b.md"]),
        ("sub/*", ["b.md"]),
        ("s?b/deep/*", ["sub/deep/c.txt"]),
    ],
)
def test_names_are_relative_to_the_fixed_part(base: Path, path: str, names: list[str]) -> None:
    full = str(base / path)
    files = expand(full, "key")
    assert [file.name for file in files] == names
    for file in files:
        assert Path(locate(full, file.name)) == Path(file.path)
        assert Path(file.path).is_file()


def test_hidden_names_begin_with_a_dot_and_have_more() -> None:
    assert [is_aside(name) for name in (".x", "a/.x/b.md", "..data/a.md", "./LICENSE")] == [True] * 4
    assert [is_aside(name) for name in ("./a.md", "../a.md", "a/./b.md", "a.b")] == [False] * 4


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    path = tmp_path / "a[1].md"
    path.touch()
    assert [file.name for file in expand(str(path), "key")] == ["a[1].md"]


def test_fingerprint_sees_any_change_of_a_small_file_and_samples_a_large_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = bytearray(SAMPLE * SAMPLES * 2)
    file = InputFile("x", str(path))
    path.write_bytes(data)
    before = fingerprint(file)
    assert before[:2] == ["x", len(data)]
    for place in (0, -1):
        data[place] ^= 1
        path.write_bytes(data)
        assert fingerprint(file) != before
        data[place] ^= 1
    path.write_bytes(b"abc")
    small = fingerprint(file)
    path.write_bytes(b"abd")
    assert fingerprint(file) != small
    path.unlink()
    with pytest.raises(UserError, match=r"x: no such file; check"):
        fingerprint(file)


def test_packing_keeps_order_and_never_splits() -> None:
    assert list(packed([3, 3, 9, 1, 1, 1], lambda x: x, 6)) == [[3, 3], [9], [1, 1, 1]]
    assert list(packed([], len, 5)) == []


def test_urls_are_expanded_like_paths() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    for name in ("a.md", "sub/b.md", "sub/.hidden", "dataset_info.json", "LICENSE"):
        system.pipe(f"/inputs/{name}", name.encode())
    for path, names in (
        ("memory://inputs", ["a.md", "sub/b.md"]),
        ("memory://inputs/*.md", ["a.md"]),
        ("memory://inputs/sub/b.md", ["b.md"]),
        ("memory://inputs/**/b.md", ["sub/b.md"]),
    ):
        files = expand(path, "key")
        assert [file.name for file in files] == names, path
        for file in files:
            assert open_file(locate(path, file.name)).read() == open_file(file.path).read()
            assert fingerprint(file)[1] == len(open_file(file.path).read())
    with pytest.raises(UserError, match="key: memory://nothing: no files there; correct the address"):
        expand("memory://nothing", "key")


def test_a_storage_whose_package_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UserError, match=r"key: s3://b/x: reading this .* pip install boostqa\[s3\]"):
        expand("s3://b/x", "key")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an S3 server of moto's with the bucket `seeds`."""
    moto = pytest.importorskip("moto.server", reason="pip install boostqa[dev]")
    s3fs = pytest.importorskip("s3fs", reason="pip install boostqa[s3]")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield "s3://seeds"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_files_in_s3(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    import fsspec

    system = fsspec.filesystem("s3")
    system.mkdir("seeds")
    rows = "".join(f'{{"question": "q{i}", "answer": "a"}}\n' for i in range(500))
    system.pipe("seeds/pairs/a.jsonl.gz", gzip.compress(rows.encode()))
    (file,) = expand(f"{bucket}/pairs", "key")
    assert file == InputFile("a.jsonl.gz", "s3://seeds/pairs/a.jsonl.gz")
    assert fingerprint(file) == fingerprint(file)
    assert size_of(file.path) < len(rows)
    assert len(list(readers.open(file.path))) == 500
    with pytest.raises(UserError, match="key: s3://elsewhere/x: no "):
        expand("s3://elsewhere/x", "key")
    with pytest.raises(UserError, match=r"s3://elsewhere/x\.jsonl: no such file"):
        open_file("s3://elsewhere/x.jsonl")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bucket_that_cannot_be_read_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(
        UserError, match=r"key: s3://seeds/pairs: cannot be read .*check address, key and network"
    ):
        expand(f"{bucket}/pairs", "key")


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's API as reading the files of one data set asks for."""

    data = b""

    def do_GET(self) -> None:
        file = {"type": "file", "path": "main/train-0.jsonl", "size": len(self.data), "oid": "a" * 40}
        if "/tree/" in self.path or "/paths-info/" in self.path:
            self._send([{"type": "directory", "path": "main", "size": 0, "oid": "b" * 40}, file])
        elif self.path.startswith("/api/"):
            self._send(
                {
                    "id": "owner/name",
                    "_id": "1",
                    "sha": "c" * 40,
                    "tags": [],
                    "siblings": [],
                    "private": False,
                }
            )
        else:
            first, _, last = (
                (self.headers.get("Range") or f"bytes=0-{len(self.data)}").partition("=")[2].partition("-")
            )
            self._send(self.data[int(first) : int(last) + 1])

    do_POST = do_HEAD = do_GET  # noqa: N815

    def _send(self, found: object) -> None:
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")

    def log_message(self, *_: object) -> None:
        pass


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="pip install boostqa[hf]")
    _Hub.data = b"".join(b'{"question": "q%d", "answer": "a"}\n' % i for i in range(300))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = (
        "from boostqa import readers; from boostqa.inputs import expand, fingerprint\n"
        "(file,) = expand('hf://datasets/owner/name/main/train-*.jsonl', 'key')\n"
        "print(file.name, fingerprint(file)[1], len(list(readers.open(file.path))))"
    )
    # The address is read when the hub's client is imported, hence another process.
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.stdout.split() == ["train-0.jsonl", str(len(_Hub.data)), "300"], done.stderr


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("nowhere.jsonl"), "a link to a file that is not there"),
        (lambda path: os.mkfifo(path), "a device, socket or named pipe"),
        (lambda path: path.symlink_to(path.parent), "a link to a folder"),
        (lambda path: (path.parent / "b\nc.jsonl").write_text("{}"), "control characters"),
    ],
)
def test_what_is_no_file_in_a_folder_is_named(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    make(tmp_path / "odd.jsonl")
    with pytest.raises(UserError, match=rf"sources\[0\]: .*(odd|b.nc)\.jsonl: .*{said}"):
        expand(str(tmp_path), "sources[0]")


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"sources\[0\]: .*closed: Permission denied: may not be read"):
        expand(str(tmp_path), "sources[0]")
