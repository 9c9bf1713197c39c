"""Drops what a benchmark asks: training on it would spoil every later measurement.

The index holds the question side of benchmark items (files of the recipe and the package's own list) and of
the probe's held-out items. A record's score `contamination` is the largest over the items, by the rules of
`flows/contamination.py`; `contamination_stem` is the largest share of a question alone, whatever its options;
`contamination_answer` the largest such share of an item whose answer the record gives as well. All are stored for
every record, so a stricter cut needs no rerun.

An empty or broken benchmark is an error and never a pass, and in every shard planted items go the same way
as records and must be caught. Knows nothing of what a record is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from boostqa.annotation import paraphrases
from boostqa.annotation.encoder import encoder
from boostqa.errors import UserError
from boostqa.flows import benchmarks
from boostqa.flows.contamination import Found, index_of
from boostqa.flows.indexed import Item, answer_text, build
from boostqa.inputs import fingerprint
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.table import with_drops, with_scores
from boostqa.text.normalise import words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

SCORES = ("contamination", "contamination_stem", "contamination_answer")
"""What every record gets; see `flows.contamination.Found`."""
PARAPHRASE = "contamination_paraphrase"
"""What every question gets where paraphrases are looked for."""


class ParaphrasesConfig(StageConfig):
    """Section `decontaminate.paraphrases`: a search for benchmark questions in other words."""

    encoder: Literal["e5-small"] = "e5-small"
    """Encoder of the sentence vectors; needs the extra `encoder`. It is slow: it reads every question of the
    benchmarks and of the records, some 8 to 26 a second."""
    threshold: float = Field(default=0.97, gt=0.0, le=1.0)
    """Cosine with a question of the same numbers from which a record is dropped."""


class DecontaminateConfig(StageConfig):
    """Section `decontaminate` of a recipe; it holds for seeds and for what was synthesised."""

    benchmarks: list[str] = Field(default=[], json_schema_extra={"identity": "free"})
    """Files, folders or globs of benchmark items with question, choices and answer, or names of tasks, such as mmlu,
    gsm8k or cmmlu, whose items are on the Hugging Face hub; a list adds up. Their content counts for the
    fingerprint, their place does not."""
    mirror: str | None = Field(default=None, json_schema_extra={"identity": "free"})
    """A folder with data sets of the hub as OWNER/NAME, for tasks where there is no network."""
    builtin: bool = True
    """Whether the package's own short list of items is indexed too."""
    ngram: int = Field(default=13, ge=5, le=50)
    """Tokens per n-gram for questions that have as many."""
    short_ngram: int = Field(default=8, ge=3, le=50)
    """Words per n-gram for shorter questions."""
    short_cjk_ngram: int = Field(default=10, ge=3, le=50)
    """Characters per n-gram for shorter Chinese questions."""
    threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    """Containment, above 0 and up to 1, from which a record is dropped."""
    answer_threshold: float | None = Field(default=0.5, gt=0.0, le=1.0)
    """`contamination_answer` from which a record is dropped although its `contamination` is lower: a stem such as
    "which of these is true" with the very answer, but without the options; null: never by its answer."""
    paraphrases: ParaphrasesConfig | None = None
    """Whether questions are also compared by sentence vectors, and how; null: they are not."""


class Decontaminate(Stage):
    """See the module docstring. Drops: `contaminated`."""

    name: ClassVar[str] = "decontaminate"
    version: ClassVar[int] = 6
    Config: ClassVar[type[StageConfig]] = DecontaminateConfig
    assets: ClassVar[tuple[str, ...]] = (benchmarks.BUILTIN, benchmarks.TASKS)
    config: DecontaminateConfig

    def steps(self) -> tuple[Step, ...]:
        """The index, then a verdict per record."""
        return (Gather("index", self._index), Map("decide", self._decide, takes="table"))

    def identity(self) -> dict[str, Any]:
        """Name, size and sampled hash of every benchmark file."""
        named = benchmarks.sources(self.config.benchmarks, self.config.mirror, "decontaminate.benchmarks")
        return {"benchmarks": [fingerprint(source.file) for source in named]}

    def check(self) -> None:
        """See `check` below."""
        check(self.config)

    def _index(self, kit: Kit) -> State:
        read = [row for source in _sources(self.config) for row in benchmarks.read(source)]
        items = [row for row in read if isinstance(row, Item)] + _held_out(kit)
        state = build(items, self.config)
        state["odd"] = benchmarks.odd_rows(read)
        if self.config.paraphrases:
            names = [f"{item.benchmark} {item.id}" for item in items]
            asked = [item.question for item in items]
            state["paraphrases"] = paraphrases.state_of(self.config.paraphrases.encoder, names, asked)
        return state

    def _decide(self, table: pa.Table, kit: Kit) -> pa.Table:
        import numpy as np

        index = index_of(kit.state("index"), self.config)
        index.check_canaries()
        scores = {name: np.zeros(len(table)) for name in SCORES}
        drops = {}
        for row, found in index.find_in(table).items():
            for name, value in zip(SCORES, (found.score, found.stem, found.answer), strict=True):
                scores[name][row] = round(value, 6)
            if evidence := self._evidence(found):
                drops[row] = ("contaminated", evidence)
        if self.config.paraphrases:
            scores[PARAPHRASE] = self._paraphrased(table, kit, drops, self.config.paraphrases)
        return with_drops(with_scores(table, **scores), kit.entry, drops)

    def _paraphrased(
        self, table: pa.Table, kit: Kit, drops: dict[int, tuple[str, str]], config: ParaphrasesConfig
    ) -> npt.NDArray[np.float64]:
        """The score of every record by vectors; adds to `drops`. Passages have none and score 0."""
        import numpy as np

        asked = {row: text for row, text in enumerate(table["question"].to_pylist()) if text and words(text)}
        found = paraphrases.paraphrased(
            config.encoder, kit.state("index")["paraphrases"], list(asked.values())
        )
        scores = np.zeros(len(table))
        for row, (score, name) in zip(asked, found, strict=True):
            scores[row] = round(score, 4)
            if scores[row] >= config.threshold:
                drops.setdefault(row, ("contaminated", f"{name} paraphrase {score:.3f}"))
        return scores

    def _evidence(self, found: Found) -> str:
        """Which item makes a record go, and by what; empty if none does."""
        if round(found.score, 6) >= self.config.threshold:
            return f"{found.name} score {found.score:.2f}"
        limit = self.config.answer_threshold
        if limit is not None and round(found.answer, 6) >= limit:
            return f"{found.answered} with its answer {found.answer:.2f}"
        return ""


def check(config: DecontaminateConfig) -> None:
    """Looks at every benchmark file and at the first item of each; for validation, before anything runs.

    Raises:
        UserError: no benchmark at all, a task that is unknown or cannot be had, a file that is missing, empty or of
            no known form, or an encoder that is not installed.
    """
    for source in _sources(config):
        next(row for row in benchmarks.read(source) if isinstance(row, Item))
    if config.paraphrases:
        encoder(config.paraphrases.encoder)


def _sources(config: DecontaminateConfig) -> list[benchmarks.Source]:
    """The files of all benchmarks.

    Raises:
        UserError: no benchmark at all, or as `benchmarks.sources`.
    """
    if not config.builtin and not config.benchmarks:
        raise UserError(
            "decontaminate.benchmarks: [] with builtin: false leaves nothing to compare with; "
            "list benchmark files or tasks, or set builtin: true"
        )
    own = [benchmarks.builtin()] if config.builtin else []
    return own + benchmarks.sources(config.benchmarks, config.mirror, "decontaminate.benchmarks")


def _held_out(kit: Kit) -> list[Item]:
    """The probe's held-out records as items of a benchmark named `heldout`."""
    columns = ["id", "question", "choices", "answer", "passage", "dropped"]
    items = []
    for _, table in kit.read_dropped("heldout", columns):
        for row in table.to_pylist():
            if row["dropped"]["reason"] != "held_out":
                continue
            choices = row["choices"] or []
            items.append(
                Item(
                    id=row["id"],
                    benchmark="heldout",
                    question=row["question"] or row["passage"] or "",
                    choices=choices,
                    answer=answer_text(choices, row["answer"] or ""),
                )
            )
    return [item for item in items if words(item.question)]
