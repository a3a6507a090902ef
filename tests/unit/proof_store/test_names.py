from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError
from proof_store.names import MAX_PARTS, join_name, split_name, tree_of

GOOD = ["a", "a/b", ".hidden", "...", "with space", "é", "漢字/🦈", "a" * 255, "/".join("d" * MAX_PARTS)]
BAD = [
    "",
    ".",
    "..",
    "/",
    "/a",
    "a/",
    "a//b",
    "a/./b",
    "a/../b",
    "../a",
    "a\\b",
    "..\\a",
    "C:\\a",
    "a\0",
    "a\nb",
    "a\x1b[31m",
    "\x7f",
    "\ud800",
    "a/\udcff",
    "a" * 256,
    "é" * 128,
    "/".join("d" * (MAX_PARTS + 1)),
]


@pytest.mark.parametrize("name", GOOD)
def test_names_that_are_kept(name: str) -> None:
    assert "/".join(split_name(name)) == name


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_names_that_are_refused(name: str) -> None:
    for use in (split_name, lambda one: tree_of({"fine": b"", one: b""})):
        with pytest.raises(InvalidError) as caught:
            use(name)
        assert caught.value.code == "name_invalid"
        caught.value.detail.encode("utf-8")  # can be shown and logged


def test_one_part_cannot_smuggle_in_two() -> None:
    with pytest.raises(InvalidError):
        join_name("", "a/b")
    with pytest.raises(InvalidError):
        join_name("/".join("d" * MAX_PARTS), "e")
    assert join_name("a", "b") == "a/b"
    assert join_name("", "b") == "b"


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["a/b/c", "a/b"], ["a/b", "a/b/c"]])
def test_a_name_is_a_file_or_a_folder(names: list[str]) -> None:
    with pytest.raises(InvalidError) as caught:
        tree_of(dict.fromkeys(names, b""))
    assert caught.value.code == "name_conflict"


def test_the_tree() -> None:
    assert tree_of({"a": b"1", "b/c": b"2", "b/d/e": b"3"}) == {"a": b"1", "b": {"c": b"2", "d": {"e": b"3"}}}
    assert tree_of({}) == {}


@given(st.text(max_size=30))
def test_any_name_is_kept_as_it_is_or_refused(name: str) -> None:
    try:
        parts = split_name(name)
    except InvalidError:
        return
    assert "/".join(parts) == name
