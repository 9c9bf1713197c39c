"""All models of a recipe for one process: shared connections and throttles, opened and closed together.

Use as `async with Clients(recipe.models, account=account, share=workers) as clients`, then
`clients.model("strong", role="teacher")`.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import msgspec

from boostqa.errors import UserError
from boostqa.llm.batch import BatchTransport, Pace
from boostqa.llm.batch_api import BatchApi
from boostqa.llm.batch_state import Store, stranded
from boostqa.llm.budget import Account
from boostqa.llm.client import Client, Known, body_bound
from boostqa.llm.config import ModelConfig
from boostqa.llm.http import AiohttpTransport, Transport
from boostqa.llm.model import Abilities
from boostqa.llm.prices import prices_of
from boostqa.llm.replicas import REREAD_S, Replicas, addresses
from boostqa.llm.sending import Patience, Sender
from boostqa.llm.throttle import Throttle, Tuning


def spare_collector() -> None:
    """Have Python's cyclic garbage collector look at what is new only, and less often; for a process that makes calls.

    By default it walks through all modules again and again, which is an eighth of the CPU of a call.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class Address(msgspec.Struct, frozen=True):
    """Where a model really is, when the recipe cannot know it (the embedded model)."""

    url: str
    key: str | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One (address, model) at one moment."""

    url: str
    model: str
    in_flight: int
    limit: float
    """How many may be in flight now."""
    cap: int
    cuts: int
    """How often the limit was lowered."""
    throttled: int
    """Requests that were answered 429."""
    open: bool
    """Whether the breaker is open: the endpoint seems to be down."""

    def plus(self, other: Endpoint) -> Endpoint:
        """The same place as two processes see it."""
        return Endpoint(
            url=self.url,
            model=self.model,
            in_flight=self.in_flight + other.in_flight,
            limit=self.limit + other.limit,
            cap=self.cap + other.cap,
            cuts=self.cuts + other.cuts,
            throttled=self.throttled + other.throttled,
            open=self.open or other.open,
        )


class Batches(msgspec.Struct, frozen=True):
    """What models with `transport: batch` need of the run."""

    folder: Path
    """For batches that are not settled, shared by all workers."""
    paid: Callable[[str], bool] = lambda _: False
    """Whether the ledger has the answer to a key."""
    pace: Pace = Pace()


def check_batches(configs: Mapping[str, ModelConfig], batches: Batches) -> None:
    """Stop where a model went online, or its address changed, while a batch of it was under way.

    Raises:
        UserError: naming the batches whose calls would be paid for again.
    """
    if not configs:
        return
    store = Store(batches.folder)
    urls = {name: config.urls[0] if config.transport == "batch" else None for name, config in configs.items()}
    left = stranded(store, batches.paid, urls)
    if left:
        named = "; ".join(
            f"models.{state.model}: batch {state.batch_id or state.id} of {len(state.keys)} requests at "
            f"{state.url} ({store.note(state)})"
            for state in left[:5]
        )
        raise UserError(
            f"{len(left)} batches of an earlier start are not finished, and without `transport: batch` at the "
            f"same base_url their calls would be paid for again: {named}; run with the former settings until "
            "they are over, or give their answers up by removing these files"
        )


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
        self._senders: dict[str, Sender] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._throttles: dict[tuple[str, str], Throttle] = {}
        self._clients: dict[str, Client] = {}
        self._flights: dict[str, asyncio.Future[Known]] = {}
        """Calls in flight by key: two entries may name the same model."""

    async def __aenter__(self) -> Clients:
        """Make the clients.

        Raises:
            UserError: when a key is missing, a named price does not exist, a file of replicas cannot be read, or
                a batch of an earlier start would be paid for again.
            ProviderStop: when it cannot be told what became of a batch of an earlier start.
        """
        if self._batches is not None:
            check_batches(self._configs, self._batches)
        places = {name: self._places(name, config) for name, config in self._configs.items()}
        try:
            await self._open(places)
            if any(config.replicas is not None for config in self._configs.values()):
                self._watcher = asyncio.get_running_loop().create_task(self._watch())
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _open(self, places: Mapping[str, tuple[list[str], str | None]]) -> None:
        if self._transport is None:
            growing = any(
                config.replicas for config in self._configs.values()
            )  # 0: as many as the throttles let
            self._transport = AiohttpTransport(0 if growing else max(1, self.capacity()))
        for name, config in self._configs.items():
            urls, key = places[name]
            sender = Sender(
                f"models.{name}",
                Replicas(urls, partial(self._throttle, config)),
                self._transport if config.transport == "online" else await self._batch(name, config, key),
                key=key,
                patience=Patience(
                    timeout=config.timeout, retries=config.retries, backoff=self._backoff, hedge=config.hedge
                ),
                meter=self._account.meter,
            )
            self._senders[name] = sender
            prices = prices_of(name, config)
            self._clients[name] = Client(name, config, sender, self._account, prices, self._flights)

    def _places(self, name: str, config: ModelConfig) -> tuple[list[str], str | None]:
        """Addresses and key; also makes the throttles, by whose caps the connections are counted."""
        address = self._addresses.get(name)
        if address is not None:
            urls, key = [address.url.rstrip("/")], address.key
        else:
            if config.embedded:
                raise ValueError(f"models.{name} is embedded: start its server and give its address")
            urls, key = addresses(name, config), config.api_key(name)
        for url in urls:
            self._throttle(config, url)
        return urls, key

    async def _watch(self) -> None:
        """Read the files of replicas again and again; one that cannot be read leaves the list as it is."""
        while True:
            await asyncio.sleep(REREAD_S)
            for name, config in self._configs.items():
                if config.replicas is not None and name in self._senders:
                    with suppress(UserError):
                        self._relist(self._senders[name], config, addresses(name, config))

    def _relist(self, sender: Sender, config: ModelConfig, urls: list[str]) -> None:
        for replica in sender.replicas.replace(urls):
            if not any(replica.url == other.url for s in self._senders.values() for other in s.replicas):
                # Those who wait there are sent elsewhere; should the address come back, it starts anew.
                replica.throttle.close(f"{replica.url}: taken out of the list of replicas")
                self._throttles.pop((replica.url, config.model_id), None)

    async def _batch(self, name: str, config: ModelConfig, key: str | None) -> BatchTransport:
        if self._batches is None:
            raise ValueError(f"models.{name}: transport batch needs a folder; give `batches`")
        transport = BatchTransport(
            name,
            BatchApi(config.urls[0], key),
            self._batches.folder,
            config.batch,
            paid=self._batches.paid,
            bound=partial(body_bound, prices_of(name, config)),
            pace=msgspec.structs.replace(self._batches.pace, patience=config.give_up_after),
        )
        self._batched.append(transport)
        await transport.open()
        return transport

    def _throttle(self, config: ModelConfig, url: str) -> Throttle:
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
            tuning = Tuning(start=cap, trip=10**9, give_up_jammed=7 * 86400.0, slow=math.inf, queued=math.inf)
            self._throttles[place] = Throttle(cap, tuning=tuning)
        return self._throttles[place]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        for batched in self._batched:
            await batched.close()
        if self._transport is not None:
            await self._transport.close()
        self._clients.clear()

    def learn(self, abilities: Mapping[str, Abilities]) -> None:
        """Go by what endpoints were found to do, by name in `models`, where anything was."""
        for name, found in abilities.items():
            self._clients[name].learn(found)

    def model(self, name: str, role: str = "") -> Client:
        """The client of an entry of `models`, its ledger lines tagged by `role`."""
        return self._clients[name].for_role(role)

    def capacity(self) -> int:
        """Most calls that may be in flight online over all endpoints; for sizing what is started at once."""
        batched = {f"{config.model_id} (batch)" for config in self._configs.values()}
        return sum(throttle.cap for (_, model), throttle in self._throttles.items() if model not in batched)

    def snapshot(self) -> list[Endpoint]:
        """Numbers of each throttle at this moment, for status and metrics."""
        return [
            Endpoint(
                url=url,
                model=model,
                in_flight=throttle.in_flight,
                limit=round(throttle.limit, 2),
                cap=throttle.cap,
                cuts=throttle.cuts,
                throttled=throttle.throttled,
                open=throttle.open,
            )
            for (url, model), throttle in self._throttles.items()
        ]
