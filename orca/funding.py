"""Pays the price of a work item into its task's pot, once however often it is asked to.

The signed transaction is kept before it is sent. Who asks again sends the same bytes, which a chain takes once; another one is
made only when the chain says that the first can never take effect any more: its blockhash is over, and it is not on chain.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from koii_chain import calls
from koii_chain.transaction import TRANSACTION_MAX_BYTES, Opened, build, open_transaction
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import public_key_of

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from koii_chain.client import ChainClient


async def fund(client: ChainClient, key: SigningKey, task_id: str, amount: int, item: str, folder: Path) -> str:
    """Pay ``amount`` for ``item`` with ``key`` and return the transaction's signature; what was paid stands in ``folder``.

    Raises UnavailableError ``funding_busy``, ``storage_failed``, and as ``ChainClient.push`` does.
    """
    with _kept(folder / sha256_hex(f"{task_id}\n{item}".encode())) as file:
        before = _read(file)
        if before is not None:
            if not await _took_effect(client, before) and await client.is_good(before.blockhash):
                return await client.push(before.raw)
            if await _took_effect(client, before):  # perhaps just before its blockhash was over
                return before.signature
        task, payer = (await client.fresh_task(task_id)).task, public_key_of(key)
        pay = [calls.fund_task(task, payer, amount), calls.memo(payer, item)]
        raw = build(pay, [key], await client.blockhash())
        _keep(file, raw)
        return await client.push(raw)


def _read(file: IO[bytes]) -> Opened | None:
    """Return the transaction that is kept. One that is cut off was never sent."""
    try:
        return open_transaction(file.read(TRANSACTION_MAX_BYTES + 1))
    except InvalidError:
        return None


async def _took_effect(client: ChainClient, paid: Opened) -> bool:
    """Whether the transaction paid. One that the chain took and failed did not, and cannot any more."""
    try:
        return await client.is_confirmed(paid.signature)
    except InvalidError as error:
        if error.code != "transaction_failed":
            raise
        return False


@contextmanager
def _kept(path: Path) -> Iterator[IO[bytes]]:
    """Yield the file of one payment, which nobody else uses meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise UnavailableError("storage_failed", f"{path}: {error.strerror}; nothing was paid") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError("funding_busy", "another process pays for this work item; ask again") from error
        yield file


def _keep(file: IO[bytes], raw: bytes) -> None:
    try:
        file.seek(0)
        file.truncate()
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise UnavailableError("storage_failed", f"{file.name}: {error.strerror}; nothing was paid") from error
