"""``orca run`` and ``orca verify`` as a user meets them: real processes, a model server in another one, homes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proof_store.blocks import DirectoryBlocks
from proof_store.car import write_car
from proof_store.cid import Cid
from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.walk.commands import Ended, Shell

REFUSING = {"faults": [{"kind": "status", "status": 400, "message": "no"}]}
SECONDS = 60


@pytest.fixture(scope="module")
def server_process() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def server(server_process: ScriptedServer) -> ScriptedServer:
    server_process.reset({})
    return server_process


@pytest.fixture
def shell(tmp_path: Path, server: ScriptedServer) -> Shell:
    return Shell(tmp_path, {"ORCA_OPENAI_BASE_URL": server.openai})


def write_spec(folder: Path, *names: str, **fields: Any) -> Path:
    agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in names]
    path = folder / "spec.json"
    path.write_text(json.dumps({"task": "TASK", "swarm_type": "ConcurrentWorkflow", "agents": agents, **fields}))
    return path


def runs_in(home: Path) -> int:
    """Count the runs that the journal knows of."""
    database = home / "orca" / "journal.db"
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as db:
        return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])


@dataclass(frozen=True)
class Proved:
    """A run of two agents that was proven, and the home it was made in."""

    shell: Shell
    ended: Ended
    folder: Path
    car: Path

    @property
    def cid(self) -> str:
        return str(self.ended.document["proof"]["cid"])

    @property
    def signer(self) -> str:
        return str(self.ended.document["proof"]["signer"])

    def named(self, how: str) -> str:
        return {"folder": str(self.folder), "car": str(self.car), "cid": self.cid}[how]


@pytest.fixture(scope="module")
def proved(server_process: ScriptedServer, tmp_path_factory: pytest.TempPathFactory) -> Proved:
    home = tmp_path_factory.mktemp("home")
    server_process.reset({})
    shell = Shell(home, {"ORCA_OPENAI_BASE_URL": server_process.openai})
    spec = write_spec(home, "A", "B", name="N", description="D", max_loops=2)
    ended = shell.orca("run", spec, "--out", home / "proof", "--json")
    assert ended.code == 0, ended.stderr
    car = home / "proof.car"
    with car.open("wb") as file:
        write_car(Cid.parse(ended.document["proof"]["cid"]), DirectoryBlocks(home / "orca" / "blocks"), file)
    return Proved(shell, ended, home / "proof", car)


def checks(ended: Ended) -> dict[str, tuple[str, str]]:
    return {check["check"]: (check["verdict"], check["code"]) for check in ended.document["checks"]}


SOUND = {
    "integrity": ("valid", "ok"),
    "authenticity": ("valid", "ok"),
    "eligibility": ("not_applicable", "no_lease"),
    "replay": ("valid", "ok"),
    "inference": ("not_measured", "closed_model"),
}


# orca run


def test_a_run_prints_the_response_of_the_swarms_api_and_its_proof(proved: Proved) -> None:
    response = proved.ended.document
    usage, proof = response.pop("usage"), response.pop("proof")
    assert response.pop("job_id")
    assert response.pop("execution_time") >= 0
    assert response == {
        "status": "success",
        "swarm_name": "N",
        "description": "D",
        "swarm_type": "ConcurrentWorkflow",
        "resolved_swarm_type": "ConcurrentWorkflow",
        "task": "TASK",
        "output": [{"role": name, "content": f"out({name},{loop})"} for loop in (1, 2) for name in ("A", "B")],
        "stopped": None,
        "number_of_agents": 2,
    }
    assert (usage["calls"], usage["output_tokens"], usage["unreported_calls"], usage["cost"]) == (4, 4, 0, None)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert set(proof) == {"cid", "path", "signer"}
    assert proof["path"] == str(proved.folder)
    assert sorted(path.name for path in proved.folder.iterdir()) == [
        "journal.jsonl",
        "output.json",
        "spec.json",
        "statement.dsse.json",
    ]


def test_progress_stands_on_stderr_and_says_who_answers(proved: Proved) -> None:
    said = proved.ended.stderr
    assert "scripted" in next(line for line in said.splitlines() if line.startswith("model "))
    assert said.count("[A] asked") == 2
    assert said.count("[B] answered") == 2
    assert "made a key for this node" in said
    assert "out(A,1)" not in said  # only with --follow


def test_follow_shows_each_agent_as_it_speaks_and_the_result_stands_on_stdout(shell: Shell, server: ScriptedServer) -> None:
    server.reset({"agents": {"A": {"reply": "what A said word by word"}, "B": {"reply": "and B"}}})
    ended = shell.orca("run", write_spec(shell.home, "A", "B", swarm_type="SequentialWorkflow"), "--follow")
    assert ended.code == 0
    assert "[A] what A said word by word\n" in ended.stderr
    assert "[B] and B\n" in ended.stderr
    assert ended.stdout == "## A\n\nwhat A said word by word\n\n## B\n\nand B\n\n"
    assert ended.stderr.splitlines()[-1].startswith("success: 2 calls")


def test_a_partial_run_ends_with_1_and_its_json_is_printed_and_can_be_proven(shell: Shell, server: ScriptedServer) -> None:
    server.reset({"agents": {"B": REFUSING}})
    ended = shell.orca("run", write_spec(shell.home, "A", "B"), "--out", "proof", "--json")
    assert ended.code == 1
    assert ended.document["status"] == "partial"
    assert ended.document["output"][0] == {"role": "A", "content": "out(A,1)"}
    assert ended.document["output"][1]["content"] is None
    assert ended.document["output"][1]["error"]["code"] == "bad_request"
    verified = shell.orca("verify", "proof", "--json")
    assert (verified.code, checks(verified)) == (0, SOUND)


def test_a_timeout_ends_the_run_and_keeps_what_was_answered(shell: Shell, server: ScriptedServer) -> None:
    server.reset({"agents": {"B": {"faults": [{"kind": "hang"}]}}})
    ended = shell.orca("run", write_spec(shell.home, "A", "B"), "--timeout", "1", "--json")
    assert ended.code == 1
    assert (ended.document["status"], ended.document["stopped"]) == ("partial", "deadline")
    assert ended.document["output"][0]["content"] == "out(A,1)"
    assert ended.document["output"][1]["error"]["code"] == "deadline"
    assert 1 <= ended.document["execution_time"] < 20


def test_a_full_folder_is_refused_before_any_call(shell: Shell, server: ScriptedServer) -> None:
    taken = shell.home / "taken"
    taken.mkdir()
    (taken / "notes").write_text("precious")
    ended = shell.orca("run", write_spec(shell.home, "A"), "--out", taken, "--json")
    assert (ended.code, ended.document["code"]) == (1, "folder_not_empty")
    assert [path.name for path in taken.iterdir()] == ["notes"]
    assert server.stats()["total"] == 0
    assert not (shell.home / "orca").exists()


def test_an_unknown_model_is_refused_before_any_call(shell: Shell, server: ScriptedServer) -> None:
    spec = write_spec(shell.home, "A")
    spec.write_text(spec.read_text().replace('"scripted"', '"gpt-9"'))
    ended = shell.orca("run", spec, "--out", "proof", "--json")
    assert (ended.code, ended.document["code"]) == (1, "model_unavailable")
    assert "'gpt-9'" in ended.document["detail"]
    assert "scripted" in ended.document["detail"]
    assert (server.stats()["total"], runs_in(shell.home)) == (0, 0)
    assert not (shell.home / "proof").exists()


def test_a_malformed_spec_is_refused_by_its_field_and_nothing_is_written(shell: Shell, server: ScriptedServer) -> None:
    """Every kind of malformed spec: tests/unit/orca/test_exit_codes.py."""
    spec = write_spec(shell.home, "A", "B", max_loops=0)
    ended = shell.orca("run", spec, "--out", "proof")
    assert ended.code == 1
    assert ended.stdout == ""
    assert "max_loops" in ended.stderr
    assert [path.name for path in shell.home.iterdir()] == ["spec.json"]
    assert server.stats()["total"] == 0


# orca verify


@pytest.mark.parametrize("how", ["folder", "cid", "car"])
def test_the_node_that_made_a_proof_verifies_it(proved: Proved, how: str) -> None:
    ended = proved.shell.orca("verify", proved.named(how), "--json")
    assert checks(ended) == SOUND
    assert (ended.code, ended.document["vote"]) == (0, "approve")
    assert ended.document["proof"] == proved.named(how)
    assert ended.document["checks"][0]["detail"].endswith(proved.cid)


@pytest.fixture
def stranger(tmp_path: Path) -> Shell:
    """Another node with a key of its own and nothing else."""
    shell = Shell(tmp_path)
    assert shell.orca("key", "new").code == 0
    return shell


def test_another_node_must_be_told_the_signer(proved: Proved, stranger: Shell) -> None:
    untold = stranger.orca("verify", proved.folder, "--json")
    assert checks(untold) == {**SOUND, "authenticity": ("not_measured", "signer_unknown")}
    assert (untold.code, untold.document["vote"]) == (2, "abstain")

    told = stranger.orca("verify", proved.car, "--signer", proved.signer)
    assert told.code == 0
    lines = told.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(SOUND)
    assert "closed_model" in lines[4]
    assert all(line.endswith(" ms)") for line in lines[:-1])
    assert lines[-1] == "SOUND: valid: integrity, authenticity, replay"

    deceived = stranger.orca("verify", proved.folder, "--signer", "1" * 32, "--level", "replay", "--json")
    assert deceived.code == 1
    assert checks(deceived)["authenticity"] == ("mismatch", "signer")
    assert "inference" not in checks(deceived)


def test_a_proof_that_another_node_does_not_have_cannot_be_judged(proved: Proved, stranger: Shell) -> None:
    ended = stranger.orca("verify", proved.cid, "--signer", proved.signer, "--json")
    assert (ended.code, ended.document["vote"]) == (2, "abstain")
    assert {verdict for verdict, _ in checks(ended).values()} == {"not_measured"}


def test_a_folder_in_which_one_letter_of_an_answer_was_changed_is_refused(proved: Proved, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(proved.folder, forged)
    journal = (forged / "journal.jsonl").read_bytes()
    assert journal.count(b"out(B,2)") == 1
    (forged / "journal.jsonl").write_bytes(journal.replace(b"out(B,2)", b"out(B,3)"))
    ended = proved.shell.orca("verify", forged, "--json")
    assert (ended.code, ended.document["vote"]) == (1, "reject")
    assert checks(ended)["authenticity"] == ("mismatch", "digest_differs")
    assert checks(ended)["replay"] == ("mismatch", "output_differs")


def test_a_car_in_which_one_letter_of_an_answer_was_changed_is_refused(proved: Proved, tmp_path: Path) -> None:
    forged = tmp_path / "forged.car"
    forged.write_bytes(proved.car.read_bytes().replace(b"out(B,2)", b"out(B,3)", 1))
    assert forged.read_bytes() != proved.car.read_bytes()
    ended = proved.shell.orca("verify", forged, "--json")
    assert (ended.code, ended.document["vote"]) == (1, "reject")
    assert checks(ended)["integrity"] == ("mismatch", "block_corrupt")


# Interrupts, and several processes on one home


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Read the command's progress until a line begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return
    pytest.fail(f"the command ended without saying {beginning!r}")


def test_an_interrupted_run_leaves_nothing_running_says_how_to_go_on_and_goes_on(shell: Shell, server: ScriptedServer) -> None:
    server.reset({"agents": {"B": {"faults": [{"kind": "hang"}]}}})
    spec = write_spec(shell.home, "A", "B")
    with shell.running("run", spec, "--json") as process:
        wait_for(process, "[A] answered")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert json.loads(out)["code"] == "interrupted"
    assert err == f"interrupted; go on with: orca run {spec} --resume\n"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert server.stats()["in_flight"] == 0

    server.reset({})
    resumed = shell.orca("run", spec, "--resume", "--json")
    assert resumed.code == 0
    assert resumed.document["output"] == [{"role": name, "content": f"out({name},1)"} for name in ("A", "B")]
    assert server.stats()["calls"] == {"B": 1}
    assert "1 answers in the journal, 1 calls asked again" in resumed.stderr
    assert runs_in(shell.home) == 1


def test_resuming_a_run_that_has_ended_asks_nothing_and_says_the_same(proved: Proved, server: ScriptedServer) -> None:
    again = proved.shell.orca("run", proved.shell.home / "spec.json", "--resume", "--json")
    assert again.code == 0
    first = proved.ended.document
    del first["proof"]
    assert again.document == first
    assert server.stats()["total"] == 0


def test_an_interrupt_before_a_run_began_is_quiet_too(shell: Shell) -> None:
    """A model server that accepts the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shell.environment["ORCA_OPENAI_BASE_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with shell.running("models") as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def test_two_first_runs_on_one_home_at_once_both_succeed_with_one_key(shell: Shell, server: ScriptedServer) -> None:
    server.reset({"agents": {"A": {"latency_ms": 200}}})
    spec = write_spec(shell.home, "A", "B")
    with shell.running("run", spec, "--out", "one", "--json") as one, shell.running("run", spec, "--out", "two", "--json") as two:
        said = [process.communicate(timeout=SECONDS) for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), said
    documents = [json.loads(out) for out, _ in said]
    assert documents[0]["job_id"] != documents[1]["job_id"]
    assert documents[0]["proof"]["signer"] == documents[1]["proof"]["signer"]
    assert server.stats()["total"] == 4
    assert runs_in(shell.home) == 2
    for document in documents:
        assert shell.orca("verify", document["proof"]["cid"], "--level", "replay").code == 0


def test_a_run_that_another_process_took_over_writes_nothing_more_and_says_so(shell: Shell, server: ScriptedServer) -> None:
    """The first process is stopped while its call is under way, as on a laptop that is closed, and wakes up too late."""
    server.reset({"agents": {"A": {"latency_ms": 1000}}})
    spec = write_spec(shell.home, "A")
    with shell.running("run", spec) as slept:
        wait_for(slept, "[A] asked")
        while not server.stats()["total"]:
            time.sleep(0.01)
        slept.send_signal(signal.SIGSTOP)
        server.reset({"reply": "the second process's answer"})
        second = shell.orca("run", spec, "--resume", "--json")
        assert second.code == 0, second.stderr
        assert second.document["output"][0]["content"] == "the second process's answer"
        slept.send_signal(signal.SIGCONT)
        _, err = slept.communicate(timeout=SECONDS)
    assert slept.returncode == 1
    assert "[run_taken_over]" in err
    assert shell.orca("run", spec, "--resume", "--json").document["output"] == second.document["output"]


# Secrets


def test_a_key_that_servers_and_models_repeat_appears_nowhere(shell: Shell, server: ScriptedServer) -> None:
    key = "hunter2-correct-horse-battery-staple"
    refusal = {"kind": "status", "status": 401, "message": f"Incorrect API key provided: {key}. Check it."}
    inside_a_200 = {"kind": "raw", "message": json.dumps({"error": {"message": f"bad key {key}", "code": 400}})}
    agents = {
        "A": {"reply": f"my key is {key}, and {key} again"},
        "B": {"faults": [refusal]},
        "C": {"faults": [inside_a_200]},
        "D": {"reply": key},
    }
    server.reset({"agents": agents})
    shell.environment["ORCA_OPENAI_API_KEY"] = key
    spec = write_spec(shell.home, "A", "B", "C", "D", max_loops=2)
    ended = shell.orca("run", spec, "--out", "proof", "--json")
    assert ended.document["status"] == "partial"
    assert "my key is" in ended.document["output"][0]["content"]
    assert "Incorrect API key provided" in ended.stderr
    asked = server.stats()["requests"]
    assert all(f"Bearer {key}" in request["head"] for request in asked)
    assert [request for request in asked if key in json.dumps(request["request"])] == []  # not handed on to other agents
    verified = shell.orca("verify", "proof")
    assert verified.code == 0

    places = {str(path): path.read_bytes() for path in shell.home.rglob("*") if path.is_file()}
    assert {path.name for path in map(Path, places)} > {"journal.db", "journal.jsonl", "output.json"}
    for name, said in (("run", ended), ("verify", verified)):
        places |= {f"stdout of {name}": said.stdout.encode(), f"stderr of {name}": said.stderr.encode()}
    assert [name for name, data in places.items() if key.encode() in data] == []


def test_a_proof_can_be_written_as_one_file_and_verified_from_it(shell: Shell, server: ScriptedServer) -> None:
    spec = write_spec(shell.home, "A")
    made = shell.orca("run", spec, "--out", "proof.car", "--json")
    assert made.code == 0, made.stderr
    verified = shell.orca("verify", "proof.car", "--level", "replay", "--json")
    assert (verified.code, verified.document["cid"]) == (0, made.document["proof"]["cid"])
    again = shell.orca("run", spec, "--out", "proof.car", "--json")
    assert (again.code, again.document["code"]) == (1, "folder_not_empty")
