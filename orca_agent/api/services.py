"""What every router is handed: the agent's parts, put together once by a composition root, and the limits of the surface."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr

from orca_agent.api.access import Gate
from orca_agent.api.kept import KeptAnswers
from orca_agent.models.facts import Bill
from orca_agent.models.registry import Registry
from orca_agent.store.events import EventLog
from orca_agent.store.journal import Journal
from orca_agent.store.keys import KeyStore
from orca_agent.work.intake import Intake
from orca_agent.work.queue import RunQueue
from orca_agent.work.response import answers_of
from orca_agent.work.runner import Finished
from orca_http.local import is_loopback
from orca_protocol.budget import Budget
from orca_protocol.errors import InvalidError


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Every duration is in seconds. A service that others can reach needs a key."""

    #: where the service listens
    host: str = "127.0.0.1"
    #: the operator's own key for ``/v1``; None lets everybody in who can reach loopback, until a key was issued
    api_key: SecretStr | None = None

    body_bytes: int = 9 * 1024 * 1024
    request_seconds: float = 30.0
    #: the longest a completion is waited for; its run goes on
    completion_seconds: float = 3600.0
    #: streams of events at a time, in this process
    followers: int = 256
    #: between two signs of life on a stream
    heartbeat_seconds: float = 15.0
    #: a stream ends after this time, and its reader comes again
    stream_seconds: float = 3600.0
    #: a reader that takes nothing for this long is cut off
    send_seconds: float = 30.0
    #: health does not wait longer for the database or the models
    health_seconds: float = 3.0
    #: what one run may use at most, beside its own budget and its key's
    budget: Budget = field(default_factory=Budget)
    #: requests without a valid key, a minute and an address, before no more are looked at
    failures: int = 60

    def __post_init__(self) -> None:
        """Refuse to be open to a network. Raises InvalidError ``api_key_missing``."""
        if self.api_key is None and not self.is_local:
            raise InvalidError(
                "api_key_missing",
                f"listening on {self.host} lets others in: set ORCA_API_KEY to a secret that callers send, or listen on 127.0.0.1",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class ProofRef:
    """Where the proof of a run is, and who signed it."""

    cid: str
    signer: str


class Prover(Protocol):
    """Makes proofs of runs that have ended."""

    async def prove(self, finished: Finished) -> ProofRef:
        """Build, sign and keep the proof; the same run gives the same proof. Raises the OrcaError family."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts."""

    settings: ApiSettings
    queue: RunQueue
    journal: Journal
    events: EventLog
    intake: Intake
    registry: Registry
    keys: KeyStore
    gate: Gate
    version: str
    #: None: this service makes no proofs
    prover: Prover | None = None
    answers: KeptAnswers = field(default_factory=KeptAnswers)
    #: set when the service ends: whoever waits is sent away
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def bill(self, ended: Finished) -> Bill | None:
        """Return what a run cost by today's prices; None where a price or a usage is not known."""
        return await self.registry.bill(answers_of(ended))
