"""The dry run: arithmetic of money and time, unknown prices, and a preview that measures."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from boostqa.errors import UserError
from boostqa.estimate import estimate, estimate_recipe
from boostqa.estimate.cost import hours, priced
from boostqa.estimate.hearing import Ear
from boostqa.estimate.projection import Basis, Calls, _labelling, units
from boostqa.estimate.spans import Span
from boostqa.llm.config import ModelConfig
from boostqa.recipe import load
from boostqa.record import Record
from boostqa.report.numbers import collect
from boostqa.runner import Silent
from boostqa.session import Options, run_session
from boostqa.stages.annotate import AnnotateConfig
from boostqa.starter import write_starter
from fake_recipes import KEY, KEY_VARIABLE, ROOT, fake_config, serving, write_small

LOCAL = "http://127.0.0.1:1/v1"


def calls(**fields: object) -> Calls:
    plain = {"stage": "refine", "role": "refiner", "model": "m", "task": "refine", "requests": Span.of(1000)}
    return Calls(**{**plain, "prompt": 500.0, "shared": 400.0, "completion": Span(100, 200, 400), **fields})


def test_two_passes_are_heard_as_they_are_asked() -> None:
    ear = Ear("small", ModelConfig(base_url=LOCAL, model="x"))
    asyncio.run(_labelling(2, 1)(ear, Record(id="a", kind="seed", question="What is 2 + 3?", answer="5")))
    assert [request.schema_name for request in ear.heard] == ["label_field", "label_level"]
    ear = Ear("small", ModelConfig(base_url=LOCAL, model="x"))
    asyncio.run(_labelling(3, 1)(ear, Record(id="a", kind="seed", question="What is 2 + 3?", answer="5")))
    asked = sorted(request.schema_name for request in ear.heard)
    assert asked == ["label_discipline", "label_field", "label_level"]


def test_the_second_sample_is_counted_where_a_classifier_can_be_fitted() -> None:
    recipe = load(ROOT / "recipes" / "deepseek.yaml")

    def labels(seeds: int, **fields: object) -> Span:
        own = recipe.model_copy(update={"annotate": AnnotateConfig.model_validate(fields)})
        return units(Basis(recipe=own, questions=seeds, passages=0, sample=[]))["annotate"]

    assert labels(100_000, sample=2000) == Span.of(2500)
    assert labels(100_000, sample=2000, second_sample=0) == Span.of(2000)
    assert labels(2100, sample=2000) == Span.of(2100)
    assert labels(145, sample=100) == Span.of(100), "too few to fit a classifier: min_fit is 200"
    assert labels(145, sample=100, use_gold=True) == Span.of(100)
    assert labels(300, sample=100, use_gold=True) == Span.of(125), "labels that the seeds bring teach it"


def test_money_without_peak_hours() -> None:
    prices = {"currency": "EUR", "input": 2.0, "cached": 1.0, "output": 10.0}
    line = priced(calls(), ModelConfig(base_url=LOCAL, model="x", prices=prices))
    # Most likely: 100 new and 400 cached prompt tokens, 200 generated, a thousand times.
    assert line.money is not None
    assert line.money == pytest.approx((0.6 + 1.0, 0.6 + 2.0, 1.0 + 4.0))
    assert line.currency == "EUR"


def test_money_with_peak_hours() -> None:
    peak = {"input": 4.0, "output": 20.0, "hours": [[0, 12]]}
    prices = {"input": 2.0, "output": 10.0, "peak": peak}
    fixed = calls(completion=Span.of(100), shared=0.0)
    line = priced(fixed, ModelConfig(base_url=LOCAL, model="x", prices=prices))
    assert line.money == pytest.approx((2.0, 3.0, 4.0)), "half of the hours are twice as dear"


def test_an_unknown_price_stays_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert priced(calls(), ModelConfig(base_url=LOCAL, model="x")).money is None
    estimate_recipe(ROOT / "recipes" / "vllm.yaml", preview=0, as_json=False)
    shown = capsys.readouterr().out
    assert "unknown (base, critic, editor, solver, writer without a price)" in " ".join(shown.split())


def test_hours_by_the_busiest_model_and_the_longest_chain() -> None:
    models = {"m": ModelConfig(base_url=LOCAL, model="x", concurrency=10)}
    found = hours([calls(completion=Span.of(600))], models, Span.of(1))
    # 600,000 tokens over 9, 6 and 2.5 calls at 60, 30 and 15 tokens/s, and then one call alone.
    chains = (600_000 / (60 * 9) + 10, 600_000 / (30 * 6) + 20, 600_000 / (15 * 2.5) + 40)
    assert found == pytest.approx([seconds / 3600 for seconds in chains])
    slow = {"m": ModelConfig(base_url=LOCAL, model="x", rpm=10)}
    assert hours([calls()], slow, Span.of(1)).low > 1000 / 10 / 60


def test_batches_cost_what_their_discount_says_and_take_hours_however_many_calls() -> None:
    fields = {"base_url": LOCAL, "model": "x", "transport": "batch"}
    half = ModelConfig(**fields, prices={"input": 2.0, "cached": 1.0, "output": 10.0, "batch": 0.5})
    assert priced(calls(), half).money == pytest.approx((0.8, 1.3, 2.5))
    assert priced(calls(), ModelConfig(**fields, prices={"input": 2.0, "output": 10.0})).money is None
    few, many = (hours([calls(requests=Span.of(n))], {"m": half}, Span.of(3)) for n in (10, 10_000))
    assert few == many == pytest.approx((3 * 0.2, 3 * 2 * 2.0, 3 * 4 * 24.0))


def test_what_it_rests_on_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    estimate_recipe(ROOT / "recipes" / "deepseek.yaml", preview=0, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["kept"]["decontaminate"] == found["questions"] + found["passages"]
    paid = {"annotate", "probe", "synthesize", "refine", "verify"}
    assert {line["stage"] for line in found["lines"]} == paid
    assert all(line["requests"] == sorted(line["requests"]) for line in found["lines"])
    assert any(text.startswith("guess:") for text in found["rests_on"])
    assert found["money"]["USD"][0] < found["money"]["USD"][1] < found["money"]["USD"][2]


def test_too_few_seeds_are_named(tmp_path: Path) -> None:
    path = write_starter(tmp_path / "start")[0]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("items: 50 ", "items: 5000 "), encoding="utf-8")
    found = estimate(path)
    assert found.rests_on[0].startswith("short: seeds and limits allow 80 tasks, too few for 5,000 items")
    assert found.accepted.high < 5000


@pytest.mark.long
def test_preview_measures_and_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.chdir(tmp_path)
    start = write_starter(tmp_path / "start")
    recipe = load(start[0])
    path = tmp_path / "recipe.yaml"
    with serving(fake_config(recipe, start[1])) as server:
        write_small(path, recipe, server.url, items=12)
        guessed, found = estimate(path), estimate(path, preview=4)
        paid = server.stats()["requests"]
        assert paid > 0
        assert {line.task for line in found.lines} == {"all"}
        assert any(text.startswith("measured: requests and tokens per request") for text in found.rests_on)
        labels = [sum(x.requests.mid for x in e.lines if x.stage == "annotate") for e in (guessed, found)]
        assert labels[0] == labels[1] == 10
        options = Options(out=tmp_path / "run", reuse=[tmp_path / "runs" / "my-first-run-preview"])
        numbers = collect(run_session(path, options, Silent()))
    head = [row for row in numbers["entries"] if row["entry"] in ("annotate", "probe")]
    assert all(not row["models"] for row in head), "what the preview labelled and probed is not paid again"


@pytest.mark.long
def test_a_preview_without_items_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.chdir(tmp_path)
    start = write_starter(tmp_path / "start")
    recipe = load(start[0])
    config = fake_config(recipe, start[1])
    config["models"]["deepseek-v4-pro"]["write"] = {"copy": 1.0}
    with serving(config) as server:
        write_small(tmp_path / "recipe.yaml", recipe, server.url, items=12)
        with pytest.raises(UserError, match="the preview accepted no item"):
            estimate(tmp_path / "recipe.yaml", preview=2)
