"""No file knows where it was written: no package registry's address, no path of a machine, no lock file that names either."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.repository import ROOT, files, texts

# In two halves each, so that this file does not find itself.
REGISTRIES = [
    first + second
    for first, second in [
        ("pypi.", "org"),
        ("python", "hosted.org"),
        ("registry.", "npmjs"),
        ("registry.", "yarnpkg"),
        ("static.", "crates.io"),
        ("index.", "crates.io"),
        ("proxy.", "golang.org"),
        ("repo.maven", ".apache"),
        ("repo1.", "maven"),
        ("deb.", "debian.org"),
        ("archive.", "ubuntu.com"),
        ("pkg.", "dev/"),
        ("--index", "-url "),
        ("--extra-index", "-url"),
    ]
]


@pytest.mark.parametrize("address", REGISTRIES)
def test_no_file_names_a_registry(address: str) -> None:
    assert [name for name, text in texts() if address in text] == []


def test_no_file_names_this_checkout() -> None:
    here = [str(ROOT), str(ROOT.parent / "shared")]
    assert [(name, path) for name, text in texts() for path in here if path in text] == []


def test_no_file_names_a_home() -> None:
    homes = ["/" + "root/.", "/home" + "/runner", str(Path.home() / ".cache")]
    assert [(name, path) for name, text in texts() for path in homes if path in text] == []


def test_no_lock_file_that_writes_addresses() -> None:
    assert not {path.name for path in files()} & {"uv.lock", "poetry.lock", "Pipfile.lock", "pip.conf"}
