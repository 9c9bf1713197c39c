"""A whole run over a provider's Batch API: the same data as online, also when it is killed in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from boostqa.llm.batch_state import Store, batch_folder
from world import boostqa, data_bytes, fake_server, make_recipe

pytestmark = pytest.mark.long


def batched(path: Path) -> Path:
    recipe: dict[str, Any] = yaml.safe_load(path.read_text())
    for name in ("teacher", "refiner", "judge"):
        recipe["models"][name] |= {"transport": "batch", "batch": {"wait": 0.2, "poll": 0.1}}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def test_a_run_over_batches_makes_the_same_data_and_survives_a_kill(tmp_path: Path) -> None:
    with fake_server(tmp_path, batch={"seconds": 0.1}) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=60, items=6)
        boostqa("run", recipe, "--out", tmp_path / "online", "--quiet")
        server.control({"reset_stats": True})
        recipe = batched(recipe)
        run = tmp_path / "batched"
        process = subprocess.Popen(
            [sys.executable, "-m", "boostqa.cli", "run", str(recipe), "--out", str(run), "--quiet"],
            stdout=subprocess.DEVNULL,
        )
        store = Store(batch_folder(run))
        deadline = time.monotonic() + 60
        while not [state for state in store.states() if state.step == "created"]:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        waiting = json.loads(boostqa("status", run, "--json").stdout)["batches"]
        assert sum(row["requests"] for row in waiting) > 0
        boostqa("run", recipe, "--out", run, "--quiet", "--workers", "2", timeout=300)
        assert data_bytes(run) == data_bytes(tmp_path / "online")
        assert server.stats()["answered_again"] == {}
        assert server.stats()["batches"]["requests"] > 100
        assert store.states() == []
        assert json.loads(boostqa("status", run, "--json").stdout)["batches"] == []
        assert "damaged" in boostqa("ledger", "verify", run).stdout
