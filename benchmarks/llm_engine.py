"""The LLM engine against bare loops and a raw-socket limit, on the fake provider, in one go.

    python benchmarks/llm_engine.py [--quick] [--repeats 5] [--clients socket,aiohttp,engine] [--requests N]

Server and clients are processes of their own; only the client's CPU counts. Every client sends the same bodies and
gets replies of 6,000 bytes. For each setting the clients run in turns, `--repeats` times, and the table shows medians:
CPU milliseconds a request, requests a second (over the whole run, and steady: from 40 % to 90 % of the answers, when
the engine's throttle has felt its way up), peak memory of the process, and both as a ratio to the bare loop on
aiohttp, the library that the engine uses. For the engine also the time and CPU from the start of the process to its
first request, and its ledger's bytes over the replies' bytes while it runs and at rest.
Clients whose library is not installed are left out. What each client does stands in `llm_loops.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BARE = "aiohttp"
REPLY_BYTES = 6000
SETTINGS = [(256, 0.05, 20_000), (1024, 0.05, 20_000), (1024, 0.5, 40_000)]
"""In flight, seconds of latency, requests."""
SLOW = {"httpx2": 20}
"""Clients that get a fraction of the requests."""


class Fake:
    """The fake provider as a process."""

    def __init__(self, latency: float) -> None:
        self.folder = tempfile.TemporaryDirectory()
        persona = {"dialect": "vllm", "latency_s": latency, "raw_bytes": REPLY_BYTES}
        path = Path(self.folder.name) / "fake.json"
        path.write_text(json.dumps({"models": {"bench": persona}}))
        command = [sys.executable, "-m", "boostqa.llm.fake", "--with-parent", "--config", str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.communicate()
        self.folder.cleanup()


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # a temporary file that got its name meanwhile
            continue
    return total


def one_run(
    client: str, url: str, *, requests: int, concurrency: int, sample: int, limit_s: float = 600
) -> dict[str, float]:
    """One client to its end; its numbers, and the largest and last size of its run folder over the replies."""
    with tempfile.TemporaryDirectory() as name:
        options = {
            "client": client, "url": url, "requests": requests, "concurrency": concurrency,
            "spawned": time.monotonic(), "run_dir": name, "sample": sample,
        }  # fmt: skip
        loops = Path(__file__).with_name("llm_loops.py")
        process = subprocess.Popen(
            [sys.executable, str(loops), json.dumps(options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        largest = 0
        ended = threading.Event()

        def watch() -> None:
            nonlocal largest
            while not ended.wait(0.2):
                largest = max(largest, size_of(Path(name)))

        watcher = threading.Thread(target=watch)
        if client == "engine":
            watcher.start()
        try:
            out, _ = process.communicate(timeout=limit_s)
        finally:
            process.kill()
            ended.set()
        if client == "engine":
            watcher.join()
        if process.returncode != 0:
            raise SystemExit(f"{client} ended with exit code {process.returncode}")
        numbers: dict[str, float] = json.loads(out)
        rest = size_of(Path(name))
        numbers["disk_rest"] = rest / (requests * REPLY_BYTES)
        numbers["disk_running"] = max(largest, rest) / (requests * REPLY_BYTES)
    if numbers["answered"] != requests:
        raise SystemExit(f"{client}: {numbers['answered']} of {requests} requests were answered")
    return numbers


def measure(clients: list[str], setting: tuple[int, float, int], repeats: int) -> dict[str, dict[str, float]]:
    """Medians of all numbers by client, the clients in turns."""
    concurrency, latency, requests = setting
    found: dict[str, list[dict[str, float]]] = {client: [] for client in clients}
    fake = Fake(latency)
    try:
        for n in range(repeats):
            for client in clients:
                number = max(2 * concurrency, requests // SLOW.get(client, 1))
                sample = n * len(clients) + clients.index(client)
                found[client].append(
                    one_run(client, fake.url, requests=number, concurrency=concurrency, sample=sample)
                )
    finally:
        fake.close()
    return {
        client: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for client, runs in found.items()
    }


def show(setting: tuple[int, float, int], result: dict[str, dict[str, float]]) -> None:
    """The table of one setting."""
    concurrency, latency, requests = setting
    bare = result.get(BARE)
    ideal = concurrency / latency
    print(
        f"\n{concurrency} in flight, {latency * 1000:.0f} ms, {requests:,} requests (ideal {ideal:,.0f}/s)\n"
    )
    print("| client | CPU ms/request | x bare | requests/s | steady | of ideal | x bare | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for client, run in result.items():
        cpu = run["cpu_ms"] / bare["cpu_ms"] if bare else float("nan")
        steady = run["steady"] / bare["steady"] if bare else float("nan")
        print(
            f"| {client} | {run['cpu_ms']:.3f} | {cpu:.2f} | {run['rate']:,.0f} | {run['steady']:,.0f} | "
            f"{run['steady'] / ideal:.0%} | {steady:.2f} | {run['peak_mb']:.0f} |"
        )
    if "engine" in result:
        run = result["engine"]
        print(
            f"\nengine: first request after {run['first_s']:.2f} s and {run['first_cpu_s']:.2f} CPU s; ledger bytes "
            f"per reply byte {run['disk_running']:.2f} while running, {run['disk_rest']:.2f} at rest",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one repeat of the first setting, 4,000 requests"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clients", default="socket,aiohttp,engine,pyreqwest,pyqwest,httpx2")
    parser.add_argument("--requests", type=int, help="instead of each setting's own number")
    parser.add_argument("--settings", default="0,1,2", help="which of the settings, by number")
    options = parser.parse_args()
    clients = [
        name
        for name in options.clients.split(",")
        if name in {"socket", "transport", "engine"} or importlib.util.find_spec(name) is not None
    ]
    settings = [SETTINGS[int(n)] for n in options.settings.split(",")]
    if options.quick:
        settings, options.repeats, options.requests = settings[:1], 1, 4000
        clients = [name for name in clients if name not in SLOW]
    for concurrency, latency, requests in settings:
        setting = (concurrency, latency, options.requests or requests)
        show(setting, measure(clients, setting, options.repeats))


if __name__ == "__main__":
    main()
