"""API keys on a real PostgreSQL: found by their secret, which is kept nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from orca_agent.store.keys import KeyStore, KeyTerms
from orca_protocol.errors import InvalidError, UnavailableError

TERMS = KeyTerms(("read",), 7, 70, 3, 100, 2000, 300, Decimal("1.25"))


@pytest.fixture
async def keys(database_url: str) -> AsyncIterator[KeyStore]:
    async with KeyStore(database_url) as made:
        yield made


async def test_a_key_is_found_by_its_secret_with_its_terms(keys: KeyStore) -> None:
    issued, secret = await keys.issue("alice", TERMS)
    other, another = await keys.issue("bob", KeyTerms())
    assert secret != another
    found = await keys.find(secret.get_secret_value())
    assert found == issued
    assert (found.name, found.scopes, found.per_minute, found.per_day, found.concurrent) == ("alice", ["read"], 7, 70, 3)
    assert (found.daily.calls, found.daily.input_tokens, found.daily.output_tokens) == (100, 2000, 300)
    assert found.daily.cost == Decimal("1.25")
    assert [key.id for key in await keys.keys()] == [issued.id, other.id]
    assert await keys.find(secret.get_secret_value() + "x") is None


async def test_the_database_holds_a_digest_and_no_secret(keys: KeyStore, database_url: str) -> None:
    _, secret = await keys.issue("alice", TERMS)
    value = secret.get_secret_value()
    with psycopg.connect(database_url) as db:
        (row,) = db.execute("SELECT api_keys::text, sha256 FROM orca_agent.api_keys").fetchall()
    assert row[1] == hashlib.sha256(value.encode()).digest()
    assert value not in row[0]
    assert value.removeprefix("orca_") not in row[0]
    assert len(value.removeprefix("orca_")) >= 43, "256 bits"
    assert value not in repr(secret)


async def test_a_revoked_key_is_known_as_revoked_and_its_name_is_free(keys: KeyStore) -> None:
    issued, secret = await keys.issue("alice", TERMS)
    with pytest.raises(InvalidError, match="key_name_taken"):
        await keys.issue("alice", TERMS)
    assert await keys.revoke("nobody") is None
    revoked = await keys.revoke("alice")
    assert revoked is not None
    assert revoked.id == issued.id
    assert await keys.revoke(issued.id) is None
    found = await keys.find(secret.get_secret_value())
    assert found is not None
    assert found.state(datetime.now(UTC)) == "revoked"
    again, _ = await keys.issue("alice", TERMS)
    by_id = await keys.revoke(again.id)
    assert by_id is not None
    assert by_id.name == "alice"


async def test_a_key_expires(keys: KeyStore) -> None:
    end = datetime.now(UTC) + timedelta(seconds=60)
    issued, _ = await keys.issue("alice", TERMS, expires=end)
    assert issued.state(end - timedelta(seconds=1)) == "valid"
    assert issued.state(end) == "expired"


async def test_a_use_is_written_down_to_the_minute(keys: KeyStore, database_url: str) -> None:
    issued, secret = await keys.issue("alice", TERMS)
    assert issued.last_used is None
    await keys.find(secret.get_secret_value())
    (first,) = await keys.keys()
    assert first.last_used is not None
    assert datetime.now(UTC) - first.last_used < timedelta(seconds=30)
    await keys.find(secret.get_secret_value())
    assert (await keys.keys())[0].last_used == first.last_used
    with psycopg.connect(database_url) as db:
        db.execute("UPDATE orca_agent.api_keys SET last_used = now() - interval '2 minutes'")
    await keys.find(secret.get_secret_value())
    last = (await keys.keys())[0].last_used
    assert last is not None
    assert last >= first.last_used


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "é", "x" * 64])
async def test_a_name_that_is_none_is_refused(keys: KeyStore, name: str) -> None:
    with pytest.raises(InvalidError, match="key_name"):
        await keys.issue(name, TERMS)


async def test_whether_a_key_was_ever_issued_outlives_it(keys: KeyStore) -> None:
    assert not await keys.has_any()
    await keys.issue("alice", TERMS)
    await keys.revoke("alice")
    assert await keys.has_any()


async def test_a_database_that_is_gone_is_unavailable(database_url: str) -> None:
    store = KeyStore(database_url.replace("/orca?", "/nosuch?"))
    store._pool.timeout = 0.2
    with pytest.raises(UnavailableError, match="records_unavailable"):
        async with store:
            pass
