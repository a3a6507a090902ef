"""Accounts, lamports and tokens of a devnet, moved by the real programs: System, SPL Token and ATA in LiteSVM.

Signatures, blockhashes and repeats are checked before anything comes here (``transaction``, ``chain``), because LiteSVM forgets
them with the process; so its own checks are off, and an address without a key (a pot's authority) can be made to sign. Every
change is rehearsed first: what is refused has changed nothing, not even a fee.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.signature import Signature
from solders.token.state import Mint, TokenAccount
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata
from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

from koii_chain.addresses import KPL_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAM, pubkey, token_account
from koii_chain.transaction import Step, guarded
from orca_protocol.errors import InvalidError

#: accounts of programs that can be run here; a state digest covers them all
OWNERS = (SYSTEM_PROGRAM, TOKEN_PROGRAM, KPL_PROGRAM)
#: what both System and SPL Token say when somebody spends what they do not have
_INSUFFICIENT = 1


class Ledger:
    """LiteSVM with what it lacks for a chain: rehearsal, a digest, and errors instead of panics."""

    def __init__(self, mint: str, authority: str, decimals: int) -> None:
        self.mint = mint
        self.authority = authority
        self.decimals = decimals
        self._svm = LiteSVM().with_sigverify(False).with_blockhash_check(False).with_transaction_history(0)
        data = bytes(Mint(pubkey(authority), 0, decimals, True, None))
        self._svm.set_account(pubkey(mint), Account(self.rent(len(data)), data, pubkey(TOKEN_PROGRAM), False))

    def rent(self, size: int) -> int:
        """Return the lamports that keep an account of ``size`` bytes alive."""
        return int(self._svm.minimum_balance_for_rent_exemption(size))

    def set_time(self, slot: int, unix: int) -> None:
        """Set what programs see as now."""
        self._svm.set_clock(Clock(slot, 0, 0, 0, unix))

    def rehearse(self, instructions: Sequence[Instruction], payer: str) -> Mapping[str, Account]:
        """Return the accounts as they would be afterwards. Raises InvalidError ``insufficient_funds`` or ``transaction_failed``."""
        with guarded("transaction_failed", "these instructions"):
            done = self._svm.simulate_transaction(_transaction(instructions, payer))
        if isinstance(done, FailedTransactionMetadata):
            raise _refusal(done, instructions)
        return {str(key): account for key, account in done.post_accounts()}

    def execute(self, instructions: Sequence[Instruction], payer: str) -> None:
        """Do what was rehearsed. Raises RuntimeError if it now fails: log and ledger would then say different things."""
        try:
            with guarded("panic", "what it had rehearsed"):
                done = self._svm.send_transaction(_transaction(instructions, payer))
        except InvalidError as error:
            raise RuntimeError(error.detail) from error
        if isinstance(done, FailedTransactionMetadata):
            raise RuntimeError(f"the ledger refused what it had rehearsed: {done.err()}")

    def airdrop(self, key: str, lamports: int) -> None:
        """Give lamports out of nowhere."""
        held = self.account(key) or Account(0, b"", pubkey(SYSTEM_PROGRAM), False)
        given = Account(held.lamports + lamports, held.data, held.owner, held.executable, held.rent_epoch)
        self._svm.set_account(pubkey(key), given)

    def mint_to(self, owner: str, amount: int) -> Instruction:
        """Return the instruction that makes tokens for the token account of ``owner``."""
        accounts = [
            AccountMeta(pubkey(self.mint), is_signer=False, is_writable=True),
            AccountMeta(pubkey(token_account(owner, self.mint)), is_signer=False, is_writable=True),
            AccountMeta(pubkey(self.authority), is_signer=True, is_writable=False),
        ]
        return Instruction(pubkey(TOKEN_PROGRAM), b"\7" + amount.to_bytes(8, "little"), accounts)

    def account(self, key: str) -> Account | None:
        """Return an account. Raises InvalidError ``base58``."""
        return self._svm.get_account(pubkey(key))

    def tokens(self, key: str) -> TokenAccount | None:
        """Return a token account, or None where there is none at this address."""
        account = self.account(key)
        if account is None or str(account.owner) != TOKEN_PROGRAM or len(account.data) != 165:
            return None
        return TokenAccount.from_bytes(account.data)

    def mint_state(self, key: str) -> Mint | None:
        """Return a mint, or None where there is none at this address."""
        account = self.account(key)
        if account is None or str(account.owner) != TOKEN_PROGRAM or len(account.data) != 82:
            return None
        return Mint.from_bytes(account.data)

    def tokens_of(self, owner: str) -> list[tuple[str, TokenAccount]]:
        """Return the token accounts of an owner, in the order of their addresses."""
        held = self._svm.get_program_accounts(pubkey(TOKEN_PROGRAM))
        found = [(str(key), TokenAccount.from_bytes(account.data)) for key, account in held if len(account.data) == 165]
        return sorted((pair for pair in found if str(pair[1].owner) == owner), key=lambda pair: pair[0])

    def digest(self) -> bytes:
        """Return a hash over every account."""
        own = self._svm.airdrop_pubkey()  # LiteSVM's own purse, another in each process and never used here
        hashed = hashlib.sha256()
        for program in OWNERS:
            for key, account in sorted(self._svm.get_program_accounts(pubkey(program)), key=lambda pair: bytes(pair[0])):
                if key == own:
                    continue
                hashed.update(bytes(key) + bytes(account.owner) + account.lamports.to_bytes(8, "little"))
                hashed.update(len(account.data).to_bytes(8, "little") + bytes(account.data))
        return hashed.digest()


def native(step: Step, signers: frozenset[str], writable: frozenset[str]) -> Instruction:
    """Return an instruction of a stranger's transaction with the rights that its signatures give it."""
    metas = [AccountMeta(pubkey(key), key in signers, key in writable) for key in step.accounts]
    return Instruction(pubkey(step.program), step.data, metas)


def _transaction(instructions: Sequence[Instruction], payer: str) -> Transaction:
    message = Message.new_with_blockhash(list(instructions), pubkey(payer), Hash.default())
    return Transaction.populate(message, [Signature.default()] * message.header.num_required_signatures)


def _refusal(failed: FailedTransactionMetadata, instructions: Sequence[Instruction]) -> InvalidError:
    error = failed.err()
    logs = "; ".join(line for line in failed.meta().logs() if line.startswith("Program log:"))[:300]
    if isinstance(error, TransactionErrorInstructionError) and isinstance(error.err, InstructionErrorCustom):
        program = str(instructions[error.index].program_id)
        if error.err.code == _INSUFFICIENT and program in (SYSTEM_PROGRAM, TOKEN_PROGRAM):
            return InvalidError("insufficient_funds", f"instruction {error.index} spends more than there is: {logs or error.err}")
        return InvalidError("transaction_failed", f"instruction {error.index} failed with error {error.err.code}: {logs}")
    said = " ".join(str(error).split())
    if "InsufficientFunds" in said or "AccountNotFound" in said:
        return InvalidError("insufficient_funds", f"the payer cannot pay the fee: {said}")
    return InvalidError("transaction_failed", f"{said[:200]} {logs}".strip())
