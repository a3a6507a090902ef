"""llama.cpp's own HTTP server on loopback, with the packaged weights: ``python -m tests.fakes.llama_server KEY``.

Not a fake: the library of the embedded model carries the server, and listens once it is asked to. Prints ``{"url": …}`` and serves
until its input ends, so that it never outlives the test that started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

ALIAS = "smol"


def main() -> None:
    """The command line."""
    xllamacpp: Any = import_module("xllamacpp")

    from orca_agent.models.llama import locate
    from orca_agent.models.local import LOCAL_MODELS

    (weights,) = LOCAL_MODELS.values()
    params = xllamacpp.CommonParams()
    params.model.path = str(locate(weights))
    params.model_alias = {ALIAS}
    params.n_ctx = 512
    params.n_parallel = 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity = 0
    params.port = 0
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [sys.argv[1]]
    server = xllamacpp.Server(params)
    print(json.dumps({"url": server.listening_address}), flush=True)  # noqa: T201 - this line is its interface
    sys.stdin.read()


@contextmanager
def llama_server(key: str) -> Iterator[str]:
    """Run it in another process for the length of the block; yields its base URL."""
    command = [sys.executable, "-m", "tests.fakes.llama_server", key]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"{json.loads(process.stdout.readline())['url']}/v1"
        finally:
            process.kill()  # it has nothing to put in order


if __name__ == "__main__":
    main()
