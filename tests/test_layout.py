"""The house rules that a machine can check: sizes, the import arrow, cheap imports, documented fields."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "boostqa"
MODULES = sorted(PACKAGE.rglob("*.py"))

LINES, FUNCTION_LINES, PARAMETERS, FILES, DEPTH = 400, 60, 7, 15, 1
FILES_IN = {
    ".": 30,  # the spine of the program, which ARCHITECTURE.md lists in the order of the import arrow
    "flows": 19,  # what several stages share, a file a concern
    "text": 21,  # pure functions that hardly know one another
    "annotation": 16,  # classifier, meter and item-response fit, each with what it needs
    "readers": 18,  # a file a format, and what they share
    "llm": 30,  # one engine whose modules are of no use alone
    "llm/fake": 16,  # one provider, the same
}
"""Folders that may hold more Python files than `FILES`, and why."""
DEEPER = {"llm/fake"}
"""Folders more than `DEPTH` levels below the package: the fake provider is many files and one thing."""
MANY_PARAMETERS = {"cli.run"}
"""A command has a parameter per option; `test_docs.py` keeps the options few."""

ARROW = (
    ("errors", "identity", "text", "taxonomy", "licences", "inputs", "hub", "grouping"),
    ("record",),
    ("table",),
    ("shard", "release", "run", "llm", "prompts", "readers"),
    ("flows",),
    ("annotation",),
    ("stage",),
    ("stages",),
    ("pipeline",),
    ("view", "recipe"),
    ("schedule",),
    ("worker", "child", "executor", "runner", "metrics", "redo", "check", "session"),
    ("display", "report", "estimate", "starter"),
    ("cli",),
)
"""Units from low to high: each may import units of its own line and of lines above it in this table."""
HEAVY = ("pyarrow", "pandas", "torch", "numpy", "scipy", "sympy", "aiohttp", "resiliparse", "transformers")


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def unit_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{relative(path).removesuffix('.py').replace('/', '.')}.{node.name}", node


def test_modules_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lengths.items() if count > LINES} == {}


def test_functions_are_short() -> None:
    found = {}
    for path in MODULES:
        for name, node in functions(path):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > FUNCTION_LINES:
                found[name] = length
    assert found == {}


def test_functions_have_few_parameters() -> None:
    found = {}
    for path in MODULES:
        for name, node in functions(path):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([argument for argument in every if argument.arg not in ("self", "cls")])
            if count > PARAMETERS and name not in MANY_PARAMETERS:
                found[name] = count
    assert found == {}


def test_folders_are_small_and_flat() -> None:
    folders = {path.parent for path in MODULES}
    crowded, deep = {}, set()
    for folder in folders:
        name = relative(folder)
        count = len(list(folder.glob("*.py")))
        if count > FILES_IN.get(name, FILES):
            crowded[name] = count
        if len(folder.relative_to(PACKAGE).parts) > DEPTH:
            deep.add(name)
    assert crowded == {}
    assert deep == DEEPER


def test_no_drawer() -> None:
    names = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    assert names & {"utils", "util", "helpers", "common", "misc", "tools"} == set()


def test_modules_say_what_they_know() -> None:
    assert [relative(path) for path in MODULES if not ast.get_docstring(tree(path))] == []


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(imported module of ours, whether only for types)."""
    module = tree(path)
    typing = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "boostqa":
            base = str(node.module)
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "boostqa" else [base]
            yield from ((name, id(node) in typing) for name in names)


def test_imports_go_one_way() -> None:
    place = {unit: number for number, line in enumerate(ARROW) for unit in line}
    wrong = []
    for path in MODULES:
        own = unit_of(path)
        for name, only_types in imports(path):
            other = name.partition(".")[2].partition(".")[0]
            if own == "__init__" or not other or other == "__version__":
                continue
            assert own in place, f"{own}: not in the table ARROW"
            assert other in place, f"{other}: not in the table ARROW"
            if place[other] > place[own] and not only_types:
                wrong.append(f"{relative(path)} imports {name}")
    assert wrong == []


def test_stages_do_not_import_each_other() -> None:
    stages = [path for path in MODULES if path.parent.name == "stages"]
    found = [
        f"{relative(p)} imports {n}" for p in stages for n, _ in imports(p) if n.startswith("boostqa.stages")
    ]
    assert found == []


def test_only_one_place_imports_ray_and_torch() -> None:
    found = set()
    for path in MODULES:
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.split(".")[0] in ("ray", "torch"):
                    found.add((unit_of(path), name.split(".")[0]))
    assert found <= {("executor_ray", "ray"), ("training", "torch"), ("evaluation", "torch")}


def configs() -> Iterator[type[BaseModel]]:
    for path in MODULES:
        if "BaseModel" in path.read_text(encoding="utf-8") or "Config" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
            if name.endswith(("__main__", "embedded_child")):
                continue
            module = importlib.import_module(name)
            for value in vars(module).values():
                if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == name:
                    yield value


def test_every_config_field_is_documented() -> None:
    from boostqa.stage import StageConfig

    bases = {StageConfig.__name__, "_Settings"}
    missing = []
    for config in configs():
        for name, field in config.model_fields.items():
            if (
                not (field.description or field.annotation in configs_with_docs())
                and config.__name__ not in bases
            ):
                missing.append(f"{config.__module__}.{config.__name__}.{name}")
    assert missing == []


def configs_with_docs() -> set[type]:
    """Section types whose own docstring says what the field of that type holds."""
    from boostqa.recipe import Recipe

    types = {field.annotation for field in Recipe.model_fields.values()}
    return {kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__doc__}


def cpu_seconds(*command: str) -> float:
    """CPU seconds of the quickest of five runs."""
    best = float("inf")
    for _ in range(5):
        before = os.times()
        subprocess.run(
            [sys.executable, *command], check=True, capture_output=True, cwd=ROOT, env=environment()
        )
        after = os.times()
        used = after.children_user - before.children_user + after.children_system - before.children_system
        best = min(best, used)
    return best


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}


@pytest.mark.parametrize(
    ("command", "limit"),
    [(("-c", "import boostqa"), 0.3), (("-m", "boostqa.cli", "--help"), 0.7)],
    ids=["import", "help"],
)
def test_starts_quickly(command: tuple[str, ...], limit: float) -> None:
    assert cpu_seconds(*command) < limit


@pytest.mark.parametrize("command", ["import boostqa", "import boostqa.cli, sys; sys.argv[1:] = ['--help']"])
def test_starts_without_anything_heavy(command: str) -> None:
    code = f"{command}\nif 'cli' in {command!r}:\n    try: boostqa.cli.app()\n    except SystemExit: pass\n"
    code += "import sys; print('LOADED', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment()
    )
    loaded = {name.split(".")[0] for name in re.findall(r"[\w.]+", done.stdout.rpartition("LOADED")[2])}
    assert "boostqa" in loaded
    assert loaded & set(HEAVY) == set()
