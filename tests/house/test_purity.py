"""Engine and protocol import nothing that reaches the world, a clock or chance.

Only what is named here is allowed, so that a new way out has to be argued for. Imports inside functions and under
TYPE_CHECKING count.
"""

from __future__ import annotations

import ast

import pytest

from tests.house.repository import ROOT, package_files

STANDARD = frozenset(
    """
    __future__ abc collections collections.abc contextlib contextvars dataclasses enum functools types typing
    copy inspect itertools operator warnings bisect graphlib heapq decimal fractions math numbers
    base64 binascii hashlib hmac json keyword re string struct textwrap unicodedata
    """.split()  # noqa: SIM905 - read as a list of words, not forty lines
)
OTHERS = {
    "orca_engine": frozenset({"jsonschema_rs", "orca_engine", "orca_protocol", "pydantic"}),
    "orca_protocol": frozenset(
        {"orca_protocol", "annotated_types", "base58", "libipld", "nacl", "pydantic", "pydantic_core", "rfc8785"}
    ),
}
# Parts of allowed packages that draw random bytes.
CHANCE = frozenset({"nacl.utils", "nacl.public", "nacl.secret"})
# Builtins that read or write the world, run text, or differ between two processes.
BUILTINS = frozenset({"__import__", "breakpoint", "compile", "eval", "exec", "hash", "id", "input", "open", "print"})


def breaches(source: str, others: frozenset[str]) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [node.module or ""]
            found += [f"line {node.lineno}: {alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in CHANCE]
        elif isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
            found.append(f"line {node.lineno}: {node.func.id}()")
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "generate":
            found.append(f"line {node.lineno}: .generate() draws a key")
        for name in names:
            if name in CHANCE or not (name in STANDARD or name.split(".")[0] in others):
                found.append(f"line {node.lineno}: import {name}")
    return found


@pytest.mark.parametrize("package", sorted(OTHERS))
def test_imports_only_what_is_pure(package: str) -> None:
    modules = package_files(package)
    if not modules:
        pytest.skip(f"{package} does not exist yet")
    found = {str(path.relative_to(ROOT)): wrong for path in modules if (wrong := breaches(path.read_text(), OTHERS[package]))}
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "import os.path as p",
        "from datetime import datetime",
        "def f():\n    import random",
        "import typing\nif typing.TYPE_CHECKING:\n    import asyncio",
        "from nacl import utils",
        "import nacl.utils",
        "open('x')",
        "key = SigningKey.generate()",
        "import orca_agent",
    ],
)
def test_a_breach_is_found(line: str) -> None:
    assert breaches(line, OTHERS["orca_protocol"])


def test_what_is_pure_passes() -> None:
    assert not breaches("import hashlib\nfrom collections.abc import Mapping\nimport nacl.signing\n", OTHERS["orca_protocol"])
