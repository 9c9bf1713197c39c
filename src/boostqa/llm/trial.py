"""Trying out what an endpoint obeys, with a handful of tiny calls.

Servers of one kind differ by version and by what stands before them, and most ignore without a word what they do not
know. So each thing is asked for in such a way that the answer shows whether it was obeyed; a field that is refused or
ignored goes into `Abilities.unsent`. Knows nothing of how the calls are made (`check.py` sends them to the wire, a run
through its ledger) and of what follows from what is found.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Literal

import msgspec

from boostqa.errors import UserError
from boostqa.llm.client import abilities_of, policy_of
from boostqa.llm.config import ModelConfig
from boostqa.llm.dialects import DIALECTS, LIMITS, BodyError, Dialect, chat_body, thinks
from boostqa.llm.http import WireError
from boostqa.llm.lines import RawReply
from boostqa.llm.model import Abilities, Message, Outcome, Request
from boostqa.llm.replies import interpret, score_of

Ask = Callable[[str, Request, Abilities], Awaitable[RawReply]]
"""Makes one call (chat, complete or score) with what is known so far; raises `BodyError` or `WireError`."""
ALL = ("chat", "limit", "json_schema", "logprobs", "complete", "score")
_QUESTION = (Message("user", "Which planet do we live on? Answer with its name."),)
_COUNT = (Message("user", "Count from 1 to 300, in digits, with nothing else."),)
_LIMIT = 16
"""Tokens that an answer to it may have."""
_OPTIONAL = (*LIMITS, "seed", "temperature", "top_p", "reasoning_effort", "chat_template_kwargs", "thinking")
"""Fields that a server may refuse and that an answer can be had without."""
REFUSED = re.compile(r"HTTP (400|404|405|415|422|501)\b")
"""In the words of a call that the server will not or cannot answer."""
_PASSING = re.compile(r"HTTP (401|402|403|407|408|409|425|429|50[02-9]|5[1-9]\d)\b")
_SIZE = re.compile(r"context (?:length|size|window)|too (?:large|long)", re.IGNORECASE)
"""Said of a request that does not fit: such a message names fields that the server knows well."""
_SCHEMA = {
    "type": "object",
    "properties": {"planet": {"type": "string", "enum": ["Mars", "Earth", "Venus"]}},
    "required": ["planet"],
    "additionalProperties": False,
}
TIMEOUT_S = 300.0
"""Most that one call may take: a thousand tokens of thought from a slow server."""
Level = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report."""

    what: str
    """reachable, key, model, chat, limit, json_schema, logprobs, complete, score, speed, context, usage, settings"""
    level: Level
    """error: the model cannot be used as the recipe says."""
    detail: str


class Findings(msgspec.Struct, kw_only=True):
    """All about one endpoint."""

    name: str
    url: str
    abilities: Abilities
    rows: list[Finding] = []
    tokens_per_second: float | None = None
    """Of one call alone; many at once are faster together."""

    def add(self, what: str, level: Level, detail: str) -> None:
        """Note one more."""
        self.rows.append(Finding(what=what, level=level, detail=detail))

    def raise_for_errors(self, *what: str) -> None:
        """Raise `UserError` with all rows of level error, or those about `what`."""
        bad = [row.detail for row in self.rows if row.level == "error" and (not what or row.what in what)]
        if bad:
            raise UserError(f"models.{self.name} ({self.url}): " + "; ".join(bad))


class Trial:
    """One model at one address, and what was found about it so far."""

    def __init__(self, name: str, url: str, config: ModelConfig, ask: Ask) -> None:
        self.config = config
        self.dialect: Dialect = DIALECTS[config.dialect_name]
        self.found = Findings(name=name, url=url, abilities=abilities_of(config))
        self._ask = ask

    async def ask(self, kind: str, request: Request) -> RawReply:
        """One call; see `Ask`."""
        return await self._ask(kind, request, self.found.abilities)

    def request(self, **fields: Any) -> Request:
        """A small chat request under the recipe's thinking policy."""
        request = Request(messages=_QUESTION, think=self.config.think, **{"max_tokens": 32, **fields})
        if thinks(self.dialect, request):
            request = msgspec.structs.replace(request, max_tokens=request.max_tokens + 1024)
        return request

    def able(self, **abilities: Any) -> None:
        """Note what it can do."""
        self.found.abilities = msgspec.structs.replace(self.found.abilities, **abilities)

    def leave_out(self, *fields: str) -> None:
        """Send these fields no more."""
        self.able(unsent=tuple(sorted({*self.found.abilities.unsent, *fields})))

    def sent(self, request: Request, *without: str) -> dict[str, Any]:
        """The body of a chat call as it would be sent now, or once these fields, too, are left out."""
        able = self.found.abilities
        able = msgspec.structs.replace(able, unsent=(*able.unsent, *without))
        return chat_body(self.dialect, policy_of(self.config, self.dialect, able), request)


async def try_out(trial: Trial, wanted: Collection[str] = ALL) -> Findings:
    """Try what is `wanted` of `ALL`, as far as dialect and recipe promise it, and note what is found in `trial`."""
    able, chat = trial.found.abilities, trial.config.chat
    if chat and "chat" in wanted and not await _chat(trial):
        return trial.found
    if chat and "limit" in wanted:
        await _limit(trial)
    if chat and "json_schema" in wanted:
        await _schema(trial)
    if "logprobs" in wanted:
        trial.able(logprobs=chat and able.logprobs and await _logprobs(trial))
    if "complete" in wanted:
        trial.able(complete=able.complete and await _complete(trial))
    if "score" in wanted:
        trial.able(score=able.score and await _score(trial))
    return trial.found


async def _chat(trial: Trial) -> bool:
    request = trial.request(max_tokens=64, temperature=0.5)  # above 0: only then is the seed sent
    while True:  # at most once for each optional field: what is left out once is not named again
        start = time.monotonic()
        try:
            raw = await trial.ask("chat", request)
            break
        except (WireError, BodyError) as error:
            field = _named(trial, str(error), request)
            if field in trial.config.extra:
                trial.found.add("chat", "error", f"extra.{field} is refused, take it out: {error}")
                return False
            if field is None:
                what = "reachable" if isinstance(error, WireError) else "chat"
                trial.found.add(what, "error", f"the chat call failed: {error}")
                return False
            trial.leave_out(field)
            trial.found.add("settings", "warning", f"{field} is refused and will not be sent: {error}")
    seconds = time.monotonic() - start
    reply = interpret(raw, request)
    thought = f" after a thought of {len(reply.reasoning)} characters" if reply.reasoning else ""
    trial.found.add("chat", "ok", f"answered {reply.text[:40].strip()!r}{thought}")
    if trial.config.think is False and reply.reasoning:
        detail = "think: false is ignored: it thought; such calls cost more, and are cut off"
        trial.found.add("settings", "warning", detail)
    if raw.model and raw.model != trial.config.model_id:
        trial.found.add("model", "warning", f"the endpoint calls the model {raw.model!r}")
    if raw.usage.prompt is None or raw.usage.completion is None:
        trial.found.add("usage", "warning", "no token counts in the reply: costs will be unknown")
    else:
        rate = trial.found.tokens_per_second = raw.usage.completion / max(seconds, 1e-6)
        detail = f"{seconds:.2f} s for {raw.usage.completion} tokens, {rate:.0f} tokens/s alone"
        trial.found.add("speed", "ok", detail)
    return True


def _named(trial: Trial, said: str, request: Request) -> str | None:
    """The field that a refusal names first, of those in `extra` and of the optional ones that can be left out."""
    if not REFUSED.search(said) or _SIZE.search(said):
        return None
    body, extra = trial.sent(request), trial.config.extra
    names = [name for name in _OPTIONAL if name in body and name not in trial.sent(request, name)]
    names += [name for name in extra if name in body and name not in names]
    places = {name: re.search(rf"\b{re.escape(name)}\b", said) for name in names}
    found = {name: match.start() for name, match in places.items() if match is not None}
    return min(found, key=lambda name: found[name], default=None)


async def _limit(trial: Trial) -> None:
    """Whether no more tokens come than were asked for, on which all budgets rest."""
    think = None if trial.dialect.thinking == "none" else False
    request = Request(messages=_COUNT, max_tokens=_LIMIT, think=think)
    for _ in LIMITS:
        name = next((name for name in LIMITS if name in trial.sent(request)), "the limit of tokens")
        try:
            raw = await trial.ask("chat", request)
        except (WireError, BodyError) as error:
            trial.found.add("limit", "warning", f"whether {name} is obeyed could not be found out: {error}")
            return
        count = raw.usage.completion
        came = len(raw.text + raw.reasoning) // 4 if count is None else count
        if came <= 2 * _LIMIT:
            trial.found.add("limit", "ok", f"{name} is obeyed")
            return
        if name != trial.dialect.limit_field:
            break
        trial.leave_out(name)
    detail = f"the limit of tokens is ignored ({came} tokens came for a limit of {_LIMIT}): no budget could be kept"
    trial.found.add("limit", "error", detail)


async def _schema(trial: Trial) -> None:
    """Whether answers are made to fit a schema: the question asks for a name, not for JSON."""
    request = trial.request(schema=_SCHEMA, schema_name="planet", max_tokens=64)
    mode = policy_of(trial.config, trial.dialect, trial.found.abilities).json_mode
    field = "grammar" if mode == "grammar" else "response_format"
    try:
        reply = interpret(await trial.ask("chat", request), request)
    except (WireError, BodyError) as error:
        if mode != "prompt" and REFUSED.search(str(error)):
            _without(trial, field, f"refused: {error}")
        else:
            trial.found.add(
                "json_schema", "error", f"the call with a JSON Schema failed: {error}; set `json_mode`"
            )
        return
    if reply.ok:
        trial.found.add("json_schema", "ok", f"answers fit a schema through {mode}")
    elif mode != "prompt" and reply.outcome is Outcome.MALFORMED:
        _without(trial, field, f"ignored: {reply.error}")
    else:
        trial.found.add("json_schema", "warning", f"the answer did not fit the schema: {reply.error}")


def _without(trial: Trial, field: str, why: str) -> None:
    trial.leave_out(field)
    trial.able(json_schema=False)
    detail = f"{field} is {why}; schemas will stand in the prompt, answers be checked, repaired and asked for again"
    trial.found.add("json_schema", "warning", detail)


def _lacks(trial: Trial, what: str, words: str, error: WireError | BodyError) -> bool:
    """Whether a failure shows that an ability is not there; what may pass shows nothing."""
    if isinstance(error, WireError) or _PASSING.search(str(error)):
        trial.found.add(what, "warning", f"could not be found out: {error}")
        return False
    trial.found.add(what, "warning", f"{words}: {error}")
    return True


async def _logprobs(trial: Trial) -> bool:
    try:
        raw = await trial.ask("chat", trial.request(top_logprobs=5, max_tokens=4))
    except (WireError, BodyError) as error:
        return not _lacks(trial, "logprobs", "none", error)
    good = bool(raw.logprobs) and len(raw.logprobs[0].top) > 1
    detail = f"{len(raw.logprobs[0].top)} alternatives per token" if good else "none in the reply"
    trial.found.add("logprobs", "ok" if good else "warning", detail)
    return good


async def _complete(trial: Trial) -> bool:
    request = Request(prompt="The planet we live on is called", max_tokens=4)
    try:
        raw = await trial.ask("complete", request)
    except (WireError, BodyError) as error:
        return not _lacks(trial, "complete", "no plain completion", error)
    trial.found.add("complete", "ok", f"continued with {raw.text[:40].strip()!r}")
    return True


async def _score(trial: Trial) -> bool:
    """Whether log-probabilities of a given text are there."""
    for text in ("The planet we live on is called Earth", "The planet we live on is called sgehjw"):
        try:
            raw = await trial.ask("score", Request(prompt=text, max_tokens=1))
        except (WireError, BodyError) as error:
            return not _lacks(trial, "score", "no likelihood of a given text", error)
        score = score_of(raw, 1, text)
        if score is None or score.tokens < 3:
            trial.found.add("score", "warning", "echo is ignored: no likelihood of a given text")
            return False
    trial.found.add("score", "ok", "likelihood of a given text")
    return True
