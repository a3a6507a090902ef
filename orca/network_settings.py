"""What a node or a middle server of a network is told, read from the environment once. docs/settings.md explains each.

Nothing here has a default that would join somebody's network by accident: what is missing is reported at once, all of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError

Names = Annotated[tuple[str, ...], NoDecode]
T = TypeVar("T", bound=BaseSettings)


def _split(value: object) -> object:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


class NetworkSettings(BaseSettings):
    """A node's network. Each field's variable is ``ORCA_`` and its name, or the alias given."""

    model_config = SettingsConfigDict(env_prefix="ORCA_", env_ignore_empty=True, frozen=True, populate_by_name=True)

    #: JSON-RPC endpoints of the chain, in the order they are asked
    rpc_urls: Names = ()
    #: the task on chain that this node serves
    task_id: str | None = None
    middle_server_url: str | None = Field(default=None, validation_alias=AliasChoices("MIDDLE_SERVER_URL"))
    #: base58 key by which the middle server signs leases
    lease_signer: str | None = None
    #: the main account: pays fees, is paid; default ``$ORCA_HOME/main.json``
    main_key_file: Path | None = None
    #: where peers reach this node's gateway
    gateway_url: str | None = None
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8081, ge=0, le=65535)
    #: other gateways that are asked for a peer's proof
    gateways: Names = ()
    #: proofs that this node audits in a round
    audits_per_round: int = Field(default=5, ge=1)

    _names = field_validator("rpc_urls", "gateways", mode="before")(_split)


class ServerSettings(BaseSettings):
    """Whom ``orca submit`` and its sisters ask. Each field's variable is ``ORCA_`` and its name, or the alias given."""

    model_config = SettingsConfigDict(env_prefix="ORCA_", env_ignore_empty=True, frozen=True, populate_by_name=True)

    #: posts work for payment
    middle_server_url: str | None = Field(default=None, validation_alias=AliasChoices("MIDDLE_SERVER_URL"))
    middle_api_key: SecretStr | None = None
    #: runs things at once, where no middle server is named
    agent_url: str = "http://127.0.0.1:8080"
    api_key: SecretStr | None = None


class MiddleServerSettings(BaseSettings):
    """A middle server's. Each field's variable is ``ORCA_MIDDLE_`` and its name, or the alias given."""

    model_config = SettingsConfigDict(env_prefix="ORCA_MIDDLE_", env_ignore_empty=True, frozen=True, populate_by_name=True)

    #: signs the leases; a Solana JSON file of mode 0600
    key_file: Path | None = None
    database_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL"))
    #: host, and port if it is not the scheme's own, by which nodes reach it: they sign for it
    audience: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=3000, ge=0, le=65535)
    network: str = Field(default="none", validation_alias=AliasChoices("ORCA_NETWORK"))
    rpc_urls: Names = Field(default=(), validation_alias=AliasChoices("ORCA_RPC_URLS"))
    #: the tasks whose stakers may work here
    task_ids: Names = ()
    #: accepts the original nodes' payloads, which anybody who saw one can replay for ever
    legacy_envelopes: bool = False
    lease_seconds: int = Field(default=3600, ge=10)
    heartbeat_seconds: int = Field(default=90, ge=3)
    review_seconds: int = Field(default=3600, ge=10)

    _names = field_validator("rpc_urls", "task_ids", mode="before")(_split)


def load(kind: type[T]) -> T:
    """Read the environment. Raises InvalidError ``settings`` that names every wrong variable at once."""
    prefix = kind.model_config.get("env_prefix", "")

    def variable(field: str) -> str:  # validation names aliased fields by their variable already
        return field if field.isupper() else f"{prefix}{field.upper()}"

    try:
        return kind()
    except ValidationError as error:
        raise InvalidError("settings", f"in the environment: {describe(error, most=100, named=variable)}") from error


def require(**given: object) -> None:
    """Raise InvalidError ``settings_missing`` naming every variable that is not set, unless all are."""
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise InvalidError("settings_missing", f"set {', '.join(missing)} in the environment; docs/settings.md says what each is")
