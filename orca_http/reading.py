"""What came in: bodies as strict documents, the key that a person sent, names of requests, query parameters.

How many bytes are read at all is held by ``bounds``.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import HTTPConnection, Request

from orca_protocol.documents import read
from orca_protocol.errors import InvalidError

T = TypeVar("T", bound=BaseModel)

_PLACE = re.compile(r"[0-9]{1,18}")


async def read_body(request: Request, kind: type[T], *, max_bytes: int) -> T:
    """Return the body as ``kind``. Raises InvalidError naming the field."""
    return read(kind, await request.body(), max_bytes=max_bytes, where="body")


async def read_json(request: Request, kind: type[T], *, max_bytes: int) -> T:
    """Return the body, which must be called JSON, as ``kind``. Raises InvalidError ``media_type``, or naming the field."""
    refuse_other_media(request)
    return await read_body(request, kind, max_bytes=max_bytes)


def refuse_other_media(request: Request) -> None:
    """Refuse a body that is not called JSON: a page of another site can send any other kind without asking first."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidError("media_type", "send JSON, and the header Content-Type: application/json")


def body_schema(kind: type[BaseModel], *, at_most: int | None = None) -> dict[str, Any]:
    """Return what a route says of its body in the OpenAPI document; with ``at_most`` it is a list."""
    schema = kind.model_json_schema()
    parts = schema.pop("$defs", {})
    whole = _whole(schema, parts)
    if at_most is not None:
        whole = {"type": "array", "items": whole, "minItems": 1, "maxItems": at_most}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": whole}}}}


def api_key_of(request: HTTPConnection) -> str:
    """Return the API key that came with the request. Raises InvalidError ``credentials_missing``."""
    secret = request.headers.get("x-api-key")
    if secret is None:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = ""
    secret = secret.strip()
    if not secret:
        raise InvalidError("credentials_missing", "say who you are: x-api-key: KEY, or Authorization: Bearer KEY")
    return secret


def idempotency_key_of(request: Request, *, longest: int = 255) -> str | None:
    """Return the name that a person gave this request, if any. Raises InvalidError ``idempotency_key``."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= longest and re.fullmatch(r"[!-~]+", key)):
        raise InvalidError("idempotency_key", f"an Idempotency-Key has 1 to {longest} visible ASCII characters")
    return key


def place_of(request: HTTPConnection, name: str, *, what: str) -> int:
    """Return a place in a list from the query, 0 where none is given. Raises InvalidError ``query``."""
    value = request.query_params.get(name, "0")
    if not _PLACE.fullmatch(value):
        raise InvalidError("query", f"{name}: {what}")
    return int(value)


def choice_of(request: Request, name: str, values: tuple[str, ...]) -> str | None:
    """Return a query parameter that is one of ``values``. Raises InvalidError ``query`` listing them."""
    value = request.query_params.get(name)
    if value is not None and value not in values:
        raise InvalidError("query", f"{name}: one of {', '.join(values)}")
    return value


def one_of(values: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of a choice."""
    return {"type": "string", "enum": list(values)}


def query_text(request: Request, name: str) -> str | None:
    """Return a query parameter. Raises InvalidError ``query`` for what no name or key looks like."""
    value = request.query_params.get(name)
    if value is not None and not re.fullmatch(r"[!-~]{1,200}", value):
        raise InvalidError("query", f"{name}: 1 to 200 visible ASCII characters")
    return value


def _whole(schema: Any, parts: dict[str, Any]) -> Any:
    """Return ``schema`` with its parts in place: in an OpenAPI document a reference to them would lead nowhere."""
    if isinstance(schema, list):
        return [_whole(member, parts) for member in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _whole(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {name: _whole(member, parts) for name, member in schema.items()}
