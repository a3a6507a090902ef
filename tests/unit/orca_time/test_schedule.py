"""What a scheduled time means: in every zone of the world, also when clocks are put forward or back."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError
from orca_protocol.spec import ScheduleSpec
from orca_time.schedule import AHEAD, GRACE, Due, due_of, moment_of
from orca_time.zones import zone_names, zone_of

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
zones = st.sampled_from(zone_names())
locals_ = st.datetimes(datetime(1970, 1, 2), datetime(2150, 1, 1))  # noqa: DTZ001 - local times are what is drawn


def schedule(time: str, zone: str = "UTC") -> ScheduleSpec:
    return ScheduleSpec(scheduled_time=time, timezone=zone)


def utc(time: str, zone: str = "UTC") -> str:
    return moment_of(schedule(time, zone)).isoformat()


def refused(time: str, zone: str = "UTC", now: datetime = NOW) -> InvalidError:
    with pytest.raises(InvalidError) as caught:
        due_of(schedule(time, zone), now)
    return caught.value


@pytest.mark.parametrize(
    ("time", "zone", "moment"),
    [
        ("2026-12-01T09:00:00", "UTC", "2026-12-01T09:00:00+00:00"),
        ("2026-12-01 09:00", "Europe/Madrid", "2026-12-01T08:00:00+00:00"),
        ("2026-07-01T09:00:00", "Europe/Madrid", "2026-07-01T07:00:00+00:00"),
        ("2026-07-01T09:00:00.25", "Asia/Kathmandu", "2026-07-01T03:15:00.250000+00:00"),
        # an offset is an offset, wherever one stands
        ("2026-12-01T09:00:00Z", "Europe/Madrid", "2026-12-01T09:00:00+00:00"),
        ("2026-12-01T09:00:00-05:00", "Europe/Madrid", "2026-12-01T14:00:00+00:00"),
        # clocks are put back: the first of the two, and by its offset the second
        ("2026-10-25T02:30:00", "Europe/Berlin", "2026-10-25T00:30:00+00:00"),
        ("2026-10-25T02:30:00+01:00", "Europe/Berlin", "2026-10-25T01:30:00+00:00"),
        ("2026-11-01T01:30:00", "America/New_York", "2026-11-01T05:30:00+00:00"),
        ("2026-11-01T02:00:00", "America/New_York", "2026-11-01T07:00:00+00:00"),
        ("2026-04-05T01:45:00", "Australia/Lord_Howe", "2026-04-04T14:45:00+00:00"),
        ("2026-04-05T02:00:00", "Australia/Lord_Howe", "2026-04-04T15:30:00+00:00"),
        # clocks are put forward: just before, and just after
        ("2026-03-29T01:59:59", "Europe/Berlin", "2026-03-29T00:59:59+00:00"),
        ("2026-03-29T03:00:00", "Europe/Berlin", "2026-03-29T01:00:00+00:00"),
    ],
)
def test_a_time_means_a_moment(time: str, zone: str, moment: str) -> None:
    assert utc(time, zone) == moment


@pytest.mark.parametrize(
    ("time", "zone", "before", "after"),
    [
        ("2026-03-29T02:30:00", "Europe/Berlin", "2026-03-29T01:59:59", "2026-03-29T03:00:00"),
        ("2026-03-08T02:59:59.9", "America/New_York", "2026-03-08T01:59:59", "2026-03-08T03:00:00"),
        ("2026-10-04T02:15:00", "Australia/Lord_Howe", "2026-10-04T01:59:59", "2026-10-04T02:30:00"),
        ("2011-12-30T12:00:00", "Pacific/Apia", "2011-12-29T23:59:59", "2011-12-31T00:00:00"),
    ],
)
def test_a_time_that_clocks_leave_out_is_refused_with_its_neighbours(time: str, zone: str, before: str, after: str) -> None:
    error = refused(time, zone)
    assert error.code == "schedule_gap"
    assert error.detail.endswith(f"between {before} and {after}")


@given(zones, locals_)
def test_a_local_time_is_shown_again_as_it_was_said_or_is_in_no_zone(name: str, local: datetime) -> None:
    spec = schedule(local.isoformat(), name)
    zone = zone_of(name)
    try:
        moment = moment_of(spec)
    except InvalidError as error:
        assert error.code == "schedule_gap"
        # no moment near it is shown so
        offsets = {
            (local.replace(tzinfo=UTC) + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in range(-48, 49, 12)
        }
        shown = {
            ((local - (offset or timedelta())).replace(tzinfo=UTC)).astimezone(zone).replace(tzinfo=None) for offset in offsets
        }
        assert local not in shown
        before, after = (datetime.fromisoformat(text) for text in error.detail.rsplit("between ", 1)[1].split(" and "))
        assert before < local < after
        assert moment_of(schedule(after.isoformat(), name)) - moment_of(schedule(before.isoformat(), name)) == timedelta(seconds=1)
    else:
        assert moment.astimezone(zone).replace(tzinfo=None) == local
        # and no earlier one is: of two, it is the first
        for hours in (0.5, 1, 2, 24):
            assert (moment - timedelta(hours=hours)).astimezone(zone).replace(tzinfo=None) != local


@given(zones, st.datetimes(datetime(1970, 1, 2), datetime(2150, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_moment_with_its_offset_is_that_moment_in_every_zone(name: str, moment: datetime) -> None:
    local = moment.astimezone(zone_of(name))
    whole = local.utcoffset() or timedelta()
    if whole.seconds % 60 == 0:  # RFC 3339 knows no seconds in an offset
        assert moment_of(schedule(local.isoformat(), name)) == moment


@pytest.mark.parametrize(
    ("time", "zone", "code", "named"),
    [
        ("2026-12-01T09:00:00", "europe/berlin", "zone_unknown", "Europe/Berlin"),
        ("2026-12-01T09:00:00", "new york", "zone_unknown", "America/New_York"),
        ("2026-12-01T09:00:00Z", "Mars/Olympus", "zone_unknown", "IANA"),
        ("2026-12-01T09:00:00", "../../etc/passwd", "zone_unknown", "IANA"),
        ("2026-02-30T09:00:00", "UTC", "schedule_malformed", "2026-02-30"),
        ("2026-12-01T09:00:60", "UTC", "schedule_malformed", "second"),
        ("0000-12-01T09:00:00", "UTC", "schedule_malformed", "year"),
        ("9999-12-31T23:59:59-10:00", "UTC", "schedule_malformed", "range"),
        ("2026-12-01T09:00:00+99:00", "UTC", "schedule_malformed", "offset"),
        ("2026-11-24T11:58:59Z", "UTC", "schedule_past", "2026-11-24T12:00:00.000+00:00"),
        ("2027-11-26T12:00:00Z", "UTC", "schedule_far", "366"),
    ],
)
def test_what_means_no_moment_to_wait_for_is_refused_by_name(time: str, zone: str, code: str, named: str) -> None:
    error = refused(time, zone)
    assert error.code == code
    assert error.detail.startswith("schedule.")
    assert named in error.detail


@given(st.integers(-(2**22), 2**25))
def test_a_moment_is_taken_from_a_minute_ago_to_a_year_ahead(seconds: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    spec = schedule(at.isoformat())
    if -GRACE <= at - NOW <= AHEAD:
        assert due_of(spec, NOW) == Due(at, "UTC")
    else:
        assert refused(spec.scheduled_time).code in {"schedule_past", "schedule_far"}


def test_a_moment_is_shown_in_utc_and_where_it_was_said() -> None:
    due = due_of(schedule("2026-12-01T09:00:00", "Europe/Madrid"), NOW)
    assert due.document() == {
        "due": "2026-12-01T08:00:00.000Z",
        "local": "2026-12-01T09:00:00.000+01:00",
        "timezone": "Europe/Madrid",
    }


def test_zones_do_not_come_from_the_machine() -> None:
    known = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=())
    try:
        assert utc("2026-12-01T09:00:00", "Africa/Ouagadougou") == "2026-12-01T09:00:00+00:00"
    finally:
        zoneinfo.reset_tzpath(to=known)
    assert len(zone_names()) > 400
