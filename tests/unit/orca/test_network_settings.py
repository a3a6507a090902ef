"""What a node, a requester and a middle server of a network are told: each variable is read, what is missing is said at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from orca.middle_service import serve
from orca.network_settings import MiddleServerSettings, NetworkSettings, ServerSettings, load, require
from orca.node_service import run_node
from orca.settings import load_settings
from orca.store_settings import StoreSettings
from orca_protocol.errors import InvalidError
from tests.house.test_docs import environment

SECRET = "a-secret-that-must-not-be-seen"

#: variable → what an operator writes, the attribute, what it must be
VARIABLES: dict[type[BaseSettings], dict[str, tuple[str, str, Any]]] = {
    NetworkSettings: {
        "ORCA_RPC_URLS": (" http://a , http://b,", "rpc_urls", ("http://a", "http://b")),
        "ORCA_TASK_ID": ("task", "task_id", "task"),
        "MIDDLE_SERVER_URL": ("http://m", "middle_server_url", "http://m"),
        "ORCA_LEASE_SIGNER": ("key", "lease_signer", "key"),
        "ORCA_MAIN_KEY_FILE": ("/keys/main.json", "main_key_file", Path("/keys/main.json")),
        "ORCA_GATEWAY_URL": ("http://g", "gateway_url", "http://g"),
        "ORCA_GATEWAY_HOST": ("0.0.0.0", "gateway_host", "0.0.0.0"),  # noqa: S104 - read, not listened on
        "ORCA_GATEWAY_PORT": ("0", "gateway_port", 0),
        "ORCA_GATEWAYS": ("http://x,http://y", "gateways", ("http://x", "http://y")),
        "ORCA_AUDITS_PER_ROUND": ("7", "audits_per_round", 7),
    },
    ServerSettings: {
        "MIDDLE_SERVER_URL": ("http://m", "middle_server_url", "http://m"),
        "ORCA_MIDDLE_API_KEY": (SECRET, "middle_api_key", SecretStr(SECRET)),
        "ORCA_AGENT_URL": ("http://a", "agent_url", "http://a"),
        "ORCA_API_KEY": (SECRET, "api_key", SecretStr(SECRET)),
    },
    MiddleServerSettings: {
        "ORCA_MIDDLE_KEY_FILE": ("/keys/m.json", "key_file", Path("/keys/m.json")),
        "DATABASE_URL": ("postgresql://me@db/m", "database_url", SecretStr("postgresql://me@db/m")),
        "ORCA_MIDDLE_AUDIENCE": ("middle.example", "audience", "middle.example"),
        "ORCA_MIDDLE_HOST": ("::1", "host", "::1"),
        "ORCA_MIDDLE_PORT": ("0", "port", 0),
        "ORCA_NETWORK": ("devnet-1", "network", "devnet-1"),
        "ORCA_RPC_URLS": ("http://a", "rpc_urls", ("http://a",)),
        "ORCA_MIDDLE_TASK_IDS": ("one, two", "task_ids", ("one", "two")),
        "ORCA_MIDDLE_LEGACY_ENVELOPES": ("true", "legacy_envelopes", True),
        "ORCA_MIDDLE_LEASE_SECONDS": ("10", "lease_seconds", 10),
        "ORCA_MIDDLE_HEARTBEAT_SECONDS": ("3", "heartbeat_seconds", 3),
        "ORCA_MIDDLE_REVIEW_SECONDS": ("10", "review_seconds", 10),
    },
}
EACH = [(kind, name) for kind, variables in VARIABLES.items() for name in variables]


@pytest.mark.parametrize(("kind", "name"), EACH, ids=[f"{kind.__name__}-{name}" for kind, name in EACH])
def test_each_variable_is_read(monkeypatch: pytest.MonkeyPatch, kind: type[BaseSettings], name: str) -> None:
    text, attribute, meant = VARIABLES[kind][name]
    assert getattr(load(kind), attribute) != meant
    monkeypatch.setenv(name, text)
    assert getattr(load(kind), attribute) == meant
    monkeypatch.setenv(name, "")
    assert getattr(load(kind), attribute) != meant


def test_there_is_no_other_variable() -> None:
    assert {name for variables in VARIABLES.values() for name in variables} == environment("orca.network_settings")


def test_no_secret_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_MIDDLE_API_KEY", SECRET)
    monkeypatch.setenv("ORCA_API_KEY", SECRET)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:{SECRET}@db/x")
    for kind in VARIABLES:
        assert SECRET not in repr(load(kind))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (NetworkSettings, {"ORCA_GATEWAY_PORT": "65536", "ORCA_AUDITS_PER_ROUND": "0"}),
        (MiddleServerSettings, {"ORCA_MIDDLE_PORT": "-1", "ORCA_MIDDLE_LEASE_SECONDS": "9", "ORCA_MIDDLE_HEARTBEAT_SECONDS": "2"}),
        (MiddleServerSettings, {"ORCA_MIDDLE_LEGACY_ENVELOPES": "perhaps", "ORCA_MIDDLE_REVIEW_SECONDS": "x"}),
    ],
)
def test_everything_that_is_wrong_is_named_at_once_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseSettings], wrong: dict[str, str]
) -> None:
    for name, text in wrong.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(InvalidError) as refused:
        load(kind)
    assert refused.value.code == "settings"
    assert all(name in refused.value.detail for name in wrong)


def test_what_is_required_and_missing_is_named_at_once() -> None:
    with pytest.raises(InvalidError, match=r"settings_missing: set ONE, THREE, FOUR in the environment"):
        require(ONE=None, TWO="x", THREE=(), FOUR="")
    require(ONE="x", TWO=True)


async def test_a_node_names_everything_that_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start() -> None:
        given = load_settings(), load(NetworkSettings), StoreSettings()
        await run_node(*given, standalone=True, host="127.0.0.1", port=0, workers=1, ready=print)

    needed = ["ORCA_NETWORK", "ORCA_RPC_URLS", "ORCA_TASK_ID", "MIDDLE_SERVER_URL", "ORCA_LEASE_SIGNER", "ORCA_GATEWAY_URL"]
    with pytest.raises(InvalidError, match=", ".join(needed)):
        await start()
    monkeypatch.setenv("ORCA_NETWORK", "devnet-1")
    monkeypatch.setenv("ORCA_TASK_ID", "x")
    with pytest.raises(InvalidError) as refused:
        await start()
    assert [name for name in needed if name in refused.value.detail] == ["ORCA_RPC_URLS", "MIDDLE_SERVER_URL", "ORCA_LEASE_SIGNER"]


async def test_a_middle_server_names_everything_that_it_misses() -> None:
    needed = "ORCA_MIDDLE_KEY_FILE, DATABASE_URL, ORCA_MIDDLE_TASK_IDS, ORCA_RPC_URLS"
    ready: Callable[[dict[str, Any]], None] = print
    with pytest.raises(InvalidError, match=needed):
        await serve(load(MiddleServerSettings), ready)
