"""The log probabilities of an answer's tokens as a journal keeps them: one form, whoever gave them.

They are decimal strings, for every node must read the same value out of a proof, whatever its language makes of floats.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter

from orca_agent.models.wire import readable
from orca_protocol.model import TokenLogprob

#: OpenAI's word for a probability too small to say; llama.cpp says the lowest float that there is, which no entry could hold
_LEAST = -9999.0
#: the logarithm of a probability; rounding may leave it a little above 0
_Logarithm = Annotated[FiniteFloat, Field(le=1.0)]


def token_logprob(token: str, value: float) -> TokenLogprob:
    """Return ``token`` with the logarithm ``value``, to twelve places: finer than the 32 bits that engines compute it in."""
    exact = round(Decimal(repr(max(value, _LEAST))), 12) or Decimal(0)  # no "-0"
    return TokenLogprob(token=token, logprob=f"{exact.normalize():f}")


class _Token(BaseModel):
    token: str
    logprob: _Logarithm


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


_LOGPROBS = TypeAdapter(list[_Logprobs])


def read_logprobs(said: list[Any], where: str) -> tuple[TokenLogprob, ...] | None:
    """Return the tokens of an answer in OpenAI's format in their order; None where the server gave none.

    Raises UnavailableError ``malformed_answer``.
    """
    given = [one for one in said if one is not None]
    if not given:
        return None
    with readable(where):
        tokens = [token for one in _LOGPROBS.validate_python(given) for token in one.content or ()]
        return tuple(token_logprob(one.token, one.logprob) for one in tokens) or None
