"""What ``orca doctor`` looks at of the stores that proofs are kept in: each is asked for real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from orca.finding import Finding
from orca.network_settings import load
from orca.store_settings import StoreSettings
from orca.stores import find_kubo, open_stores, states
from orca_protocol.errors import OrcaError

if TYPE_CHECKING:
    from orca.node import LocalNode

_REMEDY = {
    "kubo": "start it: ipfs daemon; or correct ORCA_KUBO_URL",
    "service": "check ORCA_PINNING_SERVICE_URL and ORCA_PINNING_SERVICE_TOKEN",
}
_FORBIDDEN = {
    "kubo_forbidden": "set ORCA_KUBO_TOKEN as the daemon's API.Authorizations wants",
    "service_forbidden": "set ORCA_PINNING_SERVICE_TOKEN to a token that the service knows",
}


async def examine_stores(node: LocalNode) -> AsyncIterator[Finding]:
    """Ask every store that is configured, and say where the only copy of a proof is this machine's."""
    try:
        given = load(StoreSettings)
    except OrcaError as error:
        yield Finding("stores", "broken", error.detail, "correct the variables it names; docs/settings.md says what each is")
        return
    async with open_stores(given, node.blocks, None) as stores:
        for name, (works, said, code) in (await states(stores)).items():
            remedy = "" if works else _FORBIDDEN.get(code, _REMEDY.get(name, ""))
            yield Finding(f"store: {name}", "ok" if works else "broken", said, remedy)
    if not given.has_kubo:
        yield await _found_kubo(given)
    if len(stores) == 1:
        yield Finding(
            "copies",
            "absent",
            "proofs are in this machine's own store only: when its disk is lost, they are",
            "set ORCA_KUBO_URL or ORCA_PINNING_SERVICE_URL",
        )
    elif len(stores) < given.pin_copies:
        yield Finding("copies", "absent", f"{len(stores)} stores for {given.pin_copies} copies", "configure one more")


async def _found_kubo(given: StoreSettings) -> Finding:
    """Say whether there is a daemon that could be used."""
    url, said = await find_kubo(given)
    if url is None:
        return Finding("store: kubo", "absent", said)
    return Finding("store: kubo", "absent", f"{said.rpartition(':')[0]}, and is not used", f"export ORCA_KUBO_URL={url}")
