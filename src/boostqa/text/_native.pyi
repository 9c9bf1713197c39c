from typing import Any

import numpy.typing as npt

_Array = npt.NDArray[Any]

def words(folded: _Array, borders: _Array, hashes: _Array, lead: _Array, starts: _Array, /) -> int:
    """Fills in the tokens of a folded block (see `tokens._tokens`); returns how many there are."""

def runs(hashes: _Array, starts: _Array, n: int, out: _Array, /) -> None:
    """Fills in the n-grams of each text (see `ngrams.runs`)."""

def different(hashes: _Array, counts: _Array, out: _Array, /) -> None:
    """Fills in how many different hashes each text has (see `measures._different`)."""

def densify(values: _Array, order: _Array, size: int, /) -> None:
    """Fills the empty places of signatures (see `minhash._densify`)."""

def minima(hashes: _Array, counts: _Array, owners: _Array, size: int, values: _Array, /) -> None:
    """Takes hashes into signatures (see `minhash.Signatures.add`)."""
