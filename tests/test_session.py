"""Parts of a session that need no run: its event loop, and what is left behind by kills."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from boostqa.child import event_loop
from boostqa.run import Run


def test_a_loop_that_ends_does_not_wait_for_its_threads() -> None:
    release = threading.Event()

    async def main() -> str:
        thread = asyncio.ensure_future(asyncio.to_thread(release.wait, 60))
        await asyncio.sleep(0.05)
        thread.cancel()
        return "ended"

    start = time.monotonic()
    assert event_loop(main()) == "ended"
    assert time.monotonic() - start < 30
    release.set()


def test_a_kill_while_results_are_discarded_leaves_none_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    run.claim("head", "seeds", {"config": 1})
    run.claim("head", "dedup", {"config": 1})
    folders = [run.folder("head", 0, "seeds").path, run.folder("head", 1, "dedup").path]
    for folder in folders:
        folder.mkdir(parents=True)

    class Killed(BaseException):
        pass

    def killed() -> None:
        raise Killed

    # At the moment between the renames and the note in run.json.
    monkeypatch.setattr(run, "save", killed)
    with pytest.raises(Killed):
        run.discard(folders, ["head/seeds", "head/dedup"])
    again = Run.open(tmp_path)
    again.sweep()
    left = {path.name for path in tmp_path.iterdir()} - {".lock", "run.json"}
    assert left == set()
    assert {"head/seeds", "head/dedup"} <= set(again.info["entries"])
