"""How far a labelling model is to be believed: its agreement with gold labels, and its confidence put right by them.

Over rows of plain data, one an item, with the model's labels under their names and gold ones under `gold_...`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from boostqa.annotation.bulk import HEADS
from boostqa.taxonomy import levels
from boostqa.text.intervals import wilson

CALIBRATED = 50
"""Items with a gold field from which the model's confidence is calibrated."""


def agreement_with_gold(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Model against gold, per label: items with both, how many agree, the share and its 95% interval."""
    found = {}
    for head in ("discipline", *HEADS):
        both = [row for row in rows if row[head] and row[f"gold_{head}"] and row["labeller"]]
        found[head] = share_of(sum(row[head] == row[f"gold_{head}"] for row in both), len(both))
    order = [entry.name for entry in levels()]
    told = [(row["level"], row["gold_level"]) for row in rows if row["level"] and row["gold_level"]]
    gaps = [abs(order.index(own) - order.index(gold)) for own, gold in told]
    found["level"]["within_one"] = sum(gap <= 1 for gap in gaps)
    return found


def confidence_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How far the model's confidence in its field is from being right, and the curve that mends it.

    With fewer than `CALIBRATED` items with gold there is no curve: the confidence stays as the model said it.
    """
    both = [row for row in rows if row["gold_field"] and row["field"] and row["confidence"] is not None]
    found: dict[str, Any] = {"n": len(both), "curve": None, "error": None, "error_after": None}
    if not both:
        return found
    import numpy as np

    from boostqa.annotation.classifier import curved, platt
    from boostqa.annotation.evaluation import calibration_error

    said = np.array([row["confidence"] for row in both])
    hit = np.array([row["field"] == row["gold_field"] for row in both])
    found["error"] = round(calibration_error(said, hit), 4)
    if len(both) >= CALIBRATED:
        curve = platt(said, hit)
        found |= {"curve": list(curve), "error_after": round(calibration_error(curved(said, curve), hit), 4)}
    return found


def calibrated(said: float | None, curve: Sequence[float] | None) -> float | None:
    """A model's confidence moved along the curve; unchanged where there is none."""
    if said is None or curve is None:
        return said
    import numpy as np

    from boostqa.annotation.classifier import curved

    return round(float(curved(np.array([said]), (curve[0], curve[1]))[0]), 4)


def share_of(correct: int, n: int) -> dict[str, Any]:
    """A share with its 95% interval, as plain data; None without items."""
    low, high = wilson(correct, n)
    return {"n": n, "correct": correct, "share": correct / n if n else None, "low": low, "high": high}


def reliability(pairs: Mapping[tuple[str, str], int]) -> dict[str, Any] | None:
    """How far two meters of difficulty agree: (level by one, level by the other) -> items; only H1..H5 count.

    Items, how many of them have equal levels and how many differ by one at most, and Spearman's rank correlation. None
    without an item that has both.
    """
    order = [entry.name for entry in levels()]
    table = [[pairs.get((one, other), 0) for other in order] for one in order]
    n = sum(map(sum, table))
    if not n:
        return None
    places = range(len(order))
    near = sum(table[i][j] for i in places for j in places if abs(i - j) <= 1)
    rows, columns = [sum(row) for row in table], [sum(row[j] for row in table) for j in places]
    first, second = _mean_ranks(rows), _mean_ranks(columns)
    centre = (n - 1) / 2
    both = sum(table[i][j] * (first[i] - centre) * (second[j] - centre) for i in places for j in places)
    one = sum(rows[i] * (first[i] - centre) ** 2 for i in places)
    other = sum(columns[j] * (second[j] - centre) ** 2 for j in places)
    rho = both / math.sqrt(one * other) if one and other else None
    return {"n": n, "same": sum(table[i][i] for i in places), "near": near, "spearman": rho}


def _mean_ranks(counts: Sequence[int]) -> list[float]:
    """Mean rank, from 0, of the items of each of some rising values."""
    found, below = [], 0
    for count in counts:
        found.append(below + (count - 1) / 2)
        below += count
    return found
