"""JSON-RPC 2.0 over HTTP for a devnet, on loopback only.

A web page that a developer happens to have open must not reach it: only JSON bodies are read, which a page cannot send to
another origin without being allowed to, and only loopback names are answered to. Bodies and batches are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from koii_chain.devnet.chain import DEVNET_MINT, Chain
from koii_chain.devnet.methods import METHODS
from koii_chain.state import MAX_U64
from orca_protocol.canonical import parse_json
from orca_protocol.errors import InvalidError, OrcaError

BODY_MAX_BYTES: Final = 256 * 1024
BATCH_MAX: Final = 50
#: error codes of JSON-RPC 2.0, and of Solana for a refused transaction
PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
REFUSED: Final = -32002
#: JSON-RPC sends no answer to these: they have no id
_NOTHING: Final = object()

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DevnetSettings:
    """Where a devnet keeps its log, and where it listens; port 0 takes a free one."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    real_time: bool = False


def create_app(chain: Chain) -> Starlette:
    """Return the application that answers for ``chain``."""

    async def rpc(request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return Response("send JSON-RPC as application/json\n", 415)
        body = await _body(request)
        if body is None:
            return Response(f"a request has at most {BODY_MAX_BYTES} bytes\n", 413)
        answer = answer_to(chain, body)
        return Response(status_code=204) if answer is None else Response(answer, media_type="application/json")

    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"], www_redirect=False)
    return Starlette(routes=[Route("/", rpc, methods=["POST"])], middleware=[hosts])


def answer_to(chain: Chain, body: bytes) -> bytes | None:
    """Return the answer to a request or a batch of them, or None when none was asked for."""
    try:
        document = parse_json(body, max_bytes=BODY_MAX_BYTES, where="the request", max_integer=MAX_U64)
    except InvalidError as error:
        return _encoded(_failure(None, PARSE_ERROR, error))
    if not isinstance(document, list):
        answer = _one(chain, document)
        return None if answer is _NOTHING else _encoded(answer)
    if not 1 <= len(document) <= BATCH_MAX:
        return _encoded(_failure(None, INVALID_REQUEST, InvalidError("batch", f"a batch has 1 to {BATCH_MAX} requests")))
    answers = [answer for answer in (_one(chain, part) for part in document) if answer is not _NOTHING]
    return _encoded(answers) if answers else None


async def serve(settings: DevnetSettings, ready: Callable[[str, Chain], None]) -> None:
    """Run a devnet until cancelled; ``ready`` is told its address once it listens. Signals are the caller's business.

    Raises InvalidError ``not_loopback``, UnavailableError ``devnet_in_use`` and whatever ``Chain`` raises.
    """
    if not ipaddress.ip_address(settings.host).is_loopback:
        raise InvalidError(
            "not_loopback", f"a devnet gives away its tokens, so it listens on loopback only, not on {settings.host}"
        )
    chain = Chain(settings.data, real_time=settings.real_time)
    with contextlib.closing(chain), _listening(settings) as listener:
        config = uvicorn.Config(create_app(chain), log_config=None, access_log=False, lifespan="off", timeout_keep_alive=30)
        server = _Server(config)
        host, port = listener.getsockname()[:2]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", chain)
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """uvicorn would take the process's signals for itself, and raise them again at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def announcement(address: str, chain: Chain) -> dict[str, Any]:
    """Return what a devnet says when it is ready."""
    return {"endpoint": address, "mint": DEVNET_MINT, "slot": chain.slot(), "records": chain.records, "digest": chain.digest()}


def _listening(settings: DevnetSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InvalidError("port_in_use", f"port {settings.port} of {settings.host} is not free: {error.strerror}") from error
    return listener


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            return None
    return bytes(body)


def _one(chain: Chain, request: Any) -> Any:
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
        return _failure(None, INVALID_REQUEST, InvalidError("request", "this is not a JSON-RPC 2.0 request"))
    asked, name, params = request.get("id"), request["method"], request.get("params", [])
    if not isinstance(asked, str | int | None) or isinstance(asked, bool):
        return _failure(None, INVALID_REQUEST, InvalidError("request", "an id is text or a whole number"))
    answer = _answer(chain, asked, name, params)
    return answer if "id" in request else _NOTHING


def _answer(chain: Chain, asked: str | int | None, name: str, params: Any) -> dict[str, Any]:
    method = METHODS.get(name)
    if method is None:
        return _failure(asked, NO_METHOD, InvalidError("no_method", f"the devnet has no method {name[:60]!r}"))
    if not isinstance(params, list):
        return _failure(asked, INVALID_PARAMS, InvalidError("params", "parameters are a list"))
    try:
        return {"jsonrpc": "2.0", "id": asked, "result": method(chain, params)}
    except InvalidError as error:
        return _failure(asked, REFUSED if name == "sendTransaction" else INVALID_PARAMS, error)
    except OrcaError as error:
        return _failure(asked, INTERNAL, error)
    except Exception as error:  # noqa: BLE001 - the outermost loop: one request's bug must not take the chain from everybody
        _log.exception("method %s failed", name)
        return _failure(asked, INTERNAL, InvalidError("bug", f"the devnet failed over this request: {type(error).__name__}"))


def _failure(asked: str | int | None, number: int, error: OrcaError) -> dict[str, Any]:
    data = {"code": error.code, "detail": error.detail}
    return {"jsonrpc": "2.0", "id": asked, "error": {"code": number, "message": str(error), "data": data}}


def _encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
