"""What a node puts on chain for a round: one text of at most 512 bytes, by which everybody finds its proofs and verdicts.

    <cid>                                  one proof package: Koii's own convention
    <cid> <cid> … verdicts:<cid>           several proofs, and the verdicts on the round before
    verdicts:<cid>                         verdicts only
    idle:<code>                            nothing was done, and why

Parts are separated by one space, proofs first, in the order they were made. There is one spelling of each value, and a
stranger's is read as strictly as any other document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orca_protocol.errors import InvalidError

#: bytes that the chain keeps of a submission
VALUE_MAX_BYTES = 512

_CID = r"b[a-z2-7]{58}"
_VALUE = re.compile(rf"(?P<proofs>{_CID}( {_CID})*)?(?P<gap> )?(verdicts:(?P<verdicts>{_CID}))?")
_IDLE = re.compile(r"idle:(?P<code>[a-z][a-z0-9_]{0,63})")


@dataclass(frozen=True, slots=True)
class RoundValue:
    """The parts of a value. ``idle`` says why there is nothing else, and stands alone."""

    #: root CIDs of proof packages, each once
    proofs: tuple[str, ...] = ()
    #: root CID of a folder of verdicts on the round before
    verdicts: str | None = None
    idle: str | None = None

    def __str__(self) -> str:
        if self.idle is not None:
            return f"idle:{self.idle}"
        return " ".join([*self.proofs, *([] if self.verdicts is None else [f"verdicts:{self.verdicts}"])])


#: how many proofs fit beside one folder of verdicts
PROOFS_MAX = (VALUE_MAX_BYTES - len("verdicts:") - 59) // 60


def write_round_value(value: RoundValue) -> str:
    """Return the text for the chain. Raises InvalidError ``round_value`` for parts that could not be read again."""
    text = str(value)
    if read_round_value(text) != value:
        raise InvalidError("round_value", "the parts contradict each other")
    return text


def read_round_value(text: str) -> RoundValue:
    """Read what a stranger put on chain. Raises InvalidError ``round_value``."""
    if len(text.encode()) <= VALUE_MAX_BYTES:
        if (idle := _IDLE.fullmatch(text)) is not None:
            return RoundValue(idle=idle["code"])
        if text and (found := _VALUE.fullmatch(text)) is not None:
            proofs = tuple((found["proofs"] or "").split())
            if len(set(proofs)) == len(proofs) and (found["gap"] is not None) == bool(proofs and found["verdicts"]):
                return RoundValue(proofs, found["verdicts"])
    raise InvalidError("round_value", f"no round's submission looks like this: {text[:80]!r}")


def proofs_in(text: str) -> tuple[str, ...]:
    """Return the proofs that a submission names; one that cannot be read names none."""
    try:
        return read_round_value(text).proofs
    except InvalidError:
        return ()
