"""``orca run`` of the example of every swarm type by the embedded model, weights and all (``make examples``); one always."""

from __future__ import annotations

from pathlib import Path

import pytest

from orca_engine.swarms import SWARMS
from orca_protocol.spec import read_spec
from tests.walk.commands import ROOT, Shell
from tests.walk.test_local_model import missing

EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
#: a director decides, agents work, he concludes: the rest are for `make examples`
ALWAYS = "hierarchical-swarm"


def test_every_type_has_an_example() -> None:
    assert {read_spec(path.read_bytes()).canonical_type for path in EXAMPLES} == set(SWARMS)


@pytest.mark.local_model
@pytest.mark.skipif(bool(missing()), reason=missing() or "installed")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path.stem == ALWAYS else [pytest.mark.every_example]) for path in EXAMPLES],
)
def test_the_example_runs_on_the_embedded_model(tmp_path: Path, path: Path) -> None:
    shell = Shell(tmp_path, {"ORCA_MODEL_ALIASES": "gpt-4o=local/smollm2-135m-instruct"})
    ended = shell.orca("run", path, "--json", "--out", tmp_path / "proof")
    assert ended.code == 0, ended.stdout + ended.stderr
    assert ended.document["status"] == "success"
    assert ended.document["output"]
    verified = shell.orca("verify", tmp_path / "proof", "--json")  # decodes some of its answers again
    assert verified.code == 0, verified.stdout + verified.stderr
    verdicts = {check["check"]: check["verdict"] for check in verified.document["checks"]}
    assert (verdicts["replay"], verdicts["inference"]) == ("valid", "valid")
