"""All models of a recipe for one process: shared connections and throttles, opened and closed together.

Use as `async with Clients(recipe.models, account=account, share=workers) as clients`, then
`clients.model("strong", role="teacher")`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from boostqa.llm.batch import BatchTransport, Pace
from boostqa.llm.batch_api import BatchApi
from boostqa.llm.budget import Account
from boostqa.llm.client import Client, Known
from boostqa.llm.config import ModelConfig
from boostqa.llm.http import AiohttpTransport, Transport
from boostqa.llm.prices import prices_of
from boostqa.llm.sending import Replica, Sender
from boostqa.llm.throttle import Throttle, Tuning


class Address(msgspec.Struct, frozen=True):
    """Where a model really is, when the recipe cannot know it (the embedded model)."""

    url: str
    key: str | None = None


class Batches(msgspec.Struct, frozen=True):
    """What models with `transport: batch` need of the run."""

    folder: Path
    """For batches that are not settled, shared by all workers."""
    paid: Callable[[str], bool] = lambda _: False
    """Whether the ledger has the answer to a key."""
    pace: Pace = Pace()


class Clients:
    """Makes the clients inside the event loop that will use them.

    Args:
        configs: `models` of the recipe.
        account: this worker's budget; None for no budgets.
        addresses: by name, instead of the recipe's address and key; needed for `base_url: embedded`.
        share: number of workers among which caps on concurrency, requests and tokens are divided.
        transport: instead of aiohttp.
        backoff: seconds before the first repeat; grows with each one.
        batches: needed where a model has `transport: batch`.
    """

    def __init__(
        self,
        configs: Mapping[str, ModelConfig],
        *,
        account: Account | None = None,
        addresses: Mapping[str, Address] | None = None,
        share: int = 1,
        transport: Transport | None = None,
        backoff: float = 0.5,
        batches: Batches | None = None,
    ) -> None:
        self._configs = dict(configs)
        self._account = account or Account("none")
        self._addresses = dict(addresses or {})
        self._share = share
        self._transport = transport
        self._backoff = backoff
        self._batches = batches
        self._batched: list[BatchTransport] = []
        self._throttles: dict[tuple[str, str], Throttle] = {}
        self._clients: dict[str, Client] = {}
        self._flights: dict[str, asyncio.Future[Known]] = {}
        """Calls in flight by key: two entries may name the same model."""

    async def __aenter__(self) -> Clients:
        """Make the clients.

        Raises:
            UserError: when a key is missing or a named price does not exist.
            ProviderStop: when it cannot be told what became of a batch of an earlier start.
        """
        places = {name: self._places(name, config) for name, config in self._configs.items()}
        try:
            await self._open(places)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _open(self, places: Mapping[str, tuple[list[Replica], str | None]]) -> None:
        if self._transport is None:
            self._transport = AiohttpTransport(max(1, self.capacity()))
        for name, config in self._configs.items():
            replicas, key = places[name]
            sender = Sender(
                f"models.{name}",
                replicas,
                self._transport if config.transport == "online" else await self._batch(name, config, key),
                key=key,
                timeout=config.timeout,
                retries=config.retries,
                backoff=self._backoff,
            )
            prices = prices_of(name, config)
            self._clients[name] = Client(name, config, sender, self._account, prices, self._flights)

    def _places(self, name: str, config: ModelConfig) -> tuple[list[Replica], str | None]:
        address = self._addresses.get(name)
        if address is not None:
            urls, key = [address.url.rstrip("/")], address.key
        else:
            if config.embedded:
                raise ValueError(f"models.{name} is embedded: start its server and give its address")
            urls, key = config.urls, config.api_key(name)
        return [Replica(url, self._throttle(url, config)) for url in urls], key

    async def _batch(self, name: str, config: ModelConfig, key: str | None) -> BatchTransport:
        if self._batches is None:
            raise ValueError(f"models.{name}: transport batch needs a folder; give `batches`")
        transport = BatchTransport(
            name,
            BatchApi(config.urls[0], key),
            self._batches.folder,
            config.batch,
            patience=config.give_up_after,
            paid=self._batches.paid,
            pace=self._batches.pace,
        )
        self._batched.append(transport)
        await transport.open()
        return transport

    def _throttle(self, url: str, config: ModelConfig) -> Throttle:
        """One throttle per address and model, also where two entries of the recipe name the same."""
        if config.transport == "batch":
            return self._queue(url, config)
        place = (url, config.model_id)
        cap = math.ceil(config.concurrency / self._share)
        if place in self._throttles:
            throttle = self._throttles[place]
            throttle.cap = min(throttle.cap, cap)
            return throttle
        self._throttles[place] = Throttle(
            cap,
            rpm=None if config.rpm is None else config.rpm / self._share,
            tpm=None if config.tpm is None else config.tpm / self._share,
            tuning=Tuning.shared(self._share, give_up_after=config.give_up_after),
        )
        return self._throttles[place]

    def _queue(self, url: str, config: ModelConfig) -> Throttle:
        """Room for a few batches.

        Calls take hours and fail together: no latency signal, and no breaker, which would send batches of one to
        find out whether the endpoint is up.
        """
        place = (url, f"{config.model_id} (batch)")
        if place not in self._throttles:
            cap = 4 * config.batch.requests
            tuning = Tuning(start=cap, trip=10**9, give_up_jammed=7 * 86400.0)
            self._throttles[place] = Throttle(cap, tuning=tuning)
        return self._throttles[place]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for batched in self._batched:
            await batched.close()
        if self._transport is not None:
            await self._transport.close()
        self._clients.clear()

    def model(self, name: str, role: str = "") -> Client:
        """The client of an entry of `models`, its ledger lines tagged by `role`."""
        return self._clients[name].for_role(role)

    def by_role(self, roles: Mapping[str, list[str]]) -> dict[str, list[Client]]:
        """Clients by role, for `Kit.models`; `roles` gives the names of each role's models."""
        return {role: [self.model(name, role) for name in names] for role, names in roles.items()}

    def capacity(self) -> int:
        """Most calls that may be in flight online over all endpoints; for sizing what is started at once."""
        batched = {f"{config.model_id} (batch)" for config in self._configs.values()}
        return sum(throttle.cap for (_, model), throttle in self._throttles.items() if model not in batched)

    def snapshot(self) -> list[dict[str, Any]]:
        """Numbers of each throttle at this moment, for status and metrics."""
        return [
            {
                "url": url,
                "model": model,
                "in_flight": throttle.in_flight,
                "limit": round(throttle.limit, 2),
                "cap": throttle.cap,
                "cuts": throttle.cuts,
                "open": throttle.open,
            }
            for (url, model), throttle in self._throttles.items()
        ]
