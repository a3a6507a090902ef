from __future__ import annotations

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

from koii_chain.addresses import pubkey
from koii_chain.calls import submit, transfer_lamports
from koii_chain.transaction import TRANSACTION_MAX_BYTES, build, guarded, open_transaction, signature_of
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of
from tests.unit.koii_chain.tasks import TASK, key

PAYER, STAKING = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
BLOCKHASH = base58.b58encode(b"\7" * 32).decode()
RAW = build([submit(TASK, public_key_of(STAKING), "bafyCID", 3)], [PAYER, STAKING], BLOCKHASH)


def test_what_was_built_opens_with_its_signers_and_steps() -> None:
    opened = open_transaction(RAW)
    assert opened.payer == public_key_of(PAYER)
    assert opened.signers == {public_key_of(PAYER), public_key_of(STAKING)}
    assert opened.blockhash == BLOCKHASH
    assert opened.signature == signature_of(RAW)
    assert TASK in opened.writable
    (step,) = opened.steps
    assert step.accounts[:2] == (TASK, public_key_of(STAKING))
    assert step.data.startswith(b"\x01bafyCID")


def test_two_builds_give_the_same_bytes() -> None:
    assert build([submit(TASK, public_key_of(STAKING), "bafyCID", 3)], [PAYER, STAKING], BLOCKHASH) == RAW


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(place: int, flip: int) -> None:
    changed = bytearray(RAW)
    changed[place] ^= flip
    with pytest.raises(InvalidError):
        open_transaction(bytes(changed))


def test_a_forged_signature_is_refused() -> None:
    forged = SigningKey(b"\3" * 32).sign(RAW[1 + 2 * 64 :]).signature
    with pytest.raises(InvalidError) as caught:
        open_transaction(RAW[:65] + forged + RAW[129:])
    assert caught.value.code == "signature"


def test_a_small_order_key_signs_nothing() -> None:
    """The identity point with a zero signature verifies for any message in some libraries."""
    identity = bytes([1]) + bytes(31)
    message = open_message(RAW).replace(bytes(STAKING.verify_key), identity)
    raw = bytes([2]) + PAYER.sign(message).signature + identity + bytes(32) + message
    with pytest.raises(InvalidError, match="signature"):
        open_transaction(raw)


def open_message(raw: bytes) -> bytes:
    return raw[1 + 64 * raw[0] :]


def test_a_tail_is_refused() -> None:
    with pytest.raises(InvalidError, match="one spelling"):
        open_transaction(RAW + b"\0")


def test_a_transaction_without_signers_is_refused() -> None:
    with pytest.raises(InvalidError):
        open_transaction(bytes([0]) + open_message(RAW))
    with pytest.raises(InvalidError):
        open_transaction(bytes(64))


def test_versioned_transactions_are_refused() -> None:
    keypair = Keypair.from_seed(b"\1" * 32)
    message = MessageV0.try_compile(keypair.pubkey(), [transfer_lamports(str(keypair.pubkey()), key(5), 1)], [], Hash.default())
    with pytest.raises(InvalidError):
        open_transaction(bytes(VersionedTransaction(message, [keypair])))


def test_more_than_a_packet_is_refused_on_both_sides() -> None:
    with pytest.raises(InvalidError, match="transaction_oversize"):
        open_transaction(bytes(TRANSACTION_MAX_BYTES + 1))
    many = [transfer_lamports(public_key_of(PAYER), key(number), 1) for number in range(40)]
    with pytest.raises(InvalidError, match="transaction_oversize"):
        build(many, [PAYER], BLOCKHASH)


def test_missing_and_superfluous_keys_are_our_own_mistake() -> None:
    for keys in ([PAYER], [PAYER, STAKING, SigningKey(b"\3" * 32)]):
        with pytest.raises(RuntimeError):
            build([submit(TASK, public_key_of(STAKING), "x", 1)], keys, BLOCKHASH)


@given(st.binary(max_size=300))
def test_any_bytes_are_opened_or_refused(data: bytes) -> None:
    with pytest.raises(InvalidError):
        open_transaction(data)


def test_a_panic_of_the_library_becomes_an_error() -> None:
    from solders.transaction import Transaction

    with pytest.raises(InvalidError, match="transaction_malformed"), guarded("transaction_malformed", "a test"):
        Transaction.new_signed_with_payer([submit(TASK, key(1), "x", 1)], pubkey(key(2)), [], Hash.default())


def test_what_is_no_panic_passes_the_guard() -> None:
    with pytest.raises(KeyboardInterrupt), guarded("x", "a test"):
        raise KeyboardInterrupt
