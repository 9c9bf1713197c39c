"""What a person sees of `boostqa annotate`: tables in the terminal or JSON, and numbers kept for a run's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from boostqa.errors import UserError
from boostqa.run import Run

KEPT = "annotation.json"
"""File in the run folder that holds the last evaluation against gold; derived, never read by a stage."""


def keep(run: Path, found: dict[str, Any]) -> None:
    """Puts an evaluation into the run folder, where the report finds it.

    Raises:
        UserError: if there is no run, or the folder cannot be written.
    """
    path = Run.open(run).root / KEPT
    try:
        path.write_bytes(msgspec.json.encode(found))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); check the folder") from None


def kept(run: Path) -> dict[str, Any] | None:
    """The evaluation in the run folder; None where there is none."""
    path = run / KEPT
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.exists() else None


def tell_fit(found: dict[str, Any], out: Path, *, as_json: bool) -> None:
    """What was fitted, and how it did on examples held out."""
    if as_json:
        _print_json(found)
        return
    for head, row in found["heads"].items():
        seen = row["held_out"]
        tested = (
            f"on {seen['n']:,} held out: accuracy {seen['accuracy']:.3f} ({seen['low']:.3f} to {seen['high']:.3f}), "
            f"kappa {seen['kappa']:.3f}, calibration error {row['calibration_error']:.3f}"
        )
        told = tested if seen["n"] else "nothing could be held out: too few different texts"
        print(f"{head}: {row['examples']:,} examples of {row['labels']} labels; {told}")
        if row["single"]:
            print(f"  left out, one example each: {', '.join(row['single'])}")
    _unusable(found)
    print(f"written: {out}")


_TITLES = (
    *("label", "language", "items", "accuracy", "95%", "kappa", "95%", "macro-F1", "95%"),
    *("top two", "calibration error", "95%"),
)


def tell_eval(found: dict[str, Any], *, as_json: bool) -> None:
    """Agreement with gold per label and language, confusions, rare labels."""
    if as_json:
        _print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in _TITLES:
        table.add_column(title, justify="left" if title in ("label", "language") else "right")
    for row in found["rows"]:
        table.add_row(
            row["label"],
            row["language"],
            f"{row['n']:,}",
            f"{row['accuracy']:.3f}",
            f"{row['low']:.3f}-{row['high']:.3f}",
            f"{row['kappa']:.3f}",
            f"{row['kappa_low']:.3f}-{row['kappa_high']:.3f}",
            f"{row['macro_f1']:.3f}",
            f"{row['macro_f1_low']:.3f}-{row['macro_f1_high']:.3f}",
            f"{row['top_two']:.3f}" if "top_two" in row else "",
            f"{row['calibration_error']:.3f}" if "calibration_error" in row else "",
            f"{row['calibration_low']:.3f}-{row['calibration_high']:.3f}"
            if "calibration_error" in row
            else "",
        )
    console = Console(highlight=False, markup=False, width=140, soft_wrap=True)
    console.print(table)
    for row in found["rows"]:
        if row["language"] == "all" and row["confused"]:
            console.print(f"{row['label']}, most confused (gold -> found):")
            for gold, guess, count in row["confused"]:
                console.print(f"  {gold} -> {guess}: {count}")
        if row["language"] == "all" and row["rare"]:
            rare = ", ".join(f"{name} {count}" for name, count in row["rare"])
            console.print(f"{row['label']}, fewer than 50 gold items: {rare}")
    right = (
        f", {found['answered_correct']:.1%} of them right" if found["answered_correct"] is not None else ""
    )
    console.print(
        f"with confidence {found['min_confidence']:g} or more: {found['answered']:.1%} get a field{right}; "
        f"the others are Other: {_counts(found['other'])}"
    )
    if found["fitted_on"]:
        console.print(f"left out, because the classifier was fitted on them: {found['fitted_on']:,}")
    _unusable(found)


def tell_apply(found: dict[str, Any], out: Path, *, as_json: bool) -> None:
    """How many rows were labelled, and why the others were not."""
    if as_json:
        _print_json(found)
        return
    print(f"{found['items']:,} items: {_counts(found['counts'])}")
    _unusable(found)
    print(f"written: {out}")


def tell_measure(found: dict[str, Any], out: Path, *, as_json: bool) -> None:
    """Abilities of the solvers."""
    if as_json:
        _print_json(found)
        return
    for name, row in found["solvers"].items():
        print(f"{name}: ability {row['ability']:+.2f}, slope {row['slope']:.2f}")
    print(f"{found['items']:,} items; written: {out}")


def _unusable(found: dict[str, Any]) -> None:
    if found["outside"]:
        print(f"labels outside the taxonomy, left out: {found['outside']:,}")
        for line in found["outside_labels"]:
            print(f"  {line}")
    if found["empty"]:
        print(f"rows without question and text, left out: {found['empty']:,}")
    if found["bad_rows"]:
        print(f"rows that could not be read: {found['bad_rows']:,}")
        for line in found["bad"]:
            print(f"  {line}")


def _counts(count: dict[str, int]) -> str:
    return (
        ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in sorted(count.items())) or "none"
    )


def _print_json(found: dict[str, Any]) -> None:
    print(msgspec.json.encode(found).decode())
