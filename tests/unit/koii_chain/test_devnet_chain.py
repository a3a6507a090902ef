from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from solders.instruction import AccountMeta, Instruction
from solders.token.state import Mint

from koii_chain import calls
from koii_chain.account import read_kpl
from koii_chain.addresses import MEMO_PROGRAM, TOKEN_PROGRAM, pot_authority, pubkey, token_account
from koii_chain.clock import RoundClock
from koii_chain.devnet.chain import BLOCKHASH_SLOTS, DEVNET_MINT, Chain, devnet_address
from koii_chain.devnet.log import RecordLog
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import devnet_key, public_key_of
from tests.unit.koii_chain.devnets import STAKE, Devnet, Person
from tests.unit.koii_chain.test_devnet_rounds import refused


def test_the_mint_is_the_devnets_swarms_with_six_decimals(net: Devnet) -> None:
    mint = net.chain.ledger.mint_state(DEVNET_MINT)
    assert isinstance(mint, Mint)
    assert mint.decimals == 6
    assert mint.supply == 100_000_000 + 3 * 2 * STAKE
    assert str(mint.mint_authority) == devnet_address("faucet")


def test_stakes_and_bounty_are_in_the_pot(net: Devnet) -> None:
    assert net.in_pot() == 20_000_000 + 3 * STAKE
    assert net.task.stake_list == {node.key: STAKE for node in net.nodes}
    assert net.is_sound()


def test_the_same_log_gives_the_same_state(net: Devnet) -> None:
    net.to(100)
    net.submit(net.nodes[0], 0)
    digest, records, world = net.chain.digest(), net.chain.records, net.chain.world
    assert net.reopened().chain.digest() == digest
    assert net.chain.records == records
    assert net.chain.world == world
    net.submit(net.nodes[1], 0)
    assert net.chain.digest() != digest


def test_a_repeated_transaction_is_refused_after_a_restart_too(net: Devnet) -> None:
    """LiteSVM alone would do it again: its memory of signatures and blockhashes ends with the process."""
    raw = net.signed([calls.transfer_tokens(net.requester.main_key, net.nodes[0].key, DEVNET_MINT, 5)], net.requester.main)
    net.chain.submit(raw)
    for _ in range(2):
        with refused("already_processed"):
            net.chain.submit(raw)
        net.reopened()
    net.chain.advance(BLOCKHASH_SLOTS)
    with refused("blockhash_expired"):
        net.chain.submit(raw)


def test_a_transaction_of_one_devnet_is_worth_nothing_on_another(net: Devnet, tmp_path: Path) -> None:
    raw = net.signed([calls.transfer_lamports(net.requester.main_key, Person(9).main_key, 10**9)], net.requester.main)
    other = Devnet(tmp_path / "other")
    other.give(other.requester)
    with refused("blockhash_expired"):
        other.chain.submit(raw)
    other.chain.close()


def test_a_message_signed_again_is_still_the_same_message(net: Devnet) -> None:
    """A payer can sign the same bytes twice with different nonces; a co-signer's order must not run twice for it."""
    raw = net.signed(
        [calls.transfer_tokens(net.nodes[0].key, net.requester.main_key, DEVNET_MINT, 5)], net.nodes[0].main, net.nodes[0].staking
    )
    net.chain.submit(raw)
    message = raw[1 + 64 * raw[0] :]
    again = bytes([2]) + _signed_otherwise(net.nodes[0].main, message) + raw[65:]
    assert again != raw
    with refused("already_processed"):
        net.chain.submit(again)


def _signed_otherwise(key: SigningKey, message: bytes) -> bytes:
    """Ed25519 by RFC 8032 with another nonce than the usual one."""
    import hashlib

    from nacl import bindings

    expanded = hashlib.sha512(bytes(key)).digest()
    scalar = bytearray(expanded[:32])
    scalar[0] &= 248
    scalar[31] = (scalar[31] & 127) | 64
    nonce = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"another" + message).digest())
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(point + bytes(key.verify_key) + message).digest())
    reduced = bindings.crypto_core_ed25519_scalar_reduce(bytes(scalar) + bytes(32))
    product = bindings.crypto_core_ed25519_scalar_mul(challenge, reduced)
    return bytes(point + bindings.crypto_core_ed25519_scalar_add(nonce, product))


@contextmanager
def full_disk(path: Path, room: int = 0) -> Iterator[None]:
    """No file may grow beyond what this one has and ``room`` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("room", [0, 10], ids=["not a byte", "half a record"])
def test_what_does_not_fit_on_disk_has_not_happened(net: Devnet, room: int) -> None:
    log = net.folder / "chain.log"
    digest, before = net.chain.digest(), log.read_bytes()
    raw = net.signed([calls.fund_task(net.task, net.requester.main_key, 1000)], net.requester.main)
    with full_disk(log, room), pytest.raises(UnavailableError, match="devnet_log"):
        net.chain.submit(raw)
    assert (net.chain.digest(), log.read_bytes()) == (digest, before)
    net.chain.submit(raw)
    digest = net.chain.digest()
    assert net.reopened().chain.digest() == digest


@pytest.mark.parametrize("record", [b"{}", b'{"kind":"advance","slot":0,"slots":0}', b"again", b"genesis"])
def test_a_log_that_contradicts_itself_is_refused(net: Devnet, record: bytes) -> None:
    net.send([calls.fund_task(net.task, net.requester.main_key, 1000)], net.requester.main)
    net.chain.close()
    log = RecordLog(net.folder / "chain.log")
    records = list(log.replay())
    log.append({b"again": records[-1], b"genesis": records[0]}.get(record, record))
    log.close()
    with pytest.raises(InvalidError, match="devnet_log_damaged"):
        Chain(net.folder)
    net.chain = Chain(net.folder.parent / "other")


def test_an_expired_blockhash_is_refused(net: Devnet) -> None:
    raw = net.signed([calls.transfer_lamports(net.requester.main_key, Person(9).main_key, 10**9)], net.requester.main)
    net.chain.advance(BLOCKHASH_SLOTS)
    with refused("blockhash_expired"):
        net.chain.submit(raw)


def test_a_forged_signature_is_refused(net: Devnet) -> None:
    raw = bytearray(net.signed([calls.transfer_lamports(net.requester.main_key, Person(9).main_key, 10**9)], net.requester.main))
    raw[20] ^= 1
    with refused("signature"):
        net.chain.submit(bytes(raw))


def test_an_overdraw_is_refused_and_costs_nothing(net: Devnet) -> None:
    digest = net.chain.digest()
    with refused("insufficient_funds"):
        net.send([calls.fund_task(net.task, net.requester.main_key, 10**12)], net.requester.main)
    with refused("insufficient_funds"):
        net.send(
            [calls.transfer_tokens(net.nodes[0].key, net.requester.main_key, DEVNET_MINT, 10**9)],
            net.nodes[0].main,
            net.nodes[0].staking,
        )
    with refused("insufficient_funds"):
        net.send([calls.transfer_lamports(net.requester.main_key, Person(9).main_key, 10**12)], net.requester.main)
    assert net.chain.digest() == digest


def test_who_cannot_pay_the_fee_does_nothing(net: Devnet) -> None:
    poor = Person(9)
    with refused("insufficient_funds"):
        net.send([calls.transfer_lamports(poor.main_key, net.requester.main_key, 1)], poor.main)


def test_a_transaction_happens_whole_or_not_at_all(net: Devnet) -> None:
    digest = net.chain.digest()
    fund = calls.fund_task(net.task, net.requester.main_key, 1000)
    beyond = calls.transfer_tokens(net.requester.main_key, net.nodes[0].key, DEVNET_MINT, 10**12)
    with refused("insufficient_funds"):
        net.send([fund, beyond], net.requester.main)
    with refused("wrong_round"):
        net.send([fund, calls.submit(net.task_id, net.nodes[0].key, "x", 0)], net.requester.main, net.nodes[0].staking)
    assert net.chain.digest() == digest


def test_an_account_that_did_not_sign_pays_nothing(net: Devnet) -> None:
    victim, thief = net.requester.main_key, net.nodes[0]
    funding = calls.fund_task(net.task, victim, 1000)
    unsigned = Instruction(
        funding.program_id, bytes(funding.data), [AccountMeta(meta.pubkey, False, meta.is_writable) for meta in funding.accounts]
    )
    with refused("missing_signature"):
        net.send([unsigned], thief.main)


def test_nobody_borrows_the_pots_authority(net: Devnet) -> None:
    """Claiming makes the authority sign; a transfer in the same transaction must not profit from it."""
    worker = net.nodes[0]
    net.to(100)
    for node in net.nodes:
        net.submit(node, 0)
    net.to(240)
    net.list(net.nodes[1], 0, {worker.key: 1000})
    net.to(320)
    net.payout(net.nodes[1], 0)
    authority = pot_authority(net.pot)[0]
    theft = Instruction(
        pubkey(TOKEN_PROGRAM),
        b"\3" + (1000).to_bytes(8, "little"),
        [
            AccountMeta(pubkey(net.pot), False, True),
            AccountMeta(pubkey(token_account(worker.key, DEVNET_MINT)), False, True),
            AccountMeta(pubkey(authority), False, False),
        ],
    )
    pot = net.in_pot()
    with refused("pot_authority"):
        net.send([calls.claim_reward(net.task, worker.key, beneficiary=worker.key), theft], worker.main, worker.staking)
    assert net.in_pot() == pot


def test_a_reward_is_not_paid_into_the_pot(net: Devnet) -> None:
    net.chain.world = net.chain.world.with_task(net.task.model_copy(update={"available_balances": {net.nodes[0].key: 5}}))
    claim = calls.claim_reward(net.task, net.nodes[0].key, beneficiary=net.nodes[0].key)
    accounts = list(claim.accounts)
    accounts[3] = AccountMeta(pubkey(net.pot), False, True)
    with refused("accounts"):
        net.send([Instruction(claim.program_id, bytes(claim.data), accounts)], net.nodes[0].main, net.nodes[0].staking)


def test_staking_needs_an_account_of_the_task_program(net: Devnet) -> None:
    node = Person(9)
    net.give(node)
    net.chain.mint(node.key, 2 * STAKE)
    with refused("not_a_staking_account"):
        net.send([calls.stake(net.task, node.key, STAKE)], node.main, node.staking)
    with refused("stake_below_minimum"):
        net.join(node, STAKE - 1)
    net.join(node)
    assert net.task.stake_list[node.key] == STAKE


@pytest.mark.parametrize(
    ("clock", "stake", "code"),
    [(RoundClock(0, 100, 40, 40), 0, "task_terms"), (RoundClock(0, 80, 40, 40), 1, "task_exists")],
    ids=["no stake", "there already"],
)
def test_a_task_that_cannot_be_is_refused(net: Devnet, clock: RoundClock, stake: int, code: str) -> None:
    create = calls.create_task(
        net.task_id, net.requester.main_key, net.pot, DEVNET_MINT, name="T", clock=clock, minimum_stake=stake, bounty_per_round=1
    )
    with pytest.raises(InvalidError) as caught:
        net.send([create], net.requester.main, net.task_key, net.pot_key)
    assert caught.value.code in (code, "task_exists")


def test_a_task_can_be_created_with_its_bounty(net: Devnet) -> None:
    task, pot = devnet_key(50), devnet_key(51)
    create = calls.create_task(
        public_key_of(task),
        net.requester.main_key,
        public_key_of(pot),
        DEVNET_MINT,
        name="second",
        clock=RoundClock(0, 80, 40, 40),
        minimum_stake=1,
        bounty_per_round=7,
        total_bounty=70,
    )
    net.send([create], net.requester.main, task, pot)
    account = net.chain.account(public_key_of(task))
    assert account is not None
    state = read_kpl(bytes(account.data), public_key_of(task))
    assert (state.task_name, state.total_bounty_amount, state.token_type) == ("second", 70, DEVNET_MINT)
    assert state.starting_slot == net.chain.slot()
    held = net.chain.ledger.tokens(public_key_of(pot))
    assert held is not None
    assert held.amount == 70


def test_programs_that_do_not_run_here_are_refused(net: Devnet) -> None:
    with refused("program_unknown"):
        net.send([Instruction(pubkey("Vote111111111111111111111111111111111111111"), b"", [])], net.requester.main)
    net.send([Instruction(pubkey(MEMO_PROGRAM), b"task:42", [])], net.requester.main)


def test_what_the_program_has_not_is_refused(net: Devnet) -> None:
    from koii_chain.addresses import KPL_PROGRAM

    for data in (b"", b"\xff", b"\x01"):
        with refused("instruction"):
            net.send([Instruction(pubkey(KPL_PROGRAM), data, [])], net.requester.main)
    with refused("accounts"):
        net.send([Instruction(pubkey(KPL_PROGRAM), b"\x07", [])], net.requester.main)
    with refused("task_unknown"):
        net.send([calls.submit(Person(20).key, net.requester.main_key, "x", 0)], net.requester.main)


def test_gifts_have_bounds(bare: Devnet) -> None:
    with refused("amount"):
        bare.chain.airdrop(Person(1).key, 2**64)
    with refused("amount"):
        bare.chain.mint(Person(1).key, 0)
    with refused("base58"):
        bare.chain.airdrop("nobody", 1)
    bare.chain.mint(Person(1).key, 2**64 - 1)
    with refused("transaction_failed"):
        bare.chain.mint(Person(1).key, 1)
    with refused("slots"):
        bare.chain.advance(0)
    assert bare.reopened().tokens(Person(1).key) == 2**64 - 1


def test_a_devnet_belongs_to_one_process(bare: Devnet) -> None:
    with pytest.raises(UnavailableError, match="devnet_in_use"):
        Chain(bare.folder)


def test_real_time_moves_the_clock_and_never_back(tmp_path: Path) -> None:
    now = [1000.0]
    chain = Chain(tmp_path, real_time=True, wall=lambda: now[0])
    assert chain.slot() == 0
    now[0] += 4.0
    assert chain.slot() == 10
    assert chain.advance(100) == 110
    now[0] += 1.0
    assert chain.slot() == 112
    now[0] -= 3.0
    assert chain.slot() == 112
    chain.close()
    again = Chain(tmp_path, real_time=True, wall=lambda: 1000.0)
    assert again.slot() == 110, "what was written is never undone"
    again.close()
