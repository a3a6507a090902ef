"""One work item on a devnet, from its post to its payment, told step by step; what goes wrong says at which step and why."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

from koii_chain.state import Submission
from orca.devnet import genesis
from orca.devnet.conductor import Conductor
from orca.devnet.layout import TASK_ID
from orca.devnet.models import Answering
from orca.devnet.network import Devnet, NodeProcess
from orca.following import follow
from orca_protocol.errors import OrcaError, UnavailableError
from orca_protocol.round_value import proofs_in
from orca_protocol.verdict_statement import VerdictStatement, open_verdict

Say = Callable[[str], None]
#: shows one event of a run: its kind and its body
Show = Callable[[str, dict[str, Any]], None]

#: statuses of a work item after which nothing happens to it
_FINAL: Final = frozenset({"done", "unpaid", "failed", "cancelled"})
_PAUSE: Final = 0.1
#: nobody takes the item, nothing happens on it, for so many seconds: something is wrong
_PATIENCE: Final = 120.0
#: with rounds of half an hour, nothing happens for hours and nothing is wrong
_REAL_PATIENCE: Final = 4 * 3600.0


class StepFailed(Exception):  # noqa: N818 - it names what happened
    """A step that ended otherwise than it must."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"{step}: {why}")
        self.step = step
        self.why = why


@dataclass(frozen=True, slots=True)
class Paid:
    """What came of the item. Amounts are base units."""

    work_item: str
    cid: str
    worker: str
    round: int
    price: int
    before: dict[str, int]
    after: dict[str, int]


class Once:
    """Takes one item through a running devnet."""

    def __init__(self, devnet: Devnet, say: Say, show: Show, *, seconds: float = 900.0) -> None:
        self._devnet = devnet
        self._say = say
        self._seconds = seconds
        self._status = "queued"
        self._show_event = show
        self._http = httpx.AsyncClient(
            base_url=devnet.middle_url, headers={"x-api-key": devnet.api_key}, timeout=10.0, trust_env=False
        )
        self._conductor = Conductor(devnet.chain, lambda: list(devnet.nodes), self._may_go)

    async def take(self, spec: bytes, answering: Answering, price: int) -> Paid:
        """Post ``spec``, see it worked on, audited and paid. Raises StepFailed."""
        # A clock that runs by itself is nobody's to wind on.
        conducting = asyncio.create_task(asyncio.sleep(0) if self._devnet.real_time else self._conductor.serve())
        try:
            async with asyncio.timeout(self._seconds):
                return await self._take(spec, answering, price)
        except TimeoutError as error:
            raise StepFailed(self._status, f"not over after {self._seconds:g} s: {await self._why()}") from error
        finally:
            conducting.cancel()
            await asyncio.gather(conducting, return_exceptions=True)
            await self._http.aclose()

    async def _take(self, spec: bytes, answering: Answering, price: int) -> Paid:
        before = await self._balances()
        item = await self._post(spec, answering, price)
        await self._until_due(item)
        await self._until(item, lambda status: status != "queued", "work")
        await self._follow(item)
        await self._until(item, lambda status: status not in {"queued", "leased", "reported"}, "report")
        worker, cid, number = await self._reported(item)
        self._say(f"\n== 4. {worker.member.name} proved it: {cid}, made in round {number}")
        await self._tell_stores(worker, cid)
        await self._until(item, lambda status: status in _FINAL, "audit and payment")
        worker, cid, number = await self._reported(item)  # a rejected item has gone to another node
        await self._tell_submission(worker, number, cid)
        await self._tell_verdicts(item)
        if self._status != "done":
            raise StepFailed("payment", f"the work item ended as {self._status!r}: {await self._why_unpaid(number)}")
        after = await self._collected(worker, before, price)
        return Paid(item, cid, worker.member.key, number, price, before, after)

    async def _post(self, spec: bytes, answering: Answering, price: int) -> str:
        body = {
            "spec": spec.decode(),
            "price": str(price),
            "models": list(answering.allowed),
            "required_checks": list(answering.checks),
            "visibility": "public",
        }
        try:
            answer = await self._http.post("/v1/work-items", json=body)
        except httpx.HTTPError as error:
            raise StepFailed("post", f"the middle server does not answer: {type(error).__name__}") from error
        if answer.status_code != 201:
            raise StepFailed("post", answer.json().get("detail", answer.text[:300]))
        item = str(answer.json()["id"])
        signature = await genesis.fund(self._devnet.chain, price, item)
        self._say(f"  work item {item}, required checks: {', '.join(answering.checks)}")
        self._say(f"  its price is in the pot: FundTask {signature}")
        if (scheduled := answer.json()["scheduled"]) is not None:
            self._say(f"  nobody is given it before {scheduled['local']} ({scheduled['timezone']})")
        return item

    async def _until_due(self, item: str) -> None:
        while (status := await self._item_status(item)) == "scheduled":
            self._status = status
            await asyncio.sleep(_PAUSE)

    async def _until(self, item: str, is_over: Callable[[str], bool], step: str) -> None:
        """Wait for a status; whoever is waited for in vain says why."""
        quiet, seen = 0.0, ""
        while True:
            self._status = await self._item_status(item)
            if is_over(self._status):
                return
            await self._refuse_unwanted(item)
            told = f"{self._status} {await self._why()}"
            quiet, seen = (quiet + _PAUSE, seen) if told == seen else (0.0, told)
            if quiet > (_REAL_PATIENCE if self._devnet.real_time else _PATIENCE):
                raise StepFailed(step, f"the work item is {self._status} and nothing happens: {told}")
            await asyncio.sleep(_PAUSE)

    async def _refuse_unwanted(self, item: str) -> None:
        """Raise StepFailed for a queued item that every living node had and lost: nobody is left to take it."""
        if self._status != "queued":
            return
        endings = [await self._ending(node, item) for node in self._devnet.nodes if not node.has_ended]
        if endings and all(endings):
            raise StepFailed("work", "; ".join(filter(None, endings)))

    async def _ending(self, node: NodeProcess, item: str) -> str | None:
        """Return why a node's work on the item ended, or None while it did not, or is not known."""
        with suppress(UnavailableError):
            for one in (await node.get("/status/history"))["assignments"]:
                if one["work_item"] == item and one["ending"]:
                    return f"{node.member.name}: {one['ending']}"
        return None

    async def _item_status(self, item: str) -> str:
        with suppress(httpx.HTTPError, KeyError, ValueError):  # it may be restarting; the next look will tell
            return str((await self._http.get(f"/v1/work-items/{item}")).json()["status"])
        return self._status

    async def _follow(self, item: str) -> None:
        """Show the run as it goes, of the first node that is seen to do it; a quick one may not be seen."""
        until = asyncio.get_running_loop().time() + _PATIENCE
        while self._status in {"queued", "leased"} and asyncio.get_running_loop().time() < until:
            for node in self._devnet.nodes:
                with suppress(UnavailableError):
                    status = await node.status()
                    if status.get("run_id") and f"work item {item}" in status["busy"]:
                        self._say(f"\n== 3. {node.member.name} ({node.member.key}) holds the lease and runs the swarm")
                        await self._show(node, str(status["run_id"]))
                        return
            await asyncio.sleep(_PAUSE)
            self._status = await self._item_status(item)
            await self._refuse_unwanted(item)

    async def _show(self, node: NodeProcess, run_id: str) -> None:
        try:
            async for told in follow(node.http, run_id):
                self._show_event(told.kind, told.body)
        except OrcaError as error:
            self._say(f"  its progress cannot be shown: {error}")

    async def _reported(self, item: str) -> tuple[NodeProcess, str, int]:
        """Return who did the item, the proof, and the round it was made in. Raises StepFailed where nobody did it."""
        if self._status in {"failed", "cancelled"}:
            endings = [await self._ending(node, item) for node in self._devnet.nodes]
            raise StepFailed("work", f"the work item is {self._status}; {'; '.join(filter(None, endings))}")
        result = (await self._http.get(f"/v1/work-items/{item}/result")).json()
        worker = next(node for node in self._devnet.nodes if node.member.key == result["worker"])
        return worker, str(result["cid"]), int(result["round"])

    async def _tell_stores(self, worker: NodeProcess, cid: str) -> None:
        """Say where the proof is kept. What is not kept yet stops nothing: the node goes on trying."""
        try:
            found = await worker.kept(cid)
        except UnavailableError as error:
            self._say(f"  where it is kept is not known: {error.detail}")
            return
        for one in found["stores"]:
            said = "kept, every block read back" if one["stage"] == "kept" else f"{one['stage']} ({one['error']})"
            self._say(f"  in {one['store']}: {said}")

    async def _tell_submission(self, worker: NodeProcess, number: int, cid: str) -> None:
        entry = await self._submission(worker, number)
        if entry is None or cid not in proofs_in(entry.submission_value):
            raise StepFailed("submission", f"{cid} is not on chain for round {number}")
        self._say(f"  on chain for round {number} at slot {entry.slot}: {entry.submission_value}")

    async def _submission(self, worker: NodeProcess, number: int) -> Submission | None:
        return (await self._devnet.chain.fresh_task(TASK_ID)).task.submitted(number, worker.member.key)

    async def _tell_verdicts(self, item: str) -> None:
        self._say("\n== 5. what the other nodes found, in their own next submissions")
        shown = (await self._http.get(f"/v1/verdicts?work_item={item}")).json()["verdicts"]
        for one in sorted(shown, key=lambda one: str(one["auditor"])):
            verdict = open_verdict(base64.b64decode(one["document"]), one["auditor"])
            self._say(f"  {self._name(one['auditor'])}: {verdict.predicate.vote}: {verdict.predicate.reason}")
            for line in check_lines(verdict):
                self._say(f"    {line}")

    async def _collected(self, worker: NodeProcess, before: dict[str, int], price: int) -> dict[str, int]:
        """Wait until the worker's tokens are in its account. Raises StepFailed for any other amount."""
        until = asyncio.get_running_loop().time() + 60
        while (after := await self._balances())[worker.member.key] == before[worker.member.key]:
            if asyncio.get_running_loop().time() > until:
                raise StepFailed("payment", f"the price was not collected: {await self._why()}")
            await asyncio.sleep(_PAUSE)
        if after[worker.member.key] - before[worker.member.key] != price:
            raise StepFailed("payment", f"the worker got {after[worker.member.key] - before[worker.member.key]}, not {price}")
        return after

    async def _balances(self) -> dict[str, int]:
        return {node.member.key: await self._devnet.balance(node.member) for node in self._devnet.nodes}

    async def _may_go(self) -> bool:
        """Hold the clock while the item waits for its moment or a taker: a round without work brings nobody nearer."""
        return self._status not in {"scheduled", "queued"}

    async def _why(self) -> str:
        """Return what the clock waits for, and what each node says of itself."""
        said = [] if self._devnet.real_time else [f"the clock waits for {self._conductor.waits_for}"]
        for node in self._devnet.nodes:
            if node.has_ended:
                said.append(f"{node.member.name} has ended")
                continue
            try:
                status = await node.status()
            except UnavailableError as error:
                said.append(error.detail)
                continue
            troubles = [f"{one['duty']}: {one['reason']}" for one in status["troubles"]]
            said.append(f"{node.member.name}: {'; '.join([*status['busy'], *troubles]) or status['idle']}")
        return " | ".join(said)

    async def _why_unpaid(self, number: int) -> str:
        for node in self._devnet.nodes:
            with suppress(UnavailableError):
                rounds = (await node.get("/status/history"))["rounds"]
                found = next((one["outcomes"] for one in rounds if one["round"] == number and one["outcomes"]), None)
                if found:
                    return "; ".join(f"{one['cid']}: {one['outcome']}" for one in found["claims"]) + "; ".join(found["missing"])
        return await self._why()

    def _name(self, key: str) -> str:
        return next((node.member.name for node in self._devnet.nodes if node.member.key == key), key)


def check_lines(verdict: VerdictStatement) -> list[str]:
    """Return a line for each check: verdict, code, detail and cost."""
    lines = []
    for check in verdict.predicate.checks:
        cost = f"{check.cost.wall_ms} ms" + (f", {check.cost.tokens} tokens" if check.cost.tokens else "")
        code = "" if check.code == "ok" else f" {check.code}:"
        lines.append(f"{check.check:<13} {check.verdict:<14}{code} {check.detail}  ({cost})")
    return lines
