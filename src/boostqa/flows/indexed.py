"""What is kept of a benchmark item so that it is found again: hashes of its question, options and answer.

The lengths of n-grams, and which items need their options, are explained in `flows/contamination.py`, which scores
records by these hashes. Pure functions and arrays; knows nothing of stages, files and scores.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from boostqa.flows.overlap import plain, sign_hashes
from boostqa.text import ngrams
from boostqa.text.normalise import cjk_share, fold, words
from boostqa.text.tokens import tokens, word_hashes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Hashes = npt.NDArray[np.uint64]

QUESTION, OPTION, ANSWER, RUN = 0, 1, 2, 3
"""Parts of an item that a hash can belong to; RUN is an option as a run of words in a text."""
STEM_WORDS = 3.0
"""Content words (see `content`) from which a stem with choices says by itself which item it is."""
ANSWER_WORDS = 2.0
"""Content words from which an answer says which item it is, beside a stem that many questions have."""
RUN_WORDS = 2.0
"""Content words from which a short question is looked for inside longer texts."""
ANSWER_NGRAM = 4
"""Tokens of the n-grams by which answers of twice as many are compared."""
SHARED = 3
"""Lists of options with which benchmarks may ask one stem before it counts as anybody's."""

ITEMS = {
    "id": "string",
    "benchmark": "string",
    "grams": "int64",
    "options": "int64",
    "answers": "int64",
    "runs": "int64",
    "by_options": "bool",
    "distinct": "bool",
    "telling": "bool",
    "words": "list<uint64>",
}
UNITS = {"hash": "uint64", "item": "int64", "part": "int64"}
_SENTENCES = re.compile(r"[.?!;:\n。？！；：]+")
_EMPTY_WORDS = frozenset(
    """
    a an the this that these those it its there here of in on at to for from by with within into and or nor not
    no if as than then so but about between is are was were be been being do does did has have had can could
    will would may might must should shall which what who whom whose when where why how following below above
    one ones statement statements option options answer answers choice choices question true false correct
    incorrect right wrong best most least except always never some any all each every many much describe
    describes described mean means called name example examples type value find choose select only none neither
    both ii iii iv
    """.split()  # noqa: SIM905
)
_EMPTY_SIGNS = frozenset(
    "下列以下哪一个种项些句各中其的是为了在和与或有无不正确错误说法使用完全属于关请问什么谁何时多少几题最符合叙述描"
)


class Settings(Protocol):
    """Lengths of n-grams and the cut; see `DecontaminateConfig`."""

    @property
    def ngram(self) -> int: ...  # noqa: D102
    @property
    def short_ngram(self) -> int: ...  # noqa: D102
    @property
    def short_cjk_ngram(self) -> int: ...  # noqa: D102
    @property
    def threshold(self) -> float: ...  # noqa: D102


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark item, or the like of it to be scored."""

    id: str
    benchmark: str
    question: str
    choices: list[str] = []
    answer: str = ""
    """Text of the answer; for multiple choice the option's text."""
    passage: str = ""
    """Text of a record beside its question."""


def build(items: Iterable[Item], config: Settings) -> dict[str, Any]:
    """State of the index: tables `items` and `units`, `lengths` of runs, `canaries`, items by benchmark."""
    import numpy as np
    import pyarrow as pa

    from boostqa.table import schema_of

    rows: list[dict[str, Any]] = []
    hashes, owners, parts = [], [], []
    canaries: dict[str, Item] = {}
    counts: dict[str, int] = {}
    lengths = {config.ngram, config.short_ngram, config.short_cjk_ngram}
    filters: list[tuple[int, Hashes]] = []
    lists: defaultdict[bytes, set[bytes]] = defaultdict(set)
    ordered = sorted(items, key=lambda item: (item.benchmark, item.id))
    block = tokens([plain(item.question) for item in ordered])
    for place, item in enumerate(ordered):
        own = block.hashes[block.starts[place] : block.starts[place + 1]]
        if not len(own):
            # Nothing to find it by; its share would be 0 of 0.
            continue
        number = len(rows)
        asked = _Asked.read(item, own, config)
        units, own_lengths = _units(item, asked, config)
        lengths |= own_lengths
        length = min(len(asked.hashes), config.ngram if asked.long else asked.short)
        filters.append((length, ngrams.windows(asked.hashes, length)))
        lists[units[QUESTION].tobytes()].add(units[OPTION].tobytes())
        rows.append(_item_row(item, asked, units))
        for part, values in enumerate(units):
            hashes.append(values)
            owners.append(np.full(len(values), number))
            parts.append(np.full(len(values), part))
        canaries.setdefault(item.benchmark, _disguised(item))
        counts[item.benchmark] = counts.get(item.benchmark, 0) + 1
    for row in rows:
        row["distinct"] = row["distinct"] and len(lists[row.pop("stem")]) <= SHARED
    columns = [np.concatenate(arrays) if arrays else np.empty(0, int) for arrays in (hashes, owners, parts)]
    order = np.lexsort((columns[2], columns[1], columns[0]))
    schema = schema_of(UNITS)
    arrays = [pa.array(column[order]).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return {
        "items": pa.Table.from_pylist(rows, schema=schema_of(ITEMS)),
        "units": pa.Table.from_arrays(arrays, schema=schema),
        "filters": _filters(filters),
        "signs": pa.table({"hash": sign_hashes(block)}),
        "lengths": sorted(lengths),
        "canaries": [msgspec.to_builtins(canary) for canary in canaries.values()],
        "benchmarks": counts,
    }


class _Asked(NamedTuple):
    """An item's question, looked at once."""

    words: list[str]
    hashes: Hashes
    short: int
    """Length of its n-grams if it has fewer than `ngram` tokens."""
    long: bool
    """Whether it has that many."""
    by_options: bool
    """Whether it has choices and is too short to be told by a part of its words."""
    content: float

    @classmethod
    def read(cls, item: Item, hashes: Hashes, config: Settings) -> _Asked:
        found = words(plain(item.question))
        chinese = cjk_share(item.question) >= 0.5
        # A Chinese word has about two characters, each of them a token.
        by_options = bool(item.choices) and len(found) < config.ngram * (2 if chinese else 1)
        short = config.short_cjk_ngram if chinese else config.short_ngram
        return cls(found, hashes, short, len(found) >= config.ngram, by_options, _content(found))


def _item_row(item: Item, asked: _Asked, units: tuple[Hashes, ...]) -> dict[str, Any]:
    return {
        "id": item.id,
        "benchmark": item.benchmark,
        "grams": len(units[QUESTION]),
        "options": len(units[OPTION]),
        "answers": len(units[ANSWER]),
        "runs": len(units[RUN]),
        "by_options": asked.by_options,
        "distinct": asked.content >= STEM_WORDS,
        "telling": asked.content >= STEM_WORDS
        or content(answer_text(item.choices, item.answer)) >= ANSWER_WORDS,
        "stem": units[QUESTION].tobytes(),
        "words": asked.hashes,
    }


def _filters(found: list[tuple[int, Hashes]]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    hashes = np.concatenate([np.empty(0, dtype=np.uint64), *(hashes for _, hashes in found)])
    lengths = np.repeat([length for length, _ in found], [len(hashes) for _, hashes in found])
    hashes, first = np.unique(hashes, return_index=True)
    return pa.table({"hash": hashes, "length": pa.array(lengths[first], pa.int64())})


def content(text: str) -> float:
    """How many different words of `text` tell it from other questions.

    Function words and the words of exams (following, correct) count nothing, numbers, single letters and
    Chinese characters half a word each.
    """
    return _content(words(text))


def _content(tokens: list[str]) -> float:
    different = set(tokens)
    named = {token for token in different if token[0].isalpha() and token not in _EMPTY_WORDS}
    halves = {token for token in named if len(token) == 1 and token not in _EMPTY_SIGNS}
    numbers = sum(token[0].isdigit() for token in different)
    return sum(len(token) > 1 for token in named) + (len(halves) + numbers) / 2


def answer_text(choices: list[str], answer: str) -> str:
    """The text of an answer, also where it is given as a letter, or as several."""
    places = [ord(letter) - ord("A") for letter in answer]
    if choices and places == sorted(set(places)) and all(0 <= place < len(choices) for place in places):
        return "\n".join(choices[place] for place in places)
    return answer


def _disguised(item: Item) -> Item:
    """The item with other spacing, punctuation and order of options; it must be found all the same."""
    spaced = "  ".join(item.question.split(" "))
    return msgspec.structs.replace(item, question=f"« {spaced} » ?!", choices=item.choices[::-1])


def _units(
    item: Item, asked: _Asked, config: Settings
) -> tuple[tuple[Hashes, Hashes, Hashes, Hashes], set[int]]:
    """Distinct hashes of an item's question, options, answer and options as runs; lengths of its runs."""
    import numpy as np

    lengths: set[int] = set()
    if len(asked.words) >= asked.short or asked.by_options or asked.content >= RUN_WORDS:
        lengths.add(min(len(asked.words), asked.short))
        question = np.unique(ngrams.combine(asked.hashes, config.ngram if asked.long else asked.short))
    else:
        question = _whole([f"{QUESTION}\n{' '.join(asked.words)}"])
    runs = [found for text in item.choices if len("".join(found := words(plain(text))[: config.ngram])) >= 2]
    # One option in a text says nothing: it may be the answer to anything.
    runs = runs if len(runs) >= 2 else []
    lengths |= set(map(len, runs))
    marks = [ngrams.combine(word_hashes(run), len(run)) for run in runs]
    options = np.unique(np.concatenate(marks)) if marks else np.empty(0, dtype=np.uint64)
    return (question, np.unique(_texts(OPTION, item.choices)), _answer(item), options), lengths


def candidate(asked: Item, hashes: Hashes, lengths: list[int]) -> Hashes:
    """All hashes of a record that items may have."""
    import numpy as np

    grams = [ngrams.combine(hashes, n) for n in lengths]
    question = plain(asked.question)
    whole = _sentences([question, *_SENTENCES.split(question)])
    return np.concatenate((*grams, whole, _texts(OPTION, asked.choices), _answer(asked)))


def _answer(item: Item) -> Hashes:
    """Hashes of an answer: of its whole text, or of its n-grams if it is a sentence."""
    import numpy as np

    found = words(plain(item.answer))
    if len(found) < 2 * ANSWER_NGRAM:
        return _texts(ANSWER, [item.answer] if found else [])
    # Bits turned, so that they never meet those of a question.
    return ~np.unique(ngrams.combine(word_hashes(found), ANSWER_NGRAM))


def _sentences(texts: list[str]) -> Hashes:
    """Hashes of whole sentences, different from those of runs."""
    return _whole([f"{QUESTION}\n{' '.join(found)}" for text in texts if (found := words(text))])


def _texts(part: int, texts: list[str]) -> Hashes:
    """Hashes of whole folded texts, different for options and answers and from those of n-grams."""
    return _whole([f"{part}\n{fold(plain(text))}" for text in texts])


def _whole(texts: list[str]) -> Hashes:
    import numpy as np
    import xxhash

    return np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], dtype=np.uint64)
