"""The index of a resumed run: memory and CPU of making it, and of looking things up, by the number of answers.

python benchmarks/llm_index.py [NUMBER ...]
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARD = 5_000


def sidecars(run: Path, answers: int) -> None:
    """Sidecars as a run of so many answers leaves them; the ledger files themselves are empty."""
    from boostqa.llm.ledger_files import write_sidecar

    folder = run / "ledger" / "round-1" / "synthesize" / "write"
    folder.mkdir(parents=True)
    for start in range(0, answers, SHARD):
        path = folder / f"part-{start // SHARD:05d}.000.jsonl.zst"
        path.touch()
        keys = [(key(n), n) for n in range(start, min(start + SHARD, answers))]
        write_sidecar(path, 0, keys, {})


def key(n: int) -> bytes:
    """The key of an answer."""
    return hashlib.blake2b(n.to_bytes(8, "big"), digest_size=16).digest()


def measured(run: Path, answers: int) -> dict[str, float]:
    """What one start of a run does; for a process of its own."""
    from boostqa.llm.index import Index, index_path, index_run

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, cpu()
    index_run(run).close()
    made, again = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, cpu()
    index_run(run).close()
    unchanged = cpu() - again
    index = Index(index_path(run))
    wanted = [key(n).hex() for n in range(0, answers, max(1, answers // 20_000))]
    look = time.process_time()
    assert all(one in index for one in wanted)
    look = time.process_time() - look
    return {
        "cpu": again - start,
        "again": unchanged,
        "mb": (made - before) / 1024,
        "us": look / len(wanted) * 1e6,
        "disk": index_path(run).stat().st_size / answers,
    }


def main() -> None:
    """Prints a row for each number of answers."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measured(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    numbers = [int(word) for word in sys.argv[1:]] or [100_000, 500_000, 1_000_000, 2_000_000]
    print(
        "| answers | MB more at the peak | bytes a key | CPU s | CPU s unchanged | look-up us | bytes a key on disk |"
    )
    print("|---|---|---|---|---|---|---|")
    for answers in numbers:
        with tempfile.TemporaryDirectory() as folder:
            sidecars(Path(folder), answers)
            done = subprocess.run(
                [sys.executable, __file__, "--one", folder, str(answers)],
                capture_output=True,
                text=True,
                check=True,
            )
        row = json.loads(done.stdout)
        each = row["mb"] * 1048576 / answers
        print(
            f"| {answers:,} | {row['mb']:.0f} | {each:.0f} | {row['cpu']:.2f} | {row['again']:.2f} | "
            f"{row['us']:.1f} | {row['disk']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
