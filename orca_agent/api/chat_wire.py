"""A request of the OpenAI API's chat completions in our own terms: it becomes a swarm of one.

Its messages are the agent's system prompt and its conversation (``chat_messages``); the model is asked exactly these. Its tools
are functions of the caller's: that the model wants one called is the answer, which is held to what ``strict`` functions ask
for. Where the request leaves something out it gets that
API's default, except that an answer has an end: ``MAX_TOKENS``. What the engine has no way to do is refused by name
(``field_unsupported``); values that ask for what is done anyway are let in. Nothing is accepted and then ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from orca_agent.api.chat_messages import ChatMessage, conversation_of
from orca_agent.api.translation import Refusal, Refusals, without
from orca_engine import schema
from orca_protocol.canonical import canonical, parse_json
from orca_protocol.documents import read
from orca_protocol.errors import InvalidError
from orca_protocol.model import Strict, ToolDefinition
from orca_protocol.spec import SPEC_MAX_BYTES, MaxTokens, Name, Temperature

#: who speaks in a run of the façade
AGENT = "assistant"
MAX_TOKENS = 8192
TEMPERATURE = 1.0

_NOT_FORCED = "no model is made to call a tool here; send auto or none, or say in a message what it is to do"
_FUNCTIONS = "its name is tools now; send that"
_NOT_SENT = "this version sends no such sampler setting to models; leave it out"
REFUSED: Refusals = {
    "n": Refusal("a run has one answer; leave it out, or send as many requests", (1,)),
    "seed": Refusal("leave it out: the seed follows from the run, so that a peer can decode the answer again"),
    "tools": Refusal(None, ([],)),
    "tool_choice": Refusal(_NOT_FORCED, ("auto",), ("none",)),
    "parallel_tool_calls": Refusal("all that a model calls in one answer is told at once; leave it out", (True,)),
    "functions": Refusal(_FUNCTIONS, ([],)),
    "function_call": Refusal("its name is tool_choice now; send that", ("none", "auto")),
    "response_format": Refusal(None, ({"type": "text"},)),
    "stop": Refusal("this version sends no stop sequences; leave it out", ([],)),
    "top_p": Refusal(_NOT_SENT, (1, 1.0)),
    "presence_penalty": Refusal(_NOT_SENT, (0, 0.0)),
    "frequency_penalty": Refusal(_NOT_SENT, (0, 0.0)),
    "logit_bias": Refusal(_NOT_SENT, ({},)),
    "logprobs": Refusal("this version returns no probabilities; leave it out", (False,)),
    "top_logprobs": Refusal("this version returns no probabilities; leave it out", (0,)),
    "reasoning_effort": Refusal("this version sends no reasoning settings; choose a model by its name"),
    "verbosity": Refusal("say it in a system message"),
    "modalities": Refusal("an answer is text", (["text"],)),
    "audio": Refusal("an answer is text; leave it out"),
    "prediction": Refusal("this version sends no predictions; leave it out"),
    "service_tier": Refusal("there is one tier; leave it out", ("auto", "default")),
    "store": Refusal("every run is kept here, under /v1/runs; leave it out", (True,)),
    "metadata": Refusal("runs carry no labels; an Idempotency-Key names one", ({},)),
    "user": Refusal("runs carry no labels; an Idempotency-Key names one"),
    "safety_identifier": Refusal("runs carry no labels; an Idempotency-Key names one"),
    "prompt_cache_key": Refusal("the node sets none; leave it out"),
    "web_search_options": Refusal("this version searches nothing; leave it out"),
}
_REFUSED_OPTIONS: Refusals = {"include_obfuscation": Refusal("chunks are not padded; leave it out", (False,))}
_REFUSED_IN_MESSAGES: Refusals = {
    "name": Refusal("say who speaks in the content"),
    "tool_calls": Refusal(None, ([],)),
    "function_call": Refusal("its name is tool_calls now; send that, and what it returned as a message of the role tool"),
    "refusal": Refusal("send a refusal as content"),
    "audio": Refusal("a message is text"),
    "annotations": Refusal("leave it out", ([],)),
}


class StreamOptions(Strict):
    """How a stream ends."""

    include_usage: bool = False


class JsonSchema(Strict):
    """A schema, and what that API wants said of it: that answers keep to it, which they always do here."""

    name: Name
    body: Annotated[dict[str, Any], Field(alias="schema")]
    strict: Literal[True] | None = None


class ResponseFormat(Strict):
    """What an answer must look like."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class Function(ToolDefinition):
    """A function of the caller's. What a model calls it with is held to ``parameters`` if it is ``strict``."""

    strict: bool | None = None


class Tool(Strict):
    """A tool that a model may want called."""

    type: Literal["function"]
    function: Function

    def document(self) -> dict[str, Any]:
        """Return the tool as specs have it: ``strict`` is between the caller and this façade."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"function": {"strict"}})


class ChatRequest(Strict):
    """What this façade reads of a request."""

    model: Name
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=1000, strict=False)]
    tools: Annotated[tuple[Tool, ...], Field(min_length=1, max_length=100, strict=False)] | None = None
    tool_choice: Literal["none"] | None = None
    temperature: Temperature = TEMPERATURE
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> ChatRequest:
        if None not in {self.max_tokens, self.max_completion_tokens} and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; say one of them")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options are for stream: true")
        names = [tool.function.name for tool in self.tools or ()]
        twice = next((place for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise ValueError(f"tools[{twice}].function.name: another tool is called {names[twice]!r}")
        return self

    @property
    def has_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return what the arguments of strict functions must fulfil, by name. Raises InvalidError ``schema_unsupported``."""
        found: dict[str, dict[str, Any]] = {}
        for place, tool in enumerate(self.tools or ()):
            if tool.function.strict:
                schema.refuse(tool.function.parameters, f"tools[{place}].function.parameters")
                found[tool.function.name] = tool.function.parameters
        return found

    def spec(self) -> bytes:
        """Return the request as a swarm of one. Raises as ``conversation_of`` does."""
        said = conversation_of(self.messages)
        agent: dict[str, Any] = {
            "agent_name": AGENT,
            "model_name": self.model,
            "max_tokens": self.max_completion_tokens or self.max_tokens or MAX_TOKENS,
            "temperature": self.temperature,
        }
        if said.instructions:
            agent["system_prompt"] = "\n\n".join(said.instructions)
        if self.response_format is not None:
            agent["response_schema"] = self.response_format.json_schema.body
        if self.tools is not None and self.tool_choice is None:
            agent["tools_list_dictionary"] = [tool.document() for tool in self.tools]
        turns = [turn.document() for turn in said.turns]
        image = {} if said.image is None else {"img": said.image}
        return canonical({"swarm_type": "SequentialWorkflow", "agents": [agent], "messages": turns, **image})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read and translated."""

    spec: bytes
    model: str
    is_streamed: bool
    has_usage: bool
    #: of the functions that are strict, by name
    parameters: Mapping[str, Mapping[str, Any]]


def chat_in(body: bytes) -> Asked:
    """Return the request that a body holds. Raises InvalidError ``field_unsupported``, or naming the field."""
    document = parse_json(body, max_bytes=SPEC_MAX_BYTES, where="body")
    if not isinstance(document, dict):
        raise InvalidError("schema", "body: a request is an object")
    known = without(document, REFUSED, "")
    if isinstance(known.get("stream_options"), dict):
        known["stream_options"] = without(known["stream_options"], _REFUSED_OPTIONS, "stream_options.")
    if isinstance(known.get("messages"), list):
        known["messages"] = [
            without(message, _REFUSED_IN_MESSAGES, f"messages[{place}].") if isinstance(message, dict) else message
            for place, message in enumerate(known["messages"])
        ]
    asked = read(ChatRequest, canonical(known), max_bytes=SPEC_MAX_BYTES, where="body")
    return Asked(asked.spec(), asked.model, asked.stream, asked.has_usage, asked.parameters())
