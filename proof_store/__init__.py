"""Where proofs live: files into content-addressed blocks, blocks into a store, and both back, checked.

    names, limits          what a tree may contain and what reading one may cost
    cid, wire, dag_pb, unixfs   the formats, strict: one spelling each
    base                   the port ``BlockStore``, the check ``checked``, and ``MemoryBlocks``
    builder, reader        files to blocks and back
    blocks, car, tree      blocks in a folder, blocks in one file, files in a folder
    gateway, entity        the store over HTTP: gateway_request reads what is asked, gateway_problem says why not
    gateways, walk         a tree from strangers' gateways: gateway_address judges where, gateway_peer asks one, car_stream reads it

A worker calls ``build_directory`` and gets the root CID for the chain; an auditor calls ``read_directory`` on that CID, whatever
store the blocks came from, and ``root_of`` to see that the files have no other name.
"""

from __future__ import annotations

from proof_store.base import BlockStore
from proof_store.blocks import DirectoryBlocks

# Every kind of store a node can be configured with, by the name used in its settings.
STORES: dict[str, type[BlockStore]] = {
    "local": DirectoryBlocks,
}
