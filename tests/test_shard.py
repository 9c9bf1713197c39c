from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from boostqa.errors import ContractError, StorageStop, UserError
from boostqa.record import Record
from boostqa.run import Run
from boostqa.shard import EntryFolder, fates, put, read_records


def record(name: str, kind: str = "qa", **fields) -> Record:
    return Record(id=name, kind=kind, **fields)


def test_put_is_whole_or_nothing_and_the_first_wins(tmp_path: Path):
    path = tmp_path / "deep" / "file"
    assert put(path, b"first")
    assert not put(path, b"second")
    assert path.read_bytes() == b"first"
    assert put(path, b"third", replace=True)
    assert path.read_bytes() == b"third"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_full_disk_is_a_resumable_stop_that_names_the_file(tmp_path: Path):
    code = f"""
import resource, signal
from pathlib import Path
from boostqa.shard import put
from boostqa.errors import StorageStop
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    put(Path({str(tmp_path)!r}) / "big", b"x" * 5000)
except StorageStop as stop:
    print(stop.exit_code, stop)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("5 ")
    assert "big: cannot write" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_fates_are_derived_from_what_went_in_and_came_out():
    inputs = [("t1", "task"), ("t2", "task"), ("q1", "qa")]
    outputs = [
        record("c1", parents=["t1"]),
        record("c2", parents=["t1"]).drop("synthesize", "easier_candidate"),
        record("t2", "task").drop("synthesize", "refused"),
        record("q1"),
    ]
    counts = fates(inputs, outputs, "here")
    assert (counts.inputs, counts.born, counts.kept, counts.dropped, counts.spent) == (3, 2, 2, 2, 1)
    assert counts.reasons == {"easier_candidate": 1, "refused": 1}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([("q1", "qa")], [], "qa q1 went in and has no fate"),
        ([("t1", "task")], [record("x", parents=["other"])], "task t1 went in and has no fate"),
        ([], [record("x"), record("x")], "record x came out twice"),
    ],
)
def test_lost_and_doubled_records_are_found(inputs, outputs, message):
    with pytest.raises(ContractError, match=message):
        fates(inputs, outputs, "here")


def test_a_shard_is_committed_once_and_counted_in_its_footer(tmp_path: Path):
    folder = EntryFolder(tmp_path / "03-x")
    folder.commit_records("part-00000", [], [record("a"), record("b").drop("x", "bad")])
    folder.commit_records("part-00000", [], [record("c")])
    assert [r.id for r in read_records(folder.kept("part-00000"))] == ["a"]
    assert folder.counts("part-00000").reasons == {"bad": 1}


def test_the_manifest_refuses_files_that_do_not_belong_together(tmp_path: Path):
    folder = EntryFolder(tmp_path / "03-x")
    folder.commit_records("part-00000", [], [record("a"), record("b").drop("x", "bad")])
    total = folder.commit_manifest(["part-00000"], {"config": 1}, "f" * 32)
    assert (total.born, total.kept, total.dropped) == (2, 1, 1)
    assert folder.manifest()["shards"]["part-00000"]["kept"] == 1
    folder.manifest_path.unlink()
    other = EntryFolder(tmp_path / "other")
    other.commit_records("part-00000", [], [record("z")])
    os.replace(other.dropped("part-00000"), folder.dropped("part-00000"))
    with pytest.raises(ContractError, match="kept and dropped rows on disk"):
        folder.commit_manifest(["part-00000"], {}, "f" * 32)


def test_states_hold_plain_data_tables_and_files(tmp_path: Path):
    folder = EntryFolder(tmp_path)
    table = pa.table({"x": [1, 2]})
    folder.commit_state("quotas", {"n": 3, "plan": table, "files": {"plan.csv": "a,b\n"}})
    state = folder.read_state("quotas")
    assert state["n"] == 3
    assert state["plan"].equals(table)
    assert (tmp_path / "plan.csv").read_text() == "a,b\n"


def test_split_rows_come_back_by_partition_in_shard_order(tmp_path: Path):
    folder = EntryFolder(tmp_path)
    for n, keys in enumerate(([0, 5, 9], [], [4, 1])):
        table = pa.table({"k": pa.array(keys, pa.uint64()), "s": pa.array([n] * len(keys), pa.int64())})
        folder.commit_split("bands", f"part-{n:05d}", table, "k", 4)
    shards = sorted(folder.done("state/bands.split"))
    found = {p: folder.read_split("bands", shards, p).to_pydict() for p in range(4)}
    assert found[0] == {"k": [0, 4], "s": [0, 2]}
    assert found[1] == {"k": [5, 9, 1], "s": [0, 0, 2]}
    assert found[2] == found[3] == {"k": [], "s": []}


def test_two_runs_on_one_folder_the_second_is_refused(tmp_path: Path):
    with Run(tmp_path).lock():
        code = f"from pathlib import Path; from boostqa.run import Run; Run(Path({str(tmp_path)!r})).lock().__enter__()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 1
        assert f"another run (process {os.getpid()}) works in this folder" in done.stderr
        assert Run(tmp_path).is_running()
    assert not Run(tmp_path).is_running()


def test_claim_names_what_changed(tmp_path: Path):
    run = Run(tmp_path)
    run.claim("head", "verify", {"config": {"votes": 3}, "inputs": {"head/refine": "a"}})
    with pytest.raises(UserError, match=r"verify was made by another recipe:\n  config.votes: 3 -> 5\n"):
        Run(tmp_path).claim("head", "verify", {"config": {"votes": 5}, "inputs": {"head/refine": "b"}})


def test_a_folder_without_a_run_is_a_user_error(tmp_path: Path):
    with pytest.raises(UserError, match="no run here"):
        Run.open(tmp_path)
    assert issubclass(StorageStop, Exception)


def test_unreadable_json_is_named(tmp_path: Path):
    (tmp_path / "run.json").write_text("{broken")
    with pytest.raises(UserError, match=r"run.json: not readable as JSON"):
        Run.open(tmp_path)
