from __future__ import annotations

from pathlib import Path

from boostqa.pipeline import Entry
from boostqa.record import Record
from boostqa.schedule import WHOLE, Schedule
from boostqa.shard import EntryFolder
from boostqa.stage import Gather, Map, Shuffle, Stage, StageConfig


def make(name: str, *steps):
    return type(name, (Stage,), {"name": name, "steps": lambda self: steps})


SOURCE = make("source", Gather("listing", lambda kit: {}), Map("read", lambda spec, kit: [], over="listing"))
GROUP = make(
    "group",
    Map("sign", lambda records, kit: [], rows={"k": "uint64"}),
    Shuffle("edges", "sign", "k", lambda rows, kit: rows, {"k": "uint64"}, partitions=2),
    Gather("clusters", lambda kit: {}),
    Map("decide", lambda records, kit: records),
)
LAST = make("last", Map("each", lambda record, kit: [record], takes="record"))
ENTRIES = [Entry("head", SOURCE), Entry("head", GROUP, "source"), Entry("head", LAST, "group")]


def schedule(root: Path) -> Schedule:
    return Schedule([(e, e.stage(StageConfig()), EntryFolder(root / e.name)) for e in ENTRIES])


def drain(plan: Schedule) -> list[tuple[str, str, str]]:
    found = []
    while (item := plan.next()) is not None:
        found.append(item)
    return found


def names(found):
    return sorted((node.entry.name, node.kind, shard) for node, shard in found)


def list_shards(root: Path, count: int) -> None:
    EntryFolder(root / "source").commit_state("listing", {"shards": [{} for _ in range(count)]})


def test_shards_flow_and_barriers_hold(tmp_path: Path):
    plan = schedule(tmp_path)
    first = drain(plan)
    assert names(first) == [("source", "gather", WHOLE)]
    list_shards(tmp_path, 2)
    plan.finish(*first[0])
    reads = drain(plan)
    assert names(reads) == [("source", "map", "part-00000"), ("source", "map", "part-00001")]
    plan.finish(*reads[0])
    # The first shard moves on while the second is still being read.
    sign = drain(plan)
    assert names(sign) == [("group", "map", "part-00000")]
    plan.finish(*sign[0])
    split = drain(plan)
    assert names(split) == [("group", "split", "part-00000")]
    plan.finish(*split[0])
    assert drain(plan) == []
    plan.finish(*reads[1])
    plan.finish(*(sign := drain(plan))[0])
    plan.finish(*drain(plan)[0])
    reduce = drain(plan)
    assert names(reduce) == [("group", "reduce", "part-00000"), ("group", "reduce", "part-00001")]
    plan.finish(*reduce[0])
    assert drain(plan) == []
    plan.finish(*reduce[1])
    gather = drain(plan)
    assert names(gather) == [("group", "gather", WHOLE)]
    plan.finish(*gather[0])
    decide = drain(plan)
    assert names(decide) == [("group", "map", "part-00000"), ("group", "map", "part-00001")]
    for item in decide:
        plan.finish(*item)
    last = drain(plan)
    assert names(last) == [("last", "map", "part-00000"), ("last", "map", "part-00001")]
    for item in last:
        plan.finish(*item)
    assert plan.complete
    assert plan.outputs(ENTRIES[2]) == ["part-00000", "part-00001"]


def test_what_is_on_disk_is_not_run_again(tmp_path: Path):
    list_shards(tmp_path, 3)
    source = EntryFolder(tmp_path / "source")
    for shard in ("part-00000", "part-00002"):
        source.commit_records(shard, [], [Record(id=shard, kind="seed")])
    assert names(drain(schedule(tmp_path))) == [
        ("group", "map", "part-00000"),
        ("group", "map", "part-00002"),
        ("source", "map", "part-00001"),
    ]


def test_a_stage_without_shards_is_complete_at_once(tmp_path: Path):
    plan = schedule(tmp_path)
    list_shards(tmp_path, 0)
    plan.finish(*plan.next())
    done = drain(plan)
    while done:
        for item in done:
            plan.finish(*item)
        done = drain(plan)
    assert plan.complete
    assert plan.outputs(ENTRIES[2]) == []


def test_work_per_shard_does_not_grow_with_their_number(tmp_path: Path):
    list_shards(tmp_path, 20_000)
    plan = schedule(tmp_path)
    offers = 0
    for node in plan.nodes:
        original = node.offer

        def counted(shard, original=original):
            nonlocal offers
            offers += 1
            original(shard)

        node.offer = counted
    for _ in range(2_000):
        plan.finish(*plan.next())
    assert offers < 6_000
