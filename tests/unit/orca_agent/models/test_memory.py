"""Whether local weights fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from orca_agent.models.llama import Weights
from orca_agent.models.memory import Fit, Need, available_bytes, fit_of, need_of, own_cgroup
from orca_protocol.errors import UnavailableError
from tests.unit.orca_agent.models.ggufs import header

ABSENT = Weights("no_such_package", "no-such-package==1", "x.gguf", "0" * 64, "Q4_1", context=10)


def test_available_memory_is_read_in_bytes(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       100 kB\nMemAvailable:    40 kB\n")
    assert available_bytes(meminfo, tmp_path) == 40 * 1024


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemAvailable:\n", "MemAvailable: many kB\n"])
def test_memory_that_is_not_said_is_unknown_and_not_enough_for_nothing(tmp_path: Path, text: str) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(text)
    with pytest.raises(UnavailableError, match="memory_unknown"):
        available_bytes(meminfo, tmp_path)


@pytest.mark.parametrize(
    ("limit", "used", "cached", "free"),
    [("max", 1, 0, 1000), (500, 200, 0, 300), (500, 450, 100, 150), (100, 300, 0, 0), (10**12, 0, 0, 1000)],
)
def test_a_containers_limit_counts_where_it_is_tighter(tmp_path: Path, limit: int | str, used: int, cached: int, free: int) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable: 1000 kB\n")
    (tmp_path / "memory.max").write_text(f"{limit if limit == 'max' else int(limit) * 1024}\n")
    (tmp_path / "memory.current").write_text(f"{used * 1024}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {cached * 1024}\nfile 2\n")
    assert available_bytes(tmp_path / "meminfo", tmp_path) == free * 1024


@pytest.mark.parametrize(
    ("said", "group"),
    [
        ("0::/\n", ""),
        ("1:name=x:/y\n0::/system.slice/orca.service\n", "system.slice/orca.service"),
        ("2:memory:/z\n", ""),
        (None, ""),
    ],
)
def test_the_limit_is_that_of_the_own_control_group(tmp_path: Path, said: str | None, group: str) -> None:
    if said is not None:
        (tmp_path / "cgroup").write_text(said)
    assert own_cgroup(tmp_path / "cgroup", tmp_path) == tmp_path / group


def test_a_model_fits_when_file_and_full_context_do() -> None:
    assert Fit(Need(60, 40), free=100).is_enough
    assert not Fit(Need(60, 41), free=100).is_enough
    assert str(Fit(Need(2**20, 2**22), free=2**21)) == "needs 5 MiB (1 MiB weights, 4 MiB context), 2 MiB free"


def test_the_need_counts_the_file_and_the_whole_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "m.gguf").write_bytes(header(layers=2, heads=4, kv_heads=2, embedding=32, context=64) + bytes(1000))
    monkeypatch.syspath_prepend(tmp_path)
    weights = Weights("some_weights", "", "m.gguf", "", "", context=10)
    assert need_of(weights) == Need((package / "m.gguf").stat().st_size, 10 * 2 * 2 * (8 + 8) * 2)


def test_weights_that_are_not_installed_say_how_to_install_them() -> None:
    with pytest.raises(UnavailableError, match="no-such-package==1"):
        fit_of(ABSENT)
