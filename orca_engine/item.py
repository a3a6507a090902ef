"""The item an engine runs: a spec under an id, and the seed that the two give each call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from orca_protocol.budget import Ceilings
from orca_protocol.canonical import sha256_hex
from orca_protocol.journal import Path
from orca_protocol.spec import SwarmSpec, read_spec

_LOCAL = "spec:"


def is_local(item_id: str) -> bool:
    """Whether the item with this id is one that nobody leased."""
    return item_id.startswith(_LOCAL)


@dataclass(frozen=True, slots=True)
class Item:
    """A work item as the engine sees it."""

    #: the work item's id; for a run without a lease ``spec:`` and the SHA-256 of the spec's bytes
    id: str
    spec: SwarmSpec
    #: what the run may use; None: what the spec alone says
    ceilings: Ceilings | None = None

    @classmethod
    def local(cls, spec_bytes: bytes, *, where: str = "spec") -> Item:
        """Return the item of a spec that nobody leased. Raises InvalidError naming the wrong field."""
        return cls(f"{_LOCAL}{sha256_hex(spec_bytes)}", read_spec(spec_bytes, where=where))

    def seed(self, path: Path) -> int:
        """Return the sampling seed of the call at ``path``: first 32 bits of SHA-256(id ‖ canonical path)."""
        canonical_path = f"[{','.join(map(str, path))}]"
        return int.from_bytes(hashlib.sha256((self.id + canonical_path).encode()).digest()[:4], "big")
