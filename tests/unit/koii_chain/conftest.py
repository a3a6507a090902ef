from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.koii_chain.devnets import Devnet


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The log of a devnet with a funded task and three staked nodes."""
    net = Devnet(tmp_path_factory.mktemp("begun")).start()
    net.chain.close()
    return (net.folder / "chain.log").read_bytes()


@pytest.fixture
def net(tmp_path: Path, begun: bytes) -> Iterator[Devnet]:
    """A devnet of its own with a funded task and three staked nodes, in the task's first slot."""
    (tmp_path / "devnet").mkdir()
    (tmp_path / "devnet" / "chain.log").write_bytes(begun)
    net = Devnet(tmp_path / "devnet")
    yield net
    net.chain.close()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Devnet]:
    """A devnet on which nothing happened yet."""
    net = Devnet(tmp_path / "devnet")
    yield net
    net.chain.close()
