"""The nodes that were heard, and the rounds. Open: all of it is public anyway, in packages or on chain."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from middle_server.api.services import Services
from middle_server.rules.moments import rfc3339
from middle_server.store.items import read_item
from middle_server.store.nodes import Node, list_nodes
from middle_server.store.rounds import RoundResult, Settled, result_of, results_in, settled_round
from orca_http.answers import json_answer as answer
from orca_http.answers import respond
from orca_http.reading import query_text
from orca_protocol.errors import InvalidError

_NODES = 1000
_TASK_PARAMETER = {"parameters": [{"name": "task_id", "in": "query", "schema": {"type": "string"}}]}


def routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/nodes``, ``/v1/rounds`` and ``/v1/leases`` (which lease of an item is the current one)."""
    router = APIRouter(prefix="/v1", tags=["network"])

    async def nodes(request: Request) -> Response:
        task_id = _task(request, services)
        async with services.database.transaction() as connection:
            found = await list_nodes(connection, task_id, limit=_NODES)
        return respond(answer(200, {"task_id": task_id, "nodes": [_node(node) for node in found]}))

    async def round_(request: Request, number: str) -> Response:
        task_id = _task(request, services)
        if not re.fullmatch(r"0|[1-9][0-9]{0,14}", number):
            raise InvalidError("round_unknown", "a round is a number")
        async with services.database.transaction() as connection:
            results = await results_in(connection, task_id, int(number))
            settled = await settled_round(connection, task_id, int(number))
        document = {
            "task_id": task_id,
            "round": int(number),
            "results": [_result(result) for result in results],
            "settled": None if settled is None else _settled(settled),
        }
        return respond(answer(200, document))

    async def lease(work_item: str) -> Response:
        if not re.fullmatch(r"[0-9a-f-]{36}", work_item):
            raise InvalidError("work_item_unknown", "there is no such work item")
        async with services.database.transaction() as connection:
            item = await read_item(connection, work_item)
            result = None if item.lease_id is None else await result_of(connection, item.lease_id)
        document: dict[str, Any] = {
            "work_item": item.id,
            "task_id": item.task_id,
            "status": item.status,
            "fencing_token": str(item.fencing_token),
        }
        if result is not None:
            document |= {"worker": result.worker, "cid": result.cid, "round": result.round}
        return respond(answer(200, document))

    router.add_api_route("/leases/{work_item}", lease, methods=["GET"], response_class=Response)
    router.add_api_route("/nodes", nodes, methods=["GET"], openapi_extra=_TASK_PARAMETER, response_class=Response)
    router.add_api_route("/rounds/{number}", round_, methods=["GET"], openapi_extra=_TASK_PARAMETER, response_class=Response)
    return router


def _task(request: Request, services: Services) -> str:
    """Return the task that is asked about; left out, the server's only one. Raises InvalidError ``task_unknown``."""
    tasks = services.settings.task_ids
    task_id = query_text(request, "task_id") or (tasks[0] if len(tasks) == 1 else "")
    if task_id not in tasks:
        raise InvalidError("task_unknown", f"task_id: this server serves the tasks {', '.join(tasks)}")
    return task_id


def _node(node: Node) -> dict[str, Any]:
    return {
        "staking_key": node.staking_key,
        "github_username": node.github_username,
        "gateway": node.gateway,
        "first_seen": rfc3339(node.first_seen),
        "last_seen": rfc3339(node.last_seen),
        "leases": node.leases,
    }


def _result(result: RoundResult) -> dict[str, Any]:
    return {
        "work_item": result.work_item,
        "status": result.status,
        "worker": result.worker,
        "cid": result.cid,
        "lease_id": result.lease_id,
        "fencing_token": str(result.fencing_token),
        "price": str(int(result.price)),
        "required_checks": result.required_checks,
        "pays_partial": result.pays_partial,
        "outcome": result.outcome,
        "verdicts": {"approve": result.approves, "reject": result.rejects, "abstain": result.abstains},
    }


def _settled(settled: Settled) -> dict[str, Any]:
    amounts = {key: str(amount) for key, amount in settled.distribution.items()}
    return {"at": rfc3339(settled.settled), "distribution": amounts, "outcomes": dict(settled.outcomes)}
