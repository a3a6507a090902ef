"""What a run of the façade came to, in the OpenAI API's terms.

An answer is text, calls of the caller's functions, or both. The text is what the model said: that an output writes calls down as
text where there is none is for readers of transcripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orca_agent.work.runner import Finished
from orca_engine import schema
from orca_protocol.model import ToolCall
from orca_protocol.output import UsageSum

#: the finish reasons of that API, and other providers' words for them
_FINISHES = {
    **{word: word for word in ("stop", "length", "content_filter", "tool_calls")},
    "max_tokens": "length",
    "refusal": "content_filter",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said in the end."""

    #: None where it called functions and said nothing beside
    content: str | None
    calls: tuple[ToolCall, ...]
    finish: str
    #: what really answered
    model: str
    #: the provider's own figures, or None where it did not report all of them
    usage: dict[str, int] | None


def said_in(ended: Finished) -> Said | None:
    """Return what the model said in a finished run, or None where it gave no answer that counts."""
    answers = [entry.answer for entry in ended.entries if entry.answer is not None]
    said = [message for message in ended.output.output if message.content is not None]
    if not answers or not said:
        return None
    answer, calls = answers[-1], said[-1].tool_calls or ()
    content = (answer.content or None) if calls else said[-1].content
    return Said(content, calls, _finish(answer.finish_reason, calls), answer.model.model, _usage_of(ended.output.usage))


def unfulfilled(said: Said, parameters: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return which call does not have the arguments that ``parameters`` of its function ask for, and why; None if all have."""
    for call in said.calls:
        wrong = schema.difference(call.arguments, parameters[call.name]) if call.name in parameters else None
        if wrong is not None:
            return f"the arguments of its call of {call.name} are not what the function's parameters ask for: {wrong}"
    return None


def chat_completion(ended: Finished, said: Said) -> dict[str, Any]:
    """Return the answer of a request that did not stream. Its ``id`` is the run's."""
    calls = {"tool_calls": [call_document(call) for call in said.calls]} if said.calls else {}
    message = {"role": "assistant", "content": said.content, "refusal": None, **calls}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": said.finish}
    document = {**head(ended.run.id, ended.run.started, said.model), "object": "chat.completion", "choices": [choice]}
    return document if said.usage is None else {**document, "usage": said.usage}


def head(run_id: str, started: float, model: str) -> dict[str, Any]:
    """Return what every document about one answer begins with."""
    return {"id": run_id, "created": int(started), "model": model}


def call_document(call: ToolCall) -> dict[str, Any]:
    """Return a call in that API's form."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _finish(reason: str, calls: Sequence[ToolCall]) -> str:
    """Return why the answer ended. Some servers say ``stop`` where functions are to be called; clients go by the reason alone."""
    found = _FINISHES.get(reason, "stop")
    return ("tool_calls" if calls else "stop") if found in {"stop", "tool_calls"} else found


def _usage_of(usage: UsageSum) -> dict[str, int] | None:
    if usage.unreported_calls:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
