"""What the documents say is still true: the map of modules, paths, and the list of commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

from boostqa.cli import app
from boostqa.llm.config import ModelConfig
from boostqa.llm.dialects import DIALECTS
from boostqa.llm.model import Outcome
from boostqa.metrics import NAMES
from boostqa.recipe import parse

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


def snippets() -> list[tuple[str, str]]:
    """(place, text) of every YAML block in the documents: parts of recipes."""
    found = []
    for path in DOCS:
        for number, text in enumerate(
            re.findall(r"^```yaml\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
        ):
            found.append((f"{path.relative_to(ROOT).as_posix()} block {number + 1}", text))
    return found


@pytest.mark.parametrize("place", [place for place, _ in snippets()])
def test_parts_of_recipes_are_valid(place: str) -> None:
    text = dict(snippets())[place]
    data = yaml.safe_load((PACKAGE / "starter" / "recipe.yaml").read_text("utf-8"))
    found = yaml.safe_load(text)
    for section, part in ({"seeds": found} if "sources" in found else found).items():
        data[section] = {**data.get(section, {}), **part}
    assert parse(data, Path(place)).name == data["name"]


def test_the_page_on_the_engine_names_what_there_is() -> None:
    page = text_of("docs/llm.md")
    named = re.findall(r"^\| ((?:`boostqa_\w+`(?:, )?)+)", page, re.M)
    assert sorted(re.findall(r"boostqa_\w+", " ".join(named))) == sorted(NAMES)
    assert set(
        re.findall(r"^\| `(\w+)` \| (?:when|a whole|finish|`content|empty|no answer)", page, re.M)
    ) == {*Outcome}
    assert set(re.findall(r"^\| `(\w+)` \|.*\| (?:yes|no) \|$", page, re.M)) == set(DIALECTS)
    defaults = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+)(?: s)? \|", page, re.M))
    assert len(defaults) >= 4
    for name, default in defaults.items():
        assert ModelConfig.model_fields[name].default == float(default.replace(",", ""))
    table = page.partition("## Settings of a model")[2].partition("##")[0]
    for keys in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.M):
        assert set(re.findall(r"\w+", keys)) <= set(ModelConfig.model_fields)


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
