"""Settings of one model endpoint: an entry of `models` in the recipe.

Pure data and its checks; only `ModelConfig.identity` looks at a file. Fields marked
`free` cannot alter results, so they stay outside fingerprints
and may change between two starts of a run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from boostqa.errors import UserError
from boostqa.inputs import InputFile, fingerprint
from boostqa.llm.embedded import MODEL, SHA256, find_model

DialectName = Literal["openai", "vllm", "sglang", "deepseek", "llamacpp"]
EMBEDDED = "embedded"
_FREE: dict[str, Any] = {"identity": "free"}
_HOSTS: dict[str, DialectName] = {"api.deepseek.com": "deepseek", "api.openai.com": "openai"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(?:^|_)(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}(?:_|$)")
"""A long run of letters and digits, which is in keys (`hf_...`) but not in names that people give."""


_SECRET_NAME = re.compile(
    r"api[-_]?key|authori[sz]ation|secret|password|bearer|access[-_]?token|^token$", re.I
)


_OURS = {"model", "messages", "prompt", "stream", "n", "best_of", "max_tokens", "max_completion_tokens"}
"""Fields of a body that `extra` must not set."""


def _names(value: Any) -> Iterator[str]:
    """Names of all fields in plain data, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name)
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


class _Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class PeakPrices(_Settings):
    """Prices in the hours of the day when the provider charges more."""

    input: float = Field(ge=0)
    """Per million prompt tokens that were not cached."""
    cached: float | None = Field(default=None, ge=0)
    """Per million cached prompt tokens; as `input` when absent."""
    output: float = Field(ge=0)
    """Per million generated tokens, thought included."""
    hours: list[tuple[float, float]]
    """Spans of the day in hours UTC, such as `[[1, 4], [6, 10]]`; the end is not included."""
    days: list[int] = [0, 1, 2, 3, 4, 5, 6]
    """Days of the week in UTC, 0 is Monday."""


class Prices(_Settings):
    """What the provider charges, per million tokens."""

    currency: str = "USD"
    """ISO 4217 code; all priced models of a recipe must share it when there is a money budget."""
    input: float = Field(ge=0)
    """Per million prompt tokens that were not cached."""
    cached: float | None = Field(default=None, ge=0)
    """Per million cached prompt tokens; as `input` when absent."""
    output: float = Field(ge=0)
    """Per million generated tokens, thought included."""
    peak: PeakPrices | None = None
    """Higher prices at certain hours."""
    batch: float | None = Field(default=None, ge=0)
    """Share of these prices that a call through the Batch API costs, such as 0.5; absent: the price of such
    calls is unknown."""


class BatchSettings(_Settings):
    """How calls are collected for a provider's Batch API."""

    requests: int = Field(default=5000, ge=1, le=50_000)
    """Most requests in one batch; providers allow up to 50,000."""
    megabytes: float = Field(default=50.0, gt=0, le=200)
    """Most megabytes in one batch; it is held in memory while it is collected."""
    wait: float = Field(default=30.0, ge=0)
    """Seconds after its first request at which a batch is sent, full or not."""
    poll: float = Field(default=60.0, gt=0)
    """Most seconds between two questions how a batch is doing; the first ones come sooner."""
    window: str = Field(default="24h", pattern=r"^[1-9][0-9]{0,3}[hd]$")
    """Time that the provider gets, in hours or days (`24h`, `7d`); what it has not done by then is asked again."""

    @property
    def seconds(self) -> float:
        """The window in seconds."""
        return int(self.window[:-1]) * (3600.0 if self.window.endswith("h") else 86400.0)


def check_address(url: str) -> None:
    """Whether `url` is an address without secrets in it.

    Raises:
        ValueError: saying what is wrong; an address that may hold a secret is not repeated.
    """
    parts = urlsplit(url)
    if "@" in (parts.netloc or url):
        raise ValueError(
            f"base_url holds credentials (host {parts.hostname}); put the key into an environment variable and "
            "name it in api_key_env"
        )
    if "?" in url or "#" in url:
        raise ValueError(
            f"base_url (host {parts.hostname}) has a query or a fragment (from ? or # on); leave it out, and "
            "put a key into an environment variable that api_key_env names"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("base_url is no address; it should look like http://host:8000/v1")


class ModelConfig(_Settings):
    """One model behind one or more addresses that serve the same weights."""

    base_url: str | list[str] = Field(json_schema_extra=_FREE)
    """Address up to and including the version, such as `http://127.0.0.1:8000/v1`; several for replicas, `[]` where
    they all stand in the file of `replicas`; `embedded` for the small model that comes with this package."""
    replicas: str | None = Field(default=None, json_schema_extra=_FREE)
    """A file with further addresses that serve the same model, one a line (`#` begins a remark). It is read again
    every 5 seconds while a run goes on: servers may come and go."""
    hedge: float | None = Field(default=None, gt=0, json_schema_extra=_FREE)
    """Seconds without an answer after which a call is sent a second time, to another replica if there is one; the
    first answer counts. The other call is broken off and booked at its upper bound. Absent: never."""
    model: str = ""
    """Model id as the endpoint knows it. Only the embedded model may leave it out."""
    model_path: str | None = Field(default=None, json_schema_extra=_FREE)
    """With `base_url: embedded`: another GGUF file to serve."""
    dialect: DialectName | None = None
    """What the server understands; guessed from the address when absent (`openai` for unknown hosts)."""
    api_key_env: str | None = Field(default=None, json_schema_extra=_FREE)
    """Name of the environment variable that holds the key; absent for servers without one."""
    family: str | None = None
    """Models of one family do not vouch for each other; the name in `models` when absent."""
    prices: Prices | str | None = Field(default=None, json_schema_extra=_FREE)
    """Prices, or the name of an entry in `taxonomy/prices.yaml`; looked up by host and model when absent.
    Without any, the cost is unknown, and a money budget is refused."""
    transport: Literal["online", "batch"] = Field(default="online", json_schema_extra=_FREE)
    """`batch`: calls go through the provider's Batch API, which is cheaper and takes hours. Results and keys in
    the ledger are the same, so a run may change over at a start, once no batch of it is under way."""
    batch: BatchSettings = Field(default=BatchSettings(), json_schema_extra=_FREE)
    """With `transport: batch`: how calls are collected."""
    concurrency: int = Field(default=32, ge=1, json_schema_extra=_FREE)
    """Most calls in flight per address; fewer while the server shows that it has enough."""
    rpm: float | None = Field(default=None, gt=0, json_schema_extra=_FREE)
    """Most requests a minute, over all workers."""
    tpm: float | None = Field(default=None, gt=0, json_schema_extra=_FREE)
    """Most tokens (prompt and reply) a minute, over all workers."""
    timeout: float = Field(default=900.0, gt=0, json_schema_extra=_FREE)
    """Seconds for one call from sending to the last byte; long thoughts take minutes."""
    retries: int = Field(default=5, ge=0, json_schema_extra=_FREE)
    """Repeats of a call after time-outs, resets and server errors; waiting after a 429 is not counted."""
    give_up_after: float = Field(default=120.0, gt=0, json_schema_extra=_FREE)
    """Seconds without a single success after which a failing endpoint stops the run (exit code 4)."""
    think: bool | None = None
    """Whether the model may think first where the request leaves it open; absent: the server's default."""
    think_tokens: int = Field(default=8192, ge=0)
    """Added to a request's `max_tokens` when the model thinks, since the thought counts there too."""
    effort: str | None = None
    """Depth of the thought, such as `low`, `high`, `max`; sent as `reasoning_effort` by the dialects
    `deepseek` and `openai`."""
    max_tokens_cap: int | None = Field(default=None, ge=1)
    """A cut-off reply is asked for once more with twice its limit, but never with more than this; absent:
    twice the limit, whatever it is. Equal to or below a request's own limit: no second try."""
    chat: bool = True
    """False for a base model, which has no chat template: it is only asked to continue or score texts."""
    json_mode: Literal["dialect", "response_format", "json_object", "grammar", "prompt"] = "dialect"
    """How a JSON Schema reaches the server: as the dialect does it, as `response_format`, as JSON mode with
    the schema in the prompt, as an llguidance grammar, or in the prompt alone."""
    extra: dict[str, Any] = {}
    """Further fields for the request body, such as `{top_k: 20}`; a field set to null is not sent."""
    terms: str | None = Field(default=None, json_schema_extra=_FREE)
    """Terms under which the provider lets its output be used; quoted in the dataset card."""

    @field_validator("extra")
    @classmethod
    def _no_secret(cls, value: dict[str, Any]) -> dict[str, Any]:
        # The recipe is copied into the run folder.
        for name in _names(value):
            if _SECRET_NAME.search(name):
                raise ValueError(
                    f"extra holds {name!r}, which looks like a secret; put it into an environment variable and name "
                    "that in api_key_env"
                )
        for name in sorted(_OURS & {name for name, inner in value.items() if inner is not None}):
            # A limit that nobody knows of, or several answers to a question, and no budget could be kept.
            raise ValueError(f"extra holds {name!r}, which each request sets for itself; leave it out")
        return value

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | list[str]) -> str | list[str]:
        urls = [value] if isinstance(value, str) else value
        for url in urls:
            if not (url == EMBEDDED and isinstance(value, str)):
                check_address(url)
        return value if isinstance(value, str) else [url.rstrip("/") for url in urls]

    @model_validator(mode="after")
    def _variable(self) -> ModelConfig:
        value = self.api_key_env
        if value is not None and (not _VARIABLE.fullmatch(value) or _SECRET.search(value)):
            # The value is not repeated here: it may be the key itself. (So this is no validator of the field
            # alone, whose errors carry the value along.)
            raise ValueError(
                "api_key_env is not the name of an environment variable (letters, digits, _), perhaps the key "
                "itself; put the key into a variable, as by `export PROVIDER_KEY=...`, and give the variable's name"
            )
        return self

    @model_validator(mode="after")
    def _model_given(self) -> ModelConfig:
        if not self.model and not self.embedded:
            raise ValueError("model is missing; give the model id that the endpoint knows")
        if not self.urls and self.replicas is None:
            raise ValueError("base_url is an empty list; give at least one address, or a file of `replicas`")
        if self.model_path is not None and not self.embedded:
            raise ValueError("model_path is only for base_url: embedded")
        if self.transport == "batch" and (self.embedded or len(self.urls) != 1):
            raise ValueError("transport: batch needs one address with a Batch API; give a single base_url")
        if (self.transport == "batch" or self.embedded) and (self.replicas or self.hedge):
            raise ValueError("replicas and hedge are for online endpoints; leave them out")
        return self

    @property
    def embedded(self) -> bool:
        """Whether the model is served by a child process of ours."""
        return self.base_url == EMBEDDED

    @property
    def urls(self) -> list[str]:
        """The addresses without a trailing slash."""
        return [self.base_url.rstrip("/")] if isinstance(self.base_url, str) else list(self.base_url)

    @property
    def model_id(self) -> str:
        """The id that is sent and that makes keys."""
        if self.model:
            return self.model
        return PurePath(self.model_path).stem if self.model_path else MODEL

    def identity(self) -> dict[str, Any]:
        """What the answers depend on, as plain data: the fields that are not `free`, the id and the weights.

        The weights of an embedded model are known by size and sampled hash, so that another file counts as
        another model, whatever it is called; an endpoint's are not known.

        Raises:
            UserError: when `model_path` is no GGUF file or cannot be read.
        """
        free = {name for name, field in type(self).model_fields.items() if field.json_schema_extra == _FREE}
        plain = self.model_dump(mode="json", exclude=free) | {"model": self.model_id}
        if self.model_path is not None:
            plain["weights"] = fingerprint(InputFile("", str(find_model(self.model_path))))[1:]
        elif self.embedded:
            plain["weights"] = [SHA256]
        return plain

    @property
    def dialect_name(self) -> DialectName:
        """The dialect, guessed from the address when the recipe leaves it out."""
        if self.dialect is not None:
            return self.dialect
        if self.embedded:
            return "llamacpp"
        return _HOSTS.get(urlsplit("".join(self.urls[:1])).hostname or "", "openai")

    def api_key(self, name: str) -> str | None:
        """The key from the environment, None where the endpoint needs none.

        Raises:
            UserError: when the variable is not set or empty.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise UserError(
                f"models.{name}.api_key_env: the environment variable {self.api_key_env} is not set; "
                f"run `export {self.api_key_env}=...` first"
            )
        return key
