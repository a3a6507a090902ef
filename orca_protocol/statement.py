"""The statement about a run: an in-toto Statement v1 whose subjects are the package's files.

The predicate binds what a proof could otherwise be replayed against: network, task, round, work item, lease, fencing
token, node key, engine revision; and what was used: times, tokens, cost, ceilings. Amounts are decimal strings.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from orca_protocol.budget import Ceilings
from orca_protocol.model import Amount, Natural, Strict
from orca_protocol.output import UsageSum

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
RUN_PREDICATE: Final = "urn:orca-node:swarm-run:v1"
#: network of a run that no chain knows of
NO_NETWORK = "none"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Rfc3339 = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")]


class DigestSet(Strict):
    """Digests of one file."""

    sha256: Sha256


class Subject(Strict):
    """One file of the package."""

    name: Annotated[str, Field(min_length=1, max_length=1024)]
    digest: DigestSet


class RunPredicate(Strict):
    """What the node says about the run."""

    network: str
    work_item: str
    task_id: str | None = None
    round: Natural | None = None
    #: SHA-256 of ``lease.dsse.json``; absent for a run that nobody leased
    lease_sha256: Sha256 | None = None
    fencing_token: str | None = None
    run_id: str
    #: base58 public key of the node, which is also the signer
    node: str
    engine_revision: Natural
    started: Rfc3339
    finished: Rfc3339
    usage: UsageSum
    #: in US dollars; absent where a price is not known
    cost: Amount | None = None
    ceilings: Ceilings


class RunStatement(Strict):
    """The statement that a node signs for a run."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT_TYPE
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1000)]
    predicate_type: Annotated[Literal["urn:orca-node:swarm-run:v1"], Field(alias="predicateType")] = RUN_PREDICATE
    predicate: RunPredicate
