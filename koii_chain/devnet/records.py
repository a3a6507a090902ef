"""What a devnet's log holds: its genesis, then every transaction and every gift that was accepted, with the slot it happened at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from koii_chain.state import MAX_U64
from orca_protocol.canonical import canonical
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError
from orca_protocol.model import Strict

Slot = Annotated[int, Field(ge=0, le=2**53 - 1)]
#: integers of 64 bits, which JSON numbers cannot carry exactly
Decimal = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,19})$")]


class Genesis(Strict):
    """Where a devnet begins. ``id`` is random: a transaction for one devnet is worth nothing on another."""

    kind: Literal["genesis"] = "genesis"
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    slot: Slot
    unix: Slot
    decimals: Annotated[int, Field(ge=0, le=18)]


class Transacted(Strict):
    """A transaction, base64 of its exact bytes."""

    kind: Literal["transaction"] = "transaction"
    slot: Slot
    data: str


class Advanced(Strict):
    """Somebody wound the clock on."""

    kind: Literal["advance"] = "advance"
    slot: Slot
    slots: Annotated[int, Field(ge=1, le=10**9)]


class Airdropped(Strict):
    """Somebody was given lamports."""

    kind: Literal["airdrop"] = "airdrop"
    slot: Slot
    key: str
    amount: Decimal


class Minted(Strict):
    """Somebody was given tokens."""

    kind: Literal["mint"] = "mint"
    slot: Slot
    owner: str
    amount: Decimal


Record = Genesis | Transacted | Advanced | Airdropped | Minted
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def write_record(record: BaseModel) -> bytes:
    """Return the canonical bytes of a record."""
    return canonical(record.model_dump(mode="json"))


def read_record(data: bytes) -> Record:
    """Read a record. Raises InvalidError ``devnet_log_damaged``."""
    try:
        return _RECORD.validate_json(data)
    except ValidationError as error:
        raise InvalidError("devnet_log_damaged", f"a record of the devnet's log is malformed: {describe(error)}") from error


def u64_of(amount: str, *, what: str) -> int:
    """Return an amount of the log. Raises InvalidError ``amount``."""
    value = int(amount)
    if not 1 <= value <= MAX_U64:
        raise InvalidError("amount", f"{what} must be between 1 and {MAX_U64}")
    return value
