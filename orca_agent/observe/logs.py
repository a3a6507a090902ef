"""What a log line looks like: text for people or one JSON object for machines. No secret of the node gets out by one.

Secrets are struck out of the line as it is written: of the message with its arguments, of exceptions, of stack traces, and whatever
library logged it. So nothing that is logged has to be thought of in advance.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Literal, TextIO

from orca_agent.observe.about import what
from orca_agent.observe.secrets import Secrets

LogFormat = Literal["text", "json"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

#: the packages whose log is ours; others' is written from WARNING on
OURS = ("audit", "koii_chain", "middle_server", "orca", "orca_agent", "orca_http", "proof_store", "submission")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: one line; what is longer is a mistake or an attack
_MOST_CHARACTERS = 32 * 1024


class TextLines(logging.Formatter):
    """``time LEVEL logger: message``, with the run's id at its end where there is one."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__(_TEXT)
        self._secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the line without exception and stack."""
        known = what()
        return super().formatMessage(record) + (f" [run {known['run_id']}]" if "run_id" in known else "")

    def format(self, record: logging.LogRecord) -> str:
        """Return what is written."""
        return _bounded(self._secrets.strike(super().format(record)))


class JsonLines(logging.Formatter):
    """An object a line: time, level, logger, message, exception, and what the line is about."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return what is written."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": moment, "level": record.levelname, "logger": record.name, "message": record.getMessage(), **what()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps({name: _bounded(self._secrets.strike(value)) for name, value in line.items()}, ensure_ascii=False)


def write_log(stream: TextIO, secrets: Secrets, *, style: LogFormat = "text", level: LogLevel = "INFO") -> None:
    """Write this process's log to ``stream``, and nowhere else."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(secrets) if style == "json" else TextLines(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def _bounded(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "… (cut off)"
