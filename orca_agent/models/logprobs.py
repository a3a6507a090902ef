"""Log probabilities of an answer's tokens in OpenAI's format, whole or in pieces, never beyond what a line of a journal holds."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter

from orca_agent.models.base import Caps
from orca_agent.models.wire import readable
from orca_protocol.errors import LimitError
from orca_protocol.model import TokenLogprob

#: of one answer: more than models write, and some 12 MB in a journal, whose lines have at most 16
_TOKENS_MAX = 200_000


class _Token(BaseModel):
    token: str
    #: what is larger no probability has: some servers write the smallest number there is for a token that cannot come
    logprob: Annotated[float, Field(ge=-1e15, le=1e15)]


class _Said(BaseModel):
    content: list[_Token] | None = None


_SAID = TypeAdapter(_Said | None)


class Logprobs:
    """The tokens of one answer in their order."""

    def __init__(self, caps: Caps, where: str) -> None:
        self._caps = caps
        self._where = where
        self._tokens: list[TokenLogprob] = []
        self._bytes = 0

    def add(self, said: Any) -> None:
        """Take what a choice says of them. Raises UnavailableError ``malformed_answer``, LimitError ``answer_too_large``."""
        with readable(self._where):
            found = _SAID.validate_python(said)
            for one in () if found is None else found.content or ():
                self._bytes += len(one.token.encode(errors="surrogatepass"))
                self._tokens.append(TokenLogprob(token=one.token, logprob=_decimal(one.logprob)))
        self._caps.admit(self._bytes)
        if len(self._tokens) > _TOKENS_MAX:
            raise LimitError(
                "answer_too_large", f"{self._where} gave log probabilities of more than {_TOKENS_MAX} tokens; it was cut off"
            )

    def made(self) -> tuple[TokenLogprob, ...] | None:
        """Return the tokens; None where the server gave none."""
        return tuple(self._tokens) or None


def _decimal(value: float) -> str:
    """Return a logarithm as a decimal string of at most twelve places."""
    return f"{round(Decimal(repr(value)), 12).normalize():f}"
