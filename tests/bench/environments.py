"""Who is measured beside us, in which versions, each in an environment of its own under ``.cache/bench``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "bench"
_INSTALL_SECONDS = 600

#: the driver in ``peers`` → what is installed for it
PEERS: Mapping[str, tuple[str, ...]] = {
    "aiohttp": ("aiohttp==3.14.5",),
    "autogen": ("autogen-agentchat==0.7.5", "autogen-ext[openai]==0.7.5", "openai==3.52.0"),
    "agno": ("agno==3.1.10", "openai==3.52.0"),
    "langgraph": ("langgraph==1.2.22", "langchain-openai==1.7.3"),
    "openai_agents": ("openai-agents==0.24.0", "openai==3.52.0"),
    "pydantic_ai": ("pydantic-ai-slim[openai]==2.68.0", "openai==3.52.0"),
    "swarms": ("swarms==16.0.3",),
    "crewai": ("crewai==1.15.30",),
}

#: nobody is told of a bench; and what has no way to the internet does not wait for it
QUIET = {
    "AGNO_TELEMETRY": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OPENAI_API_KEY": "none",
    "OTEL_SDK_DISABLED": "true",
    "SWARMS_TELEMETRY_ON": "false",
}


def python_of(peer: str) -> Path:
    """Return the Python of a peer's environment, made if need be. Raises OSError saying why it cannot be."""
    folder, wanted = FOLDER / peer, "\n".join(PEERS[peer])
    mark, python = folder / "installed.txt", folder / "bin" / "python"
    if mark.exists() and mark.read_text() == wanted:
        return python
    uv = str(Path(sys.executable).with_name("uv"))
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _run([uv, "pip", "install", "--quiet", "--python", str(python), *PEERS[peer]])
    mark.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"not installed within {_INSTALL_SECONDS} s") from error
    if done.returncode:
        raise OSError(" ".join(done.stderr.split())[-300:])
