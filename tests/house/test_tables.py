"""Every plug-in file has its line in its table: a file that nobody can reach is not a feature."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.repository import ROOT, module_of

# Folder, table, and the port in the folder's base.py by which a plug-in is known there; None: every module of the folder is one.
TABLES = [
    ("orca_engine/swarms", "SWARMS", None),
    ("audit/checks", "CHECKS", None),
    ("orca_agent/models", "PROVIDERS", "Provider"),
    ("proof_store", "STORES", "PinStore"),
]
#: implement a port over others that do, and are no plug-in themselves: the ring of keys speaks no wire format of its own
WRAPPERS = {"orca_agent.models.ring"}


def methods(node: ast.ClassDef) -> set[str]:
    return {
        part.name
        for part in node.body
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and not part.name.startswith("_")
    }


def classes(path: Path) -> dict[str, set[str]]:
    """The public classes of a module with their public methods."""
    tree = ast.parse(path.read_text())
    return {node.name: methods(node) for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}


def plug_ins(folder: Path, port: str | None) -> list[Path]:
    """The modules, and packages, of a folder that implement its port. ``_name.py`` and base.py never do."""
    modules = [path for path in folder.glob("*.py") if not path.name.startswith("_") and path.stem != "base"]
    modules += list(folder.glob("*/__init__.py"))
    if port is None:
        return sorted(modules)
    promised = classes(folder / "base.py")[port]
    assert promised, f"{port} promises nothing"
    return sorted(path for path in modules if any(promised <= have for have in classes(path).values()))


def table_value(tree: ast.Module, table: str) -> ast.expr | None:
    """The right side of ``TABLE = …`` or ``TABLE: … = …`` at the top of a module."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == table for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            return node.value
    return None


def named_in_table(source: str, table: str) -> set[str] | None:
    """The modules that the table's value names, by import or as text ``module:attribute``; None where there is no such table."""
    tree = ast.parse(source)
    value = table_value(tree, table)
    if value is None:
        return None
    came_from: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                came_from.setdefault(alias.asname or alias.name, set()).update({str(node.module), f"{node.module}.{alias.name}"})
        elif isinstance(node, ast.Import):
            for alias in node.names:
                came_from.setdefault(alias.asname or alias.name.split(".")[0], set()).add(alias.name)
    named: set[str] = set()
    for part in ast.walk(value):
        if isinstance(part, ast.Name):
            named |= came_from.get(part.id, set())
        elif isinstance(part, ast.Attribute):
            named.add(ast.unparse(part.value))
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            named.add(part.value.split(":")[0])
    return named


def table_of(folder: Path, table: str) -> tuple[Path, set[str]] | None:
    for path in sorted(folder.glob("*.py")):
        named = named_in_table(path.read_text(), table)
        if named is not None:
            return path, named
    return None


@pytest.mark.parametrize(("folder", "table", "port"), TABLES, ids=[table for _, table, _ in TABLES])
def test_every_plug_in_is_in_its_table(folder: str, table: str, port: str | None) -> None:
    where = ROOT / folder
    if not (where / "__init__.py").exists():
        pytest.skip(f"{folder} does not exist yet")
    found = table_of(where, table)
    assert found is not None, f"no module of {folder} says {table} = …"
    home, named = found
    there = {module_of(path) for path in plug_ins(where, port)} - WRAPPERS
    assert there, f"{folder} holds no plug-in"
    assert there - named == set(), f"not in {table} of {home.relative_to(ROOT)}"


def test_a_plug_in_is_known_by_its_port(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("class Game:\n    def play(self): ...\n    async def stop(self): ...\n")
    (tmp_path / "chess.py").write_text(
        "class Board:\n    pass\nclass Chess:\n    def play(self): ...\n    async def stop(self): ...\n    def undo(self): ...\n"
    )
    (tmp_path / "board.py").write_text("class Board:\n    def play(self): ...\n")
    (tmp_path / "_clock.py").touch()
    assert [path.name for path in plug_ins(tmp_path, "Game")] == ["chess.py"]
    assert [path.name for path in plug_ins(tmp_path, None)] == ["board.py", "chess.py"]


@pytest.mark.parametrize(
    "source",
    [
        "from rooms.chess import chess\nTABLE = {'Chess': chess}",
        "from rooms import chess\nTABLE: dict[str, object] = {'Chess': chess.Chess}",
        "import rooms.chess\nTABLE = (rooms.chess.Chess(),)",
        "from rooms.chess import Chess\nTABLE = {game.name: game for game in (Chess,)}",
        "TABLE = {'Chess': 'rooms.chess:Chess'}",
    ],
)
def test_ways_to_name_a_plug_in(source: str) -> None:
    assert "rooms.chess" in (named_in_table(source, "TABLE") or set())


def test_an_import_alone_is_no_line_in_the_table() -> None:
    assert named_in_table("from rooms.chess import chess\nTABLE: dict[str, object] = {}", "TABLE") == set()
