"""One proof under audit: what the auditor was given, and what the checks have established so far.

A check reads what earlier ones established and writes what later ones need; a check whose ground is missing because an
earlier one failed says so with ``not_measured``.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.ports import ChainView, LeaseView, Redecoder
from audit.source import DEFAULT_LIMITS, PackageLimits, Received, Source
from orca_protocol.dsse import DsseEnvelope
from orca_protocol.errors import UnavailableError
from orca_protocol.journal import Entry
from orca_protocol.lease import Lease
from orca_protocol.output import Output
from orca_protocol.spec import SwarmSpec
from orca_protocol.statement import NO_NETWORK, RunStatement


@dataclass(frozen=True, slots=True)
class Contents:
    """The package's files, parsed. That they belong together, or to anybody, is for later checks."""

    received: Received
    spec: SwarmSpec
    entries: tuple[Entry, ...]
    output: Output
    envelope: DsseEnvelope
    statement: RunStatement

    @property
    def is_leased(self) -> bool:
        """Whether the package claims a lease, and with it payment."""
        return "lease.dsse.json" in self.received.files


@dataclass(frozen=True, slots=True)
class Expected:
    """What the chain said that this proof is a proof of: a proof of anything else was copied from there."""

    network: str
    task_id: str
    round: int


@dataclass(slots=True)
class Case:
    """A proof and the auditor's means."""

    source: Source
    #: base58 key that must have signed; None if the auditor does not know who should have
    signer: str | None = None
    #: the auditor's own key: a package that claims it needs no ``signer`` to be checked against it
    own_key: str | None = None
    #: base58 key of the middle server whose leases count
    lease_signer: str | None = None
    expected: Expected | None = None
    #: the network this auditor judges for; devnet keys prove something only where it begins with ``devnet``
    network: str = NO_NETWORK
    chain: ChainView | None = None
    leases: LeaseView | None = None
    redecoder: Redecoder | None = None
    #: share of the answers that check 6 decodes again
    inference_rate: float = 1.0
    limits: PackageLimits = DEFAULT_LIMITS
    contents: Contents | None = None
    #: the lease, once check 2 has verified it
    lease: Lease | None = None

    def require_contents(self) -> Contents:
        """Return the parsed package. Raises UnavailableError ``no_package`` if the integrity check did not get that far."""
        if self.contents is None:
            raise UnavailableError("no_package", "there is no sound package to look at: see the integrity check")
        return self.contents
