import csv
import time
from collections import Counter

import pytest
from pydantic import ValidationError

from boostqa.errors import UserError
from boostqa.flows.supply import Seed, Supply
from boostqa.flows.tasks import Draw
from boostqa.identity import unit
from boostqa.prompts import strategies
from boostqa.record import Labels, Record, Source
from boostqa.stage import Kit
from boostqa.stages.plan import Plan, PlanConfig
from harness import Committed, MemoryShards, run_stage

FIELDS = {
    "Physics": ("Science", "core"),
    "Chemistry": ("Science", "core"),
    "Law": ("Law", "no"),
    "History": ("History", "no"),
}
LEVELS = ("H1", "H2", "H3", "H4", "H5")
FLAT = {"levels": dict.fromkeys(LEVELS, 1.0), "stem_weight": {"core": 1.0, "extended": 1.0, "no": 1.0}}


def seed(i, field="Physics", level="H2", *, licence="CC0-1.0", points=(), **fields):
    discipline, stem = FIELDS[field]
    labels = Labels(
        field=field,
        discipline=discipline,
        stem=stem,
        level=level,
        grade="high",
        knowledge_points=list(points),
    )
    base = {
        "question": f"Question {i} of {field}?",
        "answer": str(i),
        "question_type": "calculation",
        "language": "en",
    }
    return Record(
        id=f"{field}-{level}-{i}",
        kind="seed",
        labels=labels,
        source=Source(name="s", license=licence),
        **{**base, **fields},
    )


def seeds(n=30):
    return [seed(i, field, LEVELS[i % 5]) for field in FIELDS for i in range(n)]


def probed(weak=(), n=40, good=0.9):
    cells = [
        {"discipline": d, "level": level, "n": float(n), "correct": n * (0.1 if (d, level) in weak else good)}
        for d in ("Science", "Law", "History")
        for level in LEVELS
    ]
    return Committed(states={"cells": {"cells": cells}})


def reads(records=None, probe=None, accepted=(), plans=()):
    head = probe or probed()
    head = Committed(kept=seeds() if records is None else records, states=head.states)
    return {"seeds": [head], "probe": [head], "accepted": list(accepted), "plans": list(plans)}


def run(given=None, segment="round-1", **config):
    return run_stage(Plan(PlanConfig(**config)), reads=given or reads(), segment=segment)


def quotas(found):
    return {(c["discipline"], c["level"]): c["quota"] for c in found.states["quotas"]["cells"]}


def accept(tasks, keep=lambda task, i: True, level=None):
    """What a round delivered: one item per kept task, labelled as asked for or as `level`."""
    items = []
    for i, task in enumerate(tasks):
        if keep(task, i):
            wish = task.requested
            labels = Labels(discipline=wish.discipline, field=wish.field, level=level or wish.level)
            items.append(task.child("s", "qa", i, labels=labels, requested=wish, round=task.round))
    return Committed(kept=items)


def test_a_weak_cell_gets_clearly_more_and_the_sum_is_exact():
    weak = {("Science", "H3"), ("Law", "H5")}
    found = run(reads(probe=probed(weak)), items=397, **FLAT)
    quota = quotas(found)
    assert sum(quota.values()) == 397 == found.states["quotas"]["quota"]
    mean = 397 / len(quota)
    assert min(quota[cell] for cell in weak) > 2.5 * mean
    assert max(n for cell, n in quota.items() if cell not in weak) < mean
    even = quotas(run(reads(probe=probed(weak)), items=397, strategy="uniform", **FLAT))
    assert max(even.values()) - min(even.values()) <= 1


def test_quotas_rise_with_stem_level_importance_and_never_with_knowledge():
    base = run(items=300)
    quota = quotas(base)
    assert quota["Science", "H5"] > quota["Law", "H5"] > quota["Law", "H1"]
    important = quotas(run(items=300, disciplines={"Law": 3.0}))
    assert important["Law", "H3"] > quota["Law", "H3"]
    last = 10_000
    for good in (0.1, 0.4, 0.7, 0.95):
        probe = probed()
        for cell in probe.states["cells"]["cells"]:
            if (cell["discipline"], cell["level"]) == ("Law", "H3"):
                cell["correct"] = 40 * good
        now = quotas(run(reads(probe=probe), items=300))["Law", "H3"]
        assert now <= last
        last = now


def test_floors_and_caps():
    found = quotas(
        run(reads(probe=probed({("Science", "H3")})), items=300, min_per_cell=10, max_per_cell=40, **FLAT)
    )
    assert min(found.values()) >= 10
    assert max(found.values()) == 40
    assert sum(found.values()) == 300
    tight = run(items=20, min_per_cell=10)
    assert sum(quotas(tight).values()) == 20
    assert any("plan.min_per_cell lowered from 10 to 1" in note for note in tight.states["quotas"]["notes"])


def test_tasks_carry_request_seeds_and_reasons():
    found = run(items=100, draw=Draw(high_difficulty_share=1.0))
    state = found.states["quotas"]
    assert len(found.kept) == state["tasks"] == state["plan"].num_rows
    assert state["tasks"] == pytest.approx(200, abs=20)
    for task in found.kept:
        wish, lead = task.requested, task.seeds[0]
        assert task.kind == "task"
        assert task.parents == [lead.id]
        assert lead.question.startswith("Question")
        assert (lead.license, lead.source) == ("CC0-1.0", "s")
        assert wish.route == ("high_difficulty" if wish.level in ("H4", "H5") else "multi_grade")
        assert strategies()[wish.strategy].route == wish.route
        assert lead.field == wish.field
        assert wish.language == "en"
        if FIELDS[wish.field][1] == "no":
            assert wish.question_type not in ("calculation", "proof", "code_reading")
    assert len({task.id for task in found.kept}) == len(found.kept)
    grades = Counter(task.requested.grade for task in found.kept if task.requested.level == "H5")
    assert "primary" not in grades
    assert len(grades) > 1
    physics = [t for t in found.kept if t.requested.discipline == "Science"]
    shares = Counter(task.requested.field for task in physics)
    assert abs(shares["Physics"] - shares["Chemistry"]) <= 5


def test_seeds_are_used_evenly_up_to_their_cap():
    found = run(reads(seeds(10)), items=60, max_tasks_per_seed=3)
    used = Counter(task.seeds[0].id for task in found.kept)
    assert max(used.values()) <= 3
    state = found.states["quotas"]
    assert state["tasks"] == 120
    starved = run(reads(seeds(2)), items=200, max_tasks_per_seed=3)
    assert starved.states["quotas"]["tasks"] == 24
    assert {cell["reason"].split(":")[0] for cell in starved.states["quotas"]["given_up"]} == {"no_seed"}


def test_only_checked_seeds_feed_variants_and_only_those_of_the_same_cell():
    records = [seed(i, "Physics", "H2", formula="a * b", variables={"a": 2.0, "b": 3.0}) for i in range(5)]
    records += [seed(i, "Law", "H1") for i in range(5)]
    records += [seed(i, "Law", "H2", question="", answer="", passage="Some text.") for i in range(5)]
    weights = {"vary": 1.0, "vary_numbers": 1.0, "distract": 1.0}
    found = run(
        reads(records),
        items=40,
        max_tasks_per_seed=20,
        levels={"H1": 1, "H2": 1},
        draw=Draw(strategies=weights),
    )
    made = Counter((t.requested.discipline, t.requested.level, t.requested.strategy) for t in found.kept)
    assert set(made) >= {("Science", "H2", name) for name in weights}
    assert {key[:2] for key in made} == {("Science", "H2"), ("Law", "H1")}
    assert ("Law", "H1", "vary_numbers") not in made
    numbers = [task for task in found.kept if task.requested.strategy == "vary_numbers"]
    assert all(task.seeds[0].formula and task.requested.question_type == "calculation" for task in numbers)
    options = [task for task in found.kept if task.requested.strategy == "distract"]
    assert all(task.requested.question_type == "multiple_choice" for task in options)
    uses = [(task.seeds[0].id, task.scores["seed_use"]) for task in found.kept]
    assert len(set(uses)) == len(uses)


def test_a_discipline_without_seeds_borrows_and_says_so():
    found = run(reads([seed(i) for i in range(20)]), items=50, disciplines={"Philosophy": 1.0})
    state = found.states["quotas"]
    assert state["reach"]["any"] > 0
    assert any("fed by seeds of other disciplines" in note for note in state["notes"])
    assert {t.requested.field for t in found.kept if t.requested.discipline == "Philosophy"} == {"Philosophy"}


def test_linked_seeds_share_a_point_and_may_meet_by_licence():
    records = [seed(i, points=["Ohm's law"], licence="CC-BY-SA-4.0") for i in range(4)]
    records += [seed(i, "Chemistry", points=["ohm's law"], licence="CC-BY-NC-4.0") for i in range(4)]
    records += [seed(i, "Law", points=["tort"]) for i in range(4)]
    found = run(reads(records), items=40, draw=Draw(seeds_per_task=2))
    pairs = [[s.license for s in task.seeds] for task in found.kept if len(task.seeds) == 2]
    assert pairs
    assert all(len(set(pair)) == 1 for pair in pairs)
    crossed = run(reads(records), items=40, draw=Draw(cross_discipline_share=1.0))
    both = [{FIELDS[s.field][0] for s in task.seeds} for task in crossed.kept if len(task.seeds) == 2]
    assert both
    assert all(len(disciplines) == 2 for disciplines in both)


def test_later_rounds_ask_for_what_is_missing_at_the_measured_yield():
    first = run(items=100)
    delivered = accept(first.kept, keep=lambda task, i: i % 5 == 0)
    given = reads(accepted=[delivered], plans=[first])
    second = run(given, segment="round-2", items=100)
    state = second.states["quotas"]
    assert quotas(second) == quotas(first)
    assert state["accepted"] == len(delivered.kept)
    missing = {(c["discipline"], c["level"]): c["missing"] for c in state["cells"]}
    assert sum(missing.values()) == state["missing"] <= 100
    mean = sum(c["yield"] for c in state["cells"]) / len(state["cells"])
    assert 0.12 < mean < 0.3
    assert state["tasks"] > 2.5 * state["missing"]
    assert not {task.id for task in first.kept} & {task.id for task in second.kept}
    again = [(t.seeds[0].id, t.scores["seed_use"]) for t in [*first.kept, *second.kept]]
    assert len(set(again)) == len(again)


def test_a_hopeless_cell_is_given_up_with_its_reason():
    def easy(task, i):
        return task.requested.level != "H5"

    plans, accepted = [], []
    for number in (1, 2, 3):
        found = run(
            reads(accepted=accepted, plans=plans), segment=f"round-{number}", items=60, max_tasks_per_seed=99
        )
        plans.append(found)
        accepted.append(accept(found.kept, easy))
    given_up = {(c["discipline"], c["level"]): c["reason"] for c in found.states["quotas"]["given_up"]}
    assert set(given_up) == {(d, "H5") for d in ("Science", "Law", "History")}
    assert all(reason.startswith("no_hit: 2 rounds") for reason in given_up.values())
    assert not any(task.requested.level == "H5" for task in found.kept)


def kit(given, segment):
    return Kit(entry="plan", segment=segment, shard="", shards=MemoryShards(given))


def test_another_round_is_wanted_until_it_is_done_or_hopeless_and_again_when_it_grows():
    plan = Plan(PlanConfig(items=40, rounds=2))
    assert plan.wanted(kit(reads(), "round-1"))
    first = run(items=40)
    full = reads(accepted=[accept(first.kept)], plans=[first])
    assert not plan.wanted(kit(full, "round-2"))
    part = reads(accepted=[accept(first.kept, lambda t, i: i % 3 == 0)], plans=[first])
    assert plan.wanted(kit(part, "round-2"))
    second = run(part, segment="round-2", items=40)
    assert not plan.wanted(kit({**part, "plans": [first, second]}, "round-3"))
    assert not Plan(PlanConfig(items=40)).wanted(kit(reads([]), "round-1"))
    grown = Plan(PlanConfig(items=80, rounds=2))
    assert grown.wanted(kit({**part, "plans": [first, second]}, "round-3"))


def test_growing_keeps_every_accepted_item_within_quota():
    first = run(items=40)
    given = reads(accepted=[accept(first.kept)], plans=[first])
    before, after = quotas(first), quotas(run(given, segment="round-2", items=90))
    assert sum(after.values()) == 90
    assert all(after[cell] >= before[cell] for cell in before)


def test_revoked_seeds_and_their_items_do_not_count():
    given = reads(seeds(6))
    victim = given["seeds"][0].kept[0].id
    stage = Plan(PlanConfig(items=40))
    state = stage._quotas(
        Kit(
            entry="plan", segment="round-1", shard="", shards=MemoryShards(given), revoked=frozenset({victim})
        )
    )
    assert not any(victim in seeds for seeds in state["plan"].column("seeds").to_pylist())
    assert state["tasks"] == 80


def test_the_order_of_seeds_and_shards_does_not_matter():
    records = seeds()
    one = run(reads(records), items=100, shard_size=7)
    other = run(reads(records[::-1]), items=100)
    assert sorted(one.kept, key=lambda t: t.id) == sorted(other.kept, key=lambda t: t.id)
    assert len(one.states["quotas"]["shards"]) == -(-one.states["quotas"]["tasks"] // 7)


def test_limits_of_a_round():
    assert run(items=100, max_tasks=50).states["quotas"]["tasks"] == 50
    assert run(items=1, min_tasks=12).states["quotas"]["tasks"] == 12


def edited(found, path, change):
    rows = found.states["quotas"]["plan"].to_pylist()
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_an_edited_plan_replaces_the_drawn_tasks(tmp_path):
    found = run(items=20)
    path = edited(
        found,
        tmp_path / "plan.csv",
        lambda rows: (rows.__delitem__(slice(3, None)), rows[0].update(grade="primary")),
    )
    again = run(items=20, edited=path)
    assert len(again.kept) == 3
    assert again.kept[0].requested.grade == "primary"
    assert again.kept[0].seeds[0].question
    assert any("were read from" in note for note in again.states["quotas"]["notes"])
    later = run(items=20, edited=path, segment="round-2")
    assert later.states["quotas"]["tasks"] == found.states["quotas"]["tasks"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("discipline", "Sciense", "row 2: discipline: 'Sciense' is not known; did you mean Science"),
        ("field", "Astrology", "row 2: field: 'Astrology' is not known"),
        ("field", "Geology", "row 2: field: 'Geology' belongs to 'Science'"),
        ("level", "H6", "row 2: level: 'H6' is not known; known: H1, H2"),
        ("grade", "kindergarten", "row 2: grade"),
        ("strategy", "vary_number", "row 2: strategy: 'vary_number' is not known; did you mean vary_numbers"),
        ("route", "high_difficulty", "row 2: strategy: 'write' is of the route 'multi_grade'"),
        ("seeds", "nobody", "row 2: seeds: 'nobody' is not a seed of this run"),
        ("seeds", "", "row 2: seeds: empty"),
        ("seeds", "Law-H1-0 Law-H1-9", "row 2: seeds: 'Law-H1-0' and 'Law-H1-9' may not be used together"),
        ("language", "English", "row 2: language: 'English' is no ISO 639-1 code"),
        ("language", "", "row 2: language: '' is no ISO 639-1 code"),
        (
            "strategy",
            "vary_numbers",
            "row 2: strategy: 'vary_numbers' needs a seed with .*formula, which 'Law",
        ),
    ],
)
def test_an_edited_plan_with_unknown_labels_is_refused(tmp_path, column, value, message):
    records = [seed(i, "Law", "H1", licence="CC-BY-SA-4.0") for i in range(5)]
    records.append(seed(9, "Law", "H1", licence="CC-BY-NC-4.0"))
    found = run(reads(records), items=5, levels={"H1": 1})
    path = edited(found, tmp_path / "plan.csv", lambda rows: rows[0].update({column: value}))
    with pytest.raises(UserError, match=message):
        run(reads(records), items=5, levels={"H1": 1}, edited=path)


def test_rows_taken_out_of_a_plan_do_not_give_their_cell_up(tmp_path):
    found = run(items=20)
    path = edited(found, tmp_path / "plan.csv", lambda rows: rows.__delitem__(slice(1, None)))
    again = run(items=20, edited=path)
    state = again.states["quotas"]
    assert (state["tasks"], state["given_up"]) == (1, [])
    later = run(reads(plans=[again]), items=20, segment="round-2")
    assert later.states["quotas"]["tasks"] > 10


def test_seeds_of_one_point_are_linked_without_looking_at_all_of_them():
    many = Supply([plain_seed(i, ["energy"]) for i in range(4000)], cap=9)
    start = time.process_time()
    linked = [[other.id for other in many.linked(lead, 2)] for lead in many.seeds]
    assert time.process_time() - start < 2
    pairs = zip(many.seeds, linked, strict=True)
    assert all(len(set(others)) == 2 and lead.id not in others for lead, others in pairs)
    assert len({name for others in linked for name in others}) > 2000
    again = Supply([plain_seed(i, ["energy"]) for i in reversed(range(4000))], cap=9)
    assert linked[:50] == [[other.id for other in again.linked(lead, 2)] for lead in again.seeds[:50]]


def plain_seed(i, points):
    return Seed(
        id=f"s{i}",
        ref="r",
        discipline="Science",
        field="Physics",
        points=tuple(points),
        order=unit("plan", f"s{i}"),
    )


def test_a_plan_file_that_is_none(tmp_path):
    with pytest.raises(UserError, match="cannot be read as a plan"):
        run(items=5, edited=str(tmp_path / "absent.csv"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"columns .*discipline.* are missing"):
        run(items=5, edited=str(tmp_path / "other.csv"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"levels": {"H9": 1}}, "H9"),
        ({"levels": {"H1": 0}}, "give weights for some of H1"),
        ({"disciplines": {"Alchemy": 1}}, "Alchemy"),
        ({"draw": {"strategies": {"varry": 1}}}, "did you mean vary"),
        ({"draw": {"question_types": {"essay": 1}}}, "essay"),
        ({"draw": {"grades": {"H1": {"nursery": 1}}}}, "nursery"),
    ],
)
def test_unknown_names_in_the_recipe_are_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        PlanConfig(**config)


def test_no_seed_at_all_is_an_empty_plan_with_a_note():
    found = run(reads([]), items=10)
    assert (found.kept, found.states["quotas"]["cells"]) == ([], [])
    assert any("no cell" in note for note in found.states["quotas"]["notes"])
