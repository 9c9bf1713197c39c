from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from boostqa.flows.contamination import OTHER_ANSWER, Index
from boostqa.flows.indexed import Item, build
from boostqa.flows.overlap import Membership, having, plain
from boostqa.record import Record
from boostqa.stages.decontaminate import DecontaminateConfig
from boostqa.table import to_table
from boostqa.text.ngrams import windows
from boostqa.text.normalise import words
from boostqa.text.tokens import tokens

NOUNS = [
    "river",
    "engine",
    "market",
    "glass",
    "orbit",
    "ladder",
    "signal",
    "forest",
    "column",
    "harbour",
    "lemon",
    "voltage",
    "bridge",
    "carpet",
]
SYLLABLES = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
VOCABULARY = [first + second for first in SYLLABLES for second in SYLLABLES[::7]]


def question(rng: random.Random) -> str:
    """A question of 58 words whose form and little words are those of all others."""
    some = iter(rng.sample(VOCABULARY, 24))
    parts = [
        f"the {next(some)} {next(some)} {rng.randrange(2, 90)} {next(some)} to {next(some)}" for _ in range(6)
    ]
    return f"If {', '.join(parts)} in the end, how many are there at the end?"


def index() -> tuple[list[Item], Index]:
    rng = random.Random(7)
    items = [Item(id=f"q{i:03d}", benchmark="exam", question=question(rng)) for i in range(150)]
    config = DecontaminateConfig()
    return items, Index(build(items, config), config)


def test_questions_with_some_words_replaced_are_found() -> None:
    items, known = index()
    rng = random.Random(8)
    found = []
    for item in items:
        text = " ".join(
            rng.choice(["zinc", "amber", "novel", "quartz"]) if rng.random() < 0.15 else w
            for w in item.question.split()
        )
        hit = known.find(Item(id="", benchmark="", question=text))
        found.append(hit.score >= 0.5 and hit.name == f"exam {item.id}")
    assert np.mean(found) >= 0.9


def test_questions_of_the_same_form_are_not() -> None:
    _, known = index()
    rng = random.Random(9)
    scores = [known.find(Item(id="", benchmark="", question=question(rng))).score for _ in range(200)]
    assert np.mean(np.array(scores) >= 0.5) <= 0.01


def test_other_numbers_make_another_question() -> None:
    text = "A tank of {} litres is filled by a pump that moves {} litres a minute; after how many minutes is it full?"
    config = DecontaminateConfig(ngram=25)
    known = Index(build([Item(id="1", benchmark="x", question=text.format(80, 4))], config), config)
    assert known.find(Item(id="", benchmark="", question=text.format(80, 4))).score == 1.0
    assert known.find(Item(id="", benchmark="", question=text.format(90, 5))).score < 0.5


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        (
            "Find the curve that is described by the equation $r = 4 \\cos t$ and enter the letter of the right option",
            "Find the curve that is described by the equation $r = 2 + \\tan t$ and enter the letter of the right option",
        ),
        (
            "A pizza with twelve slices has cheese on exactly five slices and ham on seven; how many have both of them?",
            "A pizza with twelve slices has cheese on exactly six slices and ham on nine; how many have both of them?",
        ),
    ],
)
def test_a_problem_of_the_same_template_is_another_problem(asked: str, other: str) -> None:
    config = DecontaminateConfig(ngram=25)
    known = Index(build([Item(id="1", benchmark="x", question=asked)], config), config)
    assert known.find(Item(id="", benchmark="", question=f"Please solve: {asked}")).score == 1.0
    assert known.find(Item(id="", benchmark="", question=other)).score < config.threshold
    words = asked.split()
    words[3:14:5] = ["zinc", "amber", "quartz"]
    assert known.find(Item(id="", benchmark="", question=" ".join(words))).score >= config.threshold


def test_a_word_in_the_place_of_a_sign_is_no_other_problem_but_another_sign_is() -> None:
    text = (
        "Find the number of ordered pairs $(a, {})$ of positive integers with $a + b = {}$ "
        "such that neither $a$ nor $b$ has a zero digit."
    )
    config = DecontaminateConfig(ngram=40)
    known = Index(build([Item(id="1", benchmark="x", question=text.format("b", 1000))], config), config)
    for first, second, alike in (("curtain", 1000, True), ("b", "curtain", True), ("b", 2500, False)):
        found = known.find(Item(id="", benchmark="", question=text.format(first, second)))
        assert (found.score >= config.threshold) == alike


def test_another_answer_lowers_the_score_of_a_question_of_which_a_part_is_there() -> None:
    text = "How long does the old ferry need from the northern harbour to the lighthouse on the outer island by night?"
    config = DecontaminateConfig(ngram=25)
    known = Index(build([Item(id="1", benchmark="x", question=text, answer="40 minutes")], config), config)
    changed = text.replace("ferry", "quartz").replace("northern", "amber").replace("outer", "zinc")
    alike, unknown, other = (
        known.find(Item(id="", benchmark="", question=changed, answer=answer)).score
        for answer in ("40 MINUTES", "", "two hours")
    )
    assert alike == unknown > 0.3
    assert other == pytest.approx(OTHER_ANSWER * alike)
    assert known.find(Item(id="", benchmark="", question=text, answer="two hours")).score == 1.0


def test_drawings_count_by_their_labels() -> None:
    """The code around them is the same in many problems."""
    code = '[asy] size(150); pair A = (0,0); draw(A--B--C--cycle); label("$A{}$", A, SW); label("$B$", B, S); [/asy]'
    text = "What is the area of the shaded triangle below, if its base is twice its height? " + code
    assert plain(text.format(7)).split() == [*text.split("[asy]")[0].split(), "$A7$", "$B$"]
    assert plain("no end [asy] draw(A)") == "no end   draw(A)"
    full = text.format(7).translate({i: i + 0xFEE0 for i in range(0x21, 0x7F)})
    assert words(plain(full)) == words(plain(text.format(7)))
    config = DecontaminateConfig()
    known = Index(build([Item(id="1", benchmark="x", question=text.format(7))], config), config)
    assert known.find(Item(id="", benchmark="", question="Which point is highest? " + code)).score < 0.2
    assert known.find(Item(id="", benchmark="", question=text.format(7).replace("150", "90"))).score == 1.0


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"Find $\frac{1}{2} \times 3$", "find 1/2 × 3"),
        (r"\dfrac{x}{y} \leq \left( 3 \right)", r"$\frac{x}{y} ≤ (3)$"),
        (r"costs 1{,}000 or 12\,500", "costs 1,000 or 12,500"),
        (r"\frac12 \cdot \pi", "1/2 · π"),
    ],
)
def test_formulas_are_compared_in_one_spelling(left: str, right: str) -> None:
    assert words(plain(left)) == words(plain(right))


def test_filter_finds_what_sets_of_ngrams_find() -> None:
    rng = random.Random(4)
    texts = [" ".join(rng.choices(NOUNS[:3], k=rng.randrange(0, 40))) for _ in range(300)]
    items = [" ".join(rng.choices(NOUNS[:3], k=13)) for _ in range(40)]

    def grams(text: str, n: int) -> set[tuple[str, ...]]:
        return set(zip(*(words(text)[i:] for i in range(n)), strict=False))

    for n in (1, 7, 13):
        known = {gram for item in items for gram in grams(item, n)}
        hashes = np.concatenate([windows(tokens([item]).hashes, n) for item in items])
        expected = [i for i, text in enumerate(texts) if grams(text, n) & known]
        assert having(pa.array(texts), Membership(hashes), n).tolist() == expected
    assert having(texts, Membership(np.empty(0, dtype=np.uint64)), 5).tolist() == []


def test_a_table_gives_what_its_rows_give() -> None:
    items, known = index()
    rng = random.Random(5)
    texts = (
        [item.question for item in items[:20]] + [question(rng) for _ in range(20)] + ["", "What is this?"]
    )
    table = to_table(Record(id=str(i), kind="qa", question=text) for i, text in enumerate(texts))
    found = known.find_in(table)
    for i, text in enumerate(texts):
        alone = known.find(Item(id="", benchmark="", question=text))
        assert found.get(i, alone) == alone
        assert i in found or alone.score == 0.0


def questions(path: Path, count: int) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["question"] for line in itertools.islice(lines, count)]


@pytest.mark.shared_data
def test_real_questions_are_found_and_those_of_another_split_are_not(shared_data: Path) -> None:
    asked = questions(shared_data / "eval" / "gsm8k.jsonl.gz", 400)
    config = DecontaminateConfig()
    items = [Item(id=str(i), benchmark="gsm8k", question=text) for i, text in enumerate(asked)]
    known = Index(build(items, config), config)
    rng = random.Random(2)
    vocabulary = " ".join(asked).split()

    def hits(texts: list[str]) -> float:
        found = known.find_in(to_table(Record(id=str(i), kind="qa", question=t) for i, t in enumerate(texts)))
        return sum(one.score >= 0.5 for one in found.values()) / len(texts)

    def replaced(text: str) -> str:
        return " ".join(rng.choice(vocabulary) if rng.random() < 0.15 else word for word in text.split())

    assert hits(asked) == 1.0
    assert hits(["  ".join(text.upper().replace(",", " ").split()) + " !" for text in asked]) >= 0.95
    assert hits([replaced(text) for text in asked if len(words(text)) >= 20]) >= 0.9
    assert hits(questions(shared_data / "seeds" / "qa" / "gsm8k_train.jsonl.gz", 2000)) <= 0.001


def test_a_long_variant_beside_a_short_question_does_not_hide_it() -> None:
    """The variant has the larger share of n-grams and is lowered: the short question's own hit then counts."""
    long = (
        "A farmer in the northern valley packs ripe apples into wooden crates for the village market every morning "
        "before sunrise and later counts how many crates she has filled when 48 apples remain"
    )
    short = "Why do old copper roofs slowly turn green in rainy cities"
    items = [Item(id="A", benchmark="long", question=long), Item(id="B", benchmark="short", question=short)]
    config = DecontaminateConfig()
    index = Index(build(items, config), config)
    variant, edited = long.replace("48", "95"), short.replace("cities", "towns")
    alone = index.score(Item(id="r", benchmark="", question=edited))
    assert alone[1] == "short B"
    assert alone[0] >= 0.75
    assert index.score(Item(id="r", benchmark="", question=f"{variant}. {edited}?")) == alone
    assert index.score(Item(id="r", benchmark="", question=edited, passage=variant)) == alone
    assert index.score(Item(id="r", benchmark="", question=variant))[0] < config.threshold
