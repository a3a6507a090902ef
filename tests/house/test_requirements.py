"""The pinned requirements: exact, hashed, without addresses, and in step with pyproject.toml."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from tests.house.repository import REQUIREMENTS, ROOT, name_of, pyproject


def pinned(file: str) -> dict[str, list[Requirement]]:
    """The requirements of one file by name (one name may stand twice, under different markers); fails on one without a hash."""
    text = (ROOT / "requirements" / f"{file}.txt").read_text()
    found: dict[str, list[Requirement]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        said, *hashes = line.split("--hash=")
        assert hashes, f"no hash: {line}"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest.strip()) for digest in hashes), line
        found.setdefault(name_of(said), []).append(Requirement(said.strip()))
    return found


def version_of(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_every_requirement_is_exact_and_hashed(file: str) -> None:
    requirements = pinned(file)
    assert requirements
    for said in requirements.values():
        for requirement in said:
            assert requirement.url is None
            version_of(requirement)


def test_there_are_no_others() -> None:
    assert sorted(path.stem for path in (ROOT / "requirements").iterdir()) == sorted(REQUIREMENTS)


def wanted() -> list[tuple[str, str]]:
    project, groups = pyproject()["project"], pyproject()["dependency-groups"]
    pairs = [(file, said) for file in ("bootstrap", "models", "dev") for said in groups[file]]
    pairs += [(file, said) for file in ("node", "dev") for said in project["dependencies"]]
    pairs += [("models", said) for said in project["optional-dependencies"]["local"]]
    return pairs + [("bootstrap", said) for said in pyproject()["build-system"]["requires"]]


@pytest.mark.parametrize(("file", "said"), wanted())
def test_what_pyproject_wants_is_pinned(file: str, said: str) -> None:
    """Fails when pyproject.toml was changed without `make lock`."""
    want = Requirement(said)
    have = pinned(file).get(name_of(said), [])
    assert have, f"{said} is not in requirements/{file}.txt: make lock"
    assert all(want.specifier.contains(version_of(requirement)) for requirement in have), "make lock"


def test_files_that_are_installed_together_agree() -> None:
    node, dev, bootstrap = pinned("node"), pinned("dev"), pinned("bootstrap")
    assert set(node) <= set(dev), "a developer's environment is also a node's"
    for first, second in ((node, dev), (node, bootstrap), (dev, bootstrap)):
        for name in first.keys() & second.keys():
            assert {version_of(r) for r in first[name]} == {version_of(r) for r in second[name]}, name
