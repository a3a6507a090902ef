"""The IANA time zones. They come with the ``tzdata`` package, so that every machine with the same lock file has the same ones."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from orca_protocol.errors import InvalidError

_TZDATA = files("tzdata")


@cache
def zone_names() -> tuple[str, ...]:
    """Return every zone there is, in the order of the alphabet."""
    return tuple(sorted(_TZDATA.joinpath("zones").read_text(encoding="utf-8").split()))


@cache
def _known() -> frozenset[str]:
    return frozenset(zone_names())


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of that IANA name. Raises InvalidError ``zone_unknown`` with the names that are most like it."""
    if name not in _known():
        raise InvalidError("zone_unknown", f"schedule.timezone: there is no time zone {name!r}; {_hint(name)}")
    return _load(name)


@cache
def _load(name: str) -> ZoneInfo:
    with _TZDATA.joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def _hint(name: str) -> str:
    by_letters = {known.lower(): known for known in zone_names()}
    city = name.lower().rsplit("/", 1)[-1].replace(" ", "_")
    like = [by_letters[found] for found in get_close_matches(name.lower(), by_letters, n=3, cutoff=0.75)]
    like += [known for small, known in by_letters.items() if small.rsplit("/", 1)[-1] == city and known not in like]
    return f"do you mean {' or '.join(like[:3])}?" if like else "say an IANA name such as Europe/Berlin, America/New_York or UTC"
