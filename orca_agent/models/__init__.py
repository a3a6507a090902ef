"""Model providers: one module per wire format (not per vendor), one table, one registry.

Importing this package loads no HTTP client and no inference engine: the table names classes, and ``provider_class``
imports the one that is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from orca_protocol.errors import InvalidError

#: wire format → ``module:class``; the class takes its own settings first
PROVIDERS: dict[str, str] = {
    "openai": "orca_agent.models.openai:OpenAIProvider",
    "anthropic": "orca_agent.models.anthropic:AnthropicProvider",
    "local": "orca_agent.models.local:LocalProvider",
}


def provider_class(wire: str) -> type[Any]:
    """Import and return the class behind ``wire``; InvalidError ``unknown_wire_format`` names the ones there are."""
    if wire not in PROVIDERS:
        raise InvalidError("unknown_wire_format", f"no provider speaks {wire!r}; there are: {', '.join(sorted(PROVIDERS))}")
    module, _, name = PROVIDERS[wire].partition(":")
    found: type[Any] = getattr(import_module(module), name)
    return found
