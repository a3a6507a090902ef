"""How ``make test`` spreads the tests over processes: a module stays whole, networks stay together, and the longest goes first.

Each process has a PostgreSQL, model servers and folders of its own, so nothing is shared and nothing collides. A module is not torn
apart, or what its tests share would be built twice. Networks of a dozen processes are one piece, because two at once would starve
each other on two cores; the tests on Kubo's daemons are one, because they share two. The tests of `make kills`, minutes each, are a
piece each: they share a helper that is made in a second. What remains keeps its random order.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: tests of one module that are handed out one by one
APART = "tests/walk/test_kills.py::test_every_write_"
#: folders that stay together; and what begins first, because it takes longest
TOGETHER = ("tests/network/", "tests/integration/kubo/")
FIRST = ("tests/network/", "tests/walk/", "tests/integration/")


class Spreading(LoadScopeScheduling):
    """Hands whole pieces to whoever is free, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)


def piece_of(nodeid: str) -> str:
    """The name of the piece that a test belongs to."""
    if nodeid.startswith(APART):
        return nodeid
    return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.partition("::")[0])


def rank(nodeid: str) -> int:
    """When its turn comes."""
    return next((place for place, folder in enumerate(FIRST) if nodeid.startswith(folder)), len(FIRST))
