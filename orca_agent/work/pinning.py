"""Keeps proofs: pins each in every store that is configured, reads it back, tries again, looks again now and then.

One loop a store, so that none waits for another. What is to be done and how it stands is in the database; this only carries it on.
A proof counts as kept in a store when every block of it was read back from there by another way than it went in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from orca_agent.store.pins import PinRecords, Proof, Tally
from orca_protocol.errors import OrcaError, UnavailableError
from proof_store.base import BlockStore, PinStore
from proof_store.cid import Cid
from proof_store.pinning import Pin, PinPolicy, copies, failed, is_safe, pinned, read_back

log = logging.getLogger(__name__)

#: wall time for one pin: sending, pinning and reading back
_SECONDS: Final = 600.0
#: a claim outlives that a little, so that no second process begins what the first still does
_HOLD: Final = timedelta(seconds=_SECONDS + 60)
_BATCH: Final = 4
_LOOK_EVERY: Final = 30.0
#: codes that say that a store does not have what was pinned there
_GONE: Final = frozenset({"pin_gone", "pin_failed"})


@dataclass(frozen=True, slots=True)
class StoreLook:
    """How a store was when it was last looked at: what it said of itself, or what was wrong."""

    said: str | None = None
    trouble: str | None = "it was not looked at yet"
    tally: Tally = field(default_factory=Tally)


class Pinning:
    """Serves until it is cancelled. ``blocks`` is where proofs are pinned from."""

    def __init__(
        self,
        records: PinRecords,
        stores: Mapping[str, PinStore],
        blocks: BlockStore,
        policy: PinPolicy,
        *,
        every: float = 5.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._stores = dict(stores)
        self._blocks = blocks
        self._policy = policy
        self._every = every
        self._clock = clock
        self.looks = dict.fromkeys(self._stores, StoreLook())

    async def serve(self) -> None:
        """Take proofs up, and carry every store's pins on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self.take_up))
            group.create_task(self._again(self.look))
            for name in self._stores:
                group.create_task(self._again(lambda name=name: self.carry_on(name)), name=f"pins of {name}")  # type: ignore[misc]

    async def take_up(self) -> int:
        """Take up the proofs that the rounds left, and want each where it belongs. Return how many pins are new."""
        await self._records.take_up(self._policy.retention)
        return await self._records.spread(list(self._stores), self._clock())

    async def want(self, root: str) -> None:
        """Take up a proof that this node made outside of any round."""
        await self._records.want(root, "own", self._clock() + self._policy.retention)

    async def carry_on(self, name: str) -> int:
        """Do what is due in one store; return how much that was."""
        claimed = await self._records.claim(name, self._clock(), _HOLD, _BATCH)
        for pin in claimed:
            await self._records.keep(await self._carried(pin))
        return len(claimed)

    async def look(self) -> int:
        """Ask every store how it is."""
        tallies = await self._records.tallies(self._stores)
        for name, look in zip(self._stores, await asyncio.gather(*map(_look, self._stores.values())), strict=True):
            self.looks[name] = replace(look, tally=tallies[name])
        return 0

    def status(self) -> list[dict[str, Any]]:
        """Return how each store stands, by the last look."""
        return [
            {"store": name, "state": "ok" if look.trouble is None else "troubled", "detail": look.trouble or look.said}
            | asdict(look.tally)
            for name, look in self.looks.items()
        ]

    def waiting(self) -> int:
        """Return how many pins were wanted and not kept yet, by the last look."""
        return sum(look.tally.wanted + look.tally.pinned for look in self.looks.values())

    async def proofs(self, root: str | None = None) -> list[dict[str, Any]]:
        """Return the newest proofs, or one, and where each is."""
        return [self._described(proof, pins) for proof, pins in await self._records.proofs(root=root)]

    async def collect(self, *, dry: bool) -> list[str]:
        """Let go of the proofs whose time is over, in every store, and return their roots; ``dry`` only names them."""
        now = self._clock()
        ended = [proof.root for proof in await self._records.ended(now)]
        if ended and not dry:
            roots = [Cid.parse(root) for root in ended]
            for store in self._stores.values():
                await store.unpin(roots)
            for root in ended:
                await self._records.forget(root, now)
        return ended

    def _described(self, proof: Proof, pins: list[Pin]) -> dict[str, Any]:
        now = self._clock()
        wanted = [pin for pin in pins if pin.store in self._stores]
        return {
            "cid": proof.root,
            "kind": proof.kind,
            "keep_until": _stamp(proof.keep_until),
            "collected_at": _stamp(proof.collected_at),
            "copies": copies(wanted, now, self._policy),
            "safe": is_safe(wanted, len(wanted), now, self._policy),
            "stores": [
                {
                    "store": pin.store,
                    "stage": pin.stage,
                    "tries": pin.tries,
                    "error": pin.error,
                    "pinned_at": _stamp(pin.pinned_at),
                    "checked_at": _stamp(pin.checked_at),
                }
                for pin in pins
            ],
        }

    async def _carried(self, pin: Pin) -> Pin:
        """Return the pin after one attempt: pinned where it is wanted, and read back."""
        store, root = self._stores[pin.store], Cid.parse(pin.root)
        try:
            async with asyncio.timeout(_SECONDS):
                if pin.stage == "wanted":
                    await store.pin(root, self._blocks)
                    pin = pinned(pin, self._clock())
                found = await store.read_back(root)
        except (OrcaError, TimeoutError) as error:
            return self._failed(pin, error)
        log.info("%s is kept in %s: %s blocks, %s bytes read back by %s", pin.root, pin.store, found.blocks, found.size, found.path)
        return read_back(pin, self._clock(), self._policy)

    def _failed(self, pin: Pin, error: OrcaError | TimeoutError) -> Pin:
        said = f"{error.code}: {error.detail}" if isinstance(error, OrcaError) else f"store_slow: not done in {_SECONDS:g} s"
        log.warning("%s in %s, stage %s, failure %s: %s", pin.root, pin.store, pin.stage, pin.tries + 1, said)
        gone = isinstance(error, OrcaError) and error.code in _GONE
        wait = error.retry_after if isinstance(error, UnavailableError) else None
        return failed(pin, self._clock(), self._policy, said[:500], gone=gone, wait=wait)

    async def _again(self, do: Callable[[], Any]) -> None:
        """Do something for ever; a world that does not answer is asked again."""
        while True:
            done = 0
            try:
                done = await do()
            except UnavailableError as error:
                log.warning("keeping proofs goes on in %s s: %s", self._every, error)
            if not done:
                await asyncio.sleep(_LOOK_EVERY if do == self.look and self._is_calm() else self._every)

    def _is_calm(self) -> bool:
        return all(look.tally.wanted + look.tally.pinned == 0 for look in self.looks.values())


async def _look(store: PinStore) -> StoreLook:
    try:
        async with asyncio.timeout(15):
            return StoreLook(said=await store.state(), trouble=None)
    except TimeoutError:
        return StoreLook(trouble="store_slow: it said nothing for 15 s")
    except OrcaError as error:
        return StoreLook(trouble=f"{error.code}: {error.detail}")


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
