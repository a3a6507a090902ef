"""What ``orca doctor`` looks at. Each finding is tried for real, not read off a version number."""

from __future__ import annotations

import platform
import shutil
import sqlite3
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from orca.finding import Finding
from orca.model_examination import examine_gpus, examine_models
from orca.network_examination import examine_network
from orca.store_examination import examine_stores
from orca.tool_examination import examine_tools
from orca_protocol.errors import InvalidError, OrcaError
from proof_store.builder import build_file
from proof_store.reader import read_file

if TYPE_CHECKING:
    from orca.node import LocalNode

_NEEDED_DISK = 500 * 1024 * 1024


async def examine(node: LocalNode) -> AsyncIterator[Finding]:
    """Look at everything a node of this version uses."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}, SQLite {sqlite3.sqlite_version}")
    yield _disk(node)
    yield _key(node)
    yield await _journal(node)
    yield _blocks(node)
    answering = 0
    async for finding in examine_models(node):
        answering += finding.state == "ok"
        yield finding
    if not answering:
        yield Finding(
            "models",
            "broken",
            "no model can answer",
            "set OPENAI_API_KEY, OPENROUTER_API_KEY or ORCA_OPENAI_BASE_URL, or install the embedded model: make run",
        )
    for finding in examine_gpus():
        yield finding
    async for finding in examine_tools(node):
        yield finding
    async for finding in examine_stores(node):
        yield finding
    async for finding in examine_network(node):
        yield finding
    for part, means in _LATER.items():
        yield Finding(part, "absent", means)


#: what the design has and this version does not
_LATER = {
    "sandbox": "this version runs no toolchain steps, so nothing needs one",
}


def _disk(node: LocalNode) -> Finding:
    home = node.settings.home
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < _NEEDED_DISK:
        return Finding(
            "disk",
            "broken",
            f"{free // 2**20} MiB free at {existing}",
            f"free {_NEEDED_DISK // 2**20} MiB or set ORCA_HOME elsewhere",
        )
    return Finding("disk", "ok", f"{free // 2**30} GiB free at {existing}; this node keeps its data in {home}")


def _key(node: LocalNode) -> Finding:
    try:
        key = node.public_key()
    except OrcaError as error:
        return Finding("key", "broken", error.detail, "correct it as said, or move the file away and run: orca key new")
    if key is None:
        return Finding("key", "absent", "no key yet; the first proof makes one", "orca key new, or orca key import FILE")
    return Finding("key", "ok", key)


async def _journal(node: LocalNode) -> Finding:
    try:
        await node.journal.latest("doctor")
    except OrcaError as error:
        return Finding("journal", "broken", error.detail, "make ORCA_HOME writable, or move a damaged journal.db away")
    return Finding("journal", "ok", f"{node.settings.home / 'journal.db'} opens")


def _blocks(node: LocalNode) -> Finding:
    content = b"orca doctor wrote and read this"
    try:
        if read_file(build_file(content, node.blocks).cid, node.blocks) != content:
            raise InvalidError("block_differs", "a block came back changed")
    except OrcaError as error:
        return Finding("block store", "broken", error.detail, "make ORCA_HOME writable, or free disk space")
    return Finding("block store", "ok", f"{node.settings.home / 'blocks'}: a block was written and read back")
