"""One thing that ``orca doctor`` looked at.

``ok``: works. ``absent``: this machine does without, and the detail says what that means. ``broken``: a node needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    part: str
    state: Literal["ok", "absent", "broken"]
    detail: str
    remedy: str = ""
