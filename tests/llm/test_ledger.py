"""The ledger: nothing acknowledged is lost, nothing torn is read, everything paid is found again."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from boostqa.errors import StorageStop
from boostqa.identity import digest
from boostqa.llm import index as index_module
from boostqa.llm import ledger as ledger_module
from boostqa.llm import ledger_files as ledger_files_module
from boostqa.llm.frames import encode_frame, read_frames, survey, zstd
from boostqa.llm.index import Index, build_index, index_path, index_run
from boostqa.llm.ledger import LedgerWriter
from boostqa.llm.ledger_files import (
    entries,
    ledger_files,
    read_sidecar,
    sidecar_path,
    spent,
    totals,
    write_sidecar,
)
from boostqa.llm.lines import Line, RawReply
from boostqa.llm.model import Message, Request, Usage

PLACE = ("round-1", "synthesize", "write")


def line(
    n: int | str, *, text: str = "", err: str = "", cost: float | None = 0.5, name: str = "strong"
) -> Line:
    reply = (
        None if err else RawReply(text=text or f"answer {n}", usage=Usage(prompt=10, cached=4, completion=5))
    )
    return Line(
        k=digest("key", n), ts=1.0, name=name, model="m-1", r=f"record-{n}", cost=None if err else cost, err=err,
        request=Request(messages=(Message("user", f"question {n}"),)), reply=reply, tries=1,
        used_money=0.0 if err else cost or 0.0, used_tokens=0.0 if err else 15.0,
    )  # fmt: skip


def write(
    run: Path, lines: list[Line], shard: str = "part-00000", place: tuple[str, str, str] = PLACE
) -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(run, place, shard)
            await asyncio.gather(*(journal.append(each) for each in lines))
            await journal.close()

    asyncio.run(go())


def text_of(found: Line | None) -> str | None:
    return None if found is None or found.reply is None else found.reply.text


def test_line_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            assert not ledger_files(tmp_path)  # no file before there is anything to keep
            for n in range(5):
                await journal.append(line(n))
                stored = [data for _, lines in read_frames(ledger_files(tmp_path)[0]) for data in lines]
                assert len(stored) == n + 1
                assert text_of(journal.lookup(digest("key", n))) == f"answer {n}"

    asyncio.run(go())


def test_lines_that_come_together_share_a_frame(tmp_path: Path) -> None:
    write(tmp_path, [line(n) for n in range(300)])
    frames = list(read_frames(ledger_files(tmp_path)[0]))
    assert sum(len(lines) for _, lines in frames) == 300
    assert len(frames) <= 3


def test_plenty_of_lines_do_not_wait_for_the_interval_and_a_few_do(tmp_path: Path) -> None:
    async def go() -> None:
        async with LedgerWriter(flush_s=60) as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            await asyncio.wait_for(journal.append(line(0)), 5)  # the writer was idle
            few = asyncio.ensure_future(journal.append(line(1)))
            await asyncio.sleep(0.05)
            assert not few.done()
            more = [journal.append(line(n)) for n in range(2, ledger_module.PLENTY + 1)]
            await asyncio.wait_for(asyncio.gather(few, *more), 5)
            last = asyncio.ensure_future(journal.append(line(99)))
            await asyncio.sleep(0)
            await asyncio.wait_for(journal.close(), 5)  # nor does the end of a shard
            assert last.done()

    asyncio.run(go())
    sizes = [len(lines) for _, lines in read_frames(ledger_files(tmp_path)[0])]
    assert sizes == [1, ledger_module.PLENTY, 1]


def test_zstd_tool_can_read_it(tmp_path: Path) -> None:
    write(tmp_path, [line(n) for n in range(3)])
    with zstd.open(ledger_files(tmp_path)[0], "rt") as file:
        assert [row.split('"')[3] for row in file] == [digest("key", n) for n in range(3)]


def test_every_truncation_keeps_exactly_the_whole_frames(tmp_path: Path) -> None:
    frames = [
        encode_frame([f'{{"k":"{digest(i, j)}","x":"{"ab" * i}"}}'.encode() for j in range(i)])
        for i in (1, 3, 2)
    ]
    data = b"".join(frames)
    path = tmp_path / "part.000.jsonl.zst"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(1 for n in (1, 2, 3) if cut >= sum(map(len, frames[:n])))
        assert len(list(read_frames(path))) == whole


def test_damaged_byte_costs_its_frame_alone(tmp_path: Path) -> None:
    frames = [encode_frame([f'{{"k":"{digest(i)}"}}'.encode()]) for i in range(3)]
    path = tmp_path / "part.000.jsonl.zst"
    for at in range(len(frames[0]), len(frames[0]) + len(frames[1])):
        data = bytearray(b"".join(frames))
        data[at] ^= 0x55
        path.write_bytes(data)
        assert [offset for offset, _ in read_frames(path)] == [0, len(frames[0]) + len(frames[1])]
        assert [part.state for part in survey(path)] == ["whole", "damaged", "whole"]


def test_end_that_never_reached_the_disk_is_torn_not_damaged(tmp_path: Path) -> None:
    frame = encode_frame([f'{{"k":"{digest(1)}"}}'.encode()])
    path = tmp_path / "part.000.jsonl.zst"
    for end in (b"\0" * 5000, frame[:-1], frame[:7]):
        path.write_bytes(frame + end)
        assert [(part.length, part.state) for part in survey(path)] == [
            (len(frame), "whole"),
            (len(end), "torn"),
        ]
    path.write_bytes(frame + b"something else" * 9)
    assert [part.state for part in survey(path)] == ["whole", "damaged"]


def test_opening_a_journal_does_not_list_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            for n in range(12):  # more attempts than one, and other shards beside it
                for shard in ("part-00000", "part-00001"):
                    journal = writer.open(tmp_path, PLACE, shard)
                    assert all(journal.lookup(line(f"{shard} {i}").k) for i in range(n))
                    await journal.append(line(f"{shard} {n}"))
                    await journal.close()

    for name in ("glob", "rglob", "iterdir"):
        monkeypatch.setattr(Path, name, None)
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, None)
    asyncio.run(go())
    monkeypatch.undo()
    assert len(ledger_files(tmp_path)) == 24


def test_next_attempt_finds_what_was_paid_and_writes_a_new_file(tmp_path: Path) -> None:
    write(tmp_path, [line(1, text="first"), line(2, err="timeout")])
    write(tmp_path, [line(1, text="second"), line(3)])
    names = [path.name for path in ledger_files(tmp_path)]
    assert names == ["part-00000.000.jsonl.zst", "part-00000.001.jsonl.zst"]

    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            assert text_of(journal.lookup(digest("key", 1))) == "first"
            assert journal.lookup(digest("key", 2)) is None  # failed: must be asked again
            assert text_of(journal.lookup(digest("key", 3))) == "answer 3"
            assert writer.open(tmp_path, PLACE, "part-0000").lookup(digest("key", 1)) is None

    asyncio.run(go())


def test_torn_tail_is_dropped_and_the_rest_replayed(tmp_path: Path) -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            await journal.append(line(1))
            await journal.append(line(2))

    asyncio.run(go())
    path = ledger_files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-3])

    async def again() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            assert text_of(journal.lookup(digest("key", 1))) == "answer 1"
            assert journal.lookup(digest("key", 2)) is None

    asyncio.run(again())


def test_cancelled_caller_does_not_lose_its_line_nor_those_of_others(tmp_path: Path) -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            tasks = [asyncio.create_task(journal.append(line(n))) for n in range(4)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError)
            assert ended[1:] == [None, None, None]
            await journal.close()

    asyncio.run(go())
    assert len(list(entries(tmp_path))) == 4


def test_index_finds_answers_of_other_shards_and_runs(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write(old, [line(n, text=f"old {n}") for n in range(50)])
    write(new, [line(n, text=f"new {n}") for n in range(25, 75)], shard="part-00001")
    sidecar_path(ledger_files(old)[0]).unlink()
    index = index_run(new, reuse=[old])
    assert len(index) == 75
    assert text_of(index.lookup(digest("key", 3))) == "old 3"
    assert text_of(index.lookup(digest("key", 30))) == "new 30"  # the run's own answer counts first
    assert index.lookup(digest("key", 75)) is None
    assert not sidecar_path(ledger_files(old)[0]).exists()  # nothing is written into a run that is only read

    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(new, PLACE, "part-00009", Index(index_path(new)))
            assert text_of(journal.lookup(digest("key", 74))) == "new 74"

    asyncio.run(go())


def test_index_is_the_same_whatever_fits_into_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shard in range(5):  # every key is in two of them, the first counts
        numbers = range(40 * shard, 40 * shard + 80)
        write(tmp_path, [line(n, text=f"{shard}: {n}") for n in numbers], shard=f"part-{shard:05d}")
    whole = index_run(tmp_path)
    written = index_path(tmp_path).read_bytes()
    assert len(whole) == 240
    for at_once in (1, 7, 100):
        index_path(tmp_path).unlink()
        monkeypatch.setattr(index_module, "AT_ONCE", at_once)
        found = index_run(tmp_path)
        assert index_path(tmp_path).read_bytes() == written
        for n in range(240):
            assert digest("key", n) in found
            assert text_of(found.lookup(digest("key", n))) == f"{max(0, n // 40 - 1)}: {n}"
        assert digest("key", 240) not in found
    before = index_path(tmp_path).stat().st_ino
    index_run(tmp_path)
    assert index_path(tmp_path).stat().st_ino == before  # nothing has changed: it is left as it is
    write(tmp_path, [line(240)], shard="part-00009")
    assert digest("key", 240) in index_run(tmp_path)
    index_path(tmp_path).write_bytes(b'{"keys": 0, "files": []}\n')  # of another version
    assert len(index_run(tmp_path)) == 241


def test_index_of_nothing_and_sidecar_that_does_not_fit(tmp_path: Path) -> None:
    assert len(build_index(tmp_path / "index.bin", [])) == 0
    assert build_index(tmp_path / "index.bin", []).lookup(digest(1)) is None
    write(tmp_path, [line(1)])
    path = ledger_files(tmp_path)[0]
    assert read_sidecar(path) is not None
    path.write_bytes(path.read_bytes() + encode_frame([b'{"k":"%s","name":"x"}' % digest(9).encode()]))
    assert read_sidecar(path) is None
    assert len(index_run(tmp_path)) == 2


def damaged(data: bytes) -> dict[str, bytes]:
    """What a power cut, a bad disk or another version may leave of an index or a sidecar."""
    rng = random.Random(3)
    found = {
        "empty": b"",
        "short": data[:2],
        "zeroed": bytes(len(data)),
        "older": b"bqindex1" + bytes(40),
        "cut": data[: len(data) * 2 // 3],
        "blocks that never reached the disk": data[: len(data) // 3] + bytes(len(data) - len(data) // 3),
        "longer": data + b"\x00",
    }
    for at in (*range(40), *(rng.randrange(len(data)) for _ in range(150))):
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        found[f"a bit of byte {at}"] = bytes(flipped)
    return found


def test_a_sorted_run_costs_eight_kilobytes_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part-00000.000.jsonl.zst"
    path.touch()
    write_sidecar(path, 0, [(bytes.fromhex(digest("key", n)), n) for n in range(12_800)], {})
    monkeypatch.setattr(index_module, "AT_ONCE", 12_800)
    build_index(tmp_path / "one.bin", [path]).close()  # loads numpy, too
    monkeypatch.setattr(index_module, "AT_ONCE", 64)
    tracemalloc.start()
    build_index(tmp_path / "many.bin", [path]).close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 8_500 + 1_500_000  # 200 runs, and what reading the sidecar and a stretch takes
    assert (tmp_path / "many.bin").read_bytes() == (tmp_path / "one.bin").read_bytes()


def test_a_damaged_index_is_made_anew_and_loses_nothing(tmp_path: Path) -> None:
    for shard in range(3):
        write(tmp_path, [line(n) for n in range(20 * shard, 20 * shard + 20)], shard=f"part-{shard:05d}")
    index_run(tmp_path).close()
    path = index_path(tmp_path)
    good = path.read_bytes()
    for what, data in damaged(good).items():
        path.write_bytes(data)
        index = index_run(tmp_path)
        assert path.read_bytes() == good, what
        assert [text_of(index.lookup(digest("key", n))) for n in range(60)] == [
            f"answer {n}" for n in range(60)
        ]
        index.close()


def test_an_index_that_is_damaged_after_it_was_checked_stops_or_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageStop, match=r"index\.bin"):
        Index(index_path(tmp_path))
    write(tmp_path, [line(1)])
    index_run(tmp_path).close()
    path = index_path(tmp_path)
    good = path.read_bytes()
    for what in ("empty", "short", "zeroed", "older", "cut", "longer"):
        path.write_bytes(damaged(good)[what])
        with pytest.raises(StorageStop, match=r"index\.bin: damaged or of another version; run the same"):
            Index(path)
    for at in (32 + 16 + 3, 32 + 20 + 7, 32 + 20 + 3):  # number of the file, its offset
        path.write_bytes(good[:at] + b"\xff" + good[at + 1 :])
        with pytest.raises(StorageStop, match=r"index\.bin: damaged"):
            Index(path).lookup(digest("key", 1))


def test_the_index_is_on_the_medium_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []

    def fsync(handle: int) -> None:
        done.append(("synced", os.fstat(handle).st_ino))

    def replace(old: Path, new: Path) -> None:
        done.append(("in place", old.stat().st_ino))
        Path(old).rename(new)

    write(tmp_path, [line(n) for n in range(9)])
    monkeypatch.setattr(index_module.os, "fsync", fsync)
    monkeypatch.setattr(index_module.os, "replace", replace)
    index_run(tmp_path)
    inode = index_path(tmp_path).stat().st_ino
    assert done == [("synced", inode), ("in place", inode)]


def test_a_damaged_sidecar_is_not_believed(tmp_path: Path) -> None:
    write(tmp_path, [line(n) for n in range(20)])
    path = sidecar_path(ledger_files(tmp_path)[0])
    good, before = path.read_bytes(), spent(tmp_path)
    for what, data in damaged(good).items():
        path.write_bytes(data)
        index_path(tmp_path).unlink(missing_ok=True)
        assert spent(tmp_path) == before, what
        index = index_run(tmp_path)
        assert all(digest("key", n) in index for n in range(20)), what
        index.close()


def test_totals_know_what_they_do_not_know(tmp_path: Path) -> None:
    write(tmp_path, [line(1), line(2, err="HTTP 400"), line(3, cost=0.25)])
    write(
        tmp_path, [line(4, cost=None, name="weak"), line(5, name="weak")], place=("head", "annotate", "label")
    )
    for with_sidecars in (True, False):
        if not with_sidecars:
            for path in ledger_files(tmp_path):
                sidecar_path(path).unlink()
        sums = totals(tmp_path)
        assert set(sums) == {("round-1", "synthesize", "strong"), ("head", "annotate", "weak")}
        strong, weak = sums["round-1", "synthesize", "strong"], sums["head", "annotate", "weak"]
        assert (strong.requests, strong.answers, strong.errors, strong.cost) == (3, 2, 1, 0.75)
        assert (strong.prompt, strong.cached, strong.completion) == (20, 8, 10)
        assert (weak.cost, weak.money, weak.unpriced) == (None, 0.5, 1)
    used = spent(tmp_path)
    assert (used.money, used.tokens, used.requests) == (1.25, 60, 5)


def test_entries_hold_request_and_reply_for_show(tmp_path: Path) -> None:
    write(tmp_path, [line(7)])
    entry = next(entries(tmp_path))
    assert entry["segment"] == "round-1"
    assert (entry["entry"], entry["step"], entry["shard"], entry["attempt"]) == (
        "synthesize",
        "write",
        "part-00000",
        0,
    )
    assert entry["r"] == "record-7"
    assert entry["request"]["messages"][0]["content"] == "question 7"
    assert entry["reply"]["text"] == "answer 7"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_full_disk_stops_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(fd: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    async def go() -> None:
        writer = LedgerWriter()
        journal = writer.open(tmp_path, PLACE, "part-00000")
        await journal.append(line(1))
        monkeypatch.setattr(ledger_module.os, "write", fails)
        with pytest.raises(
            StorageStop, match=r"part-00000\.000\.jsonl\.zst: cannot read or write the ledger: .*; "
        ):
            await journal.append(line(2))
        with pytest.raises(StorageStop, match="run the same command again"):
            await journal.append(line(3))  # nothing more may be paid for
        await writer.close()

    asyncio.run(go())
    assert [entry["r"] for entry in entries(tmp_path)] == ["record-1"]


def test_any_other_failure_of_a_write_is_heard_by_all_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    async def go() -> None:
        writer = LedgerWriter()
        journal = writer.open(tmp_path, PLACE, "part-00000")
        monkeypatch.setattr(ledger_module, "encode_frame", fails)
        both = (journal.append(line(1)), journal.append(line(2)))
        heard = await asyncio.wait_for(asyncio.gather(*both, return_exceptions=True), 5)
        assert all(isinstance(each, StorageStop) and "MemoryError" in str(each) for each in heard)
        await asyncio.wait_for(writer.close(), 5)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.ENOSPC, "free some space"), (errno.EPERM, "make it readable and writable")]
)
def test_full_disk_when_the_index_is_made_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def fails(*names: object) -> None:
        raise OSError(code, os.strerror(code))

    write(tmp_path, [line(1)])
    monkeypatch.setattr(ledger_files_module.os, "replace", fails)
    with pytest.raises(StorageStop, match=rf"index\.bin: cannot read or write the ledger: .*; {remedy}"):
        index_run(tmp_path)
    sidecar_path(ledger_files(tmp_path)[0]).unlink()
    with pytest.raises(StorageStop, match=rf"\.idx.*: cannot read or write the ledger: .*; {remedy}"):
        index_run(tmp_path)


def test_ledger_that_cannot_be_read_stops(tmp_path: Path) -> None:
    write(tmp_path, [line(1)])
    path = ledger_files(tmp_path)[0]
    sidecar_path(path).unlink()
    path.unlink()
    path.mkdir()  # stands for any error of reading; permissions do not bind the administrator
    with pytest.raises(StorageStop, match=r"part-00000\.000.*: cannot read or write"):
        index_run(tmp_path)

    async def go() -> None:
        async with LedgerWriter() as writer:
            with pytest.raises(StorageStop, match=r"part-00000\.000.*: cannot read or write"):
                writer.open(tmp_path, PLACE, "part-00000")

    asyncio.run(go())


def test_line_that_comes_after_the_end_has_a_file_of_its_own(tmp_path: Path) -> None:
    async def go() -> None:
        async with LedgerWriter() as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            await journal.append(line(1))
            await journal.close()
            journal.add(line(2, err="cancelled"))
            await journal.append(line(3))
            assert text_of(journal.lookup(digest("key", 3))) == "answer 3"

    asyncio.run(go())
    assert [entry["r"] for entry in entries(tmp_path)] == ["record-1", "record-2", "record-3"]
    assert spent(tmp_path).requests == 3
    assert len(index_run(tmp_path)) == 2


def test_fsync_is_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = os.fsync
    monkeypatch.setattr(ledger_module.os, "fsync", lambda fd: (calls.append(fd), real(fd)))

    async def go() -> None:
        async with LedgerWriter(flush_s=0.002, fsync_s=0.1) as writer:
            journal = writer.open(tmp_path, PLACE, "part-00000")
            start = asyncio.get_running_loop().time()
            n = 0
            while asyncio.get_running_loop().time() < start + 0.35:
                await journal.append(line(n))
                n += 1
            assert n > 10
            assert 2 <= len(calls) <= 6

    asyncio.run(go())


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import importlib.util
spec = importlib.util.spec_from_file_location("test_ledger", {me!r})
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
async def one(journal, n):
    while True:
        await journal.append(module.line(n))
        print(n, flush=True)
        n += 16
async def go():
    writer = module.LedgerWriter()
    journal = writer.open(Path({run!r}), module.PLACE, "part-00000")
    await asyncio.gather(*(one(journal, n) for n in range(16)))
asyncio.run(go())
"""


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parents[1]), me=__file__, run=str(tmp_path))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    seen += process.stdout.read().split("\n")[:-1]
    process.wait()
    process.stdout.close()
    acknowledged = {f"record-{int(row)}" for row in seen}
    stored = {entry["r"] for entry in entries(tmp_path)}
    assert acknowledged <= stored
    assert len(acknowledged) >= 300
