"""The text of one answer for a reader who cannot forget: what was told once must stand when the answer is told again."""

from __future__ import annotations

from orca_protocol.errors import UnavailableError


class Retelling:
    """What a reader was told so far, and how far an answer that began again has come.

    Raises UnavailableError ``stream_restarted`` as soon as it says something else than what was told.
    """

    def __init__(self) -> None:
        self._told = ""
        self._place = 0

    def begin_again(self) -> None:
        """Take note that the answer begins again, from its first character."""
        self._place = 0

    def add(self, text: str) -> str:
        """Take the next piece of the answer; return what of it is new to the reader."""
        known = self._told[self._place : self._place + len(text)]
        if not text.startswith(known):
            raise _another()
        self._place += len(text)
        new = text[len(known) :]
        self._told += new
        return new

    def whole(self, text: str) -> str:
        """Take the whole answer; return what of it the reader was not told yet."""
        if not text.startswith(self._told):
            raise _another()
        self.begin_again()
        return self.add(text)


def _another() -> UnavailableError:
    said = "the model was asked again and now says something else; GET /v1/runs/ID/output has what counts"
    return UnavailableError("stream_restarted", said)
