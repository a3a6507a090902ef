"""Gets a peer's tree: from this node's own store, from its owner's gateway, from the operator's list, from any other peer.

Which gateway belongs to whom, the middle server says; it is asked again when an owner's is not known or gave nothing. Where
the bytes come from makes no difference to what they are: every block is checked by its hash.
"""

from __future__ import annotations

import asyncio
import logging

from orca_agent.rounds.middle import MiddleReader
from orca_agent.rounds.settings import RoundsSettings
from orca_protocol.errors import OrcaError, UnavailableError
from proof_store.base import BlockStore
from proof_store.cid import Cid
from proof_store.gateways import GatewayReader
from proof_store.reader import is_whole

log = logging.getLogger(__name__)


class PeerFetcher:
    """``Fetcher`` over gateways."""

    def __init__(self, settings: RoundsSettings, own: BlockStore, middle: MiddleReader, reader: GatewayReader) -> None:
        self._settings = settings
        self._own = own
        self._middle = middle
        self._reader = reader
        self._gateways: dict[str, str] = {}

    async def fetch(self, cid: Cid, owner: str) -> BlockStore:
        """Return a store that holds the tree below ``cid``.

        Raises UnavailableError ``data_unavailable``, LimitError for more than is read.
        """
        if await asyncio.to_thread(is_whole, cid, self._own, self._settings.limits.of_tree):
            return self._own
        if owner not in self._gateways:
            await self._ask_peers()
        known = self._gateways.get(owner)
        try:
            return await self._reader.fetch(cid, self._ways_to(owner), self._settings.limits.of_tree)
        except UnavailableError:
            # Whoever started anew may be somewhere else by now.
            await self._ask_peers()
            if self._gateways.get(owner) == known:
                raise
        return await self._reader.fetch(cid, self._ways_to(owner), self._settings.limits.of_tree)

    async def _ask_peers(self) -> None:
        try:
            self._gateways = await self._middle.peers()
        except OrcaError as error:
            log.warning("the gateways of peers are not known: %s", error)

    def _ways_to(self, owner: str) -> list[str]:
        first = [self._gateways[owner]] if owner in self._gateways else []
        others = [url for key, url in sorted(self._gateways.items()) if key != owner and url != self._settings.gateway]
        return list(dict.fromkeys([*first, *self._settings.gateways, *others]))
