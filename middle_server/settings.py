"""What a middle server is told at start. Nothing here reads the environment; a composition root does and hands this in."""

from __future__ import annotations

from dataclasses import dataclass, field

from nacl.signing import SigningKey

from orca_protocol.errors import InvalidError
from orca_protocol.keys import is_devnet_key, public_key_of


@dataclass(frozen=True, slots=True)
class MiddleSettings:
    """Every duration is in seconds. What has no default has no safe one."""

    database_url: str = field(repr=False)
    #: signs the leases
    signing_key: SigningKey = field(repr=False)
    #: host, and port if it is not the scheme's own: what nodes write into ``aud`` before the path
    audience: str
    network: str
    #: the tasks whose stakers may work here; an empty list is a refusal
    task_ids: tuple[str, ...]
    #: accepts keys that everybody can sign with
    is_devnet: bool = False
    #: accepts the original nodes' payloads, which anybody who saw one can replay for ever
    legacy_envelopes: bool = False

    #: the longest life of a lease, as it is signed
    lease_seconds: int = 3600
    #: a holder that is silent for this long has lost its lease
    heartbeat_seconds: int = 90
    #: within this time of the report the result must be in a round
    review_seconds: int = 3600
    #: leases that an item gets before it has failed
    attempts_at_most: int = 5
    leases_per_key: int = 1
    #: approves without a reject that settle an item where the chain's list names a key and not the item
    quorum: int = 2

    #: how old a good word of the chain about a key may be
    stake_fresh_seconds: float = 30.0
    #: on top of what the chain asks for; base units
    stake_at_least: int = 1
    chain_seconds: float = 10.0

    body_bytes: int = 9 * 1024 * 1024
    request_seconds: float = 30.0
    #: requests of one key that are remembered at a time; more are answered 429
    requests_per_key: int = 600
    #: unfinished items of one requester
    items_per_requester: int = 100_000
    #: for how long an Idempotency-Key is remembered
    remember_seconds: int = 24 * 3600
    pool_size: int = 8
    database_seconds: float = 10.0
    #: between two looks for leases that ran out
    sweep_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what could only be noticed later. Raises InvalidError ``settings``."""
        if not self.task_ids or not all(self.task_ids):
            raise InvalidError("settings", "task_ids is empty: name at least one task whose stakers may work here")
        if "/" in self.audience or not self.audience:
            raise InvalidError("settings", f"audience is {self.audience!r}; it must be a host, and a port where one is written")
        if not self.is_devnet and is_devnet_key(public_key_of(self.signing_key)):
            raise InvalidError("settings", "the signing key is a devnet key, with which anybody can sign; make one: orca key new")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise InvalidError("settings", f"{name} is {getattr(self, name)}; it must be more than 0")

    @property
    def public_key(self) -> str:
        """The base58 key that signs the leases."""
        return public_key_of(self.signing_key)


_POSITIVE = (
    "lease_seconds",
    "heartbeat_seconds",
    "review_seconds",
    "attempts_at_most",
    "leases_per_key",
    "quorum",
    "stake_fresh_seconds",
    "stake_at_least",
    "chain_seconds",
    "body_bytes",
    "request_seconds",
    "requests_per_key",
    "items_per_requester",
    "remember_seconds",
    "pool_size",
    "database_seconds",
    "sweep_seconds",
)
