"""``python -m koii_chain.devnet``: run a devnet until SIGTERM or SIGINT. The first line of stdout says, as JSON, where it is."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from koii_chain.devnet.chain import Chain
from koii_chain.devnet.server import DevnetSettings, announcement, serve
from orca_protocol.errors import OrcaError


def main() -> int:
    """Return 0 after an orderly stop, 1 when the devnet could not start."""
    parser = argparse.ArgumentParser(prog="python -m koii_chain.devnet", description="a chain of your own, on loopback")
    parser.add_argument("--data", type=Path, required=True, help="folder of the chain's log")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--real-time", action="store_true", help="a slot each 0.4 s; without it the clock moves when it is told to")
    given = parser.parse_args()

    def ready(address: str, chain: Chain) -> None:
        sys.stdout.write(json.dumps(announcement(address, chain)) + "\n")
        sys.stdout.flush()

    try:
        asyncio.run(_until_told(serve(DevnetSettings(given.data, given.host, given.port, given.real_time), ready)))
    except OrcaError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    return 0


async def _until_told(serving: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(serving)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
