"""Work items, for the people who post them: create, list, read, cancel, result. Everyone sees their own only."""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from middle_server.api.once import Act, answered, once
from middle_server.api.reading import asked_by_person, require_person
from middle_server.api.services import Services
from middle_server.reviewing import Reviewing
from middle_server.rules.moments import rfc3339
from middle_server.rules.states import SHOWN, shown
from middle_server.store import items as store
from middle_server.store import leases
from middle_server.store.database import Connection
from middle_server.store.items import NewItem, WorkItem
from orca_engine.bounds import inputs_at_most
from orca_engine.program import admit
from orca_http.answers import Answer, respond
from orca_http.answers import json_answer as answer
from orca_http.reading import body_schema, choice_of, one_of, place_of, read_body
from orca_protocol.canonical import canonical, sha256_hex
from orca_protocol.errors import InvalidError, LimitError
from orca_protocol.lease import AllowedModel, BaseUnits, CheckName, refuse_impossible_checks
from orca_protocol.model import Strict
from orca_protocol.spec import read_spec
from orca_protocol.verdict import CHECK_NAMES
from orca_time.schedule import due_of

PRICE_MAX = 2**64 - 1
_ID = re.compile(r"[0-9a-f-]{36}")
_PAGE = 100


class WorkItemRequest(Strict):
    """What a requester posts."""

    #: a SwarmSpec: as text, its exact bytes are kept; as an object, its canonical form is
    spec: str | dict[str, Any]
    #: base units of the mint
    price: BaseUnits
    #: what may answer; an answer of anything else is not paid
    models: Annotated[tuple[AllowedModel, ...], Field(min_length=1, max_length=100, strict=False)]
    required_checks: Annotated[tuple[CheckName, ...], Field(min_length=1, max_length=len(CHECK_NAMES), strict=False)]
    pays_partial: bool = False
    #: packages are public; ``sealed`` is refused until it is built
    visibility: Literal["public"]
    #: left out: the server's only task
    task_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None


def routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/work-items``."""
    router = APIRouter(prefix="/v1/work-items", tags=["work items"])
    items = _Items(services)
    router.add_api_route("", items.create, methods=["POST"], openapi_extra=body_schema(WorkItemRequest), response_class=Response)
    router.add_api_route("", items.list_own, methods=["GET"], openapi_extra=_LIST_PARAMETERS, response_class=Response)
    router.add_api_route("/{item_id}", items.read, methods=["GET"], response_class=Response)
    router.add_api_route("/{item_id}/result", items.result, methods=["GET"], response_class=Response)
    router.add_api_route("/{item_id}/cancel", items.cancel, methods=["POST"], response_class=Response)
    return router


_LIST_PARAMETERS = {
    "parameters": [
        {"name": "status", "in": "query", "schema": one_of(SHOWN)},
        {"name": "after", "in": "query", "schema": {"type": "integer", "minimum": 0}},
    ]
}


class _Items:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._reviewing = Reviewing(services.settings)

    async def create(self, request: Request) -> Response:
        requester = await require_person(request, self._services)
        wanted = await read_body(request, WorkItemRequest, max_bytes=self._settings.body_bytes)
        # A large spec takes long to look at; others are served meanwhile.
        item = await asyncio.to_thread(self._check, requester, wanted)

        async def act(connection: Connection) -> Answer:
            limit = self._settings.items_per_requester
            if await store.count_unfinished(connection, requester, limit=limit) >= limit:
                raise LimitError("too_many_items", f"{limit} of your work items are not finished; wait, or cancel some")
            now = self._services.now()
            due = None if item.schedule is None else due_of(item.schedule, now)
            return answer(201, document_of(await store.create_item(connection, item, due, now), now))

        return await self._once(request, requester, act)

    def _check(self, requester: str, wanted: WorkItemRequest) -> NewItem:
        """Refuse what could never be run, checked or paid."""
        spec = wanted.spec.encode() if isinstance(wanted.spec, str) else canonical(wanted.spec)
        parsed = read_spec(spec)
        admit(parsed)
        if inputs_at_most(parsed):
            raise InvalidError(
                "nobody_to_ask",
                "rearrange_flow: H asks a person, and nobody is there where a node works; run it at an agent of yours",
            )
        refuse_impossible_checks(wanted.models, wanted.required_checks)
        names = [model.name for model in wanted.models]
        if len(set(names)) != len(names):
            raise InvalidError("models_twice", "models: a name stands there twice")
        if any("\0" in name for name in names):
            raise InvalidError("schema", "models: a name holds a NUL")
        price = int(wanted.price)
        if not 0 < price <= PRICE_MAX:
            raise InvalidError("price_impossible", f"price: more than 0 and at most {PRICE_MAX} base units can be paid")
        tasks = self._settings.task_ids
        task_id = wanted.task_id or (tasks[0] if len(tasks) == 1 else "")
        if task_id not in tasks:
            raise InvalidError("task_foreign", f"task_id: this server serves the tasks {', '.join(tasks)}")
        return NewItem(
            id=str(uuid.uuid4()),
            requester=requester,
            task_id=task_id,
            spec=spec,
            spec_sha256=sha256_hex(spec),
            price=price,
            models=[model.document() for model in wanted.models],
            required_checks=wanted.required_checks,
            pays_partial=wanted.pays_partial,
            schedule=parsed.schedule,
        )

    async def list_own(self, request: Request) -> Response:
        requester = await require_person(request, self._services)
        status = choice_of(request, "status", SHOWN)
        after = place_of(request, "after", what="the place of the last item you have seen")
        now = self._services.now()
        async with self._services.database.transaction() as connection:
            found = await store.list_items(connection, requester, status=status, after_place=after, limit=_PAGE, now=now)
        more = str(found[-1].place) if len(found) == _PAGE else None
        return respond(answer(200, {"work_items": [document_of(item, now) for item in found], "after": more}))

    async def read(self, request: Request, item_id: str) -> Response:
        requester = await require_person(request, self._services)
        async with self._services.database.transaction() as connection:
            return respond(answer(200, document_of(await _own(connection, item_id, requester), self._services.now())))

    async def result(self, request: Request, item_id: str) -> Response:
        requester = await require_person(request, self._services)
        async with self._services.database.transaction() as connection:
            item = await _own(connection, item_id, requester)
            result = await self._reviewing.standing(connection, item)
        document = {
            "work_item": item.id,
            "status": item.status,
            "cid": result.cid,
            "worker": result.worker,
            "lease_id": result.lease_id,
            "round": result.round,
            "outcome": result.outcome,
            "reported": rfc3339(result.reported),
        }
        return respond(answer(200, document))

    async def cancel(self, request: Request, item_id: str) -> Response:
        requester = await require_person(request, self._services)

        async def act(connection: Connection) -> Answer:
            item = await _own(connection, item_id, requester, lock=True)
            now = self._services.now()
            if item.status != "cancelled":
                await leases.cancel(connection, item, attempts_at_most=self._settings.attempts_at_most, now=now)
            return answer(200, document_of(await store.read_item(connection, item.id), now))

        return await self._once(request, requester, act)

    async def _once(self, request: Request, requester: str, act: Act) -> Response:
        asked, now = await asked_by_person(request, requester), self._services.now()
        given = await answered(self._services, asked, now)
        if given is None:
            expires = now + timedelta(seconds=self._settings.remember_seconds)
            given = await once(self._services, asked, act, now=now, expires=expires, at_most=self._settings.items_per_requester)
        return respond(given)


async def _own(connection: Connection, item_id: str, requester: str, *, lock: bool = False) -> WorkItem:
    """Return the requester's item; another's is as unknown as none. Raises InvalidError ``work_item_unknown``."""
    if _ID.fullmatch(item_id):
        item = await store.read_item(connection, item_id, lock=lock)
        if item.requester == requester:
            return item
    raise InvalidError("work_item_unknown", "you have no such work item")


def document_of(item: WorkItem, now: datetime) -> dict[str, Any]:
    """Return the item as people see it."""
    return {
        "id": item.id,
        "status": shown(item.status, not_before=item.not_before, now=now),
        "scheduled": None if item.due is None else item.due.document(),
        "task_id": item.task_id,
        "spec_sha256": item.spec_sha256,
        "price": str(item.price),
        "models": item.models,
        "required_checks": item.required_checks,
        "pays_partial": item.pays_partial,
        "visibility": "public",
        "attempts": item.attempts,
        "fencing_token": str(item.fencing_token),
        "created": rfc3339(item.created),
        "updated": rfc3339(item.updated),
    }
