"""`boostqa ledger`: what a run has paid for, in sums, checked byte by byte, or line by line as JSON.

Reads only, one frame at a time, on a run in any state, also while another process writes to it. Knows the
ledger's files and how a reply is read; it must not know what a stage does.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from boostqa.errors import UserError
from boostqa.llm.frames import survey
from boostqa.llm.ledger_files import ledger_files, split_name, storage
from boostqa.llm.lines import Line, Totals
from boostqa.llm.model import Outcome, Reply
from boostqa.llm.replies import interpret
from boostqa.report.status import money
from boostqa.run import Run

_BUCKETS = 64
"""Files over which keys are spread to find those that are there twice, with a 64th of the keys in memory."""
_SHOWN = 20
_decoder = msgspec.json.Decoder(Line)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are meant; empty: all."""

    segment: str = ""
    stage: str = ""
    model: str = ""
    """Name in the recipe's `models`."""
    role: str = ""
    record: str = ""
    outcome: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in ("", *Outcome):
            raise UserError(
                f"--outcome {self.outcome}: there is none of that name; there are {', '.join(Outcome)}"
            )

    def takes(self, place: dict[str, Any], line: Line) -> bool:
        """Whether a line is meant, as far as its outcome does not matter."""
        found = (place["segment"], place["entry"], line.name, line.role, line.r)
        wanted = (self.segment, self.stage, self.model, self.role, self.record)
        return all(want in ("", have) for want, have in zip(wanted, found, strict=True))


def read_of(line: Line) -> Reply:
    """How today's code reads a line: the answer with its outcome."""
    if line.reply is None or line.request is None:
        return Reply(outcome=Outcome.FAILED, error=line.err or "no answer", key=line.k)
    if line.kind == "score":  # its text is the prompt, which is not kept; it has no outcome but this
        return Reply(outcome=Outcome.OK, logprobs=line.reply.logprobs, usage=line.reply.usage, key=line.k)
    return interpret(line.reply, line.request, key=line.k)


def _lines(run: Path) -> Iterator[tuple[dict[str, Any], bytes, Line]]:
    """Every line with its place and its bytes; unreadable ones are passed over (`verify` counts them)."""
    for path in ledger_files(run):
        segment, entry, step = path.parts[-4:-1]
        shard, attempt = split_name(path)
        place = {"segment": segment, "entry": entry, "step": step, "shard": shard, "attempt": attempt}
        with storage(path):
            for part in survey(path):
                for data in part.lines:
                    try:
                        yield place, data, _decoder.decode(data)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue


# Sums


class Row(msgspec.Struct, kw_only=True):
    """Sums over the calls of one stage to one model."""

    stage: str
    model: str
    calls: int = 0
    text_bytes: int = 0
    """Of the lines, uncompressed."""
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    totals: Totals = msgspec.field(default_factory=Totals)

    def plain(self) -> dict[str, Any]:
        """As plain data; a cost that is not known is None."""
        sums = {name: getattr(self.totals, name) for name in self.totals.__struct_fields__}
        del sums["money"]
        if sums.pop("mixed"):
            sums |= {"currency": "", "used_money": None}
        if self.totals.unpriced:
            sums["used_money"] = None
        return {
            "stage": self.stage,
            "model": self.model,
            "calls": self.calls,
            "outcomes": dict(sorted(self.outcomes.items())),
            "cost": self.totals.cost,
            **sums,
            "lost": self.totals.lost_cost,
            "text_bytes": self.text_bytes,
        }


def stats(path: Path, where: Where) -> dict[str, Any]:
    """Sums per stage and model, and over all; tokens as the providers counted them.

    Raises:
        UserError: when there is no run at `path`.
    """
    run = Run.open(path)
    rows: dict[tuple[str, str], Row] = {}
    for place, data, line in _lines(run.root):
        if not where.takes(place, line):
            continue
        outcome = str(read_of(line).outcome)
        if where.outcome not in ("", outcome):
            continue
        row = rows.setdefault((place["entry"], line.name), Row(stage=place["entry"], model=line.name))
        row.calls += 1
        row.text_bytes += len(data)
        row.outcomes[outcome] += 1
        row.totals.add(line)
    every = Row(stage="all", model="")
    for row in rows.values():
        every.calls += row.calls
        every.text_bytes += row.text_bytes
        every.outcomes.update(row.outcomes)
        every.totals.merge(row.totals)
    files = ledger_files(run.root)
    return {
        "run": str(run.root),
        "running": run.is_running(),
        "rows": [row.plain() for _, row in sorted(rows.items())],
        "all": every.plain(),
        "files": len(files),
        "bytes_on_disk": sum(file.stat().st_size for file in files),
    }


def print_stats(path: Path, where: Where, *, as_json: bool) -> None:
    """Prints `stats` as a table, or as JSON."""
    found = stats(path, where)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    from rich.console import Console
    from rich.table import Table

    kinds = list(found["all"]["outcomes"])
    titles = ["stage", "model", "requests", *kinds, "tokens in", "cached", "tokens out", "cost", "MB"]
    cells = []
    for row in [*found["rows"], found["all"]]:
        counts = [f"{row['outcomes'].get(kind, 0):,}" for kind in kinds]
        tokens = [f"{row[name]:,}" for name in ("prompt", "cached", "completion")]
        rest = [money(row["cost"], row["currency"]), f"{row['text_bytes'] / 1e6:,.2f}"]
        cells.append([row["stage"], row["model"], f"{row['requests']:,}", *counts, *tokens, *rest])
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title in ("stage", "model") else "right", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    # A narrow terminal breaks a line; it must not shorten a number.
    wide = sum(max(map(len, column)) + 2 for column in zip(titles, *cells, strict=True))
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, wide)
    console.print(table)
    total = found["all"]
    console.print(
        f"\n{found['files']:,} files, {found['bytes_on_disk'] / 1e6:,.2f} MB on disk; {total['calls']:,} calls, "
        f"{total['requests']:,} requests with repeats"
    )
    if total["lost"] or total["lost_tokens"]:
        console.print(
            f"calls that broke off may have cost up to {money(total['lost'], total['currency'])} and "
            f"{total['lost_tokens']:,} tokens more"
        )


# Checking


def _temporary() -> BinaryIO:
    """A file without a name."""
    return tempfile.TemporaryFile(prefix="boostqa-ledger-")


class _Keys:
    """Keys of all answers, spread over temporary files, to find those that were paid for twice."""

    def __init__(self, stack: ExitStack) -> None:
        self._files = [stack.enter_context(_temporary()) for _ in range(_BUCKETS)]

    def add(self, key: bytes) -> None:
        self._files[key[0] % _BUCKETS].write(key)

    def twice(self) -> Iterator[tuple[str, int]]:
        """(key, how often) of those that are there more than once."""
        import numpy as np

        for file in self._files:
            file.seek(0)
            keys, counts = np.unique(np.frombuffer(file.read(), dtype="V16"), return_counts=True)
            for at in np.flatnonzero(counts > 1):
                yield bytes(keys[at]).hex(), int(counts[at])


def verify(path: Path) -> dict[str, Any]:
    """Reads every frame of a run's ledger against its checksum, and every line.

    A torn tail is what a kill leaves, or a run that is being written; it is no damage. A key with several
    answers was paid for several times, which is none either.

    Raises:
        UserError: when there is no run at `path`.
    """
    run = Run.open(path)
    counts: Counter[str] = Counter()
    places: list[str] = []
    with ExitStack() as stack:
        keys = _Keys(stack)
        for file in ledger_files(run.root):
            counts["files"] += 1
            with storage(file):
                for part in survey(file):
                    counts["frames"] += part.state == "whole"
                    counts[f"{part.state}_bytes"] += part.length
                    bad = part.state == "damaged" or not _good(part.lines, keys, counts)
                    counts["torn"] += part.state == "torn"
                    if bad:
                        counts["damaged"] += 1
                        places.append(f"{file.relative_to(run.root)} at {part.offset}, {part.length} bytes")
                        del places[_SHOWN:]
        twice = Counter(dict(keys.twice()))
    return {
        "run": str(run.root),
        "running": run.is_running(),
        **{
            name: counts[name]
            for name in (
                "files",
                "frames",
                "lines",
                "answers",
                "torn",
                "torn_bytes",
                "damaged",
                "damaged_bytes",
            )
        },
        "places": places,
        "answered_again": sum(twice.values()) - len(twice),
        "answered_again_keys": [key for key, _ in twice.most_common(_SHOWN)],
    }


def _good(lines: list[bytes], keys: _Keys, counts: Counter[str]) -> bool:
    """Whether each line of a frame can be read; counts lines, and notes the keys of answers."""
    good = True
    for data in lines:
        counts["lines"] += 1
        try:
            line = _decoder.decode(data)
            key = bytes.fromhex(line.k)
        except (msgspec.DecodeError, ValueError):
            good = False
            continue
        if len(key) == 16 and not line.err:
            counts["answers"] += 1
            keys.add(key)
    return good


def print_verdict(path: Path, *, as_json: bool) -> bool:
    """Prints `verify`; returns whether nothing is damaged."""
    found = verify(path)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return not found["damaged"]
    print(
        f"{found['files']:,} files, {found['frames']:,} frames, {found['lines']:,} lines, "
        f"{found['answers']:,} answers: every checksum was read"
    )
    if found["torn"]:
        why = "the run is being written" if found["running"] else "left by a kill; nothing to do"
        print(f"torn tails: {found['torn']:,} ({found['torn_bytes']:,} bytes; {why})")
    if found["answered_again"]:
        examples = ", ".join(found["answered_again_keys"][:3])
        print(f"answered more than once: {found['answered_again']:,} answers too many (keys {examples})")
    for place in found["places"]:
        print(f"damaged: {place}")
    if found["damaged"]:
        print(
            f"{found['damaged']:,} damaged places: the answers in them are lost and would be paid for again; "
            "the rest is read. Restore the files from a copy if there is one, and see to the disk"
        )
    else:
        print("nothing is damaged")
    return not found["damaged"]


# Lines


def export_lines(path: Path, where: Where, out: Path | None) -> int:
    """Writes requests and replies as JSON lines to `out`, or to standard output; returns how many.

    A line holds the place (segment, entry, step, shard, attempt), what the ledger has, and how today's code
    reads the reply: `outcome`, `error`, `answer`, `thought`.

    Raises:
        UserError: when there is no run at `path`, or `out` is there already.
    """
    run = Run.open(path)
    if out is None:
        try:
            return _write(run.root, where, sys.stdout.buffer)
        except BrokenPipeError:  # as by `| head`: whoever reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
    try:
        with out.open("xb") as file:
            return _write(run.root, where, file)
    except FileExistsError as error:
        raise UserError(f"--out {out}: is there already; name another file") from error
    except FileNotFoundError as error:
        raise UserError(f"--out {out}: no such folder; make it first") from error


def _write(run: Path, where: Where, file: BinaryIO) -> int:
    written = 0
    for place, _, line in _lines(run):
        if not where.takes(place, line):
            continue
        reply = read_of(line)
        if where.outcome not in ("", str(reply.outcome)):
            continue
        read = {
            "outcome": reply.outcome,
            "error": reply.error,
            "answer": reply.text,
            "thought": reply.reasoning,
        }
        file.write(msgspec.json.encode(place | msgspec.to_builtins(line) | read) + b"\n")
        written += 1
    file.flush()
    return written
