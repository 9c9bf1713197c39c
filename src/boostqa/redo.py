"""`--redo STAGE`: which results it removes, and how, so that the next run makes them again."""

from __future__ import annotations

import difflib

from boostqa.errors import UserError
from boostqa.pipeline import entries, part_of
from boostqa.recipe import stages_in_order
from boostqa.run import Run
from boostqa.view import entry_folder


def redo_scope(run: Run, name: str) -> list[str]:
    """The entries (`segment/name`) that `--redo name` makes again: it, all after it, and all later segments.

    Raises:
        UserError: for a name that is not in the pipeline.
    """
    check_stage("--redo", name)
    scope = [f"release/{other}" for other in _names("release")]
    place = next((i for i, s in enumerate(run.segments) if name in _names(s["name"])), None)
    if place is None:
        return scope
    segment = run.segments[place]["name"]
    scope += [f"{segment}/{other}" for other in _names(segment)[_names(segment).index(name) :]]
    for later in run.segments[place + 1 :]:
        scope += [f"{later['name']}/{other}" for other in _names(later["name"])]
    return scope


def redo(run: Run, scope: list[str]) -> None:
    """Removes the results of the entries in `scope`; the ledger stays, so what was paid is found again."""
    paths = []
    for segment in [*(s["name"] for s in run.segments), "release"]:
        for entry in entries(part_of(segment)):
            if f"{segment}/{entry.name}" in scope:
                paths.append(entry_folder(run, segment, entry).path)
    whole = {s["name"] for s in run.segments if all(f"{s['name']}/{n}" in scope for n in _names(s["name"]))}
    # A head that is redone from its seeds keeps its name and sources; other segments are begun anew.
    run.info["segments"] = [s for s in run.segments if s["name"] not in whole or s["name"] == "head"]
    run.discard(paths, scope)


def check_stage(option: str, name: str) -> None:
    """Whether a stage given on the command line exists.

    Raises:
        UserError: with the names that do.
    """
    if name not in stages_in_order():
        close = difflib.get_close_matches(name, stages_in_order(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(stages_in_order())}"
        raise UserError(f"{option} {name}: no such stage; {hint}")


def _names(segment: str) -> list[str]:
    return [entry.name for entry in entries(part_of(segment))]
