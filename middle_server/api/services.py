"""What every router is handed: the room's parts, put together once by ``app``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from middle_server.chain import Chain
from middle_server.gate import StakeGate
from middle_server.rules.moments import moment
from middle_server.settings import MiddleSettings
from middle_server.store.database import Database


@dataclass(frozen=True, slots=True)
class Services:
    """The parts."""

    settings: MiddleSettings
    database: Database
    chain: Chain
    gate: StakeGate
    #: Unix time
    clock: Callable[[], float]

    def now(self) -> datetime:
        """Return the time, to the millisecond that documents are written with; read once an operation."""
        return moment(self.clock())
