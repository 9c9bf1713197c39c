"""Every exception that leaves a public function, and the exit code that each one means.

    BoostQAError
    ├── UserError          2   recipe, file, key, endpoint or licence; found before the run's own calls
    │   └── ChangedRun     2   the run folder was made by another recipe; names what changed
    ├── Stop                   a run that ended early on purpose; the same command resumes it
    │   ├── BudgetStop     3   a hard budget (money, tokens, requests, hours) is used up
    │   ├── ProviderStop   4   a provider fails in a way that waiting will not mend
    │   ├── StorageStop    5   disk full, no permission, out of memory
    │   └── Interrupted  130   Ctrl-C or SIGTERM
    └── ContractError      1   our own bug: a stage lost a record, a shard changed its schema

A message names the place (file and line, recipe key, endpoint), the value found there, and what to do.
A single failed model call is not an exception: it is a `Reply` with an outcome (see `llm/model.py`).
"""

from __future__ import annotations


class BoostQAError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class UserError(BoostQAError):
    """Something the user gave cannot be used; at most the tiny calls that try an endpoint out were paid."""

    exit_code = 2


class ChangedRun(UserError):
    """A run folder holds results of another recipe, code version or input."""


class Stop(BoostQAError):
    """The run ends here, cleanly and resumably; never caught inside a stage."""


class BudgetStop(Stop):
    """A hard budget is used up."""

    exit_code = 3


class ProviderStop(Stop):
    """An endpoint fails in mid-run and retrying does not help."""

    exit_code = 4


class StorageStop(Stop):
    """The disk is full or not writable, or memory ran out."""

    exit_code = 5


class Interrupted(Stop):
    """The user asked the run to stop (Ctrl-C, SIGTERM)."""

    exit_code = 130


class ContractError(BoostQAError):
    """An invariant of the run folder or of a stage is broken: a bug of ours."""

    exit_code = 1
