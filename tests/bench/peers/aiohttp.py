"""A bare aiohttp client: the same calls and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import aiohttp

from tests.bench.peers.measuring import TASK, Peer, instructions, main


def make(base_url: str) -> Peer:
    """One session for all."""
    opened: list[aiohttp.ClientSession] = []

    async def call(number: int) -> str:
        if not opened:
            opened.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        messages = [{"role": "system", "content": instructions(number)}, {"role": "user", "content": TASK}]
        body = json.dumps({"model": "scripted", "messages": messages, "max_tokens": 256, "temperature": 0.5})
        headers = {"Content-Type": "application/json"}
        async with opened[0].post(f"{base_url}/chat/completions", data=body, headers=headers) as response:
            return str(json.loads(await response.read())["choices"][0]["message"]["content"])

    async def concurrent(agents: int) -> Sequence[str]:
        return await asyncio.gather(*map(call, range(agents)))

    async def sequential(agents: int) -> Sequence[str]:
        return [await call(number) for number in range(agents)]

    return Peer(concurrent, sequential)


if __name__ == "__main__":
    main(make)
