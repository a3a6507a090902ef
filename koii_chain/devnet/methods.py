"""What can be asked of a devnet: Solana's methods as Koii's nodes use them, and a few of its own that wind the clock and give.

Each method takes the chain and the parameters as JSON gives them, and returns what JSON can carry. Refusals are InvalidError.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from solders.account import Account
from solders.token.state import TokenAccount

from koii_chain.devnet.chain import BLOCKHASH_SLOTS, DEVNET_MINT, Chain
from koii_chain.transaction import TRANSACTION_MAX_BYTES
from orca_protocol.errors import InvalidError

Params = list[Any]
Method = Callable[[Chain, Params], Any]
#: signatures that one call may ask about, as on Solana
MAX_SIGNATURES: Final = 256
_LAMPORTS_PER_SIGNATURE: Final = 5000


def get_slot(chain: Chain, _params: Params) -> int:
    return chain.slot()


def get_health(_chain: Chain, _params: Params) -> str:
    return "ok"


def get_version(_chain: Chain, _params: Params) -> dict[str, Any]:
    return {"solana-core": "orca-devnet", "feature-set": 0}


def get_genesis_hash(chain: Chain, _params: Params) -> str:
    return chain.blockhash(chain.genesis.slot)


def get_block_time(chain: Chain, params: Params) -> int:
    slot = _natural(params, 0, "a slot")
    if not chain.genesis.slot <= slot <= chain.slot():
        raise InvalidError("slot_unknown", f"slot {slot} has not been")
    return chain.unix_time(slot)


def get_latest_blockhash(chain: Chain, _params: Params) -> dict[str, Any]:
    slot = chain.slot()
    return _at(chain, {"blockhash": chain.blockhash(slot), "lastValidBlockHeight": slot + BLOCKHASH_SLOTS - 1})


def get_recent_blockhash(chain: Chain, _params: Params) -> dict[str, Any]:
    fee = {"lamportsPerSignature": _LAMPORTS_PER_SIGNATURE}
    return _at(chain, {"blockhash": chain.blockhash(chain.slot()), "feeCalculator": fee})


def is_blockhash_valid(chain: Chain, params: Params) -> dict[str, Any]:
    return _at(chain, chain.is_recent(_text(params, 0, "a blockhash")))


def get_rent(chain: Chain, params: Params) -> int:
    size = _natural(params, 0, "a size")
    if size > 50 * 1024 * 1024:
        raise InvalidError("params", "an account has at most 50 MiB")
    return chain.ledger.rent(size)


def get_balance(chain: Chain, params: Params) -> dict[str, Any]:
    account = chain.ledger.account(_text(params, 0, "an address"))
    return _at(chain, 0 if account is None else account.lamports)


def get_account_info(chain: Chain, params: Params) -> dict[str, Any]:
    key = _text(params, 0, "an address")
    encoding = _option(params, 1, "encoding", "base64")
    if encoding not in ("base64", "jsonParsed"):
        raise InvalidError("params", f"the devnet gives accounts as base64 or jsonParsed, not as {str(encoding)[:40]!r}")
    account = chain.account(key)
    if account is None:
        return _at(chain, None)
    held = chain.ledger.tokens(key) if encoding == "jsonParsed" else None
    return _at(chain, _account(account) if held is None else _token_account(chain, account, held))


def get_token_accounts_by_owner(chain: Chain, params: Params) -> dict[str, Any]:
    owner = _text(params, 0, "an owner")
    mint = _option(params, 1, "mint", None)
    found = []
    for key, held in chain.ledger.tokens_of(owner):
        account = chain.ledger.account(key)
        if account is not None and mint in (None, str(held.mint)):
            found.append({"pubkey": key, "account": _token_account(chain, account, held)})
    return _at(chain, found)


def get_token_account_balance(chain: Chain, params: Params) -> dict[str, Any]:
    key = _text(params, 0, "a token account")
    held = chain.ledger.tokens(key)
    if held is None:
        raise InvalidError("no_token_account", f"there is no token account {key}")
    return _at(chain, _amount(held.amount, _decimals(chain, str(held.mint))))


def get_token_supply(chain: Chain, params: Params) -> dict[str, Any]:
    key = _text(params, 0, "a mint")
    mint = chain.ledger.mint_state(key)
    if mint is None:
        raise InvalidError("no_mint", f"there is no mint {key}")
    return _at(chain, _amount(mint.supply, mint.decimals))


def send_transaction(chain: Chain, params: Params) -> str:
    text = _text(params, 0, "a transaction")
    if _option(params, 1, "encoding", "base64") != "base64":
        raise InvalidError("params", "send transactions as base64")
    if len(text) > 2 * TRANSACTION_MAX_BYTES:
        raise InvalidError("transaction_oversize", f"a transaction has at most {TRANSACTION_MAX_BYTES} bytes")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError("transaction_malformed", "the transaction is not base64") from error
    return chain.submit(raw)


def get_signature_statuses(chain: Chain, params: Params) -> dict[str, Any]:
    asked = params[0] if params else None
    if not isinstance(asked, list) or len(asked) > MAX_SIGNATURES or not all(isinstance(one, str) for one in asked):
        raise InvalidError("params", f"the first parameter is a list of up to {MAX_SIGNATURES} signatures")
    return _at(chain, [_status(chain, signature) for signature in asked])


def get_transaction(chain: Chain, params: Params) -> dict[str, Any] | None:
    found = chain.transactions.get(_text(params, 0, "a signature"))
    if found is None:
        return None
    slot, raw = found
    return {
        "slot": slot,
        "blockTime": chain.unix_time(slot),
        "meta": {"err": None},
        "transaction": [base64.b64encode(raw).decode(), "base64"],
    }


def request_airdrop(chain: Chain, params: Params) -> None:
    """Unlike Solana's, it is no transaction and so has no signature: it is done when it answers."""
    chain.airdrop(_text(params, 0, "an address"), _natural(params, 1, "an amount"))


def devnet_mint(chain: Chain, params: Params) -> None:
    chain.mint(_text(params, 0, "an owner"), _natural(params, 1, "an amount"))


def devnet_advance(chain: Chain, params: Params) -> int:
    return chain.advance(_natural(params, 0, "a number of slots"))


def devnet_info(chain: Chain, _params: Params) -> dict[str, Any]:
    return {"mint": DEVNET_MINT, "slot": chain.slot(), "records": chain.records, "digest": chain.digest()}


METHODS: Final[dict[str, Method]] = {
    "getSlot": get_slot,
    "getHealth": get_health,
    "getVersion": get_version,
    "getGenesisHash": get_genesis_hash,
    "getBlockTime": get_block_time,
    "getLatestBlockhash": get_latest_blockhash,
    "getRecentBlockhash": get_recent_blockhash,
    "isBlockhashValid": is_blockhash_valid,
    "getMinimumBalanceForRentExemption": get_rent,
    "getBalance": get_balance,
    "getAccountInfo": get_account_info,
    "getTokenAccountsByOwner": get_token_accounts_by_owner,
    "getTokenAccountBalance": get_token_account_balance,
    "getTokenSupply": get_token_supply,
    "sendTransaction": send_transaction,
    "getSignatureStatuses": get_signature_statuses,
    "getTransaction": get_transaction,
    "requestAirdrop": request_airdrop,
    "devnet_mint": devnet_mint,
    "devnet_advance": devnet_advance,
    "devnet_info": devnet_info,
}


def _at(chain: Chain, value: Any) -> dict[str, Any]:
    return {"context": {"slot": chain.slot()}, "value": value}


def _status(chain: Chain, signature: str) -> dict[str, Any] | None:
    found = chain.transactions.get(signature)
    if found is None:
        return None
    return {"slot": found[0], "confirmations": None, "err": None, "status": {"Ok": None}, "confirmationStatus": "finalized"}


def _account(account: Account) -> dict[str, Any]:
    data = base64.b64encode(bytes(account.data)).decode()
    return _around(account, [data, "base64"])


def _token_account(chain: Chain, account: Account, held: TokenAccount) -> dict[str, Any]:
    info = {
        "mint": str(held.mint),
        "owner": str(held.owner),
        "state": "initialized",
        "isNative": False,
        "tokenAmount": _amount(held.amount, _decimals(chain, str(held.mint))),
    }
    return _around(account, {"program": "spl-token", "parsed": {"type": "account", "info": info}, "space": len(account.data)})


def _around(account: Account, data: Any) -> dict[str, Any]:
    return {
        "data": data,
        "owner": str(account.owner),
        "lamports": account.lamports,
        "executable": account.executable,
        "rentEpoch": account.rent_epoch,
    }


def _amount(amount: int, decimals: int) -> dict[str, Any]:
    whole, rest = divmod(amount, 10**decimals)
    text = f"{whole}.{rest:0{decimals}d}".rstrip("0").rstrip(".") if decimals else str(whole)
    return {"amount": str(amount), "decimals": decimals, "uiAmount": amount / 10**decimals, "uiAmountString": text}


def _decimals(chain: Chain, key: str) -> int:
    mint = chain.ledger.mint_state(key)
    if mint is None:
        raise RuntimeError(f"a token account names the mint {key}, which does not exist")
    return int(mint.decimals)


def _text(params: Params, place: int, what: str) -> str:
    value = params[place] if place < len(params) else None
    if not isinstance(value, str):
        raise InvalidError("params", f"parameter {place} must be {what}, as text")
    return value


def _natural(params: Params, place: int, what: str) -> int:
    value = params[place] if place < len(params) else None
    if type(value) is not int or value < 0:
        raise InvalidError("params", f"parameter {place} must be {what}, a whole number from 0 on")
    return value


def _option(params: Params, place: int, name: str, default: Any) -> Any:
    options = params[place] if place < len(params) else None
    if options is None:
        return default
    if not isinstance(options, dict):
        raise InvalidError("params", f"parameter {place} must be an object")
    return options.get(name, default)
