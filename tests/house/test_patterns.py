"""Patterns say which digits they mean: in patterns of text ``\\d`` is every digit of every script, which is no number to others."""

from __future__ import annotations

import pytest

from tests.house.repository import PACKAGES, package_files

ANY_DIGIT = "\\" + "d"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_pattern_takes_the_digits_of_every_script(package: str) -> None:
    assert [path.name for path in package_files(package) if ANY_DIGIT in path.read_text()] == []
