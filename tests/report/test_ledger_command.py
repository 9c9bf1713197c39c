"""`boostqa ledger`: sums that agree with the lines, damage that is found, and lines that tools can read."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from boostqa.errors import UserError
from boostqa.identity import digest
from boostqa.llm.frames import encode_frame
from boostqa.llm.ledger import LedgerWriter
from boostqa.llm.ledger_files import ledger_files
from boostqa.llm.lines import Line, RawReply
from boostqa.llm.model import Message, Request, TokenLogprob, Usage
from boostqa.report.ledger import Where, export_lines, print_stats, print_verdict, stats, verify
from boostqa.run import Run

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def line(n: int, text: str = "", *, name: str = "strong", cost: float | None = 0.5, **fields: Any) -> Line:
    reply = RawReply(
        text=text or f"answer {n}", usage=Usage(prompt=10, cached=4, completion=5), finish="stop"
    )
    request = Request(messages=(Message("user", f"question {n}"),))
    values = {"request": request, "reply": reply, "cost": cost, "currency": "USD", "r": f"record-{n}"}
    return Line(k=digest("key", n), ts=1.0, name=name, model="m-1", role="teacher", **{**values, **fields})


def write(root: Path, lines: list[Line], place: tuple[str, str, str], shard: str = "part-00000") -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(root, place, shard)
            await asyncio.gather(*(journal.append(each) for each in lines))
            await journal.close()

    asyncio.run(go())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    made.root.mkdir()
    made.begin_session(["boostqa", "run"])
    asked = Request(messages=(Message("user", "JSON"),), schema=SCHEMA)
    scored = RawReply(
        logprobs=[TokenLogprob(token="a", logprob=-1.0)], usage=Usage(prompt=2, completion=1), finish="length"
    )
    write(made.root, [
        line(1), line(2, "<think>hm</think>yes"), line(3, "no JSON", request=asked), line(4, '{"n": 1}', request=asked),
        line(5, reply=None, err="given up after 6 tries", tries=6, lost=0.25, lost_tokens=70, cost=None),
        line(6, reply=RawReply(text="cut", finish="length", usage=Usage(prompt=10, completion=5))),
    ], ("round-1", "synthesize", "write"))  # fmt: skip
    write(made.root, [
        line(7, name="free", cost=None), line(8, name="free", kind="score", reply=scored, request=Request(prompt="a")),
    ], ("head", "probe", "ask"))  # fmt: skip
    return made


def test_stats_count_outcomes_tokens_and_money_per_stage_and_model(run: Run) -> None:
    found = stats(run.root, Where())
    rows = {(row["stage"], row["model"]): row for row in found["rows"]}
    assert list(rows) == [("probe", "free"), ("synthesize", "strong")]
    strong = rows["synthesize", "strong"]
    assert strong["outcomes"] == {"failed": 1, "malformed": 1, "ok": 3, "truncated": 1}
    assert (strong["calls"], strong["requests"], strong["prompt"], strong["cached"]) == (6, 11, 50, 16)
    assert strong["cost"] == pytest.approx(2.5)
    assert (strong["lost"], strong["lost_tokens"]) == (0.25, 70)
    assert rows["probe", "free"]["cost"] is None  # one answer has no price: the sum is unknown, not smaller
    assert rows["probe", "free"]["outcomes"] == {"ok": 2}
    assert found["all"]["cost"] is None
    assert found["all"]["calls"] == 8
    assert found["bytes_on_disk"] == sum(path.stat().st_size for path in ledger_files(run.root))


def test_a_sum_over_two_currencies_is_unknown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write(run.root, [line(9, name="other", currency="CNY", cost=70.0)], ("head", "probe", "ask"))
    found = stats(run.root, Where(model="other"))["all"]
    assert (found["cost"], found["currency"]) == (70.0, "CNY")
    every = stats(run.root, Where())["all"]
    assert (every["cost"], every["lost"], every["used_money"], every["currency"]) == (None, None, None, "")
    print_stats(run.root, Where(stage="synthesize"), as_json=False)
    assert "unknown" not in capsys.readouterr().out
    print_stats(run.root, Where(), as_json=False)
    assert "may have cost up to unknown and 70 tokens more" in capsys.readouterr().out


def test_stats_for_people_say_unknown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    print_stats(run.root, Where(), as_json=False)
    shown = capsys.readouterr().out
    rows = [text.split() for text in shown.splitlines()]
    assert next(row for row in rows if row[:2] == ["probe", "free"])[-2] == "unknown"
    assert "may have cost up to 0.25 USD and 70 tokens more" in shown


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        (Where(), [7, 8, 1, 2, 3, 4, 5, 6]),
        (Where(stage="probe"), [7, 8]),
        (Where(segment="round-1", outcome="ok"), [1, 2, 4]),
        (Where(model="strong", outcome="failed"), [5]),
        (Where(record="record-3"), [3]),
        (Where(role="judge"), []),
    ],
)
def test_export_writes_the_lines_that_were_asked_for(
    run: Run, tmp_path: Path, where: Where, keys: list[int]
) -> None:
    out = tmp_path / "lines.jsonl"
    assert export_lines(run.root, where, out) == len(keys)
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    assert [row["k"] for row in lines] == [digest("key", n) for n in keys]
    if keys == [5]:
        assert (lines[0]["outcome"], lines[0]["error"]) == ("failed", "given up after 6 tries")
    for row in lines:
        if row["k"] == digest("key", 2):
            assert (row["answer"], row["thought"], row["shard"]) == ("yes", "hm", "part-00000")
            assert row["request"]["messages"] == [{"role": "user", "content": "question 2"}]


def test_export_never_overwrites(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"lines\.jsonl: is there already; name another"):
        export_lines(run.root, Where(), out)
    assert out.read_text() == "mine"
    with pytest.raises(UserError, match="outcome weird: there is none"):
        Where(outcome="weird")


def test_verify_knows_torn_from_damaged(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(run.root) | {"run": "", "frames": 0} == {
        "run": "", "running": False, "files": 2, "frames": 0, "lines": 8, "answers": 7, "torn": 0, "torn_bytes": 0,
        "damaged": 0, "damaged_bytes": 0, "places": [], "answered_again": 0, "answered_again_keys": [],
    }  # fmt: skip
    assert print_verdict(run.root, as_json=False)
    path = ledger_files(run.root)[1]
    whole = path.read_bytes()
    path.write_bytes(whole + encode_frame([b"{}"])[:-3])  # killed while writing
    found = verify(run.root)
    assert (found["torn"], found["damaged"], found["lines"]) == (1, 0, 8)
    assert print_verdict(run.root, as_json=False)
    assert "torn tails: 1" in capsys.readouterr().out
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:] + encode_frame([b'{"k":"00"}']))
    found = verify(run.root)
    # The changed bit, and a frame whose line is none of ours; what lies between is still read.
    assert (found["torn"], found["damaged"]) == (0, 2)
    assert found["places"][0].startswith("ledger/round-1/synthesize/write/part-00000.000.jsonl.zst at 0, ")
    assert not print_verdict(run.root, as_json=False)
    assert "would be paid for again" in capsys.readouterr().out


def test_verify_finds_answers_that_were_paid_for_twice(run: Run) -> None:
    write(run.root, [line(1), line(2), line(1)], ("round-2", "synthesize", "write"))
    found = verify(run.root)
    assert found["answered_again"] == 3
    assert found["answered_again_keys"] == [digest("key", 1), digest("key", 2)]
    assert found["damaged"] == 0


def test_commands_read_a_run_that_is_being_written_and_change_nothing(run: Run) -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(run.root, ("round-2", "refine", "check"), "part-00000")
            await journal.append(line(20))
            with run.lock():
                before = sorted((p, p.stat().st_mtime_ns) for p in run.root.rglob("*"))
                found = stats(run.root, Where(segment="round-2"))
                assert (found["running"], found["all"]["calls"]) == (True, 1)
                assert verify(run.root)["damaged"] == 0
                assert sorted((p, p.stat().st_mtime_ns) for p in run.root.rglob("*")) == before
            await journal.close()

    asyncio.run(go())


def test_memory_does_not_grow_with_the_ledger(run: Run) -> None:
    def peak() -> int:
        tracemalloc.start()
        stats(run.root, Where())
        verify(run.root)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak()  # imports
    small = peak()
    for shard in range(20):
        texts = [line(n + 1000 * shard, "x y z " * 300) for n in range(200)]
        write(run.root, texts, ("round-3", "synthesize", "write"), f"part-{shard:05}")
    assert peak() < small + 3_000_000  # one frame of 200 such lines is 0.4 MB; all of them are 8 MB


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "boostqa.cli", "ledger", *map(str, words)],
        capture_output=True, text=True, env=dict(os.environ), timeout=60,
    )  # fmt: skip


def test_exit_codes(run: Run, tmp_path: Path) -> None:
    assert command("verify", run.root).returncode == 0
    assert json.loads(command("stats", run.root, "--json").stdout)["all"]["calls"] == 8
    assert len(command("export", run.root, "--stage", "probe").stdout.splitlines()) == 2
    path = ledger_files(run.root)[0]
    path.write_bytes(path.read_bytes()[:30] + b"?" + path.read_bytes()[31:])
    done = command("verify", run.root)
    assert (done.returncode, "damaged: ledger/head/probe/ask/" in done.stdout) == (5, True)
    done = command("stats", tmp_path / "nowhere")
    assert (done.returncode, "no run here" in done.stderr) == (2, True)


def test_a_reader_that_has_enough_is_no_bug(run: Run) -> None:
    write(run.root, [line(n, "long " * 3000) for n in range(60, 90)], ("round-4", "synthesize", "write"))
    script = f'"{sys.executable}" -m boostqa.cli ledger export "{run.root}" | head -n 1 | wc -l; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("1", "", 0)
