"""What a person sees while a run goes on: a live display in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from boostqa.llm.budget import Amount
from boostqa.llm.prices import prices_of
from boostqa.recipe import load
from boostqa.run import Run
from boostqa.schedule import Schedule
from boostqa.shard import Counts

LINE_SECONDS = 5.0


class Display(AbstractContextManager["Display"]):
    """Progress of a session; shows shards and records done, rate, cost and ETA of the segment in work."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._start = time.monotonic()
        self._segment = ""
        self._segment_start = self._start
        self._schedule: Schedule | None = None
        self._executor: Any = None
        self._spent = Amount()
        self._unpriced = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._live: Any = None

    # Told by the session and the runner

    def begin(self, run: Run, executor: Any, spent: Amount) -> None:
        """The session begins."""
        self._executor, self._spent = executor, spent
        models = load(run.root / "recipe.yaml").models_in_use()
        self._unpriced = any(prices_of(name, config) is None for name, config in models.items())
        self._say(f"run folder {run.root}")

    def segment(self, name: str, schedule: Schedule) -> None:
        """A segment begins."""
        self._segment, self._schedule = name, schedule
        self._segment_start = time.monotonic()

    def entry(self, segment: str, name: str, counts: Counts) -> None:
        """An entry is complete: one line that stays."""
        reasons = ", ".join(
            f"{reason} {n:,}" for reason, n in sorted(counts.reasons.items(), key=lambda kv: -kv[1])
        )
        dropped = f", dropped {counts.dropped:,} ({reasons})" if counts.dropped else ""
        came = counts.inputs or counts.born
        self._say(f"{segment}/{name}: {came:,} in, kept {counts.kept:,}{dropped}")

    # Display

    def __enter__(self) -> Self:
        if self._quiet:
            return self
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                self._line(), console=Console(stderr=True), refresh_per_second=4, transient=True
            )
            self._live.start()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._live is not None:
            self._live.stop()

    def _loop(self) -> None:
        period = 0.25 if self._live is not None else LINE_SECONDS
        while not self._stop.wait(period):
            if self._live is not None:
                self._live.update(self._line())
            elif self._schedule is not None:
                print(self._line(), file=sys.stderr, flush=True)

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _line(self) -> str:
        if self._schedule is None:
            return "starting"
        parts = list(self._schedule.progress())
        done, known = sum(d for _, d, _ in parts), sum(k for _, _, k in parts)
        active = [name for name, d, k in parts if d < k or k == 0][:1]
        share = done / known if known else 0.0
        bar = "█" * int(share * 20) + "░" * (20 - int(share * 20))
        elapsed = time.monotonic() - self._segment_start
        eta = f", about {_duration(elapsed * (1 - share) / share)} left" if share > 0.05 and share < 1 else ""
        usage = self._executor.usage
        spent = self._spent + usage.amount
        rate = usage.records / max(1e-9, time.monotonic() - self._start)
        cost = f", spent {spent.money:.2f}{' and what has no known price' if self._unpriced else ''}"
        cost = ", cost unknown" if self._unpriced and not spent.money else cost
        return (
            f"{self._segment} {bar} {share:4.0%}{eta}; {', '.join(active) or 'done'}; "
            f"{usage.records:,} records ({rate:.1f}/s), {spent.requests:,.0f} calls, {spent.tokens:,.0f} tokens{cost}"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
