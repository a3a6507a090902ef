"""Moments as documents write them: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(unix: float) -> datetime:
    """Return the moment, cut to the millisecond."""
    return datetime.fromtimestamp(int(unix * 1000) / 1000, UTC)


def rfc3339(when: datetime) -> str:
    """Return the moment as documents write it."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
