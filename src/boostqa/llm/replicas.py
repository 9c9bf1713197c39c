"""The addresses that serve one model: which there are, also when that changes in mid-run, and which one is next.

Sticky by the beginning of the prompt, so that a server's prefix cache is hit, with bounded load: a replica that is
down or much busier than the idlest is passed over. Knows nothing of what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import xxhash

from boostqa.errors import UserError
from boostqa.llm.config import ModelConfig, check_address
from boostqa.llm.throttle import Throttle

REREAD_S = 5.0
"""Seconds between two looks at a file of addresses."""
_MIX = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


class Replica(msgspec.Struct):
    """One address that serves the model."""

    url: str
    throttle: Throttle
    seed: int = 0
    gone: bool = False
    """Taken out of the list: gets no further calls."""


class Replicas(Sequence[Replica]):
    """The replicas of one model; `make` gives the throttle of an address."""

    def __init__(self, urls: Sequence[str], make: Callable[[str], Throttle]) -> None:
        self._make = make
        self._all: list[Replica] = []
        self.replace(urls)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._all)

    def __getitem__(self, i: int) -> Replica:  # type: ignore[override]
        return self._all[i]

    def replace(self, urls: Sequence[str]) -> list[Replica]:
        """Take this list from now on; replicas that stay keep their state. Returns those that are gone."""
        known = {replica.url: replica for replica in self._all}
        wanted = dict.fromkeys(urls)
        gone = [replica for url, replica in known.items() if url not in wanted]
        self._all = [
            known.get(url) or Replica(url, self._make(url), xxhash.xxh3_64_intdigest(url.encode()))
            for url in wanted
        ]
        for replica in gone:
            replica.gone = True
        return gone

    def choose(self, prefix: str, besides: Replica | None = None) -> Replica:
        """The replica that knows this prefix, unless it is down or much busier than the idlest.

        Each address draws a number with the prefix, and the highest wins (rendezvous hashing): when the list
        changes, only the prompts of the replicas concerned move. `besides` is taken only where it is the only one.
        """
        if len(self._all) == 1:
            return self._all[0]
        others = [replica for replica in self._all if replica is not besides]
        up = [replica for replica in others if not replica.throttle.shut] or others
        idlest = min(up, key=lambda replica: replica.throttle.load)
        at = xxhash.xxh3_64_intdigest(prefix.encode("utf-8", "surrogatepass"))
        sticky = max(others, key=lambda replica: ((at ^ replica.seed) * _MIX) & _MASK)
        if not sticky.throttle.shut and sticky.throttle.load <= 1.25 * idlest.throttle.load + 0.1:
            return sticky
        return idlest


def addresses(name: str, config: ModelConfig) -> list[str]:
    """All addresses of a model: those of the recipe, and those in its file of replicas.

    Raises:
        UserError: naming the file, and the line that is no address.
    """
    if config.replicas is None:
        return config.urls
    path = Path(config.replicas)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(
            f"models.{name}.replicas: {path}: {reason}; give a file with one address a line"
        ) from error
    urls = list(config.urls)
    for number, line in enumerate(lines, 1):
        url = line.partition("#")[0].strip()
        if url:
            try:
                check_address(url)
            except ValueError as error:
                raise UserError(f"models.{name}.replicas: {path}:{number}: {error}") from error
            urls.append(url.rstrip("/"))
    if not urls:
        raise UserError(f"models.{name}.replicas: {path}: holds no address; give one a line")
    return list(dict.fromkeys(urls))
