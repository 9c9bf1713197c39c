"""Containment of benchmark items in records: the score of a record against an index of items.

An item's score is the share of its question's n-grams that stand in the record's question or passage:

- a question of at least `ngram` tokens (words; characters of Chinese) counts by n-grams of that length, a
  shorter one by `short_ngram` (Chinese: `short_cjk_ngram`), a still shorter one as one run of all its words;
- a run of that kind with fewer than `RUN_WORDS` content words ("What is energy?") may stand in any text, so it
  counts only where a whole sentence of the record's question says just that;
- a question with choices of less than `ngram` words (twice as many Chinese characters) may be a stem such as
  "which of these is true": its share is multiplied by the share of its options that the record has, as choices
  or, without choices of its own, as runs in its text. But a stem that stands there word for word counts whole
  if it has `STEM_WORDS` content words and is not one that benchmarks ask with more than `SHARED` different
  lists of options.

What a record's answer has of an item's answer is counted apart (`Found.answer`) and adds nothing to this score.
But where both have an answer and not the same, a question of which only a part is there is more likely another
problem of the same template: its score is lowered by `OTHER_ANSWER`.

All is compared folded (case, width, punctuation, spaces, spellings of formulas). A question of which words were
replaced has few of these n-grams left; `flows/overlap.py` finds it by what stands around its short ones. Pure
functions and arrays; knows nothing of stages, files and what follows from a score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from boostqa.errors import ContractError
from boostqa.flows.indexed import (
    ANSWER,
    ITEMS,
    OPTION,
    QUESTION,
    RUN,
    UNITS,
    Item,
    Settings,
    answer_text,
    candidate,
)
from boostqa.flows.overlap import Overlaps, plain, plain_all
from boostqa.text.normalise import words
from boostqa.text.tokens import Tokens, tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Indexes = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]


class Found(NamedTuple):
    """How much of an indexed item a record has."""

    score: float
    """Largest score over the items, 0..1."""
    stem: float
    """Largest share of an item's question, 0..1, whatever its options."""
    name: str
    """Benchmark and id of the item with the largest score; empty for none."""
    answer: float = 0.0
    """Largest share of an item's question, whatever its options, times the share of its answer that the record's
    answer has."""
    answered: str = ""
    """Benchmark and id of the item with the largest `answer`; empty for none."""


NOTHING = Found(0.0, 0.0, "")
OTHER_ANSWER = 0.83
"""What a score below 1 is multiplied with where the record gives another answer: half is reached from 0.6 on."""


_KEPT = 2
"""Indexes that a process keeps: those of two places in the pipeline."""
_loaded: list[Index] = []


def index_of(state: dict[str, Any], config: Settings) -> Index:
    """The index with this state; one that this process has made already, if it has.

    Making one of 36,000 items takes two seconds, and every shard asks for it.
    """
    for index in _loaded:
        if index.state["units"] is state["units"] and index.config == config:
            return index
    _loaded.append(Index(state, config))
    del _loaded[:-_KEPT]
    return _loaded[-1]


class Index:
    """Benchmark items as sorted hashes, ready to score records."""

    def __init__(self, state: dict[str, Any], config: Settings) -> None:
        items, units = state["items"], state["units"]
        self.state = state
        self.config = config
        self.names = [
            f"{row['benchmark']} {row['id']}" for row in items.select(["benchmark", "id"]).to_pylist()
        ]
        self.grams, self.options, self.answers, self.runs, self.by_options, self.distinct, self.telling = (
            items.column(name).to_numpy() for name in list(ITEMS)[2:-1]
        )
        self.hashes, self.item, self.part = (units.column(name).to_numpy() for name in UNITS)
        self.lengths: list[int] = state["lengths"]
        self.canaries = [msgspec.convert(canary, Item) for canary in state["canaries"]]
        self.overlaps = Overlaps(state["filters"], items["words"], state["signs"]["hash"].to_numpy())

    def find_in(self, table: pa.Table) -> dict[int, Found]:
        """What of the indexed items is in each record of a table, by row; rows without any are left out.

        The table has the columns question, passage, choices and answer.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        question, passage = (pc.fill_null(table[name], "") for name in ("question", "passage"))
        texts = plain_all(pc.binary_join_element_wise(question, passage, "\n"))
        others = self.overlaps.candidates(texts)
        rows = sorted(others)
        places = pa.array(rows, pa.int64())
        asked = table.select(["id", "question", "passage", "choices", "answer"]).take(places).to_pylist()
        block = tokens(texts.take(places))
        found = {}
        for i, (at, row) in enumerate(zip(rows, asked, strict=True)):
            given = {name: value for name, value in row.items() if value is not None}
            item = msgspec.convert({"benchmark": "", "question": "", **given}, Item)
            item = msgspec.structs.replace(item, answer=answer_text(item.choices, item.answer))
            found[at] = self._find(item, block.text(i), others[at])
        return found

    def score(self, asked: Item) -> tuple[float, str]:
        """Largest score of an indexed item for `asked`, 0..1, and that item's benchmark and id."""
        found = self.find(asked)
        return found.score, found.name

    def find(self, asked: Item) -> Found:
        """What of the indexed items is in `asked`; see `Found`."""
        text = plain(f"{asked.question}\n{asked.passage}")
        return self._find(asked, tokens([text]), self.overlaps.candidates([text]).get(0, []))

    def _find(self, asked: Item, block: Tokens, others: list[int]) -> Found:
        """`block`: the tokens of its text. `others`: items that may be in it with words replaced."""
        import numpy as np

        alike = dict(zip(others, self.overlaps.scores(block, others), strict=True))
        touched, (question, options, answer, runs) = self._counts(asked, block, others)
        if not len(touched):
            return NOTHING
        apart = self.by_options[touched]
        replaced = np.array([alike.get(item, 0.0) for item in touched.tolist()])
        share = question / self.grams[touched]
        # A stem of which words were replaced still needs its options.
        share = np.where(apart, np.maximum(share, replaced), share)
        support = options / np.maximum(self.options[touched], 1)
        if not asked.choices:
            support = np.maximum(support, runs / np.maximum(self.runs[touched], 1))
        alone = ~apart | (self.distinct[touched] & (share >= 1))
        scores = np.where(alone, share, share * support)
        # Runs of formulas and set phrases are in many questions: what stands around them decides.
        sure = apart | (scores >= 1)
        factors = self._factors(asked, touched, answer)
        score, item = self.overlaps.lowered(block, touched, scores, sure, factors)
        factor = dict(zip(touched.tolist(), factors.tolist(), strict=True))
        for other, found in alike.items():
            if not self.by_options[other] and found * factor[other] > score:
                score, item = found * factor[other], other
        given = np.flatnonzero(answer)
        # "Which of these is true?" with "All of the above" says nothing of where it comes from.
        known = share[given] * self.telling[touched[given]]
        both = np.where(apart[given], known, np.maximum(scores, replaced)[given])
        both *= answer[given] / np.maximum(self.answers[touched[given]], 1)
        with_answer, answered = self.overlaps.lowered(
            block, touched[given], both, apart[given], np.ones(len(given))
        )
        stem = max(float(share.max()), float(replaced.max()))
        return Found(
            score, stem, self.names[item], max(0.0, with_answer), self.names[answered] if len(given) else ""
        )

    def _factors(self, asked: Item, touched: Indexes, answer: Indexes) -> Floats:
        """What the scores of items count: less where the record and the item both have an answer, and not the same."""
        import numpy as np

        other = (self.answers[touched] > 0) & (answer == 0)
        return np.where(other & bool(words(asked.answer)), OTHER_ANSWER, 1.0)

    def _counts(self, asked: Item, block: Tokens, others: list[int]) -> tuple[Indexes, list[Indexes]]:
        """Items of which `asked` has anything, ascending, with `others`; and how many hashes of each part."""
        import numpy as np

        hashes = np.unique(candidate(asked, block.hashes, self.lengths))
        low = np.searchsorted(self.hashes, hashes, side="left")
        count = np.searchsorted(self.hashes, hashes, side="right") - low
        # Rows low[i] .. low[i] + count[i] for every i, without a loop over the hashes.
        rows = np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())
        touched = np.union1d(self.item[rows], np.array(others, dtype=np.int64))
        place = np.searchsorted(touched, self.item[rows])
        part = self.part[rows]
        parts = [
            np.bincount(place[part == one], minlength=len(touched)) for one in (QUESTION, OPTION, ANSWER, RUN)
        ]
        return touched, parts

    def check_canaries(self) -> None:
        """Scores the planted items.

        Raises:
            ContractError: if one is missed, which means that the index is broken.
        """
        if not self.canaries:
            raise ContractError("decontaminate: the index has no planted item, so it cannot be trusted")
        for canary in self.canaries:
            score, _ = self.score(canary)
            if not score >= self.config.threshold:
                raise ContractError(
                    f"decontaminate: the planted item {canary.benchmark} {canary.id} scored {score:.2f}, "
                    f"below {self.config.threshold}; the index is broken, nothing was let through"
                )
