from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from proof_store.blocks import DirectoryBlocks
from proof_store.cid import RAW, Cid

BLOCK = b"a block"
CID = Cid.of(RAW, BLOCK)


def place(folder: Path, cid: Cid = CID) -> Path:
    return folder / str(cid)[-3:-1] / f"{cid}.block"


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def refusal(blocks: DirectoryBlocks, cid: Cid = CID) -> OrcaError:
    with pytest.raises(OrcaError) as caught:
        blocks.get(cid)
    return caught.value


def test_one_file_a_block_in_a_folder_by_its_name(tmp_path: Path) -> None:
    DirectoryBlocks(tmp_path).put(CID, BLOCK)
    assert all_files(tmp_path) == [place(tmp_path)]
    assert place(tmp_path).read_bytes() == BLOCK


def test_another_object_on_the_same_folder_sees_the_block(tmp_path: Path) -> None:
    DirectoryBlocks(tmp_path / "deep" / "store").put(CID, BLOCK)
    assert DirectoryBlocks(str(tmp_path / "deep" / "store")).get(CID) == BLOCK


def test_nothing_is_written_before_the_first_block(tmp_path: Path) -> None:
    blocks = DirectoryBlocks(tmp_path / "store")
    assert not blocks.has(CID)
    assert refusal(blocks).code == "block_missing"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("damage", [b"", b"a blocK", BLOCK + b"\0", BLOCK[:-1]])
def test_a_damaged_file_is_seen_and_put_cures_it(tmp_path: Path, damage: bytes) -> None:
    blocks = DirectoryBlocks(tmp_path)
    blocks.put(CID, BLOCK)
    place(tmp_path).write_bytes(damage)
    error = refusal(blocks)
    assert isinstance(error, InvalidError)
    assert error.code == "block_corrupt"
    blocks.put(CID, BLOCK)
    assert blocks.get(CID) == BLOCK


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    blocks = DirectoryBlocks(tmp_path, max_block_bytes=1000)
    blocks.put(CID, BLOCK)
    os.truncate(place(tmp_path), 1 << 40)  # sparse: reading it whole would not fit in memory
    error = refusal(blocks)
    assert isinstance(error, LimitError)
    assert error.code == "block_oversize"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    blocks = DirectoryBlocks(tmp_path / "store")
    blocks.put(CID, BLOCK)
    (tmp_path / "elsewhere").write_bytes(BLOCK)
    place(tmp_path / "store").unlink()
    place(tmp_path / "store").symlink_to(tmp_path / "elsewhere")
    assert refusal(blocks).code == "storage_failed"


def test_a_pipe_does_not_make_us_wait(tmp_path: Path) -> None:
    blocks = DirectoryBlocks(tmp_path)
    place(tmp_path).parent.mkdir()
    os.mkfifo(place(tmp_path))
    assert refusal(blocks).code == "block_corrupt"
    writer = os.open(place(tmp_path), os.O_RDWR)  # now it has somebody who could write, and has not
    try:
        assert refusal(blocks).code == "block_corrupt"
    finally:
        os.close(writer)


def test_a_store_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file where the folder should be")
    with pytest.raises(UnavailableError) as caught:
        DirectoryBlocks(tmp_path / "store").put(CID, BLOCK)
    assert caught.value.code == "storage_failed"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = DirectoryBlocks(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / str(CID)[-3:-1]).mkdir()
    with pytest.raises(UnavailableError) as caught:
        blocks.put(CID, BLOCK)
    assert caught.value.code == "storage_failed"
    assert "No space left" in caught.value.detail
    assert all_files(tmp_path) == []


def test_many_writers_leave_sound_blocks_only(tmp_path: Path) -> None:
    wanted = [bytes([number]) * 5000 for number in range(8)]
    failures: list[OrcaError] = []

    def write_all() -> None:
        blocks = DirectoryBlocks(tmp_path)
        for block in wanted:
            try:
                blocks.put(Cid.of(RAW, block), block)
                assert blocks.get(Cid.of(RAW, block)) == block
            except OrcaError as error:
                failures.append(error)

    writers = [threading.Thread(target=write_all) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert len(all_files(tmp_path)) == len(wanted)
