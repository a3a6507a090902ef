"""The composition of a node: which models it offers for which settings, where keys go, and what it opens and closes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orca.node import LocalNode
from orca_agent.models import PROVIDERS as TABLE
from orca_agent.models.http import HttpClient, ServerSettings
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of
from orca_protocol.model import Message, ModelRequest
from tests.fakes.scripted_model import ScriptedModel
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca.console import settings_in
from tests.unit.orca_agent.models.raw_server import always, raw_server

REQUEST = ModelRequest(model="m", messages=(Message(role="user", content="TASK"),), max_tokens=8, temperature=0.5, seed=1)
OWN, OPENAI, ANTHROPIC = SecretStr("sk-for-the-own-server"), SecretStr("sk-for-openai"), SecretStr("sk-for-anthropic")
URL = "http://127.0.0.1:1/v1"

PROVIDERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["local"]),
    ({"openai_base_url": URL}, ["openai-compatible", "local"]),
    ({"openai_api_key": OWN}, ["local"]),
    ({"openai_models": ("a",)}, ["local"]),
    ({"hosted_openai_api_key": OPENAI}, ["openai", "local"]),
    ({"hosted_anthropic_api_key": ANTHROPIC}, ["anthropic", "local"]),
    (
        {"openai_base_url": URL, "hosted_openai_api_key": OPENAI, "hosted_anthropic_api_key": ANTHROPIC},
        ["openai-compatible", "openai", "anthropic", "local"],
    ),
    ({"openrouter_api_key2": OPENAI}, ["openrouter", "local"]),
    ({"model_servers": {"ollama": URL, "vllm": URL}}, ["ollama", "vllm", "local"]),
    ({"hosted_openai_api_key": SecretStr(""), "hosted_anthropic_api_key": SecretStr("")}, ["local"]),
]


@pytest.mark.parametrize(("fields", "names"), PROVIDERS)
async def test_providers_follow_from_the_settings(tmp_path: Path, fields: dict[str, Any], names: list[str]) -> None:
    async with LocalNode(settings_in(tmp_path, **fields)) as node:
        assert [provider.name for provider in node.registry._providers] == names


async def test_the_models_of_the_own_server_can_be_named(tmp_path: Path, server: ScriptedServer) -> None:
    server.reset({"models": ["llama", "scripted"]})
    async with LocalNode(settings_in(tmp_path, openai_base_url=server.openai)) as node:
        found = await node.registry.resolve("llama")
        assert (found.provider.name, found.model, found.alias) == ("openai-compatible", "llama", None)


async def test_names_that_the_operator_gives_replace_the_listing(tmp_path: Path, server: ScriptedServer) -> None:
    settings = settings_in(tmp_path, openai_base_url=server.openai, openai_models=("given",))
    async with LocalNode(settings) as node:
        assert (await node.registry.resolve("given")).provider.name == "openai-compatible"
        with pytest.raises(InvalidError, match="model_unavailable"):
            await node.registry.resolve("scripted")


async def test_an_alias_of_the_operator_is_used_and_said(tmp_path: Path, server: ScriptedServer) -> None:
    settings = settings_in(tmp_path, openai_base_url=server.openai, model_aliases={"gpt-4o": "scripted"})
    async with LocalNode(settings) as node:
        found = await node.registry.resolve("gpt-4o")
        assert (found.provider.name, found.model, found.alias) == ("openai-compatible", "scripted", "gpt-4o")


@pytest.mark.parametrize(("own", "sent"), [(OWN, "Bearer sk-for-the-own-server"), (None, None)])
async def test_the_own_server_gets_its_own_key_and_never_a_hosted_one(
    tmp_path: Path, server: ScriptedServer, own: SecretStr | None, sent: str | None
) -> None:
    settings = settings_in(
        tmp_path,
        openai_base_url=server.openai,
        openai_models=("scripted",),
        openai_api_key=own,
        hosted_openai_api_key=OPENAI,
        hosted_anthropic_api_key=ANTHROPIC,
    )
    async with LocalNode(settings) as node:
        (provider,) = [one for one in node.registry._providers if one.name == "openai-compatible"]
        await provider.complete("scripted", REQUEST, None)
    (request,) = server.stats()["requests"]
    head = dict(line.split(": ", 1) for line in request["head"].split("\r\n")[1:])
    assert head.get("Authorization") == sent
    assert "sk-for-openai" not in request["head"]
    assert "sk-for-anthropic" not in request["head"]


async def test_each_named_server_gets_its_own_key(tmp_path: Path, server: ScriptedServer) -> None:
    servers = {"ollama": server.openai, "vllm": server.openai}
    async with LocalNode(settings_in(tmp_path, model_servers=servers, model_keys={"vllm": OWN})) as node:
        for name in ("ollama", "vllm"):
            found = await node.registry.resolve(f"{name}/scripted")
            await found.provider.complete(found.model, REQUEST, None)
    ollama, vllm = (request["head"].lower() for request in server.stats()["requests"])
    assert "authorization" not in ollama
    assert "authorization: bearer sk-for-the-own-server" in vllm


async def test_openrouter_shares_its_calls_over_its_keys(tmp_path: Path, server: ScriptedServer) -> None:
    settings = settings_in(tmp_path, openrouter_api_key1=OWN, openrouter_api_key3=OPENAI, openrouter_base_url=server.openai)
    async with LocalNode(settings) as node:
        found = await node.registry.resolve("openrouter/scripted")
        for _ in range(2):
            assert (await found.provider.complete(found.model, REQUEST, None)).model.provider == "openrouter"
    heads = "".join(request["head"] for request in server.stats()["requests"])
    assert "sk-for-the-own-server" in heads
    assert "sk-for-openai" in heads


@pytest.mark.parametrize(
    ("own", "model"),
    [({}, "x-ai/grok-4-fast"), ({"grok-4-fast": "other"}, "other"), ({"x-ai/grok-4-fast": "other"}, None)],
)
async def test_the_short_name_of_the_default_model_is_an_alias_unless_the_operator_says_otherwise(
    tmp_path: Path, server: ScriptedServer, own: dict[str, str], model: str | None
) -> None:
    server.reset({"models": ["x-ai/grok-4-fast", "other"]})
    settings = settings_in(tmp_path, openrouter_api_key=OWN, openrouter_base_url=server.openai, model_aliases=own)
    async with LocalNode(settings) as node:
        if model is None:
            with pytest.raises(InvalidError, match="model_unavailable"):
                await node.registry.resolve("grok-4-fast")
        else:
            found = await node.registry.resolve("grok-4-fast")
            assert (found.provider.name, found.model, found.alias) == ("openrouter", model, "grok-4-fast")


async def test_another_anthropic_server_gets_the_anthropic_key(tmp_path: Path, server: ScriptedServer) -> None:
    settings = settings_in(tmp_path, hosted_anthropic_api_key=ANTHROPIC, anthropic_base_url=server.url)
    async with LocalNode(settings) as node:
        (provider,) = [one for one in node.registry._providers if one.name == "anthropic"]
        await provider.complete("scripted", REQUEST, None)
    assert "x-api-key: sk-for-anthropic" in server.stats()["requests"][0]["head"].lower()


async def test_servers_are_asked_through_the_proxy_that_the_operator_names(tmp_path: Path) -> None:
    listing = b'{"data":[{"id":"m"}]}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(listing), listing)
    with raw_server(always(answer)) as proxy:
        place = SecretStr(f"http://me:sk-of-the-proxy@127.0.0.1:{proxy.port}")
        settings = settings_in(tmp_path, openai_base_url="http://models.example/v1", model_proxy=place)
        async with LocalNode(settings) as node:
            assert (await node.registry.resolve("m")).provider.name == "openai-compatible"
    assert proxy.requests[0].startswith(b"GET http://models.example/v1/models HTTP/1.1\r\nHost: models.example\r\n")


@pytest.mark.parametrize("place", ["http://me:sk-in-the-url@host:port", "socks5://me:sk-in-the-url@host"])
async def test_a_proxy_that_is_none_is_refused_without_quoting_it(tmp_path: Path, place: str) -> None:
    async with LocalNode(settings_in(tmp_path, openai_base_url=URL, model_proxy=SecretStr(place))) as node:
        with pytest.raises(InvalidError, match="bad_proxy") as caught:
            _ = node.registry
    assert "sk-in-the-url" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/v1", "http://user:sk-in-the-url@host/v1", "http://"])
async def test_a_wrong_base_url_is_refused_without_quoting_it(tmp_path: Path, url: str) -> None:
    async with LocalNode(settings_in(tmp_path, openai_base_url=url)) as node:
        with pytest.raises(InvalidError, match="bad_base_url") as caught:
            _ = node.registry
    assert "sk-in-the-url" not in str(caught.value)


class Echo(ScriptedModel):
    """A wire format that no release speaks."""

    settings_class = ServerSettings

    def __init__(self, settings: ServerSettings, http: HttpClient) -> None:
        super().__init__(name=settings.name)
        self.settings = settings


async def test_a_line_in_the_table_is_what_makes_a_wire_format_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "openai", f"{__name__}:Echo")
    async with LocalNode(settings_in(tmp_path, openai_base_url=URL, openai_models=("a",), openai_api_key=OWN)) as node:
        first, last = node.registry._providers
    assert isinstance(first, Echo)
    assert first.settings == ServerSettings(URL, OWN, ("a",), "openai-compatible")
    assert last.name == "local"


@pytest.mark.parametrize("wire", ["openai", "anthropic", "local"])
async def test_a_line_that_is_gone_makes_it_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: str) -> None:
    monkeypatch.delitem(TABLE, wire)
    async with LocalNode(settings_in(tmp_path, hosted_openai_api_key=OPENAI, hosted_anthropic_api_key=ANTHROPIC)) as node:
        with pytest.raises(InvalidError, match="unknown_wire_format"):
            _ = node.registry


async def test_the_blocks_are_in_its_home(tmp_path: Path) -> None:
    async with LocalNode(settings_in(tmp_path)) as node:
        assert node.blocks.path == node.settings.home / "blocks"


async def test_making_a_node_opens_and_writes_nothing(tmp_path: Path) -> None:
    async with LocalNode(settings_in(tmp_path, openai_base_url=URL)) as node:
        assert node.public_key() is None
        assert node.journal is node.journal
        assert node.blocks is node.blocks
        assert node.registry is node.registry
    assert list(tmp_path.iterdir()) == []


async def test_leaving_the_node_stops_its_threads(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with LocalNode(settings_in(tmp_path)) as node:
        await node.journal.latest("nothing")
        assert set(threading.enumerate()) > before
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in left if not name.startswith("asyncio")} == set()


async def test_the_node_signs_with_the_key_of_its_home(tmp_path: Path) -> None:
    async with LocalNode(settings_in(tmp_path)) as node:
        key, is_new = node.signing_key()
        assert is_new
        assert node.public_key() == public_key_of(key)
        assert node.signing_key() == (key, False)
    async with LocalNode(settings_in(tmp_path)) as again:
        assert again.public_key() == public_key_of(key)


async def test_every_secret_that_is_set_is_struck_out(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, openai_api_key=OWN, hosted_openai_api_key=OPENAI, hosted_anthropic_api_key=ANTHROPIC)
    async with LocalNode(settings) as node:
        for secret in (OWN, OPENAI, ANTHROPIC):
            assert secret.get_secret_value() not in node.secrets.strike(f"it is {secret.get_secret_value()}.")
