"""From a classifier's probabilities to labels: the two likeliest fields, discipline, level, grade; or `Other`, and why.

Never a confident guess where there is nothing to go by: a text of which the classifier knows nothing, a language that
no example had, or a probability under the threshold gives the field `Other` and a reason, so that a caller can ask a
model instead. The discipline is named where its fields together reach the threshold. Knows nothing of records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from boostqa.annotation import features
from boostqa.taxonomy import OTHER, Taxonomy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from boostqa.annotation.classifier import Classifier

HEADS = ("field", "level", "grade")
"""What classifiers are fitted for."""
Why = Literal["", "unsure", "unknown_text", "unknown_language"]


class Guess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the classifiers say of one text."""

    field: str | None = None
    """A leaf of the taxonomy or `Other`; None where no classifier for fields is there."""
    discipline: str | None = None
    confidence: float = 0.0
    """Calibrated probability of the likeliest field, 0..1, also of an unsure guess; 0 for what is unknown."""
    second: str | None = None
    """The second likeliest field; None for what is unknown."""
    second_confidence: float = 0.0
    level: str | None = None
    grade: str | None = None
    why: Why = ""
    """Why the field is `Other`; empty where it is not."""


def guesses(
    heads: Mapping[str, Classifier],
    texts: Sequence[str],
    languages: Sequence[str | None],
    known: Collection[str],
    min_confidence: float,
    tree: Taxonomy,
) -> list[Guess]:
    """A guess for each text.

    Args:
        heads: classifiers by the names of `HEADS`; any may be missing.
        texts: questions with their options, or passages.
        languages: ISO 639-1 code of each, None where it is not known.
        known: languages that the examples had.
        min_confidence: probability under which a field or discipline is `Other`, 0..1.
        tree: where the fields' disciplines stand.
    """
    rows = features.rows(texts)
    chances = {head: heads[head].predict(texts, rows) for head in HEADS if head in heads}
    told = {head: heads[head].sparse.known(rows) for head in chances}
    found = []
    for place, language in enumerate(languages):
        # Too little to tell the language, such as a bare formula, is no strange language.
        seen = language is None or language in known
        labels: dict[str, Any] = {
            head: heads[head].labels[int(chances[head][place].argmax())]
            for head in ("level", "grade")
            if head in chances and seen and told[head][place]
        }
        if "field" not in chances:
            found.append(Guess(**labels))
            continue
        why: Why = "" if seen and told["field"][place] else "unknown_language" if not seen else "unknown_text"
        if why:
            found.append(Guess(field=OTHER, discipline=OTHER, why=why, **labels))
            continue
        field = _field(heads["field"].labels, chances["field"][place], min_confidence, tree)
        found.append(msgspec.structs.replace(field, **labels))
    return found


def _field(names: tuple[str, ...], chances: npt.NDArray[np.float32], least: float, tree: Taxonomy) -> Guess:
    import numpy as np

    first, second = (int(place) for place in np.argsort(-chances, kind="stable")[:2])
    sure: dict[str, Any] = {
        "confidence": round(float(chances[first]), 4),
        "second_confidence": round(float(chances[second]), 4),
    }
    if chances[first] >= least:
        return Guess(field=names[first], discipline=tree.parent(names[first]), second=names[second], **sure)
    # Not sure of the field, but perhaps of its discipline.
    above: dict[str, float] = {}
    for name, chance in zip(names, chances.tolist(), strict=True):
        above[tree.parent(name)] = above.get(tree.parent(name), 0.0) + chance
    discipline = max(sorted(above), key=lambda name: above[name])
    if above[discipline] < least:
        discipline = OTHER
    return Guess(field=OTHER, discipline=discipline, second=names[second], why="unsure", **sure)


def chosen(found: Iterable[Guess], count: int) -> list[int]:
    """Places of the `count` guesses that a model's labels would help most, in rising order."""
    choice = Choice(count)
    for guess in found:
        choice.add(guess)
    return choice.places()


class Choice:
    """Which of a stream of guesses a model's labels would help most; memory grows with `count` and the cells alone.

    Half are the least sure: the smallest lead of the likeliest field over the second (texts of unknown words and
    languages first). The other half are of rare cells: likeliest field by level, the smallest cells first, and in a
    cell the least sure first, one a round, so that no cell takes all. Equal guesses always give the same choice.
    """

    def __init__(self, count: int) -> None:
        """For `count` guesses."""
        self._count, self._seen = count, 0
        self._least = _Least((count + 1) // 2)
        # Of a cell at most `count` are ever taken: half of them may be among the least sure already.
        self._cells: dict[tuple[str | None, str | None], _Least] = {}

    def add(self, guess: Guess) -> None:
        """The next guess."""
        unknown = guess.why.startswith("unknown")
        lead = 0.0 if unknown else guess.confidence - guess.second_confidence
        if self._count:
            self._least.add(lead, self._seen)
            self._cells.setdefault((guess.field, guess.level), _Least(self._count)).add(lead, self._seen)
        self._seen += 1

    def places(self) -> list[int]:
        """Places of the chosen, from 0, rising."""
        taken = set(self._least.places())
        ranked = sorted(
            ((cell.seen, cell.places()) for cell in self._cells.values()), key=lambda c: (c[0], c[1][0])
        )
        for turn in range(self._count):
            for _, places in ranked:
                if len(taken) >= self._count:
                    return sorted(taken)
                if turn < len(places):
                    taken.add(places[turn])
        return sorted(taken)


class _Least:
    """The `size` smallest (lead, place) of a stream."""

    def __init__(self, size: int) -> None:
        self._size, self.seen = size, 0
        # A heap with the largest on top, hence negated.
        self._heap: list[tuple[float, int]] = []

    def add(self, lead: float, place: int) -> None:
        """One more."""
        self.seen += 1
        if len(self._heap) < self._size:
            heappush(self._heap, (-lead, -place))
        else:
            heappushpop(self._heap, (-lead, -place))

    def places(self) -> list[int]:
        """Their places, the smallest lead first."""
        return [-place for _, place in sorted(self._heap, reverse=True)]
