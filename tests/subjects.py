"""Words of a few subjects, for texts that a classifier can tell apart."""

from __future__ import annotations

PHYSICS = [
    "force",
    "mass",
    "velocity",
    "energy",
    "current",
    "voltage",
    "wave",
    "frequency",
    "lens",
    "momentum",
]
LAW = ["contract", "court", "tort", "statute", "plaintiff", "liability", "judge", "appeal", "lease", "will"]
