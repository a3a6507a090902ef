"""Whether local weights fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from orca_agent.models.llama import Weights
from orca_agent.models.memory import Fit, available_bytes, fit_of
from orca_protocol.errors import UnavailableError

ABSENT = Weights("no_such_package", "no-such-package==1", "x.gguf", "0" * 64, "Q4_1", context=10, context_bytes_per_token=3)


def test_available_memory_is_read_in_bytes(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       100 kB\nMemAvailable:    40 kB\n")
    assert available_bytes(meminfo) == 40 * 1024


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemAvailable:\n", "MemAvailable: many kB\n"])
def test_memory_that_is_not_said_is_unknown_and_not_enough_for_nothing(tmp_path: Path, text: str) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(text)
    with pytest.raises(UnavailableError, match="memory_unknown"):
        available_bytes(meminfo)


def test_a_model_fits_when_file_and_full_context_do() -> None:
    assert Fit(needed=100, free=100).is_enough
    assert not Fit(needed=101, free=100).is_enough


def test_the_need_counts_the_file_and_the_whole_context() -> None:
    import json as package  # any installed package with a file of known size

    file = Path(package.__file__)
    weights = Weights("json", "", file.name, "", "", context=10, context_bytes_per_token=3)
    assert fit_of(weights).needed == file.stat().st_size + 30


def test_weights_that_are_not_installed_say_how_to_install_them() -> None:
    with pytest.raises(UnavailableError, match="no-such-package==1"):
        fit_of(ABSENT)
