"""API keys of the people and programs that use the agent: kept by their digest, shown once, never deleted.

A secret is 256 bits of chance, so its plain SHA-256 is enough: there is nothing to guess that a salt or a slow hash would have
to protect, and the lookup by digest tells by its time nothing that leads back to a secret. Errors: UnavailableError
``records_unavailable``.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, get_args

import psycopg
from psycopg.rows import class_row
from pydantic import SecretStr

from orca_agent.store.ledger import Amounts, Taken, taken_of, unfinished_of
from orca_agent.store.records import Records
from orca_protocol.errors import InvalidError

Scope = Literal["run", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

_PREFIX = "orca_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
#: a use is written down when the last one that was is older than this
_USE = timedelta(minutes=1)

_LIMITS = "per_minute, per_day, concurrent, calls_per_day, input_tokens_per_day, output_tokens_per_day, cost_per_day"
_KEY = f"id, name, scopes, {_LIMITS}, created, expires, last_used, revoked"


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key may do and how much; None: no such limit."""

    scopes: Sequence[Scope] = ("run", "read")
    per_minute: int = 100
    per_day: int | None = None
    #: runs that have not ended, at a time
    concurrent: int = 10
    #: of all runs that were stored on one day (UTC)
    calls_per_day: int | None = None
    input_tokens_per_day: int | None = None
    output_tokens_per_day: int | None = None
    cost_per_day: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    per_minute: int
    per_day: int | None
    concurrent: int
    calls_per_day: int | None
    input_tokens_per_day: int | None
    output_tokens_per_day: int | None
    cost_per_day: Decimal | None
    created: datetime
    expires: datetime | None
    #: to the minute
    last_used: datetime | None
    revoked: datetime | None

    @property
    def daily(self) -> Amounts:
        """What all runs of one day may use together."""
        return Amounts(self.calls_per_day, self.input_tokens_per_day, self.output_tokens_per_day, self.cost_per_day)

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """Say whether the key opens anything."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a key's runs use: how many have not ended, and what is gone of a day."""

    unfinished: int
    taken: Taken


def digest_of(secret: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


class KeyStore(Records):
    """The keys in the database at ``url``, for one event loop."""

    name = "orca-keys"
    autocommit = True

    async def issue(self, name: str, terms: KeyTerms, *, expires: datetime | None = None) -> tuple[ApiKey, SecretStr]:
        """Make a key and return it with its secret, which is kept nowhere. Raises InvalidError ``key_name``, ``key_name_taken``."""
        if not _NAME.fullmatch(name):
            raise InvalidError(
                "key_name", f"{name[:80]!r}: a key's name is 1 to 63 of A-Z a-z 0-9 . _ @ -, a letter or digit first"
            )
        secret = SecretStr(_PREFIX + secrets.token_urlsafe(32))
        sql = f"""INSERT INTO api_keys (id, name, sha256, scopes, {_LIMITS}, expires)
                  VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_KEY}"""  # noqa: S608 - constants only
        limits = (terms.per_minute, terms.per_day, terms.concurrent, terms.calls_per_day)
        budgets = (terms.input_tokens_per_day, terms.output_tokens_per_day, terms.cost_per_day)
        digest = digest_of(secret.get_secret_value())
        values = (secrets.token_hex(8), name, digest, list(dict.fromkeys(terms.scopes)), *limits, *budgets, expires)
        try:
            (made,) = await self._keys(sql, values)
        except _TakenError as error:
            raise InvalidError(
                "key_name_taken", f"there is a key {name!r} already; revoke it first, or choose another name"
            ) from error
        return made, secret

    async def find(self, secret: str) -> ApiKey | None:
        """Return the key whose secret this is, whatever its state, and keep that it was used; None if there is none."""
        digest, now = digest_of(secret), datetime.now(UTC)
        found = await self._keys(f"SELECT {_KEY} FROM api_keys WHERE sha256 = %s", (digest,))  # noqa: S608 - constants only
        if not found:
            return None
        (key,) = found
        if key.state(now) == "valid" and (key.last_used is None or now - key.last_used >= _USE):
            async with self._transaction() as db:
                await db.execute("UPDATE api_keys SET last_used = %s WHERE id = %s", (now, key.id))
        return key

    async def keys(self) -> list[ApiKey]:
        """Return all keys, the oldest first."""
        return await self._keys(f"SELECT {_KEY} FROM api_keys ORDER BY number", ())  # noqa: S608 - constants only

    async def has_any(self) -> bool:
        """Whether a key was ever issued here."""
        async with self._transaction() as db:
            return await (await db.execute("SELECT FROM api_keys LIMIT 1")).fetchone() is not None

    async def revoke(self, which: str) -> ApiKey | None:
        """Revoke the valid key of that name or id from the next request on; None if there is none. Its runs go on."""
        sql = f"UPDATE api_keys SET revoked = now() WHERE revoked IS NULL AND (id = %s OR name = %s) RETURNING {_KEY}"  # noqa: S608
        found = await self._keys(sql, (which, which))
        return found[0] if found else None

    async def usage(self, key_id: str, day: date) -> Usage:
        """Return what a key's runs use now, and of a day."""
        async with self._transaction() as db:
            unfinished, _ = await unfinished_of(db, key_id)
            return Usage(unfinished, await taken_of(db, key_id, day))

    async def _keys(self, sql: str, values: Sequence[object]) -> list[ApiKey]:
        async with self._transaction() as db, db.cursor(row_factory=class_row(ApiKey)) as cursor:
            try:
                return await (await cursor.execute(sql.encode(), values)).fetchall()
            except psycopg.errors.UniqueViolation as error:
                raise _TakenError from error


class _TakenError(Exception):
    """Another valid key has that name."""
