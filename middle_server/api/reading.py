"""Who asks: people by their key, nodes by their signature; and the name under which a request is remembered."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from starlette.requests import Request

from middle_server.api.services import Services
from middle_server.rules.repeats import Asked
from middle_server.store.keys import owner_of
from orca_http.reading import api_key_of, idempotency_key_of, read_body
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import InvalidError
from orca_protocol.keys import is_devnet_key
from orca_protocol.lease import PublicKey
from orca_protocol.model import Strict
from orca_protocol.requests import LegacyRequest, NodeRequest, open_legacy_request, open_request

_log = logging.getLogger(__name__)

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
    secret = api_key_of(request)
    async with services.database.transaction() as connection:
        requester = await owner_of(connection, secret)
    if requester is None:
        raise InvalidError("credentials_unknown", "this API key is unknown or was revoked")
    return requester


async def asked_by_person(request: Request, requester: str) -> Asked | None:
    """Return the name of a person's request, if it has one. Raises InvalidError ``idempotency_key``."""
    key = idempotency_key_of(request)
    if key is None:
        return None
    sent = f"{request.method} {request.url.path}\n".encode() + await request.body()
    return Asked(f"person:{requester}", key, sha256_hex(sent))
