"""A whole devnet as one context: leaving it ends every process, in the order that lets each finish."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from koii_chain.client import ChainClient
from koii_chain.clock import RoundClock
from koii_chain.devnet.chain import DEVNET_MINT
from koii_chain.rpc import JsonRpc, RpcSettings
from orca.devnet import genesis
from orca.devnet.children import Child, orca, start
from orca.devnet.layout import MIDDLE, NETWORK, QUICK, REQUESTER, TASK_ID, Layout, Member
from orca.key_file import save_key
from orca.middle_service import issue
from orca.postgres import EmbeddedPostgres
from orca_protocol.errors import UnavailableError
from orca_protocol.keys import public_key_of

#: what children take over from this process's environment: where programs are, and which models answer
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
_PASSED_PREFIXES: Final = (
    "ORCA_OPENAI_",
    "ORCA_ANTHROPIC_",
    "OPENROUTER_API_KEY",
    "ORCA_OPENROUTER_",
    "ORCA_MODEL_",
    "ORCA_MAX_IN_FLIGHT",
    "ORCA_KUBO_",
    "ORCA_PIN_",
    "ORCA_PINNING_SERVICE_",
    "ORCA_RETENTION_DAYS",
)


class NodeProcess:
    """A node of the devnet, and its HTTP."""

    def __init__(self, member: Member, child: Child) -> None:
        self.member = member
        self.child = child
        self.http = httpx.AsyncClient(base_url=child.said["url"], timeout=5.0, trust_env=False)

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone."""
        return self.child.has_ended

    async def status(self) -> dict[str, Any]:
        """Return what it says of itself. Raises UnavailableError ``node_silent``."""
        return await self.get("/status")

    async def kept(self, cid: str, seconds: float = 15.0) -> dict[str, Any]:
        """Return where a proof is kept, once it is everywhere or the time is over. Raises UnavailableError ``node_silent``."""
        until = asyncio.get_running_loop().time() + seconds
        while True:
            with suppress(UnavailableError):
                found = await self.get(f"/v1/proofs/{cid}")
                if found["safe"] and all(one["stage"] == "kept" for one in found["stores"]):
                    return found
            if asyncio.get_running_loop().time() > until:
                return await self.get(f"/v1/proofs/{cid}")
            await asyncio.sleep(0.2)

    async def get(self, path: str) -> dict[str, Any]:
        """Return a document of its HTTP API. Raises UnavailableError ``node_silent``."""
        try:
            answer = await self.http.get(path)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError("node_silent", f"{self.member.name} does not answer: {type(error).__name__}") from error
        if answer.status_code != 200 or not isinstance(document, dict):
            raise UnavailableError("node_silent", f"{self.member.name} answered {answer.status_code}")
        return document


class Devnet:
    """A running devnet in the folder of ``layout``. ``real_time`` lets its clock run as a chain's does."""

    def __init__(
        self, layout: Layout, *, clock: RoundClock = QUICK, real_time: bool = False, extra: Mapping[str, str] | None = None
    ) -> None:
        self.layout = layout
        self._clock = clock
        self.real_time = real_time
        self._extra = dict(extra or {})
        self._closing = AsyncExitStack()
        self.nodes: list[NodeProcess] = []
        self.endpoint = self.middle_url = self.api_key = ""

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._closing.aclose()

    async def start_node(self, member: Member, **extra: str) -> NodeProcess:
        """Start a node, or start it again; it goes on with what it finds in its folder and its database."""
        await genesis.stake(self.chain, member)
        child = await start(member.name, orca("node", "--standalone", "--json"), self._log(member.name), self._node(member) | extra)
        node = NodeProcess(member, child)
        self._closing.push_async_callback(node.http.aclose)
        self._closing.push_async_callback(child.end)
        self.nodes = [one for one in self.nodes if one.member != member] + [node]
        self.nodes.sort(key=lambda one: one.member.number)
        return node

    async def start_middle(self, **extra: str) -> Child:
        """Start the middle server, or start it again on the same port."""
        environment = self._environment() | {
            "ORCA_MIDDLE_KEY_FILE": str(self.layout.middle_key),
            "DATABASE_URL": self.database("orca_middle"),
            "ORCA_NETWORK": NETWORK,
            "ORCA_MIDDLE_TASK_IDS": TASK_ID,
            "ORCA_RPC_URLS": self.endpoint,
            "ORCA_MIDDLE_PORT": self.middle_url.rpartition(":")[2] or "0",
            "ORCA_MIDDLE_HEARTBEAT_SECONDS": "10",
            **{name: value for name, value in self._extra.items() if name.startswith("ORCA_MIDDLE_")},
            **extra,
        }
        self.middle = await start("middle server", orca("middle-server", "--json"), self._log("middle"), environment)
        self._closing.push_async_callback(self.middle.end)
        self.middle_url = self.middle.said["url"]
        return self.middle

    async def start_chain(self) -> Child:
        """Start the chain, or start it again on the same port."""
        command = [*_PYTHON, "-m", "koii_chain.devnet", "--data", str(self.layout.chain)]
        command += ["--port", self.endpoint.rpartition(":")[2] or "0"] + (["--real-time"] if self.real_time else [])
        self.chain_process = await start("chain", command, self._log("chain"), self._environment())
        self._closing.push_async_callback(self.chain_process.end)
        self.endpoint = self.chain_process.said["endpoint"]
        return self.chain_process

    async def balance(self, member: Member) -> int:
        """Return the tokens that a node's main account holds, in base units."""
        return await self.chain.tokens(member.account, DEVNET_MINT)

    def database(self, name: str) -> str:
        """Return the URL of a database on the devnet's server, which is made if there is none."""
        return self._postgres.database(name)

    def requester_environment(self) -> dict[str, str]:
        """Return what a requester's shell must be told to post work and pay for it."""
        return {
            "MIDDLE_SERVER_URL": self.middle_url,
            "ORCA_MIDDLE_API_KEY": self.api_key,
            "ORCA_NETWORK": NETWORK,
            "ORCA_RPC_URLS": self.endpoint,
            "ORCA_TASK_ID": TASK_ID,
            "ORCA_MAIN_KEY_FILE": str(self.layout.requester_key),
        }

    async def _start(self) -> None:
        self.layout.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._postgres = EmbeddedPostgres(self.layout.postgres, settings={"max_connections": "400"})
        self._closing.push_async_callback(asyncio.to_thread, self._postgres.stop)
        await asyncio.gather(asyncio.to_thread(self._postgres.start), self.start_chain())
        self.chain = ChainClient(JsonRpc(RpcSettings((self.endpoint,))), stale_seconds=0.1)
        self._closing.push_async_callback(self.chain.close)
        await genesis.make_task(self.chain, self._clock, approvals=min(2, max(1, self.layout.nodes - 1)))
        for key, path in ((MIDDLE, self.layout.middle_key), (REQUESTER, self.layout.requester_key)):
            if not path.exists():
                save_key(key, path)
        await genesis.give(self.chain, public_key_of(REQUESTER), tokens=genesis.POCKET_MONEY)
        await self.start_middle()
        self.api_key = await issue(self.database("orca_middle"), public_key_of(REQUESTER), "devnet")
        for member in self.layout.members:
            await genesis.stake(self.chain, member)
        await asyncio.gather(*(self.start_node(member) for member in self.layout.members))
        self._write_down()

    def _write_down(self) -> None:
        """Leave word of where everything is, for commands in other shells; the API key in it is its owner's."""
        document = {
            "chain": self.endpoint,
            "middle_server": self.middle_url,
            "api_key": self.api_key,
            "nodes": {node.member.name: node.child.said for node in self.nodes},
        }
        path = self.layout.data / "running.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=2))
        self._closing.callback(path.unlink, missing_ok=True)

    def _node(self, member: Member) -> dict[str, str]:
        for key, name in ((member.staking, "id.json"), (member.main, "main.json")):
            if not (member.home / name).exists():
                save_key(key, member.home / name)
        return self._environment() | {
            "ORCA_HOME": str(member.home),
            "DATABASE_URL": self.database(f"orca_{member.name}"),
            "ORCA_NETWORK": NETWORK,
            "ORCA_RPC_URLS": self.endpoint,
            "ORCA_TASK_ID": TASK_ID,
            "MIDDLE_SERVER_URL": self.middle_url,
            "ORCA_LEASE_SIGNER": public_key_of(MIDDLE),
            "ORCA_GATEWAY_PORT": "0",
            "ORCA_PORT": "0",
            "ORCA_AUDITS_PER_ROUND": "20",
            **{name: value for name, value in self._extra.items() if not name.startswith("ORCA_MIDDLE_")},
        }

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)} | {
            "PYTHONUNBUFFERED": "1"
        }

    def _log(self, name: str) -> Path:
        return self.layout.logs / f"{name}.log"


_PYTHON = orca()[:1]
