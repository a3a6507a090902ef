"""The swarm types: one file each, and the table that names them."""

from collections.abc import Callable

from orca_engine.machine import Program
from orca_engine.swarm import Ended, Swarm
from orca_engine.swarms.concurrent import concurrent
from orca_engine.swarms.sequential import sequential

SWARMS: dict[str, Callable[[Swarm], Program[Ended]]] = {
    "SequentialWorkflow": sequential,
    "ConcurrentWorkflow": concurrent,
}
