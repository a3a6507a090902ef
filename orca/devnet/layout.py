"""Who takes part in a devnet, and where each keeps its things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from koii_chain.clock import RoundClock
from orca_protocol.errors import InvalidError
from orca_protocol.keys import devnet_key, public_key_of

NETWORK: Final = "devnet"
NODES_MAX: Final = 20
#: what a node stakes, and the least that counts; base units of devnet $SWARMS
STAKE: Final = 10_000_000
MINIMUM_STAKE: Final = 1_000_000
#: what a round may pay at most
ROUND_BOUNTY: Final = 10**12

REQUESTER: Final = devnet_key(0)
TASK: Final = devnet_key(60)
POT: Final = devnet_key(61)
MIDDLE: Final = devnet_key(62)
TASK_ID: Final = public_key_of(TASK)

#: rounds whose clock is wound on, and rounds as long as Koii's own
QUICK: Final = RoundClock(starting_slot=0, round_time=100, submission_window=30, audit_window=30)
REAL: Final = RoundClock(starting_slot=0, round_time=5000, submission_window=2200, audit_window=2200)


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the devnet."""

    number: int
    home: Path

    @property
    def name(self) -> str:
        """What it is called in what the devnet prints, and its database."""
        return f"node{self.number}"

    @property
    def staking(self) -> SigningKey:
        """Signs its proofs and verdicts."""
        return devnet_key(self.number)

    @property
    def main(self) -> SigningKey:
        """Pays its fees, and is paid."""
        return devnet_key(NODES_MAX + self.number)

    @property
    def key(self) -> str:
        """Its name on chain."""
        return public_key_of(self.staking)

    @property
    def account(self) -> str:
        """Where its rewards go."""
        return public_key_of(self.main)


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one devnet."""

    data: Path
    nodes: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= NODES_MAX:
            raise InvalidError(
                "nodes", f"a devnet has 1 to {NODES_MAX} nodes, not {self.nodes}; two of them must approve what is paid"
            )

    @property
    def chain(self) -> Path:
        """The chain's log."""
        return self.data / "chain"

    @property
    def postgres(self) -> Path:
        """The embedded server of all of them, a database each."""
        return self.data / "postgres"

    @property
    def logs(self) -> Path:
        """What each process said."""
        return self.data / "logs"

    @property
    def middle_key(self) -> Path:
        """The middle server's key file."""
        return self.data / "middle.json"

    @property
    def requester_key(self) -> Path:
        """The key file of who pays for work."""
        return self.data / "requester.json"

    @property
    def members(self) -> tuple[Member, ...]:
        """The nodes."""
        return tuple(Member(number, self.data / f"node{number}") for number in range(1, self.nodes + 1))

    def all_homes(self) -> list[Path]:
        """Return the homes of all nodes that ever ran here."""
        return sorted(path for path in self.data.glob("node*") if (path / "blocks").is_dir())
