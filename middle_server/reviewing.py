"""From a reported result to its end: the round it stands in, the verdicts on it, what the round paid out.

Runs in the caller's transaction. Locks are taken in one order: first the round, then the item.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from middle_server.rules.settling import Outcome, settle
from middle_server.settings import MiddleSettings
from middle_server.store import rounds as store
from middle_server.store.database import Connection
from middle_server.store.items import WorkItem, move_item, read_item
from middle_server.store.leases import LeaseRow, lease_of_id, reject
from middle_server.store.rounds import RoundResult, Settled, VerdictRow
from orca_protocol.errors import InvalidError
from orca_protocol.requests import LegacyRequest, NodeRequest
from orca_protocol.verdict_statement import VerdictStatement


class Reviewing:
    """Reviews by the settings' rules."""

    def __init__(self, settings: MiddleSettings) -> None:
        self._settings = settings

    async def is_known_result(self, connection: Connection, item: WorkItem, lease: LeaseRow, cid: str) -> bool:
        """Whether exactly this is the result that stands. Raises InvalidError ``result_differs`` if another one does."""
        result = await store.result_of(connection, lease.id)
        if result is None or item.lease_id != lease.id:
            return False
        if result.cid != cid:
            raise InvalidError("result_differs", f"the result {result.cid} was reported under this lease; the first one stands")
        return True

    def round_of(self, asking: NodeRequest | LegacyRequest, current: int) -> int:
        """Return the round that is meant: what an original node leaves out is the round before the current one.

        A result is submitted in the round after the one it was made in. Raises InvalidError ``round_wrong``.
        """
        number = max(0, current - 1) if asking.roundNumber is None else asking.roundNumber
        if number not in {current, current - 1}:
            raise InvalidError("round_wrong", f"round {number} takes no results now; the chain is in round {current}")
        return number

    async def hold_open_round(self, connection: Connection, task_id: str, number: int) -> None:
        """Hold the round still. Raises InvalidError ``round_settled``."""
        await store.hold_round(connection, task_id, number)
        if await store.settled_round(connection, task_id, number) is not None:
            raise InvalidError("round_settled", f"round {number} is over and paid out")

    async def is_in_round(self, connection: Connection, item: WorkItem, lease: LeaseRow, number: int) -> bool:
        """Whether the standing result is in this round already. Raises InvalidError ``round_differs`` if it is in another."""
        result = await store.result_of(connection, lease.id)
        if result is None or item.lease_id != lease.id or result.round is None:
            return False
        if result.round != number:
            raise InvalidError("round_differs", f"this result stands in round {result.round} already")
        return True

    async def enter(self, connection: Connection, item: WorkItem, lease: LeaseRow, number: int, now: datetime) -> None:
        """Put the reported result into the held round."""
        await move_item(connection, item, "review", attempts_at_most=self._settings.attempts_at_most, now=now)
        await store.enter_round(connection, lease.id, number)

    async def match(self, connection: Connection, asking: NodeRequest | LegacyRequest) -> dict[str, Any]:
        """Return the standing result that is all that an auditor says. Raises InvalidError ``no_match``."""
        if asking.pubKey is None or asking.roundNumber is None or asking.prUrl is None:
            raise InvalidError("match_incomplete", "pubKey, roundNumber and prUrl: say whose result, in which round, and its CID")
        found = await store.match_result(
            connection,
            task_id=asking.taskId,
            worker=asking.pubKey,
            number=asking.roundNumber,
            cid=asking.prUrl.removeprefix("ipfs://"),
            github_username=asking.githubUsername,
            work_item=asking.swarmBountyId,
        )
        if found is None:
            raise InvalidError("no_match", "No matching todo assignment found")
        return found

    async def settle(
        self, connection: Connection, task_id: str, number: int, distribution: Mapping[str, int], now: datetime
    ) -> dict[str, Any]:
        """Take over what the chain has paid out, or return what was taken over before, by whichever process."""
        await store.hold_round(connection, task_id, number)
        settled = await store.settled_round(connection, task_id, number)
        if settled is None:
            settled = await self._settle(connection, task_id, number, distribution, now)
        return {"round": number, "outcomes": dict(settled.outcomes), "distribution": _amounts(settled.distribution)}

    async def _settle(
        self, connection: Connection, task_id: str, number: int, distribution: Mapping[str, int], now: datetime
    ) -> Settled:
        # What was taken back meanwhile is in the round no more.
        standing = [result for result in await store.results_in(connection, task_id, number) if result.outcome is None]
        outcomes = settle([result.reviewed for result in standing], distribution, quorum=self._settings.quorum)
        for result in standing:
            await self._close(connection, result, outcomes[result.work_item], now)
        await store.settle_round(connection, task_id, number, distribution, outcomes, now)
        return Settled(now, dict(distribution), outcomes)

    async def _close(self, connection: Connection, result: RoundResult, outcome: Outcome, now: datetime) -> None:
        item = await read_item(connection, result.work_item, lock=True)
        attempts = self._settings.attempts_at_most
        if outcome == "reject":
            await reject(connection, item, result.worker, f"cut in round {result.round}", attempts_at_most=attempts, now=now)
        else:
            await move_item(connection, item, outcome, attempts_at_most=attempts, now=now)
        await store.close_result(connection, result.lease_id, outcome)

    async def say(self, connection: Connection, verdict: VerdictStatement, document: bytes, now: datetime) -> bool:
        """Store an auditor's verdict and return whether it is new.

        It must speak of a result that was reported, by somebody else, in the round it names, by the checks that the lease
        requires. Raises InvalidError ``verdict_foreign``, ``own_work``, ``verdict_differs`` or ``work_item_unknown``.
        """
        said = verdict.predicate
        item = await read_item(connection, said.work_item)
        result = next(
            (one for one in await store.results_in(connection, item.task_id, said.round) if _is_about(one, verdict)), None
        )
        if (said.network, said.task_id) != (self._settings.network, item.task_id) or result is None:
            raise InvalidError("verdict_foreign", "no result of that work item stood in that round of that task under that CID")
        if said.worker != result.worker:
            raise InvalidError("verdict_foreign", f"that result is {result.worker}'s, and the verdict is about {said.worker}")
        if said.auditor == result.worker:
            raise InvalidError("own_work", "nobody audits its own work")
        if sorted(said.required) != sorted(item.required_checks):
            raise InvalidError("verdict_foreign", f"this work item requires the checks {', '.join(item.required_checks)}")
        row = VerdictRow(said.auditor, item.id, verdict.cid, said.round, said.vote, said.reason, document, now)
        return await store.say_verdict(connection, row)

    async def standing(self, connection: Connection, item: WorkItem) -> store.Result:
        """Return the result that stands for the item. Raises InvalidError ``result_absent``."""
        lease = None if item.lease_id is None else await lease_of_id(connection, item.lease_id)
        result = None if lease is None else await store.result_of(connection, lease.id)
        if result is None:
            raise InvalidError("result_absent", f"this work item is {item.status.replace('_', ' ')}; it has no result")
        return result


def _is_about(result: RoundResult, verdict: VerdictStatement) -> bool:
    return result.work_item == verdict.predicate.work_item and result.cid == verdict.cid


def _amounts(distribution: Mapping[str, int]) -> dict[str, str]:
    return {key: str(amount) for key, amount in distribution.items()}
