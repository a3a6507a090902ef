"""What a serving command writes to stderr: one line for each thing worth knowing, as ``ORCA_LOG_…`` say, without any secret."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr

    from orca_agent.observe.logs import LogLevel


def log_to_stderr(secrets: Iterable[SecretStr | None], *, level: LogLevel | None = None) -> None:
    """Write the log to stderr, with none of ``secrets``. ``level`` is the command's own, where the operator names none."""
    from orca.network_settings import load
    from orca.observe_settings import ObserveSettings, passwords_in
    from orca_agent.observe.logs import write_log
    from orca_agent.observe.secrets import Secrets

    settings, given = load(ObserveSettings), [secret for secret in secrets if secret is not None]
    struck = Secrets((*given, *passwords_in(*given), *settings.secrets))
    wanted = settings.log_level if level is None or "log_level" in settings.model_fields_set else level
    write_log(sys.stderr, struck, style=settings.log_format, level=wanted)
