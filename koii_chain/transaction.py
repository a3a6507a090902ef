"""Transactions in Solana's legacy wire format: built and signed here, opened and verified here.

Signatures are made and checked by libsodium (``orca_protocol.keys``), which refuses small-order keys and second spellings.
The library that knows the format can panic, which Python sees as a BaseException; ``guarded`` turns that into an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nacl.signing import SigningKey
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message
from solders.signature import Signature
from solders.transaction import SanitizeError, Transaction

from koii_chain.addresses import pubkey
from orca_protocol.errors import InvalidError
from orca_protocol.keys import SIGNATURE_BYTES, decode_base58, public_key_of, verify

#: the largest packet that Solana's network carries
TRANSACTION_MAX_BYTES: Final = 1232


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of an opened transaction: program, accounts in order, data."""

    program: str
    accounts: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A transaction whose every signature was verified."""

    raw: bytes
    #: the first signature names a transaction
    signature: str
    blockhash: str
    payer: str
    signers: frozenset[str]
    writable: frozenset[str]
    steps: tuple[Step, ...]


def build(instructions: Sequence[Instruction], keys: Sequence[SigningKey], blockhash: str) -> bytes:
    """Return the signed transaction; the first key pays. Raises InvalidError ``base58`` or ``transaction_oversize``.

    Raises RuntimeError when a key is missing that an instruction wants, or one is given that none wants.
    """
    by_public = {public_key_of(key): key for key in keys}
    payer = pubkey(public_key_of(keys[0]))
    recent = Hash.from_bytes(decode_base58(blockhash, length=32, where="blockhash"))
    message = Message.new_with_blockhash(list(instructions), payer, recent)
    signers = [str(key) for key in message.account_keys[: message.header.num_required_signatures]]
    if set(signers) != set(by_public):
        raise RuntimeError(f"the signers of these instructions are {signers}, the keys given are those of {sorted(by_public)}")
    data = bytes(message)
    signatures = [Signature.from_bytes(by_public[signer].sign(data).signature) for signer in signers]
    raw = bytes(Transaction.populate(message, signatures))
    if len(raw) > TRANSACTION_MAX_BYTES:
        raise InvalidError("transaction_oversize", f"a transaction has at most {TRANSACTION_MAX_BYTES} bytes, this one {len(raw)}")
    return raw


def open_transaction(raw: bytes) -> Opened:
    """Verify a stranger's transaction and take it apart.

    Raises InvalidError ``transaction_oversize``, ``transaction_malformed`` or ``signature``.
    """
    if len(raw) > TRANSACTION_MAX_BYTES:
        raise InvalidError("transaction_oversize", f"a transaction has at most {TRANSACTION_MAX_BYTES} bytes, this one {len(raw)}")
    transaction = _parse(raw)
    message = transaction.message
    keys = [str(key) for key in message.account_keys]
    required = message.header.num_required_signatures
    if len(transaction.signatures) != required or required == 0:
        raise InvalidError("signature", f"{len(transaction.signatures)} signatures instead of {required or 'at least one'}")
    signed = bytes(message)
    for signer, signature in zip(keys, transaction.signatures, strict=False):
        verify(signer, signed, bytes(signature), where="transaction")
    return Opened(
        raw=raw,
        signature=str(transaction.signatures[0]),
        blockhash=str(message.recent_blockhash),
        payer=keys[0],
        signers=frozenset(keys[:required]),
        writable=frozenset(key for place, key in enumerate(keys) if _is_writable(message, place)),
        steps=tuple(
            Step(keys[part.program_id_index], tuple(keys[place] for place in part.accounts), bytes(part.data))
            for part in message.instructions
        ),
    )


def signature_of(raw: bytes) -> str:
    """Return the name of a transaction that ``build`` made."""
    if len(raw) <= SIGNATURE_BYTES:
        raise InvalidError("transaction_malformed", "too short for a transaction")
    return str(Signature.from_bytes(raw[1 : 1 + SIGNATURE_BYTES]))


@contextmanager
def guarded(code: str, what: str) -> Iterator[None]:
    """Turn a panic of the compiled library inside the block into InvalidError ``code``; everything else passes."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InvalidError(code, f"the library panicked over {what}: {str(error)[:200]}") from None


def _parse(raw: bytes) -> Transaction:
    try:
        with guarded("transaction_malformed", "a transaction"):
            transaction = Transaction.from_bytes(raw)
            transaction.sanitize()
            again = bytes(transaction)
    except (ValueError, SanitizeError) as error:
        raise InvalidError("transaction_malformed", f"not a legacy transaction: {str(error)[:200]}") from error
    # What was read must be all of it: a tail or a long spelling of a length would give one transaction two forms.
    if again != raw:
        raise InvalidError("transaction_malformed", "the bytes are not the one spelling of this transaction")
    keys = transaction.message.account_keys
    if len(set(keys)) != len(keys):
        raise InvalidError("transaction_malformed", "an account is listed twice")
    return transaction


def _is_writable(message: Message, place: int) -> bool:
    header = message.header
    if place < header.num_required_signatures:
        return place < header.num_required_signatures - header.num_readonly_signed_accounts
    return place < len(message.account_keys) - header.num_readonly_unsigned_accounts
