"""Levels of items that nobody labelled: the classifier's, the distilled meter's, and a small model's own.

python benchmarks/levels.py [--data ../shared/data] [--llm N]

Items with gold levels, one of each group of near duplicates: some teach, others are tested. The meter is read as in
a run (`annotation/levels.py`: cut so that levels come out as often as they are) and, to compare, by rounding.
`--llm N` asks the embedded SmolLM2-135M for the levels of N items of each set, under the rubric of the annotator's
second pass; it needs `boostqa[embedded]` and takes a second or more of processor time for an item.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from annotation import SCALES, groups, read
from boostqa.annotation.classifier import fit
from boostqa.annotation.difficulty import Item
from boostqa.annotation.evaluation import spearman
from boostqa.annotation.levels import Levelled, fit_levels, level_meter
from boostqa.flows.label import label
from boostqa.identity import unit
from boostqa.llm import embedded
from boostqa.llm.clients import Address, Clients
from boostqa.llm.config import ModelConfig
from boostqa.record import Labels, Record

WORDS = {"easy": 0, "middle": 1, "hard": 2}
NAMES = ("MATH levels 1-5", "SuperGPQA easy-hard", "TAL-SCQ5K 0-4, English", "TAL-SCQ5K 0-4, Chinese")
TAUGHT, TESTED = 2000, 2500
HEAD = (
    f"{'set':24} {'level by':28} {'n':>5} {'spearman':>8} {'equal':>6} {'within 1':>8}  share of each level"
)


def rows_of(data: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a set with `place`, its level from 0, one of each group of near duplicates, in the order of a hash."""
    rows = [row for part in SCALES[name][0] for row in read(data, part) if row["level"] is not None]
    leader = groups([row["question"] for row in rows], [row["id"] for row in rows])
    rows = [row for i, row in enumerate(rows) if leader[i] == i]
    least = min(WORDS.get(row["level"], row["level"]) for row in rows)
    rows = [row | {"place": int(WORDS.get(row["level"], row["level"])) - int(least)} for row in rows]
    return sorted(rows, key=lambda row: unit("level", row["id"]))


def item_of(row: dict[str, Any], *, solved: bool = True) -> Item:
    """What the meter reads."""
    return Item(row["question"], row["choices"] or (), (row.get("solution") or "") if solved else "")


def told(name: str, by: str, found: Sequence[int], truth: Sequence[int]) -> None:
    """Prints one line of the table."""
    gap = np.abs(np.array(found) - np.array(truth))
    shares = " ".join(f"{np.mean(np.array(found) == place):.2f}" for place in sorted(set(truth)))
    rank = spearman(found, truth)[0] if len(set(found)) > 1 else float("nan")
    print(
        f"{name:24} {by:28} {len(found):5} {rank:8.3f} {np.mean(gap == 0):6.3f} {np.mean(gap <= 1):8.3f}  {shares}",
        flush=True,
    )


def distilled(name: str, rows: list[dict[str, Any]]) -> None:
    """Classifier and meter, fitted to some of the items and tested on others."""
    taught = min(TAUGHT, 2 * len(rows) // 3)
    known, new = rows[:taught], rows[taught : taught + TESTED]
    truth = [row["place"] for row in new]
    told(name, "(gold)", truth, truth)
    texts = [item_of(row, solved=False).text for row in rows]
    model, _ = fit(texts[:taught], [str(row["place"]) for row in known])
    best = model.predict(texts[taught : taught + len(new)]).argmax(axis=1)
    told(name, "classifier", [int(model.labels[k]) for k in best], truth)
    for solved in (True, False):
        examples = [
            Levelled(id=row["id"], item=item_of(row, solved=solved), level=f"H{row['place'] + 1}")
            for row in known
        ]
        begun = time.process_time()
        state, weights = fit_levels(examples)
        fitted = time.process_time()
        assert weights is not None
        shown = level_meter(state, weights).predict([item_of(row, solved=solved) for row in new])
        read_in = time.process_time() - fitted
        way = "with solutions" if solved else "question alone"
        told(name, f"meter, {way}", [int(level[1]) - 1 for _, level in shown], truth)
        most = max(truth)
        told(name, f"  rounded, {way}", [min(most, max(0, round(v) - 1)) for v, _ in shown], truth)
        size = np.mean([len(item_of(row, solved=solved).text) for row in new])
        print(
            f"  fitted in {fitted - begun:.1f} s; {len(new) / read_in:,.0f} items of {size:.0f} characters a second"
        )


async def asked(sets: dict[str, list[dict[str, Any]]], server: embedded.EmbeddedServer) -> None:
    """The embedded model's levels."""
    config = ModelConfig(base_url="embedded")
    places = {"small": Address(server.url, server.api_key)}
    async with Clients({"small": config}, addresses=places) as clients:
        model = clients.model("small", "annotator")
        for name, rows in sets.items():
            records = [
                Record(
                    id=row["id"],
                    kind="seed",
                    question=row["question"],
                    choices=row["choices"] or [],
                    answer=str(row["answer"] or ""),
                    solution=row.get("solution") or "",
                )
                for row in rows
            ]
            known = Labels(field="Mathematics")  # so that the field is not asked for
            found = await asyncio.gather(*(label(model, r, passes=2, known=known) for r in records))
            pairs = [
                (int(one.labels.level[1]) - 1, row["place"])
                for one, row in zip(found, rows, strict=True)
                if one.labels.level
            ]
            failed = len(rows) - len(pairs)
            told(name, f"SmolLM2-135M, {failed} failed", [p[0] for p in pairs], [p[1] for p in pairs])


def main() -> None:
    """Parses words and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--llm", type=int, default=0, metavar="N", help="items of each set for the small model"
    )
    parser.add_argument("--only", nargs="*", default=NAMES, help="sets to use; default: all")
    given = parser.parse_args()
    sets = {name: rows_of(given.data, name) for name in given.only}
    print(HEAD)
    for name, rows in sets.items():
        distilled(name, rows)
    if given.llm:
        used = time.perf_counter()
        with embedded.serve() as server:
            asyncio.run(asked({name: rows[-given.llm :] for name, rows in sets.items()}, server))
        print(f"the small model took {time.perf_counter() - used:.0f} s")


if __name__ == "__main__":
    main()
