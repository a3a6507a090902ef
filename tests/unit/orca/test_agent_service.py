"""The parts that ``orca agent`` and larger composition roots open: together, in order, and closed again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from orca.agent_service import NodeProver, open_agent, run_agent, working
from orca.node import LocalNode
from orca_agent.api.services import ApiSettings, ProofRef
from orca_agent.store.database import parameters
from orca_agent.work.finished import read_finished
from orca_agent.work.runner import Finished
from orca_engine.item import Item
from orca_protocol.errors import InvalidError, UnavailableError
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca.console import settings_in

SPEC = json.dumps({"task": "T", "agents": [{"agent_name": "A", "model_name": "scripted"}]}).encode()


def connections(url: str) -> set[str]:
    with psycopg.connect(**parameters(url, "test")) as db:
        names = db.execute("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'orca-%'").fetchall()
    return {name for (name,) in names}


async def test_a_run_is_taken_to_its_proof_and_everything_is_closed_again(
    tmp_path: Path, database_url: str, server: ScriptedServer
) -> None:
    settings = settings_in(tmp_path, openai_base_url=server.openai)
    async with LocalNode(settings) as node, open_agent(settings, node, database_url) as parts:
        async with working(parts):
            stored = await parts.intake.submit(Item.local(SPEC), SPEC, key="k")
            assert await parts.events.until_closed(stored.run_id, 10.0)
        finished = await read_finished((await parts.queue.state(stored.run_id)).run, parts.journal)
        prover = NodeProver(node)
        first, second = await asyncio.gather(prover.prove(finished), prover.prove(finished))
        assert first == second
        assert first.signer == node.public_key()
        assert connections(database_url)
    assert connections(database_url) == set()


async def test_a_composition_root_hands_in_its_own(tmp_path: Path, database_url: str) -> None:
    class Leased:
        async def prove(self, finished: Finished) -> ProofRef:
            raise NotImplementedError

    settings, stopping, prover = settings_in(tmp_path, queue_max=1), asyncio.Event(), Leased()
    api = ApiSettings(host="10.0.0.1", api_key=SecretStr("x" * 16))
    async with (
        LocalNode(settings) as node,
        open_agent(settings, node, database_url, api=api, prover=prover, stopping=stopping) as parts,
    ):
        assert (parts.services.settings, parts.services.prover, parts.services.stopping) == (api, prover, stopping)
        await parts.intake.submit(Item.local(SPEC), SPEC, key="k")
        with pytest.raises(Exception, match="queue_full"):
            await parts.intake.submit(Item.local(SPEC), SPEC, key="l")


async def test_a_worker_that_ends_by_a_mistake_of_ours_stops_the_service_and_is_heard(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*, grace: float) -> None:
        raise TypeError("ours")

    settings = settings_in(tmp_path)
    async with LocalNode(settings) as node, open_agent(settings, node, database_url) as parts:
        monkeypatch.setattr(parts.worker, "serve", broken)
        with pytest.raises(TypeError, match="ours"):
            async with working(parts):
                await parts.services.stopping.wait()


async def test_without_a_database_nothing_is_opened(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orca_agent.work.queue.pool_of", _impatient)
    settings = settings_in(tmp_path)
    async with LocalNode(settings) as node:
        with pytest.raises(UnavailableError, match="queue_unavailable"):
            async with open_agent(settings, node, database_url.replace("/orca?", "/nosuch?")):
                pass


def _impatient(url: str, name: str, *, size: int) -> object:
    from orca_agent.store.database import pool_of

    pool = pool_of(url, name, size=size)
    pool.timeout = 0.2
    return pool


async def test_what_cannot_be_served_is_refused_before_a_database_is_started(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(InvalidError, match="api_key_missing"):
        await run_agent(settings, host="0.0.0.0", port=0, workers=1, ready=print)  # noqa: S104
    assert not (tmp_path / "orca").exists()
