"""What runs of this node may reach and use, read from the environment once (docs/settings.md)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orca.url_secrets import keys_in
from orca_agent.tools.admitted import McpServer, McpSettings
from orca_agent.tools.images import ImageSettings
from orca_agent.tools.reach import Reach
from orca_engine.item import is_local
from orca_protocol.budget import Budget
from orca_protocol.model import Amount


class RunSettings(BaseSettings):
    """Tools, images and the most that one run may use. Each field's variable is ``ORCA_`` and its name."""

    model_config = SettingsConfigDict(env_prefix="ORCA_", env_ignore_empty=True, frozen=True)

    #: MCP servers that runs may use, by name: ``files=https://host/mcp,…``
    mcp_servers: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    #: what they want as a bearer token, by the same names
    mcp_tokens: SecretStr | None = None
    #: names of those that leased work, which strangers wrote, may use too
    mcp_for_leased: Annotated[tuple[str, ...], NoDecode] = ()
    #: the longest that one tool may take
    mcp_seconds: float = Field(default=120.0, gt=0, le=3600)
    #: whether images may come from this machine and its network
    images_private: bool = False

    #: of one run, whatever its spec allows
    run_max_calls: int | None = Field(default=None, ge=1)
    run_max_input_tokens: int | None = Field(default=None, ge=1)
    run_max_output_tokens: int | None = Field(default=None, ge=1)
    #: US dollars
    run_max_cost: Amount | None = None
    run_max_seconds: Amount | None = None

    @field_validator("mcp_servers", mode="before")
    @classmethod
    def _read_servers(cls, value: object) -> object:
        return _pairs(value) if isinstance(value, str) else value

    @field_validator("mcp_for_leased", mode="before")
    @classmethod
    def _read_names(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> RunSettings:
        for name, url in self.mcp_servers.items():
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
                raise ValueError(f"ORCA_MCP_SERVERS: {name} must be http(s)://host[:port]/path, without a user")
        for variable, names in (("ORCA_MCP_TOKENS", self._tokens), ("ORCA_MCP_FOR_LEASED", self.mcp_for_leased)):
            unknown = [name for name in names if name not in self.mcp_servers]
            if unknown:
                raise ValueError(f"{variable} names {', '.join(unknown)}, which ORCA_MCP_SERVERS does not")
        return self

    @property
    def reach(self) -> Reach:
        """What runs of this node's own users may reach."""
        servers = tuple(McpServer(name, url, self._tokens.get(name)) for name, url in self.mcp_servers.items())
        return Reach(McpSettings(servers, call_seconds=self.mcp_seconds), ImageSettings(allow_private=self.images_private))

    @property
    def reach_of_leased(self) -> Reach:
        """What leased work may reach: the open internet's images, and the servers that were named for it."""
        servers = tuple(server for server in self.reach.mcp.servers if server.name in self.mcp_for_leased)
        return Reach(McpSettings(servers, call_seconds=self.mcp_seconds), ImageSettings())

    def reach_for(self, item_id: str) -> Reach:
        """What a run of the item may reach."""
        return self.reach if is_local(item_id) else self.reach_of_leased

    @property
    def budget(self) -> Budget:
        """The most that one run may use."""
        return Budget(
            calls=self.run_max_calls,
            input_tokens=self.run_max_input_tokens,
            output_tokens=self.run_max_output_tokens,
            cost=self.run_max_cost,
            seconds=self.run_max_seconds,
        )

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that is set, also those that stand in a server's URL."""
        in_urls = {key for url in self.mcp_servers.values() for key in keys_in(url)}
        return (*self._tokens.values(), *map(SecretStr, sorted(in_urls)))

    @property
    def _tokens(self) -> dict[str, SecretStr]:
        given = "" if self.mcp_tokens is None else self.mcp_tokens.get_secret_value()
        return {name: SecretStr(token) for name, token in _pairs(given).items()}


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if any(not name.strip() or not value.strip() for name, _, value in pairs):
        raise ValueError("must look like name=value,name=value")
    return {name.strip(): value.strip() for name, _, value in pairs}
