"""What the queue says to PostgreSQL. Locks are taken in one order: the queue's row, the run's, the events' count."""

from __future__ import annotations

# A run is not begun before its moment, unless to end it; it then began when it was ended, and had as long as it would have had.
CLAIM = """
WITH claimed AS (
    UPDATE queue SET holder = %(holder)s, attempts = attempts + 1, due = now() + make_interval(secs => %(ttl)s),
                     is_awaiting = false
     WHERE run_id = %(run)s AND due IS NOT NULL AND holder IS NULL
       AND (scheduled IS NULL OR scheduled <= now() OR cancel_requested IS NOT NULL)
    RETURNING run_id, attempts, cancel_requested, scheduled
)
UPDATE runs SET epoch = epoch + 1, started = CASE WHEN scheduled > now() THEN extract(epoch FROM now()) ELSE started END,
                deadline = CASE WHEN scheduled > now() THEN deadline - started + extract(epoch FROM now()) ELSE deadline END
  FROM claimed WHERE runs.id = claimed.run_id
RETURNING id, item_id, spec, started, deadline, status, finished, ceilings, epoch, attempts, cancel_requested IS NOT NULL
"""
DUE = """
SELECT run_id, attempts, holder IS NOT NULL, status IS NOT NULL
  FROM queue JOIN runs ON runs.id = queue.run_id
 WHERE due <= now() ORDER BY due LIMIT %s FOR UPDATE OF queue SKIP LOCKED
"""
# What a holder changes is conditional on its epoch.
BEAT = """
UPDATE queue SET due = now() + make_interval(secs => %(seconds)s)
  FROM runs WHERE runs.id = run_id AND run_id = %(run)s AND epoch = %(epoch)s AND holder IS NOT NULL
RETURNING cancel_requested IS NOT NULL
"""
RELEASE = """
UPDATE queue SET due = now() + make_interval(secs => %(seconds)s), holder = NULL, attempts = attempts - %(uncounted)s
  FROM runs WHERE runs.id = run_id AND run_id = %(run)s AND epoch = %(epoch)s AND holder IS NOT NULL
RETURNING cancel_requested IS NOT NULL
"""
# A run that waits for a person is nobody's, and due only when its time is up.
AWAIT = """
UPDATE queue SET due = coalesce(to_timestamp(deadline), 'infinity'), holder = NULL, attempts = attempts - 1, is_awaiting = true
  FROM runs WHERE runs.id = run_id AND run_id = %(run)s AND epoch = %(epoch)s AND holder IS NOT NULL
RETURNING cancel_requested IS NOT NULL
"""
LOCK = "SELECT is_awaiting, status FROM queue JOIN runs ON runs.id = run_id WHERE run_id = %s FOR UPDATE OF queue"
WAKE = "UPDATE queue SET is_awaiting = false, due = now() + make_interval(secs => %s) WHERE run_id = %s"
FAIL = """
UPDATE runs SET status = %(status)s, finished = extract(epoch FROM now()), reason = %(reason)s, epoch = epoch + 1
 WHERE id = %(run)s AND status IS NULL
"""
# Only what has not ended can be cancelled; the first wish counts. What waits for its moment or for a person is due soon: should the
# announcement be lost, whoever sweeps announces it again.
CANCEL = """
UPDATE queue SET cancel_requested = now(),
                 due = CASE WHEN holder IS NULL THEN least(due, now() + make_interval(secs => %(again)s)) ELSE due END FROM runs
 WHERE runs.id = run_id AND run_id = %(run)s AND status IS NULL AND due IS NOT NULL AND cancel_requested IS NULL RETURNING holder
"""
