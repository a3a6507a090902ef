"""The node's key on disk: a Solana-compatible JSON array, readable by its owner only.

Devnet keys can be computed by anybody; outside a devnet they are refused wherever a key is loaded or imported.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from nacl.signing import SigningKey

from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import is_devnet_key, public_key_of, secret_from_json, secret_to_json


def load_key(path: Path, *, network: str) -> SigningKey:
    """Read the key. Raises InvalidError ``key_missing``, ``key_exposed``, ``key_malformed`` or ``devnet_key``."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InvalidError("key_malformed", f"{path} is not a file; move it away")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidError("key_missing", f"there is no key at {path}; make one with: orca key new") from error
    except OSError as error:
        raise UnavailableError("key_unreadable", f"{path}: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidError("key_exposed", f"{path} can be read by others; run: chmod 600 {path}")
    key = secret_from_json(data, where=str(path))
    refuse_devnet_key(key, network=network)
    return key


def save_key(key: SigningKey, path: Path) -> None:
    """Write the key, mode 0600. Raises InvalidError ``key_exists``: a key is never overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # whole or not at all: written aside, then given its name, which fails if the name is taken
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".key-") as file:
            file.write(secret_to_json(key))
            file.flush()
            os.fsync(file.fileno())
            _name(Path(file.name), path)
    except OSError as error:
        raise UnavailableError("key_unwritable", f"{path}: {error.strerror}") from error


def _name(file: Path, path: Path) -> None:
    try:
        path.hardlink_to(file)
    except FileExistsError as error:
        raise InvalidError("key_exists", f"{path} exists; a key is never overwritten: move it away first") from error


def load_or_make_key(path: Path, *, network: str) -> tuple[SigningKey, bool]:
    """Return the key at ``path`` and whether it was made just now; of two processes at once, both get the same."""
    if not path.exists():
        key = SigningKey.generate()
        try:
            save_key(key, path)
        except InvalidError as error:
            if error.code != "key_exists":
                raise
        else:
            return key, True
    return load_key(path, network=network), False


def refuse_devnet_key(key: SigningKey, *, network: str) -> None:
    """Raise InvalidError ``devnet_key`` for a key that everybody has, unless ``network`` is a devnet."""
    if is_devnet_key(public_key_of(key)) and not network.startswith("devnet"):
        raise InvalidError("devnet_key", f"{public_key_of(key)} is a devnet key that everybody has; the network is {network!r}")
