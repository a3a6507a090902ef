"""Addresses of Koii: programs, token accounts, and who may move a task's pot.

Keys are base58 strings everywhere but inside this room's own transactions, where solders wants its type.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address

from orca_protocol.keys import PUBLIC_KEY_BYTES, decode_base58

#: tasks paid in tokens, tasks paid in KOII
KPL_PROGRAM: Final = "KPLTRVs6jA7QTthuJH2cEmyCEskFbSV2xpZw46cganN"
KOII_PROGRAM: Final = "Koiitask22222222222222222222222222222222222"
TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - an address, not a secret
ATA_PROGRAM: Final = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
MEMO_PROGRAM: Final = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
SYSTEM_PROGRAM: Final = "11111111111111111111111111111111"
CLOCK_SYSVAR: Final = "SysvarC1ock11111111111111111111111111111111"


def pubkey(text: str, *, where: str = "an address") -> Pubkey:
    """Return the address that ``text`` spells. Raises InvalidError ``base58``."""
    return Pubkey.from_bytes(decode_base58(text, length=PUBLIC_KEY_BYTES, where=where))


def token_account(owner: str, mint: str) -> str:
    """Return the token account (ATA) of ``owner`` for ``mint``. Raises InvalidError ``base58``."""
    return str(get_associated_token_address(pubkey(owner, where="owner"), pubkey(mint, where="mint")))


def pot_seed(pot: str) -> bytes:
    """Return the seed of the authority over a task's pot."""
    return hashlib.sha256(pot.encode()).digest()


@lru_cache(maxsize=1024)
def pot_authority(pot: str) -> tuple[str, int]:
    """Return the address that owns a task's pot, and its bump. No key signs for it: only the program moves the pot."""
    address, bump = Pubkey.find_program_address([pot_seed(pot)], pubkey(KPL_PROGRAM))
    return str(address), bump
