"""Every setting of the command line, read from the environment once. docs/settings.md explains each.

Secrets are ``SecretStr``. Nothing that should be secret has a default; what is missing is simply not offered.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError

if TYPE_CHECKING:
    from audit.source import PackageLimits

_SERVER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
#: what the node itself calls its providers
_TAKEN = frozenset({"alias", "anthropic", "local", "openai", "openai-compatible", "openrouter"})
#: shorter keys can be guessed
_API_KEY_MIN = 16


def home_of_user() -> Path:
    """Return ``~/.orca``. Raises InvalidError ``no_home``."""
    try:
        return Path.home() / ".orca"
    except RuntimeError as error:
        raise InvalidError("no_home", "this user has no home directory; say where to keep data: ORCA_HOME=/some/folder") from error


class Settings(BaseSettings):
    """What an operator can set. Each field's variable is ``ORCA_`` and its name, or the alias given."""

    model_config = SettingsConfigDict(env_prefix="ORCA_", env_ignore_empty=True, frozen=True, populate_by_name=True)

    #: keys, journal and blocks
    home: Path = Field(default_factory=home_of_user)
    #: the node's Ed25519 key as a Solana JSON file; default ``$ORCA_HOME/id.json``
    key_file: Path | None = None
    #: a PostgreSQL of the operator's own; without it an embedded one is started where a database is needed
    database_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL"))
    #: ``none`` signs for no network; devnet keys are accepted only where it begins with ``devnet``
    network: str = "none"

    #: ``gpt-4o=local/smollm2-135m-instruct,…``: the operator's own rules, shown whenever they apply
    model_aliases: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    openai_base_url: str | None = None
    openai_api_key: SecretStr | None = None
    #: names of the models at ``openai_base_url`` if it cannot list them
    openai_models: Annotated[tuple[str, ...], NoDecode] = ()
    #: hosted OpenAI and Anthropic, by the variables their own tools read
    hosted_openai_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENAI_API_KEY"))
    hosted_anthropic_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("ANTHROPIC_API_KEY"))
    anthropic_base_url: str = "https://api.anthropic.com"
    #: OpenRouter with one key, or several that share the calls
    openrouter_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENROUTER_API_KEY"))
    openrouter_api_key1: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENROUTER_API_KEY1"))
    openrouter_api_key2: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENROUTER_API_KEY2"))
    openrouter_api_key3: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENROUTER_API_KEY3"))
    openrouter_base_url: str = "https://openrouter.ai/api/v1"
    #: ``ollama=http://127.0.0.1:11434/v1,vllm=…``: further OpenAI-compatible servers, by names of the operator's choice
    model_servers: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    #: ``vllm=KEY,…``: the keys of those that want one
    model_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)

    #: ``http://[user:password@]host[:port]``: the proxy through which all of these are asked
    model_proxy: SecretStr | None = None

    #: what callers of the agent's HTTP API must send; without it the service listens on loopback only
    api_key: SecretStr | None = None
    #: a Redis that keeps the rate limits of keys; without it the database does
    limits_url: SecretStr | None = None
    #: answers kept for requests that say cache=true, of all together, and how long each stays
    cache_max_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    cache_seconds: float = Field(default=3600.0, gt=0, le=7 * 24 * 3600)
    #: runs that may wait or be under way at a time; more are refused
    queue_max: int = Field(default=1000, ge=1)
    #: for how many days the events of a run that ended are kept
    events_days: float = Field(default=30.0, gt=0, le=36500)

    #: model calls at once in a run; unset: as many as the swarm is wide
    max_in_flight: int | None = Field(default=None, ge=1)
    #: what reading one stranger's proof may cost
    package_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    package_max_files: int = Field(default=1000, ge=4)
    package_max_depth: int = Field(default=16, ge=2, le=128)
    package_max_line_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    package_max_seconds: float = Field(default=60.0, gt=0)
    #: share of open-weight answers that an audit decodes again
    inference_rate: float = Field(default=1.0, ge=0.0, le=1.0)

    @field_validator("model_aliases", "model_servers", "model_keys", mode="before")
    @classmethod
    def _read_pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if any(not name.strip() or not target.strip() for name, _, target in pairs):
            raise ValueError("must look like name=value,name=value")
        names = [name.strip() for name, _, _ in pairs]
        if len(set(names)) != len(names):
            raise ValueError("says one name twice; which is meant?")
        return {name.strip(): target.strip() for name, _, target in pairs}

    @field_validator("model_servers")
    @classmethod
    def _check_servers(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _SERVER_NAME.fullmatch(name) or name in _TAKEN:
                raise ValueError(
                    f"names of servers are up to 40 small letters, digits, - and _, other than {', '.join(sorted(_TAKEN))}"
                )
        return value

    @model_validator(mode="after")
    def _check_keys(self) -> Settings:
        if strangers := self.model_keys.keys() - self.model_servers.keys():
            # A key pasted without its name would be shown as one: only how many there are is said.
            raise ValueError(f"ORCA_MODEL_KEYS has {len(strangers)} keys whose names are not in ORCA_MODEL_SERVERS")
        return self

    @field_validator("openai_models", mode="before")
    @classmethod
    def _read_names(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        given = "" if value is None else value.get_secret_value()
        if value is not None and (len(given) < _API_KEY_MIN or not given.isascii() or not given.isprintable() or " " in given):
            raise ValueError(f"must be at least {_API_KEY_MIN} visible ASCII characters; make one: openssl rand -hex 32")
        return value

    @field_validator("limits_url")
    @classmethod
    def _check_limits_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must look like redis://[:password@]host[:port][/database]; rediss:// for TLS")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in {"postgresql", "postgres"}:
            raise ValueError("must look like postgresql://user:password@host/database")
        return value

    @property
    def key_path(self) -> Path:
        """Where the node's key is."""
        return self.key_file or self.home / "id.json"

    @property
    def package_limits(self) -> PackageLimits:
        """What reading one stranger's proof may cost."""
        from audit.source import PackageLimits

        return PackageLimits(
            total_bytes=self.package_max_bytes,
            files=self.package_max_files,
            depth=self.package_max_depth,
            line_bytes=self.package_max_line_bytes,
            seconds=self.package_max_seconds,
        )

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that is set."""
        models = (self.openai_api_key, self.hosted_openai_api_key, self.hosted_anthropic_api_key)
        found = (self.api_key, *models, self.model_proxy, self.database_url, self.limits_url)
        return (*(secret for secret in found if secret is not None), *self.openrouter_keys, *self.model_keys.values())

    @property
    def openrouter_keys(self) -> tuple[SecretStr, ...]:
        """The keys of OpenRouter, each once."""
        given = (self.openrouter_api_key, self.openrouter_api_key1, self.openrouter_api_key2, self.openrouter_api_key3)
        keys = {key.get_secret_value(): key for key in given if key}
        return tuple(keys.values())


def load_settings() -> Settings:
    """Read the environment. Raises InvalidError ``settings`` that names every wrong variable at once."""
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidError("settings", f"in the environment: {describe(error, most=100, named=_variable)}") from error


def _variable(field: str) -> str:
    """Return the variable behind a field's location: validation names aliased fields by their variable already."""
    return field if field.isupper() else f"ORCA_{field.upper()}"
