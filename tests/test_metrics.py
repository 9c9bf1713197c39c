"""Metrics: every number with its name, nothing invented where a price is unknown, and only on 127.0.0.1."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from boostqa.child import Load, Usage
from boostqa.errors import UserError
from boostqa.llm.budget import Amount, Governor, Limits
from boostqa.llm.clients import Endpoint
from boostqa.llm.lines import Totals
from boostqa.metrics import NAMES, Watched, samples, serving, text
from boostqa.runner import Silent
from world import fake_server, make_recipe


def watched() -> Watched:
    found = Watched(Silent())
    priced = Totals(
        requests=7, answers=5, errors=1, prompt=100, cached=40, completion=50, money=0.25, currency="USD"
    )
    unpriced = Totals(requests=2, answers=2, unpriced=1, money=0.5, currency="USD")
    place = Endpoint(
        url="http://a/v1",
        model='odd "name"\n',
        in_flight=3,
        limit=4.5,
        cap=32,
        cuts=1,
        throttled=4,
        open=False,
    )
    load = Load(models={"strong": priced, "free": unpriced}, endpoints=[place, place.plus(place)][:1])
    usage = Usage(records=11, amount=Amount(money=0.75, tokens=150, requests=9))
    found.executor = SimpleNamespace(usage=usage, load=load)
    found.spent, found.run = Amount(tokens=1000), "run"
    found.schedule = SimpleNamespace(progress=lambda: [("refine", 2, 5)])  # type: ignore[assignment]
    found.kept["head", "annotate"] = 60
    return found


def read(body: str) -> dict[str, float]:
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'\w+(\{(\w+="([^"\\\n]|\\.)*",?)*\})? \S+', line) for line in lines)
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_every_number_has_its_place_and_an_unknown_cost_none() -> None:
    found = read(text(samples(watched(), Governor(Limits(tokens=5000, money=9.0, currency="USD")))))
    assert found['boostqa_requests_total{model="strong"}'] == 7
    assert found['boostqa_tokens_total{model="strong",kind="cached"}'] == 40
    assert found['boostqa_cost_total{model="strong",currency="USD"}'] == 0.25
    assert not [name for name in found if name.startswith('boostqa_cost_total{model="free"')]
    assert found['boostqa_unpriced_answers_total{model="free"}'] == 1
    assert found['boostqa_limit{url="http://a/v1",model="odd \\"name\\"\\n"}'] == 4.5
    assert found['boostqa_throttled_total{url="http://a/v1",model="odd \\"name\\"\\n"}'] == 4
    assert found['boostqa_shards{segment="",entry="refine",state="known"}'] == 5
    assert found['boostqa_budget_spent{kind="tokens"}'] == 1150
    assert found['boostqa_budget_limit{kind="tokens"}'] == 5000
    assert found['boostqa_budget_spent{kind="money"}'] == 0.75
    assert 'boostqa_budget_limit{kind="hours"}' not in found
    assert {name.partition("{")[0] for name in found} == set(NAMES)


def test_money_that_is_not_known_is_left_out() -> None:
    seen = watched()
    seen.executor.load.models.clear()
    seen.executor.load.models.update(
        {
            "unpriced": Totals(requests=3, answers=2, errors=1, unpriced=2, lost_tokens=9),
            "unheard": Totals(requests=1, errors=1, lost_tokens=9),
            "mixed": Totals(requests=2, answers=2, money=71.0, currency="USD", mixed=True),
            "free": Totals(requests=2, answers=2),
        }
    )
    found = read(text(samples(seen, Governor(Limits(tokens=5000)))))
    money = {name: value for name, value in found.items() if "cost" in name or '"money"' in name}
    assert money == {
        'boostqa_cost_total{model="free",currency=""}': 0,
        'boostqa_lost_cost_total{model="free",currency=""}': 0,
    }


def test_two_processes_are_added() -> None:
    place = Endpoint(url="u", model="m", in_flight=3, limit=4.5, cap=32, cuts=1, throttled=4, open=False)
    both = place.plus(
        Endpoint(url="u", model="m", in_flight=1, limit=2.0, cap=32, cuts=0, throttled=3, open=True)
    )
    assert (both.in_flight, both.limit, both.cap, both.cuts, both.throttled, both.open) == (
        4,
        6.5,
        64,
        1,
        7,
        True,
    )


def test_it_serves_one_path_and_a_port_in_use_is_named() -> None:
    async def go() -> None:
        governor = Governor(Limits())
        async with serving(0, watched(), governor) as url:
            assert url.startswith("http://127.0.0.1:")
            body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
            assert "# TYPE boostqa_requests_total counter\n" in body
            with pytest.raises(urllib.error.HTTPError, match="404"):
                await asyncio.to_thread(urllib.request.urlopen, url.replace("/metrics", "/"))
            port = int(url.split(":")[2].partition("/")[0])
            with pytest.raises(UserError, match=rf"--metrics {port}: .*in use; give another port"):
                async with serving(port, watched(), governor):
                    pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)

    asyncio.run(go())


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_tells_what_it_does(tmp_path: Path, workers: int) -> None:
    with fake_server(tmp_path) as server:
        recipe = make_recipe(tmp_path, server.url, seeds=40, items=4)
        words = ["run", str(recipe), "--out", str(tmp_path / "run"), "--metrics", "0", "--quiet"]
        process = subprocess.Popen(
            [sys.executable, "-m", "boostqa.cli", *words, "--workers", str(workers)],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("metrics at "))
        url = line.removeprefix("metrics at ").strip()
        rest: list[str] = []
        reader = threading.Thread(target=lambda: rest.extend(process.stderr or []))
        reader.start()
        last: dict[str, float] = {}
        while process.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=5) as reply:
                    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                    last = read(reply.read().decode()) or last
            except OSError:
                break
        process.wait()
        reader.join()
        process.stderr.close()
        assert process.returncode == 0, rest
        assert last['boostqa_answers_total{model="judge"}'] >= 40
        assert last["boostqa_records_total"] > 0
        assert last['boostqa_kept_records_total{segment="head",entry="annotate"}'] == 40
        assert not [name for name in last if name.startswith("boostqa_cost_total")]  # no price is known
