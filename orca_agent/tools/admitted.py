"""Which MCP servers runs of this node may use, and what asking them may cost."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from orca_protocol.errors import InvalidError


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server that runs may use, by name or by URL."""

    name: str
    url: str
    token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class McpSettings:
    """Which servers there are, and what asking them may cost."""

    servers: tuple[McpServer, ...] = ()
    connect_seconds: float = 15.0
    call_seconds: float = 120.0
    #: one HTTP answer of a server
    answer_bytes: int = 4 * 2**20

    def named(self, source: str) -> McpServer:
        """Return the server that a spec calls ``source``. Raises InvalidError ``mcp_not_admitted``, listing those there are."""
        for server in self.servers:
            if source in {server.name, server.url}:
                return server
        there = ", ".join(server.name for server in self.servers) or "none"
        raise InvalidError("mcp_not_admitted", f"this node's operator admits no MCP server {source[:200]!r}; admitted are: {there}")
