"""What only a devnet can be told, by its own methods: wind the clock, give KOII and tokens, say what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from koii_chain.rpc import JsonRpc
from orca_protocol.errors import InvalidError


@dataclass(frozen=True)
class DevnetInfo:
    """The devnet's mint, slot, length of its log, and the digest of its state."""

    mint: str
    slot: int
    records: int
    digest: str


async def airdrop(rpc: JsonRpc, key: str, lamports: int) -> None:
    """Give KOII, in ROE."""
    await rpc.call("requestAirdrop", [key, lamports])


async def mint(rpc: JsonRpc, owner: str, amount: int) -> None:
    """Give devnet $SWARMS, in base units; the token account is made where there is none."""
    await rpc.call("devnet_mint", [owner, amount])


async def advance(rpc: JsonRpc, slots: int) -> int:
    """Wind the clock on; returns the new slot."""
    slot = (await rpc.call("devnet_advance", [slots])).value
    if type(slot) is not int:
        raise InvalidError("rpc_malformed", "devnet_advance answered without a slot")
    return slot


async def info(rpc: JsonRpc) -> DevnetInfo:
    """Say what the devnet is. Raises InvalidError ``rpc_malformed``, or UnavailableError where the endpoint is no devnet."""
    value: Any = (await rpc.call("devnet_info", [])).value
    try:
        return DevnetInfo(str(value["mint"]), int(value["slot"]), int(value["records"]), str(value["digest"]))
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidError("rpc_malformed", "devnet_info answered something else") from error
