"""The agent's HTTP surface by a real uvicorn over a real database, with a scripted model, for the length of a block."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from orca_agent.api.access import Gate
from orca_agent.api.failures import Failures
from orca_agent.api.rates import Rates
from orca_agent.api.services import ApiSettings, ProofRef, Services
from orca_agent.app import create_app
from orca_agent.models.registry import Registry
from orca_agent.models.retry import Policy
from orca_agent.observe.secrets import Secrets
from orca_agent.store.events import EventLog
from orca_agent.store.keys import ApiKey, KeyStore, KeyTerms
from orca_agent.store.postgres import PostgresJournal
from orca_agent.store.windows import PostgresWindows
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Finished, Runner, RunOptions
from orca_agent.work.worker import Worker
from orca_http.serving import serve
from tests.fakes.scripted_model import ScriptedModel

POLICY = LeasePolicy(ttl=10.0, beat=0.5, sweep=0.05, attempts=2, wait_first=0.05, wait_max=0.1)


def spec_of(*names: str, model: str = "scripted", **fields: Any) -> dict[str, Any]:
    agents = [{"agent_name": name, "model_name": model, "system_prompt": f"AGENT:{name}"} for name in names]
    return {"task": "TASK", "swarm_type": "SequentialWorkflow", "agents": agents, **fields}


@dataclass(frozen=True)
class Event:
    """A server-sent event as it was received."""

    id: int
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Holder:
    """Somebody who has a key, and the header that shows it."""

    key: ApiKey
    shown: dict[str, str]


class Proving:
    """A prover that proves nothing."""

    def __init__(self) -> None:
        self.proved: list[Finished] = []

    async def prove(self, finished: Finished) -> ProofRef:
        self.proved.append(finished)
        return ProofRef("bafy", "SIGNER")


class Service:
    """A service that runs, and its caller."""

    def __init__(self, url: str, services: Services, model: ScriptedModel, worker: Worker, prover: Proving) -> None:
        #: of the database
        self.url = url
        self.services, self.model, self.worker, self.prover = services, model, worker, prover
        self.address = ""
        self.client = httpx.AsyncClient()

    async def issue(self, name: str = "someone", **terms: Any) -> Holder:
        key, secret = await self.services.keys.issue(name, KeyTerms(**terms))
        return Holder(key, {"x-api-key": secret.get_secret_value()})

    async def store(self, spec: dict[str, Any], **headers: str) -> str:
        answer = await self.client.post("/v1/runs", json={"spec": spec}, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def run(self, run_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def ended(self, run_id: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (document := await self.run(run_id))["finished"] is None:
                await asyncio.sleep(0.02)
        return document

    async def until_ended(self, run_id: str) -> None:
        """Wait until everything is said of the run, without asking over HTTP."""
        async with asyncio.timeout(10):
            while not await self.services.events.until_closed(run_id, 1.0):
                pass

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not claim():
                await asyncio.sleep(0.01)

    async def follow(self, run_id: str, **headers: str) -> list[Event]:
        return [event async for event in self.following(run_id, **headers)]

    async def following(self, run_id: str, **headers: str) -> AsyncGenerator[Event]:
        async with self.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for event in events_in(answer):
                yield event


async def events_in(answer: httpx.Response) -> AsyncIterator[Event]:
    """Read events as a browser does; comments are left out."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


def code(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a problem, which must be one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"] == f"urn:orca-node:problem:{document['code']}"
    assert document["detail"]
    return answer.status_code, document["code"]


@asynccontextmanager
async def gate_over(url: str, api: ApiSettings) -> AsyncIterator[tuple[Gate, KeyStore]]:
    """A gate over the database at ``url``, and its keys."""
    async with KeyStore(url) as keys, PostgresWindows(url) as windows:
        yield Gate(api.api_key, keys, Rates(windows), Failures(api.failures)), keys


@asynccontextmanager
async def service(
    url: str,
    *,
    works: bool = True,
    at_most: int = 1000,
    model: ScriptedModel | None = None,
    attempts: int = 1,
    **settings: Any,
) -> AsyncIterator[Service]:
    """Serve over the database at ``url``; without ``works`` nothing takes what is queued."""
    model, prover = model or ScriptedModel(), Proving()
    registry = Registry([model], {"alias": "scripted"})
    async with AsyncExitStack() as closing:
        journal = PostgresJournal(url)
        closing.push_async_callback(journal.close)
        queue = await closing.enter_async_context(RunQueue(url, POLICY))
        events = await closing.enter_async_context(EventLog(url))
        options = RunOptions(follow=True, retry=Policy(attempts=attempts, base=0.0))
        worker = Worker(queue, events, lambda _, on_event: Runner(journal, registry, Secrets(), options=options, on_event=on_event))
        api = ApiSettings(**settings)
        gate, keys = await closing.enter_async_context(gate_over(url, api))
        services = Services(
            settings=api,
            queue=queue,
            journal=journal,
            events=events,
            intake=Intake(queue, Secrets(), at_most=at_most),
            registry=registry,
            keys=keys,
            gate=gate,
            version="0",
            prover=prover,
        )
        made = Service(url, services, model, worker, prover)
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        app = create_app(services)
        serving = asyncio.create_task(serve(app, "127.0.0.1", 0, listening.set_result, stopping=services.stopping))
        working = asyncio.create_task(worker.serve()) if works else asyncio.create_task(asyncio.sleep(0))
        made.address = await listening
        try:
            async with httpx.AsyncClient(base_url=made.address, timeout=20) as client:
                made.client = client
                yield made
        finally:
            services.stopping.set()
            await serving
            working.cancel()
            await asyncio.wait([working])
