"""The loop of processes that run swarms: uvloop, and an interpreter set for them; in a process of its own, which it sets."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import asyncio, gc, sys
from orca import event_loop

async def main():
    loop = type(asyncio.get_running_loop()).__module__
    return loop, gc.get_threshold()[0] > 700, sys.getswitchinterval() < 0.005, gc.get_freeze_count() > 0

async def failing():
    raise LookupError("what was raised inside")

print(event_loop.run(main()))
try:
    event_loop.run(failing())
except LookupError as error:
    print(error)
"""


def test_a_swarm_runs_on_uvloop_with_an_interpreter_set_for_many_objects_and_one_writer() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["('uvloop', True, True, True)", "what was raised inside"]
