"""The card: metadata that loads, numbers that add up, licences and terms that are stated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from boostqa.release import COLUMNS
from boostqa.report.card import MEANING, plain, write_card
from boostqa.report.facts import released_of
from boostqa.run import Run
from report.small_run import SmallRun


def test_head_is_metadata_of_the_files(finished: Run) -> None:
    text = (finished.root / "dataset" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["configs"][0]["data_files"][0] == {"split": "train", "path": "data/train-*"}
    assert head["license"] == "cc-by-4.0"
    assert head["language"] == ["en", "zh"]
    assert head["size_categories"] == ["n<1K"]
    assert head["pretty_name"] == "odd: | name # <b>"
    assert "# odd: \\| name \\# \\<b\\>\n" in text


def test_every_column_is_explained(finished: Run) -> None:
    assert list(MEANING) == list(COLUMNS)
    text = (finished.root / "dataset" / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | `{kind}` | " in text for name, kind in COLUMNS.items())


def test_numbers_terms_and_limits_are_stated(finished: Run) -> None:
    text = (finished.root / "dataset" / "README.md").read_text(encoding="utf-8")
    released = released_of(finished)
    assert f"| train | {released.splits['train']} |" in text
    assert f"| zh | {released.by['language']['zh']} |" in text
    assert "estimate: bytes of `text` in UTF-8 divided by 4" in text
    assert "This shows the machine, not the quality." in text
    assert "smollm2-135m: the recipe states none" in text


def test_terms_of_the_teacher_are_quoted(tmp_path: Path) -> None:
    made = SmallRun(tmp_path / "run", seeds=24, teacher="other").build(rounds=1)
    write_card(made)
    assert "- other-7b: Output may be used for training." in (made.root / "dataset/README.md").read_text(
        encoding="utf-8"
    )


def test_sources_name_licence_and_share(finished: Run) -> None:
    text = (finished.root / "dataset" / "SOURCES.md").read_text(encoding="utf-8")
    released = released_of(finished)
    share = f"{released.sources['textbook'] / released.total:.1%}"
    row = next(line for line in text.splitlines() if line.startswith("| textbook |"))
    assert row.startswith("| textbook | CC-BY-4.0 | ")
    assert row.endswith(f" | {released.sources['textbook']} | {share} |")
    assert sum(released.by["license"].values()) == released.total


def test_no_card_without_a_data_set(tmp_path: Path) -> None:
    made = SmallRun(tmp_path / "run", seeds=24).build(rounds=1, release=False)
    assert write_card(made) == []


def test_text_of_recipes_stays_text() -> None:
    assert plain("a|b\n# c [x](y) <i>") == "a\\|b \\# c \\[x\\](y) \\<i\\>"


def test_polars_reads_it_beside_the_card(finished: Run) -> None:
    polars = pytest.importorskip("polars")
    train = polars.read_parquet(finished.root / "dataset" / "data" / "train-*.parquet")
    assert train.columns == list(COLUMNS)
    assert len(train) == released_of(finished).splits["train"]


@pytest.mark.filterwarnings("ignore")
def test_datasets_loads_both_splits(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    assert os.environ["HF_HOME"] == str(tmp_path)
    released = released_of(finished)
    wanted = {name: released.splits[name] for name in ("train", "validation")}
    folder = str(finished.root / "dataset")
    by_builder = datasets.load_dataset("parquet", data_dir=folder, cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in by_builder.items()} == wanted
    by_card = datasets.load_dataset(folder, cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in by_card.items()} == wanted
