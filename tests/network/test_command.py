"""``orca devnet`` as its user meets it: what it says, what it leaves behind, and what a proof of it is worth afterwards."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.network.harness import spec_of
from tests.walk.commands import Ended, Shell

pytestmark = [pytest.mark.network, pytest.mark.timeout(240)]
PRICE = "1500000"


def processes_of(folder: Path) -> dict[int, bytes]:
    """What runs for a devnet: whatever has its folder as a place to work, in its command line, or in its environment."""
    place, found = os.fsencode(folder), {}
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            words = (process / "cmdline").read_bytes()
            said = words + (process / "environ").read_bytes() + os.fsencode((process / "cwd").readlink())
        except OSError:
            continue
        if place in said:
            found[int(process.name)] = words[:200]
    return found


def until_none(folder: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == {}


@dataclass(frozen=True)
class Scene:
    """A folder for a devnet, a shell, and the models that its nodes ask."""

    shell: Shell
    data: Path
    spec: Path
    models: ScriptedServer

    def once(self) -> Ended:
        return self.shell.orca("devnet", "--once", self.spec, "--data", self.data, "--json")

    def verify(self, cid: str) -> dict[str, Any]:
        ended = self.shell.orca("verify", cid, "--devnet", self.data, "--json")
        assert ended.code == 0, ended.stdout + ended.stderr
        checks = {check["check"]: check["verdict"] for check in ended.document["checks"]}
        return {"vote": ended.document["vote"], **checks}


@pytest.fixture(scope="module")
def scene(open_folder: Path) -> Iterator[Scene]:
    home = open_folder / "command"
    data = home / "devnet"
    data.mkdir(parents=True, mode=0o711)
    home.chmod(0o711)
    spec = home / "spec.json"
    spec.write_bytes(spec_of())
    with scripted_server(max_seconds=1200) as models:
        try:
            yield Scene(Shell(home, {"ORCA_OPENAI_BASE_URL": models.openai}), data, spec, models)
        finally:
            for process in processes_of(data):  # whatever a failed test has left of its own
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def failed(scene: Scene) -> Ended:
    """The first run in the folder, with a model server that refuses everything."""
    fault = {"faults": [{"kind": "status", "status": 400}]}
    scene.models.reset({"models": ["scripted"], "honest": True, "agents": {"A0": fault}})
    return scene.once()


@pytest.fixture(scope="module")
def paid(scene: Scene, failed: Ended) -> Ended:
    """A second run in the same folder, in which the item of the first still waits."""
    scene.models.reset({"models": ["scripted"], "honest": True})
    return scene.once()


def test_an_item_that_no_node_can_do_ends_the_command_with_step_and_reason_and_nothing_runs_on(scene: Scene, failed: Ended) -> None:
    assert failed.code == 1, failed.stderr
    assert (failed.document["code"], failed.document["step"]) == ("step_failed", "work")
    for name in ("node1", "node2", "node3"):
        assert f"{name}: given_back: result_not_payable" in failed.document["detail"]
    assert "FAILED at step “work”" in failed.stderr
    until_none(scene.data, 0)


def test_a_second_run_in_the_same_folder_is_paid_and_leaves_no_process(scene: Scene, paid: Ended) -> None:
    assert paid.code == 0, paid.stderr
    document = paid.document
    assert set(document) == {"work_item", "cid", "worker", "round", "price", "before", "after", "verify"}
    gained = {key: int(document["after"][key]) - int(before) for key, before in document["before"].items()}
    assert gained == {key: int(PRICE) if key == document["worker"] else 0 for key in document["before"]}
    assert (len(gained), document["price"]) == (3, PRICE)
    until_none(scene.data, 0)


SOUND = {"vote": "approve", "integrity": "valid", "authenticity": "valid", "eligibility": "valid", "replay": "valid"}


def test_its_proof_is_sound_when_the_devnet_is_gone_and_while_it_runs_whose_end_is_everybodys(scene: Scene, paid: Ended) -> None:
    cid = paid.document["cid"]
    said = scene.verify(cid)
    assert {name: said[name] for name in SOUND} == SOUND
    until_none(scene.data, 0)

    with scene.shell.running("devnet", "--data", scene.data, "--json") as devnet:
        assert devnet.stdout is not None
        where = json.loads("".join(iter(devnet.stdout.readline, "}\n")) + "}")
        assert set(where) == {"middle_server", "chain", "api_key"}
        assert scene.verify(cid) == said
        assert len(processes_of(scene.data)) > 6
        devnet.send_signal(signal.SIGKILL)
        devnet.wait(timeout=30)
        until_none(scene.data, 60)
    assert scene.verify(cid) == said
    until_none(scene.data, 0)
