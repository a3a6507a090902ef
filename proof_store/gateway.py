"""A node's own blocks over HTTP, as an IPFS trustless gateway: raw blocks and CAR streams that the client verifies.

After the IPFS Trustless Gateway specification (specs.ipfs.tech/http-gateways/trustless-gateway), non-recursive: it serves what
the store holds and never looks elsewhere, so it has nothing to answer 502 or 504 about. No request writes, and none makes it
send bytes that do not hash to the CID they were asked by. What it costs to serve strangers is bounded by ``GatewaySettings``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from proof_store.base import BlockStore, checked
from proof_store.car import car_pieces, header_of
from proof_store.cid import Cid
from proof_store.entity import Resolved, Scope, blocks_of, resolve
from proof_store.gateway_problem import our_mistake, problem_response, status_of
from proof_store.gateway_request import PROBE_BYTES, Asked, Form, matches, read_range, read_request
from proof_store.limits import CarLimits

_log = logging.getLogger(__name__)
_ABSENT = InvalidError("not_found", "there is nothing at this path; blocks are at /ipfs/{cid}")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What serving strangers may cost. Everything has a default; ``denied`` is the operator's own."""

    #: requests answered at once; the next one is told 503 and when to come back
    concurrent: int = 32
    #: bytes of one CAR, headers included; a tree that says it has more is refused, one that lied is cut off
    car_bytes: int = 72 * 1_048_576
    #: blocks in one CAR; also bounds what is remembered to send each only once
    car_blocks: int = 24_000
    #: wall time of one answer, from request to last byte
    seconds: float = 300.0
    #: how long a client may leave one block unread before it is cut off and its place given to the next
    stall_seconds: float = 20.0
    #: CIDs that are not served though they may be here: answered 410, by digest, so under any codec, and left out of every CAR
    denied: frozenset[Cid] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if min(self.concurrent, self.car_bytes, self.car_blocks) < 1 or min(self.seconds, self.stall_seconds) <= 0:
            raise TypeError("every limit of a gateway is more than nothing")


def create_gateway(blocks: BlockStore, settings: GatewaySettings) -> ASGIApp:
    """Return the application; it answers below ``/ipfs/``, so mount it at the root, after everything else.

    Store failures and what clients ask wrongly become problem documents (RFC 9457). The store is read in threads.
    """

    gateway = _Gateway(_Offered(blocks, settings.denied), settings)
    app = Starlette(
        routes=[Route("/ipfs/{path:path}", gateway)],
        exception_handlers={404: lambda request, error: problem_response(_ABSENT), Exception: lambda request, error: our_mistake()},
    )
    app.router.redirect_slashes = False
    return app


class _Offered:
    """The store without what the operator denies. Only ``get`` is ever called."""

    def __init__(self, blocks: BlockStore, denied: frozenset[Cid]) -> None:
        self._blocks = blocks
        self._denied = frozenset(cid.digest for cid in denied)

    def get(self, cid: Cid) -> bytes:
        """See BlockStore. InvalidError ``block_denied`` for what is on the list."""
        if cid.digest in self._denied:
            raise InvalidError("block_denied", f"the operator of this gateway does not serve {cid}")
        return self._blocks.get(cid)

    def put(self, cid: Cid, block: bytes) -> None:
        """A gateway never writes."""
        raise TypeError("a gateway never writes")

    def has(self, cid: Cid) -> bool:
        """See BlockStore."""
        return cid.digest not in self._denied and self._blocks.has(cid)


class _Gateway:
    """The one endpoint, and how many requests are in it."""

    def __init__(self, blocks: _Offered, settings: GatewaySettings) -> None:
        self._blocks = blocks
        self._settings = settings
        self._limits = CarLimits(total_bytes=settings.car_bytes, blocks=settings.car_blocks)
        self._active = 0

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it when there are too many."""
        request, out = Request(scope, receive), _Outgoing(send, self._settings.stall_seconds)
        if self._active >= self._settings.concurrent:
            busy = UnavailableError("gateway_busy", f"{self._active} requests are being answered; try again", retry_after=1)
            with suppress(TimeoutError):
                await problem_response(busy)(scope, receive, out.send)
            return
        self._active += 1
        try:
            await self._bounded(request, out)
        finally:
            self._active -= 1

    async def _bounded(self, request: Request, out: _Outgoing) -> None:
        try:
            async with asyncio.timeout(self._settings.seconds):
                await self._answer(request, out)
            return
        except TimeoutError:
            error: OrcaError = UnavailableError(
                "gateway_slow", "the answer took too long; try again, or ask for a part", retry_after=5
            )
        except (InvalidError, UnavailableError, LimitError) as raised:
            error = raised
        if out.started:
            # The status is said and cannot be taken back. An answer that is not completed makes the server close the
            # connection, by which the client sees that the CAR is cut ("Streaming and Missing Child Blocks").
            _log.warning("an answer was cut off: %s", error)
            return
        if status_of(error) >= 500:
            _log.warning("a request failed: %s", error)
        with suppress(TimeoutError):
            await problem_response(error)(request.scope, request.receive, out.send)

    async def _answer(self, request: Request, out: _Outgoing) -> None:
        if request.method not in ("GET", "HEAD"):
            raise InvalidError("method_not_allowed", "a gateway is read with GET and HEAD; nothing can be put here")
        asked = read_request(request.path_params["path"], request.url.query, request.headers)
        try:
            if asked.form is Form.RAW:
                await self._answer_raw(asked, request, out)
            else:
                await self._answer_car(asked, request, out)
        except UnavailableError as error:
            if error.code == "block_missing" and "only-if-cached" in request.headers.get("cache-control", "").lower():
                raise InvalidError("not_cached", f"{asked.name} is not here") from error
            raise

    async def _answer_raw(self, asked: Asked, request: Request, out: _Outgoing) -> None:
        block = b"" if asked.cid is None else await asyncio.to_thread(self._checked, asked.cid)
        headers = _headers(asked, request) | {"Accept-Ranges": "bytes"}
        if matches(request.headers.get("if-none-match"), asked.etag):
            await Response(status_code=304, headers=headers)(request.scope, request.receive, out.send)
            return
        status, wanted = 200, None
        if request.method == "GET" and request.headers.get("if-range", asked.etag) == asked.etag:
            try:
                wanted = read_range(request.headers.get("range"), len(block))
            except InvalidError as error:
                refusal = problem_response(error, {"Content-Range": f"bytes */{len(block)}", "Accept-Ranges": "bytes"})
                await refusal(request.scope, request.receive, out.send)
                return
        if wanted is not None:
            status = 206
            headers["Content-Range"] = f"bytes {wanted[0]}-{wanted[1] - 1}/{len(block)}"
            block = block[slice(*wanted)]
        headers["Content-Length"] = str(len(block))
        body = b"" if request.method == "HEAD" else block
        await Response(body, status, headers)(request.scope, request.receive, out.send)

    async def _answer_car(self, asked: Asked, request: Request, out: _Outgoing) -> None:
        pieces, roots = await asyncio.to_thread(self._begin, asked)
        headers = _headers(asked, request) | {"Accept-Ranges": "none", "X-Ipfs-Roots": ",".join(roots)}
        if matches(request.headers.get("if-none-match"), asked.etag):
            await Response(status_code=304, headers=headers)(request.scope, request.receive, out.send)
            return
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await out.send({"type": "http.response.start", "status": 200, "headers": encoded})
        if request.method == "GET":
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                if await request.is_disconnected():
                    return
                await out.send({"type": "http.response.body", "body": piece, "more_body": True})
        await out.send({"type": "http.response.body", "body": b"", "more_body": False})

    def _checked(self, cid: Cid) -> bytes:
        return checked(cid, self._blocks.get(cid), max_bytes=self._limits.block_bytes)

    def _begin(self, asked: Asked) -> tuple[Iterator[bytes], tuple[str, ...]]:
        """Resolve the path, refuse what can be refused before the status is said, and return the CAR to be."""
        if asked.cid is None:
            return iter((header_of(PROBE_BYTES),)), (asked.name,)
        place = resolve(asked.cid, asked.path, self._blocks, self._limits, asked.scope)
        self._refuse_too_much(place, asked)
        sections = blocks_of(place, asked.scope, asked.span, self._blocks, self._limits, repeated=asked.repeated)
        return car_pieces(asked.cid, sections, self._limits), tuple(map(str, place.roots))

    def _refuse_too_much(self, place: Resolved, asked: Asked) -> None:
        """Refuse a span outside of the file, and a tree that is too large by its own words."""
        if asked.span is not None and place.size is not None:
            asked.span.within(place.size)
            return
        is_whole = asked.scope is Scope.ALL or (asked.scope is Scope.ENTITY and place.size is not None)
        if is_whole and place.declared_bytes > self._limits.total_bytes:
            limit = self._limits.total_bytes
            raise LimitError(
                "car_bytes", f"the tree has {place.declared_bytes} bytes and {limit} are sent at once; ask for parts of it"
            )


class _Outgoing:
    """The way to the client: knows whether an answer has begun, and gives up on one who does not read it."""

    def __init__(self, send: Send, stall_seconds: float) -> None:
        self._send = send
        self._stall_seconds = stall_seconds
        self.started = False

    async def send(self, message: Message) -> None:
        """Send, or raise TimeoutError when what was sent before is still not taken."""
        self.started = True
        async with asyncio.timeout(self._stall_seconds):
            await self._send(message)


def _headers(asked: Asked, request: Request) -> dict[str, str]:
    """Return what every answer with a body, and its 304, says."""
    headers = {
        "Content-Type": asked.content_type,
        "Etag": asked.etag,
        "Cache-Control": "public, max-age=29030400, immutable",
        "Content-Disposition": f'attachment; filename="{asked.filename}"',
        "X-Content-Type-Options": "nosniff",
        "X-Ipfs-Path": asked.content_path,
        "Vary": "Accept",
    }
    if asked.negotiated:
        headers["Content-Location"] = f"{request.scope.get('root_path', '')}{asked.content_path}?{asked.query}"
    return headers
