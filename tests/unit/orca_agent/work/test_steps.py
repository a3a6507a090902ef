"""Steps begin once and end once, in order, whatever the order of the answers; an agent's next turn is no end."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from orca_agent.work.steps import Step, Steps
from orca_protocol.journal import Path

runs = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=5)


@given(runs, st.randoms(use_true_random=False))
def test_each_step_begins_and_ends_once_and_never_beside_another(shape: list[tuple[int, int]], chance: random.Random) -> None:
    """``shape``: how many visits each step has, and how many turns each visit."""
    steps, told = Steps(), []
    for number, (visits, turns) in enumerate(shape):
        due = [Path(1, number, visit) for visit in range(visits)]
        while due:
            over, begun = steps.asked(due)
            told += [("-", step) for step in over] + [("+", step) for step in begun]
            chance.shuffle(due)
            for path in due:
                steps.answered(path)
            due = [path._replace(turn=path.turn + 1) for path in due if path.turn + 1 < turns]
    told += [("-", step) for step in steps.ended()]
    assert told == [(sign, Step(1, number)) for number in range(len(shape)) for sign in "+-"]


def test_a_call_that_waits_for_a_free_place_is_of_the_same_step() -> None:
    steps = Steps()
    assert steps.asked([Path(1, 0, 0)]) == ([], [Step(1, 0)])
    steps.answered(Path(1, 0, 0))
    assert steps.asked([Path(1, 0, 1)]) == ([], [])
    assert str(steps.ended()[0]) == "1.0"


def test_what_was_never_asked_ends_nothing() -> None:
    steps = Steps()
    steps.answered(Path(1, 0, 0))
    assert steps.ended() == []
