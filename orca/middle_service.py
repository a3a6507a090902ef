"""A middle server of its own: settings, key, chain and database into one serving process."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from koii_chain.client import ChainClient
from koii_chain.rpc import JsonRpc, RpcSettings
from middle_server.koii import KoiiChain
from middle_server.migrate import migrate
from middle_server.serve import server
from middle_server.settings import MiddleSettings
from middle_server.store.database import Database
from middle_server.store.keys import issue_key
from orca.key_file import load_key
from orca.network_settings import MiddleServerSettings, require
from orca_protocol.errors import InvalidError

log = logging.getLogger(__name__)


async def serve(given: MiddleServerSettings, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is told where it listens and whose leases it signs.

    Raises InvalidError ``settings_missing``, ``port_in_use`` or as ``MiddleSettings`` does, UnavailableError for the database.
    """
    require(
        ORCA_MIDDLE_KEY_FILE=given.key_file,
        DATABASE_URL=given.database_url,
        ORCA_MIDDLE_TASK_IDS=given.task_ids,
        ORCA_RPC_URLS=given.rpc_urls,
    )
    with listen(given.host, given.port) as listener:
        host, port = listener.getsockname()[:2]
        settings = settings_of(given, given.audience or f"{host}:{port}")
        await asyncio.to_thread(migrate, settings.database_url)
        client = ChainClient(JsonRpc(RpcSettings(given.rpc_urls)), stale_seconds=_stale_seconds(given.network))
        try:
            running = server(settings, KoiiChain(client), host=host, port=port)
            serving = asyncio.create_task(running.serve(sockets=[listener]))
            while not running.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells it by an attribute
                await asyncio.sleep(0.02)
            if not serving.done():
                ready({"url": f"http://{host}:{port}", "signer": settings.public_key, "audience": settings.audience})
            await serving
        finally:
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
    await asyncio.to_thread(migrate, database_url)
    database = Database(database_url, pool_size=1, seconds=10.0)
    await database.open()
    try:
        async with database.transaction() as connection:
            return await issue_key(connection, requester, name, datetime.now(UTC))
    finally:
        await database.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises InvalidError ``port_in_use`` or ``bad_host``."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InvalidError("bad_host", f"{host!r} is no address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise InvalidError("port_in_use", f"port {port} of {host} cannot be listened on: {error.strerror}") from error
    return listener


def _stale_seconds(network: str) -> float:
    """How old a task's state may be: a devnet's clock runs as fast as its rounds' work."""
    return 0.1 if network.startswith("devnet") else 20.0
