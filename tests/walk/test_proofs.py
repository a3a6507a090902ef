"""Where proofs are kept, as an operator meets it: a node, a Kubo beside it, and commands in another shell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.integration.kubo.conftest import ours, program
from tests.integration.kubo.daemon import Daemon
from tests.walk.commands import Shell
from tests.walk.test_agent import Agent, agent, spec_of

__all__ = ["ours", "program"]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path, models: ScriptedServer, database_url: str) -> Shell:
    models.reset({"models": ["scripted"]})
    return Shell(tmp_path, {"ORCA_OPENAI_BASE_URL": models.openai, "DATABASE_URL": database_url, "ORCA_KUBO_URL": "none"})


def until(look: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def proved(running: Agent) -> str:
    run_id = running.store(spec_of("A"))
    until(lambda: running.run(run_id)["status"] == "success")
    return str(running.client.get(f"/v1/runs/{run_id}/proof").json()["cid"])


def kept(running: Agent, cid: str) -> dict[str, str]:
    found = running.client.get(f"/v1/proofs/{cid}").json()
    return {one["store"]: one["stage"] for one in found["stores"]} if found["safe"] else {}


def test_a_proof_is_pinned_checked_listed_and_collected(shell: Shell, ours: Daemon) -> None:
    shell.environment["ORCA_KUBO_URL"] = ours.rpc
    shell.environment["ORCA_RETENTION_DAYS"] = "0.0002"  # 17 s
    with agent(shell) as running:
        shell.environment["ORCA_AGENT_URL"] = str(running.client.base_url)
        cid = proved(running)
        assert until(lambda: kept(running, cid)) == {"local": "kept", "kubo": "kept"}
        listed = shell.orca("proofs", "list")
        assert (listed.code, listed.stdout.split()[:3]) == (0, [cid, "own", "safe:"])
        checked = shell.orca("proofs", "check", cid, "--json")
        assert checked.code == 0
        assert [one["state"] for one in checked.document["stores"]] == ["kept", "kept"]
        assert checked.document["stores"][1]["path"] == f"gateway {ours.gateway}"
        assert f"Kubo 0.38.1 at {ours.rpc}" in shell.orca("doctor").stdout
        stores = {one["store"]: one for one in running.client.get("/v1/stores").json()["stores"]}
        assert {name: one["state"] for name, one in stores.items()} == {"local": "ok", "kubo": "ok"}
        ours.ipfs("pin", "rm", cid)
        gone = shell.orca("proofs", "check", cid)
        assert gone.code == 1
        assert "kubo       gone     Kubo does not pin" in gone.stdout
        named = until(lambda: shell.orca("proofs", "collect", "--dry-run", "--json").document["collected"])
        assert named == [cid]
        assert shell.orca("proofs", "collect").stdout.split() == [cid]
        assert "collected 2" in shell.orca("proofs", "list").stdout
        assert running.stop() == 0


def test_a_kubo_that_is_down_stops_nothing_and_is_said(shell: Shell) -> None:
    shell.environment["ORCA_KUBO_URL"] = "http://127.0.0.1:9"
    with agent(shell) as running:
        shell.environment["ORCA_AGENT_URL"] = str(running.client.base_url)
        cid = proved(running)

        def tried() -> Any:
            stores = running.client.get(f"/v1/proofs/{cid}").json()["stores"]
            return {one["store"]: one for one in stores if one["tries"] or one["stage"] == "kept"}

        found = until(lambda: len(tried()) == 2 and tried())
        assert (found["local"]["stage"], found["kubo"]["stage"]) == ("kept", "wanted")
        assert "is `ipfs daemon` running there?" in found["kubo"]["error"]
        listed = shell.orca("proofs", "list")
        assert (listed.code, "NOT SAFE" in listed.stdout) == (1, True)
        assert shell.orca("proofs", "check", cid).code == 2
        doctor = shell.orca("doctor", "--json")
        (finding,) = [one for one in json.loads(doctor.stdout) if one["part"] == "store: kubo"]
        assert (doctor.code, finding["state"]) == (1, "broken")
        assert "ipfs daemon" in finding["remedy"]
        assert running.client.get("/v1/proofs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku").status_code == 404
        assert running.stop() == 0


def test_without_a_node_it_is_said_whom_to_ask(shell: Shell) -> None:
    shell.environment["ORCA_AGENT_URL"] = "http://127.0.0.1:9"
    assert shell.orca("proofs", "list").code == 2
    assert shell.orca("proofs", "check", "no-cid").code == 1
