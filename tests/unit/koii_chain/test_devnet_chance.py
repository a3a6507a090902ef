"""A devnet under chance: whatever people try, the pot holds what the task owes, and the log gives the same state again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.instruction import AccountMeta, Instruction

from koii_chain.addresses import (
    ATA_PROGRAM,
    KPL_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    pot_authority,
    pubkey,
    token_account,
)
from koii_chain.devnet.chain import DEVNET_MINT, devnet_address
from koii_chain.instructions import encode
from orca_protocol.errors import InvalidError
from tests.unit.koii_chain.devnets import BOUNTY, STAKE, Devnet
from tests.unit.koii_chain.test_instructions import CALLS

_NODE = st.integers(0, 2)
_ROUND = st.integers(0, 6)
Act = Callable[[Devnet], object]


def _advanced(slots: int) -> Act:
    return lambda net: net.chain.advance(slots)


def _submitted(node: int, number: int) -> Act:
    return lambda net: net.submit(net.nodes[node], number)


def _voted(node: int, other: int, number: int, is_valid: bool) -> Act:
    return lambda net: net.vote(net.nodes[node], net.nodes[other], number, is_valid=is_valid)


def _listed(node: int, number: int, amounts: list[int]) -> Act:
    return lambda net: net.list(net.nodes[node], number, {who.key: amount for who, amount in zip(net.nodes, amounts, strict=False)})


def _list_voted(node: int, other: int, number: int, is_valid: bool) -> Act:
    return lambda net: net.vote_on_list(net.nodes[node], net.nodes[other], number, is_valid=is_valid)


def _paid(node: int, number: int) -> Act:
    return lambda net: net.payout(net.nodes[node], number)


def _claimed(node: int) -> Act:
    return lambda net: net.claim(net.nodes[node])


def _withdrawn(node: int) -> Act:
    return lambda net: net.withdraw(net.nodes[node])


_AMOUNTS = st.lists(st.one_of(st.integers(-2 * STAKE, 2 * STAKE), st.integers(1, BOUNTY)), min_size=1, max_size=3)
_ACTS = st.one_of(
    st.builds(_advanced, st.sampled_from([1, 20, 40, 60, 100])),
    st.builds(_submitted, _NODE, _ROUND),
    st.builds(_voted, _NODE, _NODE, _ROUND, st.booleans()),
    st.builds(_listed, _NODE, _ROUND, _AMOUNTS),
    st.builds(_list_voted, _NODE, _NODE, _ROUND, st.booleans()),
    st.builds(_paid, _NODE, _ROUND),
    st.builds(_claimed, _NODE),
    st.builds(_withdrawn, _NODE),
)


def _season(net: Devnet, acts: list[Act]) -> None:
    """Round 0 as it should go, with chance between its parts, so that money really moves."""
    parts: list[Act] = [
        *(_submitted(node, 0) for node in range(3)),
        lambda net: net.to(240),
        _listed(1, 0, [STAKE, 0, -STAKE // 2]),
        lambda net: net.to(320),
        _paid(1, 0),
        _claimed(0),
    ]
    net.to(100)
    for place, part in enumerate(parts):
        for act in [part, *acts[place :: len(parts)]]:
            with contextlib.suppress(InvalidError):
                act(net)
            assert net.is_sound()


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(acts=st.lists(_ACTS, max_size=20))
def test_the_pot_holds_what_is_owed_and_the_log_tells_it_again(tmp_path_factory: pytest.TempPathFactory, acts: list[Act]) -> None:
    net = Devnet(tmp_path_factory.mktemp("devnet")).start()
    _season(net, acts)
    digest = net.chain.digest()
    assert net.reopened().chain.digest() == digest
    net.chain.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    return Devnet(tmp_path_factory.mktemp("devnet")).start()


@given(data=st.data())
def test_any_signed_instruction_is_done_or_refused(shared: Devnet, data: st.DataObject) -> None:
    """No bug, no panic of the library, no money out of the pot but by its rules."""
    net = shared
    thief = net.nodes[0]
    known = [
        thief.main_key,
        thief.key,
        net.task_id,
        net.pot,
        pot_authority(net.pot)[0],
        token_account(thief.key, DEVNET_MINT),
        token_account(net.nodes[1].key, DEVNET_MINT),
        DEVNET_MINT,
        devnet_address("faucet"),
        SYSTEM_PROGRAM,
        TOKEN_PROGRAM,
    ]
    program = data.draw(st.sampled_from([SYSTEM_PROGRAM, TOKEN_PROGRAM, ATA_PROGRAM, MEMO_PROGRAM, KPL_PROGRAM]))
    koiis = CALLS.map(encode)
    small = st.builds(lambda index, rest: bytes([index]) + rest, st.integers(0, 45), st.binary(max_size=40))
    content = data.draw(st.one_of(st.binary(max_size=100), small, koiis if program == KPL_PROGRAM else small))
    named = data.draw(st.lists(st.tuples(st.sampled_from(known), st.booleans()), max_size=9))
    mine = {thief.main_key, thief.key}
    metas = [AccountMeta(pubkey(key), key in mine, writable) for key, writable in named]
    instruction = Instruction(pubkey(program), content, metas)
    signers = [thief.main, *([thief.staking] if any(key == thief.key for key, _ in named) else [])]
    others = net.tokens(net.nodes[1].key)
    with contextlib.suppress(InvalidError):
        net.send([instruction], *signers)
    assert net.tokens(net.nodes[1].key) >= others
    assert net.in_pot() >= net.task.total_bounty_amount + net.task.total_stake_amount
    assert sum(net.task.stake_list.values()) == net.task.total_stake_amount


def test_without_chance_the_season_moves_money(tmp_path: Path) -> None:
    net = Devnet(tmp_path).start()
    before = net.tokens(net.nodes[0].key)
    _season(net, [])
    assert net.tokens(net.nodes[0].key) == before + STAKE
    assert net.task.stake_list[net.nodes[2].key] == STAKE // 2
    net.chain.close()
