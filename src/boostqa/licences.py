"""How restrictive a licence is, and whether two may meet in one derived text.

The table is an engineering default that errs on the careful side. It is not legal advice: who releases a
data set is responsible for its sources, and a recipe can leave a source out or allow only some licences.

What it says: public domain and attribution licences go with everything; a share-alike licence goes with its
own kind and with what is freer; NC and SA (without NC) cannot meet, since one forbids the commercial use
that the other must grant; ND allows no adaptation, so nothing may be made from it at all (`may_adapt`);
words that are not in the table count as more restrictive than all of it but ND and meet only themselves and
what is freer. Creative Commons licences of versions that are not in the table count as version 4.0 does.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

UNKNOWN = "unknown"

_TABLE: dict[str, tuple[int, str]] = {
    "CC0-1.0": (0, "free"),
    "public-domain": (1, "free"),
    "Unlicense": (1, "free"),
    "MIT": (10, "free"),
    "ISC": (10, "free"),
    "BSD-2-Clause": (11, "free"),
    "BSD-3-Clause": (12, "free"),
    "PSF-2.0": (13, "free"),
    "Apache-2.0": (14, "free"),
    "ODC-BY-1.0": (20, "free"),
    "CC-BY-2.0": (21, "free"),
    "CC-BY-3.0": (22, "free"),
    "CC-BY-4.0": (23, "free"),
    "CC-BY-SA-3.0": (40, "sa"),
    "CC-BY-SA-4.0": (41, "sa"),
    "ODbL-1.0": (42, "odbl"),
    "GFDL-1.2": (50, "gfdl"),
    "GFDL-1.3": (51, "gfdl"),
    "GPL-2.0": (52, "gpl2"),
    "GPL-3.0": (53, "gpl3"),
    "CC-BY-NC-3.0": (60, "nc"),
    "CC-BY-NC-4.0": (61, "nc"),
    "CC-BY-NC-SA-3.0": (70, "nc-sa"),
    "CC-BY-NC-SA-4.0": (71, "nc-sa"),
    "CC-BY-ND-4.0": (90, "nd"),
    "CC-BY-NC-ND-4.0": (91, "nd"),
}
"""Licence -> (order of restrictiveness, family)."""

_UNKNOWN_RANK = 80
_MEETS = {frozenset(("nc", "nc-sa"))}
"""Different families, neither free, that may meet."""
_SPELLINGS = {
    "CC0": "CC0-1.0",
    "CC-0": "CC0-1.0",
    "CC-ZERO": "CC0-1.0",
    "PUBLICDOMAIN": "public-domain",
    "PD": "public-domain",
    "BSD": "BSD-3-Clause",
    "APACHE": "Apache-2.0",
    "APACHE-2": "Apache-2.0",
    "ODC-BY": "ODC-BY-1.0",
    "ODBL": "ODbL-1.0",
    "GFDL": "GFDL-1.3",
    "CC-BY": "CC-BY-4.0",
    "CC-BY-SA": "CC-BY-SA-4.0",
    "CC-BY-NC": "CC-BY-NC-4.0",
    "CC-BY-NC-SA": "CC-BY-NC-SA-4.0",
    "CC-BY-ND": "CC-BY-ND-4.0",
    "CC-BY-NC-ND": "CC-BY-NC-ND-4.0",
}
_BY_UPPER = {name.upper(): name for name in _TABLE} | _SPELLINGS
_SEPARATORS = re.compile(r"[\s_-]+")
_SUFFIX = re.compile(r"-(ONLY|OR-LATER|LICEN[CS]E)$")
_ALTERNATIVES = re.compile(r"\s+OR\s+(?!LATER\b)", re.IGNORECASE)
_VERSION = re.compile(r"(CC-BY(?:-NC)?(?:-SA|-ND)?)-\d\.\d\b.*")
_NO_CHANGES = re.compile(
    r"\bnon?-?deriv|\b(?:by|nc)(?:-nc)?-nd\b|/licenses/nd\b|(?:禁止|不得)(?:演[绎繹]|改作)|改変禁止",
    re.IGNORECASE,
)
_DASHES = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63]")
_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)(?:/(\d\.\d))?(?:/.*)?",
    re.IGNORECASE,
)


def canonical(licence: str | None) -> str:
    """The SPDX id that is meant (`CC BY 4.0` -> `CC-BY-4.0`), else the words as given, `unknown` for none.

    Of alternatives (`MIT OR Apache-2.0`) the freest. Creative Commons without a version counts as 4.0. The
    address of a Creative Commons licence is its name, and any dash is a hyphen.
    """
    text = (licence or "").strip()
    if not text:
        return UNKNOWN
    parts = _ALTERNATIVES.split(text)
    names = [canonical(part.strip("() ")) for part in parts] if len(parts) > 1 else []
    # Only known names are alternatives: free words may hold an "or", too.
    if known := [name for name in names if _entry(name)]:
        return min(known, key=lambda name: (rank(name), name))
    if address := _ADDRESS.fullmatch(_folded(text)):
        code, version = address[1].upper(), address[2]
        named = {"ZERO": "CC0", "MARK": "PD"}.get(code) or "-".join(filter(None, ("CC", code, version)))
        return _BY_UPPER.get(named, named)
    name = _SUFFIX.sub("", _SEPARATORS.sub("-", _folded(text).strip("()")).upper())
    return _BY_UPPER.get(name) or _BY_UPPER.get(f"CC-{name}" if name.startswith("BY") else "", text)


def _folded(text: str) -> str:
    """The same words with ASCII letters and hyphens where they have full-width forms and other dashes."""
    return _DASHES.sub("-", unicodedata.normalize("NFKC", text))


def rank(licence: str | None) -> int:
    """Order of restrictiveness; 0 is the freest. Words that are not in the table have one high rank."""
    entry = _entry(canonical(licence))
    return entry[0] if entry else _UNKNOWN_RANK


def most_restrictive(licences: Iterable[str | None]) -> str:
    """The one that binds a text made from all of them; `unknown` for none at all."""
    names = [canonical(licence) for licence in licences]
    return max(names, key=lambda name: (rank(name), name), default=UNKNOWN)


def compatible(left: str | None, right: str | None) -> bool:
    """Whether one text may be made from two sources under these licences, by the rules at the top."""
    if not (may_adapt(left) and may_adapt(right)):
        return False
    a, b = canonical(left), canonical(right)
    first, second = (entry[1] if (entry := _entry(name)) else name for name in (a, b))
    return first == second or "free" in (first, second) or frozenset((first, second)) in _MEETS


def may_adapt(licence: str | None) -> bool:
    """Whether anything may be made from a text under this licence; False for ND, also in free words."""
    name = canonical(licence)
    entry = _entry(name)
    return entry[1] != "nd" if entry else not _NO_CHANGES.search(_SEPARATORS.sub("-", _folded(name)))


def _entry(name: str) -> tuple[int, str] | None:
    """Order and family of a canonical name; a Creative Commons one of another version counts as 4.0."""
    if name in _TABLE:
        return _TABLE[name]
    version = _VERSION.fullmatch(_SEPARATORS.sub("-", _folded(name)).upper())
    return _TABLE.get(f"{version[1]}-4.0") if version else None
