"""The instructions of Koii's KPL task program as bytes: an index, then fields of fixed width.

Integers are little-endian, texts are padded with blanks on the right. Reading is strict: the exact length, no negative
amounts, UTF-8; so one instruction has one spelling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Final, NamedTuple, get_type_hints

from koii_chain.state import SUBMISSION_BYTES
from orca_protocol.errors import InvalidError

#: bytes of a distribution list that one upload carries
CHUNK_BYTES: Final = 508
MAX_I64: Final = 2**63 - 1


class Field(NamedTuple):
    """How one field is laid out."""

    size: int
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def _integer(size: int, largest: int) -> Field:
    def write(value: int) -> bytes:
        if not 0 <= value <= largest:
            raise InvalidError("instruction", f"{value} is not between 0 and {largest}")
        return value.to_bytes(size, "little")

    def read(data: bytes) -> int:
        value = int.from_bytes(data, "little")
        if value > largest:
            raise InvalidError("instruction", f"{value} is negative or too large for its field")
        return value

    return Field(size, write, read)


def _blob(size: int) -> Field:
    def write(value: str) -> bytes:
        data = value.encode()
        if len(data) > size or data.endswith(b" "):
            raise InvalidError("instruction", f"a text of {len(data)} bytes does not fit {size}, or ends with a blank")
        return data.ljust(size)

    def read(data: bytes) -> str:
        try:
            return data.rstrip(b" ").decode()
        except UnicodeDecodeError as error:
            raise InvalidError("instruction", "a text is not UTF-8") from error

    return Field(size, write, read)


def _bytes(size: int) -> Field:
    def write(value: bytes) -> bytes:
        if len(value) > size:
            raise InvalidError("instruction", f"{len(value)} bytes do not fit {size}")
        return value.ljust(size, b"\0")

    return Field(size, write, bytes)


def _flag_write(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def _flag_read(data: bytes) -> bool:
    if data not in (b"\0", b"\1"):
        raise InvalidError("instruction", "a flag is neither 0 nor 1")
    return data == b"\1"


Integer = Annotated[int, _integer(8, MAX_I64)]
Index = Annotated[int, _integer(4, 2**32 - 1)]
Flag = Annotated[bool, Field(1, _flag_write, _flag_read)]
Text24 = Annotated[str, _blob(24)]
Text64 = Annotated[str, _blob(64)]
Value = Annotated[str, _blob(SUBMISSION_BYTES)]
Key32 = Annotated[bytes, _bytes(32)]
Chunk = Annotated[bytes, _bytes(CHUNK_BYTES)]


@dataclass(frozen=True, slots=True)
class CreateTask:
    """A new task. The bounty is paid into the pot by the manager, now."""

    INDEX: ClassVar = 0
    name: Text24
    description: Text64
    audit_program: Text64
    network: Text64
    total_bounty: Integer
    bounty_per_round: Integer
    round_time: Integer
    audit_window: Integer
    submission_window: Integer
    minimum_stake: Integer
    metadata: Text64
    local_vars: Text64
    allowed_failed_distributions: Integer
    pot_seed: Key32


@dataclass(frozen=True, slots=True)
class SubmitTask:
    """A proof for a round; by convention the CID of what holds it."""

    INDEX: ClassVar = 1
    value: Value
    round: Integer


@dataclass(frozen=True, slots=True)
class AuditSubmission:
    """A vote on somebody's submission."""

    INDEX: ClassVar = 2
    is_valid: Flag
    round: Integer


@dataclass(frozen=True, slots=True)
class AuditDistribution:
    """A vote on somebody's distribution list."""

    INDEX: ClassVar = 3
    is_valid: Flag
    round: Integer


@dataclass(frozen=True, slots=True)
class Payout:
    """Credits what a round's list says."""

    INDEX: ClassVar = 4
    round: Integer


@dataclass(frozen=True, slots=True)
class SetActive:
    """The manager opens or closes a task."""

    INDEX: ClassVar = 6
    is_active: Flag


@dataclass(frozen=True, slots=True)
class ClaimReward:
    """Moves what was credited to the claimer out of the pot."""

    INDEX: ClassVar = 7


@dataclass(frozen=True, slots=True)
class FundTask:
    """Adds to the bounty."""

    INDEX: ClassVar = 8
    amount: Integer


@dataclass(frozen=True, slots=True)
class Stake:
    """Adds to the submitter's stake; ``address`` is where the node can be reached, if it says so."""

    INDEX: ClassVar = 9
    amount: Integer
    address: Text64


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Takes the whole stake back."""

    INDEX: ClassVar = 10


@dataclass(frozen=True, slots=True)
class UploadDistributionList:
    """A piece of a list. The reference gives the four bytes before the data no meaning; here they number the pieces from 0."""

    INDEX: ClassVar = 11
    chunk: Index
    data: Chunk
    round: Integer


@dataclass(frozen=True, slots=True)
class SubmitDistributionList:
    """Makes the uploaded list the submitter's list for a round."""

    INDEX: ClassVar = 12
    round: Integer


Call = (
    CreateTask
    | SubmitTask
    | AuditSubmission
    | AuditDistribution
    | Payout
    | SetActive
    | ClaimReward
    | FundTask
    | Stake
    | Withdraw
    | UploadDistributionList
    | SubmitDistributionList
)
_KINDS: tuple[type[Call], ...] = (
    CreateTask,
    SubmitTask,
    AuditSubmission,
    AuditDistribution,
    Payout,
    SetActive,
    ClaimReward,
    FundTask,
    Stake,
    Withdraw,
    UploadDistributionList,
    SubmitDistributionList,
)


def _layout(kind: type[Call]) -> list[tuple[str, Field]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(field.name, hints[field.name].__metadata__[0]) for field in fields(kind)]


_LAYOUTS: dict[type[Call], list[tuple[str, Field]]] = {kind: _layout(kind) for kind in _KINDS}
_BY_INDEX = {kind.INDEX: kind for kind in _KINDS}


def encode(call: Call) -> bytes:
    """Return the instruction's data. Raises InvalidError ``instruction`` for a value that does not fit its field."""
    return bytes([call.INDEX]) + b"".join(field.write(getattr(call, name)) for name, field in _LAYOUTS[type(call)])


def decode(data: bytes) -> Call:
    """Read an instruction's data. Raises InvalidError ``instruction``."""
    kind = _BY_INDEX.get(data[0]) if data else None
    if kind is None:
        raise InvalidError("instruction", f"the task program has no instruction {data[:1].hex() or 'without a byte'}")
    layout = _LAYOUTS[kind]
    size = 1 + sum(field.size for _, field in layout)
    if len(data) != size:
        raise InvalidError("instruction", f"{kind.__name__} has {size} bytes, not {len(data)}")
    values: dict[str, Any] = {}
    at = 1
    for name, field in layout:
        values[name] = field.read(data[at : at + field.size])
        at += field.size
    return kind(**values)
