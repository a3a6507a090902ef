"""Chain and middle server as the audit's checks want to see them (``audit.ports``).

Whatever the world said that could not be understood is "cannot tell", never a fault of the key that was asked about.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from audit.ports import LeaseStanding, Standing
from koii_chain.client import ChainClient
from koii_chain.stake import stake_standing
from koii_chain.state import TaskState
from orca_agent.rounds.middle import MiddleReader
from orca_protocol.errors import InvalidError, LimitError, UnavailableError

T = TypeVar("T")


class ChainStanding:
    """``ChainView`` over a client: reads the task when it is asked."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client

    async def standing(self, key: str, task_id: str, round_number: int) -> Standing:
        """Return how ``key`` stands in that round. Raises UnavailableError where the chain cannot be read or understood."""
        snapshot = await cannot_tell(self._client.task(task_id), "the chain")
        return standing_in(snapshot.task, key, task_id, round_number)


class LeasesNow:
    """``LeaseView`` over the middle server."""

    def __init__(self, middle: MiddleReader) -> None:
        self._middle = middle

    async def lease_now(self, work_item: str) -> LeaseStanding:
        """Return how the lease stands. Raises UnavailableError where the server does not know the item either."""
        now = await cannot_tell(self._middle.lease_now(work_item), "the middle server")
        return LeaseStanding(now.fencing_token, now.cid, now.round)


def standing_in(task: TaskState, key: str, task_id: str, number: int) -> Standing:
    """Return how ``key`` stands in a round of ``task``; a fault is a sentence."""
    if task.task_id != task_id:
        raise UnavailableError("task_foreign", f"this node reads task {task.task_id}, and the lease is of task {task_id[:60]}")
    staked = stake_standing(task, key)
    submission = task.submitted(number, key)
    if submission is None:
        fault: str | None = f"{key} submitted nothing for round {number}"
    elif submission.slot not in task.clock.submission(number):
        fault = f"{key} submitted at slot {submission.slot}, outside of the window of round {number}"
    else:
        fault = None
    return Standing(stake_fault=None if staked.is_staked else staked.detail, submission_fault=fault)


async def cannot_tell(question: Awaitable[T], who: str) -> T:
    """Return the answer; a refusal or nonsense is UnavailableError, for it is no evidence against whom it was asked about."""
    try:
        return await question
    except (InvalidError, LimitError) as error:
        raise UnavailableError(error.code, f"{who} could not tell: {error.detail}") from error
