"""The documents are true: links lead somewhere, commands exist, dependencies and settings are written down.

`make docs` runs these.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.house.repository import ROOT, declared, files, name_of

PAGES = [path for path in files() if path.suffix == ".md"]
VERBS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
FENCE = re.compile(r"^(```+)([^\n]*)\n(.*?)^\1[ \t]*$", flags=re.MULTILINE | re.DOTALL)

per_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def prose(text: str) -> str:
    """The page without code, where brackets and sharps mean something else."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """What a heading can be linked by, as the forges spell it."""
    headings = re.findall(r"^#+ +(.+?)[ #]*$", FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_blocks(text: str) -> list[list[str]]:
    """The commands of every shell block, without comments and prompts."""
    blocks = []
    for _, language, body in FENCE.findall(text):
        if language.strip() in {"", "sh", "bash", "shell", "console"}:
            lines = (re.sub(r"(^|\s)#.*", "", line).strip().removeprefix("$ ") for line in body.splitlines())
            blocks.append([line for line in lines if line])
    return blocks


@per_page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(\s*<?([^)\s>]+)", prose(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        place = page.parent / name if name else page
        assert place.exists(), f"{page.relative_to(ROOT)} links to {target}"
        assert place.resolve().is_relative_to(ROOT), f"{page.relative_to(ROOT)} links out of the repository: {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place.read_text()), f"{page.relative_to(ROOT)} links to {target}, a heading that is not there"


@per_page
def test_verbs_exist(page: Path) -> None:
    text = page.read_text()
    commands = [line for block in command_blocks(text) for line in block] + re.findall(r"`(make [^`]*)`", text)
    said = {match for command in commands for match in re.findall(r"(?:^|&& )make ((?:[a-z]+ ?)+)", command)}
    assert {verb for words in said for verb in words.split()} <= VERBS


def test_the_makefile_says_what_each_verb_does() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert verbs == VERBS
    assert {"run", "test", "check", "bench", "docs"} <= VERBS


def test_the_readme_begins_with_the_two_commands() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("README.md does not exist yet")
    assert command_blocks(readme.read_text())[0] == ["make run", "make test"]


def test_every_dependency_has_its_reason_and_no_other() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|([^|\n]+)\|([^|\n]+)\|$", (ROOT / "docs/dependencies.md").read_text(), flags=re.MULTILINE)
    assert sorted(name_of(name) for name, _, _ in rows) == sorted(declared())
    assert all(why.strip() and licence.strip() for _, why, licence in rows)


@pytest.mark.parametrize(
    "module", ["orca.settings", "orca.network_settings", "orca.store_settings", "orca.run_settings", "orca.observe_settings"]
)
def test_every_setting_is_documented(module: str) -> None:
    page = ROOT / "docs/settings.md"
    assert page.exists(), "docs/settings.md is missing"
    text = page.read_text()
    names = environment(module)
    assert names, f"{module} reads no environment variable"
    rows = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", text, flags=re.MULTILINE))
    assert sorted(names - rows) == []


def environment(module: str) -> set[str]:
    """The environment variables that the settings classes of a module read."""
    from pydantic import AliasChoices
    from pydantic_settings import BaseSettings

    names: set[str] = set()
    for value in vars(importlib.import_module(module)).values():
        if not (isinstance(value, type) and issubclass(value, BaseSettings) and value is not BaseSettings):
            continue
        for field, info in value.model_fields.items():
            alias = info.validation_alias
            if isinstance(alias, AliasChoices):
                names |= {choice for choice in alias.choices if isinstance(choice, str)}
            else:
                names.add(alias if isinstance(alias, str) else f"{value.model_config.get('env_prefix', '')}{field}".upper())
    return names
