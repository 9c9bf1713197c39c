"""Prompts as files: one template per task, its static part first, and strategies as data.

`<name>.j2` has sections that start with `@@ system`, `@@ user` or `@@ assistant` on a line of its own. All
but the last (always a `@@ user`) are the same for every record, so that a server's prefix cache serves them;
only the last one sees the record. A file is cut into sections before anything is filled in, and what is
filled in is never read as a template. Lines of a record's text that look like our own headings
(`## Request`) are escaped, so that a seed cannot speak in the name of the prompt.

Knows nothing of records, stages or models beyond `Message`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa import taxonomy
from boostqa.errors import ContractError
from boostqa.identity import digest
from boostqa.llm.model import Message

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

_SECTION = re.compile(r"^@@ (system|user|assistant)[ \t]*\n", re.MULTILINE)
# A second-level Markdown heading or a section mark, after any kind of line break that some reader may honour.
_HEADING = re.compile(r"(^|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])([ \t]*)(##(?!#)|@@)(?=[ \t])")
LETTERS = "ABCDEFGHIJ"
"""Letters of options, in order."""


def render(name: str, *, static: Mapping[str, Any] | None = None, **variables: Any) -> tuple[Message, ...]:
    """The messages of prompt `name` for one record.

    Args:
        name: file name in this folder without `.j2`.
        static: variables of the static sections; they must be the same for all records of a run (such as a
            list of fields), or no prefix is shared.
        **variables: variables of the last section: strings, numbers, lists and string-keyed mappings of them.

    Raises:
        ContractError: for an unknown prompt, a file without sections, or a variable that is not given.
    """
    from jinja2 import TemplateError

    parts = _parts(name)
    shared, own = _harmless(dict(static or {})), _harmless(variables)
    try:
        texts = [part.render(shared) for _, part in parts[:-1]]
        texts.append(parts[-1][1].render(own))
    except TemplateError as error:
        raise ContractError(f"prompts/{name}.j2: {error}; give every variable it names") from error
    return tuple(
        Message(role=role, content=text.strip()) for (role, _), text in zip(parts, texts, strict=True)
    )


@cache
def prompt_hash(name: str) -> str:
    """Hash of the template file, 32 hexadecimal digits; stored in every record that was written with it."""
    return digest(name, _source(name))


def _source(name: str) -> str:
    file = files(__name__) / f"{name}.j2"
    if not file.is_file():
        known = sorted(item.name[:-3] for item in files(__name__).iterdir() if item.name.endswith(".j2"))
        raise ContractError(f"prompts/{name}.j2: no such prompt; there are {', '.join(known)}")
    return file.read_text(encoding="utf-8")


@cache
def _parts(name: str) -> tuple[tuple[str, Template], ...]:
    pieces = _SECTION.split(_source(name))
    roles, bodies = pieces[1::2], pieces[2::2]
    if pieces[0].strip() or not roles or roles[-1] != "user":
        raise ContractError(f"prompts/{name}.j2: must consist of `@@ role` sections and end with `@@ user`")
    return tuple((role, _engine().from_string(body)) for role, body in zip(roles, bodies, strict=True))


@cache
def _engine() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    engine = SandboxedEnvironment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    engine.globals.clear()
    engine.globals["letters"] = LETTERS
    engine.filters["one_line"] = _one_line
    return engine


def _harmless(value: Any) -> Any:
    """The same plain data with headings in its strings escaped as Markdown does it, by a backslash."""
    if isinstance(value, str):
        return _HEADING.sub(r"\1\2\\\3", value)
    if isinstance(value, Mapping):
        return {str(key): _harmless(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_harmless(item) for item in value]
    return value


def _one_line(text: object) -> str:
    """Text for a place that must stay one line: an option, a value of a `key: value` line."""
    return " ".join(str(text).split())


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """One way to make a question, as `strategies.yaml` has it."""

    name: str
    route: str
    """multi_grade or high_difficulty."""
    prompt: str
    """Name of the prompt that writes with it."""
    needs: list[str] = []
    """Fields that the leading seed must have: question, answer, passage, formula."""
    question_types: list[str] = []
    """Types it can make; empty: any. With one entry, that one, whatever the plan would like."""
    checked: bool = False
    """Whether the answer comes from the seed or its formula, so that no other model has to vouch for it."""
    instruction: str
    """What the model is told to do."""


@cache
def strategies() -> dict[str, Strategy]:
    """All strategies by name, in the order of `strategies.yaml`."""
    found: dict[str, Strategy] = {}
    for route, entries in _strategy_file()["routes"].items():
        for name, entry in entries.items():
            found[name] = msgspec.convert({"name": name, "route": route, **entry}, Strategy)
    return found


def grade_rubric(grade: str | None) -> str:
    """What a question for this grade may presuppose, its wording and length; "" if unknown."""
    for item in taxonomy.grades():
        if item.name == grade:
            return f"{item.knowledge} Wording: {item.wording} Length: {item.length} Steps: {item.steps}"
    return ""


def level_rubric(level: str | None) -> str:
    """What makes a question one of level H1..H5; "" if unknown."""
    for item in taxonomy.levels():
        if item.name == level:
            return f"{item.title}. {item.about}"
    return ""


def type_rubric(question_type: str | None) -> str:
    """What a question of this type is and how its answer looks; "" if unknown."""
    for item in taxonomy.question_types():
        if item.name == question_type:
            return f"{item.about} Answer: {item.answer}"
    return ""


@cache
def _strategy_file() -> dict[str, Any]:
    import yaml

    text = (files(__name__) / "strategies.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data
