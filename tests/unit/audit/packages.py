"""Packages to audit: an honest one, and the tools a dishonest node would use to make others."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nacl.signing import SigningKey

from audit.auditor import FULL_LEVEL, audit
from audit.case import Case
from audit.ports import Redecoder
from audit.source import Received
from orca_engine.item import Item
from orca_engine.machine import Call
from orca_engine.program import calls_at_most, output_tokens_at_most
from orca_engine.replay import replay
from orca_protocol.budget import Ceilings
from orca_protocol.canonical import canonical
from orca_protocol.errors import UnavailableError
from orca_protocol.journal import Entry
from orca_protocol.keys import public_key_of
from orca_protocol.model import Answer, ModelIdentity, ModelRequest, Usage
from orca_protocol.verdict import CheckResult
from proof_store.builder import root_of
from submission.package import RunFacts, build_package
from tests.unit.orca_engine.worlds import World, agent

KEY = SigningKey(bytes(range(32)))
SIGNER = public_key_of(KEY)
OTHER_KEY = SigningKey(bytes(range(1, 33)))

SPEC = json.dumps(
    {"task": "TASK", "agents": [agent("A"), agent("B"), agent("C")], "swarm_type": "ConcurrentWorkflow", "max_loops": 2}
).encode()
ITEM = Item.local(SPEC)

OPEN = ModelIdentity(provider="local", model="open", digest="sha256:aa", engine="e 1", numerics="sha256:bb", sampler={"top_k": 40})
CLOSED = ModelIdentity(provider="openai", model="closed")


def decode(request: ModelRequest, identity: ModelIdentity = OPEN) -> Answer:
    """What the pretended weights answer: a pure function of the request, as greedy or seeded decoding is."""
    word = hashlib.sha256(canonical(request.document())).hexdigest()[:12]
    tokens = tuple(int(word[place : place + 3], 16) for place in range(0, 12, 3)) if identity.digest else None
    return Answer(
        content=f"say {word}", finish_reason="stop", model=identity, usage=Usage(input_tokens=5, output_tokens=4), tokens=tokens
    )


@dataclass
class PretendedWeights:
    """A node's own copy of the open model."""

    identity_here: ModelIdentity = OPEN
    decoded: int = 0
    answer: Callable[[ModelRequest], Answer] = decode

    async def identity(self, model: str) -> ModelIdentity:
        if model != self.identity_here.model:
            raise UnavailableError("model_not_installed", f"no {model} here")
        return self.identity_here

    async def decode(self, request: ModelRequest, model: str) -> Answer:
        self.decoded += 1
        return self.answer(request)


def entries_of(item: Item = ITEM, identity: ModelIdentity = OPEN) -> list[Entry]:
    """Run ``item`` on the pretended weights."""

    def answer(call: Call) -> Answer:
        return decode(call.asked, identity)

    entries, _ = World(item, answer=answer).run()
    return entries


def package(
    entries: Sequence[Entry] | None = None, *, key: SigningKey = KEY, spec: bytes = SPEC, **changes: Any
) -> dict[str, bytes]:
    """Return a package signed by ``key``; its output is what the engine makes of ``entries``, unless ``output`` is given."""
    item = Item.local(spec)
    kept = tuple(sorted(entries if entries is not None else entries_of(item), key=lambda entry: entry.path))
    output = changes.pop("output", None) or replay(item, kept)
    facts = RunFacts(
        run_id="00000000-0000-4000-8000-000000000000",
        work_item=item.id,
        started="2026-01-01T00:00:00.000Z",
        finished="2026-01-01T00:00:01.000Z",
        ceilings=Ceilings(calls=calls_at_most(item.spec), output_tokens=output_tokens_at_most(item.spec)),
    )
    return build_package(spec, kept, output, facts if not changes else RunFacts(**{**facts_dict(facts), **changes}), key)


def facts_dict(facts: RunFacts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in RunFacts.__slots__}


@dataclass
class Verdicts:
    """The results of an audit by check."""

    results: dict[str, CheckResult] = field(default_factory=dict)

    def __getitem__(self, check: str) -> tuple[str, str]:
        return self.results[check].verdict, self.results[check].code

    @property
    def mismatches(self) -> list[str]:
        return [name for name, result in self.results.items() if result.verdict == "mismatch"]


def verdicts(files: dict[str, bytes], *, signer: str | None = SIGNER, redecoder: Redecoder | None = None, **case: Any) -> Verdicts:
    """Audit ``files`` as a peer would who knows the signer and holds the weights."""
    weights = redecoder or PretendedWeights()
    made = Case(source=lambda: Received(root_of(files), files), signer=signer, redecoder=weights, **case)

    async def run() -> dict[str, CheckResult]:
        return {result.check: result async for result in audit(made, FULL_LEVEL)}

    return Verdicts(asyncio.run(run()))
