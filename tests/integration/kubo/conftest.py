"""Two Kubo daemons on loopback for all tests of this folder: one that the node pins in, one that never saw our code."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kubo.daemon import Daemon, running

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def program() -> str:
    """Kubo's program, built by scripts/kubo before the tests; it is not built here, for no test may take minutes."""
    import os

    environment = {**os.environ, "PATH": "/usr/bin:/bin"}  # without Go: only what is there already
    done = subprocess.run([str(ROOT / "scripts/kubo")], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        pytest.skip(f"no Kubo: {done.stderr.strip()}; scripts/kubo builds it where Go is, ORCA_IPFS names one that is there")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def ours(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon that a node uses."""
    with running(program, tmp_path_factory.mktemp("kubo") / "ours") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def theirs(program: str, ours: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Somebody's daemon, connected to the first one and nothing else."""
    with running(program, tmp_path_factory.mktemp("kubo") / "theirs") as daemon:
        daemon.connect(ours)
        yield daemon
