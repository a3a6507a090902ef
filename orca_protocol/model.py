"""The provider-neutral model call: what the engine asks, and what a provider answered.

A request carries the spec's own ``model_name``; what really answered (provider, weights, engine) belongs to the answer.
All types are immutable, refuse unknown fields, and have one JSON form.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Base of every protocol type: immutable, no coercion, no unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    def document(self) -> dict[str, Any]:
        """Return the JSON form; absent optional values are left out."""
        return self.model_dump(mode="json", exclude_none=True)


Natural = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Message(Strict):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class ModelRequest(Strict):
    """One call as the engine asks it; its canonical bytes are what the request digest covers."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0.0, le=2.0)]
    #: first 32 bits of SHA-256(work item id ‖ canonical path): derived, so that nobody can choose it (contract §6)
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]


#: of one answer; bounded so that no sum over a journal leaves what JSON carries exactly
Tokens = Annotated[int, Field(ge=0, le=10_000_000_000)]


class Usage(Strict):
    """Tokens as the provider itself reported them; never an estimate."""

    input_tokens: Tokens
    output_tokens: Tokens


class ModelIdentity(Strict):
    """What really answered. ``digest`` and below are known for local weights only."""

    provider: str
    model: str
    #: ``sha256:…`` of the weights file
    digest: str | None = None
    quantisation: str | None = None
    #: name and version of the inference engine
    engine: str | None = None
    #: digest of the golden decode: equal ids promise equal arithmetic
    numerics: str | None = None
    #: sampler settings the provider added to the request's own
    sampler: dict[str, int | float | str | bool] | None = None


class Answer(Strict):
    """What a model said to one request."""

    content: str
    #: ``stop``, ``length``, or the provider's own word
    finish_reason: str
    model: ModelIdentity
    usage: Usage | None = None
    #: ids of the generated tokens, where the provider gives them; what check 6 compares first
    tokens: tuple[Natural, ...] | None = None


class Failure(Strict):
    """Why a call, step or tool gave no answer; the same codes as ``OrcaError.code``."""

    code: str
    detail: str


class Attempt(Strict):
    """One try of a provider within one call. Metadata: no two executions share it."""

    #: RFC 3339 in UTC with milliseconds
    started: str
    duration_ms: Natural
    #: ``answer``, or the code of the error
    outcome: str
