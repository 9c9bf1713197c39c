"""Peak memory of a whole run on the fake provider for growing numbers of seeds; it should stay level.

    python benchmarks/run_memory.py [SEEDS ...]

Each size is a run of its own (`boostqa run`, one worker, shards of 500). The plan grows with the seeds, so that
every stage sees more records. One worker has four shards in work, so sizes below 2,000 seeds have fewer and need
less. Prints the peak of the run's process; the fake provider is another process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from world import fake_server, make_recipe


def peak_mb(seeds: int) -> float:
    """Peak resident memory in MB of a run over `seeds` seeds."""
    with tempfile.TemporaryDirectory() as name, fake_server(Path(name)) as server:
        folder = Path(name)
        recipe = make_recipe(
            folder,
            server.url,
            seeds=seeds,
            items=seeds // 10,
            annotate={"sample": 400},
            probe={"max_items": 200},
        )
        recipe.write_text(recipe.read_text().replace("shard_size: 60", "shard_size: 500"))
        code = (
            "import resource, runpy, sys\n"
            "try:\n"
            "    from boostqa.session import Options, run_session\n"
            "    from boostqa.runner import Silent\n"
            "    from pathlib import Path\n"
            "    run_session(Path(sys.argv[1]), Options(out=Path(sys.argv[2])), Silent())\n"
            "finally:\n"
            "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(recipe), str(folder / "run")],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]] or [2000, 6000, 18000]
    for size in sizes:
        print(f"{size:8,} seeds: {peak_mb(size):7.0f} MB", flush=True)
