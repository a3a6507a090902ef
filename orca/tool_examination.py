"""What ``orca doctor`` looks at of tools: each MCP server that the operator named is asked what it offers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from orca.finding import Finding
from orca_protocol.errors import OrcaError

if TYPE_CHECKING:
    from orca.node import LocalNode


async def examine_tools(node: LocalNode) -> AsyncIterator[Finding]:
    """Ask every server, and say who may use it."""
    leased = {server.name for server in node.runs.reach_of_leased.mcp.servers}
    async with node.runs.reach.opened() as reached:
        for server in node.runs.reach.mcp.servers:
            part = f"tools: {server.name}"
            users = "own and leased work" if server.name in leased else "own work only"
            try:
                offer = await reached.sessions.offer(server.name)
            except OrcaError as error:
                yield Finding(part, "broken", error.detail, "start it, or correct ORCA_MCP_SERVERS and ORCA_MCP_TOKENS")
            else:
                yield Finding(part, "ok", f"offers {len(offer.tools)} tools, for {users}")
    if not node.runs.reach.mcp.servers:
        yield Finding("tools", "absent", "agents have no MCP servers to call tools of", "set ORCA_MCP_SERVERS if they shall")
