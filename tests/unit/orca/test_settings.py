"""The settings: each variable is read, everything wrong is named at once, and no secret can be printed by accident."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from orca.run_settings import RunSettings
from orca.settings import Settings, load_settings
from orca_protocol.errors import InvalidError
from tests.house.repository import ROOT
from tests.unit.orca.test_store_settings import VARIABLES as STORE_VARIABLES

SECRETS = (
    "ORCA_API_KEY",
    "ORCA_OPENAI_API_KEY",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "OPENROUTER_API_KEY",
    "OPENROUTER_API_KEY1",
    "OPENROUTER_API_KEY2",
    "OPENROUTER_API_KEY3",
    "ORCA_MODEL_PROXY",
)
RUN_VARIABLES = {f"ORCA_{field.upper()}" for field in RunSettings.model_fields}
SECRET = "sk-a-secret-that-must-not-be-seen"

#: variable → what an operator writes, the attribute, what it must be
VARIABLES: dict[str, tuple[str, str, Any]] = {
    "ORCA_HOME": ("/data/orca", "home", Path("/data/orca")),
    "ORCA_KEY_FILE": ("/keys/id.json", "key_file", Path("/keys/id.json")),
    "DATABASE_URL": ("postgresql://me@db/orca", "database_url", SecretStr("postgresql://me@db/orca")),
    "ORCA_API_KEY": (SECRET, "api_key", SecretStr(SECRET)),
    "ORCA_LIMITS_URL": (f"redis://:{SECRET}@cache", "limits_url", SecretStr(f"redis://:{SECRET}@cache")),
    "ORCA_CACHE_MAX_BYTES": ("0", "cache_max_bytes", 0),
    "ORCA_CACHE_SECONDS": ("1.5", "cache_seconds", 1.5),
    "ORCA_QUEUE_MAX": ("7", "queue_max", 7),
    "ORCA_EVENTS_DAYS": ("0.5", "events_days", 0.5),
    "ORCA_NETWORK": ("devnet-1", "network", "devnet-1"),
    "ORCA_MODEL_ALIASES": (" gpt-4o = local/x ,b=c,", "model_aliases", {"gpt-4o": "local/x", "b": "c"}),
    "ORCA_OPENAI_BASE_URL": ("http://127.0.0.1:11434/v1", "openai_base_url", "http://127.0.0.1:11434/v1"),
    "ORCA_OPENAI_API_KEY": (SECRET, "openai_api_key", SecretStr(SECRET)),
    "ORCA_OPENAI_MODELS": (" a , b,", "openai_models", ("a", "b")),
    "OPENAI_API_KEY": (SECRET, "hosted_openai_api_key", SecretStr(SECRET)),
    "ANTHROPIC_API_KEY": (SECRET, "hosted_anthropic_api_key", SecretStr(SECRET)),
    "ORCA_ANTHROPIC_BASE_URL": ("http://127.0.0.1:1", "anthropic_base_url", "http://127.0.0.1:1"),
    "OPENROUTER_API_KEY": (SECRET, "openrouter_api_key", SecretStr(SECRET)),
    "OPENROUTER_API_KEY1": (SECRET, "openrouter_api_key1", SecretStr(SECRET)),
    "OPENROUTER_API_KEY2": (SECRET, "openrouter_api_key2", SecretStr(SECRET)),
    "OPENROUTER_API_KEY3": (SECRET, "openrouter_api_key3", SecretStr(SECRET)),
    "ORCA_OPENROUTER_BASE_URL": ("http://127.0.0.1:1/v1", "openrouter_base_url", "http://127.0.0.1:1/v1"),
    "ORCA_MODEL_SERVERS": (
        "ollama=http://h/v1, vllm=http://g?a=b",
        "model_servers",
        {"ollama": "http://h/v1", "vllm": "http://g?a=b"},
    ),
    "ORCA_MODEL_KEYS": (f"vllm={SECRET}", "model_keys", {"vllm": SecretStr(SECRET)}),
    "ORCA_MODEL_PROXY": (f"http://me:{SECRET}@proxy:3128", "model_proxy", SecretStr(f"http://me:{SECRET}@proxy:3128")),
    "ORCA_MAX_IN_FLIGHT": ("7", "max_in_flight", 7),
    "ORCA_INFERENCE_RATE": ("0.25", "inference_rate", 0.25),
    "ORCA_PACKAGE_MAX_BYTES": ("4096", "package_max_bytes", 4096),
    "ORCA_PACKAGE_MAX_FILES": ("5", "package_max_files", 5),
    "ORCA_PACKAGE_MAX_DEPTH": ("3", "package_max_depth", 3),
    "ORCA_PACKAGE_MAX_LINE_BYTES": ("2048", "package_max_line_bytes", 2048),
    "ORCA_PACKAGE_MAX_SECONDS": ("2.5", "package_max_seconds", 2.5),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_is_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, attribute, meant = VARIABLES[name]
    assert getattr(load_settings(), attribute) != meant
    monkeypatch.setenv(name, text)
    if name == "ORCA_MODEL_KEYS":  # keys are for servers that are named
        monkeypatch.setenv("ORCA_MODEL_SERVERS", "vllm=http://h/v1")
    assert getattr(load_settings(), attribute) == meant


def test_the_variables_are_those_of_the_document_and_each_has_a_field() -> None:
    rows = re.findall(
        r"^\| `([A-Z0-9_]+)` \|", (ROOT / "docs" / "settings.md").read_text().partition("\n## ")[0], flags=re.MULTILINE
    )
    options = {"ORCA_PORT"}  # read by the commands that have --port
    assert sorted(rows) == sorted(VARIABLES.keys() | STORE_VARIABLES.keys() | RUN_VARIABLES | options)
    assert sorted(attribute for _, attribute, _ in VARIABLES.values()) == sorted(Settings.model_fields)


def test_without_any_variable_the_defaults_of_the_document_hold(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.home == tmp_path / ".orca"
    assert settings.key_path == tmp_path / ".orca" / "id.json"
    assert (settings.network, settings.inference_rate, settings.max_in_flight) == ("none", 1.0, None)
    assert (settings.model_aliases, settings.openai_models, settings.secrets) == ({}, (), ())


def test_the_key_lies_in_the_home_unless_it_is_said_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_HOME", "/data")
    assert load_settings().key_path == Path("/data/id.json")
    monkeypatch.setenv("ORCA_KEY_FILE", "/keys/mine.json")
    assert load_settings().key_path == Path("/keys/mine.json")


WRONG = {
    "ORCA_API_KEY": ["short", "fifteen letters", "a key with a space", "schlüssel-schlüssel"],
    "ORCA_LIMITS_URL": ["memcached://somewhere", "localhost:6379"],
    "ORCA_CACHE_MAX_BYTES": ["-1", "64 MiB"],
    "ORCA_CACHE_SECONDS": ["0", "-1", "nan"],
    "ORCA_QUEUE_MAX": ["0", "many"],
    "ORCA_EVENTS_DAYS": ["0", "-1", "nan"],
    "ORCA_MAX_IN_FLIGHT": ["0", "-1", "many", "1.5"],
    "ORCA_INFERENCE_RATE": ["1.01", "-0.1", "half", "nan"],
    "ORCA_MODEL_ALIASES": ["gpt-4o", "=x", "x=", "a=b,c", " = "],
    "ORCA_PACKAGE_MAX_BYTES": ["0", "64 MiB"],
    "ORCA_PACKAGE_MAX_FILES": ["0", "-1"],
    "ORCA_PACKAGE_MAX_DEPTH": ["1", "1000"],
    "ORCA_PACKAGE_MAX_LINE_BYTES": ["0", "x"],
    "ORCA_PACKAGE_MAX_SECONDS": ["0", "-1", "nan"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_value_is_refused_and_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(InvalidError) as caught:
        load_settings()
    assert caught.value.code == "settings"
    assert name.removeprefix("ORCA_").lower() in caught.value.detail.lower()


def test_everything_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, texts in WRONG.items():
        monkeypatch.setenv(name, texts[0])
    with pytest.raises(InvalidError) as caught:
        load_settings()
    assert [name for name in WRONG if name.removeprefix("ORCA_").lower() not in caught.value.detail.lower()] == []
    assert "http" not in caught.value.detail  # no link to another project's explanations


def test_keys_of_named_servers_are_secrets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_MODEL_SERVERS", "vllm=http://h/v1")
    monkeypatch.setenv("ORCA_MODEL_KEYS", f"vllm={SECRET}")
    settings = load_settings()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert [secret.get_secret_value() for secret in settings.secrets] == [SECRET]


def test_a_key_that_two_variables_name_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENROUTER_API_KEY", "OPENROUTER_API_KEY1", "OPENROUTER_API_KEY3"):
        monkeypatch.setenv(name, SECRET if name != "OPENROUTER_API_KEY3" else f"{SECRET}3")
    assert [key.get_secret_value() for key in load_settings().openrouter_keys] == [SECRET, f"{SECRET}3"]


@pytest.mark.parametrize(
    ("servers", "keys", "said"),
    [
        ("openai=http://h/v1", "", "other than alias, anthropic, local, openai"),
        ("Ollama=http://h/v1", "", "small letters"),
        ("a/b=http://h/v1", "", "small letters"),
        ("a=http://h/v1,a=http://g/v1", "", "one name twice"),
        ("http://h/v1", "", "name=value"),
        ("a=http://h/v1", f"b={SECRET}", "1 keys whose names are not in ORCA_MODEL_SERVERS"),
        ("a=http://h/v1", f"{SECRET}=a", "1 keys whose names are not in ORCA_MODEL_SERVERS"),
        ("a=http://h/v1", SECRET, "name=value"),
    ],
)
def test_servers_and_keys_that_cannot_be_meant(monkeypatch: pytest.MonkeyPatch, servers: str, keys: str, said: str) -> None:
    monkeypatch.setenv("ORCA_MODEL_SERVERS", servers)
    monkeypatch.setenv("ORCA_MODEL_KEYS", keys)
    with pytest.raises(InvalidError, match=said) as caught:
        load_settings()
    assert SECRET not in str(caught.value)


def test_secrets_are_not_in_what_settings_look_like(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"{SECRET}-{name}")
    settings = load_settings()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {settings.secrets}"
    assert {secret.get_secret_value() for secret in settings.secrets} == {f"{SECRET}-{name}" for name in SECRETS}


def test_a_wrong_setting_does_not_bring_the_secrets_into_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("ORCA_MAX_IN_FLIGHT", SECRET)  # pasted into the wrong line
    with pytest.raises(InvalidError) as caught:
        load_settings()
    assert SECRET not in str(caught.value)


def test_settings_do_not_change_once_they_are_read() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.network = "devnet"  # type: ignore[misc]


@pytest.mark.parametrize("wrong", ["mysql://me:hunter2hunter2@db/orca", "host=db password=hunter2hunter2", "postgresql//db"])
def test_a_database_that_is_no_url_is_refused_and_its_password_is_not_said(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("DATABASE_URL", wrong)
    with pytest.raises(InvalidError, match="DATABASE_URL") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_user_without_a_home_is_told_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ORCA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InvalidError, match="ORCA_HOME") as caught:
        load_settings()
    assert caught.value.code == "no_home"
