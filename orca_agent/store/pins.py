"""Which proofs this node keeps, how long, and how each stands in every store: the durable queue of pins.

A proof is taken up from what the node kept of its rounds, so no crash between proving and pinning loses one. Whoever claims a
pin pushes its due time ahead; if it dies, the pin is due again after that. Errors: UnavailableError ``records_unavailable``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from psycopg.rows import class_row

from orca_agent.store.records import Records
from orca_protocol.errors import InvalidError
from orca_protocol.round_value import read_round_value
from proof_store.pinning import Pin

Kind = Literal["own", "peer", "verdicts"]

_PIN: Final = "root, store, stage, due, tries, error, pinned_at, checked_at"
_PROOF: Final = "root, kind, taken_at, keep_until, collected_at"
#: rounds whose submissions are looked at for verdicts
_ROUNDS: Final = 100


@dataclass(frozen=True, slots=True)
class Proof:
    """A tree that this node keeps: its own proof, a peer's that it approved, or its folder of verdicts."""

    root: str
    kind: Kind
    taken_at: datetime
    keep_until: datetime
    collected_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many pins of a store stand how, and the newest thing that went wrong there."""

    wanted: int = 0
    pinned: int = 0
    kept: int = 0
    failing: int = 0
    error: str | None = None


class PinRecords(Records):
    """The records in the database at ``url``, for one event loop."""

    name = "orca-pins"

    async def want(self, root: str, kind: Kind, keep_until: datetime) -> None:
        """Take a proof up; one that was collected is kept again, one that is kept is kept for the longer time."""
        sql = """INSERT INTO proofs (root, kind, keep_until) VALUES (%s, %s, %s)
                     ON CONFLICT (root) DO UPDATE
                        SET keep_until = greatest(proofs.keep_until, excluded.keep_until), collected_at = NULL"""
        async with self._transaction() as db:
            await db.execute(sql, (root, kind, keep_until))

    async def take_up(self, retention: timedelta) -> int:
        """Take up what the node's rounds left and is not known here yet; return how many."""
        sql = """INSERT INTO proofs (root, kind, keep_until)
                 SELECT DISTINCT ON (root) root, kind, since + %(stays)s FROM (
                     SELECT cid, 'own', 1, updated FROM assignments WHERE cid IS NOT NULL
                     UNION ALL SELECT cid, 'peer', 2, made FROM reviews WHERE vote = 'approve'
                     UNION ALL SELECT root, 'verdicts', 3, now() FROM unnest(%(verdicts)s::text[]) AS root
                 ) AS found (root, kind, rank, since) ORDER BY root, rank
                 ON CONFLICT DO NOTHING"""
        async with self._transaction() as db:
            said = "SELECT submitted FROM rounds WHERE submitted IS NOT NULL ORDER BY number DESC LIMIT %s"
            rows = await (await db.execute(said, (_ROUNDS,))).fetchall()
            verdicts = list(filter(None, (_verdicts_in(row[0]) for row in rows)))
            return (await db.execute(sql, {"stays": retention, "verdicts": verdicts})).rowcount

    async def spread(self, stores: Sequence[str], now: datetime) -> int:
        """Want every proof where it belongs: a peer's in this node's own store, others in all. Return how many pins are new."""
        sql = """INSERT INTO pins (root, store, stage, due)
                 SELECT root, store, 'wanted', %(now)s FROM proofs, unnest(%(stores)s::text[]) AS store
                  WHERE collected_at IS NULL AND (kind <> 'peer' OR store = 'local')
                 ON CONFLICT DO NOTHING"""
        async with self._transaction() as db:
            return (await db.execute(sql, {"stores": list(stores), "now": now})).rowcount

    async def claim(self, store: str, now: datetime, hold: timedelta, limit: int) -> list[Pin]:
        """Return pins of a store that are due, for this caller alone until ``hold`` is over."""
        sql = f"""UPDATE pins SET due = %(until)s WHERE (root, store) IN (
                     SELECT root, store FROM pins JOIN proofs USING (root)
                      WHERE store = %(store)s AND due <= %(now)s AND collected_at IS NULL
                      ORDER BY due LIMIT %(limit)s FOR UPDATE OF pins SKIP LOCKED)
                  RETURNING {_PIN}"""  # noqa: S608 - constants only
        return await self._pins(sql, {"until": now + hold, "store": store, "now": now, "limit": limit})

    async def keep(self, pin: Pin) -> None:
        """Keep how a pin stands, unless its proof was collected meanwhile."""
        sql = """UPDATE pins SET stage = %s, due = %s, tries = %s, error = %s, pinned_at = %s, checked_at = %s
                  WHERE root = %s AND store = %s"""
        values = (pin.stage, pin.due, pin.tries, pin.error, pin.pinned_at, pin.checked_at, pin.root, pin.store)
        async with self._transaction() as db:
            await db.execute(sql, values)

    async def proofs(self, limit: int = 100, *, root: str | None = None) -> list[tuple[Proof, list[Pin]]]:
        """Return the newest proofs, or the one named, with how each stands in every store."""
        sql = f"SELECT {_PROOF} FROM proofs WHERE %(root)s::text IS NULL OR root = %(root)s ORDER BY number DESC LIMIT %(limit)s"  # noqa: S608
        found = await self._proofs(sql, {"root": root, "limit": limit})
        sql = f"SELECT {_PIN} FROM pins WHERE root = ANY(%(roots)s) ORDER BY store"  # noqa: S608
        pins = await self._pins(sql, {"roots": [one.root for one in found]})
        by_root: defaultdict[str, list[Pin]] = defaultdict(list)
        for pin in pins:
            by_root[pin.root].append(pin)
        return [(proof, by_root[proof.root]) for proof in found]

    async def ended(self, now: datetime) -> list[Proof]:
        """Return the proofs whose time is over and that were not collected yet."""
        sql = f"SELECT {_PROOF} FROM proofs WHERE collected_at IS NULL AND keep_until <= %(now)s ORDER BY number"  # noqa: S608
        return await self._proofs(sql, {"now": now})

    async def staying(self, now: datetime) -> list[str]:
        """Return the roots of all proofs whose time is not over."""
        async with self._transaction() as db:
            rows = await (await db.execute("SELECT root FROM proofs WHERE keep_until > %s", (now,))).fetchall()
        return [row[0] for row in rows]

    async def forget(self, root: str, now: datetime) -> None:
        """Keep that a proof was collected; it is not taken up again by itself."""
        async with self._transaction() as db:
            await db.execute("DELETE FROM pins WHERE root = %s", (root,))
            await db.execute("UPDATE proofs SET collected_at = %s WHERE root = %s", (now, root))

    async def tallies(self, stores: Iterable[str]) -> dict[str, Tally]:
        """Return how the pins of each store stand."""
        sql = """SELECT store, count(*) FILTER (WHERE stage = 'wanted'), count(*) FILTER (WHERE stage = 'pinned'),
                        count(*) FILTER (WHERE stage = 'kept'), count(*) FILTER (WHERE tries > 0),
                        (array_agg(error ORDER BY due DESC) FILTER (WHERE error IS NOT NULL))[1]
                   FROM pins GROUP BY store"""
        async with self._transaction() as db:
            rows = await (await db.execute(sql)).fetchall()
        found = {row[0]: Tally(*row[1:]) for row in rows}
        return {store: found.get(store, Tally()) for store in stores}

    async def _pins(self, sql: str, values: dict[str, Any]) -> list[Pin]:
        async with self._transaction() as db, db.cursor(row_factory=class_row(Pin)) as cursor:
            return await (await cursor.execute(sql.encode(), values)).fetchall()

    async def _proofs(self, sql: str, values: dict[str, Any]) -> list[Proof]:
        async with self._transaction() as db, db.cursor(row_factory=class_row(Proof)) as cursor:
            return await (await cursor.execute(sql.encode(), values)).fetchall()


def _verdicts_in(value: str) -> str | None:
    try:
        return read_round_value(value).verdicts
    except InvalidError:
        return None
