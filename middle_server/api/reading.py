"""What came in: bodies as strict documents, people by their key, nodes by their signature, names of requests.

How many bytes are read at all is held by ``bounds``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field
from starlette.requests import Request

from middle_server.api.services import Services
from middle_server.rules.repeats import Asked
from middle_server.store.keys import owner_of
from orca_protocol.canonical import sha256_hex
from orca_protocol.documents import read
from orca_protocol.errors import InvalidError
from orca_protocol.keys import is_devnet_key
from orca_protocol.lease import PublicKey
from orca_protocol.model import Strict
from orca_protocol.requests import LegacyRequest, NodeRequest, open_legacy_request, open_request

_log = logging.getLogger(__name__)
T = TypeVar("T", bound=BaseModel)

_KEY = re.compile(r"[!-~]{1,255}")
SEALED_MAX_BYTES = 32 * 1024


class Signed(Strict):
    """The body of every node's request. Nothing else may stand in it: what is not signed means nothing."""

    signature: Annotated[str, Field(min_length=1)]
    stakingKey: PublicKey  # noqa: N815 - the wire's own spelling


@dataclass(frozen=True, slots=True)
class FromNode:
    """A node's request, opened. ``asked`` is None for an original node's, which has no name to be remembered by."""

    request: NodeRequest | LegacyRequest
    asked: Asked | None


async def read_body(request: Request, kind: type[T], *, max_bytes: int) -> T:
    """Return the body as ``kind``. Raises InvalidError naming the field."""
    return read(kind, await request.body(), max_bytes=max_bytes, where="body")


async def read_node(request: Request, services: Services, action: str) -> FromNode:
    """Return who asks, and what, from the signed body. Raises InvalidError with the code of the first thing that is wrong."""
    body = await read_body(request, Signed, max_bytes=SEALED_MAX_BYTES)
    key = body.stakingKey
    opened: NodeRequest | LegacyRequest | None = _legacy(body, services, action)
    if opened is None:
        audience = services.settings.audience + request.url.path
        now = int(services.clock())
        opened = open_request(body.signature, key, audience=audience, action=action, now=now)
    if not services.settings.is_devnet and is_devnet_key(key):
        raise InvalidError("devnet_key", "anybody can sign with this key; make one of your own: orca key new")
    if opened.taskId not in services.settings.task_ids:
        raise InvalidError("task_foreign", f"this server serves the tasks {', '.join(services.settings.task_ids)}")
    if isinstance(opened, LegacyRequest):
        return FromNode(opened, None)
    return FromNode(opened, Asked(f"node:{key}", opened.nonce, sha256_hex(body.signature.encode())))


def _legacy(body: Signed, services: Services, action: str) -> LegacyRequest | None:
    if not services.settings.legacy_envelopes:
        return None
    opened = open_legacy_request(body.signature, body.stakingKey, action=action)
    if opened is not None:
        _log.warning("legacy envelope accepted: %s by %s has no audience, nonce or expiry", action, body.stakingKey)
    return opened


async def require_person(request: Request, services: Services) -> str:
    """Return the requester whose API key came with the request. Raises InvalidError ``credentials_…``."""
    secret = request.headers.get("x-api-key")
    if secret is None:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = ""
    secret = secret.strip()
    if not secret:
        raise InvalidError("credentials_missing", "say who you are: x-api-key: KEY, or Authorization: Bearer KEY")
    async with services.database.transaction() as connection:
        requester = await owner_of(connection, secret)
    if requester is None:
        raise InvalidError("credentials_unknown", "this API key is unknown or was revoked")
    return requester


async def asked_by_person(request: Request, requester: str) -> Asked | None:
    """Return the name of a person's request, if it has one. Raises InvalidError ``idempotency_key``."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidError("idempotency_key", "an Idempotency-Key has 1 to 255 visible ASCII characters")
    sent = f"{request.method} {request.url.path}\n".encode() + await request.body()
    return Asked(f"person:{requester}", key, sha256_hex(sent))


def one_of(values: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of a choice."""
    return {"type": "string", "enum": list(values)}


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what a route says of its body in the OpenAPI document; the body itself is read by ``read_body``."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


def query_text(request: Request, name: str) -> str | None:
    """Return a query parameter. Raises InvalidError ``query`` for what no name or key looks like."""
    value = request.query_params.get(name)
    if value is not None and not re.fullmatch(r"[!-~]{1,200}", value):
        raise InvalidError("query", f"{name}: 1 to 200 visible ASCII characters")
    return value
