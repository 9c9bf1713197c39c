"""All models of a recipe for one process: shared connections and throttles, opened and closed together.

Use as `async with Clients(recipe.models, account=account, share=workers) as clients`, then
`clients.model("strong", role="teacher")`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec

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


class Clients:
    """Makes the clients inside the event loop that will use them.

    Args:
        configs: `models` of the recipe.
        account: this worker's budget; None for no budgets.
        addresses: by name, instead of the recipe's address and key; needed for `base_url: embedded`.
        share: number of workers among which caps on concurrency, requests and tokens are divided.
        transport: instead of aiohttp.
        backoff: seconds before the first repeat; grows with each one.
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
    ) -> None:
        self._configs = dict(configs)
        self._account = account or Account("none")
        self._addresses = dict(addresses or {})
        self._share = share
        self._transport = transport
        self._backoff = backoff
        self._throttles: dict[tuple[str, str], Throttle] = {}
        self._clients: dict[str, Client] = {}
        self._flights: dict[str, asyncio.Future[Known]] = {}
        """Calls in flight by key: two entries may name the same model."""

    async def __aenter__(self) -> Clients:
        """Make the clients.

        Raises:
            UserError: when a key is missing or a named price does not exist.
        """
        places = {name: self._places(name, config) for name, config in self._configs.items()}
        if self._transport is None:
            connections = sum(throttle.cap for throttle in self._throttles.values())
            self._transport = AiohttpTransport(max(1, connections))
        for name, config in self._configs.items():
            replicas, key = places[name]
            sender = Sender(
                f"models.{name}",
                replicas,
                self._transport,
                key=key,
                timeout=config.timeout,
                retries=config.retries,
                backoff=self._backoff,
            )
            prices = prices_of(name, config)
            self._clients[name] = Client(name, config, sender, self._account, prices, self._flights)
        return self

    def _places(self, name: str, config: ModelConfig) -> tuple[list[Replica], str | None]:
        address = self._addresses.get(name)
        if address is not None:
            urls, key = [address.url.rstrip("/")], address.key
        else:
            if config.embedded:
                raise ValueError(f"models.{name} is embedded: start its server and give its address")
            urls, key = config.urls, config.api_key(name)
        return [Replica(url, self._throttle(url, config)) for url in urls], key

    def _throttle(self, url: str, config: ModelConfig) -> Throttle:
        """One throttle per address and model, also where two entries of the recipe name the same."""
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

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        """Most calls that may be in flight over all endpoints; for sizing what is started at once."""
        return sum(throttle.cap for throttle in self._throttles.values())

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
