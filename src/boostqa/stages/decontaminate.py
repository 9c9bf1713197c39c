"""Drops what a benchmark asks: training on it would spoil every later measurement.

The index holds the question side of benchmark items (files of the recipe and the package's own list) and of
the probe's held-out items. A record's score is the largest containment over the items:

- a question of at least `ngram` tokens (words; characters of Chinese): the share of its n-grams that stand
  in the record's question or passage;
- a shorter one: the share of its `short_ngram`-grams (Chinese: `short_cjk_ngram`), and below that length only
  the whole question counts, against records that ask just that;
- a question with choices of less than `ngram` words (twice as many Chinese characters), because a stem such
  as "which of these is true" says nothing: that share times the share of its option texts among the record's,
  in any order (or 1 if the answer is the same text).

All is compared folded (case, width, punctuation, spaces). Scores are stored for every record, so a stricter
cut needs no rerun. An empty or broken benchmark is an error and never a pass, and in every shard planted
items go the same way as records and must be caught. Knows nothing of what a record is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from pydantic import Field

from boostqa import readers
from boostqa.errors import ContractError, UserError
from boostqa.inputs import InputFile, expand, fingerprint
from boostqa.record import Record
from boostqa.stage import Gather, Kit, Map, Stage, StageConfig, State, Step
from boostqa.text import ngrams
from boostqa.text.normalise import cjk_share, fold, words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

BUILTIN = "taxonomy/builtin_benchmark.jsonl"
QUESTION, OPTION, ANSWER = 0, 1, 2
"""Parts of an item that a hash can belong to."""

_ITEMS: Mapping[str, str] = {
    "id": "string",
    "benchmark": "string",
    "grams": "int64",
    "options": "int64",
    "by_options": "bool",
}
_UNITS: Mapping[str, str] = {"hash": "uint64", "item": "int64", "part": "int64"}


class DecontaminateConfig(StageConfig):
    """Section `decontaminate` of a recipe; it holds for seeds and for what was synthesised."""

    benchmarks: list[str] = Field(default=[], json_schema_extra={"identity": "free"})
    """Files, folders or globs of benchmark items with question, choices and answer; a list adds up.
    Their content counts for the fingerprint, their place does not."""
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


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark item, or the like of it to be scored."""

    id: str
    benchmark: str
    question: str
    choices: list[str] = []
    answer: str = ""
    """Text of the answer; for multiple choice the option's text."""


class Decontaminate(Stage):
    """See the module docstring. Drops: `contaminated`."""

    name: ClassVar[str] = "decontaminate"
    Config: ClassVar[type[StageConfig]] = DecontaminateConfig
    assets: ClassVar[tuple[str, ...]] = (BUILTIN,)
    config: DecontaminateConfig

    def steps(self) -> tuple[Step, ...]:
        """The index, then a verdict per record."""
        return (Gather("index", self._index), Map("decide", self._decide))

    def identity(self) -> dict[str, Any]:
        """Name, size and sampled hash of every benchmark file."""
        return {"benchmarks": [fingerprint(file) for file in _files(self.config)]}

    def check(self) -> None:
        """See `check` below."""
        check(self.config)

    def _index(self, kit: Kit) -> State:
        items = [item for source in _benchmarks(self.config) for item in source]
        items += _held_out(kit)
        return build(items, self.config)

    def _decide(self, records: list[Record], kit: Kit) -> Iterator[Record]:
        index = Index(kit.state("index"), self.config)
        index.check_canaries()
        for record in records:
            score, which = index.score(_asked(record))
            record = record.score(contamination=round(score, 6))
            if score >= self.config.threshold:
                record = record.drop(kit.entry, "contaminated", f"{which} score {score:.2f}")
            yield record


def check(config: DecontaminateConfig) -> None:
    """Looks at every benchmark file and at the first item of each; for validation, before anything runs.

    Raises:
        UserError: no benchmark at all, a file that is missing, empty or of no known form.
    """
    for items in _benchmarks(config):
        next(iter(items))


class Index:
    """Benchmark items as sorted hashes, ready to score records."""

    def __init__(self, state: State, config: DecontaminateConfig) -> None:
        items, units = state["items"], state["units"]
        self.config = config
        self.names = [
            f"{row['benchmark']} {row['id']}" for row in items.select(["benchmark", "id"]).to_pylist()
        ]
        self.grams, self.options, self.by_options = (
            items.column(name).to_numpy() for name in ("grams", "options", "by_options")
        )
        self.hashes, self.item, self.part = (units.column(name).to_numpy() for name in _UNITS)
        self.canaries = [msgspec.convert(canary, Item) for canary in state["canaries"]]

    def score(self, asked: Item) -> tuple[float, str]:
        """Largest containment of an indexed item in `asked`, 0..1, and that item's benchmark and id."""
        import numpy as np

        hashes = np.unique(_candidate(asked, self.config))
        low = np.searchsorted(self.hashes, hashes, side="left")
        count = np.searchsorted(self.hashes, hashes, side="right") - low
        if not count.any():
            return 0.0, ""
        # Rows low[i] .. low[i] + count[i] for every i, without a loop over the hashes.
        rows = np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())
        touched, place = np.unique(self.item[rows], return_inverse=True)
        question, options, answer = (
            np.bincount(place[self.part[rows] == part], minlength=len(touched))
            for part in (QUESTION, OPTION, ANSWER)
        )
        scores = question / self.grams[touched]
        support = np.maximum(options / np.maximum(self.options[touched], 1), answer)
        scores = np.where(self.by_options[touched], scores * support, scores)
        best = int(np.argmax(scores))
        return float(scores[best]), self.names[touched[best]]

    def check_canaries(self) -> None:
        """Scores the planted items.

        Raises:
            ContractError: if one is missed, which means that the index is broken.
        """
        if not self.canaries:
            raise ContractError("decontaminate: the index has no planted item, so it cannot be trusted")
        for canary in self.canaries:
            score, _ = self.score(canary)
            if score < self.config.threshold:
                raise ContractError(
                    f"decontaminate: the planted item {canary.benchmark} {canary.id} scored {score:.2f}, "
                    f"below {self.config.threshold}; the index is broken, nothing was let through"
                )


def build(items: Iterable[Item], config: DecontaminateConfig) -> State:
    """State of the index: tables `items` and `units`, `canaries`, and the number of items by benchmark."""
    import numpy as np
    import pyarrow as pa

    from boostqa.table import schema_of

    rows: list[dict[str, Any]] = []
    hashes, owners, parts = [], [], []
    canaries: dict[str, Item] = {}
    counts: dict[str, int] = {}
    for number, item in enumerate(sorted(items, key=lambda item: (item.benchmark, item.id))):
        units = _units(item, config)
        rows.append(
            {
                "id": item.id,
                "benchmark": item.benchmark,
                "grams": len(units[QUESTION]),
                "options": len(units[OPTION]),
                "by_options": bool(item.choices) and _is_stem(item.question, config),
            }
        )
        for part, values in enumerate(units):
            hashes.append(values)
            owners.append(np.full(len(values), number))
            parts.append(np.full(len(values), part))
        canaries.setdefault(item.benchmark, _disguised(item))
        counts[item.benchmark] = counts.get(item.benchmark, 0) + 1
    columns = [np.concatenate(arrays) if arrays else np.empty(0, int) for arrays in (hashes, owners, parts)]
    order = np.lexsort((columns[2], columns[1], columns[0]))
    units_schema = schema_of(_UNITS)
    arrays = [
        pa.array(column[order]).cast(field.type) for column, field in zip(columns, units_schema, strict=True)
    ]
    return {
        "items": pa.Table.from_pylist(rows, schema=schema_of(_ITEMS)),
        "units": pa.Table.from_arrays(arrays, schema=units_schema),
        "canaries": [msgspec.to_builtins(canary) for canary in canaries.values()],
        "benchmarks": counts,
    }


def _disguised(item: Item) -> Item:
    """The item with other spacing, punctuation and order of options; it must be found all the same."""
    spaced = "  ".join(item.question.split(" "))
    return msgspec.structs.replace(item, question=f"« {spaced} » ?!", choices=item.choices[::-1])


def _is_stem(question: str, config: DecontaminateConfig) -> bool:
    """Whether a question is too short to be told by its words alone, should it have choices."""
    # A Chinese word has about two characters, each of them a token.
    return len(words(question)) < config.ngram * (2 if cjk_share(question) >= 0.5 else 1)


def _units(item: Item, config: DecontaminateConfig) -> tuple[Hashes, Hashes, Hashes]:
    """Distinct hashes of an item's question, options and answer."""
    import numpy as np

    tokens = ngrams.token_hashes(words(item.question))
    short = config.short_cjk_ngram if cjk_share(item.question) >= 0.5 else config.short_ngram
    n = config.ngram if len(tokens) >= config.ngram else short
    return np.unique(ngrams.combine(tokens, n)), np.unique(_texts(OPTION, item.choices)), _answer(item)


def _candidate(asked: Item, config: DecontaminateConfig) -> Hashes:
    """All hashes of a record that items may have."""
    import numpy as np

    tokens = ngrams.token_hashes(words(asked.question))
    lengths = {config.ngram, config.short_ngram, config.short_cjk_ngram}
    grams = [ngrams.combine(tokens, n) for n in sorted(lengths)]
    return np.concatenate((*grams, _texts(OPTION, asked.choices), _answer(asked)))


def _answer(item: Item) -> Hashes:
    return _texts(ANSWER, [item.answer] if item.answer else [])


def _texts(part: int, texts: list[str]) -> Hashes:
    """Hashes of whole folded texts, different for options and answers and from those of n-grams."""
    return ngrams.token_hashes([f"{part}\n{fold(text)}" for text in texts])


def _asked(record: Record) -> Item:
    """What a record asks or tells, in the form of an item."""
    answer = answer_text(record.choices, record.answer)
    text = f"{record.question}\n{record.passage}" if record.passage else record.question
    return Item(id=record.id, benchmark="", question=text, choices=record.choices, answer=answer)


def answer_text(choices: list[str], answer: str) -> str:
    """The text of an answer, also where it is given as a letter."""
    if choices and len(answer) == 1 and 0 <= ord(answer) - ord("A") < len(choices):
        return choices[ord(answer) - ord("A")]
    return answer


def _files(config: DecontaminateConfig) -> list[InputFile]:
    """The benchmark files of the recipe; their names are the benchmarks' names, so they must differ.

    Raises:
        UserError: a missing file, an empty folder or glob, or two files of one name.
    """
    files: dict[str, InputFile] = {}
    for i, path in enumerate(config.benchmarks):
        key = f"decontaminate.benchmarks[{i}]"
        for file in expand(path, key):
            if file.name in files and files[file.name].path != file.path:
                raise UserError(
                    f"{key}: {path}: another benchmark is called {file.name!r} too; "
                    "rename one, or give the folder above both"
                )
            files[file.name] = file
    return list(files.values())


def _benchmarks(config: DecontaminateConfig) -> Iterator[Iterator[Item]]:
    """The items of each benchmark.

    Raises:
        UserError: no benchmark at all; also while iterating, see `_read`.
    """
    if not config.builtin and not config.benchmarks:
        raise UserError(
            "decontaminate.benchmarks: [] with builtin: false leaves nothing to compare with; "
            "list benchmark files or set builtin: true"
        )
    if config.builtin:
        path = Path(__file__).parent.parent / BUILTIN
        yield _read(InputFile("builtin.jsonl", str(path)))
    for file in _files(config):
        yield _read(file)


def _read(file: InputFile) -> Iterator[Item]:
    """Items of one file.

    Raises:
        UserError: a broken row, an item without question, or no item at all: a partial index is no index.
    """
    name = file.name.split(".")[0]
    found = False
    for number, raw in enumerate(readers.open(file.path), start=1):
        line = raw.line or number
        if isinstance(raw, readers.BadRow):
            raise UserError(
                f"{file.path}:{line}: benchmark row is broken ({raw.reason}: {raw.excerpt}); "
                "correct or remove it, a partial index would let items through"
            )
        if not words(raw.question):
            raise UserError(
                f"{file.path}:{line}: benchmark item has no question; give it a `question` column"
            )
        found = True
        yield Item(
            id=cast("str", getattr(raw, "id", "")) or f"{file.name}:{line}",
            benchmark=name,
            question=raw.question,
            choices=raw.choices,
            answer=answer_text(raw.choices, raw.answer),
        )
    if not found:
        raise UserError(
            f"{file.path}: the benchmark has no items; remove it from decontaminate.benchmarks or fill it"
        )


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
