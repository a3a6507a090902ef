from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.koii_chain.devnets import Devnet


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Devnet]:
    """A devnet with a funded task and three staked nodes, in the task's first slot."""
    net = Devnet(tmp_path / "devnet").start()
    yield net
    net.chain.close()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Devnet]:
    """A devnet on which nothing happened yet."""
    net = Devnet(tmp_path / "devnet")
    yield net
    net.chain.close()
