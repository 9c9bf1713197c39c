"""The fake provider under the real client: dialects take what it sends, and flows find what is true."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from boostqa.flows.judge import judge
from boostqa.flows.label import label
from boostqa.flows.probing import Manner, ask
from boostqa.flows.solve import solve
from boostqa.flows.write import Call, write
from boostqa.llm.check import probe_endpoint
from boostqa.llm.clients import Clients
from boostqa.llm.config import ModelConfig
from boostqa.llm.fake import FakeServer
from boostqa.llm.model import Model
from boostqa.prompts import strategies
from boostqa.record import Record, Requested, SeedText
from fake_seeds import seed_rows

DIALECTS = ("openai", "vllm", "sglang", "deepseek", "llamacpp")
SCORING = ("vllm", "sglang")


async def one_item(model: Model, row: dict[str, object], number: int, found: Counter[str]) -> None:
    fields = {key: row[key] for key in ("question", "answer", "solution", "question_type", "language")}
    record = Record(id=str(number), kind="seed", choices=list(row.get("choices", [])), **fields)  # type: ignore[arg-type]
    labelling = await label(model, record)
    found["labelled"] += (labelling.labels.field, labelling.labels.level) == (row["field"], row["level"])
    finding = await ask(model, record, Manner(), random.Random(number))
    found["probed"] += finding.correct == 1.0
    found["bits"] += finding.bits is not None
    (attempt,) = await solve(model, record.question, record.choices)
    found["solved"] += attempt.answer == record.answer
    (verdict,) = await judge(model, record.question, record.answer, choices=record.choices)
    found[verdict.verdict] += 1
    seed = SeedText(id="s", question=record.question, answer=record.answer)
    wish = Requested(field="Law", level="H3", language="en", question_type="calculation", grade="high")
    draft = await write(model, [seed], wish, strategies()["write"], call=Call())
    found["written"] += not draft.failure


@pytest.mark.parametrize("dialect", DIALECTS)
def test_client_and_flows_get_on_with_a_dialect(dialect: str):
    perfect = {"dialect": dialect, "ability": {"default": 1.0}, "label_accuracy": 1.0}
    perfect |= {"judge": {"sensitivity": 1.0, "specificity": 1.0}}
    found: Counter[str] = Counter()

    async def run() -> None:
        async with FakeServer({"models": {"m": perfect}}) as server:
            config = ModelConfig.model_validate(
                {"base_url": server.url, "model": "m", "dialect": dialect, "retries": 0}
            )
            (findings,) = await probe_endpoint("m", config)
            findings.raise_for_errors()
            assert findings.abilities.score == (dialect in SCORING)
            async with Clients({"m": config}) as clients:
                rows = seed_rows(12, types=("calculation", "multiple_choice"))
                await asyncio.gather(
                    *(one_item(clients.model("m"), row, i, found) for i, row in enumerate(rows))
                )
            assert set(server.stats()["status"]) == {"200"}
            assert server.stats()["answered_again"] == {}

    asyncio.run(run())
    assert found["bits"] == (12 if dialect in SCORING else 0)
    assert {found[key] for key in ("labelled", "probed", "solved", "correct", "written")} == {12}


def test_faults_of_the_wire_are_survived_and_each_reply_is_taken_once():
    rates = {"429": 0.05, "429_retry_after": 0.05, "500": 0.05, "503": 0.05, "reset": 0.05, "cut_body": 0.05}

    async def run() -> None:
        plan = {"rates": rates, "retry_after_s": 0.01}
        async with FakeServer(
            {"models": {"m": {"dialect": "vllm", "ability": {"default": 1.0}}}, "faults": plan}
        ) as server:
            config = ModelConfig.model_validate(
                {"base_url": server.url, "model": "m", "dialect": "vllm", "retries": 8}
            )
            async with Clients({"m": config}, backoff=0.001) as clients:
                rows = seed_rows(60)
                calls = (solve(clients.model("m"), row["question"], row.get("choices", [])) for row in rows)
                attempts = [attempt for (attempt,) in await asyncio.gather(*calls)]
            assert [attempt.answer for attempt in attempts] == [row["answer"] for row in rows]
            stats = server.stats()
            assert set(stats["faults"]) == set(rates)
            assert stats["answered"] == 60
            assert stats["answered_again"] == {}

    asyncio.run(run())
