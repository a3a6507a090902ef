"""Listening: where, since when, and what is said when it cannot be done."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import httpx
import pytest
from starlette.applications import Starlette

from orca_http.serving import address_of, listen, serve, stop_on_signals
from orca_protocol.errors import UnavailableError


async def test_it_serves_from_when_it_is_ready_until_it_is_told_to_stop() -> None:
    stopping, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(Starlette(), "127.0.0.1", 0, address.set_result, stopping=stopping))
    async with httpx.AsyncClient() as client:
        assert (await client.get(await address)).status_code == 404
        stopping.set()
        await serving
        with pytest.raises(httpx.ConnectError):
            await client.get(await address)


async def test_a_signal_stops_it() -> None:
    stopping, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    with stop_on_signals(stopping):
        serving = asyncio.create_task(serve(Starlette(), "127.0.0.1", 0, address.set_result, stopping=stopping))
        await address
        os.kill(os.getpid(), signal.SIGTERM)
        await serving


async def test_a_port_in_use_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UnavailableError, match="--port") as caught:
        await serve(Starlette(), "127.0.0.1", taken.getsockname()[1], print, stopping=asyncio.Event())
    assert caught.value.code == "port_in_use"


@pytest.mark.parametrize("host", ["no such host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_said_to_be(host: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        listen(host, 0)
    assert caught.value.code == "address_unusable"


def test_an_address_is_written_as_clients_write_it() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert address_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"
