"""The embedded model from end to end: a run, its proof, an audit in another process that decodes every answer again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orca.key_file import load_key
from orca_agent.models.llama import engine, locate
from orca_agent.models.local import LOCAL_MODELS
from orca_protocol.errors import UnavailableError
from orca_protocol.journal import read_journal
from proof_store.tree import read_tree, write_tree
from tests.unit.audit.packages import package
from tests.walk.commands import Ended, Shell

NAME = "local/smollm2-135m-instruct"


def missing() -> str:
    try:
        engine()
        locate(LOCAL_MODELS[NAME])
    except UnavailableError as error:
        return error.detail
    return ""


pytestmark = [pytest.mark.local_model, pytest.mark.skipif(bool(missing()), reason=missing() or "installed")]

SPEC = {
    "task": "Name one thing that floats.",
    "agents": [
        {"agent_name": "A", "model_name": NAME, "system_prompt": "You answer in a few words.", "max_tokens": 16, "logprobs": True}
    ],
}


@dataclass(frozen=True)
class Proved:
    """A run on the embedded model and the proof of it."""

    shell: Shell
    ended: Ended
    folder: Path


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Proved:
    home = tmp_path_factory.mktemp("home")
    shell = Shell(home)
    (home / "spec.json").write_text(json.dumps(SPEC))
    ended = shell.orca("run", "spec.json", "--out", home / "proof", "--json")
    assert ended.code == 0, ended.stderr
    return Proved(shell, ended, home / "proof")


def checks(ended: Ended) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in ended.document["checks"]}


def test_the_run_says_what_answered_and_counts_its_tokens(proved: Proved) -> None:
    response = proved.ended.document
    assert response["status"] == "success"
    assert response["output"][0]["content"].strip()
    assert 0 < response["usage"]["output_tokens"] <= 16
    (entry,) = read_journal((proved.folder / "journal.jsonl").read_bytes())
    assert entry.answer is not None
    assert entry.answer.model.digest == f"sha256:{LOCAL_MODELS[NAME].sha256}"
    assert entry.answer.model.numerics
    assert entry.answer.logprobs is not None
    assert "".join(one.token for one in entry.answer.logprobs) == entry.answer.content


def test_an_honest_answer_is_decoded_again_in_another_process_and_found_equal(proved: Proved) -> None:
    verified = proved.shell.orca("verify", proved.folder, "--json")
    assert verified.code == 0, verified.stdout
    found = checks(verified)
    assert {name: check["verdict"] for name, check in found.items()} == {
        "integrity": "valid",
        "authenticity": "valid",
        "eligibility": "not_applicable",
        "replay": "valid",
        "inference": "valid",
    }
    assert 0 < found["inference"]["cost"]["tokens"] <= 16


def test_an_invented_log_probability_is_refused(proved: Proved, tmp_path: Path) -> None:
    files = read_tree(proved.folder)
    (entry,) = read_journal(files["journal.jsonl"])
    assert entry.answer is not None
    assert entry.answer.logprobs is not None
    surer = (entry.answer.logprobs[0].model_copy(update={"logprob": "-0.001"}), *entry.answer.logprobs[1:])
    forged = entry.model_copy(update={"answer": entry.answer.model_copy(update={"logprobs": surer})})
    key = load_key(proved.shell.home / "orca" / "id.json", network="none")
    write_tree(package([forged], key=key, spec=files["spec.json"]), tmp_path / "forged")
    found = checks(proved.shell.orca("verify", tmp_path / "forged", "--json"))
    assert (found["inference"]["verdict"], found["inference"]["code"]) == ("mismatch", "answer_differs")
    assert "the log probability of token 0 is -0.001 in the journal" in found["inference"]["detail"]


def test_an_invented_answer_that_went_through_the_engine_and_was_signed_is_refused(proved: Proved, tmp_path: Path) -> None:
    """What a dishonest worker can do at most: everything belongs together and is signed by the right key; it is not true."""
    files = read_tree(proved.folder)
    (entry,) = read_journal(files["journal.jsonl"])
    assert entry.answer is not None
    invented = entry.model_copy(update={"answer": entry.answer.model_copy(update={"content": "A stone."})})
    key = load_key(proved.shell.home / "orca" / "id.json", network="none")
    write_tree(package([invented], key=key, spec=files["spec.json"]), tmp_path / "forged")

    replayed = proved.shell.orca("verify", tmp_path / "forged", "--level", "replay", "--json")
    assert replayed.code == 0  # which is why there is a further level

    verified = proved.shell.orca("verify", tmp_path / "forged", "--json")
    assert verified.code == 1
    found = checks(verified)
    assert (found["inference"]["verdict"], found["inference"]["code"]) == ("mismatch", "answer_differs")
    assert [name for name, check in found.items() if check["verdict"] == "mismatch"] == ["inference"]
