"""A whole network of processes for tests: work is posted, the clock is wound by the test, and faults are done to it.

The clock stands still but within ``wind``, which winds it until something holds. Every wait has an end, and says then what each
node says of itself. Nothing here is patched: nodes are killed and stopped by signals, and who cheats signs with keys of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from koii_chain.devnet import tools
from koii_chain.state import TaskState
from orca.devnet import genesis
from orca.devnet.children import Child
from orca.devnet.conductor import Conductor
from orca.devnet.layout import TASK_ID, Layout, Member
from orca.devnet.network import Devnet, NodeProcess
from orca_protocol.errors import OrcaError, UnavailableError
from orca_protocol.round_value import read_round_value
from orca_protocol.verdict_bundle import read_bundle
from orca_protocol.verdict_statement import VerdictStatement
from proof_store.blocks import DirectoryBlocks
from proof_store.cid import Cid
from proof_store.limits import ReadLimits
from proof_store.reader import read_directory
from tests.fakes.scripted_server import ScriptedServer, scripted_server

PRICE = 1_500_000
CHECKS = ("integrity", "authenticity", "eligibility", "replay")
FINAL = frozenset({"done", "unpaid", "failed", "cancelled"})
#: a heartbeat that no pause of a busy machine misses
PATIENT = "60"
_SECONDS = 60.0
_PAUSE = 0.1
_LIMITS = ReadLimits()

Condition = Callable[[], Awaitable[bool]]


class Network:
    """A running devnet, the models of its nodes, and the hands of the test."""

    def __init__(self, devnet: Devnet, models: ScriptedServer) -> None:
        self.devnet = devnet
        self.models = models
        #: nodes that run otherwise than they did at first
        self.changed: set[int] = set()
        self.middle_changed = False
        self._posted: list[str] = []
        self._http = httpx.AsyncClient(
            base_url=devnet.middle_url, headers={"x-api-key": devnet.api_key}, timeout=20.0, trust_env=False
        )

    # work items

    async def post(self, spec: bytes | None = None) -> str:
        """Post an item; returns its id. The pot is full."""
        body = {
            "spec": (spec or spec_of()).decode(),
            "price": str(PRICE),
            "models": [{"name": "scripted"}],
            "required_checks": list(CHECKS),
            "visibility": "public",
        }
        answer = await self._http.post("/v1/work-items", json=body)
        assert answer.status_code == 201, answer.text
        item = str(answer.json()["id"])
        self._posted.append(item)
        return item

    async def cancel(self, item: str) -> None:
        """Cancel it, if it still can be."""
        await self._http.post(f"/v1/work-items/{item}/cancel")

    async def item(self, item: str) -> dict[str, Any]:
        """The item as its requester sees it."""
        return dict((await self._http.get(f"/v1/work-items/{item}")).json())

    async def result(self, item: str) -> dict[str, Any]:
        """The result that stands for it."""
        return dict((await self._http.get(f"/v1/work-items/{item}/result")).json())

    def is_(self, item: str, *statuses: str) -> Condition:
        """Whether the item has one of these statuses; a middle server that is away says no."""

        async def holds() -> bool:
            with suppress(httpx.HTTPError, KeyError, ValueError):
                return (await self.item(item))["status"] in statuses
            return False

        return holds

    def is_over(self, *items: str) -> Condition:
        """Whether nothing more happens to the items."""

        async def holds() -> bool:
            return all([await self.is_(item, *FINAL)() for item in items])

        return holds

    async def worker_of(self, item: str) -> NodeProcess:
        """The node that holds the item, as soon as one does."""
        found: list[NodeProcess] = []

        async def holds() -> bool:
            for node in self.living:
                with suppress(UnavailableError):
                    if f"work item {item}" in (await node.status())["busy"]:
                        found.append(node)
            return bool(found)

        await self.wait(holds, f"somebody holds work item {item}")
        return found[0]

    async def author_of(self, item: str) -> NodeProcess:
        """The node whose result stands for the item."""
        worker = (await self.result(item))["worker"]
        return next(node for node in self.devnet.nodes if node.member.key == worker)

    async def history(self, node: NodeProcess, item: str) -> list[dict[str, Any]]:
        """What a node says became of its work on the item, newest first."""
        return [one for one in (await node.get("/status/history"))["assignments"] if one["work_item"] == item]

    async def outcomes(self, node: NodeProcess, number: int) -> dict[str, Any]:
        """What a node computed for a round: claims by CID, and what it could not read."""
        found: list[dict[str, Any]] = []

        async def holds() -> bool:
            rounds = (await node.get("/status/history"))["rounds"]
            found.extend(one["outcomes"] for one in rounds if one["round"] == number and one["outcomes"])
            return bool(found)

        await self.wait(holds, f"{node.member.name} knows what became of round {number}")
        return {"claims": {one["cid"]: one for one in found[0]["claims"]}, "missing": found[0]["missing"]}

    # the clock, and waiting

    async def wait(self, condition: Condition, what: str, *, seconds: float = _SECONDS) -> None:
        """Wait until something holds; at the end of patience say what everybody says."""
        until = asyncio.get_running_loop().time() + seconds
        while not await condition():
            if asyncio.get_running_loop().time() > until:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{await self.told()}")
            await asyncio.sleep(_PAUSE)

    async def wind(self, condition: Condition, what: str, *, seconds: float = 2 * _SECONDS) -> None:
        """Wind the clock on until something holds, and no further."""

        async def may_go() -> bool:
            return not await condition()

        conductor = Conductor(self.devnet.chain, lambda: list(self.devnet.nodes), may_go)
        winding = asyncio.create_task(conductor.serve())
        until = asyncio.get_running_loop().time() + seconds
        try:
            while not await condition():
                assert not winding.done(), winding.exception()
                if asyncio.get_running_loop().time() > until:
                    told = f"the clock waits for {conductor.waits_for}\n{await self.told()}"
                    raise AssertionError(f"not within {seconds:g} s: {what}\n{told}")
                await asyncio.sleep(_PAUSE)
        finally:
            winding.cancel()
            await asyncio.gather(winding, return_exceptions=True)

    async def wind_to(self, slot: int) -> None:
        """Wind the clock to a slot at which something may become due."""

        async def holds() -> bool:
            return (await tools.info(self.devnet.chain.rpc)).slot >= slot

        await self.wind(holds, f"slot {slot}")

    async def wind_until_over(self, *items: str) -> list[str]:
        """Wind the clock until nothing more happens to the items; returns what they ended as."""
        await self.wind(self.is_over(*items), f"the end of work items {', '.join(items)}")
        return [(await self.item(item))["status"] for item in items]

    async def told(self) -> str:
        """What each node says of itself, and each item's status."""
        lines = []
        for node in self.devnet.nodes:
            try:
                said = json.dumps([await node.status(), (await node.get("/status/history"))["assignments"][:3]])
            except UnavailableError as error:
                said = "has ended" if node.has_ended else error.detail
            lines.append(f"{node.member.name}: {said}")
        for item in self._posted:
            with suppress(httpx.HTTPError, ValueError):
                lines.append(f"item {item}: {(await self.item(item)).get('status')}")
        return "\n".join(lines)

    # the chain

    async def task(self) -> TaskState:
        """The task as the chain has it now."""
        return (await self.devnet.chain.fresh_task(TASK_ID)).task

    async def round(self) -> int:
        """The round that the chain is in."""
        return (await self.task()).clock.round_at(await self.devnet.chain.slot())

    async def digest(self) -> tuple[int, int, str]:
        """What the chain's state is, in short."""
        info = await tools.info(self.devnet.chain.rpc)
        return info.slot, info.records, info.digest

    async def earned(self) -> dict[str, int]:
        """What each node has, in its account or still to be collected, by staking key."""
        members = {node.member.key: node.member for node in self.devnet.nodes}
        while True:  # what is just being collected must be seen on one side
            before = await self.digest()
            credited = (await self.task()).available_balances
            held = {key: await self.devnet.balance(member) + credited.get(key, 0) for key, member in members.items()}
            if await self.digest() == before:
                return held

    async def amounts(self, number: int) -> dict[str, int]:
        """The list that was paid out for a round."""
        task = await self.task()
        assert task.distributions_audit_record.get(number) == "PayoutSuccessful", task.distributions_audit_record
        lists = await self.devnet.chain.lists(TASK_ID, number)
        assert len(lists) == 1, lists
        return dict(next(iter(lists.values())))

    async def verdicts(self, number: int) -> dict[str, list[VerdictStatement]]:
        """The verdicts on a round that stand on chain, by who signed them; of nodes whose folders are here."""
        found = {}
        submitted = (await self.task()).submissions.get(number + 1, {})
        for node in self.devnet.nodes:
            entry = submitted.get(node.member.key)
            folder = None if entry is None else read_round_value(entry.submission_value).verdicts
            if folder is not None:
                files = read_directory(Cid.parse(folder), DirectoryBlocks(node.member.home / "blocks"), _LIMITS)
                found[node.member.key] = list(read_bundle(files, node.member.key))
        return found

    # processes

    @property
    def living(self) -> list[NodeProcess]:
        """The nodes that run."""
        return [node for node in self.devnet.nodes if not node.has_ended]

    def script(self, **faults: Mapping[str, Any]) -> None:
        """Let the model server forget what it was asked, and have it misbehave towards these agents."""
        agents = {agent: {"faults": [fault]} for agent, fault in faults.items()}
        self.models.reset({"models": ["scripted"], "honest": True, "agents": agents})

    def asked(self, agent: str) -> int:
        """How often a model was asked as this agent."""
        return int(self.models.stats(prompts=False)["calls"].get(agent, 0))

    async def until_asked(self, agent: str, times: int = 1) -> None:
        """Wait until a model was asked so often as this agent."""

        async def holds() -> bool:
            return self.asked(agent) >= times

        await self.wait(holds, f"{agent} is asked {times} times")

    async def kill(self, child: Child | NodeProcess) -> None:
        """Kill -9, and wait until it is gone."""
        process = child.child if isinstance(child, NodeProcess) else child
        process.kill()
        await process.wait()

    async def start(self, member: Member, **extra: str) -> NodeProcess:
        """Start a node, or start it again in its folder."""
        if extra:
            self.changed.add(member.number)
        return await self.devnet.start_node(member, **extra)

    async def restart(self, node: NodeProcess, **extra: str) -> NodeProcess:
        """End a node in order, and start it again with other settings."""
        await node.child.end()
        return await self.start(node.member, **extra)

    async def restart_middle(self, **extra: str) -> None:
        """Kill the middle server and start it with other settings on the same port."""
        await self.kill(self.devnet.middle)
        self.middle_changed = bool(extra)
        await self.devnet.start_middle(**extra)

    @contextmanager
    def stopped(self, nodes: Sequence[NodeProcess]) -> Iterator[None]:
        """Let nodes stand still for the length of the block."""
        with ExitStack() as closing:
            for node in nodes:
                os.kill(node.child.pid, signal.SIGSTOP)
                closing.callback(_go_on, node)
            yield

    async def post_for(self, node: NodeProcess, spec: bytes | None = None) -> str:
        """Post an item that ``node`` takes, because all others stand still meanwhile."""
        with self.stopped([one for one in self.living if one is not node]):
            asked = int((await node.status())["asked"])

            async def has_asked() -> bool:
                return int((await node.status())["asked"]) >= asked + 2

            await self.wait(has_asked, "what the others asked before they were stopped is answered")
            item = await self.post(spec)
            await self.wait(self.is_(item, "leased", "reported", "in_review"), f"{node.member.name} takes {item}")
        return item

    async def repair(self) -> None:
        """Make it as it was at first, whatever a test did to it."""
        self.script()
        if self.devnet.chain_process.has_ended:
            await self.devnet.start_chain()
        if self.devnet.middle.has_ended or self.middle_changed:
            await self.devnet.middle.end()
            self.middle_changed = False
            await self.devnet.start_middle()
        for item in self._posted:
            if not await self.is_over(item)():
                await self.cancel(item)
        self._posted.clear()
        standing = set(self.devnet.layout.members)
        for node in [one for one in self.devnet.nodes if one.member not in standing]:
            await node.child.end()
            self.devnet.nodes.remove(node)
        for node in [one for one in self.devnet.nodes if one.member.number in self.changed]:
            await node.child.end()
        self.changed.clear()
        await asyncio.gather(*(self.devnet.start_node(node.member) for node in self.devnet.nodes if node.has_ended))
        for member in self.devnet.layout.members:  # one that was cut is an equal again
            await genesis.stake(self.devnet.chain, member)

    async def close(self) -> None:
        """Close what the test's process has open."""
        await self._http.aclose()


def _go_on(node: NodeProcess) -> None:
    if not node.has_ended:
        with suppress(ProcessLookupError):
            os.kill(node.child.pid, signal.SIGCONT)


def spec_of(name: str = "", *, agents: int = 2) -> bytes:
    """A sequential swarm whose agents are ``{name}A0``, ``{name}A1`` and so on."""
    return json.dumps(
        {
            "task": "TASK",
            "swarm_type": "SequentialWorkflow",
            "agents": [
                {"agent_name": f"A{n}", "model_name": "scripted", "system_prompt": f"AGENT:{name}A{n}"} for n in range(agents)
            ],
        }
    ).encode()


def new_name() -> str:
    """A name for a test's agents, so that what they were asked can be counted."""
    return uuid.uuid4().hex[:8]


@asynccontextmanager
async def network_in(folder: Path, *, nodes: int) -> AsyncIterator[Network]:
    """Run a network in ``folder``; at the end nothing of it runs."""
    data = folder / f"network-{uuid.uuid4().hex[:6]}"
    data.mkdir(mode=0o711)
    with scripted_server(max_seconds=1200) as models:
        extra = {"ORCA_OPENAI_BASE_URL": models.openai, "ORCA_MIDDLE_HEARTBEAT_SECONDS": PATIENT}
        async with Devnet(Layout(data, nodes), extra=extra) as devnet:
            await genesis.fund(devnet.chain, 100 * PRICE, "everything that is posted here")
            network = Network(devnet, models)
            network.script()
            try:
                yield network
            finally:
                await network.close()


@asynccontextmanager
async def refused(*codes: str) -> AsyncIterator[None]:
    """Expect that the block is refused with one of these codes."""
    try:
        yield
    except OrcaError as error:
        assert error.code in codes, error
    else:
        raise AssertionError(f"not refused with {' or '.join(codes)}")
