from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.limits import ReadLimits
from proof_store.tree import read_tree, store_tree, write_tree

FILES = {"b.txt": b"b", "a/deep/er/file": bytes(3000), "a/empty": b"", "é/漢字": b"\xff"}


def refusal(folder: Path, limits: ReadLimits | None = None) -> OrcaError:
    with pytest.raises(OrcaError) as caught:
        read_tree(folder, limits or ReadLimits())
    return caught.value


def test_out_and_in_again(tmp_path: Path) -> None:
    write_tree(FILES, tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/a/deep/er/file").read_bytes() == bytes(3000)
    again = read_tree(tmp_path / "new" / "folder")
    assert again == FILES
    assert list(again) == sorted(FILES)


def test_an_empty_folder_is_an_empty_tree(tmp_path: Path) -> None:
    write_tree({}, tmp_path / "none")
    assert read_tree(tmp_path / "none") == {}


def test_a_folder_inside_that_is_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert refusal(tmp_path).code == "directory_empty"


@pytest.mark.parametrize("target", ["/etc/passwd", "b.txt", ".", "nowhere"])
def test_links_are_refused(tmp_path: Path, target: str) -> None:
    write_tree(FILES, tmp_path)
    (tmp_path / "link").symlink_to(target)
    assert refusal(tmp_path).code == "tree_special"


def test_special_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "p")
    assert refusal(tmp_path / "pipe").code == "tree_special"
    (tmp_path / "socket").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket" / "s"))
        assert refusal(tmp_path / "socket").code == "tree_special"


def test_a_file_that_becomes_a_link_after_the_look_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").symlink_to("/etc/passwd")
    looked = os.lstat(tmp_path / "plain")
    monkeypatch.setattr(os, "lstat", lambda *_args, **_keywords: looked)
    assert refusal(tmp_path / "in").code == "storage_failed"


def test_a_file_that_grows_while_it_is_read_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_bytes(b"12345")
    (tmp_path / "short").write_bytes(b"1234")
    looked = os.lstat(tmp_path / "short")
    (tmp_path / "short").unlink()
    monkeypatch.setattr(os, "fstat", lambda _handle: looked)
    error = refusal(tmp_path)
    assert isinstance(error, UnavailableError)
    assert "changed" in error.detail


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).touch()
    assert refusal(tmp_path).code == "name_invalid"


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert refusal(tmp_path / "file").code == "not_a_folder"
    assert refusal(tmp_path / "nowhere").code == "not_a_folder"


def test_what_cannot_be_read_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(b"")
    real = os.open

    def closed(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "secret":  # permissions would not stop the superuser, and tests may run as one
            raise PermissionError(13, "Permission denied")
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", closed)
    error = refusal(tmp_path)
    assert isinstance(error, UnavailableError)
    assert error.code == "storage_failed"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ReadLimits(total_bytes=3001), "read_bytes"),
        (ReadLimits(files=3), "read_files"),
        (ReadLimits(depth=2), "read_depth"),
    ],
)
def test_limits(tmp_path: Path, limits: ReadLimits, code: str) -> None:
    write_tree(FILES, tmp_path)
    error = refusal(tmp_path, limits)
    assert isinstance(error, LimitError)
    assert error.code == code
    assert read_tree(tmp_path, ReadLimits(total_bytes=3002, files=4, depth=3)) == FILES


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1 << 40)
    assert refusal(tmp_path).code == "read_bytes"


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", "a\\b", "a\0b", ""])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError) as caught:
        write_tree({"fine": b"", name: b"x"}, tmp_path / "out")
    assert caught.value.code == "name_invalid"
    assert list(tmp_path.iterdir()) == []


def test_only_an_empty_folder_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"precious")
    with pytest.raises(InvalidError) as caught:
        write_tree({"mine": b"theirs"}, tmp_path)
    assert caught.value.code == "folder_not_empty"
    assert (tmp_path / "mine").read_bytes() == b"precious"


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError) as caught:
        write_tree({"a": b""}, tmp_path / "file" / "folder")
    assert caught.value.code == "storage_failed"


@given(st.dictionaries(st.sampled_from(["a", "b/c", "b/ünï", "d/e/f"]), st.binary(max_size=600_000), min_size=1))
def test_a_folder_is_stored_as_its_files_are(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder, streamed, whole = tmp_path_factory.mktemp("tree") / "t", MemoryBlocks(), MemoryBlocks()
    write_tree(files, folder)
    assert store_tree(folder, streamed) == build_directory(files, whole)
    assert streamed.blocks == whole.blocks


def test_storing_refuses_what_reading_refuses(tmp_path: Path) -> None:
    def code(limits: ReadLimits | None = None) -> str:
        with pytest.raises(OrcaError) as caught:
            store_tree(tmp_path / "t", MemoryBlocks(), limits or ReadLimits())
        return caught.value.code

    assert code() == "not_a_folder"
    (tmp_path / "t" / "sub").mkdir(parents=True)
    assert code() == "directory_empty"
    (tmp_path / "t" / "sub" / "file").write_bytes(b"content")
    assert code(ReadLimits(total_bytes=6)) == "read_bytes"
    (tmp_path / "t" / "more").write_bytes(b"")
    assert code(ReadLimits(files=1)) == "read_files"
    (tmp_path / "t" / "link").symlink_to("more")
    assert code() == "tree_special"
