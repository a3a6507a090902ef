"""The moment that a ScheduleSpec means.

A time with an offset is that moment, whatever the time zone; the zone then only says how the moment is shown. A time without
one is local time in ``timezone``. Where clocks are put forward, the hour that is left out does not exist: such a time is
refused with the times around it, because nobody knows which of them was meant. Where clocks are put back, an hour happens
twice: its first run is taken, and an offset says the second one.

A moment that has just passed runs at once, because requests take their time and clocks differ. Anything older, or further
ahead than a year, is a mistake and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from orca_protocol.errors import InvalidError
from orca_protocol.spec import ScheduleSpec
from orca_time.zones import zone_of

#: how long ago a moment may be
GRACE: Final = timedelta(minutes=1)
#: how far ahead it may be
AHEAD: Final = timedelta(days=366)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """When something is to begin: a moment in UTC, and the zone in which whoever said so thinks of it."""

    at: datetime
    zone: str

    def document(self) -> dict[str, Any]:
        """Return it as people read it, in UTC and where it was said."""
        local = self.at.astimezone(zone_of(self.zone))
        return {"due": _stamp(self.at).replace("+00:00", "Z"), "local": _stamp(local), "timezone": self.zone}


def due_of(schedule: ScheduleSpec, now: datetime) -> Due:
    """Return when ``schedule`` is due, seen from ``now``.

    Raises InvalidError as ``moment_of`` does, ``schedule_past``, ``schedule_far``.
    """
    at = moment_of(schedule)
    if at < now - GRACE:
        raise InvalidError(
            "schedule_past", f"{_where(schedule)} was {_stamp(at)}, which is over: it is {_stamp(now.astimezone(UTC))}"
        )
    if at > now + AHEAD:
        raise InvalidError("schedule_far", f"{_where(schedule)} is further ahead than the {AHEAD.days} days that are waited for")
    return Due(at, schedule.timezone)


def moment_of(schedule: ScheduleSpec) -> datetime:
    """Return the moment that ``schedule`` means, in UTC.

    Raises InvalidError ``zone_unknown``, ``schedule_malformed`` for a time that no calendar has, ``schedule_gap`` for one that
    clocks leave out.
    """
    zone = zone_of(schedule.timezone)
    try:
        said = datetime.fromisoformat(schedule.scheduled_time)
        moment = (said if said.tzinfo is not None else said.replace(tzinfo=zone)).astimezone(UTC)
        if said.tzinfo is None and moment.astimezone(zone).replace(tzinfo=None) != said:
            raise InvalidError(
                "schedule_gap",
                f"{_where(schedule)} does not exist: clocks are put forward there, between {_neighbours(said, zone)}",
            )
    except (ValueError, OverflowError) as error:
        raise InvalidError("schedule_malformed", f"{_where(schedule)} is in no calendar: {error}") from error
    return moment


def _neighbours(said: datetime, zone: ZoneInfo) -> str:
    """Return the last time before, and the first one after, the gap that ``said`` falls into."""
    before, after = (said.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    # In UTC the clocks are put forward between these two: halve until the second is found.
    early, late = (said.replace(microsecond=0) - offset for offset in (after, before))
    while late - early > _SECOND:
        middle = (early + (late - early) / 2).replace(microsecond=0)
        is_over = middle.replace(tzinfo=UTC).astimezone(zone).utcoffset() == after
        early, late = (early, middle) if is_over else (middle, late)
    return f"{(late - _SECOND + before).isoformat()} and {(late + after).isoformat()}"


def _where(schedule: ScheduleSpec) -> str:
    return f"schedule.scheduled_time: {schedule.scheduled_time} in {schedule.timezone}"


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
