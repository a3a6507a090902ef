"""The stores that a node's proofs are kept in, put together from its settings, and the loop that keeps them there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orca_agent.store.pins import PinRecords
from orca_agent.work.pinning import Pinning
from orca_protocol.errors import UnavailableError
from proof_store.base import PinStore
from proof_store.kubo import KuboStore
from proof_store.kubo_rpc import DEFAULT_URL, KuboRpc, parse_rpc_url
from proof_store.local import LocalStore
from proof_store.pinning import PinPolicy
from proof_store.pinning_service import PinningService, no_origins, parse_service_url

if TYPE_CHECKING:
    from orca.store_settings import StoreSettings
    from proof_store.blocks import DirectoryBlocks

#: the first wait after a failure, and on a devnet, whose proofs are wanted within a moment
_RETRY: Final = timedelta(seconds=5)
_QUICK_RETRY: Final = timedelta(seconds=0.5)


@asynccontextmanager
async def open_stores(given: StoreSettings, own: DirectoryBlocks, gateway: str | None) -> AsyncIterator[dict[str, PinStore]]:
    """Yield every store that is configured, by its name in ``STORES``. ``gateway`` is where this node serves its own blocks."""
    async with AsyncExitStack() as closing:
        stores: dict[str, PinStore] = {"local": LocalStore(own, gateway=gateway)}
        kubo = None
        if given.has_kubo:
            url = parse_rpc_url(given.kubo_url or "", allow_remote=given.kubo_allow_remote)
            kubo = stores["kubo"] = KuboStore(KuboRpc(url, given.kubo_token), gateway=given.kubo_gateway_url)
        if given.pinning_service_url is not None and given.pinning_service_token is not None:
            stores["service"] = PinningService(
                parse_service_url(given.pinning_service_url),
                given.pinning_service_token,
                gateway=given.pinning_service_gateway,
                origins=no_origins if kubo is None else kubo.addresses,
            )
        for store in stores.values():
            closing.push_async_callback(store.close)
        yield stores


@asynccontextmanager
async def open_pinning(
    given: StoreSettings, own: DirectoryBlocks, database_url: str, gateway: str | None, *, is_quick: bool = False
) -> AsyncIterator[Pinning]:
    """Yield the loop that keeps this node's proofs; nothing runs yet. Raises UnavailableError if the database does not answer."""
    policy = PinPolicy(
        copies=given.pin_copies,
        check_every=timedelta(hours=given.pin_check_hours),
        retention=timedelta(days=given.retention_days),
        retry_first=_QUICK_RETRY if is_quick else _RETRY,
    )
    async with open_stores(given, own, gateway) as stores, PinRecords(database_url) as records:
        yield Pinning(records, stores, own, policy, every=0.3 if is_quick else 5.0)


async def find_kubo(given: StoreSettings) -> tuple[str | None, str]:
    """Return the RPC of a Kubo to use here, and a sentence about it: the one that is configured, or one at Kubo's own address.

    Raises UnavailableError ``kubo_…`` where the one that is configured does not answer.
    """
    if given.kubo_url == "none":
        return None, "no Kubo, as ORCA_KUBO_URL says: proofs are kept by the nodes themselves"
    url = parse_rpc_url(given.kubo_url or DEFAULT_URL, allow_remote=given.kubo_allow_remote)
    store = KuboStore(KuboRpc(url, given.kubo_token), gateway=given.kubo_gateway_url)
    try:
        return url, f"{await store.state()}: proofs are pinned there too"
    except UnavailableError:
        if given.has_kubo:
            raise
        return None, f"no Kubo at {url}: proofs are kept by the nodes themselves (`ipfs daemon`, or ORCA_KUBO_URL)"
    finally:
        await store.close()


async def states(stores: Mapping[str, PinStore]) -> dict[str, tuple[bool, str, str]]:
    """Ask every store for real: whether it works, what it says, and the code where it does not."""
    found: dict[str, tuple[bool, str, str]] = {}
    for name, store in stores.items():
        try:
            found[name] = (True, await store.state(), "")
        except UnavailableError as error:
            found[name] = (False, error.detail, error.code)
    return found
