"""Near-duplicates and decontamination: speed beside plain C in the same run, accuracy, memory.

    python benchmarks/curation.py [--documents 20000] [--repeat 3] [--memory 1000000]

Makes its own corpus (seeded): QA-sized documents of 323 words, a fifth of them copies with words replaced, so that
the true Jaccard similarity of every planted pair is known. The C reference (`curation_reference.c`, compiled with
`cc -O3 -march=native` where there is a compiler) reads the same Parquet file. All times are CPU seconds of this
process, the best of the repeats; libraries that are installed (gaoya, rensa, datasketch) are measured on some of the
documents. `--memory N` measures the peak memory of comparing N records instead.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from curation_peers import PEERS

from boostqa.flows import duplicates
from boostqa.flows.overlap import Membership, having
from boostqa.record import Record
from boostqa.shard import EntryFolder, parquet_bytes, read_parquet
from boostqa.stage import Gather, Kit, Map, Shuffle
from boostqa.stages.dedup import Dedup, DedupConfig
from boostqa.table import pack, to_table
from boostqa.text import minhash
from boostqa.text.ngrams import runs, windows, word_ngrams
from boostqa.text.normalise import words
from boostqa.text.tokens import blocks
from boostqa.worker import split

SHARD = 10_000
WORDS = 323
SOME = 3000
"""Documents on which other libraries (`curation_peers.py`) are measured."""
CONSONANTS, VOWELS = "bdfgklmnprstvw", ("a", "e", "i", "o", "u", "ai")
SYLLABLES = [first + second for first in CONSONANTS for second in VOWELS]


def vocabulary(rng: random.Random, size: int = 20_000) -> list[str]:
    """Invented words, the short ones first."""
    made: set[str] = set()
    while len(made) < size:
        made.add(
            "".join(rng.choices(SYLLABLES, k=rng.choices((1, 2, 3), (1, 6, 1))[0]))
            + rng.choice(("", "n", "r"))
        )
    return sorted(made, key=lambda word: (len(word), word))


def sentence(tokens: list[str]) -> str:
    """Words as text, with capitals, commas and stops, and some numbers."""
    tokens = list(tokens)
    tokens[::13] = [word.capitalize() for word in tokens[::13]]
    tokens[12::13] = [f"{word}." for word in tokens[12::13]]
    tokens[7::29] = [f"{word}," for word in tokens[7::29]]
    return " ".join(tokens)


def corpus(count: int, seed: int = 11) -> tuple[list[str], dict[int, int]]:
    """Texts, and for each copy the place of its original."""
    rng, draw = random.Random(seed), np.random.default_rng(seed)
    known = vocabulary(random.Random(1))
    shares = 1 / np.arange(1, len(known) + 1) ** 0.9
    texts: list[list[str]] = []
    copies: dict[int, int] = {}
    for place in range(count):
        if place % 5 == 4:
            original = rng.randrange(place)
            while original in copies:
                original = rng.randrange(place)
            tokens = list(texts[original])
            for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 7, 10, 14))):
                tokens[rng.randrange(len(tokens))] = rng.choice(known)
            copies[place] = original
        else:
            ids = draw.choice(len(known), max(60, int(draw.normal(WORDS, 50))), p=shares / shares.sum())
            tokens = [known[i] for i in ids]
            tokens[5::40] = [str(draw.integers(1, 5000)) for _ in tokens[5::40]]
        texts.append(tokens)
    return [sentence(tokens) for tokens in texts], copies


def cpu(run: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Best CPU seconds of a call, and its result."""
    best, result = float("inf"), None
    for _ in range(repeat):
        start = time.process_time()
        result = run()
        best = min(best, time.process_time() - start)
    return best, result


class Reference:
    """The compiled C reference."""

    def __init__(self, folder: Path) -> None:
        library = folder / "reference.so"
        source = Path(__file__).with_name("curation_reference.c")
        command = [
            shutil.which("cc") or "gcc",
            "-O3",
            "-march=native",
            "-shared",
            "-fPIC",
            "-o",
            str(library),
        ]
        subprocess.run([*command, str(source)], check=True)
        self.library = ctypes.CDLL(str(library))

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function with arrays and numbers."""
        passed = [
            one.ctypes.data_as(ctypes.c_void_p) if isinstance(one, np.ndarray) else ctypes.c_int64(one)
            for one in arguments
        ]
        getattr(self.library, name)(*passed)

    @staticmethod
    def texts(paths: list[Path], column: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Bytes and offsets of a column of texts."""
        table = pa.concat_tables(pq.ParquetFile(path).read(columns=["id", column]) for path in paths)
        array = table[column].cast(pa.large_string()).combine_chunks()
        _, offsets, data = array.buffers()
        return np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int64), len(array)

    def dedup(self, paths: list[Path]) -> np.ndarray:
        """From Parquet to the first of each document's group."""
        data, offsets, count = self.texts(paths, "passage")
        rng = np.random.default_rng(1)
        factors = rng.integers(0, 2**32, 112, dtype=np.uint32) | np.uint32(1)
        addends = rng.integers(0, 2**32, 112, dtype=np.uint32)
        keys = np.empty((count, 14), np.uint64)
        # int arguments are passed as 64-bit ones, of which C reads the lower half.
        self.call("minhash", data, offsets, count, 5, 14, 8, factors, addends, keys)
        up = np.arange(count)
        for band in range(14):
            order = np.argsort(keys[:, band], kind="stable")
            equal = np.flatnonzero(keys[order[1:], band] == keys[order[:-1], band])
            self.call("unite", order[equal].copy(), order[equal + 1].copy(), len(equal), up)
        self.call("roots", up, count)
        return up

    def filter(self, paths: list[Path], items: list[str]) -> np.ndarray:
        """Which texts have a 13-gram of the items."""
        data, offsets, count = self.texts(paths, "passage")
        joined = "".join(items).encode()
        ends = np.cumsum([0, *(len(item.encode()) for item in items)])
        self.call("build", np.frombuffer(joined, np.uint8), ends, len(items), 13)
        hit = np.zeros(count, np.uint8)
        self.call("filter", data, offsets, count, 13, hit)
        return hit.astype(bool)


class Folder:
    """`stage.Shards` over one entry folder without incumbents."""

    def __init__(self, folder: EntryFolder) -> None:
        self.folder = folder

    def rows(self, step: str, shard: str, columns: list[str] | None) -> pa.Table:
        """Rows of a step of one shard."""
        return read_parquet(self.folder.rows(step, shard), columns)

    def batches(self, step: str, columns: list[str] | None) -> Iterator[pa.Table]:
        """Rows of a step, shard by shard."""
        for shard in sorted(self.folder.done(f"state/{step}")):
            yield read_parquet(self.folder.rows(step, shard), columns)

    def state(self, step: str) -> dict[str, Any]:
        """State of a gather."""
        return self.folder.read_state(step)

    def read_states(self, name: str, step: str) -> list[dict[str, Any]]:
        """There are no earlier entries."""
        return []

    def read_rows(self, name: str, step: str, columns: list[str] | None) -> Iterator[pa.Table]:
        """There are no earlier entries."""
        return iter(())


def decide(paths: list[Path], place: Path, partitions: int = 4) -> dict[str, Any]:
    """The dedup stage from Parquet to its decisions, all its steps committed to disk as in a run."""
    shutil.rmtree(place, ignore_errors=True)
    folder = EntryFolder(place)
    kit = Kit(entry="dedup", segment="head", shard="", shards=Folder(folder))  # type: ignore[arg-type]
    shards = [path.stem for path in paths]
    for step in Dedup(DedupConfig(partitions=partitions)).steps()[:-1]:
        if isinstance(step, Map):
            assert step.rows is not None
            for path in paths:
                kit.shard = path.stem
                table = read_parquet(path, list(step.columns or ()))
                folder.commit_rows(step.name, path.stem, step.run(table, kit), step.rows)
        elif isinstance(step, Shuffle):
            for shard in shards:
                split(step, shard, folder)
            for part in range(partitions):
                found = step.reduce(folder.read_split(step.name, shards, part), kit)
                folder.commit_rows(step.name, f"part-{part:05d}", found, step.rows)
        elif isinstance(step, Gather):
            folder.commit_state(step.name, step.run(kit))
    return folder.read_state("clusters")


def kernel(paths: list[Path]) -> np.ndarray:
    """From Parquet to the hashes of bands: what the reference's `minhash` does, with nothing on disk."""
    keys = []
    for path in paths:
        texts = pq.ParquetFile(path).read(columns=["id", "passage"])["passage"]
        found = minhash.Signatures(len(texts))
        for block in blocks(texts):
            parts = runs(block, 5)
            found.add(parts, block.first + np.arange(len(parts.counts)))
        keys.append(minhash.band_hashes(found.finished()))
    return np.concatenate(keys)


def peers(texts: list[str], reference: float | None) -> None:
    """A line for each library that is installed; `reference`: seconds of the C reference for a document."""
    for peer in PEERS:
        try:
            seconds, found = cpu(lambda peer=peer: peer(texts), 1)  # type: ignore[misc]
        except ImportError:
            print(f"  {peer.__name__} is not installed")
            continue
        name = f"  {peer.__name__}, texts in memory: {found} of {len(texts)} have one before"
        row(name, seconds, len(texts), reference and reference * len(texts))


def row(name: str, seconds: float, count: int, best: float | None) -> None:
    """One line of a table."""
    beside = f"{best / seconds:6.2f}" if best else "     -"
    print(f"  {name:52s} {1e6 * seconds / count:8.1f} {count / seconds:10,.0f} {beside}", flush=True)


def accuracy(texts: list[str], copies: dict[int, int], state: dict[str, Any], ids: list[str]) -> None:
    """Recall by true Jaccard similarity, and precision."""
    who = duplicates.identity_hashes(pa.chunked_array([pa.array(ids)]))
    table = state["clusters"]
    reasons = dict(zip(table["who"].to_pylist(), table["reason"].to_pylist(), strict=True))
    dropped = {i for i, one in enumerate(who.tolist()) if reasons.get(one)}
    originals = set(copies.values())
    right = sum(i in copies or i in originals for i in dropped)
    by_band: dict[str, list[bool]] = {}
    for copy, original in copies.items():
        a, b = (set(word_ngrams(texts[i], 5).tolist()) for i in (copy, original))
        jaccard = len(a & b) / len(a | b)
        band = (
            ">= 0.9"
            if jaccard >= 0.9
            else f"{int(jaccard * 10) / 10:.1f} - {int(jaccard * 10) / 10 + 0.1:.1f}"
        )
        # Of a pair either may be the one that stays.
        by_band.setdefault(band, []).append(copy in dropped or original in dropped)
        if jaccard >= 0.8:
            by_band.setdefault("all of 0.8 and above", []).append(copy in dropped or original in dropped)
    for band in sorted(by_band, reverse=True):
        print(f"  recall at Jaccard {band:22s} {np.mean(by_band[band]):.4f}  ({len(by_band[band])} pairs)")
    print(f"  precision {right / max(1, len(dropped)):.4f}  ({len(dropped)} dropped)", flush=True)


def measure(count: int, repeat: int) -> None:
    """All tables of speed and accuracy."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        texts, copies = corpus(count)
        ids = [f"{i:032x}" for i in range(count)]
        paths = []
        for start in range(0, count, SHARD):
            part = range(start, min(start + SHARD, count))
            records = [
                Record(id=ids[i], kind="seed", passage=texts[i], scores={"quality": 0.5}) for i in part
            ]
            paths.append(base / f"part-{start // SHARD:05d}.parquet")
            paths[-1].write_bytes(parquet_bytes(to_table(records)))
        size = sum(map(len, texts)) / count
        print(f"{count:,} documents of {WORDS} words, {size:.0f} bytes; best of {repeat}\n")
        try:
            reference = Reference(base)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no C compiler ({error}): without the reference")
            reference = None
        print(f"  {'from Parquet':52s} {'us/doc':>8s} {'docs/s':>10s}  x C")
        c = None
        if reference:
            c, _ = cpu(lambda: reference.dedup(paths), repeat)
            row("MinHash 14 x 8 to groups: plain C", c, count, c)
        seconds, _ = cpu(lambda: kernel(paths), repeat)
        row("  boostqa, signatures and bands", seconds, count, c)
        seconds, state = cpu(lambda: decide(paths, base / "entry"), repeat)
        row("  boostqa, stage dedup to decisions, steps on disk", seconds, count, c)
        peers(texts[:SOME], c and c / count)
        accuracy(texts, copies, state, ids)
        items = corpus(2000, seed=5)[0] + texts[:: max(1, count // 100)]
        grams = np.concatenate([windows_of(item) for item in items])
        c = None
        if reference:
            c, hits = cpu(lambda: reference.filter(paths, items), repeat)
            row("13-gram filter: plain C", c, count, c)

        def ours() -> np.ndarray:
            known, hit = Membership(grams), np.zeros(count, dtype=bool)
            for n, path in enumerate(paths):
                texts = pq.ParquetFile(path).read(columns=["id", "passage"])["passage"]
                hit[n * SHARD + having(texts, known, 13)] = True
            return hit

        seconds, found = cpu(ours, repeat)
        row("  boostqa", seconds, count, c)
        some = min(count, 4000)
        seconds, exact = cpu(lambda: plain_sets(texts[:some], items), 1)
        row("  Python sets of 13-grams (exact)", seconds, some, c and c * some / count)
        print(
            f"  same as the exact sets: {np.array_equal(found[:some], exact)}, {int(exact.sum())} hits of {some}"
        )
        if reference:
            print(
                f"  C differs from boostqa in {int((hits != found).sum())} of {count} (it folds ASCII alone)"
            )


def windows_of(text: str) -> np.ndarray:
    """Hashes of all 13-grams of a text."""
    return np.concatenate([windows(block.hashes, 13) for block in blocks([text])])


def plain_sets(texts: list[str], items: list[str]) -> np.ndarray:
    """Which texts have a 13-gram of the items: Python sets of tuples of words, no hashes."""

    def grams(text: str) -> Iterator[tuple[str, ...]]:
        tokens = words(text)
        return zip(*(tokens[i:] for i in range(13)), strict=False)

    known = {gram for item in items for gram in grams(item)}
    return np.array([any(gram in known for gram in grams(text)) for text in texts])


def memory(count: int) -> None:
    """Peak memory of pairs and clusters over `count` records, three in ten of them near-duplicates of another."""
    config = DedupConfig(partitions=max(8, count // 250_000))
    rng = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as name:
        folder = EntryFolder(Path(name))
        kit = Kit(entry="dedup", segment="head", shard="", shards=Folder(folder))  # type: ignore[arg-type]
        steps = Dedup(config).steps()
        shards = [f"part-{n:05d}" for n in range(-(-count // SHARD))]
        values = rng.integers(0, 2**32, (SHARD, 112), dtype=np.uint32)
        for n, shard in enumerate(shards):
            fresh = rng.integers(0, 2**32, (SHARD, 112), dtype=np.uint32)
            # Near-duplicates of the shard before, nine tenths of their places equal.
            same = rng.random((SHARD, 112)) < 0.9
            values = np.where((np.arange(SHARD) % 10 < 3)[:, None] & same, values, fresh)
            folder.commit_rows("signatures", shard, _rows(values, n), duplicates.rows(14, 112))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        shuffle, gather = steps[1], steps[2]
        assert isinstance(shuffle, Shuffle)
        assert isinstance(gather, Gather)
        for shard in shards:
            split(shuffle, shard, folder)
        for part in range(shuffle.partitions):
            rows = folder.read_split("edges", shards, part)
            folder.commit_rows("edges", f"part-{part:05d}", shuffle.reduce(rows, kit), shuffle.rows)
        middle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        state = gather.run(kit)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count:,} records, {state['pairs']:,} pairs, {len(state['clusters']):,} with a partner")
        print(
            f"  peak after making rows {before:.0f} MB, after the pairs {middle:.0f} MB, after clusters {peak:.0f} MB"
        )
        print(
            f"  {(peak - 150) * 1024 * 1024 / count:.0f} bytes a record beyond 150 MB of program", flush=True
        )


def _rows(values: np.ndarray, number: int) -> pa.Table:
    """Rows of the step `signatures` for given signatures."""
    count = len(values)
    ids = pa.array([f"{number:08d}{i:024x}" for i in range(count)])
    exact = minhash.band_hashes(values, 1)
    keys = np.concatenate((minhash.band_hashes(values, 14), exact, np.zeros((count, 1), np.uint64)), axis=1)
    zero = np.zeros(count, dtype=np.uint64)
    return pa.table(
        {
            "id": ids,
            "who": duplicates.identity_hashes(pa.chunked_array([ids])),
            "kind": ["seed"] * count,
            "exact": exact[:, 0],
            "skeleton": zero,
            "numbers": zero,
            "answer": zero,
            "rank": pack(np.zeros((count, duplicates.RANKS))),
            "signature": pack(values.astype("<u2")),
            "keys": pack(keys),
        }
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="RECORDS")
    chosen = parser.parse_args()
    sys.exit(memory(chosen.memory) if chosen.memory else measure(chosen.documents, chosen.repeat))
