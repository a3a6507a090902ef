"""One cell of the bench in a process of its own: ``python -m tests.bench.cells DRIVER WORKLOAD BASE_URL REPEATS``

Prints one JSON object: wall milliseconds and CPU milliseconds per call of each repeat, most memory resident. The first
repeat opens the connections and is not counted. ``orca``: the runner with its SQLite journal, from spec bytes to output, as
``orca run`` does it. ``orca-postgres``: the same with the journal in an embedded PostgreSQL, which works beside the model
server. ``bare``: the same calls by our client alone, which is what can be had at all.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orca import event_loop
from tests.bench.peers.measuring import TASK, most_resident_mb

if TYPE_CHECKING:
    from orca_agent.models.http import HttpClient
    from orca_agent.models.registry import Registry
    from orca_agent.store.journal import Journal


#: workload → (swarms at once, agents of each, swarm type, calls, latencies on the critical path)
WORKLOADS = {
    "con1": (1, 1, "ConcurrentWorkflow", 1, 1),
    "con10": (1, 10, "ConcurrentWorkflow", 10, 1),
    "con50": (1, 50, "ConcurrentWorkflow", 50, 1),
    "con200": (1, 200, "ConcurrentWorkflow", 200, 1),
    "con2000": (1, 2000, "ConcurrentWorkflow", 2000, 1),
    "multi20x10": (20, 10, "ConcurrentWorkflow", 200, 1),
    "seq10": (1, 10, "SequentialWorkflow", 10, 10),
    "moa10": (1, 11, "MixtureOfAgents", 11, 2),
}


def spec_of(workload: str, number: int = 0) -> bytes:
    """Return the work item; ``number`` tells those apart that run at once."""
    _, agents, swarm_type, _, _ = WORKLOADS[workload]
    listed = [
        {"agent_name": f"A{number}", "model_name": "scripted", "system_prompt": f"AGENT:A{number}", "max_tokens": 256}
        for number in range(agents)
    ]
    return json.dumps({"name": f"{workload} {number}", "task": TASK, "swarm_type": swarm_type, "agents": listed}).encode()


async def measure(once: Callable[[], Awaitable[None]], calls: int, repeats: int) -> dict[str, Any]:
    """Run ``once`` and measure each repeat but the first."""
    walls, cpus = [], []
    for _ in range(repeats + 1):
        cpu, wall = _cpu(), time.perf_counter()
        await once()
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((_cpu() - cpu) * 1000 / calls)
    return {"wall_ms": walls[1:], "cpu_ms": cpus[1:], "rss_mb": most_resident_mb()}


async def orca(workload: str, base_url: str, repeats: int) -> dict[str, Any]:
    """Measure the runner."""
    from orca_agent.store.sqlite import SqliteJournal

    with tempfile.TemporaryDirectory() as folder:
        return await run_orca(workload, base_url, repeats, SqliteJournal(Path(folder) / "journal.db"))


async def orca_postgres(workload: str, base_url: str, repeats: int) -> dict[str, Any]:
    """Measure the runner on the journal that several processes share."""
    from orca.postgres import EmbeddedPostgres
    from orca_agent.store.migrate import migrate
    from orca_agent.store.postgres import PostgresJournal

    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)  # where we are root, the server runs as another account
        os.sched_setaffinity(0, {0})
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            os.sched_setaffinity(0, cores)
            migrate(server.url)
            return await run_orca(workload, base_url, repeats, PostgresJournal(server.url))


async def run_orca(workload: str, base_url: str, repeats: int, journal: Journal) -> dict[str, Any]:
    """Measure the runner on ``journal``, and close it."""
    swarms, _, _, calls, _ = WORKLOADS[workload]
    specs = [spec_of(workload, number) for number in range(swarms)]
    http, registry = models(base_url)

    async def once() -> None:
        await asyncio.gather(*(run_one(journal, registry, spec) for spec in specs))

    result = await measure(once, calls, repeats)
    for closing in (journal, registry, http):
        await closing.close()
    return result


def models(base_url: str) -> tuple[HttpClient, Registry]:
    """Return what asks the model server."""
    from orca_agent.models.http import HttpClient, HttpSettings
    from orca_agent.models.openai import OpenAIProvider, OpenAISettings
    from orca_agent.models.registry import Registry

    http = HttpClient(HttpSettings(in_flight=4096))
    return http, Registry([OpenAIProvider(OpenAISettings(base_url, models=("scripted",)), http)], {})


async def run_one(journal: Journal, registry: Registry, spec: bytes) -> None:
    """Take one spec to its output."""
    from orca_agent.observe.secrets import Secrets
    from orca_agent.work.runner import Runner
    from orca_engine.item import Item

    finished = await Runner(journal, registry, Secrets()).run(Item.local(spec), spec)
    if finished.output.status != "success":
        raise RuntimeError(f"a run ended with {finished.output.status}")


async def waiting(workload: str, base_url: str, repeats: int) -> dict[str, Any]:
    """Say how much memory an agent takes that waits for its model, in kB; the model server must be slow."""
    from orca_agent.store.sqlite import SqliteJournal

    swarms, agents, _, _, _ = WORKLOADS[workload]
    spec = spec_of(workload)
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder) / "journal.db")
        http, registry = models(base_url)
        await run_one(journal, registry, spec_of("con1"))  # whatever is loaded lazily
        gc.collect()
        before = _resident_kb()
        run = asyncio.create_task(run_one(journal, registry, spec))
        await asyncio.sleep(float(repeats))
        if run.done():
            raise RuntimeError("the agents did not wait: the model server is too quick")
        held = _resident_kb() - before
        await run
        for closing in (journal, registry, http):
            await closing.close()
    return {"kb_per_agent": held / (swarms * agents)}


def _resident_kb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


async def bare(workload: str, base_url: str, repeats: int) -> dict[str, Any]:
    """Measure the client alone."""
    from orca_agent.models.http import Endpoint, HttpClient

    _, _, swarm_type, calls, _ = WORKLOADS[workload]
    http, endpoint = HttpClient(), Endpoint.checked("bench", base_url, {}, None)

    async def call(number: int) -> str:
        messages = [{"role": "system", "content": f"AGENT:A{number}"}, {"role": "user", "content": "Analyze market trends"}]
        body = json.dumps({"model": "scripted", "messages": messages, "max_tokens": 256, "temperature": 0.5})
        answer = await http.post(endpoint, "/chat/completions", body.encode())
        return str(json.loads(answer)["choices"][0]["message"]["content"])

    async def once() -> None:
        if swarm_type == "SequentialWorkflow":
            for number in range(calls):
                await call(number)
        elif swarm_type == "MixtureOfAgents":
            await asyncio.gather(*map(call, range(calls - 1)))
            await call(calls)
        else:
            await asyncio.gather(*map(call, range(calls)))

    result = await measure(once, calls, repeats)
    await http.close()
    return result


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


DRIVERS = {"orca": orca, "orca-postgres": orca_postgres, "bare": bare, "waiting": waiting}

if __name__ == "__main__":
    driver, workload, base_url, repeats = sys.argv[1:]
    print(json.dumps(event_loop.run(DRIVERS[driver](workload, base_url, int(repeats)))))
