"""What PostgreSQL said, short enough for the sentence of an error."""

from __future__ import annotations

import contextlib
from pathlib import Path


def one_line(said: str | BaseException) -> str:
    """Return a message without its line breaks."""
    return " ".join(str(said).split())


def tail(path: Path, lines: int = 5) -> str:
    """Return the last words of a log on one line."""
    with contextlib.suppress(OSError):
        said = path.read_text(errors="replace").strip().splitlines()[-lines:]
        return " | ".join(said)
    return "there is no log"
