"""Where proofs live: files into content-addressed blocks, blocks into a store, and both back, checked.

    names, limits          what a tree may contain and what reading one may cost
    cid, wire, dag_pb, unixfs   the formats, strict: one spelling each
    base                   the ports ``BlockStore`` and ``PinStore``, the check ``checked``, and ``MemoryBlocks``
    builder, reader        files to blocks and back
    blocks, car, tree      blocks in a folder, blocks in one file, files in a folder
    gateway, entity        the store over HTTP: gateway_request reads what is asked, gateway_problem says why not
    local, kubo, pinning_service   places that keep trees: this node's folder, a Kubo daemon (by kubo_rpc), somebody else's service
    readback, pinning      a tree read back from such a place, and the rules of when it counts, what is due, what may go
    gateways, walk         a tree from strangers' gateways: gateway_address judges where, gateway_peer asks one, car_stream reads it

A worker calls ``build_directory`` and gets the root CID for the chain; an auditor calls ``read_directory`` on that CID, whatever
store the blocks came from, and ``root_of`` to see that the files have no other name.
"""

from __future__ import annotations

from proof_store.base import PinStore
from proof_store.kubo import KuboStore
from proof_store.local import LocalStore
from proof_store.pinning_service import PinningService

# Every kind of store that a node's proofs can be kept in, by the name under which it is shown and remembered.
STORES: dict[str, type[PinStore]] = {
    "local": LocalStore,
    "kubo": KuboStore,
    "service": PinningService,
}
