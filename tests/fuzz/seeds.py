"""Sound examples to begin from: without them a search spends its time on finding out what a CAR looks like."""

from __future__ import annotations

import io

from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.car import write_car
from proof_store.cid import DAG_PB
from proof_store.dag_pb import decode


def seeds() -> dict[str, list[bytes]]:
    """Return examples for every target."""
    blocks, sink = MemoryBlocks(), io.BytesIO()
    root = build_directory({"a": b"x" * 300_000, "b/ünï": b"", "b/c": b"1"}, blocks).cid
    small, little = MemoryBlocks(), io.BytesIO()
    write_car(build_directory({"output.json": b"{}"}, small).cid, small, little)
    write_car(root, blocks, sink)
    nodes = [block for cid, block in blocks.blocks.items() if cid.codec == DAG_PB]
    cars = [little.getvalue(), sink.getvalue()[:1000]]
    data = [node.data for node in map(decode, nodes) if node.data is not None]
    return {"car": cars, "car_stream": cars, "dag_pb": nodes, "tree": nodes, "unixfs": data}
