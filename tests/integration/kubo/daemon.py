"""A Kubo daemon for tests: its own repository, loopback only, no way to the public network, ended by its own pid."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx


class Daemon:
    """One that runs. ``ipfs`` is its command line, which never saw our code."""

    def __init__(self, program: str, repo: Path, api: int, gateway: int, swarm: int) -> None:
        self.program, self.repo = program, repo
        self.rpc, self.gateway, self.swarm = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{gateway}", swarm
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.repo), "IPFS_PATH": str(self.repo), "IPFS_TELEMETRY": "off"}

    def ipfs(self, *arguments: str, content: bytes | None = None, seconds: float = 60) -> bytes:
        """Return what a command says. Raises AssertionError with its words when it fails."""
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, input=content, capture_output=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"ipfs {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout

    def post(self, command: str, **query: str) -> Any:
        answer = httpx.post(f"{self.rpc}/api/v0/{command}", params=query, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def connect(self, other: Daemon) -> None:
        """Make a connection to another daemon: nothing else would find it."""
        name = json.loads(other.ipfs("id"))["ID"]
        self.ipfs("swarm", "connect", f"/ip4/127.0.0.1/tcp/{other.swarm}/p2p/{name}")

    def start(self) -> None:
        with (self.repo / "said").open("ab") as said:
            self.process = subprocess.Popen(
                [self.program, "daemon", "--migrate=false"], env=self.environment, stdout=said, stderr=said
            )
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.post(f"{self.rpc}/api/v0/version", timeout=2, trust_env=False).status_code == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError((self.repo / "said").read_text())
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


@contextlib.contextmanager
def running(program: str, repo: Path) -> Iterator[Daemon]:
    """Make a repository in ``repo`` and run its daemon for the length of the block."""
    repo.mkdir(parents=True)
    api, gateway, swarm = free_ports(3)
    daemon = Daemon(program, repo, api, gateway, swarm)
    daemon.ipfs("init", "--profile=server,test", "--empty-repo")
    configure(daemon, api, gateway, swarm)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


def configure(daemon: Daemon, api: int, gateway: int, swarm: int) -> None:
    """Cut it off from everything but this machine."""
    path = daemon.repo / "config"
    config = json.loads(path.read_text())
    config["Bootstrap"] = None
    config["AutoConf"] = {"Enabled": False}
    config["AutoTLS"] = {"Enabled": False}
    config["DNS"] = {"Resolvers": {}}
    config["Ipns"] = config.get("Ipns", {}) | {"DelegatedPublishers": []}
    config["Discovery"] = {"MDNS": {"Enabled": False}}
    config["Routing"] = {"Type": "none", "DelegatedRouters": []}
    config["HTTPRetrieval"] = {"Enabled": False}
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["Addresses"] = {
        "API": f"/ip4/127.0.0.1/tcp/{api}",
        "Gateway": f"/ip4/127.0.0.1/tcp/{gateway}",
        "Swarm": [f"/ip4/127.0.0.1/tcp/{swarm}"],
        "Announce": [],
        "AppendAnnounce": [],
        "NoAnnounce": [],
    }
    config["Swarm"] = config["Swarm"] | {
        "AddrFilters": None,
        "DisableNatPortMap": True,
        "EnableHolePunching": False,
        "RelayClient": {"Enabled": False},
        "RelayService": {"Enabled": False},
    }
    path.write_text(json.dumps(config))


def free_ports(count: int) -> Sequence[int]:
    """Return ports that are free now; held together while they are chosen, so that they differ."""
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(one.getsockname()[1])
        return found
