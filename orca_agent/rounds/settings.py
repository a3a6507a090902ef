"""Who the node is, and what it is told at start. Nothing here reads the environment; a composition root hands it in."""

from __future__ import annotations

from dataclasses import dataclass, field

from nacl.signing import SigningKey

from audit.source import DEFAULT_LIMITS, PackageLimits
from orca_protocol.errors import InvalidError
from orca_protocol.keys import PUBLIC_KEY_BYTES, decode_base58, public_key_of


@dataclass(frozen=True, slots=True)
class Identity:
    """The node's keys. The staking key signs proofs and verdicts; the main account is where rewards go and who pays fees."""

    staking: SigningKey = field(repr=False)
    #: base58 of the main account
    account: str

    @property
    def key(self) -> str:
        """The staking key in base58: the node's name everywhere."""
        return public_key_of(self.staking)


@dataclass(frozen=True, slots=True)
class RoundsSettings:
    """What a node in a network is told. Durations are in seconds."""

    network: str
    task_id: str
    #: base58 key of the middle server, whose leases count
    lease_signer: str
    #: where peers fetch this node's proofs; announced to the middle server
    gateway: str
    #: other gateways that are asked for a peer's proof after its own
    gateways: tuple[str, ...] = ()
    #: proofs audited in a round, drawn by chance from all; Koii's nodes take 5
    audits_per_round: int = 5
    #: share of open-weight answers that an audit decodes again
    inference_rate: float = 1.0
    limits: PackageLimits = DEFAULT_LIMITS
    #: between two looks at the chain
    look_every: float = 2.0
    #: between two questions for work, when there was none
    ask_every: float = 10.0
    #: between two looks at a run under way
    watch_every: float = 0.5
    #: after a failure of the world, before a duty is tried again
    retry_after: float = 3.0

    def __post_init__(self) -> None:
        """Refuse what could only be noticed later. Raises InvalidError ``settings`` or ``base58``."""
        decode_base58(self.lease_signer, length=PUBLIC_KEY_BYTES, where="the middle server's key")
        decode_base58(self.task_id, length=PUBLIC_KEY_BYTES, where="the task id")
        if min(self.look_every, self.ask_every, self.watch_every, self.retry_after) <= 0 or self.audits_per_round < 1:
            raise InvalidError("settings", "waits and the number of audits must be more than 0")
        if not 0 <= self.inference_rate <= 1:
            raise InvalidError("settings", "the share of answers that is decoded again is 0 to 1")
