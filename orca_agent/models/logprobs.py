"""The log probabilities of an answer's tokens as a journal keeps them: one form, whoever gave them.

They are decimal strings, for every node must read the same value out of a proof, whatever its language makes of floats. Those in
OpenAI's format come whole or in pieces, never beyond what a line of a journal holds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter

from orca_agent.models.base import Caps
from orca_agent.models.wire import readable
from orca_protocol.errors import LimitError
from orca_protocol.model import TokenLogprob

#: OpenAI's word for a probability too small to say; llama.cpp says the lowest float that there is, which no entry could hold
_LEAST = -9999.0
#: the logarithm of a probability; rounding may leave it a little above 0
_Logarithm = Annotated[FiniteFloat, Field(le=1.0)]
#: of one answer: more than models write, and some 12 MB in a journal, whose lines have at most 16
_TOKENS_MAX = 200_000


def token_logprob(token: str, value: float) -> TokenLogprob:
    """Return ``token`` with the logarithm ``value``, to twelve places: finer than the 32 bits that engines compute it in."""
    exact = round(Decimal(repr(max(value, _LEAST))), 12) or Decimal(0)  # no "-0"
    return TokenLogprob(token=token, logprob=f"{exact.normalize():f}")


class _Token(BaseModel):
    token: str
    logprob: _Logarithm


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
                self._tokens.append(token_logprob(one.token, one.logprob))
        self._caps.admit(self._bytes)
        if len(self._tokens) > _TOKENS_MAX:
            raise LimitError(
                "answer_too_large", f"{self._where} gave log probabilities of more than {_TOKENS_MAX} tokens; it was cut off"
            )

    def made(self) -> tuple[TokenLogprob, ...] | None:
        """Return the tokens; None where the server gave none."""
        return tuple(self._tokens) or None
