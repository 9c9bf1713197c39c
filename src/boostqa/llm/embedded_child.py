"""The child process behind `base_url: embedded`: llama.cpp's server on 127.0.0.1, nothing else.

Run by `llm/embedded.py` as `python -m boostqa.llm.embedded_child SETTINGS`, SETTINGS being one JSON object.
The API key comes in the environment, because a command line can be read by every user of the machine.
Says one JSON line on stdout when it answers requests (`{"url": ...}`) or cannot (`{"error": ...}`), and ends
when its parent does. Knows nothing of the rest of the package.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

KEY_VARIABLE = "BOOSTQA_EMBEDDED_KEY"
"""Environment variable that carries the API key to this process."""


def die_with_parent() -> None:
    """End this process as soon as its parent is gone, however that one ended.

    The parent holds the other end of stdin, so its death is an end of file here, on every platform. Not prctl:
    its signal comes when the parent's *thread* ends that made this process, with the parent well alive.
    """

    def watch() -> None:
        while sys.stdin.buffer.read(1):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def params(settings: dict[str, Any], key: str) -> Any:
    """Server parameters of llama.cpp for `settings`; the wrapper mirrors its C structs, hence `Any`."""
    import xllamacpp

    made = xllamacpp.CommonParams()
    made.model.path = settings["model"]
    made.model_alias = {settings["alias"]}
    made.n_parallel = settings["slots"]
    made.n_ctx = settings["slots"] * settings["context"]  # the total, which the server splits over its slots
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = settings["threads"]
    made.cache_ram_mib = settings["cache"]
    made.ui = False
    made.verbosity = 1
    made.fit_params = False
    made.endpoint_metrics = True
    made.hostnames = ["127.0.0.1"]
    made.port = settings["port"]  # 0: the system chooses, `listening_address` tells
    made.api_keys = [key]  # the default is no key, and any web page may ask
    return made


def main() -> None:
    """Serve until the parent is gone or a signal comes."""
    parent = os.getppid()
    die_with_parent()
    # A handler in Python would wait for the requests in flight; the default action ends at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Ctrl-C in a terminal reaches the whole group: the parent decides, it may still want answers in flight.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.argv[1])
    try:
        import xllamacpp

        server = xllamacpp.Server(params(settings, os.environ.pop(KEY_VARIABLE)))
    except (ImportError, RuntimeError, ValueError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        sys.exit(1)
    print(json.dumps({"url": server.listening_address}), flush=True)
    os.dup2(2, 1)  # nobody reads on, so nothing written to stdout from here on may fill the pipe
    while os.getppid() == parent:  # second watch, should someone else hold the other end of stdin
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    main()
