"""Video memory: what a machine without a card says for real, and what the makers' figures come to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orca_agent.models.gpu import Gpu, amd_gpus, nvidia_gpus
from orca_protocol.errors import UnavailableError


def test_a_machine_answers_with_its_cards_or_with_the_reason() -> None:
    """On a machine without NVIDIA's driver this asks the real library, which does not find it."""
    pytest.importorskip("pynvml")
    try:
        cards = nvidia_gpus()
    except UnavailableError as error:
        assert error.code == "nvml_failed"
        assert "NVML says:" in error.detail
    else:
        assert all(0 <= card.free <= card.total for card in cards)


def test_without_the_library_it_is_named() -> None:
    code = """
import sys
sys.modules["pynvml"] = None
from orca_agent.models.gpu import nvidia_gpus
nvidia_gpus()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "nvml_missing: the package nvidia-ml-py is not installed" in done.stderr


def card(drm: Path, name: str, total: str, used: str | None) -> None:
    device = drm / name / "device"
    device.mkdir(parents=True)
    (device / "mem_info_vram_total").write_text(total)
    if used is not None:
        (device / "mem_info_vram_used").write_text(used)


def test_amd_cards_are_read_from_the_kernel(tmp_path: Path) -> None:
    card(tmp_path, "card0", "17163091968\n", "1073741824\n")
    card(tmp_path, "card1", "100\n", "200\n")
    (tmp_path / "card1-DP-1" / "device").mkdir(parents=True)
    assert amd_gpus(tmp_path) == (Gpu("AMD card0", 17_163_091_968, 16_089_350_144), Gpu("AMD card1", 100, 0))
    assert str(amd_gpus(tmp_path)[0]) == "AMD card0: 15.0 of 16.0 GiB free"


def test_no_driver_means_no_card(tmp_path: Path) -> None:
    assert amd_gpus(tmp_path) == ()


@pytest.mark.parametrize(("total", "used"), [("100", None), ("many", "1")])
def test_half_a_figure_is_none(tmp_path: Path, total: str, used: str | None) -> None:
    card(tmp_path, "card0", total, used)
    with pytest.raises(UnavailableError, match="vram_unknown"):
        amd_gpus(tmp_path)
