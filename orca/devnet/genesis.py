"""What a devnet's chain must hold before anybody can work: the task, the nodes' stakes, money to pay with.

Done again on a chain that has it already, it changes nothing; a stake that was cut is filled up again.
"""

from __future__ import annotations

from koii_chain import calls
from koii_chain.client import ChainClient
from koii_chain.clock import RoundClock
from koii_chain.devnet import tools
from koii_chain.devnet.chain import DEVNET_MINT
from koii_chain.distribution import Policy
from koii_chain.state import TaskState
from orca.devnet.layout import MINIMUM_STAKE, POT, REQUESTER, ROUND_BOUNTY, STAKE, TASK, TASK_ID, Member
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of

#: ROE that somebody needs for many fees
_FEES = 10**10
#: base units with which a requester begins
POCKET_MONEY = 1_000_000_000


async def make_task(client: ChainClient, clock: RoundClock, *, approvals: int) -> TaskState:
    """Return the devnet's task, made where there is none. Raises InvalidError ``devnet_windows`` for one with another schedule."""
    requester = public_key_of(REQUESTER)
    if await client.account(TASK_ID) is None:
        await give(client, requester, tokens=0)
        create = calls.create_task(
            TASK_ID,
            requester,
            public_key_of(POT),
            DEVNET_MINT,
            name="orca-devnet",
            clock=clock,
            minimum_stake=MINIMUM_STAKE,
            bounty_per_round=ROUND_BOUNTY,
            task_vars=Policy(approvals=approvals).task_vars(),
        )
        token_account = calls.create_token_account(requester, requester, DEVNET_MINT)
        await client.act([token_account, create], [REQUESTER, TASK, POT])
    task = (await client.fresh_task(TASK_ID)).task
    if task.round_time != clock.round_time:
        raise InvalidError(
            "devnet_windows", f"this devnet's rounds have {task.round_time} slots, not {clock.round_time}; choose another --data"
        )
    return task


async def stake(client: ChainClient, member: Member) -> None:
    """Make sure that a node's stake counts."""
    task = (await client.fresh_task(TASK_ID)).task
    held = task.stake_list.get(member.key, 0)
    if held >= STAKE // 2:
        return
    await give(client, member.account, tokens=0)
    await tools.mint(client.rpc, member.key, STAKE - held)
    instructions = [calls.stake(task, member.key, STAKE - held)]
    if await client.account(member.key) is None:
        instructions.insert(0, calls.create_staking_account(member.account, member.key))
    await client.act(instructions, [member.main, member.staking])


async def fund(client: ChainClient, price: int, item: str) -> str:
    """Pay a price into the task's pot, as the requester, saying for which item; returns the transaction's signature."""
    requester = public_key_of(REQUESTER)
    await give(client, requester, tokens=price)
    task = (await client.fresh_task(TASK_ID)).task
    return await client.act([calls.fund_task(task, requester, price), calls.memo(requester, item)], [REQUESTER])


async def give(client: ChainClient, key: str, *, tokens: int) -> None:
    """Make sure that ``key`` can pay fees, and has ``tokens``."""
    if await client.balance(key) < _FEES // 10:
        await tools.airdrop(client.rpc, key, _FEES)
    missing = tokens - await client.tokens(key, DEVNET_MINT)
    if missing > 0:
        await tools.mint(client.rpc, key, missing)
