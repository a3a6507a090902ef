"""A node does not sign what auditors refuse to read."""

from __future__ import annotations

import pytest

from audit.source import PackageLimits
from orca_agent.work.proving import refuse_oversize
from orca_protocol.errors import InvalidError

FILES = {"spec.json": b"{}", "journal.jsonl": b"x" * 50 + b"\n" + b"y" * 80 + b"\n", "output.json": b"{}"}


def test_a_package_within_the_limits_is_signed() -> None:
    refuse_oversize(FILES, PackageLimits(total_bytes=136, line_bytes=80))


@pytest.mark.parametrize("limits", [PackageLimits(total_bytes=135), PackageLimits(line_bytes=79)])
def test_a_package_beyond_them_is_refused_with_the_numbers(limits: PackageLimits) -> None:
    with pytest.raises(InvalidError, match=r"136 bytes and a journal line of 80") as caught:
        refuse_oversize(FILES, limits)
    assert caught.value.code == "proof_too_large"
