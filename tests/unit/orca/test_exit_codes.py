"""The exit codes: 0 yes, 1 no, 2 could not tell, 64 wrong usage; and what stands where when it is not 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orca.key_file import load_key
from orca_agent.models.facts import ModelFacts
from orca_protocol.errors import UnavailableError
from orca_protocol.keys import public_key_of
from proof_store.builder import root_of
from proof_store.tree import write_tree
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.audit.packages import KEY, SIGNER, package
from tests.unit.orca.console import Console
from tests.unit.orca.test_examination import dead_url

CID = str(root_of(package()))

USAGE = {
    "no command": [],
    "no command of a group": ["key"],
    "an unknown command": ["frobnicate"],
    "an unknown command of a group": ["key", "frobnicate"],
    "an unknown option": ["doctor", "--frobnicate"],
    "a missing argument": ["verify"],
    "a missing argument of run": ["run"],
    "a port that is none": ["agent", "--port", "70000"],
    "no worker at all": ["agent", "--workers", "0"],
    "one argument too many": ["models", "everything"],
    "a level that is none": ["verify", CID, "--level", "half"],
    "a time that is none": ["run", "spec.json", "--timeout", "soon"],
    "no time at all": ["run", "spec.json", "--timeout", "0"],
    "a negative time": ["run", "spec.json", "--timeout=-1"],
    "not a number": ["run", "spec.json", "--timeout", "nan"],
    "a number that is none": ["key", "new", "--devnet", "x"],
    "an option without its value": ["run", "spec.json", "--out"],
}


@pytest.mark.parametrize("what", USAGE)
def test_wrong_usage_ends_with_64_and_an_explanation(console: Console, what: str) -> None:
    ended = console(*USAGE[what])
    assert ended.code == 64
    assert "--help" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert not console.home.exists()


def test_wrong_usage_is_named_on_stderr(console: Console) -> None:
    for named, arguments in {
        "'frobnicate'": ["frobnicate"],
        "--frobnicate": ["doctor", "--frobnicate"],
        "--timeout": ["run", "spec.json", "--timeout", "soon"],
        "--level": ["verify", CID, "--level", "half"],
    }.items():
        ended = console(*arguments)
        assert named in ended.stderr
        assert ended.stdout == ""


def test_without_a_word_the_commands_are_listed(console: Console) -> None:
    groups = {"": ["run", "verify", "agent", "doctor", "models", "key"], "key": ["new", "show", "import", "export"]}
    for group, commands in groups.items():
        ended = console(*group.split())
        assert [command for command in commands if f"\n  {command} " not in ended.stdout + ended.stderr] == []


@pytest.mark.parametrize("command", ["", "run", "verify", "agent", "doctor", "models", "key"])
def test_help_is_no_mistake(console: Console, command: str) -> None:
    ended = console(*command.split(), "--help")
    assert ended.code == 0
    assert "Usage:" in ended.stdout


def test_every_command_speaks_json(console: Console) -> None:
    for command in ["run", "verify", "agent", "doctor", "models", "key new", "key show", "key import", "key export"]:
        assert "--json" in console(*command.split(), "--help").stdout, command


# What was given is wrong: 1. The world did not answer: 2.


def test_what_is_wrong_ends_with_1_and_what_cannot_be_known_with_2(console: Console) -> None:
    (console.folder / "file").write_text("")
    assert console("key", "show").code == 1
    console.set(ORCA_KEY_FILE=str(console.folder / "file" / "id.json"))
    assert console("key", "show").code == 2


@pytest.mark.parametrize(("arguments", "code"), [(["key", "show"], "key_missing"), (["run", "/no-such-file"], "spec_unreadable")])
def test_with_json_an_error_is_a_problem_document_on_stdout(console: Console, arguments: list[str], code: str) -> None:
    ended = console(*arguments, "--json")
    assert ended.stderr == ""
    assert ended.document["type"] == f"urn:orca-node:problem:{code}"
    assert ended.document["code"] == code
    assert ended.document["detail"]
    plain = console(*arguments)
    assert plain.stdout == ""
    assert plain.stderr == f"orca: {ended.document['detail']} [{code}]\n"


@pytest.mark.parametrize("command", ["doctor", "models", "key show", f"verify {CID}", "run spec.json"])
def test_wrong_settings_are_refused_by_every_command(console: Console, command: str) -> None:
    console.spec("A")
    console.set(ORCA_MAX_IN_FLIGHT="many", ORCA_INFERENCE_RATE="7")
    ended = console(*command.split(), "--json")
    assert ended.code == 1
    assert ended.document["code"] == "settings"
    assert "ORCA_MAX_IN_FLIGHT" in ended.document["detail"]
    assert "ORCA_INFERENCE_RATE" in ended.document["detail"]


# orca run: 0 or 1, nothing else.


def test_a_run_that_succeeds_ends_with_0(online: Console) -> None:
    ended = online("run", online.spec("A", "B"), "--json")
    assert ended.code == 0
    assert ended.document["status"] == "success"


FAILING: dict[str, Any] = {"faults": [{"kind": "status", "status": 400, "message": "no"}]}


@pytest.mark.parametrize(("failing", "status"), [(("A",), "partial"), (("A", "B"), "error")])
def test_a_run_that_does_not_succeed_ends_with_1_and_prints_what_there_is(
    online: Console, server: ScriptedServer, failing: tuple[str, ...], status: str
) -> None:
    server.reset({"agents": dict.fromkeys(failing, FAILING)})
    spec = online.spec("A", "B")
    ended = online("run", spec, "--json")
    assert ended.code == 1
    assert ended.document["status"] == status
    assert ended.document["output"][0]["error"]["code"] == "bad_request"
    shown = online("run", spec)
    assert shown.code == 1
    assert "[bad_request]" in shown.stdout
    assert status in shown.stderr.splitlines()[-1]


def test_run_ends_with_1_even_where_the_world_did_not_answer(online: Console) -> None:
    assert online("run", "nowhere.json", "--json").document["code"] == "spec_unreadable"
    assert online("run", "nowhere.json").code == 1
    assert online("run", online.folder).code == 1
    online.home.write_text("a file in the way")
    ended = online("run", online.spec("A"), "--json")
    assert (ended.code, ended.document["code"]) == (1, "journal_unavailable")


AGENT = {"agent_name": "A", "model_name": "scripted"}


def agent(**fields: Any) -> dict[str, Any]:
    return {"task": "T", "agents": [{**AGENT, **fields}]}


#: what is wrong → the spec, the code, what the detail must name
MALFORMED: dict[str, tuple[Any, str, str]] = {
    "empty": (b"", "json_malformed", "line 1"),
    "cut off": (b'{"task": "T"', "json_malformed", "column"),
    "not UTF-8": (b'{"task": "\xff"}', "json_malformed", "byte 10"),
    "a key twice": (b'{"task": "T", "task": "U"}', "json_duplicate_key", "'task'"),
    "too deep": (b"[" * 500, "json_too_deep", "levels"),
    "too large": (b" " * (4 * 2**20 + 1), "json_oversize", "bytes"),
    "a number that is none": (b'{"task": NaN}', "json_number", "NaN"),
    "half a character": (b'{"task": "\\ud800"}', "json_surrogate", "surrogate"),
    "a list": ([], "schema", "object"),
    "no task": ({"agents": [AGENT]}, "schema", "task"),
    "an unknown field": ({**agent(), "tsak": 1}, "schema", "tsak"),
    "an unknown field of an agent": (agent(prompt="x"), "schema", "agents[0].prompt"),
    "an agent without a model": ({"task": "T", "agents": [{"agent_name": "A"}]}, "schema", "agents[0].model_name"),
    "an agent without a name": ({"task": "T", "agents": [{"model_name": "m"}]}, "schema", "agents[0].agent_name"),
    "no tokens": (agent(max_tokens=0), "schema", "agents[0].max_tokens"),
    "a number as text": (agent(max_tokens="16"), "schema", "agents[0].max_tokens"),
    "too hot": (agent(temperature=2.1), "schema", "agents[0].temperature"),
    "no loops": ({**agent(), "max_loops": 0}, "schema", "max_loops"),
    "a name twice": ({"task": "T", "agents": [AGENT, AGENT]}, "schema", "agents[1].agent_name"),
    "an unknown type": ({**agent(), "swarm_type": "Swarm"}, "schema", "swarm_type"),
    "too few agents": ({**agent(), "swarm_type": "GroupChat"}, "agents_too_few", "agents"),
    "no agents": ({"task": "T", "agents": []}, "no_agents", "agents"),
    "an image": ({**agent(), "img": "x"}, "img_malformed", "img"),
    "a flow": ({**agent(), "rearrange_flow": "A"}, "field_without_use", "rearrange_flow"),
    "a moment that is over": ({**agent(), "schedule": {"scheduled_time": "2026-01-01T00:00:00Z"}}, "schedule_past", "schedule"),
    "no time zone": (
        {**agent(), "schedule": {"scheduled_time": "2026-01-01T00:00:00", "timezone": "Berlin"}},
        "zone_unknown",
        "Europe/Berlin",
    ),
    "too many calls": ({**agent(max_loops=1000), "max_loops": 1000}, "too_many_calls", "max_loops"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_spec_is_refused_by_name_and_nothing_is_written(online: Console, server: ScriptedServer, what: str) -> None:
    content, code, named = MALFORMED[what]
    spec = online.write(content if isinstance(content, bytes) else json.dumps(content))
    ended = online("run", spec, "--out", online.folder / "proof", "--json")
    assert ended.code == 1
    assert ended.document["code"] == code
    assert named in ended.document["detail"]
    assert server.stats()["total"] == 0
    assert sorted(path.name for path in online.folder.iterdir()) == ["spec.json"]


def test_an_unknown_model_is_refused_with_those_that_there_are(online: Console, server: ScriptedServer) -> None:
    spec = online.write(json.dumps(agent(model_name="gpt-9")))
    ended = online("run", spec, "--json")
    assert (ended.code, ended.document["code"]) == (1, "model_unavailable")
    assert "'gpt-9'" in ended.document["detail"]
    assert "scripted" in ended.document["detail"]
    assert server.stats()["total"] == 0


def test_a_run_whose_models_server_does_not_answer_says_which_server_that_is(console: Console) -> None:
    console.set(ORCA_OPENAI_BASE_URL=dead_url())
    ended = console("run", console.write(json.dumps(agent())), "--json")
    assert (ended.code, ended.document["code"]) == (1, "model_unavailable")
    assert "could not be asked: openai-compatible (connect_failed" in ended.document["detail"]


@pytest.mark.parametrize("full", ["folder", "file"])
def test_a_proof_is_not_written_over_something_else_and_nothing_is_asked(
    online: Console, server: ScriptedServer, full: str
) -> None:
    taken = online.folder / "taken"
    if full == "folder":
        taken.mkdir()
        (taken / "notes").write_text("precious")
    else:
        taken.write_text("precious")
    ended = online("run", online.spec("A"), "--out", taken, "--json")
    assert (ended.code, ended.document["code"]) == (1, "folder_not_empty")
    assert (taken / "notes" if full == "folder" else taken).read_text() == "precious"
    assert server.stats()["total"] == 0
    assert not online.home.exists()


def test_a_proof_can_be_written_into_an_empty_folder_or_a_new_one_below_new_ones(online: Console) -> None:
    (online.folder / "empty").mkdir()
    for out in (online.folder / "empty", online.folder / "a" / "b"):
        assert online("run", online.spec("A"), "--out", out).code == 0
        assert (out / "statement.dsse.json").is_file()


def test_a_key_that_cannot_sign_is_found_before_anything_is_asked(online: Console, server: ScriptedServer) -> None:
    """Else the answers are paid for and the command that made them prints nothing of them."""
    online("key", "new")
    (online.home / "id.json").chmod(0o644)
    ended = online("run", online.spec("A"), "--out", online.folder / "proof", "--json")
    assert (ended.code, ended.document["code"]) == (1, "key_exposed")
    assert server.stats()["total"] == 0


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_asked(online: Console, server: ScriptedServer) -> None:
    (online.folder / "file").write_text("")
    ended = online("run", online.spec("A"), "--out", online.folder / "file" / "proof", "--json")
    assert ended.code == 1
    assert ended.document["code"] == "folder_unwritable"
    assert server.stats()["total"] == 0


def test_a_proof_that_fails_after_all_leaves_the_result_and_says_how_to_prove_it_again(
    online: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(files: object, folder: object) -> None:
        raise UnavailableError("storage_failed", "the disk is full")

    monkeypatch.setattr("proof_store.tree.write_tree", full)
    ended = online("run", online.spec("A"), "--out", online.folder / "proof", "--json")
    assert ended.code == 1
    assert ended.document["output"] == [{"role": "A", "content": "out(A,1)"}]
    assert "the disk is full" in ended.stderr
    assert "--resume --out" in ended.stderr


@pytest.mark.parametrize("timeout", ["inf", "1e300", "1e12"])
def test_a_very_long_timeout_is_wrong_usage_or_can_be_proven(online: Console, server: ScriptedServer, timeout: str) -> None:
    ended = online("run", online.spec("A"), "--timeout", timeout, "--out", online.folder / "proof", "--json")
    assert (ended.code, server.stats()["total"]) in [(0, 1), (1, 0), (64, 0)]


# orca verify: 0 sound, 1 refused, 2 could not tell.


@pytest.fixture
def proof(console: Console) -> Path:
    """A package of another node."""
    folder = console.folder / "proof"
    write_tree(package(), folder)
    return folder


def verified(console: Console, proof: Path | str, *options: str) -> tuple[int, str, str]:
    ended = console("verify", proof, "--level", "replay", "--json", *options)
    return ended.code, ended.document["vote"], ended.document["reason"]


def test_verify_tells_sound_refused_and_unknown_apart(console: Console, proof: Path) -> None:
    assert verified(console, proof, "--signer", SIGNER) == (0, "approve", "valid: integrity, authenticity, replay")
    assert verified(console, proof) == (2, "abstain", "authenticity: signer_unknown")
    (proof / "output.json").write_bytes((proof / "output.json").read_bytes() + b" ")
    assert verified(console, proof, "--signer", SIGNER)[:2] == (1, "reject")


def test_a_mismatch_refuses_even_where_the_signer_is_unknown(console: Console, proof: Path) -> None:
    (proof / "notes").write_text("smuggled")
    assert verified(console, proof) == (1, "reject", "integrity: file_unlisted")


def test_a_proof_that_is_not_here_cannot_be_judged(console: Console) -> None:
    assert verified(console, CID, "--signer", SIGNER)[:2] == (2, "abstain")


def test_the_nodes_own_key_needs_no_signer(console: Console, proof: Path) -> None:
    from orca.key_file import save_key

    save_key(KEY, console.home / "id.json")
    assert public_key_of(load_key(console.home / "id.json", network="none")) == SIGNER
    assert verified(console, proof)[0] == 0


def test_an_own_key_that_cannot_be_used_is_no_fault_of_the_proof(console: Console, proof: Path) -> None:
    """Exit 1 means that the proof was refused; this node's own trouble must not look like it."""
    console("key", "new")
    (console.home / "id.json").chmod(0o644)
    assert console("verify", proof, "--level", "replay", "--signer", SIGNER).code in (0, 2)
    assert console("verify", proof, "--level", "replay").code == 2


def test_an_empty_signer_is_not_the_same_as_none(console: Console, proof: Path) -> None:
    """``--signer "$KEY"`` with KEY unset must not fall back to the node's own key."""
    from orca.key_file import save_key

    save_key(KEY, console.home / "id.json")
    assert console("verify", proof, "--level", "replay", "--signer", "").code != 0


@pytest.mark.parametrize("name", ["nowhere", "proofs/nowhere", "Qm" + "1" * 44, "b" + "a" * 300, "-", "."])
def test_what_is_no_proof_is_never_sound_and_never_a_crash(console: Console, name: str) -> None:
    ended = console("verify", name, "--json")
    assert ended.code in (1, 2, 64)
    assert ended.document


def test_a_car_that_is_none_is_refused(console: Console) -> None:
    car = console.write(b"this is no CAR", "proof.car")
    assert verified(console, car)[:2] == (1, "reject")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ORCA_PACKAGE_MAX_BYTES", "1024"), ("ORCA_PACKAGE_MAX_LINE_BYTES", "1024"), ("ORCA_PACKAGE_MAX_SECONDS", "0.000001")],
)
def test_the_limits_on_a_strangers_proof_are_the_operators(console: Console, variable: str, value: str) -> None:
    spec = json.dumps({"task": "TASK " * 400, "agents": [AGENT]}).encode()
    write_tree(package(spec=spec), console.folder / "long")
    assert verified(console, console.folder / "long", "--signer", SIGNER)[0] == 0
    console.set(**{variable: value})
    code, _, reason = verified(console, console.folder / "long", "--signer", SIGNER)
    assert code != 0
    assert "integrity" in reason


def test_each_check_is_a_line_with_its_reason_and_its_cost(console: Console, proof: Path) -> None:
    ended = console("verify", proof, "--signer", SIGNER, "--level", "replay")
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["integrity", "authenticity", "eligibility", "replay"]
    assert all(line.endswith(" ms)") for line in lines[:-1])
    assert "no_lease" in lines[2]
    assert lines[-1] == "SOUND: valid: integrity, authenticity, replay"


# orca models: 0 if anything can answer.


def test_models_lists_what_there_is_with_its_provider(online: Console, server: ScriptedServer) -> None:
    server.reset({"models": ["scripted", "other"]})
    online.set(ORCA_MODEL_ALIASES="gpt-4o=scripted,gpt-5=nowhere")
    ended = online("models", "--json")
    assert ended.code == 0
    rows = {row["name"]: row for row in ended.document}
    known = ModelFacts(memory_bytes=0).document()
    assert rows["scripted"] == {"name": "scripted", "provider": "openai-compatible", "reachable": True, "detail": "", **known}
    assert (rows["gpt-4o"]["reachable"], rows["gpt-4o"]["detail"]) == (True, "→ scripted")
    assert rows["gpt-5"]["reachable"] is False
    assert "NO" in next(line for line in online("models").stdout.splitlines() if line.startswith("gpt-5"))


def test_models_that_are_known_to_suit_are_listed_with_context_and_price(online: Console, server: ScriptedServer) -> None:
    price = {"prompt": "0.0000002", "completion": "0.0000005"}
    server.reset({"listing": {"data": [{"id": "grok", "context_length": 2000, "pricing": price}]}})
    (line,) = online("models", "--min-vram", "0").stdout.splitlines()
    assert line.split() == ["grok", "openai-compatible", "yes", "2000", "tokens", "$0.2/$0.5"]
    assert online("models", "--language", "fr").code == 1
    assert {row["name"] for row in online("models", "--min-vram", "64", "--json").document} >= {"grok"}
