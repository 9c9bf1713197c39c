"""What the fake provider counts, and how long its models take. Knows nothing of HTTP and of replies."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

from boostqa.llm.fake.persona import Persona


class Stats:
    """What tests want to know about what was asked."""

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.status: Counter[int] = Counter()
        self.tasks: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        """Digest of a body -> how often it came."""
        self.answered: Counter[str] = Counter()
        """Digest of a body -> how often it got a whole reply with status 200, which would be paid for."""
        self.tokens: Counter[str] = Counter()

    def summary(self, bodies: bool) -> dict[str, Any]:
        """Plain data for `GET /fake/stats`."""
        data: dict[str, Any] = {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "distinct": len(self.seen),
            "answered": self.answered.total(),
            "status": {str(status): count for status, count in self.status.items()},
            "tasks": dict(self.tasks),
            "models": dict(self.models),
            "faults": dict(self.faults),
            "tokens": dict(self.tokens),
            "sent_again": {digest: n for digest, n in self.seen.items() if n > 1},
            "answered_again": {digest: n for digest, n in self.answered.items() if n > 1},
        }
        if bodies:
            data |= {"seen_bodies": dict(self.seen), "answered_bodies": dict(self.answered)}
        return data


class Gate:
    """Slots and limits of one model."""

    def __init__(self, persona: Persona) -> None:
        self.persona = persona
        self.slots = asyncio.Semaphore(persona.slots) if persona.slots else None
        self.in_flight = 0
        self.level = self.size = max(persona.rpm / 60.0, 1.0)
        self.filled = time.monotonic()

    def refusal(self) -> float | None:
        """Seconds to wait when a request comes too early or is too many, else None."""
        persona = self.persona
        if persona.max_in_flight and self.in_flight >= persona.max_in_flight:
            return 0.0
        if not persona.rpm:
            return None
        now = time.monotonic()
        self.level = min(self.size, self.level + (now - self.filled) * persona.rpm / 60.0)
        self.filled = now
        if self.level < 1.0:
            return (1.0 - self.level) * 60.0 / persona.rpm
        self.level -= 1.0
        return None

    async def work(self, tokens: int, extra: float) -> None:
        """Take the time of a reply, in a slot if they are limited."""
        persona = self.persona
        seconds = persona.latency_s + persona.token_s * tokens + extra
        seconds += persona.spread_s and persona.spread_s * random.random()
        if self.slots is None:
            if seconds > 0:
                await asyncio.sleep(seconds)
            return
        async with self.slots:
            await asyncio.sleep(seconds)
