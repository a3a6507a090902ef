"""Model providers: one module per wire format (not per vendor), one table, one registry.

Importing this package loads no HTTP client and no inference engine: the table names classes, and ``provider_class``
imports the one that is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from orca_protocol.errors import InvalidError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from orca_agent.models.base import Provider
    from orca_agent.models.http import HttpClient

#: wire format → ``module:class``; that class takes its settings first; if it asks servers, ``settings_class`` names theirs
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


class Given(TypedDict, total=False):
    """What is said of a server; the wire format has its own defaults for the rest (``http.ServerSettings``)."""

    base_url: str
    api_key: SecretStr | None
    models: tuple[str, ...]
    name: str


def hosted(wire: str, http: HttpClient, **given: Unpack[Given]) -> Provider:
    """Return the provider for one server that speaks ``wire``. Raises as ``provider_class`` and ``Endpoint.checked`` do."""
    found = provider_class(wire)
    provider: Provider = found(found.settings_class(**given), http)
    return provider
