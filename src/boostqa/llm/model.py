"""What a stage sees of a language model: requests, replies with an outcome, and the three calls.

Nothing here knows of HTTP, dialects, retries or money; `llm/client.py` implements `Model`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol

import msgspec


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    """system, user or assistant."""
    content: str


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One paid question to a model. Its canonical bytes plus the model id are its key in the ledger."""

    messages: tuple[Message, ...] = ()
    """For chat; exactly one of `messages` and `prompt` is given."""
    prompt: str | None = None
    """For plain completion (base models have no chat template)."""
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    """JSON Schema of the wanted reply; `Reply.data` then holds the parsed and validated value."""
    schema_name: str = "reply"
    """Short name of the schema, for servers that want one."""
    top_logprobs: int = 0
    """Above 0: also the log-probabilities of that many alternatives per generated token (natural log)."""
    think: bool | None = None
    """Whether a reasoning model may think first; None leaves it to the endpoint's policy in the recipe."""
    sample: int = 0
    """Index among several samples of the same question; part of the key, so each is paid and kept once."""
    attempt: str = ""
    """Kind of attempt, part of the key: empty, or such as `reask` for a second try after a bad reply."""


class Outcome(StrEnum):
    """How a call ended. Everything but `ok` carries a reason in `Reply.error`."""

    OK = "ok"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    MALFORMED = "malformed"
    FAILED = "failed"


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens as the provider counted them; None where it did not say."""

    prompt: int | None = None
    cached: int | None = None
    """Part of `prompt` that was read from the provider's cache."""
    completion: int | None = None
    reasoning: int | None = None
    """Part of `completion` that was thought."""


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One generated token with its alternatives."""

    token: str
    logprob: float
    top: dict[str, float] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request; never None, never an exception for a call that merely went wrong."""

    outcome: Outcome
    text: str = ""
    """The answer without the thought."""
    reasoning: str = ""
    """The thought, from `reasoning_content`, `reasoning` or `<think>` in the content."""
    data: Any = None
    """Parsed reply where the request had a schema and the outcome is `ok`."""
    logprobs: list[TokenLogprob] = []
    usage: Usage = Usage()
    model: str = ""
    """Model id as the server reported it."""
    finish: str = ""
    """The provider's finish reason."""
    error: str = ""
    """Why the outcome is not `ok`: place, value, and what the provider said."""
    key: str = ""
    """Key in the ledger, 32 hexadecimal digits."""
    replayed: bool = False
    """True when it came from the ledger and cost nothing now."""

    @property
    def ok(self) -> bool:
        """Whether the reply can be used as it is."""
        return self.outcome is Outcome.OK


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Log-likelihood of one given continuation."""

    logprob: float
    """Sum over the continuation's tokens, natural log."""
    tokens: int
    num_bytes: int
    """UTF-8 bytes of the continuation; bits per byte = -logprob / ln 2 / num_bytes."""


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint was found able to do (by `boostqa check`, or by its dialect)."""

    chat: bool = True
    complete: bool = False
    score: bool = False
    """Likelihood of a given text (echo or prompt logprobs); llama.cpp's server has none."""
    logprobs: bool = False
    """Log-probabilities of generated tokens."""
    json_schema: bool = False
    """Constrained decoding by JSON Schema."""
    unsent: tuple[str, ...] = ()
    """Fields of a request's body that the endpoint refuses or ignores, so that they are never sent."""


class Model(Protocol):
    """A model by role. All calls go through the ledger; a paid answer is on disk before it is returned."""

    name: str
    """Name in the recipe's `models`."""
    id: str
    """Model id sent to the endpoint."""
    family: str
    """Models of one family do not vouch for each other; by default the name in the recipe."""
    abilities: Abilities

    async def chat(self, request: Request) -> Reply:
        """Ask in chat form.

        Raises:
            Stop: when a budget is used up or the provider is down for good; never for one bad reply.
        """
        ...

    async def complete(self, request: Request) -> Reply:
        """Continue `request.prompt`. Needs `abilities.complete`. Raises as `chat`."""
        ...

    async def score(self, prefix: str, continuations: list[str]) -> list[Score] | None:
        """Log-likelihood of each continuation after `prefix`, or None where the call failed.

        Needs `abilities.score`; a caller checks that and says openly what it does instead. Raises as `chat`.
        """
        ...
