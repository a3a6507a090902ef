"""Signed requests from nodes to the middle server, inside the combined envelope of ``envelope.py``.

The payload has the fields that Koii's nodes always sent, plus ours: ``aud`` (the host and path it is meant for), ``nonce``,
``iat`` and ``exp``. They make a captured body worthless elsewhere and later. No meaningful field stands outside the payload.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from orca_protocol.documents import describe
from orca_protocol.envelope import open_envelope
from orca_protocol.errors import InvalidError
from orca_protocol.lease import PublicKey
from orca_protocol.model import Strict

T = TypeVar("T", bound="Fields")

#: the longest life of a request, in seconds
LIFE_MAX = 120
#: how far two honest clocks may differ, in seconds
CLOCK_SKEW = 5

Action = Literal[
    "fetch-todo",
    "add-todo-status",
    "add-todo-pr",
    "add-round-number",
    "check-todo",
    "add-failed-info",
    "update-audit-result",
    "heartbeat",
]
#: no NUL: no database and no log can keep one
Short = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]
LongText = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]
Seconds = Annotated[int, Field(ge=0, le=2**40)]


class Fields(Strict):
    """What Koii's nodes always sent, and what a lease adds. Fields are named as Koii's nodes name them."""

    taskId: Short  # noqa: N815 - the wire's own spelling, here and below
    stakingKey: PublicKey  # noqa: N815
    pubKey: PublicKey | None = None  # noqa: N815
    githubUsername: Short | None = None  # noqa: N815
    swarmBountyId: Short | None = None  # noqa: N815
    prUrl: Short | None = None  # noqa: N815
    roundNumber: Annotated[int, Field(ge=0, le=2**40)] | None = None  # noqa: N815
    status: Short | None = None
    error: LongText | None = None


class NodeRequest(Fields):
    """One request's payload: for one audience, one action and one short time."""

    action: Action
    #: for fetch-todo: the same claim gets the same lease
    claimId: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{16,64}$")] | None = None  # noqa: N815
    leaseId: Short | None = None  # noqa: N815
    fencingToken: Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,18})$")] | None = None  # noqa: N815
    #: for heartbeat: where this node's proofs can be fetched
    gateway: Annotated[str, Field(max_length=512, pattern=r"^https?://[!-~]+$")] | None = None
    aud: Short
    #: 16 random bytes in hexadecimal
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    iat: Seconds
    exp: Seconds


class LegacyRequest(Fields):
    """A payload of the original nodes: nothing in it says for whom, or until when. Only an operator can choose to accept these."""

    #: ``fetch`` is how the oldest of them say fetch-todo
    action: Action | Literal["fetch"]
    publicKey: PublicKey | None = None  # noqa: N815


#: the fields that a legacy payload lacks
OURS = frozenset({"aud", "nonce", "iat", "exp"})


def open_request(sealed: str, staking_key: str, *, audience: str, action: str, now: int) -> NodeRequest:
    """Return the request that ``staking_key`` signed for this ``audience`` (host and path) and ``action``, at Unix time ``now``.

    Raises InvalidError: the codes of ``open_envelope``, ``request_schema``, ``request_key`` (another key inside than outside),
    ``request_audience``, ``request_action``, ``request_expired``, ``request_early`` or ``request_life``.
    """
    request = _parse(NodeRequest, open_envelope(sealed, staking_key, where="request"))
    _check_key(request, staking_key)
    if request.aud != audience:
        raise InvalidError("request_audience", f"this request was signed for {request.aud[:100]!r}, not for {audience!r}")
    if request.action != action:
        raise InvalidError("request_action", f"this request was signed for the action {request.action!r}, not {action!r}")
    _check_times(request, now)
    return request


def open_legacy_request(sealed: str, staking_key: str, *, action: str) -> LegacyRequest | None:
    """Return the payload of an original node, or None if it has any of our fields and so must pass ``open_request``.

    Raises InvalidError: the codes of ``open_envelope``, ``request_schema``, ``request_key`` or ``request_action``.
    """
    payload = open_envelope(sealed, staking_key, where="request")
    if not OURS.isdisjoint(payload):
        return None
    request = _parse(LegacyRequest, payload)
    _check_key(request, staking_key)
    if request.action != action and (request.action, action) != ("fetch", "fetch-todo"):
        raise InvalidError("request_action", f"this request was signed for the action {request.action!r}, not {action!r}")
    return request


def _check_key(request: Fields, staking_key: str) -> None:
    if request.stakingKey != staking_key:
        raise InvalidError("request_key", "the payload names another staking key than the one that signed it")


def _parse(kind: type[T], payload: dict[str, Any]) -> T:
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        raise InvalidError("request_schema", f"request: {describe(error)}") from error


def _check_times(request: NodeRequest, now: int) -> None:
    if not 0 < request.exp - request.iat <= LIFE_MAX:
        raise InvalidError(
            "request_life", f"a request lives more than 0 and at most {LIFE_MAX} s; this one says {request.exp - request.iat}"
        )
    if now >= request.exp:
        raise InvalidError("request_expired", f"this request expired {now - request.exp} s ago; sign a new one")
    if request.iat > now + CLOCK_SKEW:
        raise InvalidError("request_early", f"this request is dated {request.iat - now} s in the future; set the clock")
