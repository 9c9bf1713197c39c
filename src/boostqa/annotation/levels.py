"""The difficulty meter of a run: fitted to items whose level is known, and cut back into levels.

The meter gives a number; a mean of many guesses lies in the middle, so that rounding it would make nearly every item
H3. The cuts are therefore set where levels come out as often as among the known ones. A fifth of the examples, kept
out of the fit, sets the cuts; another fifth, kept out of both, says how far the levels are to be believed. The meter
that is used is then fitted to all. Knows nothing of records, stages or the rule by which a level counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.annotation.difficulty import Item, Meter, fit_meter
from boostqa.annotation.trust import reliability
from boostqa.identity import unit
from boostqa.taxonomy import levels

if TYPE_CHECKING:
    import pyarrow as pa

LEAST = 100
"""Items with a level without which no meter is fitted."""
_PARTS = 5
_WIDE = 0.5
"""Levels between two neighbouring items that the meter tells apart."""


class Levelled(msgspec.Struct, frozen=True, kw_only=True):
    """An item whose level is known."""

    id: str
    item: Item
    level: str
    """H1..H5."""


@dataclass(frozen=True)
class LevelMeter:
    """A meter with its cuts."""

    meter: Meter
    names: tuple[str, ...]
    """The levels that the examples had, rising."""
    cuts: tuple[float, ...]
    """Between one of `names` and the next, on the meter's scale, where H1 is 1 and H5 is 5."""

    def predict(self, items: Sequence[Item]) -> list[tuple[float, str]]:
        """What the meter shows, and the level that this makes, of each item."""
        import numpy as np

        if not items:
            return []
        shown = self.meter.predict(items)
        places = np.searchsorted(np.array(self.cuts), shown, side="right").tolist()
        return [(round(float(value), 4), self.names[k]) for value, k in zip(shown, places, strict=True)]


def fit_levels(examples: Sequence[Levelled]) -> tuple[dict[str, Any], pa.Table | None]:
    """A meter as plain state and its weights; without weights where there is too little to fit it to.

    The state has `examples` and `fitted`; where it is fitted also `held_out`: the agreement (`trust.reliability`) of
    known and metered level on items of no part in the fit.
    """
    found: dict[str, Any] = {"examples": len(examples), "fitted": False}
    parts: dict[int, list[Levelled]] = {k: [] for k in range(_PARTS)}
    for example in sorted(examples, key=lambda example: example.id):
        parts[int(unit("meter", example.id) * _PARTS)].append(example)
    cutting, testing, *rest = parts.values()
    fitting = [example for third in rest for example in third]
    if len(examples) < LEAST or len(fitting) < 20 or not cutting or len({e.level for e in fitting}) < 2:
        return found, None
    count = Counter(example.level for example in examples)
    names = tuple(entry.name for entry in levels() if count[entry.name])
    part = _fit(fitting)
    cuts = _cuts(part, cutting, [count[name] for name in names])
    trial = LevelMeter(part, names, cuts).predict([example.item for example in testing])
    pairs = Counter((e.level, level) for e, (_, level) in zip(testing, trial, strict=True))
    plain, weights = _fit(examples).to_state()
    about = {"fitted": True, "names": list(names), "cuts": list(cuts), "held_out": reliability(pairs)}
    return found | about | {"meter": plain}, weights


def level_meter(state: Mapping[str, Any], weights: pa.Table) -> LevelMeter:
    """The meter that `fit_levels` described."""
    return LevelMeter(Meter.from_state(state["meter"], weights), tuple(state["names"]), tuple(state["cuts"]))


def _fit(examples: Sequence[Levelled]) -> Meter:
    order = {entry.name: place for place, entry in enumerate(levels(), start=1)}
    return fit_meter([e.item for e in examples], [float(order[e.level]) for e in examples])


def _cuts(meter: Meter, examples: Sequence[Levelled], counts: Sequence[int]) -> tuple[float, ...]:
    """Where a level ends: the quantile of what the meter shows at the share of items up to that level.

    Where there is a wide gap within two standard errors of that share, its middle: levels that the meter tells apart
    are not cut into because a few items more or less have them.
    """
    import numpy as np

    shown = np.sort(meter.predict([example.item for example in examples]))
    gaps, found = np.diff(shown), []
    for share in np.cumsum(counts)[:-1] / sum(counts):
        cut, middle = np.quantile(shown, share), share * (len(shown) - 1)
        reach = 1 + 2 * np.sqrt(share * (1 - share) * len(shown))
        near = np.arange(max(0, int(middle - reach)), min(len(gaps), int(middle + reach) + 1))
        if len(near) and gaps[near].max() > _WIDE:
            place = near[gaps[near].argmax()]
            cut = (shown[place] + shown[place + 1]) / 2
        found.append(round(float(cut), 6))
    return tuple(found)
