"""What ``orca doctor`` looks at of a node's network: settings, chain, stake, fees, middle server, gateway, and the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import httpx

from koii_chain.client import ChainClient
from koii_chain.rpc import JsonRpc, RpcSettings
from koii_chain.stake import stake_standing, task_standing
from koii_chain.state import TaskState
from orca.finding import Finding
from orca.key_file import load_key
from orca.network_settings import NetworkSettings, load
from orca_protocol.errors import OrcaError
from orca_protocol.keys import public_key_of

if TYPE_CHECKING:
    from orca.node import LocalNode

#: $SWARMS lives on Solana; what a task on K2 pays in is whatever token it was created with
SOLANA_MINT: Final = "74SBV4zDXxTRgv1pEMoECskKBkZHc2yGPnc7GYVepump"
_ROE_FOR_A_DAY: Final = 50_000_000
#: an empty block whose content is in its name: every gateway can be asked for it
_PROBE: Final = "bafkqaaa"
_SECONDS: Final = 5.0


async def examine_network(node: LocalNode) -> AsyncIterator[Finding]:
    """Look at everything that a node of a network uses; one line where it is in none."""
    try:
        given = load(NetworkSettings)
    except OrcaError as error:
        yield Finding("network", "broken", error.detail, "correct the variables it names; docs/settings.md says what each is")
        return
    missing = _missing(node, given)
    if len(missing) == _NEEDED and node.settings.network == "none":
        yield Finding(
            "network",
            "absent",
            "this node is in no network: it runs specs from files and serves its own HTTP, and is paid for nothing",
            "orca devnet shows a whole one; docs/network.md says how to join one",
        )
        return
    if missing:
        yield Finding("network", "broken", f"not set: {', '.join(missing)}", "set them; docs/settings.md says what each is")
    yield _token(node)
    task: TaskState | None = None
    if given.rpc_urls and given.task_id:
        async for finding, found in _chain(given):
            task = found or task
            yield finding
    if task is not None:
        yield _stake(node, task)
        yield await _fees(node, given)
    if given.middle_server_url:
        yield await _middle(node, given)
    if given.gateway_url:
        yield await _gateway(given.gateway_url)


def _missing(node: LocalNode, given: NetworkSettings) -> list[str]:
    needed = {
        "ORCA_NETWORK": node.settings.network != "none",
        "ORCA_RPC_URLS": given.rpc_urls,
        "ORCA_TASK_ID": given.task_id,
        "MIDDLE_SERVER_URL": given.middle_server_url,
        "ORCA_LEASE_SIGNER": given.lease_signer,
        "ORCA_GATEWAY_URL": given.gateway_url or node.settings.network.startswith("devnet"),
    }
    return [name for name, value in needed.items() if not value]


_NEEDED: Final = 6


def _token(node: LocalNode) -> Finding:
    if node.settings.network.startswith("devnet"):
        return Finding("$SWARMS", "ok", "a devnet has a mint of its own, and gives its tokens away")
    return Finding(
        "$SWARMS",
        "absent",
        f"Koii's K2 has no $SWARMS mint today ({SOLANA_MINT} is on Solana): a task there pays in the token it was made with",
    )


async def _chain(given: NetworkSettings) -> AsyncIterator[tuple[Finding, TaskState | None]]:
    """Ask every endpoint, because a node that has two wants both."""
    for url in given.rpc_urls:
        part = f"chain {httpx.URL(url).host}" if len(given.rpc_urls) > 1 else "chain"
        try:
            client = ChainClient(JsonRpc(RpcSettings((url,), call_seconds=_SECONDS)))
        except OrcaError as error:
            yield Finding(part, "broken", error.detail, "correct ORCA_RPC_URLS"), None
            continue
        try:
            snapshot = await client.task(given.task_id or "")
            standing = task_standing(snapshot.task)
            paid_in = snapshot.task.token_type or "KOII"
            detail = f"slot {snapshot.slot}, {standing.detail}, it pays in {paid_in}"
            yield (
                Finding(
                    part, "ok" if standing.is_staked else "broken", detail, "" if standing.is_staked else "choose another task"
                ),
                (snapshot.task),
            )
        except OrcaError as error:
            yield Finding(part, "broken", error.detail, "check ORCA_RPC_URLS and ORCA_TASK_ID, and that the endpoint is up"), None
        finally:
            await client.close()


def _stake(node: LocalNode, task: TaskState) -> Finding:
    try:
        key = node.public_key()
    except OrcaError as error:
        return Finding("stake", "broken", error.detail, "correct the key file")
    if key is None:
        return Finding("stake", "broken", "there is no staking key", "orca key new, or orca key import FILE")
    standing = stake_standing(task, key)
    if standing.is_staked:
        return Finding("stake", "ok", standing.detail)
    return Finding("stake", "broken", standing.detail, f"stake at least {task.minimum_stake_amount} base units with {key}")


async def _fees(node: LocalNode, given: NetworkSettings) -> Finding:
    path = given.main_key_file or node.settings.home / "main.json"
    try:
        account = public_key_of(load_key(path, network=node.settings.network))
    except OrcaError as error:
        return Finding("main account", "broken", error.detail, f"put the main account's key into {path}, or set ORCA_MAIN_KEY_FILE")
    client = ChainClient(JsonRpc(RpcSettings(given.rpc_urls, call_seconds=_SECONDS)))
    try:
        balance = await client.balance(account)
    except OrcaError as error:
        return Finding("main account", "broken", error.detail, "check ORCA_RPC_URLS")
    finally:
        await client.close()
    if balance < _ROE_FOR_A_DAY:
        return Finding("main account", "broken", f"{account} has {balance / 10**9:.4f} KOII", "send it some KOII: it pays the fees")
    return Finding("main account", "ok", f"{account} has {balance / 10**9:.4f} KOII for fees")


async def _middle(node: LocalNode, given: NetworkSettings) -> Finding:
    url = (given.middle_server_url or "").rstrip("/")
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            document = (await http.get(f"{url}/health")).json()
        said = (document["service"], document["signer"], document["network"], given.task_id in document["task_ids"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        return Finding("middle server", "broken", f"{url}: {type(error).__name__}", "check MIDDLE_SERVER_URL, and that it is up")
    wanted = ("orca-middle-server", given.lease_signer, node.settings.network, True)
    for name, ours, theirs in zip(("service", "ORCA_LEASE_SIGNER", "ORCA_NETWORK", "task"), wanted, said, strict=True):
        if ours != theirs:
            return Finding("middle server", "broken", f"{url}: {name} is {theirs!r} there and {ours!r} here", f"make {name} agree")
    return Finding("middle server", "ok", f"{url} serves this task and signs leases as {given.lease_signer}")


async def _gateway(url: str) -> Finding:
    """Ask the node's own gateway from here. That peers reach it too, only they can say."""
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            status = (await http.get(f"{url.rstrip('/')}/ipfs/{_PROBE}?format=raw")).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(
            "gateway",
            "absent",
            f"{url} does not answer from here ({type(error).__name__}); peers find no proofs while it is down",
            "start the node; check ORCA_GATEWAY_URL and what forwards to ORCA_GATEWAY_PORT",
        )
    if status != 200:
        return Finding("gateway", "broken", f"{url} answers {status}", "ORCA_GATEWAY_URL must lead to this node's gateway")
    return Finding("gateway", "ok", f"{url} answers from here")
