"""How processes that run swarms run: on uvloop, with an interpreter that is set for many objects and one busy writer thread.

The answers of a wide swarm all live until it ends: a collector that looks through them every 700 objects finds nothing, again and
again. And a journal's thread that wants to go on waits for the interpreter's lock for a switch interval, several times a commit.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: seconds; the interpreter's own is 5 ms
_SWITCH_SECONDS = 0.0005
#: new objects before the youngest are looked through, and how often that is before older ones are; the interpreter's: 700, 10, 10
_THRESHOLDS = (20_000, 20, 20)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end, as ``asyncio.run`` does, and return its result."""
    import uvloop

    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(*_THRESHOLDS)
    gc.freeze()  # what is loaded by now stays
    return uvloop.run(main)
