"""Whole runs against the fake provider: complete, resumable after any kill, the same on any number of workers."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from boostqa.llm.index import index_path
from boostqa.llm.ledger_files import entries as ledger_entries
from boostqa.release import COLUMNS
from fake_seeds import seed_rows, write_jsonl
from world import MODELS, boostqa, data_bytes, fake_server, make_recipe

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A complete run on one worker: (folder, recipe, run, server, what the server saw)."""
    folder = tmp_path_factory.mktemp("finished")
    with fake_server(folder) as server:
        recipe = make_recipe(folder, server.url, seeds=160, items=24)
        boostqa("run", recipe, "--out", folder / "run")
        yield folder, recipe, folder / "run", server, server.stats()


def test_a_run_makes_what_the_contracts_say(finished):
    _, _, run, _, stats = finished
    top = sorted(path.name for path in run.iterdir() if not path.name.startswith("."))
    heads = ["00-seeds", "01-dedup", "02-decontaminate", "03-annotate", "04-probe"]
    assert top[:6] == [*heads, "dataset"]
    assert {"ledger", "recipe.yaml", "report.html", "round-1", "run.json"} <= set(top)
    rounds = ["05-plan", "06-synthesize", "07-refine", "08-verify", "09-dedup", "10-decontaminate"]
    assert sorted(path.name for path in (run / "round-1").iterdir()) == rounds
    for manifest in run.rglob("manifest.json"):
        counts = json.loads(manifest.read_text())["counts"]
        born = counts["inputs"] + counts["born"]
        assert born == counts["kept"] + counts["dropped"] + counts["spent"], manifest
        assert sum(counts["reasons"].values()) == counts["dropped"]
        assert "internal_error" not in counts["reasons"], manifest
    assert stats["requests"] > 300


def test_the_data_set_has_its_columns_and_only_supported_answers(finished):
    _, _, run, _, _ = finished
    data = pl.read_parquet(run / "dataset" / "data" / "*.parquet")
    assert data.columns == list(COLUMNS)
    assert len(data) >= 15
    assert data["evidence"].list.len().min() >= 1
    assert data["id"].is_unique().all()
    assert set(data["license"]) == {"CC0-1.0"}
    asked = data.filter(pl.col("route") == "high_difficulty")
    assert len(asked) > 0
    assert data["level"].is_in(["H1", "H2", "H3", "H4", "H5"]).all()


def test_the_planted_weakness_of_the_target_gets_most(finished):
    _, _, run, _, _ = finished
    state = json.loads((run / "round-1" / "05-plan" / "state" / "quotas.json").read_text())
    quota: dict[str, int] = {}
    probed: dict[str, float] = {}
    for cell in state["cells"]:
        quota[cell["discipline"]] = quota.get(cell["discipline"], 0) + cell["quota"]
        probed[cell["discipline"]] = probed.get(cell["discipline"], 0) + cell["n"]
    assert sum(quota.values()) == 24
    others = {name: n for name, n in quota.items() if name != "Science"}
    known = {name for name, n in probed.items() if n > 1} - {"Science"}
    # A seed that was labelled wrong makes a discipline that nobody probed, or only with that seed of Science.
    assert len(known) >= 4
    assert sum(others[name] for name in known) <= 0.25 * quota["Science"]
    assert quota["Science"] > max(others.values())


def test_probe_items_are_held_out_of_everything_after(finished):
    _, _, run, _, _ = finished
    held = set(pl.read_parquet(run / "04-probe" / "dropped" / "*.parquet")["id"])
    assert len(held) > 10
    tasks = pl.read_parquet(run / "round-1" / "05-plan" / "kept" / "*.parquet")
    assert not held & {parent for group in tasks["parents"] for parent in group}


def test_a_finished_run_does_nothing_more(finished):
    _, recipe, run, server, stats = finished
    before = data_bytes(run)
    boostqa("run", recipe, "--out", run)
    assert server.stats()["answered"] == stats["answered"]
    assert data_bytes(run) == before


def test_status_show_and_remove(finished, tmp_path: Path):
    _, _, run, _, _ = finished
    numbers = json.loads(boostqa("status", run, "--json").stdout)
    assert numbers["complete"]
    assert numbers["spending"]["cost"] is None  # no price is known here, so the cost is unknown and not 0
    data = pl.read_parquet(run / "dataset" / "data" / "*.parquet")
    story = json.loads(boostqa("show", run, data["id"][0], "--json").stdout)
    assert [s["entry"] for s in story["stations"]][:3] == ["synthesize", "refine", "verify"]
    assert any(call["role"] == "teacher" for call in story["calls"])
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    seed = data["parents"][0][1]
    family = data.filter(pl.col("parents").list.contains(seed))["id"]
    index_path(copy).write_bytes(b"bqindex1" + bytes(40))  # of an older version
    boostqa("remove", copy, "--seed", seed)
    left = pl.read_parquet(copy / "dataset" / "data" / "*.parquet")
    assert not set(family) & set(left["id"])
    gone = pl.read_parquet(copy / "dataset" / "dropped" / "*.parquet")
    assert set(family) <= set(gone.filter(pl.col("dropped").struct.field("reason") == "revoked")["id"])
    assert "no such seed" in boostqa("remove", copy, "--seed", "nothing", check=2).stderr


def test_one_and_five_workers_give_the_same_bytes(finished):
    folder, recipe, run, _, _ = finished
    boostqa("run", recipe, "--out", folder / "five", "--workers", "5")
    one, five = data_bytes(run), data_bytes(folder / "five")
    assert one.keys() == five.keys()
    assert [name for name in one if one[name] != five[name]] == []


def _paid(run: Path) -> dict[str, int]:
    """Ledger key -> number of answers on disk."""
    found: dict[str, int] = {}
    for line in ledger_entries(run):
        if line.get("reply"):
            found[line["k"]] = found.get(line["k"], 0) + 1
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_kill_at_random_moments_then_resume(tmp_path: Path, workers: int):
    """SIGKILL of the whole process group at five random moments (ten over both cases), then to the end."""
    rng = random.Random(workers)
    with fake_server(tmp_path) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=120, items=16)
        command = [
            sys.executable,
            "-m",
            "boostqa.cli",
            "run",
            str(recipe),
            "--quiet",
            "--workers",
            str(workers),
        ]
        start = time.monotonic()
        boostqa("run", recipe, "--out", tmp_path / "whole")
        duration = time.monotonic() - start
        server.control({"reset_stats": True})
        killed = 0
        for _ in range(5):
            process = subprocess.Popen([*command, "--out", str(tmp_path / "run")], start_new_session=True)
            # Start-up comes first: a kill before the first commit would prove nothing.
            time.sleep(1.5 + rng.random() * duration * 0.5)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        boostqa("run", recipe, "--out", tmp_path / "run", "--workers", str(workers))
        stats = server.stats()
    assert killed >= 2
    assert data_bytes(tmp_path / "run") == data_bytes(tmp_path / "whole")
    paid = _paid(tmp_path / "run")
    assert set(paid) == set(_paid(tmp_path / "whole"))
    doubled = sum(n - 1 for n in paid.values())
    lost = stats["answered"] - sum(paid.values())
    # Sent again: what was in flight, and per kill at most rate x 20 ms + 20 that were answered already.
    bound = killed * (20 + 64 * workers)
    assert lost <= bound
    assert doubled <= bound
    # The budget knows of all that was answered, and of not much more.
    known = json.loads(boostqa("status", tmp_path / "run", "--json").stdout)
    booked = known["spending"]["requests"] + known["left_open"]["requests"]
    assert stats["answered"] - 0.5 < booked
    assert known["left_open"]["requests"] <= bound
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_raising_a_quota_and_adding_a_source_pay_only_for_the_new_part(finished, tmp_path: Path):
    folder, _, run, server, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before, paid = data_bytes(copy), _paid(copy)
    write_jsonl(tmp_path / "more.jsonl", seed_rows(40, salt="more"))
    sources = [
        {"name": "world", "path": str(folder / "seeds.jsonl"), "license": "CC0-1.0"},
        {"name": "more", "path": "more.jsonl", "license": "CC-BY-4.0"},
    ]
    recipe = make_recipe(tmp_path, server.url, seeds=160, items=36)
    text = yaml.safe_load(recipe.read_text())
    text["seeds"]["sources"] = sources
    text["decontaminate"]["benchmarks"] = [str(folder / "benchmark.jsonl")]
    recipe.write_text(yaml.safe_dump(text))
    boostqa("run", recipe, "--out", copy)
    after, now = data_bytes(copy), _paid(copy)
    kept = {name: data for name, data in before.items() if not name.startswith("dataset/")}
    assert {name: after[name] for name in kept} == kept  # nothing that was there has changed
    assert (copy / "grow-1" / "00-seeds" / "manifest.json").exists()
    assert len(json.loads((copy / "run.json").read_text())["segments"]) > len(
        json.loads((run / "run.json").read_text())["segments"]
    )
    assert all(now[key] == paid[key] for key in paid)  # no paid request was sent again
    grown = json.loads((copy / "grow-1" / "00-seeds" / "manifest.json").read_text())["counts"]
    assert grown["born"] == 40  # the old source is not read again
    ids = [
        i for head in ("", "grow-1/") for i in pl.read_parquet(copy / f"{head}00-seeds/kept/*.parquet")["id"]
    ]
    assert len(ids) == len(set(ids))
    assert len(now) > len(paid)
    released = sum(
        pl.read_parquet(p, columns=["id"]).height for p in (copy / "dataset" / "data").glob("*.parquet")
    )
    earlier = sum(
        pl.read_parquet(p, columns=["id"]).height for p in (run / "dataset" / "data").glob("*.parquet")
    )
    assert released > earlier


def test_another_recipe_on_the_same_folder_is_refused_by_name(finished, tmp_path: Path):
    folder, recipe, run, _, _ = finished
    text = recipe.read_text().replace("shard_size: 20", "shard_size: 20\n  sharpness: 2.0")
    other = folder / "other.yaml"
    other.write_text(text)
    before = (run / "recipe.yaml").read_bytes()
    done = boostqa("run", other, "--out", run, check=2)
    assert "config.sharpness: 1.0 -> 2.0" in done.stderr
    assert (run / "recipe.yaml").read_bytes() == before


def test_redo_finds_what_was_paid(finished, tmp_path: Path):
    _, recipe, run, server, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before, answered = data_bytes(copy), server.stats()["answered"]
    boostqa("run", recipe, "--out", copy, "--redo", "verify")
    assert data_bytes(copy) == before
    assert server.stats()["answered"] == answered


def test_reuse_reads_the_ledger_of_another_run(finished, tmp_path: Path):
    _, recipe, run, server, _ = finished
    answered = server.stats()["answered"]
    boostqa("run", recipe, "--out", tmp_path / "run", "--reuse", run)
    assert data_bytes(tmp_path / "run") == data_bytes(run)
    assert server.stats()["answered"] == answered


def test_until_stops_after_a_stage(finished, tmp_path: Path):
    _, recipe, run, _, _ = finished
    boostqa("run", recipe, "--out", tmp_path / "run", "--until", "annotate", "--reuse", run)
    assert (tmp_path / "run" / "03-annotate" / "manifest.json").exists()
    assert not (tmp_path / "run" / "04-probe").exists()


def test_until_a_stage_of_the_head_begins_no_round_however_often(finished, tmp_path: Path):
    _, recipe, run, _, _ = finished
    words = ("run", recipe, "--out", tmp_path / "run", "--until", "probe", "--reuse", run)
    boostqa(*words)
    for _ in range(2):
        boostqa(*words)
        assert [s["name"] for s in json.loads((tmp_path / "run" / "run.json").read_text())["segments"]] == [
            "head"
        ]
    assert (tmp_path / "run" / "04-probe" / "manifest.json").exists()
    assert not (tmp_path / "run" / "round-1").exists()


def test_an_edited_plan_is_what_is_made(finished, tmp_path: Path):
    _, recipe, run, _, _ = finished
    out = tmp_path / "run"
    boostqa("run", recipe, "--out", out, "--until", "plan", "--reuse", run)
    plan = next((out / "round-1").rglob("plan.csv"))
    lines = plan.read_text().splitlines()
    (tmp_path / "edited.csv").write_text("\n".join(lines[:4]) + "\n")
    boostqa(
        "run",
        recipe,
        "--out",
        out,
        "--plan",
        tmp_path / "edited.csv",
        "--until",
        "synthesize",
        "--reuse",
        run,
    )
    tasks = json.loads((out / "round-1" / "05-plan" / "manifest.json").read_text())["counts"]["kept"]
    assert tasks == 3
    done = boostqa("run", recipe, "--out", out, "--plan", plan.with_name("gone.csv"), check=2)
    assert "no such file" in done.stderr


def test_take_down_on_an_unfinished_run_leaves_no_half_data_set(finished, tmp_path: Path):
    _, recipe, run, _, _ = finished
    out = tmp_path / "run"
    boostqa("run", recipe, "--out", out, "--until", "verify", "--reuse", run)
    seed = pl.read_parquet(out / "04-probe" / "kept" / "*.parquet")["id"][0]
    boostqa("remove", out, "--seed", seed)
    assert not (out / "dataset").exists()
    boostqa("run", recipe, "--out", out, "--reuse", run)
    data = pl.read_parquet(out / "dataset" / "data" / "*.parquet")
    assert len(data) > 10
    assert not data.filter(pl.col("parents").list.contains(seed)).height


def test_a_refused_redo_removes_nothing(finished, tmp_path: Path):
    folder, recipe, run, _, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = data_bytes(copy)
    other = folder / "redo.yaml"
    data = yaml.safe_load(recipe.read_text())
    data["dedup"] = {"max_variants": 7}
    other.write_text(yaml.safe_dump(data))
    assert "max_variants" in boostqa("run", other, "--out", copy, "--redo", "verify", check=2).stderr
    assert data_bytes(copy) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_what_an_endpoint_refuses_reaches_no_worker(tmp_path: Path, workers: int):
    refusing = {name: {**persona, "refuses": ["response_format", "seed"]} for name, persona in MODELS.items()}
    with fake_server(tmp_path, models=refusing) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=30, items=2)
        boostqa("run", recipe, "--out", tmp_path / "run", "--until", "probe", "--workers", str(workers))
        status = server.stats()["status"]
        assert status["400"] <= 3 * 5  # what the first tries of each model were answered
        assert status["200"] > 30
        boostqa("run", recipe, "--out", tmp_path / "run", "--until", "probe", "--workers", str(workers))
        assert (
            server.stats()["status"]["200"] == status["200"]
        )  # what was refused is asked again, and costs nothing
