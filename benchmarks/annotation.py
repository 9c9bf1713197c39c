"""Labels against gold: discipline and field by cross-validation, level and grade by rank correlation, speed.

python benchmarks/annotation.py PART... [--data ../shared/data] [--encoder] [--folds 5] [--keep FOLDER]

PART is `fields`, `tasks` (the subjects of MMLU-Pro, MMLU and CMMLU, each on its own), `transfer` (each benchmark left
out in turn), `active` (what a second, chosen sample brings), `levels` or `speed`; without one, all. The gold is the
public benchmarks of `../shared/data`, whose subjects the crosswalk of the taxonomy maps to fields; nothing of them is
kept. Items that are near duplicates (MinHash over questions, Jaccard from 0.5) or translations of each other are one
group, and no group is on both sides. The plain baseline (tf-idf of words and pairs of words, logistic regression of
scikit-learn) runs in the same folds and needs `pip install scikit-learn`; `--encoder` needs `boostqa[encoder]` and
an hour. `--folds 2` tests two folds of the five, `--only ceval m3ke` the named benchmarks (of `tasks` and `transfer`).
Results of folds and sentence vectors stay in the folder `--keep` and are not made again from there: empty it when the
classifier changes.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from boostqa.annotation import bulk, difficulty, evaluation, features
from boostqa.annotation.classifier import Classifier, fit, load, save
from boostqa.grouping import components, pairs
from boostqa.identity import unit
from boostqa.taxonomy import crosswalk
from boostqa.taxonomy import load as load_taxonomy
from boostqa.text.minhash import band_hashes, signatures
from boostqa.text.normalise import words

FOLDS = 5
SETS = {
    "mmlu": ("eval/mmlu",),
    "mmlu_pro": ("eval/mmlu_pro",),
    "supergpqa": ("eval/supergpqa",),
    "cmmlu": ("eval/cmmlu",),
    "ceval": ("eval/ceval",),
    "m3ke": ("seeds/qa/m3ke",),
    "xiezhi": ("eval/xiezhi", "seeds/qa/xiezhi_train_eng", "seeds/qa/xiezhi_train_chn"),
}
TREE = load_taxonomy()


def read(data: Path, name: str) -> list[dict[str, Any]]:
    """Rows of one set."""
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def field_of(benchmark: str, row: dict[str, Any]) -> str | None:
    """The one field that the benchmark's own labels name; None where they name none or several."""
    if benchmark == "xiezhi":
        found = {crosswalk("xiezhi", name) for name in row["labels"]["disciplines"]} - {None}
        return found.pop() if len(found) == 1 else None
    return crosswalk(benchmark, row["meta"]["src"] if benchmark == "mmlu_pro" else row["subject"])


def text_of(row: dict[str, Any]) -> str:
    """What a classifier reads of an item."""
    return "\n".join([row["question"], *(row["choices"] or [])])


def gold(data: Path) -> list[dict[str, Any]]:
    """Items with a field, each with the fold of its group."""
    items = []
    for benchmark, names in SETS.items():
        for row in (row for name in names for row in read(data, name)):
            field = field_of(benchmark, row)
            if field:
                known = {"discipline": TREE.parent(field), "benchmark": benchmark, "text": text_of(row)}
                items.append(
                    {**known, "field": field, "id": row["id"], "lang": row["lang"], "q": row["question"]}
                )
    group = groups([item["q"] for item in items], [item["id"] for item in items])
    for item, leader in zip(items, group, strict=True):
        item["group"] = items[leader]["id"]
        item["fold"] = int(unit("fold", item["group"]) * FOLDS)
    return items


def groups(questions: list[str], ids: list[str]) -> np.ndarray:
    """The first item of each item's group of near duplicates and translations (Xiezhi numbers both alike)."""
    signature = signatures(questions, n=3)
    bands = band_hashes(signature, 28)
    who = np.repeat(np.arange(len(questions), dtype=np.uint64), bands.shape[1])
    left, right = (
        side.astype(np.int64) for side in pairs(bands.ravel(), who, np.zeros(len(who), dtype=bool))
    )
    alike = (signature[left] == signature[right]).mean(axis=1) >= 0.5
    numbered = defaultdict(list)
    for place, name in enumerate(ids):
        if match := re.match(r"xiezhi_train_(?:eng|chn)/(\d+)", name):
            numbered[match[1]].append(place)
    twins = [places for places in numbered.values() if len(places) > 1]
    left = np.concatenate([left[alike], [places[0] for places in twins]]).astype(np.int64)
    right = np.concatenate([right[alike], [places[-1] for places in twins]]).astype(np.int64)
    return components(len(questions), left, right)


class Ours:
    """The bulk classifier, with sentence vectors or without."""

    def __init__(self, vectors: np.ndarray | None = None) -> None:
        self.name = "ours + encoder" if vectors is not None else "ours"
        self.vectors = vectors

    def __call__(
        self, items: list[dict[str, Any]], train: np.ndarray, test: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        """Labels, and a probability for each test item and label."""
        known: dict[str, Any] = {"groups": [items[i]["group"] for i in train]}
        if self.vectors is not None:
            known |= {"encoder": Given(self.vectors[test]), "vectors": self.vectors[train]}
        model, _ = fit([items[i]["text"] for i in train], [items[i]["field"] for i in train], **known)
        return list(model.labels), model.predict([items[i]["text"] for i in test])


SCALES: dict[str, tuple[tuple[str, ...], float]] = {
    "MATH levels 1-5": (("eval/math", "seeds/qa/math_train"), 0.50),
    "SuperGPQA easy-hard": (("eval/supergpqa",), 0.35),
    "TAL-SCQ5K 0-4, English": (("seeds/qa/tal_scq5k_en",), 0.35),
    "TAL-SCQ5K 0-4, Chinese": (("seeds/qa/tal_scq5k_zh",), 0.35),
    "ASDiv grades 1-6": (("seeds/qa/asdiv",), 0.60),
    "CMATH grades 1-6": (("eval/cmath",), 0.60),
    "ScienceQA grades 1-12": (("seeds/qa/scienceqa",), 0.60),
}
"""Sets with levels or grades of their own, and the rank correlation that is aimed at."""


def scales(data: Path) -> None:
    """Rank correlation of the distilled meter with the sets' own levels, with and without worked solutions."""
    print(
        f"\n{'set':24} {'n':>6}  aim   with solutions         question alone         length of the question"
    )
    words_for = {"easy": 0.0, "middle": 1.0, "hard": 2.0}
    for name, (sets, aim) in SCALES.items():
        rows = [row for part in sets for row in read(data, part) if row["level"] is not None]
        level = [float(words_for.get(row["level"], row["level"])) for row in rows]
        leader = groups([row["question"] for row in rows], [row["id"] for row in rows])
        fold = np.array([int(unit("fold", rows[k]["id"]) * FOLDS) for k in leader])
        asked = ["\n".join(filter(None, (row["question"], row.get("passage")))) for row in rows]
        whole = [
            difficulty.Item(q, row["choices"] or (), row.get("solution") or "")
            for q, row in zip(asked, rows, strict=True)
        ]
        bare = [difficulty.Item(item.question, item.choices) for item in whole]
        lines = [f"{name:24} {len(rows):6}  {aim:.2f}"]
        for items in (whole, bare):
            found = np.zeros(len(rows))
            for k in range(FOLDS):
                inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
                meter = difficulty.fit_meter(
                    [items[i] for i in inside],
                    [level[i] for i in inside],
                    [rows[leader[i]]["id"] for i in inside],
                )
                found[outside] = meter.predict([items[i] for i in outside])
            lines.append("{:.3f} ({:.3f}-{:.3f})  ".format(*evaluation.spearman(found, level)))
        lines.append(f"{evaluation.spearman([len(q) for q in asked], level)[0]:.3f}")
        print("  ".join(lines), flush=True)


class Given:
    """Vectors that are there already, in the order in which they are asked for."""

    name = "given"

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def encode(self, texts: Any) -> np.ndarray:
        """As an encoder's."""
        return self.vectors


class Plain:
    """tf-idf of words (Chinese: characters) and their pairs, twice or oftener, logistic regression."""

    name = "tf-idf + LR"

    def __call__(
        self, items: list[dict[str, Any]], train: np.ndarray, test: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        """Labels, and a probability for each test item and label."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        vectorizer = TfidfVectorizer(
            tokenizer=words, token_pattern=None, ngram_range=(1, 2), sublinear_tf=True, min_df=2
        )
        inputs = vectorizer.fit_transform([items[i]["text"] for i in train])
        model = LogisticRegression(C=10, tol=1e-3, max_iter=60).fit(
            inputs, [items[i]["field"] for i in train]
        )
        return list(model.classes_), model.predict_proba(
            vectorizer.transform([items[i]["text"] for i in test])
        )


class Majority:
    """Always the most frequent field."""

    name = "majority"

    def __call__(
        self, items: list[dict[str, Any]], train: np.ndarray, test: np.ndarray
    ) -> tuple[list[str], np.ndarray]:
        """Labels, and a probability for each test item and label."""
        count = Counter(items[i]["field"] for i in train)
        names = sorted(count)
        return names, np.tile([count[name] / len(train) for name in names], (len(test), 1))


def disciplines(names: list[str], chances: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Probabilities of fields summed to those of their disciplines."""
    above = sorted({TREE.parent(name) for name in names})
    sums = np.zeros((len(names), len(above)))
    sums[np.arange(len(names)), [above.index(TREE.parent(name)) for name in names]] = 1
    return above, chances @ sums


def row_of(
    items: list[dict[str, Any]], label: str, results: list[tuple[np.ndarray, list[str], np.ndarray]]
) -> dict[str, Any]:
    """Numbers over the tested items of all folds."""
    truth: list[str] = []
    guess: list[str] = []
    sure, best = [], []
    for test, names, chances in results:
        own = [items[i][label] for i in test]
        truth += own
        guess += [names[k] for k in chances.argmax(axis=1)]
        sure.append(chances.max(axis=1))
        best.append(evaluation.top_two(own, names, chances) * len(own))
    hit = np.array([a == b for a, b in zip(truth, guess, strict=True)])
    found = evaluation.agreement(truth, guess)
    error = evaluation.calibration_interval(np.concatenate(sure), hit)
    return {"agreement": found, "top_two": sum(best) / len(truth), "ece": error}


def told(name: str, part: str, label: str, row: dict[str, Any]) -> None:
    """Prints one line of the table."""
    a = row["agreement"]
    print(
        f"{name:16} {part:10} {label:10} {a.n:6} {a.accuracy:8.3f} ({a.low:.3f}-{a.high:.3f}) {a.kappa:7.3f} "
        f"{a.macro_f1:8.3f} ({a.macro_f1_low:.3f}-{a.macro_f1_high:.3f}) {row['top_two']:7.3f} "
        "{:6.3f} ({:.3f}-{:.3f})".format(*row["ece"]),
        flush=True,
    )


def show(
    name: str, items: list[dict[str, Any]], results: list[tuple[np.ndarray, list[str], np.ndarray]]
) -> None:
    """Prints a method's lines: discipline and field, all together and each language."""
    upper = [(test, *disciplines(names, chances)) for test, names, chances in results]
    for label, found in (("discipline", upper), ("field", results)):
        told(name, "all", label, row_of(items, label, found))
        for lang in ("en", "zh"):
            masks = [np.array([items[i]["lang"] == lang for i in test]) for test, _, _ in found]
            part = [(t[m], n, c[m]) for (t, n, c), m in zip(found, masks, strict=True) if m.any()]
            if part:
                told(name, lang, label, row_of(items, label, part))


HEAD = (
    "method           part       label           n accuracy   (95%)        kappa   macro-F1 (95%)       "
    "top-two    ECE (95%)"
)


def fold_of(
    method: Any, items: list[dict[str, Any]], fold: np.ndarray, k: int, keep: Path | None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The items tested in fold k, the labels, and a probability for each; read from `keep` where it is there."""
    test = np.flatnonzero(fold == k)
    path = keep / f"{method.name}, fold {k}.npz" if keep else None
    if path and path.exists():
        kept = np.load(path)
        return test, kept["names"].tolist(), kept["chances"]
    used = time.process_time()
    names, chances = method(items, np.flatnonzero(fold != k), test)
    used = time.process_time() - used
    print(f"{method.name}, fold {k}: {used:.0f} s of processor time", file=sys.stderr, flush=True)
    if path:
        np.savez(path, names=np.array(names), chances=chances.astype(np.float32), seconds=used)
    return test, names, chances


def fields(items: list[dict[str, Any]], methods: list[Any], folds: range, keep: Path | None) -> None:
    """Cross-validation of every method in the same folds, the confusions of each, and the rare fields."""
    fold = np.array([item["fold"] for item in items])
    groups_of = len({item["group"] for item in items})
    distinct = len({item["field"] for item in items})
    print(
        f"\n{len(items)} items in {groups_of} groups, {distinct} fields; {len(folds)} of {FOLDS} folds\n{HEAD}"
    )
    results: list[tuple[np.ndarray, list[str], np.ndarray]] = []
    for method in methods:
        results = [fold_of(method, items, fold, k, keep) for k in folds]
        show(method.name, items, results)
        wrong = row_of(items, "field", results)["agreement"].confused
        print(
            "  most confused (gold -> found):", "; ".join(f"{a} -> {b} {n}" for a, b, n in wrong), flush=True
        )
    count = Counter(item["field"] for item in items)
    print(
        "fields with fewer than 50 gold items:",
        "; ".join(f"{name} {n}" for name, n in sorted(count.items()) if n < 50),
    )


TASKS = {"mmlu_pro": 0.785, "mmlu": 0.777, "cmmlu": 0.729}
"""Accuracy of a plain tf-idf and logistic regression on the sets' own subjects, as published with the data."""


def tasks(data: Path, chosen: list[str], folds: range) -> None:
    """The subjects of three benchmarks, each on its own: majority, plain baseline and ours in the same folds."""
    print("\nbenchmark      tested subjects published  method           accuracy (95%)          kappa")
    for name, published in TASKS.items():
        if name not in chosen:
            continue
        rows = [row for part in SETS[name] for row in read(data, part)]
        leader = groups([row["question"] for row in rows], [row["id"] for row in rows])
        fold = np.array([int(unit("fold", rows[k]["id"]) * FOLDS) for k in leader])
        items = [
            {"text": text_of(row), "field": row["subject"], "group": rows[k]["id"]}
            for row, k in zip(rows, leader, strict=True)
        ]
        subjects = len({item["field"] for item in items})
        for method in (Majority(), Plain(), Ours()):
            results = [fold_of(method, items, fold, k, None) for k in folds]
            a = row_of(items, "field", results)["agreement"]
            print(
                f"{name:12} {a.n:8} {subjects:8} {published:9.3f}  {method.name:16} "
                f"{a.accuracy:.3f} ({a.low:.3f}-{a.high:.3f}) {a.kappa:8.3f}",
                flush=True,
            )


def active(items: list[dict[str, Any]]) -> None:
    """A first sample of labels, and as a second one the chosen items, or as many more taken at random; fold 0 tests."""
    print("\nfirst second  macro-F1 and accuracy of the field: first alone, second at random, second chosen")
    others = [item for item in items if item["fold"]]
    tested = [item for item in items if not item["fold"]]
    others.sort(key=lambda item: unit("active", item["id"]))
    rows = [features.rows([item["text"] for item in part]) for part in (others, tested)]
    truth = [item["field"] for item in tested]
    for first, second in ((500, 125), (2000, 500), (2000, 2000), (8000, 2000)):
        pool = others[first : first + max(20_000, 10 * second)]

        def fitted(chosen: list[dict[str, Any]]) -> Classifier:
            return fit(
                [i["text"] for i in chosen],
                [i["field"] for i in chosen],
                groups=[i["group"] for i in chosen],
            )[0]

        def shown(model: Classifier) -> str:
            best = model.predict([item["text"] for item in tested], rows[1]).argmax(axis=1)
            a = evaluation.agreement(truth, [model.labels[k] for k in best])
            return f"{a.macro_f1:.3f} {a.accuracy:.3f}"

        draft = fitted(others[:first])
        found = bulk.guesses(
            {"field": draft}, [i["text"] for i in pool], [i["lang"] for i in pool], {"en", "zh"}, 0.4, TREE
        )
        asked = [pool[k] for k in bulk.chosen(found, second)]
        print(
            f"{first:5} {second:6}  {shown(draft)}   {shown(fitted(others[: first + second]))}   "
            f"{shown(fitted(others[:first] + asked))}",
            flush=True,
        )


def transfer(items: list[dict[str, Any]], methods: list[Any], chosen: list[str]) -> None:
    """Each benchmark tested by what the others taught; groups with items in both are left out of the training."""
    print(f"\nleave one benchmark out\n{HEAD}")
    for name in chosen:
        test = np.array([i for i, item in enumerate(items) if item["benchmark"] == name])
        seen = {items[i]["group"] for i in test}
        train = np.array([i for i, item in enumerate(items) if item["group"] not in seen])
        for method in methods:
            result = (test, *method(items, train, test))
            for label, found in (("discipline", (test, *disciplines(*result[1:]))), ("field", result)):
                told(method.name, name, label, row_of(items, label, [found]))


def vectors_of(items: list[dict[str, Any]], cache: Path) -> np.ndarray:
    """Sentence vectors of all items, kept in a file of the user's choice between runs."""
    from boostqa.annotation.encoder import encoder

    if cache.exists():
        kept = np.load(cache)
        known = dict(zip(kept["ids"].tolist(), kept["vectors"], strict=True))
    else:
        known = {}
    missing = [item for item in items if item["id"] not in known]
    for first in range(0, len(missing), 512):
        part = missing[first : first + 512]
        known |= zip(
            [i["id"] for i in part], encoder("e5-small").encode([i["text"] for i in part]), strict=True
        )
        np.savez(cache, ids=np.array(list(known)), vectors=np.stack(list(known.values())).astype(np.float16))
        print(f"encoded {first + len(part)} of {len(missing)}", file=sys.stderr, flush=True)
    return np.stack([known[item["id"]] for item in items]).astype(np.float32)


def speed(items: list[dict[str, Any]]) -> None:
    """Texts per second of processor time, size on disk, seconds to load."""
    model, _ = fit([item["text"] for item in items], [item["field"] for item in items])
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model", {"field": model}, {})
        size = sum(path.stat().st_size for path in (Path(folder) / "model").iterdir()) / 1e6
        used = time.process_time()
        kept = load(Path(folder) / "model", lambda name: Given(np.zeros((0, 0))))[0]["field"]
        kept.predict(["once"])
        loading = time.process_time() - used
    print(f"\nmodel of {len(items)} items: {size:.1f} MB on disk, loaded in {loading:.2f} s")
    for name, texts in (
        ("English, 90-110 words", [i["text"] for i in items if 90 <= len(i["text"].split()) <= 110]),
        (
            "Chinese, 90-110 characters",
            [i["text"] for i in items if i["lang"] == "zh" and 90 <= len(i["text"]) <= 110],
        ),
    ):
        many = (texts * (4096 // len(texts) + 1))[:4096]
        best = min(timed(model, many) for _ in range(3))
        read_only = min(timed(None, many) for _ in range(3))
        print(
            f"{name}: {len(many) / best:.0f} texts/s and core ({len(many) / read_only:.0f} without the model)"
        )


def timed(model: Classifier | None, texts: list[str]) -> float:
    """Processor seconds of labelling the texts, or of reading them alone."""
    used = time.process_time()
    model.predict(texts) if model else features.rows(texts)
    return time.process_time() - used


def main() -> None:
    """Parses words and runs the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoder", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder of results of folds and sentence vectors")
    parser.add_argument(
        "--only", nargs="*", default=list(SETS), help="benchmarks of tasks, transfer; default: all"
    )
    parser.add_argument("--folds", type=int, default=FOLDS, help="folds that are tested, of five")
    given = parser.parse_args()
    parts = given.parts or ["fields", "tasks", "transfer", "active", "levels", "speed"]
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    if "levels" in parts:
        scales(given.data)
    if "tasks" in parts:
        tasks(given.data, given.only, range(given.folds))
    if not {"fields", "transfer", "active", "speed"} & set(parts):
        return
    items = gold(given.data)
    methods: list[Any] = [Majority(), Ours()]
    if given.encoder:
        methods.append(Ours(vectors_of(items, (given.keep or Path(".")) / "vectors.npz")))
    if importlib.util.find_spec("sklearn"):
        methods.append(Plain())
    if "fields" in parts:
        fields(items, methods, range(given.folds), given.keep)
    if "transfer" in parts:
        transfer(items, [method for method in methods if isinstance(method, Ours)], given.only)
    if "active" in parts:
        active(items)
    if "speed" in parts:
        speed(items)


if __name__ == "__main__":
    main()
