"""What a node is told of its stores: each variable is read, and what would give a daemon or a token away is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from orca.network_settings import load
from orca.store_settings import StoreSettings
from orca_protocol.errors import InvalidError

SECRET = "a-token-of-somebody"
#: the others that one of them needs
WITH = {"ORCA_PINNING_SERVICE_URL": {"ORCA_PINNING_SERVICE_TOKEN": SECRET}}

VARIABLES: dict[str, tuple[str, str, Any]] = {
    "ORCA_KUBO_URL": ("http://127.0.0.1:5009", "kubo_url", "http://127.0.0.1:5009"),
    "ORCA_KUBO_TOKEN": (SECRET, "kubo_token", SecretStr(SECRET)),
    "ORCA_KUBO_GATEWAY_URL": ("http://127.0.0.1:8099", "kubo_gateway_url", "http://127.0.0.1:8099"),
    "ORCA_KUBO_ALLOW_REMOTE": ("true", "kubo_allow_remote", True),
    "ORCA_PINNING_SERVICE_URL": ("https://pins.example/api", "pinning_service_url", "https://pins.example/api"),
    "ORCA_PINNING_SERVICE_TOKEN": (SECRET, "pinning_service_token", SecretStr(SECRET)),
    "ORCA_PINNING_SERVICE_GATEWAY": ("https://gateway.example", "pinning_service_gateway", "https://gateway.example"),
    "ORCA_PIN_COPIES": ("3", "pin_copies", 3),
    "ORCA_PIN_CHECK_HOURS": ("1.5", "pin_check_hours", 1.5),
    "ORCA_RETENTION_DAYS": ("7", "retention_days", 7.0),
}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, attribute, meant = VARIABLES[name]
    assert getattr(load(StoreSettings), attribute) != meant
    for other, value in {name: text, **WITH.get(name, {})}.items():
        monkeypatch.setenv(other, value)
    assert getattr(load(StoreSettings), attribute) == meant


def test_each_field_has_a_variable() -> None:
    assert sorted(attribute for _, attribute, _ in VARIABLES.values()) == sorted(StoreSettings.model_fields)


def test_none_is_no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load(StoreSettings).has_kubo
    monkeypatch.setenv("ORCA_KUBO_URL", "none")
    assert not load(StoreSettings).has_kubo


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ORCA_KUBO_URL": "http://10.0.0.5:5001"}, "ORCA_KUBO_ALLOW_REMOTE"),
        ({"ORCA_KUBO_URL": "http://localhost.example:5001"}, "ORCA_KUBO_ALLOW_REMOTE"),
        ({"ORCA_KUBO_URL": "/ip4/127.0.0.1/tcp/5001"}, "http(s)://host:port"),
        ({"ORCA_KUBO_URL": "http://user:word@127.0.0.1:5001"}, "no password"),
        ({"ORCA_KUBO_URL": "http://127.0.0.1:port"}, "is no URL"),
        ({"ORCA_PINNING_SERVICE_URL": "https://pins.example"}, "needs ORCA_PINNING_SERVICE_TOKEN"),
        ({"ORCA_PINNING_SERVICE_URL": "http://pins.example", "ORCA_PINNING_SERVICE_TOKEN": SECRET}, "in clear"),
        ({"ORCA_PINNING_SERVICE_URL": "pins", "ORCA_PINNING_SERVICE_TOKEN": SECRET}, "is https://host"),
        ({"ORCA_PIN_COPIES": "0"}, "ORCA_PIN_COPIES"),
    ],
)
def test_what_is_unsafe_or_senseless_is_refused(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidError) as caught:
        load(StoreSettings)
    assert said in caught.value.detail
    assert SECRET not in caught.value.detail


def test_another_machine_needs_tls_or_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_KUBO_URL", "https://kubo.example")
    assert load(StoreSettings).has_kubo
    monkeypatch.setenv("ORCA_KUBO_URL", "http://10.0.0.5:5001")
    monkeypatch.setenv("ORCA_KUBO_ALLOW_REMOTE", "true")
    assert load(StoreSettings).has_kubo
