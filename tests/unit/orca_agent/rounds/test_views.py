"""Chain and middle server as an audit wants them: an answer, or "cannot tell", and never a fault made of nonsense."""

from __future__ import annotations

import pytest

from koii_chain.client import ChainClient, Snapshot
from koii_chain.rpc import JsonRpc, RpcSettings
from koii_chain.state import Submission, TaskState
from orca_agent.rounds.middle import LeaseNow
from orca_agent.rounds.views import ChainStanding, LeasesNow, standing_in
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from tests.unit.koii_chain.tasks import TASK, key, task
from tests.unit.orca_agent.rounds.claims import QuietMiddle

WORKER = key(1)


def state(slot: int = 600, stake: int = 1000) -> TaskState:
    entry = Submission(submission_value="x", slot=slot, round=5)
    return task(stake_list={WORKER: stake}, submissions={5: {WORKER: entry}})


def test_who_is_staked_and_submitted_in_time_has_no_fault() -> None:
    found = standing_in(state(), WORKER, TASK, 5)
    assert (found.stake_fault, found.submission_fault) == (None, None)


def test_a_fault_is_a_sentence() -> None:
    assert "1000" in str(standing_in(state(stake=999), WORKER, TASK, 5).stake_fault)
    assert "submitted nothing for round 6" in str(standing_in(state(), WORKER, TASK, 6).submission_fault)
    for slot in (599, 640):
        assert "outside of the window" in str(standing_in(state(slot), WORKER, TASK, 5).submission_fault)


def test_another_task_than_this_nodes_cannot_be_told() -> None:
    with pytest.raises(UnavailableError, match="task_foreign"):
        standing_in(state(), WORKER, "another", 5)


class Chain(ChainClient):
    """A client that says what it was told to."""

    def __init__(self, said: TaskState | OrcaError) -> None:
        super().__init__(JsonRpc(RpcSettings(("http://127.0.0.1:1",))))
        self.said = said

    async def task(self, task_id: str) -> Snapshot:
        if isinstance(self.said, OrcaError):
            raise self.said
        return Snapshot(self.said, 700, 0.0)


async def test_the_chain_is_asked() -> None:
    found = await ChainStanding(Chain(state(stake=1))).standing(WORKER, TASK, 5)
    assert found.stake_fault is not None


@pytest.mark.parametrize("error", [InvalidError("task_unknown", "nonsense"), LimitError("rpc_oversize", "too much")])
async def test_nonsense_of_the_chain_or_the_server_is_cannot_tell(error: OrcaError) -> None:
    with pytest.raises(UnavailableError, match=f"{error.code}: the chain could not tell: {error.detail}"):
        await ChainStanding(Chain(error)).standing(WORKER, TASK, 5)
    middle = QuietMiddle()
    middle.error = error
    with pytest.raises(UnavailableError, match=f"{error.code}: the middle server could not tell: {error.detail}"):
        await LeasesNow(middle).lease_now("item")


async def test_a_world_that_does_not_answer_keeps_its_own_code() -> None:
    with pytest.raises(UnavailableError, match="rpc_down: no endpoint"):
        await ChainStanding(Chain(UnavailableError("rpc_down", "no endpoint"))).standing(WORKER, TASK, 5)


async def test_the_lease_that_counts_by_now_is_the_servers() -> None:
    middle = QuietMiddle()
    middle.leases["item"] = LeaseNow(fencing_token="3", cid="b", round=5)
    now = await LeasesNow(middle).lease_now("item")
    assert (now.fencing_token, now.cid, now.round) == ("3", "b", 5)
