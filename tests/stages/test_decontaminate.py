from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from boostqa.errors import ContractError, UserError
from boostqa.flows.contamination import Index
from boostqa.flows.indexed import Item, build
from boostqa.record import Record
from boostqa.stages.decontaminate import Decontaminate, DecontaminateConfig, check
from harness import Committed, run_stage

LONG = (
    "A ferry leaves the northern harbour at seven in the morning with 84 passengers and picks up 15 more on "
    "each of three islands; how many people are on board when it reaches the capital?"
)
ITEMS: list[dict[str, Any]] = [
    {"id": "b1", "question": LONG, "choices": [], "answer": "129"},
    {
        "id": "b2",
        "question": "Which of the following is true?",
        "choices": ["Cats bark", "Snow is white", "Iron floats", "Fire is cold"],
        "answer": "B",
    },
    {
        "id": "b3",
        "question": "Who painted the ceiling of the chapel?",
        "choices": [],
        "answer": "Michelangelo",
    },
    {
        "id": "b4",
        "question": "下列哪一种气体在植物的光合作用过程中被吸收并转化为有机物？",
        "choices": ["氧气", "二氧化碳", "氮气", "氢气"],
        "answer": "B",
    },
    {
        "id": "b5",
        "question": "Name the largest moon of the sixth planet from the sun",
        "choices": [],
        "answer": "Titan",
    },
]
CLEAN = [
    "A bakery sells 40 loaves in the morning and 25 in the afternoon; how many loaves does it sell in all?",
    "Which of the following is true?",
    "Who painted the wall?",
    "植物的根有什么作用？",
    "A ferry leaves the harbour at nine; how long does it need for 30 km at 20 km/h?",
]


@pytest.fixture
def bench(tmp_path: Path) -> str:
    path = tmp_path / "exam.jsonl"
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS), encoding="utf-8")
    return str(path)


def qa(question: str, answer: str = "", key: str = "", **fields: Any) -> Record:
    return Record(id=key or question[:40], kind="qa", question=question, answer=answer, **fields)


def run(
    records: list[Record], bench: str, size: int = 1000, heldout: Committed | None = None, **config: Any
) -> Committed:
    stage = Decontaminate(DecontaminateConfig(benchmarks=[bench], **config))
    return run_stage(stage, records, reads={"heldout": [heldout]} if heldout else {}, shard_size=size)


@pytest.mark.parametrize(
    ("record", "item"),
    [
        (qa(LONG), 1),
        (qa("“" + LONG.upper().replace(" ", "\n") + "”"), 1),
        (qa("Read this. " + LONG + " Explain your answer."), 1),
        (qa("", passage="A story. " + LONG + " The end.", key="p"), 1),
        (
            qa(
                "Which of the following is true?",
                "D",
                choices=["snow is WHITE", "Cats bark", "Fire is cold", "Iron floats"],
            ),
            2,
        ),
        (qa("who painted the ceiling of the chapel"), 3),
        (
            qa(
                "下列哪一种气体，在植物的光合作用过程中被吸收并转化为有机物?",
                choices=["氢气", "氮气", "氧气", "二氧化碳"],
            ),
            4,
        ),
        (qa("Name the largest moon of the sixth planet from the sun and describe it."), 5),
    ],
)
def test_contaminated_item_is_dropped(record: Record, item: int, bench: str) -> None:
    out = run([record], bench)
    assert out.kept == []
    (lost,) = out.dropped
    assert lost.dropped
    assert (lost.dropped.stage, lost.dropped.reason) == ("decontaminate", "contaminated")
    assert f"exam.jsonl:{item}" in lost.dropped.evidence or f"b{item} " in lost.dropped.evidence
    assert lost.scores["contamination"] >= 0.5


def test_answer_overlap_is_counted_apart(bench: str) -> None:
    generic = qa("Which of the following is true?", "Snow is white")
    (lost,) = run([generic], bench).dropped
    assert lost.dropped
    assert lost.dropped.evidence == "exam b2 with its answer 1.00"
    assert lost.scores["contamination"] == 0.0
    assert lost.scores["contamination_answer"] == 1.0
    (kept,) = run([generic], bench, answer_threshold=None).kept
    assert kept.scores == lost.scores
    both, question, answer = (
        run([record], bench, threshold=1.0, answer_threshold=1.0)
        for record in (qa(LONG, "129"), qa(LONG, "130"), qa("How old is the oldest of them?", "129"))
    )
    assert both.dropped[0].scores["contamination_answer"] == 1.0
    assert question.dropped[0].scores["contamination"] == 1.0
    assert question.dropped[0].scores["contamination_answer"] == 0.0
    assert answer.kept[0].scores["contamination_answer"] == 0.0


@pytest.mark.parametrize(
    ("stem", "options"),
    [
        ("Which of the following is true?", ["Gold rusts in water", "Iron is a gas", "All of the above"]),
        ("Which of the following is correct?", ["I only", "II only", "I and II only"]),
        ("下列说法正确的是", ["①②", "②③", "①③"]),
        ("Which one of these numbers is larger?", ["1", "2", "4"]),
    ],
)
def test_a_stock_answer_to_a_stock_question_is_nobodys(tmp_path: Path, stem: str, options: list[str]) -> None:
    path = tmp_path / "stock.jsonl"
    path.write_text(json.dumps({"question": stem, "choices": options, "answer": options[-1]}))
    own = qa(stem, options[-1], choices=["Dogs meow at night", "Fish fly south", options[-1]])
    (kept,) = run([own], str(path)).kept
    assert kept.scores["contamination_answer"] == 0.0


def test_long_answers_are_compared_by_their_words(tmp_path: Path) -> None:
    path = tmp_path / "open.jsonl"
    answer = "Light slows down in glass because its field moves the electrons of the glass"
    stem = "Why does light bend when it enters a pane of glass from the air outside?"
    path.write_text(json.dumps({"question": stem, "answer": answer}))
    (lost,) = run([qa(stem, "Because " + " ".join(answer.split()[:9]) + " matter")], str(path)).dropped
    assert lost.scores["contamination"] == 1.0
    assert 0.4 < lost.scores["contamination_answer"] < 0.7


def test_clean_items_stay_with_a_score(bench: str) -> None:
    out = run([qa(text) for text in CLEAN], bench)
    assert [r.question for r in out.kept] == CLEAN
    assert all(r.scores["contamination"] < 0.5 for r in out.kept)


def test_same_stem_with_other_options_is_clean(bench: str) -> None:
    out = run(
        [qa("Which of the following is true?", "A", choices=["Cats bark", "2 + 2 = 4", "Up is down"])], bench
    )
    assert len(out.kept) == 1
    assert 0 < out.kept[0].scores["contamination"] < 0.5


CELL: dict[str, Any] = {
    "id": "c1",
    "question": "What is the powerhouse of the eukaryotic cell?",
    "choices": ["Mitochondria", "Ribosome", "Golgi body", "Cell wall"],
    "answer": "A",
}
GENERIC: dict[str, Any] = {
    "id": "c2",
    "question": "Which of the following statements is correct?",
    "choices": ["Whales lay eggs", "Bats are mammals", "Sharks have lungs", "Frogs grow feathers"],
    "answer": "B",
}
CAPITAL: dict[str, Any] = {"id": "c3", "question": "What is the capital of France?", "answer": "Paris"}
ENERGY: dict[str, Any] = {"id": "c4", "question": "What is energy?", "answer": "the ability to do work"}
SPELLED = "A. Whales lay eggs B. Bats are mammals C. Sharks have lungs D. Frogs grow feathers"


@pytest.fixture
def short_bench(tmp_path: Path) -> str:
    path = tmp_path / "short.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in (CELL, GENERIC, CAPITAL, ENERGY)))
    return str(path)


@pytest.mark.parametrize(
    ("record", "item"),
    [
        (qa(CELL["question"], "The mitochondrion"), "c1"),
        (qa(CELL["question"], "A", choices=["Mitochondrion", "Chloroplast", "Vacuole"]), "c1"),
        (qa("", passage=f"A quiz. {CELL['question']} It is the mitochondrion.", key="p"), "c1"),
        (qa(f"{GENERIC['question']} {SPELLED}", "B"), "c2"),
        (qa("", passage=f"A quiz. {GENERIC['question']} {SPELLED}", key="p"), "c2"),
        (qa("Question: What is the capital of France?", "Paris"), "c3"),
        (qa("Please tell me what is the capital of France", "Paris"), "c3"),
        (qa("Think well. What is energy?", "work"), "c4"),
    ],
)
def test_short_questions_are_found_wherever_they_stand(record: Record, item: str, short_bench: str) -> None:
    (lost,) = run([record], short_bench).dropped
    assert lost.dropped
    assert lost.dropped.evidence == f"short {item} score 1.00"


def test_held_out_stem_is_found_with_another_wording_of_its_answer(bench: str) -> None:
    held = qa(CELL["question"], "A", key="h", choices=CELL["choices"]).drop("probe", "held_out")
    out = run([qa(CELL["question"], "The mitochondrion")], bench, heldout=Committed(dropped=[held]))
    assert out.kept == []


def test_short_questions_do_not_catch_what_is_merely_alike(short_bench: str) -> None:
    clean = [
        qa("What is energy density, and in which unit is it given?", "joule per cubic metre"),
        qa("", passage="What is energy? It is what a body can do work with.", key="p"),
        qa("Which of the following statements is correct?", "A", choices=["Iron sinks", "Wood sinks"]),
        qa("What is the capital of Spain?", "Madrid"),
        qa("What is the smallest part of the eukaryotic cell?", "ribosome"),
    ]
    out = run(clean, short_bench)
    assert [r.question for r in out.kept] == [r.question for r in clean]


def test_stem_share_is_stored_beside_the_score(short_bench: str) -> None:
    asked = qa("Which of the following statements is correct?", "A", choices=["Iron sinks", "Wood sinks"])
    (kept,) = run([asked], short_bench).kept
    assert kept.scores["contamination"] == 0.0
    assert kept.scores["contamination_stem"] == 1.0


def test_stem_that_benchmarks_ask_with_many_lists_of_options_counts_by_options(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    stem = "Which planet has the property named here?"
    rows = [{"question": stem, "choices": [f"ring {i}", f"moon {i}"], "answer": "A"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(run([qa(stem, "A", choices=["storm", "ice"])], str(path)).kept) == 1
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    assert len(run([qa(stem, "A", choices=["storm", "ice"])], str(path)).dropped) == 1


def test_chinese_stem_of_many_characters_with_other_options_is_clean(tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    item = {
        "question": "下列各句中，标点符号使用完全正确的一句是哪一句？",
        "choices": ["他来了。", "你好吗？"],
        "answer": "B",
    }
    path.write_text(json.dumps(item), encoding="utf-8")
    assert len(run([qa(item["question"], "A", choices=["雪停了！", "花开了。"])], str(path)).kept) == 1
    assert len(run([qa(item["question"], "A", choices=["你好吗？", "他来了。"])], str(path)).dropped) == 1


def test_stricter_cut_needs_only_the_threshold(bench: str) -> None:
    half = qa(" ".join(LONG.split()[:15]))
    score = run([half], bench, threshold=1.0).kept[0].scores["contamination"]
    assert 0.2 < score < 0.5
    assert run([half], bench, threshold=score).kept == []


def test_held_out_items_are_indexed_and_other_losses_are_not(bench: str) -> None:
    question = "How many corners does the unusual crystal in the third cabinet of the museum have in total?"
    held = qa(question, key="h").drop("probe", "held_out")
    other = qa(CLEAN[0], key="o").drop("probe", "no_answer")
    out = run([qa(question), qa(CLEAN[0])], bench, heldout=Committed(dropped=[held, other]))
    assert [r.question for r in out.kept] == [CLEAN[0]]
    assert out.dropped[0].dropped
    assert out.dropped[0].dropped.evidence == "heldout h score 1.00"


def test_builtin_list_is_used_unless_switched_off(bench: str) -> None:
    state = run([], bench).states["index"]
    assert state["benchmarks"]["exam"] == len(ITEMS)
    assert state["benchmarks"]["builtin"] >= 10
    assert set(run([], bench, builtin=False).states["index"]["benchmarks"]) == {"exam"}


def test_result_depends_on_neither_shards_nor_order(bench: str) -> None:
    records = [qa(text, key=f"{text[:9]}{i}") for i in range(5) for text in [*CLEAN, LONG]]
    expected = run(records, bench)
    assert (len(expected.kept), len(expected.dropped)) == (25, 5)
    random.Random(1).shuffle(records)
    again = run(records, bench, size=4)
    for name in ("kept", "dropped"):
        left, right = (sorted(getattr(out, name), key=lambda r: r.id) for out in (again, expected))
        assert left == right


def test_empty_shard(bench: str) -> None:
    out = run([], bench)
    assert (out.kept, out.dropped) == ([], [])


def test_missed_canary_stops_the_run() -> None:
    config = DecontaminateConfig()
    items = [Item(id="1", benchmark="x", question=LONG)]
    state = build(items, config)
    Index(state, config).check_canaries()
    with pytest.raises(ContractError, match=r"planted item x 1 scored 0.00, below 0.5; the index is broken"):
        broken = {
            "units": state["units"].slice(0, 0),
            "items": build([Item(id="1", benchmark="x", question="?")], config)["items"],
        }
        Index({**state, **broken}, config).check_canaries()
    with pytest.raises(ContractError, match="no planted item"):
        Index(build([], config), config).check_canaries()


def test_an_item_without_words_is_not_indexed_and_hides_nothing() -> None:
    config = DecontaminateConfig()
    options = {"choices": ["Mercury", "Venus", "Earth", "Mars"], "answer": "Mercury"}
    stem = "Which planet of the solar system has the shortest orbital period around the Sun?"
    good = Item(id="1", benchmark="b", question=stem, **options)
    state = build([good, Item(id="0", benchmark="a", question="______ ?", **options)], config)
    index = Index(state, config)
    index.check_canaries()
    assert index.find(good).score == 1.0
    assert state["benchmarks"] == {"b": 1}


def test_nothing_to_compare_with() -> None:
    with pytest.raises(
        UserError, match=r"decontaminate.benchmarks: \[\] with builtin: false .* set builtin: true"
    ):
        check(DecontaminateConfig(builtin=False))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "exam.jsonl"),
        (
            '{"question": "What is one plus one in this old test?", "answer": "2"}\n{"question": broken\n',
            "exam.jsonl:2: .*partial index",
        ),
        ('{"question": "?", "answer": "2"}\n', "exam.jsonl"),
    ],
)
def test_empty_or_broken_benchmark_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        run([qa(CLEAN[0])], str(path))


def test_missing_file_and_equal_names_are_found_at_validation(tmp_path: Path, bench: str) -> None:
    with pytest.raises(UserError, match=r"decontaminate.benchmarks\[1\]: .*none.jsonl: no such file"):
        check(DecontaminateConfig(benchmarks=[bench, str(tmp_path / "none.jsonl")]))
    (tmp_path / "sub").mkdir()
    other = tmp_path / "sub" / "exam.jsonl"
    other.write_text(json.dumps(ITEMS[0]))
    with pytest.raises(UserError, match=r"another benchmark is called 'exam.jsonl' too"):
        check(DecontaminateConfig(benchmarks=[bench, str(other)]))
    Decontaminate(DecontaminateConfig(benchmarks=[bench])).check()


SNIPPETS = re.findall(
    r"^```yaml\n(decontaminate:.*?)^```",
    (Path(__file__).parent.parent.parent / "docs" / "seeds.md").read_text(encoding="utf-8"),
    re.M | re.S,
)


def test_snippets_of_the_documentation_run(
    tmp_path: Path, bench: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(SNIPPETS) == 2
    subjects = [(f"haonan-li/cmmlu/subject_{i}", "test") for i in range(67)]
    for repo, split in (("openai/gsm8k/main", "test"), *subjects):
        (tmp_path / "hub" / repo).mkdir(parents=True)
        row = {"question": f"How many lamps hang in the old hall of {repo} at night?", "answer": "3"}
        table = pa.Table.from_pylist([row])
        pq.write_table(table, tmp_path / "hub" / repo / f"{split}-00000-of-00001.parquet")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "exam.jsonl").write_bytes(Path(bench).read_bytes())
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(SNIPPETS[0])["decontaminate"]
    asked = qa("How many lamps hang in the old hall of openai/gsm8k/main at night?")
    out = run_stage(Decontaminate(DecontaminateConfig(**config)), [asked, qa(LONG, key="l"), qa(CLEAN[0])])
    assert [r.dropped.evidence for r in out.dropped if r.dropped] == [
        "gsm8k gsm8k/main/test-00000-of-00001.parquet:1 score 1.00",
        "exam b1 score 1.00",
    ]
    assert set(out.states["index"]["benchmarks"]) == {"builtin", "exam", "gsm8k", "cmmlu"}
    # The other one needs an encoder; see tests/annotation/test_paraphrases.py.
    found = DecontaminateConfig(**yaml.safe_load(SNIPPETS[1])["decontaminate"]).paraphrases
    assert found is not None
    assert found.threshold == 0.97


def test_identity_follows_the_content_not_the_place(tmp_path: Path, bench: str) -> None:
    def identity(path: str) -> Any:
        return Decontaminate(DecontaminateConfig(benchmarks=[path])).identity()

    (tmp_path / "sub").mkdir()
    moved = tmp_path / "sub" / "exam.jsonl"
    moved.write_bytes(Path(bench).read_bytes())
    assert identity(str(moved)) == identity(bench)
    moved.write_bytes(Path(bench).read_bytes()[:-2] + b" \n")
    assert identity(str(moved)) != identity(bench)
