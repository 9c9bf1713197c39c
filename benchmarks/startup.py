"""CPU seconds of `import boostqa` and `boostqa --help`, best of five, each in a process of its own.

python benchmarks/startup.py
"""

from __future__ import annotations

import resource
import subprocess
import sys

CASES = {
    "import boostqa": [sys.executable, "-c", "import boostqa"],
    "boostqa --help": [sys.executable, "-m", "boostqa.cli", "--help"],
    "python itself": [sys.executable, "-c", "pass"],
}


def cpu_seconds(command: list[str]) -> float:
    """User plus system seconds of one run of `command`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    for name, command in CASES.items():
        print(f"{name:16} {min(cpu_seconds(command) for _ in range(5)):.3f} s")
