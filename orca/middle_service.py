"""A middle server of its own: settings, key, chain and database into one serving process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from koii_chain.client import ChainClient
from koii_chain.rpc import JsonRpc, RpcSettings
from middle_server.app import create_app
from middle_server.koii import KoiiChain
from middle_server.migrate import migrate
from middle_server.settings import MiddleSettings
from middle_server.store.database import Connection, Database
from middle_server.store.keys import issue_key, revoke_keys
from orca.key_file import load_key
from orca.network_settings import MiddleServerSettings, require
from orca_http.serving import address_of, listen, serve_on, stop_on_signals

log = logging.getLogger(__name__)


async def serve(given: MiddleServerSettings, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is told where it listens and whose leases it signs.

    Raises InvalidError ``settings_missing`` or as ``MiddleSettings`` does, UnavailableError ``port_in_use``, or of the database.
    """
    require(
        ORCA_MIDDLE_KEY_FILE=given.key_file,
        DATABASE_URL=given.database_url,
        ORCA_MIDDLE_TASK_IDS=given.task_ids,
        ORCA_RPC_URLS=given.rpc_urls,
    )
    listening, stopping = listen(given.host, given.port), asyncio.Event()
    address = address_of(listening)
    settings = settings_of(given, given.audience or urlsplit(address).netloc)
    client = ChainClient(JsonRpc(RpcSettings(given.rpc_urls)), stale_seconds=_stale_seconds(given.network))

    def listens(url: str) -> None:
        ready({"url": url, "signer": settings.public_key, "audience": settings.audience})

    try:
        await asyncio.to_thread(migrate, settings.database_url)
        with stop_on_signals(stopping):
            await serve_on(listening, create_app(settings, KoiiChain(client)), listens, stopping=stopping)
    finally:
        listening.close()
        await client.close()


def settings_of(given: MiddleServerSettings, audience: str) -> MiddleSettings:
    """Return the room's own settings."""
    if given.key_file is None or given.database_url is None:
        raise RuntimeError("what is required was checked before")
    is_devnet = given.network.startswith("devnet")
    return MiddleSettings(
        database_url=given.database_url.get_secret_value(),
        signing_key=load_key(given.key_file, network=given.network),
        audience=audience,
        network=given.network,
        task_ids=given.task_ids,
        is_devnet=is_devnet,
        legacy_envelopes=given.legacy_envelopes,
        lease_seconds=given.lease_seconds,
        heartbeat_seconds=given.heartbeat_seconds,
        review_seconds=given.review_seconds,
        sweep_seconds=1.0 if is_devnet else 5.0,
    )


async def issue(database_url: str, requester: str, name: str) -> str:
    """Return a new API key by which ``requester`` (a base58 key) posts work; it is shown once, here."""
    async with _keys(database_url) as connection:
        return await issue_key(connection, requester, name, datetime.now(UTC))


async def revoke(database_url: str, requester: str, name: str) -> int:
    """Revoke the requester's API keys of that name, from the next request on; returns how many there were."""
    async with _keys(database_url) as connection:
        return await revoke_keys(connection, requester, name, datetime.now(UTC))


@asynccontextmanager
async def _keys(database_url: str) -> AsyncIterator[Connection]:
    """Yield a transaction in the migrated database."""
    await asyncio.to_thread(migrate, database_url)
    database = Database(database_url, pool_size=1, seconds=10.0)
    await database.open()
    try:
        async with database.transaction() as connection:
            yield connection
    finally:
        await database.close()


def _stale_seconds(network: str) -> float:
    """How old a task's state may be: a devnet's clock runs as fast as its rounds' work."""
    return 0.1 if network.startswith("devnet") else 20.0
