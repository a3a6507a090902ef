"""What strangers' gateways do becomes no verdict on a worker; what the tree says of itself does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from audit.auditor import run_check
from audit.case import Case
from audit.checks import CHECKS
from audit.source import PackageLimits, Source, fetched
from orca_protocol.errors import LimitError, OrcaError, UnavailableError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.cid import DAG_PB, Cid
from proof_store.dag_pb import PBNode
from proof_store.gateway_peer import ReaderSettings
from proof_store.gateways import DEFAULT_LIMITS, GatewayReader
from proof_store.limits import ReadLimits
from tests.unit.audit.packages import SIGNER, package

HONEST = package()
PROTOCOL = PackageLimits()


class Answering(GatewayReader):
    """A reader whose gateways give these blocks, or this error."""

    def __init__(self, answer: MemoryBlocks | OrcaError) -> None:
        super().__init__(ReaderSettings())
        self._answer = answer
        self.asked: list[tuple[Cid, Sequence[str], ReadLimits]] = []

    async def fetch(self, cid: Cid, gateways: Sequence[str], limits: ReadLimits = DEFAULT_LIMITS) -> MemoryBlocks:
        self.asked.append((cid, gateways, limits))
        if isinstance(self._answer, OrcaError):
            raise self._answer
        return self._answer


async def sourced(cid: Cid, gateways: Sequence[str], reader: GatewayReader, limits: PackageLimits) -> Source:
    return await fetched(cid, reader.fetch(cid, gateways, limits.of_tree), limits)


def integrity(cid: Cid, answer: MemoryBlocks | OrcaError, limits: PackageLimits = PROTOCOL) -> tuple[str, str]:
    source = asyncio.run(sourced(cid, ["http://gateway.example"], Answering(answer), limits))
    result = asyncio.run(run_check("integrity", CHECKS["integrity"], Case(source=source, signer=SIGNER, limits=limits)))
    return result.verdict, result.code


def built() -> tuple[Cid, MemoryBlocks]:
    blocks = MemoryBlocks()
    return build_directory(HONEST, blocks).cid, blocks


def test_a_package_from_a_gateway_is_audited_like_any_other() -> None:
    cid, blocks = built()
    assert integrity(cid, blocks) == ("valid", "ok")


def test_the_limits_of_the_package_hold_while_it_is_fetched() -> None:
    cid, blocks = built()
    reader, limits = Answering(blocks), PackageLimits(total_bytes=123_456)
    asyncio.run(sourced(cid, ["http://one.example", "http://two.example"], reader, limits))
    assert reader.asked == [(cid, ["http://one.example", "http://two.example"], limits.of_tree)]


def test_what_no_gateway_gave_was_not_measured() -> None:
    cid, _ = built()
    assert integrity(cid, UnavailableError("data_unavailable", "all failed")) == ("not_measured", "data_unavailable")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [(PROTOCOL, ("mismatch", "package_oversize")), (PackageLimits(total_bytes=1000), ("not_measured", "over_own_limits"))],
)
def test_a_tree_beyond_the_limits_is_judged_as_anywhere_else(limits: PackageLimits, expected: tuple[str, str]) -> None:
    cid, _ = built()
    assert integrity(cid, LimitError("read_bytes", "too much"), limits) == expected


def test_a_malformed_tree_is_the_workers() -> None:
    blocks = MemoryBlocks()
    sharded = dag_pb.encode(PBNode((), b"\x08\x05"))
    blocks.put(Cid.of(DAG_PB, sharded), sharded)
    assert integrity(Cid.of(DAG_PB, sharded), blocks) == ("mismatch", "hamt_unsupported")
