"""The fake provider: an OpenAI-compatible server whose models have hidden abilities and planned faults.

It carries the tests and `boostqa serve --fake`; nothing of the pipeline may import it. From outside to
inside: `server` (HTTP, time, counting) -> `reply` (one body to another) -> `tasks`, `complete` (what a model
answers) -> `truth`, `world`, `words` (what is true). `strict` and `wire` know the dialects.
"""

from __future__ import annotations

from boostqa.llm.fake.keys import Key, read_keys
from boostqa.llm.fake.reply import Config, default_config, read_config
from boostqa.llm.fake.server import FakeServer, main, serve, serve_forever
from boostqa.llm.fake.truth import Wish, World

__all__ = [
    "Config",
    "FakeServer",
    "Key",
    "Wish",
    "World",
    "default_config",
    "main",
    "read_config",
    "read_keys",
    "serve",
    "serve_forever",
]
