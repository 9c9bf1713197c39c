"""What the documents say is still true: the map of modules, paths, and the list of commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from boostqa.cli import app

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "boostqa"
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
MADE_LATER = ("runs/", "dataset/", "ledger/", "round-1/", "grow-1/", "00-seeds/", "start/", "base/", "all/")
"""Beginnings of paths that are in a run folder, or that commands in the text make."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_map_equals_the_tree() -> None:
    listed = re.findall(r"^- `([\w/]+\.py)`: \S", text_of("ARCHITECTURE.md"), re.MULTILINE)
    modules = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    assert sorted(set(modules) - set(listed)) == [], "add these to the map in ARCHITECTURE.md"
    assert sorted(set(listed) - set(modules)) == [], "take these out of the map in ARCHITECTURE.md"
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_named_paths_exist(path: Path) -> None:
    """Everything in backquotes that looks like a file or folder of this repository is one."""
    named = re.findall(r"`([\w.-]+(?:/[\w-]+)*/(?:[\w-]*\.\w+)?)`", path.read_text(encoding="utf-8"))
    roots = (ROOT, PACKAGE, path.parent)
    missing = [name for name in named if not any((root / name).exists() for root in roots)]
    assert [name for name in missing if not name.startswith(MADE_LATER) and "NAME" not in name] == []


def commands() -> dict[str, list[str]]:
    """Commands of `boostqa --help` in its order, with the names of their options."""
    group = typer.main.get_command(app)
    return {
        name: [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


def test_the_readme_lists_the_commands() -> None:
    listed = re.findall(r"^\| `boostqa (\w+)", text_of("README.md"), re.MULTILINE)
    assert listed == list(commands())


def test_options_in_the_readme_exist() -> None:
    for name, options in re.findall(r"`boostqa (\w+)([^`]*)`", text_of("README.md")):
        known = commands()[name]
        assert [option for option in re.findall(r"--[\w-]+", options) if option not in known] == []


def test_the_readme_begins_with_the_two_commands() -> None:
    shown = re.findall(r"^    (\S.*)$", text_of("README.md"), re.MULTILINE)
    assert [line.partition("#")[0].strip() for line in shown[:2]] == ["make run", "make test"]


def test_commands_in_the_makefile_exist() -> None:
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"):
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^\s*make ([\w ]+?)(?:\s+#.*)?$", text, re.MULTILINE):
            assert set(line.split()) <= targets, f"{path.name}: make {line}"


def test_constraints_are_versions_alone() -> None:
    lines = [line for line in text_of("constraints.txt").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[\w.+!]+", line)] == []
    assert lines == sorted(lines)
    project = text_of("pyproject.toml")
    for name in re.findall(r'^  "([\w.-]+)>=', project, re.MULTILINE):
        assert any(line.startswith(f"{name.lower()}==") for line in lines), name
