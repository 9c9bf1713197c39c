from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from boostqa.errors import UserError
from boostqa.record import Event, Labels, Record, SeedText
from boostqa.stages.dataset import Dataset, DatasetConfig
from harness import Committed, run_stage

PLAN = {"quotas": {"cells": [{"discipline": "Science", "level": "H1", "quota": 2}]}}
SCIENCE = Labels(discipline="Science", field="Physics", level="H1")


def item(key: str, seed: SeedText | None = None, labels: Labels = SCIENCE, **fields: Any) -> Record:
    seeds = [seed] if seed else []
    return Record(id=key, kind="qa", question=key, answer="x", labels=labels, seeds=seeds, **fields)


def release(records: list[Record], **config: Any) -> Committed:
    reads = {"accepted": [Committed(kept=records)], "plans": [Committed(states=PLAN)]}
    return run_stage(Dataset(DatasetConfig(**config)), reads=reads, segment="final")


def test_items_of_one_seed_and_of_its_duplicates_fall_on_one_side() -> None:
    records = []
    for i in range(60):
        for j in range(4):
            # The fourth one's leading seed is a duplicate of the others' seed.
            seed = SeedText(id=f"seed-{i}" if j < 3 else f"twin-{i}", cluster=f"seed-{i}")
            records.append(item(f"{i}-{j}", seed, dup_cluster=f"{i}-{j}"))
    sides = defaultdict(set)
    for record in release(records, surplus="keep", validation_share=0.3).kept:
        sides[record.seeds[0].cluster].add(record.split)
    assert len(sides) == 60
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "validation"} == set.union(*sides.values())


def test_item_without_seeds_is_split_by_its_own_cluster() -> None:
    records = [item(f"i{i}", dup_cluster=f"c{i // 2}") for i in range(80)]
    sides = defaultdict(set)
    for record in release(records, surplus="keep", validation_share=0.5).kept:
        sides[record.dup_cluster].add(record.split)
    assert all(len(side) == 1 for side in sides.values())


def test_what_is_not_released_says_why() -> None:
    records = [
        item("a", evidence=["seed_answer", "judge:x"]),
        item("b", evidence=["seed_answer"]),
        item("c"),
        item("d", labels=Labels(discipline="Law", field="Law", level="H1")),
        item("e", labels=Labels(discipline="Science")),
    ]
    out = release(records)
    assert {record.id for record in out.kept} == {"a", "b"}
    found = {r.id: (r.dropped.reason, r.dropped.evidence) for r in out.dropped if r.dropped}
    assert found == {
        "c": ("over_quota", "cell Science H1 has its 2, best supported of 3"),
        "d": ("no_quota", "cell Law H1 has no quota in the plan"),
        "e": ("unlabelled", "discipline Science, level -"),
    }
    assert len(release(records, surplus="keep").kept) == 5


def test_what_was_taken_down_leaves_no_text() -> None:
    seed = SeedText(id="s", question="secret question", answer="secret answer")
    secret = item(
        "a",
        seed,
        parents=["t", "s"],
        solution="secret",
        history=[Event(stage="x", action="y", detail="secret")],
    )
    reads = {"accepted": [Committed(kept=[secret, item("b")])], "plans": [Committed(states=PLAN)]}
    out = run_stage(Dataset(DatasetConfig()), reads=reads, segment="final", revoked=frozenset({"s"}))
    assert [record.id for record in out.kept] == ["b"]
    (gone,) = out.dropped
    assert (gone.id, gone.dropped and gone.dropped.reason, gone.parents) == ("a", "revoked", ["t", "s"])
    assert "secret" not in repr(gone)


def test_tokens_are_counted_by_the_tokenizer_of_the_recipe(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=50)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    stage = Dataset(DatasetConfig(tokenizer=str(path), surplus="keep"))
    stage.check()
    before = stage.identity()
    out = run_stage(
        stage, reads={"accepted": [Committed(kept=[item("a", solution="a b c d")])]}, segment="final"
    )
    # "a", "a b c d", "Answer: x": one word each, and the colon.
    assert [record.tokens for record in out.kept] == [8]
    tokenizer.no_padding()
    tokenizer.save(str(path))
    assert stage.identity() != before


@pytest.mark.parametrize("text", [None, "{}", "\udcff"])
def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"dataset.tokenizer: .*tokenizer.json: .*give"):
        Dataset(DatasetConfig(tokenizer=str(path))).check()
