from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from boostqa.errors import UserError
from boostqa.hub import download, expand_split, is_data_set, splits_of

CARD = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path:
    - main/test-*
- config_name: extra
  data_files: "extra/**/*.jsonl"
---
# Text
"""


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue().to_pybytes())


QUESTIONS = [
    {"question": f"How many lamps hang in hall {i} of the old theatre in the harbour?", "answer": f"#### {i}"}
    for i in range(5)
]
REPOS: dict[tuple[str, str], dict[str, bytes]] = {
    ("openai/gsm8k", "refs/convert/parquet"): {
        "main/test/0000.parquet": parquet(QUESTIONS),
        "main/train/0000.parquet": parquet(QUESTIONS[:1]),
        "socratic/test/0000.parquet": parquet(QUESTIONS[:2]),
    },
    ("openai/gsm8k", "main"): {
        "README.md": b"---\nlicense: mit\n---\n",
        "main/train-00000-of-00001.parquet": parquet(QUESTIONS[:3]),
        "main/test-00000-of-00001.parquet": parquet(QUESTIONS),
    },
    ("HuggingFaceH4/MATH-500", "main"): {
        "test.jsonl": b'{"problem": "Find $x$ in $x + 1 = 2$.", "answer": "1"}\n'
    },
}
"""(data set, revision) -> its files."""


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's API as its client asks for to list and read the files of data sets."""

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        for (repo, revision), files in REPOS.items():
            sha = f"{abs(hash((repo, revision))):040x}"[-40:]
            for name in (revision, sha):
                if path in (f"/api/datasets/{repo}/revision/{name}", f"/api/datasets/{repo}"):
                    info = {"id": repo, "_id": "1", "sha": sha, "tags": [], "private": False, "siblings": []}
                    return self._json(info)
                if path == f"/api/datasets/{repo}/tree/{name}":
                    folders = sorted({str(up) for file in files for up in Path(file).parents if up.name})
                    above = [
                        {"type": "directory", "path": folder, "size": 0, "oid": "b" * 40}
                        for folder in folders
                    ]
                    return self._json(above + [self._entry(file, data) for file, data in files.items()])
                if path == f"/api/datasets/{repo}/paths-info/{name}":
                    asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
                    return self._json([self._entry(file, files[file]) for file in asked if file in files])
                start = f"/datasets/{repo}/resolve/{name}/"
                if path.startswith(start) and path.removeprefix(start) in files:
                    return self._send(
                        files[path.removeprefix(start)], {"X-Repo-Commit": sha, "ETag": f'"{sha}"'}
                    )
        known = any(path.startswith(f"/api/datasets/{repo}/") for repo, _ in REPOS)
        code = "RevisionNotFound" if known else "RepoNotFound"
        self._send(b"{}", {"X-Error-Code": code}, 404)
        return None

    do_POST = do_HEAD = do_GET  # noqa: N815

    @staticmethod
    def _entry(name: str, data: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(data), "oid": "a" * 40}

    def _json(self, found: Any) -> None:
        self._send(json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        if span := self.headers.get("Range"):
            first, _, last = span.partition("=")[2].partition("-")
            data = data[int(first) : int(last) + 1 if last else None]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The hub's client reads its address when it is imported, hence another process."""
    pytest.importorskip("huggingface_hub", reason="pip install boostqa[hf]")
    known = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True, timeout=60)


TASKS = (
    "from boostqa.flows import benchmarks\n"
    "from boostqa.errors import UserError\n"
    "try:\n"
    "    found = benchmarks.sources(%r, %r, 'key')\n"
    "    for source in found: print(source.benchmark, source.file.name, len(list(benchmarks.read(source))))\n"
    "except UserError as error: print('error', error)\n"
)


def test_a_task_is_read_from_the_hub_and_then_from_its_cache(tmp_path: Path) -> None:
    code = TASKS % (["gsm8k", "math_500"], None)
    expected = ["gsm8k gsm8k/main/test/0000.parquet 5", "math_500 math_500/test.jsonl 1"]
    with served() as address:
        done = run(code, tmp_path, HF_ENDPOINT=address)
        assert done.stdout.splitlines() == expected, done.stderr
        again = run(code, tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="1")
        assert again.stdout.splitlines() == expected, again.stderr


def test_a_known_task_that_cannot_be_had_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    done = run(TASKS % (["cmmlu"], None), tmp_path, HF_HUB_OFFLINE="1")
    assert done.stdout.startswith("error key[0]: cmmlu: haonan-li/cmmlu cannot be had from the hub"), (
        done.stderr
    )
    assert "--local-dir FOLDER/haonan-li/cmmlu) and set decontaminate.mirror: FOLDER" in done.stdout
    with served() as address:
        done = run(TASKS % (["cmmlu"], None), tmp_path, HF_ENDPOINT=address)
    assert "NotFound" in done.stdout
    assert "set HF_TOKEN" in done.stdout


def test_a_data_set_as_a_source(tmp_path: Path) -> None:
    code = (
        "from boostqa.hub import expand_split\n"
        "from boostqa.inputs import locate\n"
        "from boostqa import readers\n"
        "path = 'hf://datasets/openai/gsm8k'\n"
        "for split in ('test', None):\n"
        "    try:\n"
        "        (file,) = expand_split(path, None, split, 'key')\n"
        "        print(file.name, len(list(readers.open(locate(path, file.name)))))\n"
        "    except Exception as error: print(error)\n"
    )
    with served() as address:
        done = run(code, tmp_path, HF_ENDPOINT=address)
    assert done.stdout.splitlines() == [
        "main/test-00000-of-00001.parquet 5",
        "key: hf://datasets/openai/gsm8k: the data set has several splits; say which by `config` and `split`: "
        "main (test, train)",
    ], done.stderr


def test_a_mirror_goes_before_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "openai" / "gsm8k"
    (folder / "main").mkdir(parents=True)
    (folder / "main" / "test-00000-of-00001.parquet").write_bytes(parquet(QUESTIONS[:4]))
    (folder / "main" / "train-00000-of-00001.parquet").write_bytes(parquet(QUESTIONS[:1]))
    (file,) = download("openai/gsm8k", ["main"], ["test"], str(tmp_path), "key")
    assert file.path == str(folder / "main" / "test-00000-of-00001.parquet")
    with pytest.raises(
        UserError, match=r"no split dev of the configuration 'main'; there are: main \(test, train\)"
    ):
        download("openai/gsm8k", ["main"], ["dev", "val"], str(tmp_path), "key")
    with pytest.raises(UserError, match=r"has no split dev; there are: main \(test, train\)"):
        download("openai/gsm8k", None, ["dev"], str(tmp_path), "key")


def test_a_part_of_a_data_set_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "openai" / "gsm8k" / "main"
    folder.mkdir(parents=True)
    (folder / "test-00000-of-00002.parquet").write_bytes(parquet(QUESTIONS[:4]))
    with pytest.raises(UserError, match=r"not whole: main/test-00001-of-00002.parquet is missing"):
        download("openai/gsm8k", ["main"], ["test"], str(tmp_path), "key")
    (folder / "test-00001-of-00002.parquet").write_bytes(parquet(QUESTIONS[:4]))
    assert len(download("openai/gsm8k", ["main"], ["test"], str(tmp_path), "key")) == 2
    with pytest.raises(UserError, match="no split val of the configuration 'main'"):
        download("openai/gsm8k", ["main"], ["test", "val"], str(tmp_path), "key")
    with pytest.raises(UserError, match="it has 1 configurations of 2"):
        download("openai/gsm8k", None, ["test"], str(tmp_path), "key", 2)


def test_splits_by_card_and_by_names() -> None:
    names = [
        "README.md",
        "main/train-0.parquet",
        "main/test-0.parquet",
        "extra/a/b.jsonl",
        "other/test-0.parquet",
    ]
    assert splits_of(names, CARD) == {
        ("main", "train"): ["main/train-0.parquet"],
        ("main", "test"): ["main/test-0.parquet"],
        ("extra", "train"): ["extra/a/b.jsonl"],
    }
    for broken in (
        "---\n- [\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nconfigs:\n- data_files: 7\n---\n",
        "text",
    ):
        assert splits_of(["test.csv"], broken) == {("default", "test"): ["test.csv"]}
    assert set(splits_of(["all/auxiliary_train/0000.parquet", "all/dev/0000.parquet"])) == {
        ("all", "auxiliary_train"),
        ("all", "dev"),
    }
    assert set(splits_of(["data/train-00000-of-00001.parquet", "data/dev-00000-of-00001.parquet"])) == {
        ("default", "train"),
        ("default", "dev"),
    }
    assert set(
        splits_of(["en/valid.jsonl", "de/testing_set.csv.gz", "all.json", "script.py", ".x/test.csv"])
    ) == {
        ("en", "validation"),
        ("de", "test"),
        ("default", "train"),
    }


def test_a_local_clone_as_a_source(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    for name in ("main/train-0.jsonl", "main/test-0.jsonl"):
        (tmp_path / name).write_text('{"question": "q"}\n')
    (tmp_path / "README.md").write_text(CARD)
    (file,) = expand_split(str(tmp_path), None, "test", "key")
    assert file.name == "main/test-0.jsonl"
    with pytest.raises(
        UserError, match=r"no split dev of configuration main; say which .*: main \(test, train\)"
    ):
        expand_split(str(tmp_path), "main", "dev", "key")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("text")
    with pytest.raises(UserError, match="no data files there"):
        expand_split(str(tmp_path / "empty"), None, None, "key")


def test_which_paths_are_data_sets() -> None:
    assert is_data_set("hf://datasets/openai/gsm8k")
    assert is_data_set("hf://datasets/openai/gsm8k@refs%2Fconvert%2Fparquet/")
    assert not is_data_set("hf://datasets/openai/gsm8k/main/train-*.parquet")
    assert not is_data_set("s3://datasets/openai/gsm8k")
