"""The key file: its owner's alone, never overwritten, never quoted, and not one that everybody has."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from orca.key_file import load_key, load_or_make_key, refuse_devnet_key, save_key
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import devnet_key, public_key_of, secret_to_json

#: three digits each, and no two alike: whatever a message quotes of it is found again
KEY = SigningKey(bytes(range(100, 132)))
NUMBERS = [str(byte) for byte in bytes(KEY)]


def write_key(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_a_saved_key_can_be_read_by_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "id.json"
    save_key(KEY, path)
    assert permissions(path) == 0o600
    assert permissions(path.parent) == 0o700


def test_a_saved_key_is_what_solanas_tools_write_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "id.json"
    save_key(KEY, path)
    assert bytes(json.loads(path.read_text())) == bytes(KEY) + bytes(KEY.verify_key)
    assert load_key(path, network="none") == KEY


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o620, 0o601, 0o610, 0o644, 0o777])
def test_a_key_that_others_can_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = write_key(tmp_path / "id.json", secret_to_json(KEY), mode)
    with pytest.raises(InvalidError, match=f"key_exposed.*chmod 600 {path}"):
        load_key(path, network="none")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_that_its_owner_alone_can_touch_is_taken(tmp_path: Path, mode: int) -> None:
    assert load_key(write_key(tmp_path / "id.json", secret_to_json(KEY), mode), network="none") == KEY


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = write_key(tmp_path / "id.json", "not even a key")
    with pytest.raises(InvalidError, match="key_exists"):
        save_key(KEY, path)
    assert path.read_text() == "not even a key"


def test_a_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "id.json").symlink_to(elsewhere)
    with pytest.raises(InvalidError, match="key_exists"):
        save_key(KEY, tmp_path / "id.json")
    assert not elsewhere.exists()


def test_a_missing_key_comes_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"key_missing.*orca key new"):
        load_key(tmp_path / "id.json", network="none")


def test_a_place_that_cannot_be_read_or_written_is_the_worlds_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="key_unreadable"):
        load_key(tmp_path / "file" / "id.json", network="none")
    with pytest.raises(UnavailableError, match="key_unwritable"):
        save_key(KEY, tmp_path / "file" / "id.json")


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "id.json").mkdir(mode=0o700)
    with pytest.raises(InvalidError):
        load_key(tmp_path / "id.json", network="none")


def test_a_key_is_made_once_and_loaded_ever_after(tmp_path: Path) -> None:
    made, is_new = load_or_make_key(tmp_path / "id.json", network="none")
    again, is_new_again = load_or_make_key(tmp_path / "id.json", network="none")
    assert (is_new, is_new_again) == (True, False)
    assert made == again


def test_processes_that_make_the_first_key_at_the_same_time_end_up_with_one(tmp_path: Path) -> None:
    """Two first runs on one home: whoever comes second takes the first one's key, and never sees half of it."""
    for attempt in range(20):
        path = tmp_path / str(attempt) / "id.json"
        found = load_at_once(path, readers=6)
        assert found == [public_key_of(load_key(path, network="none"))] * 6


def load_at_once(path: Path, readers: int) -> list[str]:
    barrier, found = threading.Barrier(readers), list[str]()

    def load() -> None:
        barrier.wait()
        try:
            found.append(public_key_of(load_or_make_key(path, network="none")[0]))
        except (InvalidError, UnavailableError) as error:
            found.append(str(error))

    threads = [threading.Thread(target=load) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("network", ["none", "koii-mainnet", "", "my-devnet", "Devnet"])
def test_devnet_keys_are_refused_outside_a_devnet(tmp_path: Path, network: str) -> None:
    path = write_key(tmp_path / "id.json", secret_to_json(devnet_key(7)))
    with pytest.raises(InvalidError, match=r"devnet_key.*everybody has"):
        load_key(path, network=network)
    with pytest.raises(InvalidError, match="devnet_key"):
        load_or_make_key(path, network=network)


@pytest.mark.parametrize("network", ["devnet", "devnet-1"])
def test_devnet_keys_are_accepted_inside_a_devnet(tmp_path: Path, network: str) -> None:
    for number in (0, 63):
        path = write_key(tmp_path / f"{number}.json", secret_to_json(devnet_key(number)))
        assert load_key(path, network=network) == devnet_key(number)


def test_a_key_of_ones_own_is_accepted_anywhere() -> None:
    for network in ("none", "devnet", "koii-mainnet"):
        refuse_devnet_key(KEY, network=network)


HALVES = [*NUMBERS, *(str(byte) for byte in bytes(KEY.verify_key))]

MALFORMED = {
    "empty": "",
    "cut off": secret_to_json(KEY)[:90],
    "not JSON": " ".join(HALVES),
    "without commas": "[" + "".join(HALVES) + "]",
    "one number": "".join(HALVES),
    "only the seed": f"[{','.join(NUMBERS)}]",
    "one byte too many": f"[{','.join([*HALVES, '1'])}]",
    "a byte beyond 255": f"[{','.join(['256', *HALVES[1:]])}]",
    "a negative byte": f"[{','.join(['-' + HALVES[0], *HALVES[1:]])}]",
    "fractions": f"[{','.join(number + '.5' for number in HALVES)}]",
    "strings": json.dumps(HALVES),
    "an object": json.dumps(dict.fromkeys(HALVES, 1)),
    "a key twice": "{" + ",".join(f'"{"".join(NUMBERS)}": 1' for _ in range(2)) + "}",
    "another public half": f"[{','.join([*NUMBERS, *NUMBERS])}]",
    "nested": "[" * 100 + ",".join(HALVES) + "]" * 100,
    "long": "[" + ",".join(HALVES * 40) + "]",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_key_is_refused_and_no_byte_of_it_is_shown(tmp_path: Path, what: str) -> None:
    path = write_key(tmp_path / "id.json", MALFORMED[what])
    with pytest.raises(InvalidError) as caught:
        load_key(path, network="none")
    said = str(caught.value).replace(str(path), "PATH")
    assert "PATH" in said
    assert [number for number in NUMBERS if number in said] == []
