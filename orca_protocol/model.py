"""The provider-neutral model call: what the engine asks, and what a provider answered.

A request carries the spec's own ``model_name``; what really answered (provider, weights, engine) belongs to the answer.
Images stand in messages by digest: their bytes are in the entry that fetched them (``orca_protocol.world``). All types are
immutable, refuse unknown fields, and have one JSON form.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

#: past the refusal of what is immutable
_put = object.__setattr__


class Strict(BaseModel):
    """Base of every protocol type: immutable, no coercion, no unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    def document(self) -> dict[str, Any]:
        """Return the JSON form; absent optional values are left out."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def made_of(cls, fields: dict[str, Any]) -> Self:
        """Return one of parts that are valid already, every field among them; the dictionary becomes its own.

        What ``model_construct`` does, without looking for aliases and defaults: a third of its time, once for each call of a run.
        """
        made = cls.__new__(cls)
        _put(made, "__dict__", fields)
        _put(made, "__pydantic_fields_set__", set(fields))
        _put(made, "__pydantic_extra__", None)
        _put(made, "__pydantic_private__", None)
        return made


Natural = Annotated[int, Field(ge=0, le=2**53 - 1)]
#: an exact decimal, as a string: money, seconds
Amount = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,30})(\.[0-9]{1,12})?$")]


#: the provider's own id of a call; its result names it
CallId = Annotated[str, Field(min_length=1, max_length=200)]
CalledName = Annotated[str, Field(min_length=1, max_length=200)]
#: as the model wrote them: meant to be a JSON object
Arguments = Annotated[str, Field(max_length=1_000_000)]


class ToolCall(Strict):
    """A tool that a model wants called."""

    id: CallId
    name: CalledName
    arguments: Arguments


class Image(Strict):
    """An image of a message, by the SHA-256 (hex) of its bytes."""

    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Message(Strict):
    """One chat turn. ``tool_calls`` belong to an assistant, ``tool_call_id`` to a tool's result, ``images`` to a user."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    images: tuple[Image, ...] | None = None


class ToolDefinition(Strict):
    """A tool as a model is told of it; ``parameters`` is a JSON schema."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")]
    description: Annotated[str, Field(max_length=20_000)] | None = None
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})


class TokenLogprob(Strict):
    """A token of an answer and the natural logarithm of its probability, as the provider gives them."""

    token: Annotated[str, Field(max_length=10_000)]
    logprob: Annotated[str, Field(pattern=r"^-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,40})?$")]


class ModelRequest(Strict):
    """One call as the engine asks it; its canonical bytes are what the request digest covers."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0.0, le=2.0)]
    #: first 32 bits of SHA-256(work item id ‖ canonical path): derived, so that nobody can choose it
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    tools: tuple[ToolDefinition, ...] | None = None
    #: a JSON schema that the answer's text must fulfil
    response_schema: dict[str, Any] | None = None
    #: a JSON schema to hold the model to where the provider can do that; whoever reads the answer judges it for himself
    form: dict[str, Any] | None = None
    #: whether the answer's tokens are wanted with their log probabilities
    logprobs: Literal[True] | None = None


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
    """What a model said to one request. With ``tool_calls`` the content may be empty."""

    content: str
    #: ``stop``, ``length``, or the provider's own word
    finish_reason: str
    model: ModelIdentity
    usage: Usage | None = None
    #: ids of the generated tokens, where the provider gives them; what check 6 compares first
    tokens: tuple[Natural, ...] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    #: absent where they were not asked for, or the provider gave none
    logprobs: tuple[TokenLogprob, ...] | None = None


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
