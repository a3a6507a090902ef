"""The middle server's port over the real client and a devnet process."""

from __future__ import annotations

from pathlib import Path

import pytest

from koii_chain.client import ChainClient
from koii_chain.rpc import JsonRpc, RpcSettings
from middle_server.chain import Stake
from middle_server.koii import KoiiChain
from orca_protocol.errors import InvalidError, UnavailableError
from tests.unit.koii_chain.devnets import STAKE, Devnet
from tests.unit.koii_chain.processes import devnet


async def test_the_devnet_says_stake_round_and_what_was_paid(tmp_path: Path) -> None:
    net = Devnet(tmp_path).start()
    worker, maker = net.nodes[0], net.nodes[1]
    net.to(110)
    for node in net.nodes:
        net.submit(node, 0)
    net.to(250)
    net.list(maker, 0, {worker.key: 1_500_000})
    net.to(340)
    net.payout(maker, 0)
    task_id, stranger = net.task_id, net.requester.key
    net.chain.close()

    with devnet(tmp_path) as process:
        client = ChainClient(JsonRpc(RpcSettings((process.address,))))
        chain = KoiiChain(client)
        try:
            assert await chain.stake(task_id, worker.key) == Stake(STAKE, STAKE, is_active=True, is_migrated=False)
            assert (await chain.stake(task_id, stranger)).amount == 0
            assert await chain.current_round(task_id) >= 3
            assert await chain.distribution(task_id, 0) == {worker.key: 1_500_000}
            assert await chain.distribution(task_id, 1) is None
            with pytest.raises(InvalidError, match="task_unknown"):
                await chain.stake(stranger, worker.key)
            process.kill()
            with pytest.raises(UnavailableError):
                await chain.distribution(task_id, 0)
        finally:
            await client.close()
