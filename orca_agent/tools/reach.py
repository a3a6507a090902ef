"""What one node lets runs reach, and what one run has reached: the bytes of its images, its sessions with tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orca_agent.tools.admitted import McpSettings
from orca_agent.tools.images import Images, ImageSettings
from orca_agent.tools.mcp import McpSessions
from orca_protocol.errors import OrcaError
from orca_protocol.journal import Outcome
from orca_protocol.model import Failure
from orca_protocol.spec import SwarmSpec
from orca_protocol.world import FetchedImage, ImageRequest, OfferRequest, ToolRequest


@dataclass(frozen=True, slots=True)
class Reach:
    """What runs may reach."""

    mcp: McpSettings = field(default_factory=McpSettings)
    images: ImageSettings = field(default_factory=ImageSettings)

    def refuse_others(self, spec: SwarmSpec) -> None:
        """Raise InvalidError ``mcp_not_admitted`` if ``spec`` names a server that runs may not use."""
        for agent in spec.agents:
            for source in agent.sources:
                self.mcp.named(source)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Reached]:
        """Yield what one run reaches; its sessions end with the block."""
        reached = Reached(McpSessions(self.mcp), Images(self.images))
        try:
            yield reached
        finally:
            await reached.sessions.close()


@dataclass(slots=True)
class Reached:
    """What one run reaches."""

    sessions: McpSessions
    fetching: Images
    #: the bytes of images by their digest
    images: dict[str, bytes] = field(default_factory=dict)

    async def answer(self, request: OfferRequest | ToolRequest | ImageRequest) -> Outcome:
        """Return what became of ``request``: what the world did wrong is an outcome."""
        try:
            match request:
                case OfferRequest(source=source):
                    return await self.sessions.offer(source)
                case ToolRequest():
                    return await self.sessions.call(request)
                case ImageRequest(url=url):
                    return await self.fetching.fetch(url)
        except OrcaError as error:
            return Failure(code=error.code, detail=error.detail)

    def keep(self, outcome: Outcome) -> None:
        """Remember the bytes of an image that the journal holds."""
        if isinstance(outcome, FetchedImage):
            self.images[outcome.image.digest] = outcome.bytes
