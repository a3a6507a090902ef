"""API keys of the people who post work. The database holds digests only; a key is shown once, when it is made."""

from __future__ import annotations

import secrets
from datetime import datetime

from middle_server.store.database import Connection
from orca_protocol.canonical import sha256_hex
from orca_protocol.keys import PUBLIC_KEY_BYTES, decode_base58

_PREFIX = "orca_"

# Remembers a new key by its digest.
_ISSUE = "INSERT INTO middle.api_keys (sha256, requester, name, created) VALUES (%s, %s, %s, %s)"

# Whose key this is, unless it was revoked.
_OWNER = "SELECT requester FROM middle.api_keys WHERE sha256 = %s AND revoked IS NULL"

# Ends all keys of that name of a requester.
_REVOKE = "UPDATE middle.api_keys SET revoked = %s WHERE requester = %s AND name = %s AND revoked IS NULL RETURNING sha256"


async def issue_key(connection: Connection, requester: str, name: str, now: datetime) -> str:
    """Return a new API key for ``requester`` (base58 public key: who owes the price). Raises InvalidError ``base58``."""
    decode_base58(requester, length=PUBLIC_KEY_BYTES, where="requester")
    secret = _PREFIX + secrets.token_urlsafe(32)
    await connection.execute(_ISSUE, (sha256_hex(secret.encode()), requester, name, now))
    return secret


async def owner_of(connection: Connection, secret: str) -> str | None:
    """Return the requester whose key this is; None for an unknown or revoked one."""
    row = await (await connection.execute(_OWNER, (sha256_hex(secret.encode()),))).fetchone()
    return None if row is None else str(row[0])


async def revoke_keys(connection: Connection, requester: str, name: str, now: datetime) -> int:
    """Revoke the keys of that name and return how many there were. They are refused from the next request on."""
    return len(await (await connection.execute(_REVOKE, (now, requester, name))).fetchall())
