"""What nodes ask, under the names and with the payloads of Koii's own middle servers, inside signed envelopes.

1. open: signature, key, audience, action, time       401, 403, 400
2. the answer given before, if this was asked before  the same bytes; 409 for other ones
3. stake, where work or a verdict hangs on it         403; 503 if the chain cannot tell
4. the work and its answer, in one transaction

What a lease allows needs no new stake check: only a staked key got the lease, and a chain that is down for a minute must not
cost honest nodes their work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from middle_server.api.once import answered, once
from middle_server.api.problems import node_problem_response
from middle_server.api.reading import FromNode, Signed, read_node
from middle_server.api.services import Services
from middle_server.leasing import Leasing
from middle_server.reviewing import Reviewing
from middle_server.rules.leases import check_holder, heartbeat_deadline
from middle_server.rules.moments import rfc3339
from middle_server.store import leases as store
from middle_server.store.database import Connection
from middle_server.store.items import WorkItem, read_item, spec_of
from middle_server.store.leases import LeaseRow, lease_of_id, newest_lease
from middle_server.store.nodes import heard
from orca_http.answers import Answer, respond
from orca_http.answers import json_answer as answer
from orca_http.reading import body_schema
from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.requests import CLOCK_SKEW, LegacyRequest, NodeRequest
from proof_store.cid import Cid

Asking = NodeRequest | LegacyRequest
Do = Callable[[Connection, Asking, datetime], Awaitable[Answer]]
#: reads what the chain knows before the transaction begins; what it returns does the work
Prepare = Callable[[Asking], Awaitable[Do]]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One verb: whether it needs a stake, and what it does."""

    needs_stake: bool
    prepare: Prepare


def routes(services: Services) -> APIRouter:
    """Return the router of ``/summarizer/worker``."""
    router = APIRouter(prefix="/summarizer/worker", tags=["nodes"])
    verbs = _Verbs(services)
    table: dict[str, _Endpoint] = {
        "fetch-todo": _Endpoint(needs_stake=True, prepare=_at_once(verbs.fetch_todo)),
        "heartbeat": _Endpoint(needs_stake=False, prepare=verbs.heartbeat),
        "add-todo-status": _Endpoint(needs_stake=False, prepare=_at_once(verbs.add_todo_status)),
        "add-failed-info": _Endpoint(needs_stake=False, prepare=_at_once(verbs.add_failed_info)),
        "add-todo-pr": _Endpoint(needs_stake=False, prepare=_at_once(verbs.add_todo_pr)),
        "add-round-number": _Endpoint(needs_stake=False, prepare=verbs.add_round_number),
        "check-todo": _Endpoint(needs_stake=True, prepare=_at_once(verbs.check_todo)),
        "update-audit-result": _Endpoint(needs_stake=True, prepare=verbs.update_audit_result),
    }
    for action, endpoint in table.items():
        router.add_api_route(
            f"/{action}",
            _serve(services, action, endpoint),
            methods=["POST"],
            name=action,
            openapi_extra=body_schema(Signed),
            response_class=Response,
        )
    return router


def _at_once(do: Do) -> Prepare:
    async def prepare(_: Asking) -> Do:
        return do

    return prepare


def _serve(services: Services, action: str, endpoint: _Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            return respond(await _answer(services, await read_node(request, services, action), endpoint))
        except OrcaError as error:
            return node_problem_response(error)

    return serve


async def _answer(services: Services, node: FromNode, endpoint: _Endpoint) -> Answer:
    asking, now = node.request, services.now()
    before = await answered(services, node.asked, now)
    if before is not None:
        return before
    if endpoint.needs_stake:
        await services.gate.check(asking.taskId, asking.stakingKey)
    do = await endpoint.prepare(asking)

    async def act(connection: Connection) -> Answer:
        return await do(connection, asking, now)

    return await once(
        services,
        node.asked,
        act,
        now=now,
        expires=_forgotten(asking, now),
        at_most=services.settings.requests_per_key,
        keep_refusals=endpoint.needs_stake,
    )


def _forgotten(asking: Asking, now: datetime) -> datetime:
    """Return when the same bytes cannot come again; a little more, for a server process whose clock is behind."""
    if isinstance(asking, LegacyRequest):
        return now
    return datetime.fromtimestamp(asking.exp + CLOCK_SKEW, UTC)


class _Verbs:
    """What each verb does, inside the transaction that keeps its answer."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._leasing = Leasing(services.settings)
        self._reviewing = Reviewing(services.settings)

    async def fetch_todo(self, connection: Connection, asking: Asking, now: datetime) -> Answer:
        """Lease the oldest item there is for this key, or return what the same claim got before."""
        await self._heard(connection, asking, now)
        lease = await self._leasing.lease_for(connection, asking, now)
        if lease.document is None:
            raise RuntimeError(f"lease {lease.id} was kept without its document")
        spec = await spec_of(connection, lease.work_item)
        data = {
            "id": lease.work_item,
            "leaseId": lease.id,
            "fencingToken": str(lease.fencing_token),
            "expires": rfc3339(lease.expires),
            "heartbeatSeconds": self._settings.heartbeat_seconds,
            "lease": lease.document.decode(),
            "spec": spec.decode(),
        }
        return answer(200, {"success": True, "role": "worker", "message": "Todo fetched", "data": data})

    async def heartbeat(self, asking: Asking) -> Do:
        """Keep a lease alive; without one, say that this node is there, for which it needs a stake."""
        if not _names_lease(asking):
            await self._services.gate.check(asking.taskId, asking.stakingKey)
        return self._beat

    async def _beat(self, connection: Connection, asking: Asking, now: datetime) -> Answer:
        if not _names_lease(asking):
            await self._heard(connection, asking, now)
            return answer(200, {"success": True, "message": "Heard"})
        item, lease = await self._held(connection, asking, now)
        deadline = heartbeat_deadline(now, lease.expires, seconds=self._settings.heartbeat_seconds)
        await store.extend(connection, item, deadline, now)
        await self._heard(connection, asking, now)
        data = {"id": item.id, "leaseId": lease.id, "aliveUntil": rfc3339(deadline), "expires": rfc3339(lease.expires)}
        return answer(200, {"success": True, "message": "Lease kept", "data": data})

    async def add_todo_status(self, connection: Connection, asking: Asking, now: datetime) -> Answer:
        """Give the item back: this key failed it."""
        item, lease = await self._held(connection, asking, now)
        detail = asking.error or asking.status
        await store.give_back(connection, item, lease, detail, attempts_at_most=self._settings.attempts_at_most, now=now)
        return _done("Status updated", item)

    async def add_failed_info(self, connection: Connection, asking: Asking, now: datetime) -> Answer:
        """Keep what a key says of its own failure, and only of its own."""
        if asking.error is None:
            raise InvalidError("error_missing", "error: say what failed")
        item, lease = await self._own(connection, asking)
        if not await store.explain_failure(connection, item.id, lease.worker, asking.error):
            raise InvalidError("no_match", "this key has not failed this item; give it back with add-todo-status")
        return _done("Failed info added", item)

    async def add_todo_pr(self, connection: Connection, asking: Asking, now: datetime) -> Answer:
        """Take the result of a lease that is held, once."""
        cid = _result_of(asking)
        item, lease = await self._own(connection, asking)
        if await self._reviewing.is_known_result(connection, item, lease, cid):
            return _done("PR URL updated", item)
        self._check(item, lease, asking, now)
        deadline = now + timedelta(seconds=self._settings.review_seconds)
        attempts = self._settings.attempts_at_most
        await store.report(connection, item, lease, cid, attempts_at_most=attempts, now=now, deadline=deadline)
        return _done("PR URL updated", item)

    async def add_round_number(self, asking: Asking) -> Do:
        """Put the reported result into the round whose submission names it."""
        number = self._reviewing.round_of(asking, await self._current_round(asking))

        async def do(connection: Connection, asking: Asking, now: datetime) -> Answer:
            await self._reviewing.hold_open_round(connection, asking.taskId, number)
            item, lease = await self._own(connection, asking)
            if not await self._reviewing.is_in_round(connection, item, lease, number):
                check_holder(
                    lease.beside(item), worker=asking.stakingKey, fencing_token=_token(asking, lease), now=now, ending="reported"
                )
                await self._reviewing.enter(connection, item, lease, number, now)
            return answer(200, {"success": True, "message": "Round number added", "swarmBountyId": item.id, "roundNumber": number})

        return do

    async def check_todo(self, connection: Connection, asking: Asking, now: datetime) -> Answer:
        """Tell an auditor whether ``pubKey`` put exactly this result into this round, under a lease that still counts."""
        data = await self._reviewing.match(connection, asking)
        return answer(200, {"success": True, "message": "Todo assignment verified successfully", "data": data})

    async def update_audit_result(self, asking: Asking) -> Do:
        """Take over what the chain has paid out for a round, once."""
        if asking.roundNumber is None:
            raise InvalidError("round_missing", "roundNumber: say which round")
        number = asking.roundNumber
        distribution = await self._services.gate.ask(self._services.chain.distribution(asking.taskId, number))
        if distribution is None:
            raise InvalidError("distribution_absent", f"the chain has paid out nothing for round {number} yet")
        paid_out = distribution

        async def do(connection: Connection, asking: Asking, now: datetime) -> Answer:
            settled = await self._reviewing.settle(connection, asking.taskId, number, paid_out, now)
            return answer(200, {"success": True, "message": "Audit results updated", "data": settled})

        return do

    async def _current_round(self, asking: Asking) -> int:
        return await self._services.gate.ask(self._services.chain.current_round(asking.taskId))

    async def _heard(self, connection: Connection, asking: Asking, now: datetime) -> None:
        gateway = None if isinstance(asking, LegacyRequest) else asking.gateway
        await heard(
            connection,
            task_id=asking.taskId,
            key=asking.stakingKey,
            github_username=asking.githubUsername,
            gateway=gateway,
            now=now,
        )

    async def _held(self, connection: Connection, asking: Asking, now: datetime) -> tuple[WorkItem, LeaseRow]:
        """Return the locked item and the lease that the asker still holds on it."""
        item, lease = await self._own(connection, asking)
        self._check(item, lease, asking, now)
        return item, lease

    def _check(self, item: WorkItem, lease: LeaseRow, asking: Asking, now: datetime) -> None:
        check_holder(lease.beside(item), worker=asking.stakingKey, fencing_token=_token(asking, lease), now=now)

    async def _own(self, connection: Connection, asking: Asking) -> tuple[WorkItem, LeaseRow]:
        """Return the locked item and the asker's own lease on it, whatever became of that lease."""
        found = await _find_lease(connection, asking)
        item = await read_item(connection, store.require(found).work_item, lock=True)
        # Read again: what happened to the lease until the item was locked counts.
        lease = store.require(await _find_lease(connection, asking))
        if lease.worker != asking.stakingKey or item.task_id != asking.taskId:
            raise InvalidError("lease_foreign", "this lease belongs to another key or another task")
        if asking.swarmBountyId not in {None, item.id}:
            raise InvalidError("lease_foreign", f"this lease is not on the work item {asking.swarmBountyId!r}")
        if lease.fencing_token != _token(asking, lease):
            raise InvalidError("fencing_token_wrong", "this lease has another fencing token")
        return item, lease


async def _find_lease(connection: Connection, asking: Asking) -> LeaseRow | None:
    if isinstance(asking, NodeRequest):
        if asking.leaseId is None or asking.fencingToken is None:
            raise InvalidError("lease_missing", "leaseId and fencingToken: say under which lease")
        return await lease_of_id(connection, asking.leaseId)
    if asking.swarmBountyId is None:
        raise InvalidError("lease_missing", "swarmBountyId: say which work item")
    return await newest_lease(connection, asking.stakingKey, asking.swarmBountyId)


def _names_lease(asking: Asking) -> bool:
    return isinstance(asking, NodeRequest) and (asking.leaseId is not None or asking.fencingToken is not None)


def _token(asking: Asking, lease: LeaseRow) -> int:
    """Return the token that the asker says; an original node cannot say one, so its newest lease's is meant."""
    if isinstance(asking, NodeRequest) and asking.fencingToken is not None:
        return int(asking.fencingToken)
    return lease.fencing_token


def _result_of(asking: Asking) -> str:
    """Return the CID in ``prUrl``, in its one spelling. Raises InvalidError ``result_missing`` or a code of ``Cid.parse``."""
    if asking.prUrl is None:
        raise InvalidError("result_missing", "prUrl: give the root CID of the proof package")
    return str(Cid.parse(asking.prUrl.removeprefix("ipfs://")))


def _done(message: str, item: WorkItem) -> Answer:
    return answer(200, {"success": True, "message": message, "swarmBountyId": item.id})
