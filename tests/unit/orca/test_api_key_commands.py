"""``orca key issue``, ``list``, ``revoke``: on the agent's database, the secret shown once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from orca.cli.api_keys import duration_of
from orca_agent.store.keys import ApiKey, KeyStore
from orca_protocol.errors import InvalidError
from tests.unit.orca.console import Console


@pytest.fixture
def there(console: Console, database_url: str) -> Console:
    console.set(DATABASE_URL=database_url)
    return console


def found(url: str, secret: str) -> ApiKey | None:
    async def find() -> ApiKey | None:
        async with KeyStore(url) as keys:
            return await keys.find(secret)

    return asyncio.run(find())


def test_a_key_is_issued_shown_once_listed_and_revoked(there: Console, database_url: str) -> None:
    issued = there("key", "issue", "alice")
    secret = issued.stdout.strip()
    assert issued.code == 0
    assert "shown once" in issued.stderr
    assert secret not in issued.stderr
    key = found(database_url, secret)
    assert key is not None
    assert (key.name, key.scopes, key.per_minute, key.concurrent, key.expires) == ("alice", ["run", "read"], 100, 10, None)
    listed = there("key", "list")
    assert "alice  valid  run+read, 100/min" in listed.stdout
    assert "last used" in listed.stdout
    assert secret not in listed.stdout + there("key", "list", "--json").stdout
    assert there("key", "revoke", "alice").code == 0
    assert "alice  revoked" in there("key", "list").stdout
    again = there("key", "revoke", "alice")
    assert again.code == 1
    assert "orca key list" in again.stderr


def test_every_limit_reaches_the_key(there: Console, database_url: str) -> None:
    limits = ["--per-minute", 7, "--per-day", 70, "--concurrent", 3, "--calls-per-day", 9, "--input-tokens-per-day", 100]
    more = ["--output-tokens-per-day", 50, "--cost-per-day", "2.50", "--scope", "read", "--scope", "admin", "--expires", "12h"]
    document = there("key", "issue", "bob", *limits, *more, "--json").document
    key = found(database_url, document["api_key"])
    assert key is not None
    assert (key.per_minute, key.per_day, key.concurrent, key.scopes) == (7, 70, 3, ["read", "admin"])
    assert (key.daily.calls, key.daily.input_tokens, key.daily.output_tokens, str(key.daily.cost)) == (9, 100, 50, "2.50")
    assert key.expires is not None
    assert timedelta(hours=11) < key.expires - datetime.now(UTC) < timedelta(hours=13)
    assert {name: document[name] for name in ("name", "state", "cost_per_day")} == {
        "name": "bob",
        "state": "valid",
        "cost_per_day": "2.50",
    }
    (shown,) = there("key", "list", "--json").document["keys"]
    assert "api_key" not in shown
    assert there("key", "revoke", shown["id"], "--json").document["revoked"]["name"] == "bob"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--scope", "everything"], "scope_unknown"),
        (["--expires", "soon"], "expires"),
        (["--expires", "0d"], "expires"),
        (["--expires", "999999w"], "expires"),
        (["--cost-per-day", "1e3"], "cost"),
    ],
)
def test_what_is_wrong_with_a_wish_is_said_before_anything_is_made(console: Console, options: list[str], code: str) -> None:
    refused = console("key", "issue", "alice", *options, "--json")
    assert (refused.code, refused.document["code"]) == (1, code)
    assert not console.home.exists()


def test_a_name_that_is_taken_is_refused(there: Console) -> None:
    assert there("key", "issue", "alice").code == 0
    assert there("key", "issue", "alice", "--json").document["code"] == "key_name_taken"
    assert there("key", "issue", "a b", "--json").document["code"] == "key_name"


def test_where_there_are_none_it_says_how_to_make_one(there: Console) -> None:
    listed = there("key", "list")
    assert (listed.code, listed.stdout) == (0, "")
    assert "orca key issue" in listed.stderr
    assert json.loads(there("key", "list", "--json").stdout) == {"keys": []}


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("12h", 12), ("30d", 720), ("8w", 1344)])
def test_a_duration_is_a_number_and_its_unit(text: str, hours: float) -> None:
    assert duration_of(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "d", "-1d", "1.5d", "1y", "01d", "1 d", "3651d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="expires"):
        duration_of(text)
