"""The key of a model server appears nowhere: not on the screen, not in the journal, not in a proof; whole or in part."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca.console import Console, Ended

KEY = "hunter2-correct-horse-battery"


def leaks(console: Console, ended: Ended, *secrets: str) -> list[str]:
    """Name every place that holds one of ``secrets``."""
    places = {str(path): path.read_bytes() for path in console.folder.rglob("*") if path.is_file() and path.name != "spec.json"}
    places |= {"stdout": ended.stdout.encode(), "stderr": ended.stderr.encode()}
    return [name for name, data in places.items() if any(secret.encode() in data for secret in secrets)]


def run(console: Console, server: ScriptedServer, script: dict[str, Any], *options: str, key: str = KEY) -> Ended:
    server.reset(script)
    console.set(ORCA_OPENAI_API_KEY=key)
    return console("run", console.spec("A"), "--out", console.folder / "proof", *options)


def test_a_server_that_repeats_the_key_in_a_refusal(online: Console, server: ScriptedServer) -> None:
    fault = {"kind": "status", "status": 401, "message": f"Incorrect API key provided: {KEY}. You can find yours elsewhere."}
    ended = run(online, server, {"agents": {"A": {"faults": [fault]}}})
    assert "Incorrect API key provided" in ended.stdout
    assert leaks(online, ended, KEY) == []


def test_a_refusal_that_is_cut_off_in_the_middle_of_the_key(online: Console, server: ScriptedServer) -> None:
    for filler in range(50, 60):
        fault = {"kind": "status", "status": 401, "message": "word " * filler + KEY}
        ended = run(online, server, {"agents": {"A": {"faults": [fault]}}}, "--json")
        assert leaks(online, ended, KEY[:12]) == [], filler
        (online.folder / "proof").rename(online.folder / f"proof-{filler}")


@pytest.mark.parametrize("options", [(), ("--follow",)])
def test_a_model_that_repeats_the_key(online: Console, server: ScriptedServer, options: tuple[str, ...]) -> None:
    ended = run(online, server, {"agents": {"A": {"reply": f"the key is {KEY} indeed"}}}, *options)
    assert "the key is" in ended.stdout
    assert leaks(online, ended, KEY) == []


def test_a_model_that_says_the_key_in_several_pieces(online: Console, server: ScriptedServer) -> None:
    """Models speak token by token, so that no single piece is the key; the scripted server cuts at blanks."""
    key = "hunter2 correct horse battery"
    ended = run(online, server, {"agents": {"A": {"reply": f"the key is {key} indeed"}}}, "--follow", key=key)
    assert "the key is" in ended.stderr
    assert leaks(online, ended, key) == []


@pytest.mark.parametrize("escaped", [False, True])
def test_a_spec_that_contains_the_key_is_refused_however_it_is_spelt(
    online: Console, server: ScriptedServer, escaped: bool
) -> None:
    """Several JSON writers escape every slash."""
    key = "hunter2/correct/horse/battery"
    online.set(ORCA_OPENAI_API_KEY=key)
    text = json.dumps({"task": f"use {key}", "agents": [{"agent_name": "A", "model_name": "scripted"}]})
    ended = online("run", online.write(text.replace("/", "\\/") if escaped else text), "--json")
    assert ended.code == 1
    assert ended.document["code"] == "secret_in_spec"
    assert server.stats()["total"] == 0
    assert leaks(online, ended, key) == []


def test_a_server_that_repeats_the_key_when_it_is_asked_for_its_models(online: Console, server: ScriptedServer) -> None:
    server.reset({"listing": {"error": {"message": f"Incorrect API key provided: {KEY}"}}})
    online.set(ORCA_OPENAI_API_KEY=KEY)
    for command in ("models", "doctor"):
        assert leaks(online, online(command), KEY) == []
