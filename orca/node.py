"""One node on one machine, as the command line uses it: key, journal, models and block store, opened when first needed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orca.key_file import load_key, load_or_make_key
from orca.network_settings import load
from orca.run_settings import RunSettings
from orca.settings import Settings
from orca_agent.models import Given, hosted, provider_class
from orca_agent.models.redecode import LocalRedecoder
from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.sqlite import SqliteJournal
from orca_protocol.keys import public_key_of
from proof_store.blocks import DirectoryBlocks

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from orca.store_settings import StoreSettings
    from orca_agent.models.base import Provider
    from orca_agent.models.local import LocalProvider

#: what OpenRouter calls the model that its users' agents had before there was a choice
_DEFAULT = "x-ai/grok-4-fast"


class LocalNode:
    """The parts of one node; leaving the context closes those that were opened."""

    def __init__(self, settings: Settings, stores: StoreSettings | None = None, runs: RunSettings | None = None) -> None:
        self.settings = settings
        self.runs = load(RunSettings) if runs is None else runs
        self.secrets = Secrets((*settings.secrets, *(() if stores is None else stores.secrets), *self.runs.secrets))
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
        provider: LocalProvider = provider_class("local")()
        self._closing.push_async_callback(provider.close)
        return provider

    @cached_property
    def registry(self) -> Registry:
        """Every model that is configured: the operator's own servers, hosted ones with a key, the embedded."""
        registry = Registry([*self._hosted(), self.local], {**self._default_aliases(), **self.settings.model_aliases})
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
        servers = self._servers()
        if not servers and not self.settings.openrouter_keys:
            return []
        from orca_agent.models.http import HttpClient, HttpSettings
        from orca_agent.models.ring import ringed

        proxy = self.settings.model_proxy
        http = HttpClient(HttpSettings(proxy=None if proxy is None else proxy.get_secret_value()))
        self._closing.push_async_callback(http.close)
        providers = [hosted(wire, http, **given) for wire, given in servers]
        if keys := self.settings.openrouter_keys:
            providers.append(ringed("openai", http, keys, base_url=self.settings.openrouter_base_url, name="openrouter"))
        return providers

    def _default_aliases(self) -> dict[str, str]:
        """Return the one alias that is no operator's: the short name of the model that agents on OpenRouter have by default."""
        if not self.settings.openrouter_keys or _DEFAULT in self.settings.model_aliases:
            return {}
        return {_DEFAULT.removeprefix("x-ai/"): _DEFAULT}

    def _servers(self) -> list[tuple[str, Given]]:
        """Return the wire format of each server that is configured, and what is said of it."""
        settings = self.settings
        servers: list[tuple[str, Given]] = []
        if settings.openai_base_url:
            own: Given = {
                "base_url": settings.openai_base_url,
                "api_key": settings.openai_api_key,
                "models": settings.openai_models,
                "name": "openai-compatible",
            }
            servers.append(("openai", own))
        for name, url in settings.model_servers.items():
            servers.append(("openai", {"base_url": url, "api_key": settings.model_keys.get(name), "name": name}))
        if settings.hosted_openai_api_key:
            servers.append(("openai", {"api_key": settings.hosted_openai_api_key}))
        if settings.hosted_anthropic_api_key:
            anthropic: Given = {"api_key": settings.hosted_anthropic_api_key, "base_url": settings.anthropic_base_url}
            servers.append(("anthropic", anthropic))
        return servers
