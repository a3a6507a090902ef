"""Answers by the name of their request, kept as long as that request could come again. Durable, and one for all processes.

Reserving the name, doing the work and keeping the answer are one transaction. A second request under the same name waits for
the first to end: it then finds the answer, or, where the first came to nothing, does the work itself.
"""

from __future__ import annotations

from datetime import datetime

from middle_server.rules.repeats import Asked, check_same
from middle_server.store.database import Connection
from orca_http.answers import Answer
from orca_protocol.errors import LimitError

# Takes the name if it is free or its time is over; otherwise locks the row and returns nothing.
_RESERVE = """
INSERT INTO middle.answers AS kept (scope, key, sha256, expires) VALUES (%(scope)s, %(key)s, %(sha256)s, %(expires)s)
    ON CONFLICT (scope, key) DO UPDATE
   SET sha256 = excluded.sha256, expires = excluded.expires, status = NULL, content_type = NULL, body = NULL
 WHERE kept.expires <= %(now)s
RETURNING true
"""

# What is kept under a name, whoever reserved it.
_READ = "SELECT sha256, status, content_type, body FROM middle.answers WHERE scope = %(scope)s AND key = %(key)s"

# What is kept under a name that is still in its time.
_PEEK = _READ + " AND expires > %(now)s AND status IS NOT NULL"

# Keeps the answer under a name that this transaction reserved.
_KEEP = """
UPDATE middle.answers SET status = %(status)s, content_type = %(content_type)s, body = %(body)s
 WHERE scope = %(scope)s AND key = %(key)s
"""

# How many names of one asker are kept now, counted no further than needed.
_COUNT = """
SELECT count(*) FROM (SELECT FROM middle.answers WHERE scope = %(scope)s AND expires > %(now)s LIMIT %(limit)s) AS found
"""

# Forgets some of what could not come again.
_FORGET = """
DELETE FROM middle.answers WHERE ctid = ANY (ARRAY(SELECT ctid FROM middle.answers WHERE expires <= %(now)s LIMIT 1000))
"""


async def peek(connection: Connection, asked: Asked, now: datetime) -> Answer | None:
    """Return the answer that was given before. Raises InvalidError ``request_reused``."""
    found = await (await connection.execute(_PEEK, {"scope": asked.scope, "key": asked.key, "now": now})).fetchone()
    if found is None:
        return None
    check_same(asked, found[0])
    return Answer(found[1], found[2], bytes(found[3]))


async def reserve(connection: Connection, asked: Asked, *, now: datetime, expires: datetime, at_most: int) -> Answer | None:
    """Take the name for this transaction, or return the answer that was given under it before.

    Raises InvalidError ``request_reused``, LimitError ``too_many_requests``.
    """
    names = {"scope": asked.scope, "key": asked.key}
    taken = await connection.execute(_RESERVE, {**names, "sha256": asked.sha256, "expires": expires, "now": now})
    if await taken.fetchone() is None:
        found = await (await connection.execute(_READ, names)).fetchone()
        if found is None or found[1] is None:
            raise RuntimeError("a name was reserved and committed without an answer")
        check_same(asked, found[0])
        return Answer(found[1], found[2], bytes(found[3]))
    row = await (await connection.execute(_COUNT, {"scope": asked.scope, "now": now, "limit": at_most + 1})).fetchone()
    if row is not None and row[0] > at_most:
        raise LimitError("too_many_requests", f"{at_most} requests of this asker are remembered already; wait a minute")
    return None


async def keep(connection: Connection, asked: Asked, answer: Answer) -> None:
    """Keep the answer under the name that this transaction reserved."""
    values = {"status": answer.status, "content_type": answer.content_type, "body": answer.body}
    await connection.execute(_KEEP, {**values, "scope": asked.scope, "key": asked.key})


async def forget(connection: Connection, now: datetime) -> None:
    """Forget what could not come again."""
    await connection.execute(_FORGET, {"now": now})
