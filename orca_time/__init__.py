"""When something is due: the time zones of the world, and the moment that a ScheduleSpec means.

    zones      the IANA time zones, out of the ``tzdata`` package and not out of the machine
    schedule   from a local time to a moment, or to the reason why there is none

Agent and middle server both hold work back until its moment; this is below both and knows neither. It reads no clock.
"""
