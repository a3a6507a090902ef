"""When a request is one that was answered before. The same bytes get the same answer, other bytes under the same name none."""

from __future__ import annotations

from dataclasses import dataclass

from orca_protocol.errors import InvalidError


@dataclass(frozen=True, slots=True)
class Asked:
    """A request by its name: who asks (``scope``), under which nonce or idempotency key, and the digest of what was sent."""

    scope: str
    key: str
    sha256: str


def check_same(asked: Asked, sha256_before: str) -> None:
    """Raise InvalidError ``request_reused`` if other bytes were sent under this name before."""
    if asked.sha256 != sha256_before:
        raise InvalidError(
            "request_reused",
            "this nonce or Idempotency-Key came with another request before; use a new one for every new request",
        )
