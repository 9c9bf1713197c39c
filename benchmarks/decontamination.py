"""Decontamination of real questions: what is found of benchmarks in seeds, and what is wrongly taken for one.

    python benchmarks/decontamination.py ../shared/data [--only cost,recall,seeds,paraphrases] [--hits FILE]

Reads the questions of DATA/eval as benchmarks and those of DATA/seeds/qa as records; both are JSON lines with the
keys id, question, choices, answer. `recall`: seeded samples of the benchmarks' own items, each changed in one way,
must be found. `seeds`: the hits among all seeds. Which of them are real stands in `decontamination_read.tsv` beside
this file, as pairs of ids with a verdict and without any text: `same` problem; `setting`, another question about
the same figure, story or givens; `other`, a false one, such as a problem from the same template with other numbers
or formulas, or a set phrase of exams. Somebody read each, side by side; what nobody has read counts as false. `--hits`
writes the hits with their texts, to be read. `paraphrases` (slow, not by default): the same two questions for the
search by sentence vectors, on a small sample.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from boostqa.flows.contamination import Found, Index
from boostqa.flows.indexed import Item, answer_text, build
from boostqa.record import Record
from boostqa.stages.decontaminate import DecontaminateConfig
from boostqa.table import to_table
from boostqa.text.normalise import cjk_share, words

READ = Path(__file__).with_name("decontamination_read.tsv")
FULL = str.maketrans({chr(i): chr(i + 0xFEE0) for i in range(0x21, 0x7F)})
BLOCK = 2_000
"""Records that are looked at together, as a shard of a run has."""
LONG = 20
"""Words from which a question counts as long in the issue's gate."""
CUTS = (0.50, 0.55, 0.60, 0.65, 0.70)
"""Cuts of `contamination` that are shown side by side; the scores are the same."""
ANSWERS = 0.5
"""Cut of `contamination_answer`."""


def rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the file, row) of all files of JSON lines in a folder."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield path.name.removesuffix(".jsonl.gz"), json.loads(line)


def items(folder: Path) -> list[Item]:
    """The rows as items of benchmarks named like their files; those without words are left out."""
    found = []
    for name, row in rows(folder):
        choices = row["choices"] or []
        answer = answer_text(choices, row["answer"] or "")
        if words(row["question"] or ""):
            found.append(
                Item(id=row["id"], benchmark=name, question=row["question"], choices=choices, answer=answer)
            )
    return found


def find(index: Index, asked: list[Item]) -> list[Found]:
    """What of the index is in each of them."""
    out: list[Found] = []
    for start in range(0, len(asked), BLOCK):
        part = asked[start : start + BLOCK]
        records = [
            Record(
                id=item.id,
                kind="qa",
                question=item.question,
                choices=item.choices,
                answer=item.answer,
                passage=item.passage or None,
            )
            for item in part
        ]
        found = index.find_in(to_table(records))
        out += [found.get(i, Found(0.0, 0.0, "")) for i in range(len(part))]
    return out


class Changes:
    """The ways in which an item is changed."""

    def __init__(self, everything: list[Item]) -> None:
        self.rng = random.Random(5)
        texts = [item.question for item in everything]
        self.words = [word for text in texts if cjk_share(text) < 0.5 for word in text.split()]
        self.signs = [sign for text in texts if cjk_share(text) >= 0.5 for sign in text if sign.isalpha()]

    def none(self, text: str) -> str:
        """As it is."""
        return text

    def spaces(self, text: str) -> str:
        """Single spaces become two, or a line break."""
        return re.sub(" ", lambda _: self.rng.choice(["  ", " \n", "\t"]), text)

    def case(self, text: str) -> str:
        """Capitals throughout."""
        return re.sub(r"(?<!\\)\b[A-Za-z]+", lambda found: found[0].upper(), text)

    def punctuation(self, text: str) -> str:
        """Marks between words and at the end are left out or doubled."""
        return re.sub(
            r"[,.;:!?，。；：！？、](?=\s|$|[\u4e00-\u9fff])",
            lambda found: self.rng.choice(["", found[0] * 2]),
            text,
        )

    def full(self, text: str) -> str:
        """Full-width forms."""
        return text.translate(FULL)

    def replaced(self, share: float) -> Callable[[str], str]:
        """Some words, or characters of Chinese, replaced by others of the benchmarks."""

        def change(text: str) -> str:
            rng = self.rng
            if cjk_share(text) >= 0.5:
                return "".join(
                    rng.choice(self.signs) if sign.isalpha() and rng.random() < share else sign
                    for sign in text
                )
            return " ".join(
                rng.choice(self.words) if rng.random() < share else word for word in text.split(" ")
            )

        return change


def recall(index: Index, everything: list[Item], count: int) -> tuple[list[Found], list[int]]:
    """The table of recall by change.

    Returns what was found of the items of which 15% of the words were replaced, and how many words these had.
    """
    changes = Changes(everything)
    ways: list[tuple[str, Callable[[str], str]]] = [
        ("none", changes.none),
        ("order of options", changes.none),
        ("white space", changes.spaces),
        ("case", changes.case),
        ("punctuation left out or doubled", changes.punctuation),
        ("full width", changes.full),
        ("15% of words replaced", changes.replaced(0.15)),
        ("30% of words replaced", changes.replaced(0.30)),
    ]
    cut, kept = index.config.threshold, None
    print(f"\n  {'change':34s} {'all':>6s} {'>= 20':>6s} {'< 20':>6s} {'>= 8':>6s}   at a cut of {cut}")
    for number, (name, change) in enumerate(ways):
        rng = random.Random(100 + number)
        chosen = rng.sample(everything, min(count, len(everything)))
        if name == "order of options":
            chosen = [item for item in rng.sample(everything, len(everything)) if item.choices][:count]
        asked = []
        for item in chosen:
            options = rng.sample(item.choices, len(item.choices)) if "order" in name else item.choices
            asked.append(
                msgspec.structs.replace(
                    item,
                    question=change(item.question),
                    # The gate is about words of questions.
                    choices=options if "words" in name else [change(one) for one in options],
                )
            )
        found = find(index, asked)
        hit = [one.score >= cut for one in found]
        sizes = [len(words(item.question)) for item in chosen]
        if name.startswith("15%"):
            kept = found, sizes

        def share(keep: Callable[[int], bool], hit: list[bool] = hit, sizes: list[int] = sizes) -> str:
            mine = [one for one, size in zip(hit, sizes, strict=True) if keep(size)]
            return f"{sum(mine) / max(1, len(mine)):6.3f}"

        groups = (lambda n: True, lambda n: n >= LONG, lambda n: n < LONG, lambda n: 8 <= n < LONG)
        print(f"  {name:34s} {' '.join(share(keep) for keep in groups)}   ({len(hit)})", flush=True)
    return kept


def verdicts() -> dict[tuple[str, str], str]:
    """(id of a seed, name of an item) -> what somebody found who read both."""
    lines = READ.read_text(encoding="utf-8").splitlines() if READ.exists() else []
    return {(seed, item): verdict for seed, item, verdict in (line.split("\t") for line in lines)}


Hit = tuple[Item, Found]
"""A seed and what it has of the benchmarks."""


def verdict_of(hit: Hit, cut: float, read: dict[tuple[str, str], str]) -> tuple[str, str]:
    """(name of the item that takes a seed out at a cut of `contamination`, verdict); empty where none does."""
    seed, found = hit
    name = found.name if found.score >= cut else found.answered if found.answer >= ANSWERS else ""
    return (name, read.get((seed.id, name), "unread")) if name else ("", "")


def cuts(hits: list[Hit], replaced: tuple[list[Found], list[int]]) -> None:
    """What other cuts of `contamination` would find; that of `contamination_answer` stays where it is."""
    read = verdicts()
    print(f"\n  {'cut':>5s} {'real':>6s} {'false':>6s}   recall of 15% of words replaced, >= 20 words (all)")
    for cut in CUTS:
        counts = collections.Counter(verdict_of(hit, cut, read)[1] for hit in hits)
        found = [(one.score >= cut, size >= LONG) for one, size in zip(*replaced, strict=True)]
        long = [hit for hit, is_long in found if is_long]
        every = sum(hit for hit, _ in found) / len(found)
        real, wrong = counts["same"] + counts["setting"], counts["other"] + counts["unread"]
        print(f"  {cut:5.2f} {real:6,} {wrong:6,}   {sum(long) / len(long):.3f} ({every:.3f})", flush=True)


def seeds(index: Index, everything: list[Item], data: Path, write: Path | None) -> list[Hit]:
    """Hits among seeds by source, and by what was read of them."""
    asked = items(data / "seeds" / "qa")
    start = time.process_time()
    found = find(index, asked)
    seconds = time.process_time() - start
    cut, read = index.config.threshold, verdicts()
    total = collections.Counter(item.benchmark for item in asked)
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in total}
    hits = []
    for item, one in zip(asked, found, strict=True):
        name, verdict = verdict_of((item, one), cut, read)
        if name:
            counts[item.benchmark][verdict] += 1
            hits.append((max(one.score, one.answer), verdict, item, name))
    kinds = ("same", "setting", "other", "unread")
    print(f"\n  {'seeds':20s} {'all':>7s} {' '.join(f'{kind:>8s}' for kind in kinds)}  false")
    for name in [*total, "all"]:
        mine = counts[name] if name != "all" else sum(counts.values(), collections.Counter())
        number = total[name] if name != "all" else len(asked)
        wrong = (mine["other"] + mine["unread"]) / number
        print(f"  {name:20s} {number:7,} {' '.join(f'{mine[kind]:8,}' for kind in kinds)}  {wrong:.3%}")
    print(f"  {1e3 * seconds / len(asked):.2f} ms CPU a record", flush=True)
    if write:
        known = {f"{item.benchmark} {item.id}": item for item in everything}
        with write.open("w", encoding="utf-8") as out:
            for score, verdict, a, name in sorted(hits, key=lambda one: -one[0]):
                b = known[name]
                out.write(f"=== {score:.3f} {verdict} {a.id} <> {name}\n")
                for mark, one in (("S", a), ("B", b)):
                    out.write(f"{mark}: {one.question!r} {one.choices} -> {one.answer!r}\n")
    return list(zip(asked, found, strict=True))


def reworded(everything: list[Item], data: Path) -> None:
    """What the search by sentence vectors finds of changed items, and of seeds."""
    from boostqa.annotation.paraphrases import nearest, numbers, vectors

    rng, changes = random.Random(4), Changes(everything)
    known = rng.sample([item for item in everything if len(words(item.question)) >= 6], 110)
    start = time.process_time()
    matrix = vectors("e5-small", [item.question for item in known])
    print(f"\n  vectors: {len(known) / (time.process_time() - start):.1f} questions a CPU second")
    own = [numbers(item.question) for item in known]
    short = [i for i, item in enumerate(known) if len(words(item.question)) < LONG][:30]
    some = list(range(40))
    tests = [
        ("15% of words replaced", some, [changes.replaced(0.15)(known[i].question) for i in some]),
        ("30% of words replaced", some, [changes.replaced(0.30)(known[i].question) for i in some]),
        ("15%, fewer than 20 words", short, [changes.replaced(0.15)(known[i].question) for i in short]),
        ("seeds", None, [item.question for item in rng.sample(items(data / "seeds" / "qa"), 70)]),
    ]
    cuts = (0.93, 0.95, 0.96, 0.97, 0.98)
    print(f"  {'cosine at least':26s} {' '.join(f'{cut:>11.2f}' for cut in cuts)}   (of the same numbers)")
    for name, places, texts in tests:
        best, which = nearest(vectors("e5-small", texts), matrix)
        right = np.array([places is None or which[i] == places[i] for i in range(len(texts))])
        same = np.array([own[which[i]] == numbers(text) for i, text in enumerate(texts)])
        shown = [
            f"{np.mean(right & (best >= c)):.2f} ({np.mean(right & same & (best >= c)):.2f})" for c in cuts
        ]
        print(f"  {name:26s} {' '.join(f'{one:>11s}' for one in shown)}   {len(texts)}", flush=True)


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--sample", type=int, default=600)
    parser.add_argument("--hits", type=Path)
    parser.add_argument("--only", default="cost,recall,seeds")
    chosen = parser.parse_args()
    everything = items(chosen.data / "eval")
    if chosen.only != "paraphrases":
        config = DecontaminateConfig()
        start = time.process_time()
        state = build(everything, config)
        built = time.process_time()
        index = Index(state, config)
        size = sum(one.nbytes for one in state.values() if isinstance(one, pa.Table)) / 2**20
        print(
            f"{len(everything):,} items, {size:.0f} MB: built in {built - start:.1f} CPU s, "
            f"loaded in {time.process_time() - built:.2f}",
            flush=True,
        )
    if "recall" in chosen.only:
        replaced = recall(index, everything, chosen.sample)
    if "seeds" in chosen.only:
        hits = seeds(index, everything, chosen.data, chosen.hits)
    if {"recall", "seeds"} <= set(chosen.only.split(",")):
        cuts(hits, replaced)
    if "paraphrases" in chosen.only:
        reworded(everything, chosen.data)


if __name__ == "__main__":
    main()
