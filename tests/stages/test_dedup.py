from __future__ import annotations

import random
from typing import Any

import pytest

from boostqa.record import Record
from boostqa.stages.dedup import Dedup, DedupConfig
from harness import Committed, run_stage

WORDS = """
river stone copper market engine winter glass orbit ladder signal forest payment virus column harbour lemon
protein theorem voltage bridge carpet planet salary mirror bucket oxygen treaty meadow circuit enzyme
""".split()  # noqa: SIM905


def text(seed: int, count: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def passage(key: str, body: str, **scores: float) -> Record:
    return Record(id=key, kind="seed", passage=body, scores=scores)


def qa(key: str, question: str, answer: str = "", kind: Any = "qa", **fields: Any) -> Record:
    return Record(id=key, kind=kind, question=question, answer=answer, **fields)


def dedup(
    records: list[Record], incumbents: Committed | None = None, size: int = 1000, **config: Any
) -> Committed:
    reads = {"incumbents": [incumbents]} if incumbents else {}
    return run_stage(Dedup(DedupConfig(**config)), records, reads=reads, shard_size=size)


def fates(out: Committed) -> dict[str, str]:
    """Id -> reason, or `kept`."""
    dropped = {r.id: r.dropped.reason for r in out.dropped if r.dropped}
    return {r.id: "kept" for r in out.kept} | dropped


def changed(body: str, index: int) -> str:
    words = body.split()
    return " ".join([*words[:index], "quite", "another", *words[index + 2 :]])


def test_planted_duplicates_go_and_the_best_stays() -> None:
    body = text(1, 200)
    records = [
        passage("a", body, quality=0.3),
        passage("b", body.upper().replace(" ", "  "), quality=0.9),
        passage("c", changed(body, 100), quality=0.5),
        passage("d", text(2, 200)),
    ]
    out = dedup(records)
    assert fates(out) == {"a": "exact_duplicate", "b": "kept", "c": "near_duplicate", "d": "kept"}
    by_id = {r.id: r for r in [*out.kept, *out.dropped]}
    assert [by_id[i].dup_cluster for i in "abcd"] == ["a", "a", "a", "d"]
    assert by_id["a"].dropped
    assert by_id["a"].dropped.evidence == "b similarity 1.000"
    assert by_id["c"].dropped
    assert by_id["c"].dropped.evidence.startswith("b similarity 0.9")
    assert by_id["c"].dropped.stage == "dedup"
    # The winner and the stranger are like nothing that would go before them.
    assert by_id["b"].scores["dup_similarity"] == by_id["d"].scores["dup_similarity"] == 0.0
    assert by_id["c"].scores["dup_similarity"] >= 0.8


def test_priority_of_the_source_goes_before_quality() -> None:
    body = text(3)
    out = dedup([passage("a", body, quality=0.9), passage("b", body, quality=0.1, priority=5.0)])
    assert fates(out) == {"a": "exact_duplicate", "b": "kept"}


def test_supported_answer_wins_among_qa_and_choices_may_be_in_any_order() -> None:
    question = "Which of these metals melts at the lowest temperature under normal pressure?"
    left = qa("a", question, "A", choices=["Mercury", "Iron", "Tin", "Lead"], evidence=["judge:x"])
    right = qa(
        "b", question, "D", choices=["Tin", "lead", "Iron", "mercury"], evidence=["judge:x", "solver:y"]
    )
    assert fates(dedup([left, right])) == {"a": "exact_duplicate", "b": "kept"}


def test_unlike_texts_stay_and_are_their_own_clusters() -> None:
    out = dedup([passage(f"p{i}", text(i, 40)) for i in range(50)])
    assert len(out.kept) == 50
    assert all(r.dup_cluster == r.id for r in out.kept)


def test_numeric_variants_are_no_duplicates_up_to_the_cap() -> None:
    frame = f"{text(9, 80)} A train covers {{}} km in 2 hours, how fast is it in km/h?"
    records = [qa(f"v{i}", frame.format(100 + 2 * i), str(50 + i)) for i in range(5)]
    out = dedup(records)
    assert fates(out) == {
        "v0": "kept",
        "v1": "kept",
        "v2": "kept",
        "v3": "too_many_variants",
        "v4": "too_many_variants",
    }
    assert {r.dup_cluster for r in out.kept} == {"v0"}, "variants must fall on one side of the hold-out"
    assert len(dedup(records, max_variants=5).kept) == 5
    short = [qa("s0", "What is 3 + 4?", "7"), qa("s1", "What is 13 + 4?", "17")]
    assert len(dedup(short).kept) == 2
    assert len(dedup(short, max_variants=1).kept) == 1


def test_other_numbers_with_the_same_answer_are_near_duplicates() -> None:
    frame = f"{text(9, 80)} It has {{}} wheels. What is the name of the machine?"
    out = dedup([qa("a", frame.format(4), "tractor"), qa("b", frame.format(6), "tractor")])
    assert fates(out) == {"a": "kept", "b": "near_duplicate"}


def test_same_wording_and_numbers_with_another_answer_is_a_duplicate() -> None:
    out = dedup([qa("a", "What is 3 + 4?", "7"), qa("b", "what is 3+4", "8")])
    assert fates(out) == {"a": "kept", "b": "exact_duplicate"}


def test_chinese_near_duplicate() -> None:
    body = (
        "光合作用是绿色植物利用光能把二氧化碳和水合成有机物并释放氧气的过程，它发生在叶绿体中，分为光反应和暗反应两个阶段。"
        "光反应在类囊体薄膜上进行，需要色素吸收阳光并分解水分子；暗反应在基质里完成，依靠酶把碳固定下来形成糖类。"
    )
    other = "牛顿第二定律说明力等于质量乘以加速度。"
    out = dedup([passage("a", body), passage("b", body.replace("阳光", "日光")), passage("c", other)])
    assert fates(out) == {"a": "kept", "b": "near_duplicate", "c": "kept"}


def test_incumbents_win_whatever_their_rank_and_give_their_cluster() -> None:
    body = text(5)
    first = dedup([passage("m", body), passage("n", body, quality=0.9)])
    assert fates(first) == {"m": "exact_duplicate", "n": "kept"}
    second = dedup([passage("a", body, quality=1.0, priority=9.0), passage("b", text(6))], incumbents=first)
    assert fates(second) == {"a": "exact_duplicate", "b": "kept"}
    assert second.dropped[0].dup_cluster == "m"
    assert second.dropped[0].dropped
    assert second.dropped[0].dropped.evidence.startswith("n ")


def test_variants_are_counted_over_rounds_and_per_kind() -> None:
    def variant(key: str, left: int, kind: Any = "qa") -> Record:
        return qa(
            key, f"A farmer has {left} hens and buys 12 more; how many are there?", str(left + 12), kind=kind
        )

    seeds = dedup([variant("s", 5, kind="seed")])
    one = dedup([variant("b", 7), variant("c", 8)], incumbents=seeds)
    assert len(one.kept) == 2
    assert {r.dup_cluster for r in one.kept} == {"s"}
    two = dedup([variant("d", 9), variant("e", 10), variant("f", 5)], incumbents=one)
    assert fates(two) == {"d": "kept", "e": "too_many_variants", "f": "too_many_variants"}


def planted() -> list[Record]:
    """200 records with groups of duplicates of several sizes, one larger than the window of a bucket."""
    records = []
    for i in range(40):
        body = text(i, 120)
        records += [passage(f"{i:03d}-{j}", changed(body, 10 * j) if j else body) for j in range(1 + i % 5)]
    records += [passage(f"same-{j}", text(999)) for j in range(80)]
    return records


@pytest.mark.parametrize(("size", "partitions"), [(7, 8), (1000, 1), (1000, 13)])
def test_result_depends_on_neither_shards_nor_order_nor_partitions(size: int, partitions: int) -> None:
    records = planted()
    expected = dedup(records, threshold=0.9)
    reason = fates(expected)
    assert sum(value == "exact_duplicate" for value in reason.values()) == 79
    # 80 are near to another; those that are not near enough to the one that stays are no duplicates of it.
    assert 20 < sum(value == "near_duplicate" for value in reason.values()) < 80
    random.Random(size).shuffle(records)
    again = dedup(records, size=size, partitions=partitions, threshold=0.9)
    key = lambda r: r.id  # noqa: E731
    assert sorted(again.kept, key=key) == sorted(expected.kept, key=key)
    assert sorted(again.dropped, key=key) == sorted(expected.dropped, key=key)


def test_all_of_the_input_comes_back_and_empty_shards_are_fine() -> None:
    records = planted()
    out = dedup(records, size=9)
    assert sorted(r.id for r in [*out.kept, *out.dropped]) == sorted(r.id for r in records)
    nothing = dedup([])
    assert (nothing.kept, nothing.dropped) == ([], [])
    assert nothing.states["clusters"]["pairs"] == 0
    later = dedup([], incumbents=out)
    assert (later.kept, later.dropped) == ([], [])


def test_text_without_words_does_not_break_it() -> None:
    out = dedup([passage("a", ""), passage("b", "..."), passage("c", "one")])
    assert len(out.kept) + len(out.dropped) == 3


def test_a_chain_of_neighbours_does_not_drop_what_is_unlike_the_one_that_stays() -> None:
    words = text(11, 100).split()
    body = [" ".join([*(["alpha beta"] * i), *words[2 * i :]]) for i in range(0, 15, 2)]
    # Each is near to the next, the last far from the first.
    records = [passage(f"c{i}", one, quality=0.9 - 0.1 * i) for i, one in enumerate(body)]
    out = dedup(records, threshold=0.8)
    assert fates(out)["c0"] == "kept"
    assert "near_duplicate" in fates(out).values()
    assert len(out.kept) > 1
    kept = {record.id for record in out.kept}
    for record in out.dropped:
        assert record.dropped
        partner, _, similarity = record.dropped.evidence.partition(" similarity ")
        assert partner in kept
        assert float(similarity) >= 0.8
    assert len({record.dup_cluster for record in [*out.kept, *out.dropped]}) == 1


def test_nothing_goes_for_a_record_that_an_earlier_segment_dropped() -> None:
    words = text(12, 120).split()
    a, b, c = (" ".join([*(["alpha"] * n), *words[n:]]) for n in (0, 12, 26))
    first = dedup([passage("a", a, quality=0.9), passage("b", b)], threshold=0.8)
    assert fates(first) == {"a": "kept", "b": "near_duplicate"}
    second = dedup([passage("c", c)], incumbents=first, threshold=0.8)
    assert fates(second) == {"c": "kept"}
    assert second.kept[0].dup_cluster == "a"


def test_scores_and_history_of_the_others_stay_and_scores_are_in_order() -> None:
    plain = passage("a", text(21), zeal=0.5, quality=0.2).edit("seeds", "born")
    (kept,) = dedup([plain]).kept
    assert kept.history == plain.history
    assert list(kept.scores.items()) == [("dup_similarity", 0.0), ("quality", 0.2), ("zeal", 0.5)]
    assert dedup([kept]).kept[0].scores == kept.scores


def test_answer_given_as_letter_is_the_option() -> None:
    frame = f"{text(22, 40)} which of these weighs {{}} kg?"
    choices = ["an iron ball", "a feather", "a ship"]
    left = qa("a", frame.format(3), "A", choices=choices)
    right = qa("b", frame.format(5), "C", choices=choices[::-1])
    assert fates(dedup([left, right])) == {"a": "kept", "b": "near_duplicate"}
    other = qa("c", frame.format(5), "B", choices=choices)
    assert fates(dedup([left, other])) == {"a": "kept", "c": "kept"}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("What is (2+3)*4?", "What is 2+(3*4)?"),
        ("What is 3² + 4²?", "What is 32 + 42?"),
        ("What is 2⁵?", "What is 25?"),
        ("How many elements has {1,2}?", "How many elements has {{1},2}?"),
        ("What is 5!?", "What is 5?"),
        ("Simplify $x^{2y}$.", "Simplify $x^2y$."),
    ],
)
def test_sums_that_differ_in_powers_or_brackets_are_not_the_same(left: str, right: str) -> None:
    assert set(fates(dedup([qa("a", left, "1"), qa("b", right, "2")])).values()) == {"kept"}
