"""kill -9 at a write of the journal, in every swarm type: the run is taken up again and ends as if nothing had happened.

Real processes and a real SIGKILL, over both journals. ``make test`` draws types and writes; ``make kills`` goes through all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orca_engine.swarms import SWARMS
from tests.unit.orca_agent.tools.mcp_server import Running, running
from tests.walk.mortals import BEFORE_OR_AFTER, HUMAN, VARIANTS, Kill, Mortals, PostgresStore, SqliteStore, mortals, spec

ITEMS = [*SWARMS, HUMAN]

items = st.builds(spec, st.sampled_from(ITEMS), st.sampled_from(sorted(VARIANTS)))
#: a kill or two; the later ones are counted from where the run was taken up again
kills = st.lists(st.tuples(st.integers(1, 12), st.sampled_from(BEFORE_OR_AFTER)), min_size=1, max_size=2)


@pytest.fixture(scope="module")
def tools() -> Iterator[Running]:
    with running() as told:
        yield told


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory, tools: Running) -> Iterator[Mortals]:
    folder = tmp_path_factory.mktemp("sqlite")
    with mortals(SqliteStore(folder / "journal.db"), folder, tools.url) as made:
        yield made


@pytest.fixture
def on_postgres(tmp_path: Path, tools: Running, database_url: str) -> Iterator[Mortals]:
    with mortals(PostgresStore(database_url), tmp_path, tools.url) as made:
        yield made


def drawn(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@drawn(20)
@given(items, kills)
def test_a_run_of_any_type_killed_at_any_write_ends_like_an_undisturbed_one(on_sqlite: Mortals, one: str, at: list[Kill]) -> None:
    on_sqlite.survive(one, at)


@drawn(5)
@given(items, kills)
def test_the_same_holds_over_postgresql(on_postgres: Mortals, one: str, at: list[Kill]) -> None:
    on_postgres.survive(one, at)


def test_what_is_killed_really_dies_and_uses_a_real_server_of_tools(on_sqlite: Mortals, tools: Running) -> None:
    one = spec("SequentialWorkflow", "tools and an image")
    before = len(tools.calls)
    assert on_sqlite.survive(one, [(3, "after"), (2, "before")]) == 2
    assert len(tools.calls) > before
    kinds = [kind for kind, _ in on_sqlite.undisturbed(one)["entries"]]
    assert {"offer", "tool", "image", "answer"} == set(kinds)


@pytest.mark.every_kill
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ITEMS)
def test_every_write_of_every_type(on_sqlite: Mortals, name: str) -> None:
    survives_everywhere(on_sqlite, name)


@pytest.mark.every_kill
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ITEMS)
def test_every_write_of_every_type_over_postgresql(on_postgres: Mortals, name: str) -> None:
    survives_everywhere(on_postgres, name)


def survives_everywhere(made: Mortals, name: str) -> None:
    """Kill every variant of a type at each of its writes, and say how often that was."""
    variants = variants_of(name)
    happened = sum(killed_everywhere(made, one) for one in variants)
    sys.stdout.write(f"{name}: {happened} kills in {len(variants)} variants\n")
    assert happened > 4 * len(variants)


def variants_of(name: str) -> tuple[str, ...]:
    """The specs of a type; where the variants are of listed agents and there are none, fewer."""
    return tuple(dict.fromkeys(spec(name, variant) for variant in VARIANTS))


def killed_everywhere(made: Mortals, one: str) -> int:
    """Kill runs of the spec before and after each write, until there are no more; return how many died."""
    died, number, more = 0, 0, 1
    while more:
        number += 1
        more = sum(made.survive(one, [(number, when)]) for when in BEFORE_OR_AFTER)
        died += more
    return died
