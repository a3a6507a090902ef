"""Where a node keeps its proofs beside its own folder, and how long, read from the environment once (docs/settings.md)."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orca_protocol.errors import InvalidError
from proof_store.kubo_rpc import parse_rpc_url
from proof_store.pinning_service import parse_service_url


class StoreSettings(BaseSettings):
    """The stores. Each field's variable is ``ORCA_`` and its name."""

    model_config = SettingsConfigDict(env_prefix="ORCA_", env_ignore_empty=True, frozen=True)

    #: the RPC of a Kubo daemon; ``none`` says that there shall be none
    kubo_url: str | None = None
    #: what its ``API.Authorizations`` wants as a bearer token
    kubo_token: SecretStr | None = None
    #: its gateway, by which pins are read back; a daemon on this machine is asked for it
    kubo_gateway_url: str | None = None
    #: lets a daemon on another machine be controlled without TLS
    kubo_allow_remote: bool = False
    #: the endpoint of an IPFS pinning service, its token, and the gateway by which its pins are read back
    pinning_service_url: str | None = None
    pinning_service_token: SecretStr | None = None
    pinning_service_gateway: str | None = None
    #: stores in which a proof must be kept, as far as there are so many
    pin_copies: int = Field(default=2, ge=1, le=10)
    #: between two readings of what is kept
    pin_check_hours: float = Field(default=24.0, gt=0, le=8760)
    #: how long a proof stays before it may be collected
    retention_days: float = Field(default=365.0, gt=0, le=36500)

    @property
    def has_kubo(self) -> bool:
        """Whether a daemon is configured."""
        return self.kubo_url is not None and self.kubo_url != "none"

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that is set."""
        return tuple(secret for secret in (self.kubo_token, self.pinning_service_token) if secret is not None)

    @model_validator(mode="after")
    def _check(self) -> StoreSettings:
        try:
            if self.has_kubo:
                parse_rpc_url(self.kubo_url or "", allow_remote=self.kubo_allow_remote)
            if self.pinning_service_url is not None:
                parse_service_url(self.pinning_service_url)
        except InvalidError as error:
            raise ValueError(error.detail) from error
        if self.pinning_service_url is not None and self.pinning_service_token is None:
            raise ValueError("ORCA_PINNING_SERVICE_URL needs ORCA_PINNING_SERVICE_TOKEN")
        return self
