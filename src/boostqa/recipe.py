"""The recipe: one YAML file, validated whole before anything runs.

A section per stage (each stage owns its section's fields), the models and their roles, and the budget.
Unknown keys fail with "did you mean"; paths are relative to the recipe's folder; secrets never stand here.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from boostqa import taxonomy
from boostqa.errors import UserError
from boostqa.flows.benchmarks import is_task
from boostqa.llm.config import ModelConfig
from boostqa.pipeline import PIPELINE
from boostqa.stage import Stage, StageConfig
from boostqa.stages.annotate import AnnotateConfig
from boostqa.stages.dataset import DatasetConfig
from boostqa.stages.decontaminate import DecontaminateConfig
from boostqa.stages.dedup import DedupConfig
from boostqa.stages.plan import PlanConfig
from boostqa.stages.probe import ProbeConfig
from boostqa.stages.refine import RefineConfig
from boostqa.stages.seeds import SeedsConfig
from boostqa.stages.synthesize import SynthesizeConfig
from boostqa.stages.verify import VerifyConfig

_PATHS = ("path", "model_path", "replicas", "benchmarks", "mirror", "edited", "taxonomy", "tokenizer")
"""Keys whose values are files: relative to the recipe's folder."""


class Roles(StageConfig):
    """Which model does what. Names are keys of `models`."""

    annotator: str
    """Labels seeds and outputs by field, level and grade."""
    target: str
    """The model to be improved; the probe measures what it lacks."""
    teacher: str
    """Writes questions and draft answers; a strong reasoning model."""
    refiner: str
    """Checks and rewrites answers; of another family than the teacher where possible."""
    solvers: list[str] = []
    """Solve questions independently; only those of another family than the writer count as evidence."""
    judge: str | None = None
    """Judges answers with a rubric, as the last rung of verification."""

    def of(self, role: str) -> list[str]:
        """Names of the models of a role, possibly none."""
        value = getattr(self, role)
        return list(value) if isinstance(value, list) else [value] if value else []


class Budget(StageConfig):
    """Hard limits, cumulative over resumes. None: no limit. All may be raised to continue a run."""

    money: float | None = Field(None, ge=0, json_schema_extra={"identity": "free"})
    """Money in the currency of the models' prices; needs a price for every model in use."""
    tokens: int | None = Field(None, ge=0, json_schema_extra={"identity": "free"})
    """Prompt plus completion tokens."""
    requests: int | None = Field(None, ge=0, json_schema_extra={"identity": "free"})
    """Requests sent, retries included."""
    hours: float | None = Field(None, ge=0, json_schema_extra={"identity": "free"})
    """Wall time of all sessions together, in hours."""


class Recipe(StageConfig):
    """A whole run, from seeds to data set."""

    name: str = "boostqa"
    """Name of the run: default folder `runs/NAME` and title of report and dataset card."""
    taxonomy: str | None = Field(None, validate_default=True)
    """Your own disciplines and fields, in the form of `taxonomy/disciplines.yaml`; None: the built-in ones."""
    seeds: SeedsConfig
    models: dict[str, ModelConfig]
    """Endpoints by a name of your choice."""
    roles: Roles
    dedup: DedupConfig = DedupConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    annotate: AnnotateConfig = AnnotateConfig()
    probe: ProbeConfig = ProbeConfig()
    plan: PlanConfig = PlanConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    refine: RefineConfig = RefineConfig()
    verify: VerifyConfig = VerifyConfig()
    dataset: DatasetConfig = DatasetConfig()
    budget: Budget = Budget()

    def models_in_use(self, roles: Collection[str] | None = None) -> dict[str, ModelConfig]:
        """The models that have a role, or one of `roles`; others are neither started nor asked."""
        chosen = type(self.roles).model_fields if roles is None else roles
        names = {name for role in chosen for name in self.roles.of(role)}
        return {name: config for name, config in self.models.items() if name in names}

    # The field stands before the sections, so that the labels in these are checked against this taxonomy.
    @field_validator("taxonomy")
    @classmethod
    def _in_force(cls, path: str | None) -> str | None:
        try:
            taxonomy.use(path)
        except UserError as error:
            raise ValueError(str(error)) from None
        return path

    @model_validator(mode="after")
    def _roles_exist(self) -> Recipe:
        for role in type(self.roles).model_fields:
            for name in self.roles.of(role):
                if name not in self.models:
                    known = ", ".join(sorted(self.models)) or "none"
                    raise ValueError(f"roles.{role}: no model {name!r} in `models` (there: {known})")
        return self

    def stage(self, stage: type[Stage], sources: list[str] | None = None) -> Stage:
        """The stage with its section; `sources` restricts the seeds to those of one segment."""
        config = getattr(self, stage.name)
        if sources is not None and isinstance(config, SeedsConfig):
            chosen = [source for source in config.sources if source.name in sources]
            config = config.model_copy(update={"sources": chosen})
        return stage(config)

    @property
    def source_names(self) -> list[str]:
        """Names of the seed sources, in order."""
        return [source.name for source in self.seeds.sources]


def load(path: Path) -> Recipe:
    """Reads and validates a recipe; paths in it become absolute.

    Raises:
        UserError: missing file, broken YAML (with line), unknown or wrong key (with "did you mean").
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such recipe; `boostqa init` writes one to start from") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a recipe ({error.strerror}); give a YAML file") from error
    except yaml.YAMLError as error:
        # Not the whole error: it quotes the line, in which there may be a key.
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise UserError(f"{path}: not valid YAML{place}: {problem or 'an unknown character'}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}") from error
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: a recipe is a mapping with sections such as `seeds`; this is {type(data).__name__}"
        )
    return parse(_resolved(data, path.parent.resolve()), path)


def _resolved(data: Any, folder: Path, key: str = "") -> Any:
    """The data with local paths under the keys `_PATHS` made absolute."""
    if isinstance(data, dict):
        return {name: _resolved(value, folder, name) for name, value in data.items()}
    if isinstance(data, list):
        return [_resolved(value, folder, key) for value in data]
    if key in _PATHS and isinstance(data, str) and "://" not in data:
        path = str(folder / Path(data).expanduser())
        # A benchmark may be the name of a task.
        return data if key == "benchmarks" and is_task(data) and not Path(path).exists() else path
    return data


def parse(data: dict[str, Any], path: Path) -> Recipe:
    """Validates a recipe given as plain data; `path` is for messages and relative paths. Raises as `load`."""
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems = "\n  ".join(_problems(error))
        raise UserError(f"{path}: the recipe cannot be used:\n  {problems}") from error
    return recipe


def _problems(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(
                str(item["loc"][-1]), _fields(item["loc"][:-1]), n=1, cutoff=0.5
            )
            hint = (
                f"; did you mean `{close[0]}`?"
                if close
                else f"; known: {', '.join(_fields(item['loc'][:-1]))}"
            )
            yield f"{place}: unknown key{hint}"
        elif item["type"] == "missing":
            yield f"{place}: required, but absent"
        else:
            message = item["msg"].removeprefix("Value error, ")
            given = item.get("input")
            # A text that is refused under `models` may be a key in the wrong place, or an address with one in it.
            shown = isinstance(given, (int, float, bool)) or (
                isinstance(given, str) and item["loc"][0] != "models"
            )
            value = f" (given: {given!r:.80})" if shown else ""
            yield f"{place}: {message}{value}" if place else message


def _fields(place: tuple[int | str, ...]) -> list[str]:
    """Names of the keys allowed at a place in the recipe."""
    current: Any = Recipe
    for part in place:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        while get_args(current) and not (isinstance(current, type) and issubclass(current, BaseModel)):
            models = [a for a in get_args(current) if isinstance(a, type) or get_args(a)]
            current = next((a for a in models if a is not type(None) and a is not str), str)
    return (
        sorted(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []
    )


def identity_of(config: Any) -> Any:
    """Plain data of a config without the fields that may grow or do not matter (see `StageConfig`)."""
    if isinstance(config, BaseModel):
        plain = {}
        for name, info in type(config).model_fields.items():
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra.get("identity") in ("grow", "free"):
                continue
            plain[name] = identity_of(getattr(config, name))
        return plain
    if isinstance(config, dict):
        return {str(key): identity_of(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [identity_of(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    return config


def dump(recipe: Recipe) -> str:
    """The resolved recipe as YAML: every field with its value; holds no secrets, since a recipe cannot."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def stages_in_order() -> list[str]:
    """Names of the pipeline's entries in order, each once; what `--until` and `--redo` accept."""
    return list(dict.fromkeys(entry.name for entry in PIPELINE))
