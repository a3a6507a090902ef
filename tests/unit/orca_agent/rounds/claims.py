"""Claims of round 5 to judge and to pay: leased packages, where they lie, and who says what of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nacl.signing import SigningKey

from audit.ports import LeaseStanding, Standing
from orca_agent.rounds.middle import LeaseNow, MiddleClient, Result
from orca_agent.rounds.settings import Identity, RoundsSettings
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import OrcaError, UnavailableError
from orca_protocol.keys import public_key_of
from orca_protocol.lease import Lease
from orca_protocol.statement import DigestSet, Subject
from orca_protocol.verdict import CheckResult, Cost, decide
from orca_protocol.verdict_statement import VerdictPredicate, VerdictStatement, sign_verdict
from proof_store.base import BlockStore, MemoryBlocks
from proof_store.builder import build_directory, root_of
from proof_store.cid import Cid
from tests.unit.audit.packages import SIGNER
from tests.unit.audit.test_leased import GOOD, IDENTITY, ITEM, SERVER, Chain, Leases, lease, leased
from tests.unit.koii_chain.tasks import TASK
from tests.unit.orca_agent.rounds.serving import NETWORK, identity, node_settings

__all__ = ["GOOD", "IDENTITY", "ITEM", "Chain", "LeaseStanding", "Leases", "Standing"]

ROUND = 5
WORKER = SIGNER
REQUIRED = ("integrity", "authenticity", "eligibility", "replay")


def settings(**changed: Any) -> RoundsSettings:
    return node_settings(**({"lease_signer": public_key_of(SERVER)} | changed))


def our_lease(**fields: Any) -> Lease:
    return lease(**({"task_id": TASK, "network": NETWORK, "required_checks": REQUIRED} | fields))


def package(given: Lease | None = None, **facts: Any) -> dict[str, bytes]:
    return leased(given or our_lease(), network=NETWORK, **facts)


class Shelf:
    """A ``Fetcher``: trees by CID, or what goes wrong with one."""

    def __init__(self, *packages: dict[str, bytes]) -> None:
        self.trees: dict[str, MemoryBlocks] = {}
        self.errors: dict[str, OrcaError] = {}
        self.fetched: list[str] = []
        for files in packages:
            self.put(files)

    def put(self, files: dict[str, bytes]) -> str:
        blocks = MemoryBlocks()
        cid = str(build_directory(files, blocks).cid)
        self.trees[cid] = blocks
        return cid

    async def fetch(self, cid: Cid, owner: str) -> BlockStore:
        self.fetched.append(str(cid))
        if str(cid) in self.errors:
            raise self.errors[str(cid)]
        if str(cid) not in self.trees:
            raise UnavailableError("data_unavailable", f"nobody has {cid}")
        return self.trees[str(cid)]


class QuietMiddle(MiddleClient):
    """A middle server that says what its attributes say."""

    def __init__(self, who: Identity | None = None) -> None:
        super().__init__("http://middle.invalid", TASK, who or identity())
        self.standing: list[Result] = []
        self.gateways: list[dict[str, str]] = [{}]
        self.leases: dict[str, LeaseNow] = {}
        self.error: OrcaError | None = None
        self.said: list[bytes] = []
        self.asked = 0

    async def results(self, number: int) -> list[Result]:
        self._answer()
        return self.standing

    async def publish(self, verdict: bytes) -> None:
        self._answer()
        self.said.append(verdict)

    async def peers(self) -> dict[str, str]:
        self._answer()
        return self.gateways.pop(0) if len(self.gateways) > 1 else self.gateways[0]

    async def lease_now(self, work_item: str) -> LeaseNow:
        self._answer()
        return self.leases[work_item]

    def _answer(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


def result_of(files: dict[str, bytes], required: Sequence[str] = REQUIRED) -> Result:
    document = {"work_item": "asked", "worker": WORKER, "cid": str(root_of(files)), "required_checks": list(required)}
    return Result.model_validate(document)


def verdict(
    auditor: SigningKey, files: dict[str, bytes], *, says: str = "valid", signed_by: SigningKey | None = None, **said: Any
) -> bytes:
    """A signed verdict on ``files``: every required check says ``says``."""
    required = said.pop("required", REQUIRED)
    checks = tuple(
        CheckResult.model_validate({"check": name, "verdict": says, "code": "ok", "detail": "", "cost": Cost(wall_ms=1)})
        for name in required
    )
    decision = decide(checks, required)
    known: dict[str, Any] = {
        "network": NETWORK,
        "task_id": TASK,
        "round": ROUND,
        "work_item": ITEM.id,
        "worker": WORKER,
        "auditor": public_key_of(auditor),
        "required": required,
        "checks": checks,
        "vote": decision.vote,
        "reason": decision.reason,
        "issued": "2026-01-01T00:00:00.000Z",
    }
    digest = DigestSet(sha256=sha256_hex(files["statement.dsse.json"]))
    subject = Subject(name=str(root_of(files)), digest=digest)
    return sign_verdict(VerdictStatement(subject=(subject,), predicate=VerdictPredicate(**(known | said))), signed_by or auditor)
