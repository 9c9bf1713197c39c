"""What of records is compared to find duplicates, as columns: signatures, hashes of texts and skeletons, ranks.

Compared is the question side: question and choices (in any order) of a question-answer pair, the whole text of a
passage. The n-grams of a record are those of its question and of each of its choices. Works on whole tables, so
no Python object is made for a record. Knows nothing of which records are duplicates and what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from boostqa.table import pack, schema_of
from boostqa.text import minhash
from boostqa.text.ngrams import mix, runs
from boostqa.text.tokens import blocks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from boostqa.text.tokens import Tokens

    Hashes = npt.NDArray[np.uint64]
    Indexes = npt.NDArray[np.int64]

COLUMNS = ("id", "kind", "question", "choices", "answer", "passage", "solution", "scores", "evidence")
"""What is looked at of a record."""
RANKS = 4
"""Numbers in a rank."""
_ORDER = 0x9E3779B97F4A7C15


def rows(bands: int, size: int) -> dict[str, str]:
    """Columns of `compared`."""
    return {
        "id": "string",
        "who": "uint64",
        "kind": "string",
        "exact": "uint64",
        "skeleton": "uint64",
        "numbers": "uint64",
        "answer": "uint64",
        "rank": f"binary<{8 * RANKS}>",
        "signature": f"binary<{2 * size}>",
        "keys": f"binary<{8 * (bands + 2)}>",
    }


def identity_hashes(ids: pa.ChunkedArray) -> Hashes:
    """A 64-bit hash of each id, by which rows of different steps find each other; uint64[len(ids)]."""
    import numpy as np
    import pyarrow as pa
    import xxhash

    return np.array(list(map(xxhash.xxh3_64_intdigest, ids.cast(pa.binary()).to_pylist())), dtype=np.uint64)


def compared(table: pa.Table, *, bands: int, rows_per_band: int, n: int) -> pa.Table:
    """One row per record with the columns `rows`.

    `exact` is equal for equal texts. `skeleton` is equal for questions that differ in their numbers alone, and 0
    without a number; `numbers` is then the hash of these. `keys` are the hashes of the bands, `exact` and
    `skeleton`: records with a key in common are candidates (0 is none). `rank`: larger ones are worth keeping.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    size = bands * rows_per_band
    question, passage, answer = (pc.fill_null(table[name], "") for name in ("question", "passage", "answer"))
    asked = pc.not_equal(question, "")
    choices = table["choices"].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(choices), 0).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(table)), counts)
    signatures = minhash.Signatures(len(table), size)
    whole = _Parts(question, n, signatures, np.arange(len(table)), numbers=True)
    told = _Parts(pc.if_else(asked, "", passage), n, signatures, np.arange(len(table)))
    options = _Parts(choices.flatten(), n, signatures, owners, numbers=True)
    skeleton = mix(options.joined(whole.skeleton, options.skeleton, owners)) | np.uint64(1)
    numbered = whole.numbered.copy()
    numbered[owners[options.numbered]] = True
    skeleton[~(numbered & asked.to_numpy())] = 0
    values = signatures.finished()
    exact = mix(options.joined(whole.plain + told.plain, options.plain, owners)) | np.uint64(1)
    keys = np.concatenate((minhash.band_hashes(values, bands), exact[:, None], skeleton[:, None]), axis=1)
    lengths = whole.lengths + told.lengths + np.bincount(owners, options.lengths, len(table))
    columns = {
        "id": table["id"],
        "who": identity_hashes(table["id"]),
        "kind": table["kind"],
        "exact": exact,
        "skeleton": skeleton,
        "numbers": options.joined(whole.numbers, options.numbers, owners),
        "answer": _answers(answer, counts, options.plain, n),
        "rank": pack(_ranks(table, answer, lengths)),
        # Bands were made of all bits; to estimate a similarity half of them are enough.
        "signature": pack(values.astype("<u2")),
        "keys": pack(keys.astype("<u8")),
    }
    return pa.table(columns).cast(schema_of(rows(bands, size)))


class _Parts:
    """Hashes of one column of texts (questions, passages, or all options), and their n-grams in the signatures."""

    def __init__(
        self,
        texts: pa.ChunkedArray,
        n: int,
        signatures: minhash.Signatures | None = None,
        owners: Indexes | None = None,
        *,
        numbers: bool = False,
    ) -> None:
        import numpy as np

        count = len(texts)
        self.plain, self.skeleton, self.numbers = (np.zeros(count, dtype=np.uint64) for _ in range(3))
        self.numbered = np.zeros(count, dtype=bool)
        self.lengths = np.zeros(count, dtype=np.int64)
        for block in blocks(texts):
            here = slice(block.first, block.first + len(block.starts) - 1)
            found = runs(block, n)
            self.plain[here] = found.sums()
            self.lengths[here] = np.diff(block.starts)
            if signatures is not None and owners is not None:
                signatures.add(found, owners[here])
            if numbers:
                self.skeleton[here], self.numbers[here], self.numbered[here] = _blanked(block)

    @staticmethod
    def joined(first: Hashes, parts: Hashes, owners: Indexes) -> Hashes:
        """A hash of each first part with its owner's other parts, whatever their order."""
        import numpy as np

        result = first.copy()
        np.add.at(result, owners, mix(parts ^ np.uint64(_ORDER)))
        return result


class _Blanked(NamedTuple):
    skeleton: Hashes
    numbers: Hashes
    numbered: npt.NDArray[np.bool_]


def _blanked(block: Tokens) -> _Blanked:
    """Hashes of each text with its numbers blanked and of its numbers, in order; and which texts have any."""
    import numpy as np

    starts, hashes = block.starts, block.hashes.copy()
    texts = len(starts) - 1
    at = block.numbers()
    owners = np.searchsorted(starts, at, side="right") - 1
    numbered = np.zeros(texts, dtype=bool)
    numbered[owners] = True
    numbers = np.zeros(texts, dtype=np.uint64)
    nth = np.arange(len(at)) - np.searchsorted(owners, owners)
    np.add.at(numbers, owners, mix(hashes[at] + nth.astype(np.uint64) * np.uint64(_ORDER)))
    skeleton = np.zeros(texts, dtype=np.uint64)
    some = np.flatnonzero(np.diff(starts))
    if len(at) and len(some):
        hashes[at] = _ORDER
        hashes += np.arange(len(hashes), dtype=np.uint64) * np.uint64(_ORDER)
        # Places count from the text's start, not the block's.
        hashes -= np.repeat(starts[:-1].astype(np.uint64) * np.uint64(_ORDER), np.diff(starts))
        skeleton[some] = np.add.reduceat(mix(hashes), starts[:-1][some])
    return _Blanked(skeleton, numbers, numbered)


def _answers(answer: pa.ChunkedArray, counts: Indexes, options: Hashes, n: int) -> Hashes:
    """A hash of each answer's text, that of the option where the answer is its letter."""
    import numpy as np
    import pyarrow.compute as pc

    hashes = _Parts(answer, n).plain
    letters = pc.index_in(answer, value_set=_letters()).to_numpy(zero_copy_only=False)
    letters = np.nan_to_num(letters.astype(float), nan=np.inf)
    some = np.flatnonzero(letters < counts)
    hashes[some] = options[(np.cumsum(counts) - counts)[some] + letters[some].astype(np.int64)]
    return hashes


def _letters() -> pa.Array:
    import pyarrow as pa

    return pa.array([chr(ord("A") + i) for i in range(26)])


def _ranks(table: pa.Table, answer: pa.ChunkedArray, lengths: Indexes) -> npt.NDArray[np.float64]:
    """What makes a record worth keeping, most important first; higher is better; [records, RANKS]."""
    import numpy as np
    import pyarrow.compute as pc

    def number(values: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = pc.fill_null(values, 0).to_numpy(zero_copy_only=False).astype(float)
        return found

    scores = table["scores"].combine_chunks()
    starts = scores.offsets.to_numpy()
    names, values = scores.keys, number(scores.items)

    def score(name: str) -> npt.NDArray[np.float64]:
        # Many times quicker than `map_lookup`.
        places = np.flatnonzero(pc.equal(names, name).to_numpy(zero_copy_only=False))
        places = places[(places >= starts[0]) & (places < starts[-1])] if len(scores) else places[:0]
        found = np.zeros(len(scores))
        found[np.searchsorted(starts, places, side="right") - 1] = values[places]
        return found

    seed = pc.equal(table["kind"], "seed").to_numpy(zero_copy_only=False)
    answered = pc.not_equal(answer, "").to_numpy(zero_copy_only=False).astype(float)
    seeds = [score("priority"), answered, score("quality"), lengths.astype(float)]
    support, written = (
        number(pc.list_value_length(table["evidence"])),
        number(pc.utf8_length(table["solution"])),
    )
    others = [support, score("judge"), score("pass_rate"), written]
    return np.where(seed, np.array(seeds), np.array(others)).T.astype("<f8")
