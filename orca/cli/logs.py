"""What a serving command writes to stderr: one line for each thing worth knowing, with its time and where it came from."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write the log of our own packages to stderr, and only warnings of others'."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("audit", "koii_chain", "middle_server", "orca", "orca_agent", "proof_store"):
        logging.getLogger(name).setLevel(level)
