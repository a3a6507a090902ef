"""The names that files may have in a package, and the tree that a flat set of names spells.

One rule for everything that makes or reads a tree (builder, reader, folder), so that a package which could be written can be
read and exported anywhere, and no name in a stranger's package can leave the folder it is exported to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, Union

from orca_protocol.errors import InvalidError

MAX_PARTS = 32
MAX_PART_BYTES = 255  # the longest file name that common file systems hold

Branch: TypeAlias = dict[str, Union["Branch", bytes]]


def check_part(part: str) -> None:
    """Refuse what is no plain file name. Raises InvalidError ``name_invalid``."""
    if part in ("", ".", ".."):
        raise InvalidError("name_invalid", f"{part!r} is no file name: '', '.' and '..' are steps, not names")
    # A backslash is a plain character here and a separator on Windows: the same package would unfold into another tree there.
    if "/" in part or "\\" in part:
        raise InvalidError("name_invalid", f"the file name {_shown(part)} contains a separator")
    # NUL ends a name early in C; the other control characters forge lines in logs and listings.
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in part):
        raise InvalidError("name_invalid", f"the file name {_shown(part)} contains a control character")
    try:
        size = len(part.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidError("name_invalid", f"the file name {_shown(part)} is not valid UTF-8") from error
    if size > MAX_PART_BYTES:
        raise InvalidError("name_invalid", f"the file name {_shown(part)} has {size} bytes; at most {MAX_PART_BYTES} are kept")


def split_name(name: str) -> list[str]:
    """Return the parts of a '/'-separated relative name. Raises InvalidError ``name_invalid``."""
    _check_depth(name)
    parts = name.split("/")
    for part in parts:
        check_part(part)
    return parts


def join_name(folder: str, part: str) -> str:
    """Return the name of ``part`` inside ``folder`` ('' is the root). Raises InvalidError ``name_invalid``."""
    check_part(part)
    name = f"{folder}/{part}" if folder else part
    _check_depth(name)
    return name


def tree_of(files: Mapping[str, bytes]) -> Branch:
    """Return the nested form of ``files``.

    Raises InvalidError ``name_invalid``, or ``name_conflict`` for a name that is both a file and a folder.
    """
    root: Branch = {}
    for name, content in files.items():
        *folders, last = split_name(name)
        branch = root
        for folder in folders:
            inner = branch.setdefault(folder, {})
            if isinstance(inner, bytes):
                raise InvalidError("name_conflict", f"{_shown(name)} needs a folder where there is a file")
            branch = inner
        if last in branch:
            raise InvalidError("name_conflict", f"{_shown(name)} is a file where there is a folder")
        branch[last] = content
    return root


def _check_depth(name: str) -> None:
    if name.count("/") >= MAX_PARTS:
        raise InvalidError("name_invalid", f"the name {_shown(name)} is nested deeper than {MAX_PARTS} levels")


def _shown(name: str) -> str:
    return ascii(name[:80])
