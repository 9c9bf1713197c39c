"""The command line on bad input and bad days: a message that names place, value and remedy, and the exit code."""

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

from boostqa import cli
from boostqa.llm.batch_state import State, Store, batch_folder
from boostqa.llm.ledger_files import spent
from world import MODELS, boostqa, data_bytes, fake_server, make_recipe

pytestmark = pytest.mark.long

COMMANDS = [
    "annotate",
    "check",
    "estimate",
    "init",
    "ledger",
    "remove",
    "report",
    "run",
    "schema",
    "serve",
    "show",
    "status",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with fake_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def change(recipe: Path, **sections: Any) -> Path:
    data = yaml.safe_load(recipe.read_text())
    for name, value in sections.items():
        data[name] = {**data.get(name, {}), **value} if isinstance(value, dict) else value
    recipe.write_text(yaml.safe_dump(data, sort_keys=False))
    return recipe


def test_help_lists_exactly_the_commands_that_work():
    shown = boostqa("--help").stdout
    listed = [line.split()[0] for line in shown.split("Commands:")[1].splitlines() if line.strip()]
    assert sorted(word for word in listed if word in COMMANDS) == COMMANDS
    commands = [command.callback.__name__ for command in cli.app.registered_commands]
    assert sorted(commands + [group.name for group in cli.app.registered_groups]) == COMMANDS


def test_schema_is_the_json_schema_of_recipes():
    schema = json.loads(boostqa("schema").stdout)
    assert {"seeds", "models", "roles", "plan", "budget"} <= schema["properties"].keys()
    assert "currency of the models" in schema["$defs"]["Budget"]["properties"]["money"]["description"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"verify": {"solver_sample": 3}},
            "verify.solver_sample: unknown key; did you mean `solver_samples`?",
        ),
        ({"sedes": {}}, "sedes: unknown key; did you mean `seeds`?"),
        ({"plan": {"items": 0}}, r"plan.items: Input should be greater than or equal to 1 (given: 0)"),
        (
            {"roles": {"teacher": "nobody"}},
            "roles.teacher: no model 'nobody' in `models` (there: judge, refiner",
        ),
        ({"seeds": {"sources": [{"name": "a", "path": "seeds.jsonl"}]}}, "license"),
        ({"seeds": {"sources": [{"name": "a", "path": "gone.jsonl", "license": "MIT"}]}}, "gone.jsonl"),
        ({"decontaminate": {"benchmarks": ["gone.jsonl"]}}, "gone.jsonl"),
        ({"decontaminate": {"benchmarks": ["mmlu-por"]}}, "did you mean mmlu_pro"),
        ({"budget": {"money": 5}}, "has no known price"),
    ],
)
def test_a_mistake_in_the_recipe_is_found_before_anything_is_paid(tmp_path: Path, server, sections, message):
    recipe = change(make_recipe(tmp_path, server.url, seeds=8), **sections)
    before = server.stats()["requests"]
    done = boostqa("run", recipe, "--out", tmp_path / "run", check=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert server.stats()["requests"] == before


def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path):
    recipe = make_recipe(tmp_path, "https://user:hunter2@example.org/v1", seeds=8)
    done = boostqa("run", recipe, "--out", tmp_path / "run", check=2)
    assert "base_url holds credentials" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, "not reachable"),
        ({"api_key_env": "BOOSTQA_TEST_KEY"}, "the environment variable BOOSTQA_TEST_KEY is not set"),
        ({"model": "fake-teecher"}, "no model 'fake-teecher' at the endpoint; it has:"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_found_before_the_run(tmp_path: Path, server, model, message):
    recipe = make_recipe(tmp_path, server.url, seeds=8)
    data = yaml.safe_load(recipe.read_text())
    data["models"]["teacher"] |= model
    recipe.write_text(yaml.safe_dump(data))
    done = boostqa("run", recipe, "--out", tmp_path / "run", check=2)
    assert "models.teacher" in done.stderr
    assert message in done.stderr


def test_stages_that_ask_no_model_need_none(tmp_path: Path, server):
    recipe = make_recipe(tmp_path, server.url, seeds=8)
    data = yaml.safe_load(recipe.read_text())
    for model in data["models"].values():
        model |= {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "BOOSTQA_TEST_KEY"}
    recipe.write_text(yaml.safe_dump(data))
    boostqa("run", recipe, "--out", tmp_path / "run", "--until", "decontaminate")
    assert (tmp_path / "run" / "02-decontaminate" / "manifest.json").exists()
    boostqa("run", recipe, "--out", tmp_path / "run", "--until", "annotate", check=2)


def test_a_redo_that_an_endpoint_refuses_removes_nothing(tmp_path: Path):
    refusing = {name: {**model, "refuses": ["messages"]} for name, model in MODELS.items()}
    run = tmp_path / "run"
    with fake_server(tmp_path, models=refusing) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=8)
        boostqa("run", recipe, "--out", run, "--until", "decontaminate")
        before = {path: path.read_bytes() for path in run.rglob("*.parquet")} | {
            run / "recipe.yaml": (run / "recipe.yaml").read_bytes()
        }
        recipe.write_text(recipe.read_text().replace("shard_size: 60", "shard_size: 30"))
        done = boostqa("run", recipe, "--out", run, "--redo", "seeds", check=2)
    assert "the chat call failed" in done.stderr
    assert len(before) > 3
    assert {path: path.read_bytes() for path in before} == before


def test_a_batch_under_way_of_a_model_that_went_online_stops_the_start_before_any_call(tmp_path: Path):
    run = tmp_path / "run"
    with fake_server(tmp_path) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=8)
        boostqa("run", recipe, "--out", run, "--until", "decontaminate")
        name = next(iter(yaml.safe_load(recipe.read_text())["models"]))
        batch_folder(run).mkdir(parents=True)
        state = State(
            id="ab" * 8, url=server.url, endpoint="/v1/chat/completions", keys=["0" * 32], model=name
        )
        Store(batch_folder(run)).save(state, "created")
        done = boostqa("run", recipe, "--out", run, check=2)
        assert "would be paid for again" in done.stderr
        assert server.stats()["answered"] == 0


def test_bad_lines_are_dropped_with_their_place_and_counted(tmp_path: Path, server):
    recipe = make_recipe(tmp_path, server.url, seeds=20)
    lines = (tmp_path / "seeds.jsonl").read_text().splitlines()
    (tmp_path / "seeds.jsonl").write_text("\n".join([*lines[:5], '{"question": "broken', *lines[5:]]) + "\n")
    boostqa("run", recipe, "--out", tmp_path / "run", "--until", "seeds")
    manifest = json.loads((tmp_path / "run" / "00-seeds" / "manifest.json").read_text())
    assert manifest["counts"]["kept"] == 20
    assert manifest["counts"]["reasons"] == {"malformed_row": 1}
    story = boostqa("status", tmp_path / "run").stdout
    assert "head/seeds" in story
    (tmp_path / "seeds.jsonl").write_text("\n".join([*lines[:5], *["{broken"] * 9]) + "\n")
    done = boostqa("run", recipe, "--out", tmp_path / "other", "--until", "seeds", check=2)
    assert "seeds.jsonl" in done.stderr
    assert "9" in done.stderr


@pytest.mark.parametrize(
    ("fault", "message"),
    [("401", "401"), ("404", "check `model`"), ("500", "HTTP 500"), ("reset", "reset")],
)
def test_a_provider_that_fails_in_mid_run_stops_it_and_it_resumes(tmp_path: Path, server, fault, message):
    recipe = make_recipe(tmp_path, server.url, seeds=60, items=6)
    data = yaml.safe_load(recipe.read_text())
    for model in data["models"].values():
        model |= {"give_up_after": 1.0, "retries": 1}
    recipe.write_text(yaml.safe_dump(data))
    server.control({"faults": {"script": [{"fault": fault, "model": "fake-teacher"}]}})
    try:
        done = boostqa("run", recipe, "--out", tmp_path / "run", check=4)
    finally:
        server.control({"faults": {}})
    assert "models.teacher" in done.stderr
    assert message in done.stderr
    boostqa("run", recipe, "--out", tmp_path / "run")
    assert (tmp_path / "run" / "dataset" / "manifest.json").exists()


def test_a_budget_stops_the_run_and_a_larger_one_continues_it(tmp_path: Path, server):
    recipe = make_recipe(tmp_path, server.url, seeds=60, items=6, budget={"requests": 40})
    server.control({"reset_stats": True})
    done = boostqa("run", recipe, "--out", tmp_path / "run", check=3)
    assert "budget.requests = 40 is used up" in done.stderr
    assert server.stats()["requests"] <= 40
    boostqa("run", recipe, "--out", tmp_path / "run", check=3)
    assert server.stats()["requests"] <= 40  # cumulative over resumes
    boostqa("run", change(recipe, budget={"requests": 5000}), "--out", tmp_path / "run")
    whole = boostqa("run", change(recipe, budget={"requests": None}), "--out", tmp_path / "whole")
    assert whole.returncode == 0
    assert data_bytes(tmp_path / "run") == data_bytes(tmp_path / "whole")


def test_a_full_disk_stops_the_run_and_it_resumes(tmp_path: Path, server):
    recipe = make_recipe(tmp_path, server.url, seeds=60, items=6)
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from boostqa.cli import main\n"
        "main()\n"
    )
    words = ["run", str(recipe), "--out", str(tmp_path / "run"), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 5, done.stderr
    assert "cannot write" in done.stderr
    boostqa("run", recipe, "--out", tmp_path / "run")
    assert (tmp_path / "run" / "dataset" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("workers", "answered", "how"),
    [(1, 0, signal.SIGINT), (1, 0, signal.SIGTERM), (1, 40, signal.SIGINT), (2, 40, signal.SIGINT)],
)
def test_ctrl_c_ends_within_five_seconds_and_the_run_resumes(
    tmp_path: Path, workers: int, answered: int, how: signal.Signals
):
    slow = {"fake-judge": {"dialect": "openai", "latency_s": 0.5}}
    with fake_server(tmp_path) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=60, items=6)
        server.control({"models": MODELS | slow})
        command = [sys.executable, "-m", "boostqa.cli", "run", str(recipe), "--workers", str(workers)]
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "run")],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        # With none answered yet, the endpoints are being tried out.
        while time.monotonic() < deadline:
            stats = server.stats()
            if stats["in_flight"] and stats["answered"] >= answered:
                break
            time.sleep(0.05)
        start = time.monotonic()
        process.send_signal(how)
        _, told = process.communicate(timeout=30)
        assert time.monotonic() - start < 5.5
        assert process.returncode == 130, told
        assert "resume" in told
        assert "trying out" in told
        session = json.loads((tmp_path / "run" / "run.json").read_text())["sessions"][-1]
        assert (session["exit"], session["message"][:7]) == (130, "stopped")
        server.control({"models": MODELS})
        boostqa("run", recipe, "--out", tmp_path / "run", "--workers", str(workers))
        sent, answered = server.stats()["requests"], server.stats()["answered"]
        assert sent - answered <= 64


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_books_the_calls_that_it_abandons(tmp_path: Path, workers: int):
    slow = {name: {**model, "latency_s": 60} for name, model in MODELS.items()}
    with fake_server(tmp_path) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=60, items=6)
        server.control({"models": slow})
        command = [sys.executable, "-m", "boostqa.cli", "run", str(recipe), "--workers", str(workers)]
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "run")], stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 30
        while server.stats()["in_flight"] < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        flying = spent(tmp_path / "run")
        assert flying.requests >= 4
        assert flying.tokens > 4 * 100


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path, server):
    from boostqa.run import Run

    recipe = make_recipe(tmp_path, server.url, seeds=8)
    with Run(tmp_path / "run").lock():
        done = boostqa("run", recipe, "--out", tmp_path / "run", check=2)
    assert "works in this folder" in done.stderr


def test_keys_reach_no_file_and_no_output(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BOOSTQA_TEST_KEY", "sk-very-secret-4711")
    with fake_server(tmp_path, api_key="sk-very-secret-4711") as server:
        recipe = make_recipe(tmp_path, server.url, seeds=40, items=4)
        data = yaml.safe_load(recipe.read_text())
        for model in data["models"].values():
            model["api_key_env"] = "BOOSTQA_TEST_KEY"
        recipe.write_text(yaml.safe_dump(data))
        done = boostqa("run", recipe, "--out", tmp_path / "run")
        server.control({"api_key": "another"})
        refused = boostqa("run", recipe, "--out", tmp_path / "again", check=2)
    assert "sk-very-secret" not in done.stdout + done.stderr + refused.stderr + refused.stdout
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"sk-very-secret" not in content, path
    ledger = list((tmp_path / "run" / "ledger").rglob("*.zst"))
    assert ledger
    from boostqa.llm.ledger_files import entries

    assert all("sk-very-secret" not in json.dumps(line) for line in entries(tmp_path / "run"))


def test_check_reports_what_an_endpoint_can_do(tmp_path: Path, server):
    recipe = make_recipe(tmp_path, server.url, seeds=8)
    done = boostqa("check", recipe, "--json")
    found = {
        one["name"]: {row["what"]: row["level"] for row in one["rows"]} for one in json.loads(done.stdout)
    }
    assert found["target"]["score"] == "ok"
    assert found["teacher"]["chat"] == "ok"
    assert "score" not in found["teacher"] or found["teacher"]["score"] != "ok"


def test_init_writes_a_recipe_that_loads_and_never_overwrites(tmp_path: Path):
    from boostqa.check import check_files
    from boostqa.recipe import load

    boostqa("init", tmp_path / "new")
    check_files(load(tmp_path / "new" / "recipe.yaml"))
    done = boostqa("init", tmp_path / "new", check=2)
    assert "recipe.yaml" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--until", "annotat"], "did you mean annotate?"),
        (["--redo", "nothing"], "no such stage"),
        (["--reuse", "nowhere"], "no run here"),
        (["--plan", "nowhere.csv"], "no such file"),
    ],
)
def test_a_wrong_option_costs_nothing(tmp_path: Path, server, words, message):
    recipe = make_recipe(tmp_path, server.url, seeds=8)
    before = server.stats()["requests"]
    done = boostqa("run", recipe, "--out", tmp_path / "run", *words, check=2)
    assert message in done.stderr
    assert server.stats()["requests"] == before


def test_what_a_kill_at_the_first_write_left_does_not_block_the_folder(tmp_path: Path, server):
    recipe = make_recipe(tmp_path, server.url, seeds=8)
    left = tmp_path / "run" / ".run.json.0a1b.tmp"
    left.parent.mkdir()
    left.write_text("{")
    boostqa("run", recipe, "--out", tmp_path / "run", "--until", "seeds")
    boostqa("run", recipe, "--out", tmp_path / "run", "--until", "seeds")
    assert not left.exists()


def test_a_folder_that_is_not_a_run_is_left_alone(tmp_path: Path, server):
    recipe = make_recipe(tmp_path, server.url, seeds=8)
    precious = tmp_path / "project" / "dataset" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    done = boostqa("run", recipe, "--out", tmp_path / "project", check=2)
    assert "holds 'dataset' but no run.json" in done.stderr
    assert precious.read_text() == "mine"
    (tmp_path / "file").write_text("x")
    assert "a file is in the way" in boostqa("run", recipe, "--out", tmp_path / "file", check=2).stderr
    assert "cannot be read as a recipe" in boostqa("run", tmp_path, check=2).stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_error_while_starting_is_told_whatever_the_number_of_workers(tmp_path: Path, server, workers):
    recipe = make_recipe(tmp_path, server.url, seeds=8)
    data = yaml.safe_load(recipe.read_text())
    data["models"]["teacher"]["prices"] = "no-such-price"
    recipe.write_text(yaml.safe_dump(data))
    done = boostqa("run", recipe, "--out", tmp_path / "run", "--workers", workers, check=2)
    assert "no-such-price" in done.stderr


def test_the_cause_of_a_stop_is_told_not_its_echo(tmp_path: Path):
    slow = MODELS | {"fake-judge": {"dialect": "openai", "latency_s": 0.3}}
    with fake_server(tmp_path, models=slow) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=160, items=6)
        # After the calls by which a start finds out what the endpoints obey.
        refused = {"fault": "401", "model": "fake-judge", "at": 40, "until": 10_000, "times": 1}
        server.control({"faults": {"script": [refused]}})
        done = boostqa("run", recipe, "--out", tmp_path / "run", check=4)
    assert "401" in done.stderr
