"""The model that stages see: every call through ledger, budget and throttle, and never a surprise.

A call goes: key -> this shard's ledger and the run's index (replayed, costs nothing) -> an identical call in
flight (shared) -> reserve in the budget -> send (`sending.py`) -> ledger -> settle -> the caller. A bad reply
has at most one second try: cut off, with a higher limit; malformed, with the error. Both are calls of their
own with their own keys. Nothing here knows of stages, shards or files.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib

import msgspec

from boostqa.identity import ID_BYTES, canonical
from boostqa.llm.budget import Account, Amount
from boostqa.llm.config import ModelConfig, Prices
from boostqa.llm.dialects import (
    DIALECTS,
    BodyError,
    Dialect,
    Policy,
    chat_body,
    complete_body,
    score_body,
    thinks,
)
from boostqa.llm.ledger import Journal, current_journal, current_record
from boostqa.llm.lines import Line, RawReply
from boostqa.llm.model import Abilities, Message, Outcome, Reply, Request, Score
from boostqa.llm.prices import cost, upper_cost
from boostqa.llm.replies import interpret, score_of
from boostqa.llm.sending import Call, Sender, Sent

_BODIES = {"chat": chat_body, "complete": complete_body, "score": score_body}
_PATHS = {"chat": "/chat/completions", "complete": "/completions", "score": "/completions"}
_BYTES_PER_TOKEN = 2.0
"""Lower bound for text in use (English has about 4, Chinese 3 to 5): a reservation is an upper bound."""
_QUOTED = 4000
"""Characters of a bad reply that are shown to the model when it is asked again."""
_encoder = msgspec.json.Encoder()
_sorted_encoder = msgspec.json.Encoder(order="sorted")


class Known(msgspec.Struct, frozen=True):
    """What a call came to: the raw reply, or why there is none."""

    raw: RawReply | None
    error: str
    key: str
    replayed: bool


class Client:
    """`Model` over an endpoint that speaks the OpenAI protocol; made by `Clients`."""

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        sender: Sender,
        account: Account,
        prices: Prices | None,
        flights: dict[str, asyncio.Future[Known]],
    ) -> None:
        dialect = DIALECTS[config.dialect_name]
        self.name = name
        self.id = config.model_id
        self.family = config.family or name
        self.abilities = abilities_of(config)
        self.role = ""
        self._config = config
        self._dialect = dialect
        self._policy = policy_of(config, dialect)
        self._sender = sender
        self._account = account
        self._prices = prices
        self._flights = flights
        shape = {"effort": config.effort, "extra": config.extra}
        self._key_start = canonical([self.id, shape]) + b"\n"

    def learn(self, abilities: Abilities) -> None:
        """Go by what the endpoint was found to do, instead of by what its dialect promises."""
        self.abilities = abilities
        self._policy = policy_of(self._config, self._dialect, abilities)

    async def try_once(self, kind: str, request: Request, abilities: Abilities) -> RawReply:
        """One call as it is, under these abilities: no second try, no reading; for finding out what there is.

        Raises:
            BodyError: saying why there is no answer.
            Stop: as `Model.chat`.
        """
        other = self.for_role(self.role)
        other.learn(abilities)
        known = await other._known(kind, request)
        if known.raw is None:
            raise BodyError(known.error)
        return known.raw

    def for_role(self, role: str) -> Client:
        """The same model with its ledger lines tagged by `role`; everything else is shared."""
        other = copy.copy(self)
        other.role = role
        return other

    async def chat(self, request: Request) -> Reply:
        """See `Model.chat`."""
        asked = self._effective(request)
        reply = await self._reply("chat", asked)
        second = second_try(asked, reply, self._config.max_tokens_cap)
        if second is None:
            return reply
        again = await self._reply("chat", second)
        return reply if again.outcome is Outcome.FAILED else again

    async def complete(self, request: Request) -> Reply:
        """See `Model.complete`. Has no second try: a cut-off continuation is what was asked for."""
        return await self._reply("complete", request)

    async def score(self, prefix: str, continuations: list[str]) -> list[Score] | None:
        """See `Model.score`. White space at the end of `prefix` is moved to the continuations."""
        if not self.abilities.score:
            return None
        stem = prefix.rstrip()
        moved = prefix[len(stem) :]
        start = 1
        if stem:  # first alone: it warms the server's prefix cache, and tells how many tokens the prefix has
            known = await self._known("score", Request(prompt=stem, max_tokens=1))
            if known.raw is None or known.raw.usage.prompt is None:
                return None
            start = known.raw.usage.prompt
        asked = [Request(prompt=stem + moved + text, max_tokens=1) for text in continuations]
        found = await asyncio.gather(*(self._known("score", request) for request in asked))
        scores = []
        for known, text in zip(found, continuations, strict=True):
            score = score_of(known.raw, start, moved + text)
            if score is None:
                return None
            scores.append(score)
        return scores

    def _effective(self, request: Request) -> Request:
        """The request under the recipe's thinking policy, with room for the thought."""
        if request.think is None and self._config.think is not None:
            request = msgspec.structs.replace(request, think=self._config.think)
        if thinks(self._dialect, request):
            limit = request.max_tokens + self._config.think_tokens
            request = msgspec.structs.replace(request, max_tokens=limit)
        return request

    async def _reply(self, kind: str, request: Request) -> Reply:
        if kind == "complete" and not self.abilities.complete:
            error = f"models.{self.name}: the dialect {self._dialect.name} has no plain completion"
            return Reply(outcome=Outcome.FAILED, error=error)
        known = await self._known(kind, request)
        if known.raw is None:
            return Reply(outcome=Outcome.FAILED, error=known.error, key=known.key)
        return interpret(known.raw, request, key=known.key, replayed=known.replayed)

    def key(self, kind: str, request: Request) -> str:
        """Key in the ledger: what can change the answer, never address, shard or time."""
        asked = _sorted_encoder.encode(request)
        data = b"".join((self._key_start, kind.encode(), b"\n", asked))
        return hashlib.blake2b(data, digest_size=ID_BYTES).hexdigest()

    async def _known(self, kind: str, request: Request) -> Known:
        try:
            key = self.key(kind, request)
        except UnicodeEncodeError as error:
            problem = f"models.{self.name}: the prompt is not valid Unicode: {error.reason}"
            return Known(None, problem, "", False)
        journal = current_journal.get()
        while True:
            line = None if journal is None else journal.lookup(key)
            if line is not None and line.reply is not None:
                return Known(line.reply, "", key, True)
            flight = self._flights.get(key)
            if flight is None:
                break
            await asyncio.wait([flight])
            if not flight.cancelled():
                return msgspec.structs.replace(flight.result(), replayed=True)
            if journal is not None:  # it may have been answered all the same, and its line be on its way
                await journal.flushed()
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            known = await self._pay(kind, request, key, journal)
        except asyncio.CancelledError:
            flight.cancel()  # those who share this call start one of their own
            raise
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # marks it as seen: perhaps nobody shares this call
            raise
        finally:
            del self._flights[key]
        flight.set_result(known)
        return known

    async def _pay(self, kind: str, request: Request, key: str, journal: Journal | None) -> Known:
        body = _encoder.encode(_BODIES[kind](self._dialect, self._policy, request))
        if journal is not None:
            journal.check()
        upper = upper_bound(self._prices, body, request.max_tokens)
        reserved, sent = upper, Sent()
        booked = self._sender.booked(key)
        if booked is not None:
            self._account.release(booked)
        await self._account.reserve(upper)

        async def reserve(in_flight: int) -> None:
            """For the tries that may have been billed, and those that are or will be in flight."""
            nonlocal reserved
            times = sent.unanswered + in_flight
            more = Amount(
                money=upper.money * times, tokens=upper.tokens * times, requests=sent.tries + in_flight
            )
            more = more - reserved
            await self._account.reserve(more, repeat=True)
            reserved += more

        written: asyncio.Future[None] | None = None
        call = Call(
            path=_PATHS[kind],
            body=body,
            tokens=len(body) / 4 + request.max_tokens,
            key=key,
            upper=upper,
            prefix=request.messages[0].content if request.messages else (request.prompt or "")[:256],
        )
        try:
            await self._sender.send(call, sent, reserve)
            if kind == "score" and sent.raw is not None:
                sent.raw = _lean(sent.raw)
        except BaseException as error:
            # A stop, or nobody wants the answer any more: what was sent may be billed all the same.
            sent.error = str(error) or "cancelled"
            raise
        finally:
            price = None if sent.raw is None else cost(self._prices, sent.raw.usage, sent.sent_at)
            used = self._used(sent, upper, body, price)
            if journal is not None and sent.tries:
                line = self._line(kind, request, key, sent, used=used, upper=upper, price=price)
                written = journal.add(line)
            self._account.settle(reserved, used)
            if self._account.meter is not None:
                self._account.meter.add(used)
                self._account.meter.add(upper, -sent.metered)
                if booked is not None:
                    self._account.meter.replaced(booked)
        if written is not None:
            await written
        return Known(sent.raw, sent.error, key, False)

    def _used(self, sent: Sent, upper: Amount, body: bytes, price: float | None) -> Amount:
        """What a call used; tries without an answer count in full, missing token counts by the bytes."""
        lost_money, lost_tokens = upper.money * sent.unanswered, upper.tokens * sent.unanswered
        if sent.raw is None:
            return Amount(money=lost_money, tokens=lost_tokens, requests=sent.tries)
        usage = sent.raw.usage
        prompt = len(body) / _BYTES_PER_TOKEN if usage.prompt is None else usage.prompt
        completion: float | None = usage.completion
        if completion is None:
            written = len(sent.raw.text.encode()) + len(sent.raw.reasoning.encode())
            completion = written / _BYTES_PER_TOKEN
        money = price
        if money is None:
            money = upper_cost(self._prices, prompt, completion)
        return Amount(money=money + lost_money, tokens=prompt + completion + lost_tokens, requests=sent.tries)

    def _line(
        self,
        kind: str,
        request: Request,
        key: str,
        sent: Sent,
        *,
        used: Amount,
        upper: Amount,
        price: float | None,
    ) -> Line:
        return Line(
            k=key,
            ts=sent.sent_at + sent.seconds,
            name=self.name,
            model=self.id,
            role=self.role,
            r=current_record.get(),
            kind=kind,
            request=request,
            reply=sent.raw,
            cost=price,
            currency="" if self._prices is None else self._prices.currency,
            seconds=sent.seconds,
            tries=sent.tries,
            err=sent.error,
            lost=upper.money * sent.unanswered,
            lost_tokens=int(upper.tokens * sent.unanswered),
            used_money=used.money,
            used_tokens=used.tokens,
        )


def upper_bound(prices: Prices | None, body: bytes, limit: int) -> Amount:
    """Most that one answer to `body` can use, of which at most `limit` tokens are generated."""
    prompt = len(body) / _BYTES_PER_TOKEN + 64
    return Amount(money=upper_cost(prices, prompt, limit), tokens=prompt + limit, requests=1)


class _Limit(msgspec.Struct):
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


def body_bound(prices: Prices | None, body: bytes) -> Amount:
    """The same, with the limit as the body has it."""
    said = msgspec.json.decode(body, type=_Limit)
    return upper_bound(prices, body, said.max_tokens or said.max_completion_tokens or 0)


def abilities_of(config: ModelConfig) -> Abilities:
    """What an endpoint can do, going by its dialect and settings."""
    dialect = DIALECTS[config.dialect_name]
    constrained = policy_of(config, dialect).json_mode in {"response_format", "grammar"}
    return msgspec.structs.replace(dialect.abilities, json_schema=constrained, chat=config.chat)


def policy_of(config: ModelConfig, dialect: Dialect, abilities: Abilities | None = None) -> Policy:
    """The settings that shape a request's body; `abilities` are those that the endpoint was found to have."""
    mode = dialect.json_mode if config.json_mode == "dialect" else config.json_mode
    unsent = () if abilities is None else abilities.unsent
    if ("grammar" if mode == "grammar" else "response_format") in unsent:
        mode = "prompt"
    return Policy(
        model=config.model_id,
        json_mode=mode,
        unsent=unsent,
        effort=config.effort,
        extra=config.extra,
    )


def second_try(request: Request, reply: Reply, cap: int | None) -> Request | None:
    """The one further request that a bad reply is worth, or None.

    Cut off: twice the limit, at most `cap`. Malformed with a text: the text and what is wrong with it are
    shown to the model. Empty or a loop: the same question, warmer. A request that is a second try itself
    (`attempt` is set) gets none.
    """
    if request.attempt:
        return None
    if reply.outcome is Outcome.TRUNCATED:
        limit = min(2 * request.max_tokens, cap or 2 * request.max_tokens)
        if limit <= request.max_tokens:
            return None
        return msgspec.structs.replace(request, max_tokens=limit, attempt="longer")
    if reply.outcome is not Outcome.MALFORMED:
        return None
    if not reply.text.strip() or reply.error.startswith("repetition loop"):
        warmer = max(request.temperature, 0.7)
        return msgspec.structs.replace(request, temperature=warmer, attempt="reask")
    complaint = f"That answer cannot be used: {reply.error}. Answer again, with the corrected answer alone."
    turns = (Message("assistant", reply.text[:_QUOTED]), Message("user", complaint))
    return msgspec.structs.replace(request, messages=request.messages + turns, attempt="reask")


def _lean(raw: RawReply) -> RawReply:
    """An echoed prompt without what scoring does not need, since the request is in the ledger as well."""
    logprobs = [msgspec.structs.replace(item, top={}) for item in raw.logprobs]
    return msgspec.structs.replace(raw, text="", logprobs=logprobs)
