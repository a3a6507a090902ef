"""A strict, bounded reader for server-sent events (WHATWG HTML §9.2).

Bytes in, events out, whatever the chunk boundaries: CR, LF and CRLF line ends, comments, several data lines per event, UTF-8
characters split between chunks. An event that the stream does not finish with a blank line is discarded, as the
specification says; whether the stream as a whole was complete is for the wire format to judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from orca_agent.models.base import Caps
from orca_protocol.errors import LimitError, UnavailableError

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Event:
    """One dispatched event; ``id`` and ``retry`` are for reconnecting, which a model call never does."""

    name: str
    data: str


class SseReader:
    """Push parser: ``feed`` bytes, get the events they complete."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._pending = bytearray()
        self._after_cr = False
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""
        self._total = 0
        self._first = True

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that ``chunk`` completes.

        Raises LimitError ``stream_too_large``, ``event_too_large``; UnavailableError ``malformed_stream`` (not UTF-8).
        """
        self._total += len(chunk)
        if self._total > self._caps.stream_bytes:
            raise LimitError("stream_too_large", f"the model server sent more than {self._caps.stream_bytes} bytes in one stream")
        events = []
        for line in self._lines(chunk):
            self._refuse_long(len(line))
            if not line:
                events += self._dispatch()
            elif line[0] != 0x3A:  # a colon first is a comment, often a heartbeat
                self._field(line)
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Return the lines that ``chunk`` completes. Each byte is copied a fixed number of times, however it was cut."""
        if not chunk:
            return []
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")  # the second half of CRLF
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = bytes(self._pending + lines[0])
            self._pending.clear()
            if self._first:
                self._first = False
                lines[0] = lines[0].removeprefix(_BOM)
        self._pending += rest
        self._refuse_long(len(self._pending))
        return lines

    def _field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            self._refuse_long(self._data_bytes)
        elif field == b"event":
            self._name = value

    def _dispatch(self) -> list[Event]:
        data, name = self._data, self._name
        self._data, self._data_bytes, self._name = [], 0, b""
        if not data:
            return []
        try:
            return [Event(name.decode() or "message", b"\n".join(data).decode())]
        except UnicodeDecodeError as error:
            raise UnavailableError("malformed_stream", "the model server sent an event that is not UTF-8") from error

    def _refuse_long(self, size: int) -> None:
        if size > self._caps.event_bytes:
            raise LimitError("event_too_large", f"the model server sent an event of more than {self._caps.event_bytes} bytes")
