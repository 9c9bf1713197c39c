"""What the stored recipe says about a run: its name, which model does what, and the recipe for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import yaml

from boostqa.errors import UserError
from boostqa.run import Run
from boostqa.taxonomy import load

SMALL_MODEL = "smollm2-135m"
"""Id of the model that comes with the package."""
_PATHS = ("path", "model_path", "benchmarks", "mirror", "edited", "taxonomy")
"""Keys of a recipe whose values are files."""


@dataclass(frozen=True)
class Setup:
    """A recipe, read."""

    name: str
    roles: list[dict[str, Any]]
    """role, model (name in the recipe), id (as the endpoint knows it), embedded, terms."""
    yaml: str
    """The recipe for people: files by their last two parts, since a report is passed on."""
    data: dict[str, Any]

    @property
    def disciplines(self) -> list[str]:
        """Names of the disciplines of the run in the order of its taxonomy; of the built-in one where that is gone."""
        path = self.data.get("taxonomy")
        try:
            tree = load(path if isinstance(path, str) else None)
        except UserError:
            tree = load()
        return [entry.name for entry in tree.disciplines]

    @property
    def writer(self) -> dict[str, Any] | None:
        """The teacher's row of `roles`."""
        return next((role for role in self.roles if role["role"] == "teacher"), None)


def read_setup(run: Run) -> Setup:
    """Roles and recipe of a run; empty where the recipe is not there."""
    path = run.root / "recipe.yaml"
    data = (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}
    roles = []
    for role, names in (data.get("roles") or {}).items():
        for name in names if isinstance(names, list) else [names] if names else []:
            model = (data.get("models") or {}).get(name) or {}
            embedded = model.get("base_url") == "embedded"
            own = PurePath(model.get("model_path") or "").stem
            identifier = model.get("model") or (own or SMALL_MODEL if embedded else name)
            terms = model.get("terms")
            roles.append(
                {"role": role, "model": name, "id": identifier, "embedded": embedded, "terms": terms}
            )
    shown = yaml.safe_dump(_short_paths(data), sort_keys=False, allow_unicode=True) if data else ""
    return Setup(name=data.get("name") or run.root.name, roles=roles, yaml=shown, data=data)


def _short_paths(data: Any, key: str = "") -> Any:
    if isinstance(data, dict):
        return {name: _short_paths(value, name) for name, value in data.items()}
    if isinstance(data, list):
        return [_short_paths(value, key) for value in data]
    if key in _PATHS and isinstance(data, str) and PurePath(data).is_absolute():
        return "…/" + "/".join(PurePath(data).parts[-2:])
    return data
