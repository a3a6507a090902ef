"""Every acceptance case of the swarm types and their API is a test whose name carries its id.

``tests/vectors/acceptance.json`` lists the cases and what must be observable. ``awaited`` names those whose feature is not there
yet: such a case may have no test, so that nobody forgets to strike it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.house.repository import ROOT

VECTORS = json.loads((ROOT / "tests" / "vectors" / "acceptance.json").read_text())
CASES: dict[str, str] = VECTORS["cases"]
AWAITED: dict[str, str] = VECTORS["awaited"]
_NAME = re.compile(r"^ *(?:async )?def test_([a-z]{3})_((?:\d+(?:_and)?_)+)", flags=re.MULTILINE)


def carried() -> Iterator[str]:
    """The ids in the names of test functions: ``test_api_2_and_3_…`` carries two."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for kind, numbers in _NAME.findall(path.read_text()):
            yield from (f"{kind.upper()}-{number}" for number in re.findall(r"\d+", numbers))


TESTED = set(carried())


@pytest.mark.parametrize("case", CASES)
def test_the_case_has_its_test(case: str) -> None:
    if case in AWAITED:
        assert case not in TESTED, f"{case} has a test now: strike it out of awaited in tests/vectors/acceptance.json"
    else:
        assert case in TESTED, f"no test's name carries {case}: {CASES[case]}"


def test_a_name_carries_the_ids_that_it_begins_with() -> None:
    assert _NAME.findall("async def test_api_2_and_3_what(\ndef test_asb_2_3_4_a(\ndef test_other_5_things(") == [
        ("api", "2_and_3_"),
        ("asb", "2_3_4_"),
    ]


def test_only_listed_cases_are_awaited_or_carried() -> None:
    assert set(AWAITED) <= set(CASES)
    kinds = {case.partition("-")[0] for case in CASES}
    assert sorted(case for case in TESTED if case.partition("-")[0] in kinds and case not in CASES) == []
