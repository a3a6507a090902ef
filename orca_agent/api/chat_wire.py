"""The OpenAI API's chat completions in our own terms: a request becomes a swarm of one, a finished run becomes an answer.

Leading ``system`` and ``developer`` messages are the agent's system prompt, the rest is its conversation; the model is asked
exactly these messages. Where the request leaves something out it gets that API's default, except that an answer has an end:
``MAX_TOKENS``. What the engine has no way to do is refused by name (``field_unsupported``); values that ask for what is done
anyway are let in. Nothing is accepted and then ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from orca_agent.api.translation import Refusal, Refusals, without
from orca_agent.work.runner import Finished
from orca_protocol.canonical import canonical, parse_json
from orca_protocol.documents import read
from orca_protocol.errors import InvalidError
from orca_protocol.model import Strict
from orca_protocol.output import UsageSum
from orca_protocol.spec import SPEC_MAX_BYTES, MaxTokens, Name, Task, Temperature, Text

#: who speaks in a run of the façade
AGENT = "assistant"
MAX_TOKENS = 8192
TEMPERATURE = 1.0

_NO_TOOLS = "this façade takes no tools; use /v1/agent/completions, whose agents have tools_list_dictionary and mcp_servers"
_NOT_SENT = "this version sends no such sampler setting to models; leave it out"
REFUSED: Refusals = {
    "n": Refusal("a run has one answer; leave it out, or send as many requests", (1,)),
    "seed": Refusal("leave it out: the seed follows from the run, so that a peer can decode the answer again"),
    "tools": Refusal(_NO_TOOLS, ([],)),
    "tool_choice": Refusal(_NO_TOOLS, ("none", "auto")),
    "parallel_tool_calls": Refusal(_NO_TOOLS),
    "functions": Refusal(_NO_TOOLS, ([],)),
    "function_call": Refusal(_NO_TOOLS, ("none", "auto")),
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
    "tool_calls": Refusal(_NO_TOOLS, ([],)),
    "function_call": Refusal(_NO_TOOLS),
    "refusal": Refusal("send a refusal as content"),
    "audio": Refusal("a message is text"),
    "annotations": Refusal("leave it out", ([],)),
}
#: the finish reasons of that API, and other providers' words for them
_FINISHES = {
    **{word: word for word in ("stop", "length", "content_filter", "tool_calls")},
    "max_tokens": "length",
    "refusal": "content_filter",
}


def _text_of(content: Any) -> Any:
    """Return the text of a content that comes in parts, each on a line of its own."""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return content
    for part in content:
        if part.get("type") != "text" or set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise ValueError("this version reads parts of the type text alone, as {type, text}")
    return "\n".join(part["text"] for part in content)


class ChatMessage(Strict):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Task, BeforeValidator(_text_of)]


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


class ChatRequest(Strict):
    """What this façade reads of a request."""

    model: Name
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=1000, strict=False)]
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
        roles = [message.role for message in self.messages]
        for place in range(len(self._instructions), len(roles)):
            if roles[place] in {"system", "developer"}:
                raise ValueError(f"messages[{place}].role: {roles[place]} messages stand before all others")
        if len(self._instructions) == len(roles) or roles[-1] != "user":
            raise ValueError(f"messages[{len(roles) - 1}].role: the last message is the user's")
        if roles[len(self._instructions)] != "user":
            raise ValueError(f"messages[{len(self._instructions)}].role: a conversation begins with the user")
        return self

    @property
    def _instructions(self) -> list[Text]:
        found: list[Text] = []
        for message in self.messages:
            if message.role not in {"system", "developer"}:
                break
            found.append(message.content)
        return found

    @property
    def has_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def spec(self) -> bytes:
        """Return the request as a swarm of one."""
        agent: dict[str, Any] = {
            "agent_name": AGENT,
            "model_name": self.model,
            "max_tokens": self.max_completion_tokens or self.max_tokens or MAX_TOKENS,
            "temperature": self.temperature,
        }
        if self._instructions:
            agent["system_prompt"] = "\n\n".join(self._instructions)
        if self.response_format is not None:
            agent["response_schema"] = self.response_format.json_schema.body
        turns = [message.document() for message in self.messages[len(self._instructions) :]]
        return canonical({"swarm_type": "SequentialWorkflow", "agents": [agent], "messages": turns})


def chat_in(body: bytes) -> ChatRequest:
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
    return read(ChatRequest, canonical(known), max_bytes=SPEC_MAX_BYTES, where="body")


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said in the end."""

    content: str
    finish: str
    #: what really answered
    model: str
    #: the provider's own figures, or None where it did not report all of them
    usage: dict[str, int] | None


def said_in(ended: Finished) -> Said | None:
    """Return what the model said in a finished run, or None where it gave no answer that counts."""
    answers = [entry.answer for entry in ended.entries if entry.answer is not None]
    said = [message.content for message in ended.output.output if message.content is not None]
    if not answers or not said:
        return None
    return Said(said[-1], _FINISHES.get(answers[-1].finish_reason, "stop"), answers[-1].model.model, _usage_of(ended.output.usage))


def chat_completion(ended: Finished, said: Said) -> dict[str, Any]:
    """Return the answer of a request that did not stream. Its ``id`` is the run's."""
    message = {"role": "assistant", "content": said.content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": said.finish}
    document = {**head(ended.run.id, ended.run.started, said.model), "object": "chat.completion", "choices": [choice]}
    return document if said.usage is None else {**document, "usage": said.usage}


def head(run_id: str, started: float, model: str) -> dict[str, Any]:
    """Return what every document about one answer begins with."""
    return {"id": run_id, "created": int(started), "model": model}


def _usage_of(usage: UsageSum) -> dict[str, int] | None:
    if usage.unreported_calls:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
