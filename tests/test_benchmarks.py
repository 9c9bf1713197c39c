"""The benchmarks still run: all can be imported, and the cheap ones come to a table with tiny numbers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_ALL = """
import importlib, pathlib, sys
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder))
for path in sorted(folder.glob("*.py")):
    importlib.import_module(path.stem)
    print(path.stem)
"""


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_benchmark_can_be_imported(root: Path, tmp_path: Path) -> None:
    names = run("-c", IMPORT_ALL, str(root / "benchmarks"), folder=tmp_path).split()
    assert {"llm_index", "llm_engine", "curation", "reading"} <= set(names)


@pytest.mark.parametrize(
    ("command", "row"),
    [
        ("llm_index.py 300", "| 300 | "),
        ("llm_engine.py --settings 0 --repeats 1 --requests 20 --clients engine", "| engine | "),
        ("startup.py", "boostqa --help "),
        ("curation.py --documents 50 --repeat 1", "same as the exact sets: True"),
    ],
)
def test_cheap_benchmarks_run(root: Path, tmp_path: Path, command: str, row: str) -> None:
    name, *options = command.split()
    if name == "curation.py" and shutil.which("cc") is None:
        pytest.skip("compares with plain C: needs a compiler")
    assert row in run(str(root / "benchmarks" / name), *options, folder=tmp_path)
