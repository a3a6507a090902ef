"""Tool calls as the JSON wire formats carry them: names that every server takes, and calls that arrive in pieces.

What a model writes into a call is not judged here: arguments that are no JSON, or a tool that is not there, are told to the model
by the engine. What a server leaves out is added where it is ours to choose (an id), else the answer is malformed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import count
from typing import Any

from pydantic import ValidationError

from orca_agent.models.base import Caps
from orca_protocol.documents import describe
from orca_protocol.errors import LimitError, UnavailableError
from orca_protocol.model import ModelRequest, ToolCall

#: what OpenAI and Anthropic both take
_NAME_MAX = 64
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
#: of one answer; the engine makes sixteen of them at most
_CALLS_MAX = 128


class ToolNames:
    """The names of a request's tools on the wire, and back. A name that all servers take stays; others are spelt another way."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sent: dict[str, str] = {}
        given = dict.fromkeys(names)
        taken = {name for name in given if _is_plain(name)}
        for name in given:
            self._sent[name] = name if _is_plain(name) else _another(name, taken)
            taken.add(self._sent[name])
        self._meant = {sent: name for name, sent in self._sent.items()}

    @classmethod
    def of(cls, request: ModelRequest) -> ToolNames:
        """Return those of ``request``: of the tools that are offered, and of those that were called before."""
        offered = (tool.name for tool in request.tools or ())
        called = (call.name for message in request.messages for call in message.tool_calls or ())
        names = (*offered, *called)
        return cls(names) if names else _NONE

    def sent(self, name: str) -> str:
        """Return how ``name`` goes out."""
        return self._sent[name]

    def meant(self, name: str) -> str:
        """Return what a model's ``name`` stands for: itself, if it is none that went out."""
        return self._meant.get(name, name)


_NONE = ToolNames(())


def _is_plain(name: str) -> bool:
    return len(name) <= _NAME_MAX and _FOREIGN.search(name) is None


def _another(name: str, taken: set[str]) -> str:
    plain = _FOREIGN.sub("_", name)[:_NAME_MAX]
    number = 1
    found = plain
    while found in taken:
        number += 1
        found = f"{plain[: _NAME_MAX - len(str(number)) - 1]}_{number}"
    return found


class Calls:
    """The tool calls of one answer as they arrive, whole or in pieces, never beyond their cap."""

    def __init__(self, caps: Caps, names: ToolNames, where: str) -> None:
        self._caps = caps
        self._names = names
        self.where = where
        self._begun: list[_Begun] = []
        self._places: dict[int, _Begun] = {}
        self._bytes = 0

    def add(self, *, place: int | None, identity: str | None, name: str | None, arguments: str | None) -> None:
        """Take a piece. It belongs to the call at ``place``, or begins one: also where no place is said, but a name is.

        Raises LimitError ``answer_too_large``, UnavailableError ``malformed_answer``.
        """
        self._bytes += sum(len(part.encode(errors="surrogatepass")) for part in (identity, name, arguments) if part)
        self._caps.admit(self._bytes)
        begun = self._found(place, identity, name)
        begun.identity = begun.identity or identity
        begun.name = begun.name or name
        begun.pieces.append(arguments or "")

    def _found(self, place: int | None, identity: str | None, name: str | None) -> _Begun:
        found = self._places.get(place) if place is not None else (None if name else next(reversed(self._begun), None))
        # Some servers put every call at place 0 and tell them apart by id alone.
        is_another = found is not None and identity and found.identity and identity != found.identity
        if found is None or is_another:
            if len(self._begun) >= _CALLS_MAX:
                raise LimitError("answer_too_large", f"{self.where} called more than {_CALLS_MAX} tools at once; it was cut off")
            found = _Begun()
            self._begun.append(found)
            if place is not None:
                self._places[place] = found
        return found

    def made(self) -> tuple[ToolCall, ...] | None:
        """Return the calls, None where there is none. Raises UnavailableError ``malformed_answer``."""
        given = {begun.identity for begun in self._begun}
        taken: set[str] = set()
        made = []
        for number, begun in enumerate(self._begun):
            identity = begun.identity or ""
            if not identity or identity in taken:
                free = (f"call_{counted}" for counted in count(number))
                identity = next(one for one in free if one not in given and one not in taken)
            taken.add(identity)
            made.append(self._call(identity, begun))
        return tuple(made) or None

    def _call(self, identity: str, begun: _Begun) -> ToolCall:
        arguments = "".join(begun.pieces)
        try:
            # No arguments at all is how some servers spell none.
            return ToolCall(id=identity, name=self._names.meant(begun.name or ""), arguments=arguments or "{}")
        except ValidationError as error:
            said = f"{self.where} sent a tool call that cannot be read: {describe(error)}"
            raise UnavailableError("malformed_answer", said) from error


class _Begun:
    __slots__ = ("identity", "name", "pieces")

    def __init__(self) -> None:
        self.identity: str | None = None
        self.name: str | None = None
        self.pieces: list[str] = []


def spelt(arguments: Any) -> str | None:
    """Return arguments as text: most servers send text, some the object itself."""
    return arguments if arguments is None or isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def as_object(arguments: str) -> dict[str, Any]:
    """Return ``arguments`` as the object that Anthropic wants back; what is none goes back under a name of its own."""
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"not_an_object": arguments}
