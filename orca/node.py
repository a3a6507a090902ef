"""One node on one machine, as the command line uses it: key, journal, models and block store, opened when first needed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orca.key_file import load_key, load_or_make_key
from orca.settings import Settings
from orca_agent.models.local import LocalProvider
from orca_agent.models.redecode import LocalRedecoder
from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.sqlite import SqliteJournal
from orca_protocol.keys import public_key_of
from proof_store.blocks import DirectoryBlocks

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from orca_agent.models.base import Provider


class LocalNode:
    """The parts of one node; leaving the context closes those that were opened."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.secrets = Secrets(settings.secrets)
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._closing.aclose()

    @cached_property
    def journal(self) -> SqliteJournal:
        """The runs of this machine."""
        journal = SqliteJournal(self.settings.home / "journal.db")
        self._closing.push_async_callback(journal.close)
        return journal

    @cached_property
    def blocks(self) -> DirectoryBlocks:
        """The proofs of this machine."""
        return DirectoryBlocks(self.settings.home / "blocks")

    @cached_property
    def local(self) -> LocalProvider:
        """The embedded models."""
        provider = LocalProvider()
        self._closing.push_async_callback(provider.close)
        return provider

    @cached_property
    def registry(self) -> Registry:
        """Every model that is configured: the operator's own server, hosted ones with a key, the embedded."""
        registry = Registry([*self._hosted(), self.local], self.settings.model_aliases)
        self._closing.push_async_callback(registry.close)
        return registry

    def redecoder(self) -> LocalRedecoder:
        """Return what audits decode answers again with."""
        return LocalRedecoder(self.local)

    def signing_key(self) -> tuple[SigningKey, bool]:
        """Return the node's key and whether it was made just now."""
        return load_or_make_key(self.settings.key_path, network=self.settings.network)

    def public_key(self) -> str | None:
        """Return the node's public key if it has a key yet."""
        path: Path = self.settings.key_path
        return public_key_of(load_key(path, network=self.settings.network)) if path.exists() else None

    def _hosted(self) -> list[Provider]:
        settings = self.settings
        keys = (settings.openai_base_url, settings.hosted_openai_api_key, settings.hosted_anthropic_api_key)
        if not any(keys):
            return []
        from orca_agent.models.anthropic import AnthropicProvider, AnthropicSettings
        from orca_agent.models.http import HttpClient
        from orca_agent.models.openai import OpenAIProvider, OpenAISettings

        http = HttpClient()
        self._closing.push_async_callback(http.close)
        found: list[Provider] = []
        if settings.openai_base_url:
            own = OpenAISettings(
                settings.openai_base_url, settings.openai_api_key, settings.openai_models, name="openai-compatible"
            )
            found.append(OpenAIProvider(own, http))
        if settings.hosted_openai_api_key:
            found.append(OpenAIProvider(OpenAISettings(api_key=settings.hosted_openai_api_key), http))
        if settings.hosted_anthropic_api_key:
            hosted = AnthropicSettings(settings.hosted_anthropic_api_key, settings.anthropic_base_url)
            found.append(AnthropicProvider(hosted, http))
        return found
