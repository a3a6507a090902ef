"""``orca key``: new, show, import, export."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from orca_protocol.keys import devnet_key, public_key_of, secret_from_json, secret_to_json
from tests.unit.orca.console import Console

KEY = SigningKey(bytes(range(100, 132)))


def key_in(path: Path) -> SigningKey:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return secret_from_json(path.read_bytes(), where="key")


def test_a_new_key_is_made_and_shown_by_its_public_half(console: Console) -> None:
    made = console("key", "new", "--json")
    key = key_in(console.home / "id.json")
    assert made.code == 0
    assert made.document == {"public_key": public_key_of(key), "file": str(console.home / "id.json")}
    shown = console("key", "show")
    assert shown.stdout == f"{public_key_of(key)}  {console.home / 'id.json'}\n"
    assert bytes(key).hex() not in shown.stdout + made.stdout
    assert json.dumps(list(bytes(key)))[1:-1] not in shown.stdout + made.stdout


def test_a_second_new_key_is_refused_and_the_first_one_stays(console: Console) -> None:
    console("key", "new")
    before = (console.home / "id.json").read_bytes()
    again = console("key", "new")
    assert again.code == 1
    assert "[key_exists]" in again.stderr
    assert (console.home / "id.json").read_bytes() == before


def test_the_key_file_can_lie_elsewhere(console: Console) -> None:
    console.set(ORCA_KEY_FILE=str(console.folder / "safe" / "key.json"))
    assert console("key", "new").code == 0
    key_in(console.folder / "safe" / "key.json")
    assert not console.home.exists()


def test_a_key_of_another_tool_is_imported_and_exported(console: Console) -> None:
    imported = console("key", "import", console.write(secret_to_json(KEY), "solana.json"), "--json")
    assert (imported.code, imported.document["public_key"]) == (0, public_key_of(KEY))
    assert key_in(console.home / "id.json") == KEY
    exported = console("key", "export", console.folder / "copy.json")
    assert exported.code == 0
    assert key_in(console.folder / "copy.json") == KEY
    assert str(list(bytes(KEY)))[1:-1] not in exported.stdout + exported.stderr


def test_an_export_overwrites_nothing(console: Console) -> None:
    console("key", "new")
    taken = console.write("precious", "taken")
    assert console("key", "export", taken).code == 1
    assert taken.read_text() == "precious"


def test_an_import_overwrites_nothing(console: Console) -> None:
    console("key", "new")
    before = (console.home / "id.json").read_bytes()
    assert console("key", "import", console.write(secret_to_json(KEY), "solana.json")).code == 1
    assert (console.home / "id.json").read_bytes() == before


def test_what_is_no_key_is_not_imported(console: Console) -> None:
    refused = console("key", "import", console.write("[1,2,3]", "short.json"), "--json")
    assert refused.code == 1
    assert refused.document["code"] == "key_malformed"
    assert console("key", "import", console.folder / "nowhere.json").code == 2
    assert console("key", "import", console.folder).code == 2
    assert not console.home.exists()


@pytest.mark.parametrize("command", ["new", "import"])
def test_devnet_keys_are_refused_outside_a_devnet_and_nothing_is_written(console: Console, command: str) -> None:
    given = ["--devnet", "3"] if command == "new" else [str(console.write(secret_to_json(devnet_key(3)), "devnet.json"))]
    refused = console("key", command, *given)
    assert refused.code == 1
    assert "[devnet_key]" in refused.stderr
    assert not console.home.exists()


def test_devnet_keys_are_taken_inside_a_devnet_and_refused_once_it_is_left(console: Console) -> None:
    console.set(ORCA_NETWORK="devnet-1")
    assert console("key", "new", "--devnet", 3).code == 0
    assert key_in(console.home / "id.json") == devnet_key(3)
    console.set(ORCA_NETWORK="none")
    left = console("key", "show")
    assert left.code == 1
    assert "[devnet_key]" in left.stderr


@pytest.mark.parametrize("number", [-1, 64])
def test_there_are_64_devnet_keys(console: Console, number: int) -> None:
    console.set(ORCA_NETWORK="devnet")
    refused = console("key", "new", f"--devnet={number}", "--json")
    assert refused.code == 1
    assert refused.document["code"] == "devnet_key_number"
    assert not console.home.exists()


def test_show_without_a_key_says_how_to_make_one(console: Console) -> None:
    missing = console("key", "show")
    assert missing.code == 1
    assert "orca key new" in missing.stderr
    assert missing.stdout == ""
