"""From labelled examples to the classifiers and the difficulty meter of a run as plain state, and back.

One classifier for each of `HEADS` that has enough examples. Knows nothing of records, samples or shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.annotation.bulk import HEADS
from boostqa.annotation.difficulty import Item
from boostqa.annotation.levels import Levelled, LevelMeter, fit_levels, level_meter
from boostqa.annotation.trust import share_of
from boostqa.taxonomy import OTHER

if TYPE_CHECKING:
    from boostqa.annotation.classifier import Classifier, Encoder

FITTED = "fitted"
FIT_CHARS = 4000
"""Characters of a text that a classifier reads: the beginning says what it is about."""
_LEAST = 10
"""Examples of a head under which nothing is fitted for it."""
_SPOKEN = 5
"""Examples of a language from which on the classifiers may guess in it."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A text with the labels that count for it."""

    id: str
    text: str
    language: str | None
    labels: Mapping[str, str | None]
    """By the names of `HEADS`; None or `Other` where there is none."""
    item: Item
    """What the difficulty meter reads of it."""


def distilled(
    examples: Sequence[Example], least: int, encoder: Callable[[], Encoder | None]
) -> dict[str, Any]:
    """Classifiers of the examples, whatever their order.

    The state has `classifier` (fitted, or why not), `languages`, `heads` and `meter`, and their weights as tables.

    Args:
        examples: with a field each.
        least: examples without which nothing is fitted (`annotate.min_fit`).
        encoder: gives the sentence vectors to read beside the words, or None; called only where something is fitted.
    """
    ordered = sorted(examples, key=lambda example: example.id)
    spoken = Counter(example.language for example in ordered)
    languages = sorted(name for name, count in spoken.items() if name and count >= _SPOKEN)
    state: dict[str, Any] = {"languages": languages, "heads": {}}
    if len(ordered) < least:
        why = f"not fitted: {len(ordered)} labelled items, annotate.min_fit is {least}"
        return state | {"classifier": why}
    for head in HEADS:
        state |= _head(head, ordered, state["heads"], encoder)
    known = [
        Levelled(id=example.id, item=example.item, level=level)
        for example in ordered
        if (level := example.labels["level"])
    ]
    state["meter"], weights = fit_levels(known)
    if weights is not None:
        state["meter_weights"] = weights
    return state | {"classifier": FITTED}


def _head(
    head: str, examples: Sequence[Example], heads: dict[str, Any], encoder: Callable[[], Encoder | None]
) -> dict[str, Any]:
    from boostqa.annotation.classifier import fit

    known = [(example.text, name) for example in examples if (name := example.labels[head] or OTHER) != OTHER]
    if len({name for _, name in known}) < 2 or len(known) < _LEAST:
        heads[head] = {"fitted": False, "examples": len(known)}
        return {}
    classifier, trial = fit([text for text, _ in known], [name for _, name in known], encoder=encoder())
    plain = classifier.to_state()
    weights = plain.pop("weights")
    heads[head] = plain | {
        "fitted": True,
        "examples": len(known),
        "tested": share_of(trial.correct, len(trial.truth)),
        "calibration_error": round(trial.calibration_error, 4),
    }
    return {f"{head}_weights": weights}


def meter_of(state: Mapping[str, Any]) -> LevelMeter | None:
    """The difficulty meter in what `distilled` gave; None where none was fitted."""
    found = state.get("meter", {})
    return level_meter(found, state["meter_weights"]) if found.get("fitted") else None


def classifiers(state: Mapping[str, Any], encoder: Callable[[], Encoder | None]) -> dict[str, Classifier]:
    """The classifiers in what `distilled` gave, by head; none where none was fitted."""
    from boostqa.annotation.classifier import Classifier

    return {
        head: Classifier.from_state(
            plain | {"weights": state[f"{head}_weights"]}, encoder() if plain.get("encoder") else None
        )
        for head, plain in state["heads"].items()
        if plain["fitted"]
    }
