"""What keeping proofs costs, beside Kubo on the same files: ``python -m tests.bench.stores`` writes docs/benchmarks/stores.md.

Each figure comes from a process of its own, whose most resident memory stands beside it: it must not grow with the file.
Both stores write to disk for good: ours always, Kubo's flatfs with ``sync`` turned on. What is missing says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from proof_store.blocks import DirectoryBlocks
from proof_store.cid import Cid
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.kubo import KuboStore
from proof_store.kubo_rpc import KuboRpc
from proof_store.limits import CarLimits, ReadLimits
from proof_store.local import LocalStore
from proof_store.readback import GatewayBlocks, read_every_block
from proof_store.tree import store_tree
from tests.integration.kubo.daemon import Daemon, running
from tests.integration.proof_store.serving import served

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "benchmarks" / "stores.md"
LIMITS = CarLimits(total_bytes=4 * 1024**3)
KUBO = "add -r -Q --cid-version=1 --raw-leaves --chunker=size-262144 --max-file-links=174 --max-directory-links=0 --progress=false"


def main() -> None:
    """Measure everything and write the document."""
    parser = argparse.ArgumentParser(description="measure what keeping proofs costs")
    parser.add_argument("--packages", type=int, default=1000, help="packages of 1 MB")
    parser.add_argument("--megabytes", type=int, default=1000, help="the size of the one large file")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orca-bench-") as name, ExitStack() as closing:
        folder = Path(name)
        make_files(folder, given.packages, given.megabytes)
        rows = list(own(folder, given.packages, given.megabytes))
        program = kubo_program()
        if program is None:
            rows.append(("Kubo", "is not here: scripts/kubo builds it where Go is", "", ""))
        else:
            daemon = closing.enter_context(running(program, folder / "kubo"))
            make_durable(daemon)
            rows += list(beside_kubo(daemon, folder, given.packages, given.megabytes))
    write(given.out, rows)


def make_files(folder: Path, packages: int, megabytes: int) -> None:
    """Write random files: nothing is found twice, and nothing compresses."""
    for number in range(packages):
        one = folder / "packages" / f"{number:04}"
        one.mkdir(parents=True)
        (one / "journal.jsonl").write_bytes(os.urandom(990_000))
        (one / "output.json").write_bytes(os.urandom(10_000))
    (folder / "large").mkdir()
    with (folder / "large" / "file").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))


def make_durable(daemon: Daemon) -> None:
    """Have Kubo write blocks for good before it says that it has them, as we do; by default it leaves that to the kernel."""
    daemon.stop()
    path = daemon.repo / "config"
    config = json.loads(path.read_text())
    for mount in config["Datastore"]["Spec"]["mounts"]:
        mount["sync"] = True
    path.write_text(json.dumps(config))
    daemon.start()


Row = tuple[str, str, str, str]


def own(folder: Path, packages: int, megabytes: int) -> Iterator[Row]:
    """Measure our own store."""
    said = cell("add-packages", str(folder / "blocks"), str(folder / "packages"))
    yield row(f"add {packages} packages of 1 MB", "orca", said, packages)
    said = cell("add-one", str(folder / "blocks"), str(folder / "large"))
    root = said["root"]
    (folder / "root").write_text(root)
    yield row(f"add a package of {megabytes} MB", "orca", said, megabytes)
    said = cell("read-disk", str(folder / "blocks"), root)
    yield row(f"read {megabytes} MB back from the disk", "orca", said, megabytes)
    said = cell("read-gateway", str(folder / "blocks"), root)
    yield row(f"read {megabytes} MB back through our gateway, both ends in one process", "orca", said, megabytes)


def beside_kubo(daemon: Daemon, folder: Path, packages: int, megabytes: int) -> Iterator[Row]:
    """Measure Kubo on the same files, and ours with it."""
    began = time.perf_counter()
    for one in sorted((folder / "packages").iterdir()):
        daemon.ipfs(*KUBO.split(), str(one), seconds=120)
    yield row(f"add {packages} packages of 1 MB", "`ipfs add`, one call each", {"seconds": time.perf_counter() - began}, packages)
    began = time.perf_counter()
    root = daemon.ipfs(*KUBO.split(), str(folder / "large"), seconds=600).decode().strip()
    yield row(f"add a package of {megabytes} MB", "`ipfs add`", {"seconds": time.perf_counter() - began}, megabytes)
    ours = (folder / "root").read_text()
    if root != ours:
        raise RuntimeError(f"two CIDs for one package: {ours} here, {root} in Kubo")
    daemon.ipfs("pin", "rm", root)
    daemon.ipfs("repo", "gc", "-q", seconds=600)
    said = cell("pin-kubo", str(folder / "blocks"), root, daemon.rpc)
    yield row(f"pin {megabytes} MB in Kubo, sent as one CAR", "orca", said, megabytes)
    said = cell("read-kubo", str(folder / "blocks"), root, daemon.rpc)
    yield row(f"read {megabytes} MB back through Kubo's gateway", "orca", said, megabytes)
    began = time.perf_counter()
    daemon.ipfs("get", "-o", str(folder / "got"), root, seconds=600)
    yield row(f"read {megabytes} MB", "`ipfs get`", {"seconds": time.perf_counter() - began}, megabytes)


def row(what: str, who: str, said: dict[str, Any], megabytes: float) -> Row:
    """Return one line of the table."""
    seconds = said["seconds"]
    memory = f"{said['rss_mb']:.0f} MB" if "rss_mb" in said else ""
    print(f"{what}, {who}: {seconds:.2f} s {memory}", file=sys.stderr)
    return what, who, f"{seconds:.2f} s, {megabytes / seconds:.0f} MB/s", memory


def cell(*arguments: str) -> dict[str, Any]:
    """Measure one thing in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.stores", "cell", *arguments]
    return dict(json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout))


async def measured(what: str, blocks: DirectoryBlocks, argument: str, rpc: str) -> dict[str, Any]:
    """Do one thing and say how long it took, and how much memory."""
    began, root = time.perf_counter(), ""
    if what == "add-packages":
        for one in sorted(Path(argument).iterdir()):
            store_tree(one, blocks)
    elif what == "add-one":
        root = str(store_tree(Path(argument), blocks, ReadLimits(total_bytes=LIMITS.total_bytes)).cid)
    elif what == "read-disk":
        await LocalStore(blocks, limits=LIMITS).read_back(Cid.parse(argument))
    elif what == "read-gateway":
        async with served(create_gateway(blocks, GatewaySettings())) as url:
            gateway = GatewayBlocks(url, is_local=True)
            await read_every_block(Cid.parse(argument), gateway.get, url, LIMITS)
            await gateway.close()
    else:
        store = KuboStore(KuboRpc(rpc), limits=LIMITS)
        await (store.pin(Cid.parse(argument), blocks) if what == "pin-kubo" else store.read_back(Cid.parse(argument)))
        await store.close()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": time.perf_counter() - began, "rss_mb": used, "root": root}


def kubo_program() -> str | None:
    """Return Kubo's program, where it is or can be built."""
    done = subprocess.run([str(ROOT / "scripts" / "kubo")], stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def write(path: Path, rows: list[Row]) -> None:
    """Write the document."""
    head = """# What keeping proofs costs

Written by `make bench`; do not edit. Random files; both write blocks for good (`sync` is turned on in Kubo, whose default leaves
that to the kernel). Memory is the most resident of the process, interpreter and libraries included: it does not grow with the file.

| what | who | time | memory |
|---|---|--:|--:|
"""
    path.write_text(head + "".join(f"| {' | '.join(cells)} |\n" for cells in rows))
    print(path.read_text())


if __name__ == "__main__":
    if sys.argv[1:2] == ["cell"]:
        _, _, what, place, argument, *more = sys.argv
        print(json.dumps(asyncio.run(measured(what, DirectoryBlocks(place), argument, *(more or [""])))))
    else:
        main()
