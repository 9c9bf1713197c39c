"""`boostqa annotate fit | eval | apply | measure`: labels, their classifier and their quality on their own.

Each function does one command and returns or writes its result as plain data; `cli.py` only parses words. A fitted
classifier is a folder that also holds what `eval` and `apply` must know of it: its taxonomy, the languages of its
examples, and the hashes of their texts, so that nothing is tested on what it was fitted on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from boostqa.annotation.bulk import HEADS, Choice, Guess, guesses
from boostqa.annotation.evaluation import agreement, calibration_interval, spearman
from boostqa.annotation.gold import Item, Items, Sink, read_items, stream_items
from boostqa.errors import UserError
from boostqa.identity import digest
from boostqa.taxonomy import OTHER, Discipline, Field, Taxonomy, levels, load
from boostqa.text.normalise import fold

LABELS = ("discipline", "field", "level", "grade")
_BLOCK = 4096
"""Rows that are labelled together."""
_LANGUAGE_ITEMS = 5
"""Examples that make a language known."""


def fit_model(
    paths: Sequence[Path],
    out: Path,
    *,
    taxonomy: Path | None = None,
    benchmark: str | None = None,
    encoder: str | None = None,
) -> dict[str, Any]:
    """Fits a classifier for every label that the files have, and writes it to the folder `out`.

    Returns, per label, its examples, how it did on those held out, and the labels left out for having one example.

    Raises:
        UserError: if a file cannot be used, or no label has two values with two examples each in ten rows.
    """
    from boostqa.annotation import classifier
    from boostqa.annotation.encoder import encoder as made

    tree = load(taxonomy)
    read = read_items(paths, tree, benchmark)
    found: dict[str, Any] = {"items": len(read.items), "heads": {}, **_unusable(read)}
    heads = {}
    for head in HEADS:
        known = [item for item in read.items if head in item.labels]
        count = Counter(item.labels[head] for item in known)
        single = sorted(name for name, n in count.items() if n == 1)
        usable = [item for item in known if count[item.labels[head]] > 1]
        if len(usable) < 10 or len({item.labels[head] for item in usable}) < 2:
            continue
        texts, labels = [item.text for item in usable], [item.labels[head] for item in usable]
        groups = [fold(item.text) for item in usable]
        heads[head], trial = classifier.fit(
            texts, labels, groups=groups, encoder=made(encoder) if encoder else None
        )
        seen = agreement(trial.truth, trial.guess)
        found["heads"][head] = {
            "examples": len(usable),
            "labels": len(set(labels)),
            "single": single,
            "held_out": msgspec.to_builtins(seen) | {"accuracy": seen.accuracy},
            "calibration_error": trial.calibration_error,
        }
    if not heads:
        raise UserError(
            f"{', '.join(map(str, paths))}: nothing to fit: none of {', '.join(HEADS)} has two labels with "
            f"two examples each in ten rows; {_hint(read)}"
        )
    spoken = Counter(item.language for item in read.items if item.labels)
    about = {
        "languages": sorted(code for code, n in spoken.items() if code and n >= _LANGUAGE_ITEMS),
        "disciplines": tree.disciplines,
        "fields": tree.fields,
        "texts": sorted({_mark(item) for item in read.items if item.labels}),
    }
    classifier.save(out, heads, about)
    return found


def eval_model(
    paths: Sequence[Path],
    model: Path,
    *,
    taxonomy: Path | None = None,
    benchmark: str | None = None,
    min_confidence: float = 0.4,
) -> dict[str, Any]:
    """How the classifier in the folder `model` agrees with the labels of the files, over all and per language.

    The taxonomy is the one that it was fitted with, unless another file is given.
    Items that it was fitted on are left out and counted. A field under `min_confidence` counts as `Other`, so as wrong.

    Raises:
        UserError: if a file or the model cannot be used, or no item is left.
    """
    heads, about, tree = _loaded(model)
    tree = load(taxonomy) if taxonomy else tree
    read = read_items(paths, tree, benchmark)
    seen = set(about["texts"])
    items = [item for item in read.items if item.labels and _mark(item) not in seen]
    left_out = sum(bool(item.labels) for item in read.items) - len(items)
    if not items:
        raise UserError(
            f"{', '.join(map(str, paths))}: no labelled item that {model} was not fitted on; {_hint(read)}"
        )
    # Without the threshold: it is a choice of the user's, and its effect is told apart.
    free = _guessed(heads, about, items, 0.0, tree)
    strict = _guessed(heads, about, items, min_confidence, tree)
    languages = [None, *sorted({item.language for item in items if item.language})]
    rows = []
    for code in languages:
        chosen = [k for k, item in enumerate(items) if code is None or item.language == code]
        rows += _rows([items[k] for k in chosen], [free[k] for k in chosen], code or "all")
    answered = [guess for guess in strict if guess.field not in (None, OTHER)]
    return {
        "items": len(items),
        "fitted_on": left_out,
        **_unusable(read),
        "rows": rows,
        "min_confidence": min_confidence,
        "answered": len(answered) / len(items),
        "answered_correct": _correct(items, strict),
        "other": dict(Counter(guess.why for guess in strict if guess.why)),
    }


def apply_model(
    paths: Sequence[Path],
    model: Path,
    out: Path,
    *,
    taxonomy: Path | None = None,
    min_confidence: float = 0.4,
    ask: int = 0,
) -> dict[str, Any]:
    """Labels every row of the files and writes them to `out` (JSON lines or .parquet), in the order of the rows.

    Rows are read, labelled and written in blocks, so that memory does not grow with them. The taxonomy is the one that
    the classifier was fitted with, unless another file is given. `ask` rows, those that a model's labels would help
    most, are marked with `"ask": true` (`bulk.Choice`).

    Raises:
        UserError: if a file or the model cannot be used, or `out` cannot be written.
    """
    heads, about, tree = _loaded(model)
    tree = load(taxonomy) if taxonomy else tree
    read, count, choice = Items(), Counter[str](), Choice(ask)
    items = stream_items(paths, tree, read)
    with Sink(out) as sink:
        while block := list(islice(items, _BLOCK)):
            found = _guessed(heads, about, block, min_confidence, tree)
            rows = []
            for item, guess in zip(block, found, strict=True):
                choice.add(guess)
                count[guess.why or "labelled"] += 1
                stem = tree.stem(guess.field) if guess.field not in (None, OTHER) else None
                rows.append(
                    {"id": item.id, "language": item.language, **msgspec.to_builtins(guess), "stem": stem}
                )
            sink.write(rows)
        sink.mark(choice.places())
    return {"items": count.total(), "counts": dict(count), **_unusable(read)}


def measure(paths: Sequence[Path], out: Path, model: str = "1PL") -> dict[str, Any]:
    """Difficulty of items from who solved them: JSON lines `id, solver, solved, tried` in, `id, difficulty, ...` out.

    Raises:
        UserError: if a row is not of that form, there is nothing to measure, or `out` cannot be written.
    """
    import numpy as np

    from boostqa.annotation import irt

    counts: dict[tuple[str, str], list[float]] = {}
    for path in paths:
        for number, row in _lines(path):
            try:
                key, solved, tried = (
                    (str(row["id"]), str(row["solver"])),
                    float(row["solved"]),
                    float(row["tried"]),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path}:{number}: needs id, solver, solved and tried ({error!r})") from None
            if not 0 <= solved <= tried < math.inf:
                raise UserError(
                    f"{path}:{number}: solved {solved:g} is not between 0 and tried {tried:g}; give counts"
                )
            kept = counts.setdefault(key, [0.0, 0.0])
            kept[0], kept[1] = kept[0] + solved, kept[1] + tried
    names, solvers = sorted({a for a, _ in counts}), sorted({b for _, b in counts})
    if not names:
        raise UserError(f"{', '.join(map(str, paths))}: no attempts; each line is one item and one solver")
    item_place, solver_place = ({name: i for i, name in enumerate(part)} for part in (names, solvers))
    solved_of, tried_of = np.zeros((len(names), len(solvers))), np.zeros((len(names), len(solvers)))
    for (item, solver), (solved, tried) in counts.items():
        where = item_place[item], solver_place[solver]
        solved_of[where], tried_of[where] = solved, tried
    fit = irt.fit(solved_of, tried_of, "2PL" if model == "2PL" else "1PL")
    found, spread = irt.level_scores(fit.difficulty, fit.error, irt.CUTS)
    encoder = msgspec.json.Encoder()
    try:
        with out.open("wb") as file:
            for i, name in enumerate(names):
                row = {
                    "id": name,
                    "difficulty": round(float(fit.difficulty[i]), 4),
                    "se": round(float(fit.error[i]), 4),
                    "level_measured": f"H{found[i]}",
                    "level_se": round(float(spread[i]), 4),
                    "tried": float(tried_of[i].sum()),
                }
                file.write(encoder.encode(row) + b"\n")
    except OSError as problem:
        raise UserError(f"{out}: cannot be written ({problem.strerror}); choose another file") from None
    abilities = {
        name: {"ability": float(a), "slope": float(b)}
        for name, a, b in zip(solvers, fit.ability, fit.slope, strict=True)
    }
    return {"items": len(names), "solvers": abilities, "steps": fit.steps}


def _lines(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield number, msgspec.json.decode(line, type=dict[str, Any])
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        raise UserError(f"{path}:{number}: is not a JSON object ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _loaded(model: Path) -> tuple[dict[str, Any], dict[str, Any], Taxonomy]:
    """Classifiers by head, what was said about them, and the taxonomy of their labels."""
    from boostqa.annotation import classifier
    from boostqa.annotation.encoder import encoder

    heads, about = classifier.load(model, encoder)
    try:
        disciplines = msgspec.convert(about["disciplines"], tuple[Discipline, ...])
        fields = msgspec.convert(about["fields"], tuple[Field, ...])
    except (KeyError, msgspec.ValidationError) as error:
        raise UserError(
            f"{model}: holds no taxonomy ({error!r}); make the classifier again with `boostqa annotate fit`"
        ) from None
    return heads, about, Taxonomy(str(model / "model.json"), disciplines, fields)


def _guessed(
    heads: dict[str, Any], about: dict[str, Any], items: Sequence[Item], least: float, tree: Taxonomy
) -> list[Guess]:
    texts, languages = [item.text for item in items], [item.language for item in items]
    return guesses(heads, texts, languages, about["languages"], least, tree)


def _mark(item: Item) -> str:
    return digest("text", fold(item.text))[:16]


def _rows(items: Sequence[Item], found: Sequence[Guess], language: str) -> list[dict[str, Any]]:
    """One row for each label that both sides have."""
    import numpy as np

    rows = []
    for label in LABELS:
        both = [(i, g) for i, g in zip(items, found, strict=True) if label in i.labels and getattr(g, label)]
        if not both:
            continue
        gold, guess = [i.labels[label] for i, _ in both], [getattr(g, label) for _, g in both]
        seen = agreement(gold, guess)
        row = {"label": label, "language": language, **msgspec.to_builtins(seen), "accuracy": seen.accuracy}
        if label == "field":
            hit = np.array([a == b for a, b in zip(gold, guess, strict=True)])
            error, low, high = calibration_interval(np.array([g.confidence for _, g in both]), hit)
            row |= {"calibration_error": error, "calibration_low": low, "calibration_high": high}
            row["top_two"] = sum(
                a in (b, g.second) for a, b, (_, g) in zip(gold, guess, both, strict=True)
            ) / len(both)
        if label == "level":
            order = [entry.name for entry in levels()]
            row["spearman"] = spearman([order.index(a) for a in gold], [order.index(b) for b in guess])[0]
        rows.append(row)
    return rows


def _correct(items: Sequence[Item], found: Sequence[Guess]) -> float | None:
    """Share of right fields among those that were given one; None without any."""
    hits = [
        guess.field == item.labels["field"]
        for item, guess in zip(items, found, strict=True)
        if guess.field not in (None, OTHER) and "field" in item.labels
    ]
    return sum(hits) / len(hits) if hits else None


def _unusable(read: Items) -> dict[str, Any]:
    return {
        "outside": sum(read.outside.values()),
        "outside_labels": read.outside_lines(),
        "bad_rows": read.bad_count,
        "bad": read.bad,
        "empty": read.empty,
    }


def _hint(read: Items) -> str:
    if read.outside:
        return f"labels outside the taxonomy: {'; '.join(read.outside_lines(5))}"
    return "labels stand in the columns field, discipline, level and grade"
