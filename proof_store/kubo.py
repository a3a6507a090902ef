"""Trees pinned in a Kubo daemon: sent as one CAR, pinned at its root, read back through the daemon's gateway.

The CAR is made block by block while it is sent, so memory holds a block, whatever the size of the tree. The daemon pins
offline: what it does not have after the import it will not fetch, and says so. Read back is by the gateway, which shares with
the import nothing but the daemon's own store; where the daemon has no gateway it is by ``block/get``, and the path says so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final

from orca_protocol.errors import UnavailableError
from proof_store.base import BlockStore, ReadBack
from proof_store.car import blocks_below, car_pieces
from proof_store.cid import Cid
from proof_store.kubo_rpc import KuboRpc
from proof_store.limits import CarLimits
from proof_store.readback import DEFAULT_LIMITS, GatewayBlocks, read_every_block

#: pieces of a CAR that are read from the disk at a time
_BATCH: Final = 16
_MULTIADDR: Final = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/([0-9]+)(?:/http)?")


class KuboStore:
    """``PinStore`` in the daemon behind ``rpc``. ``gateway`` is its gateway's URL; without it the daemon is asked for it."""

    def __init__(
        self, rpc: KuboRpc, *, gateway: str | None = None, limits: CarLimits = DEFAULT_LIMITS, seconds: float = 120.0
    ) -> None:
        self._rpc = rpc
        self._limits = limits
        self._seconds = seconds
        self._blocks = None if gateway is None else GatewayBlocks(gateway, is_local=True)

    async def pin(self, root: Cid, blocks: BlockStore) -> None:
        """See PinStore. Raises UnavailableError ``kubo_…``, and what ``blocks.get`` raises."""
        said = await self._rpc.send("dag/import", self._car(root, blocks), self._seconds, pin_roots="true")
        for line in said:
            found = line.get("Root")
            if isinstance(found, dict) and isinstance(found.get("Cid"), dict) and found["Cid"].get("/") == str(root):
                if found.get("PinErrorMsg"):
                    raise UnavailableError("kubo_refused", f"Kubo did not pin {root}: {str(found['PinErrorMsg'])[:300]}")
                return
        raise UnavailableError("kubo_unclear", f"Kubo took the blocks of {root} and did not say that it pinned them")

    async def unpin(self, roots: Sequence[Cid]) -> None:
        """See PinStore. The blocks go when the daemon next collects its garbage, which is the daemon's to decide."""
        for root in roots:
            try:
                await self._rpc.call("pin/rm", arg=str(root), recursive="true")
            except UnavailableError as error:
                if "not pinned" not in error.detail:
                    raise

    async def is_pinned(self, root: Cid) -> bool:
        """Return whether the daemon says that it pins ``root`` with all that is below it."""
        try:
            said = await self._rpc.call("pin/ls", arg=str(root), type="recursive")
        except UnavailableError as error:
            if "not pinned" in error.detail:
                return False
            raise
        return isinstance(said.get("Keys"), dict) and str(root) in said["Keys"]

    async def read_back(self, root: Cid) -> ReadBack:
        """See PinStore. The pin itself is asked for too: blocks that are there but not pinned are gone at the next collection."""
        if not await self.is_pinned(root):
            raise UnavailableError("pin_gone", f"Kubo does not pin {root}")
        gateway = await self._gateway()
        if gateway is not None:
            return await read_every_block(root, gateway.get, f"gateway {gateway.url}", self._limits)
        return await read_every_block(root, self._block, f"block/get of {self._rpc.url}", self._limits)

    async def state(self) -> str:
        """See PinStore."""
        version = (await self._rpc.call("version")).get("Version")
        size = (await self._rpc.call("repo/stat", size_only="true")).get("RepoSize")
        gateway = await self._gateway()
        way = "its RPC, for it has no gateway" if gateway is None else gateway.url
        return f"Kubo {str(version)[:40]} at {self._rpc.url}, {_mebibytes(size)} in it; read back by {way}"

    async def close(self) -> None:
        """See PinStore."""
        await self._rpc.close()
        if self._blocks is not None:
            await self._blocks.close()

    async def addresses(self) -> list[str]:
        """Return where other IPFS nodes reach the daemon, as multiaddrs; a pinning service may fetch from there."""
        found = (await self._rpc.call("id")).get("Addresses")
        return [str(address) for address in found][:20] if isinstance(found, list) else []

    async def _gateway(self) -> GatewayBlocks | None:
        """Return the gateway: the one that was named, or the daemon's own where both are on this machine and it answers as one."""
        if self._blocks is None and self._rpc.is_loopback and (url := gateway_of(await self._configured_gateway())) is not None:
            found = GatewayBlocks(url, is_local=True)
            if not await found.answers():
                await found.close()
                return None
            self._blocks = found
        return self._blocks

    async def _configured_gateway(self) -> object:
        try:
            return (await self._rpc.call("config", arg="Addresses.Gateway")).get("Value")
        except UnavailableError as error:
            if error.code == "kubo_refused":  # not set, or its owner does not let it be read
                return None
            raise

    async def _block(self, cid: Cid) -> bytes:
        try:
            return await self._rpc.block("block/get", self._limits.block_bytes, arg=str(cid), offline="true")
        except UnavailableError as error:
            if error.code == "kubo_refused":
                raise UnavailableError("pin_gone", f"Kubo does not have {cid}") from error
            raise

    async def _car(self, root: Cid, blocks: BlockStore) -> AsyncIterator[bytes]:
        pieces = car_pieces(root, blocks_below(root, blocks, self._limits), self._limits)
        while batch := await asyncio.to_thread(lambda: b"".join(islice(pieces, _BATCH))):
            yield batch


def gateway_of(value: object) -> str | None:
    """Return the URL of a gateway that a daemon listens on by its configuration, from the first address that can be read."""
    for one in value if isinstance(value, list) else [value]:
        found = _MULTIADDR.fullmatch(one) if isinstance(one, str) else None
        if found is not None and found[2] != "0":
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found[1], found[1])  # noqa: S104 - it listens on all: ask this machine's
            return f"http://[{host}]:{found[2]}" if ":" in host else f"http://{host}:{found[2]}"
    return None


def _mebibytes(size: object) -> str:
    return f"{size / 2**20:.1f} MiB" if isinstance(size, int) else "some data"
