"""GGUF headers as the format spells them, for tests."""

from __future__ import annotations

import struct
from typing import Any


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: Any) -> bytes:
    match value:
        case str():
            return text(key) + struct.pack("<I", 8) + text(value)
        case list() if value and isinstance(value[0], str):
            return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(item) for item in value)
        case list():
            return text(key) + struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)
        case float():
            return text(key) + struct.pack("<If", 6, value)
        case _:
            return text(key) + struct.pack("<II", 4, value)


def header(*, layers: int, heads: int, kv_heads: int | list[int], embedding: int, context: int, **more: Any) -> bytes:
    """The header of a model of architecture ``t``; ``more`` goes before what matters, as real files mix them."""
    pairs = {
        "general.architecture": "t",
        **more,
        "t.block_count": layers,
        "t.attention.head_count": heads,
        "t.attention.head_count_kv": kv_heads,
        "t.embedding_length": embedding,
        "t.context_length": context,
    }
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pair(key, value) for key, value in pairs.items())
