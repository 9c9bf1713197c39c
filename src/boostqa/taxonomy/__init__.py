"""What things are called: disciplines and fields, levels, grades, question types, subjects of benchmarks.

Everything is data in the YAML files beside this module; this module reads and checks it. It knows nothing
of records, prompts or stages. Users may bring their own file of disciplines and fields; the rest is fixed,
because prompts, records and reports speak of H1..H5 and of the six grades by name. A process works on one recipe,
and that recipe's file is in force for all that it does (`use`): a run cannot mix two taxonomies.

What fits no field is `OTHER`: a label, not a field. It has no quota and no entry in the files.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from boostqa.errors import UserError

DISCIPLINES = "taxonomy/disciplines.yaml"
"""The built-in disciplines and fields, as a stage names them among what it depends on."""
OTHER = "Other"
"""Field and discipline of what fits no field of the taxonomy."""

Stem = Literal["core", "extended", "no"]
_HERE = Path(__file__).parent


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name and description in both languages; names are what records hold."""

    name: str
    name_zh: str
    about: str
    about_zh: str


class Discipline(_Entry, frozen=True, kw_only=True):
    """Upper level of the taxonomy."""


class Field(_Entry, frozen=True, kw_only=True):
    """Leaf of the taxonomy."""

    discipline: str
    """Name of the parent."""
    isced: str
    """Detailed field of ISCED-F 2013, four digits."""
    stem: Stem
    """core: science and engineering; extended: medicine and agronomy; no: the rest."""
    topics: tuple[str, ...]
    """Typical topics, for prompts and for texts without a labeller."""
    topics_zh: tuple[str, ...]


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worked example of a level, in both languages."""

    question: str
    question_zh: str
    answer: str
    answer_zh: str
    why: str
    """Why the question is of this level."""
    why_zh: str


class LevelRubric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of H1..H5 and how to tell it."""

    name: str
    title: str
    title_zh: str
    about: str
    about_zh: str
    signs: tuple[str, ...]
    """What can be observed in the question and its shortest full solution."""
    signs_zh: tuple[str, ...]
    examples: tuple[Example, ...]


class Grade(_Entry, frozen=True, kw_only=True):
    """An educational stage and what a question written for it may presuppose."""

    isced: tuple[int, ...]
    """Levels of ISCED 2011, 1..8."""
    ages: tuple[int, int]
    """Typical ages, first and last, in years."""
    knowledge: str
    knowledge_zh: str
    wording: str
    wording_zh: str
    length: str
    length_zh: str
    steps: str
    steps_zh: str


class QuestionType(_Entry, frozen=True, kw_only=True):
    """A question type, what its answer looks like and what can check it."""

    answer: str
    answer_zh: str
    checks: tuple[Literal["choice", "exact", "numeric", "symbolic", "solvers", "judge"], ...]
    """From the cheapest to the dearest that can settle an answer."""


class Taxonomy(msgspec.Struct, frozen=True, dict=True, cache_hash=True):
    """Disciplines and fields, checked. `dict=True` only lets the look-up tables below be kept."""

    file: str
    disciplines: tuple[Discipline, ...]
    fields: tuple[Field, ...]

    @functools.cached_property
    def _by_name(self) -> dict[str, Field]:
        return {entry.name: entry for entry in self.fields}

    @functools.cached_property
    def _by_spelling(self) -> dict[str, str]:
        return {_spelling(text): entry.name for entry in self.fields for text in (entry.name, entry.name_zh)}

    def __contains__(self, name: object) -> bool:
        """Whether `name` is a field; OTHER is not."""
        return name in self._by_name

    def field(self, name: str) -> Field:
        """The field of that exact name.

        Raises:
            UserError: if there is none (also for OTHER, which is not a field).
        """
        if name in self._by_name:
            return self._by_name[name]
        raise UserError(f"{self.file}: no field {name!r}; {_near(name, self._by_name)}")

    def parent(self, name: str) -> str:
        """Name of the discipline of a field; OTHER for OTHER.

        Raises:
            UserError: if there is no such field.
        """
        return OTHER if name == OTHER else self.field(name).discipline

    def stem(self, name: str) -> Stem:
        """core, extended or no; no for OTHER.

        Raises:
            UserError: if there is no such field.
        """
        return "no" if name == OTHER else self.field(name).stem

    def of(self, discipline: str) -> tuple[Field, ...]:
        """The fields of a discipline, in the order of the file; none for OTHER.

        Raises:
            UserError: if there is no such discipline.
        """
        names = [entry.name for entry in self.disciplines]
        if discipline not in (*names, OTHER):
            raise UserError(f"{self.file}: no discipline {discipline!r}; {_near(discipline, names)}")
        return tuple(entry for entry in self.fields if entry.discipline == discipline)

    def find(self, text: str) -> str | None:
        """Name of the field that `text` spells in English or Chinese, whatever case and spaces; else None."""
        return self._by_spelling.get(_spelling(text))


_in_force: Taxonomy | None = None
"""The taxonomy that a recipe brought; None: the built-in one."""


def use(path: str | Path | None) -> None:
    """Puts the taxonomy of a file in force in this process, or the built-in one again; called where a recipe is read.

    Raises:
        UserError: as `load`; what was in force stays so.
    """
    global _in_force
    _in_force = None if path is None else load(path)


def load(path: str | Path | None = None) -> Taxonomy:
    """The taxonomy of a file in the form of `disciplines.yaml`; without `path`, the one in force (see `use`).

    Raises:
        UserError: names file, entry and remedy: unreadable file, missing or unknown key, duplicate name,
            missing parent, field as a parent, discipline without fields, bad stem, bad ISCED code.
    """
    if path is None:
        return _in_force or _builtin()
    return _load(Path(path))


def levels() -> tuple[LevelRubric, ...]:
    """The rubrics of H1..H5, in this order."""
    return _table("levels", LevelRubric)


def grades() -> tuple[Grade, ...]:
    """The grades from primary to professional, in this order."""
    return _table("grades", Grade)


def question_types() -> tuple[QuestionType, ...]:
    """The question types, open ones first."""
    return _table("types", QuestionType)


@functools.cache
def isced_names() -> Mapping[str, str]:
    """Code -> name of the 80 detailed fields of ISCED-F 2013 that have a subject of their own."""
    return {str(code): str(name) for code, name in _read(_HERE / "isced.yaml").items()}


@functools.cache
def benchmarks() -> Mapping[str, Mapping[str, str | None]]:
    """Benchmark -> its subject -> field of the built-in taxonomy, or None where a subject mixes fields."""
    return msgspec.convert(_read(_HERE / "benchmarks.yaml"), dict[str, dict[str, str | None]])


def crosswalk(benchmark: str, subject: str) -> str | None:
    """Field of the built-in taxonomy for a subject of a benchmark that `benchmarks` lists.

    Case does not matter, nor whether words are joined by spaces, hyphens or underscores. None: the subject
    mixes fields or is not known, so it says nothing about an item's field.

    Raises:
        UserError: if the benchmark is not known.
    """
    tables = _crosswalks()
    key = _bare(benchmark)
    if key not in tables:
        raise UserError(f"{_HERE / 'benchmarks.yaml'}: no benchmark {benchmark!r}; {_near(key, tables)}")
    return tables[key].get(_spelling(subject))


def builtin_benchmark() -> Path:
    """Path of the built-in list of benchmark items, JSONL with id, question, choices, answer."""
    return _HERE / "builtin_benchmark.jsonl"


@functools.cache
def _builtin() -> Taxonomy:
    return _load(_HERE / "disciplines.yaml")


@functools.cache
def _crosswalks() -> Mapping[str, Mapping[str, str | None]]:
    return {
        _bare(benchmark): {_spelling(subject): field for subject, field in table.items()}
        for benchmark, table in benchmarks().items()
    }


_T = TypeVar("_T", Discipline, Field, LevelRubric, Grade, QuestionType)


@functools.cache
def _table(stem: str, kind: type[_T]) -> tuple[_T, ...]:
    path = _HERE / f"{stem}.yaml"
    return _entries(path, _read(path), stem, kind)


def _load(path: Path) -> Taxonomy:
    data = _read(path)
    if unknown := sorted(set(data) - {"disciplines", "fields"}, key=str):
        raise UserError(f"{path}: unknown key {unknown[0]!r}; the top has only 'disciplines' and 'fields'")
    disciplines = _entries(path, data, "disciplines", Discipline)
    fields = _entries(path, data, "fields", Field)
    _check_fields(path, disciplines, fields)
    for entry in disciplines:
        if not any(field.discipline == entry.name for field in fields):
            raise UserError(f"{path}: discipline {entry.name!r} has no fields; give it one or remove it")
    return Taxonomy(str(path), disciplines, fields)


def _check_fields(path: Path, disciplines: tuple[Discipline, ...], fields: tuple[Field, ...]) -> None:
    parents = {entry.name for entry in disciplines}
    leaves = {entry.name: entry.discipline for entry in fields}
    spelled = {_spelling(name): entry.name for entry in disciplines for name in (entry.name, entry.name_zh)}
    for field in fields:
        place = f"{path}: field {field.name!r}"
        if field.discipline not in parents:
            remedy = _near(field.discipline, parents)
            if field.discipline in leaves:
                remedy = "that is a field; there are two levels, so a field's parent is always a discipline"
                chain = [field.name]
                while chain[-1] not in parents and chain[-1] in leaves and chain.count(chain[-1]) < 2:
                    chain.append(leaves[chain[-1]])
                if chain.count(chain[-1]) == 2:
                    remedy = f"the parents go in a circle ({' -> '.join(chain)}): {remedy}"
            raise UserError(f"{place}: there is no discipline {field.discipline!r}; {remedy}")
        for name in (field.name, field.name_zh):
            if spelled.get(_spelling(name), field.discipline) != field.discipline:
                raise UserError(
                    f"{place}: has the name of a discipline ({name}) but belongs to {field.discipline!r}; rename one"
                )
        if not _is_isced(field.isced):
            remedy = "give four digits such as '0533' (taxonomy/isced.yaml lists them)"
            raise UserError(
                f"{place}: isced {field.isced!r} is not a detailed field of ISCED-F 2013; {remedy}"
            )


def _is_isced(code: str) -> bool:
    """Whether a code is one of the 80, a `not elsewhere classified` of theirs, or a broad 88 or 99."""
    known = isced_names()
    if code in known or not re.fullmatch(r"\d{4}", code):
        return code in known
    narrow = code[3] == "9" and any(other[:3] == code[:3] for other in known)
    broad = code[2:] in ("88", "99") and any(other[:2] == code[:2] for other in known)
    return narrow or broad


def _entries(path: Path, data: Mapping[Any, Any], key: str, kind: type[_T]) -> tuple[_T, ...]:
    """The list under `key`, each entry checked, names distinct in either language."""
    rows = data.get(key)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: {key!r} must be a list with at least one entry, not {type(rows).__name__}")
    found = tuple(_entry(f"{path}: {key}[{i}]", row, kind) for i, row in enumerate(rows))
    seen: dict[str, int] = {}
    for i, entry in enumerate(found):
        for name in (entry.name,) if isinstance(entry, LevelRubric) else (entry.name, entry.name_zh):
            if seen.setdefault(_spelling(name), i) != i:
                raise UserError(f"{path}: {key}: the name {name!r} stands twice; give each entry its own")
    return found


def _entry(place: str, row: object, kind: type[_T]) -> _T:
    if isinstance(row, dict):
        place = f"{place} {row.get('name', '(without name)')!r}"
        if kind is Field and row.get("stem") is False:
            row = {**row, "stem": "no"}  # YAML reads a bare `no` as false
        if kind is Field and isinstance(row.get("isced"), int):
            raise UserError(f"{place}: isced must be text; put the four digits in quotes, such as '0533'")
    try:
        entry = msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{place}: {error}; compare with an entry of the built-in file") from None
    if not _spelling(entry.name) or _spelling(entry.name) == _spelling(OTHER):
        raise UserError(f"{place}: the name is empty or the reserved {OTHER!r}; choose another name")
    return entry


def _read(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        # The C loader is ten times as fast; some builds of PyYAML lack it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        source = loader(path.read_text(encoding="utf-8"))
        node = source.get_single_node()
        _check_keys(path, node)
        data = source.construct_document(node) if node else None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML in UTF-8: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: must hold keys at the top, not {type(data).__name__}; see disciplines.yaml")
    return data


def _check_keys(path: Path, top: Any) -> None:
    """That no key stands twice in an entry of a YAML tree: of two equal ones YAML silently takes the last."""
    pending, seen = [top], set()
    while pending:
        node = pending.pop()
        if node is None or node.id == "scalar" or id(node) in seen:
            continue
        seen.add(id(node))
        if node.id == "sequence":
            pending += node.value
            continue
        names: set[str] = set()
        for key, child in node.value:
            pending.append(child)
            if str(key.value) in names:
                place = f"{path}, line {key.start_mark.line + 1}"
                raise UserError(f"{place}: the key {key.value!r} stands twice in one entry; remove one")
            names.add(str(key.value))


def _spelling(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()


def _bare(benchmark: str) -> str:
    return re.sub(r"[^a-z0-9]", "", benchmark.lower())


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(names[:20])}"
