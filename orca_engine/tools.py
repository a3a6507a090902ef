"""An agent's tools: what it is told of them, who answers when it calls one, and how the result is told.

Two kinds. Functions of the caller's (``tools_list_dictionary``) are nobody's here to call: that the model wants one called is the
agent's answer. Tools that MCP servers offer are called, those of one answer side by side, each at a path of its own, and the
model goes on with the results. What a model does wrong (a tool that is not there, arguments that are no object, too many calls at
once) is told to it, and costs it a round. An agent with functions alone has no rounds: a call of another name is its failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Outcome, Stop
from orca_protocol.model import Failure, Message, ToolCall, ToolDefinition
from orca_protocol.spec import AgentSpec
from orca_protocol.world import Offer, ToolRequest, ToolResult

DEFAULT_ROUNDS = 8
#: tools that are called for one answer; more are refused
CALLS_AT_ONCE = 16

_ARGUMENTS_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What one agent may call."""

    tools: tuple[ToolDefinition, ...] = ()
    #: which server answers for a tool; functions of the caller's are not among them
    sources: Mapping[str, str] | None = None

    def ends_with(self, calls: Sequence[ToolCall]) -> bool:
        """Whether one of ``calls`` is for the caller, who must go on."""
        if not calls:
            return False
        functions = {tool.name for tool in self.tools} - set(self.sources or ())
        return any(call.name in functions for call in calls)

    def unknown(self, calls: Sequence[ToolCall]) -> str:
        """Say that ``calls`` are for nobody. The first name is told short and as JSON writes it: the same everywhere."""
        known = ", ".join(tool.name for tool in self.tools) or "it has none"
        return f"the agent called {canonical(calls[0].name[:100]).decode()}, which is none of its functions: {known}"

    def asked(self, calls: Sequence[ToolCall]) -> list[ToolRequest | str]:
        """Return a request for each of ``calls``, or what is wrong with it."""
        return [
            f"at most {CALLS_AT_ONCE} tools are called at once; this one was not" if place >= CALLS_AT_ONCE else self._asked(call)
            for place, call in enumerate(calls)
        ]

    def _asked(self, call: ToolCall) -> ToolRequest | str:
        source = (self.sources or {}).get(call.name)
        if source is None:
            return f"there is no tool of that name; there are: {', '.join(self.sources or ())}"
        try:
            arguments = parse_json(call.arguments.encode(errors="surrogatepass"), max_bytes=_ARGUMENTS_MAX_BYTES, where="arguments")
        except InvalidError as error:
            return f"the arguments are not one strict JSON object ({error.code})"
        if not isinstance(arguments, dict):
            return "the arguments are not a JSON object"
        return ToolRequest(source=source, tool=call.name, arguments=call.arguments)


_EMPTY = Toolbox()


def rounds_of(agent: AgentSpec) -> int:
    """Return how often the agent may call tools within one of its loops."""
    if not agent.sources:
        return 0
    return DEFAULT_ROUNDS if agent.max_tool_rounds is None else agent.max_tool_rounds


def toolbox(agent: AgentSpec, offers: Mapping[str, Outcome]) -> Toolbox | Failure | Stop:
    """Return what ``agent`` may call of what the servers offer, or why it cannot speak: every server must have answered."""
    if agent.tools_list_dictionary is None and not agent.sources:
        return _EMPTY
    functions = [tool.function for tool in agent.tools_list_dictionary or ()]
    offered: list[tuple[ToolDefinition, str]] = []
    for source in agent.sources:
        offer = offers[source]
        if not isinstance(offer, Offer):
            if isinstance(offer, Failure | Stop):
                return offer
            raise _unexpected(offer)
        offered += [(tool, source) for tool in offer.tools if agent.selected_tools is None or tool.name in agent.selected_tools]
    names = [tool.name for tool in functions] + [tool.name for tool, _ in offered]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return Failure(code="tool_twice", detail=f"two of the agent's tools are named {twice!r}; select the ones that are meant")
    missing = [name for name in agent.selected_tools or () if name not in names]
    if missing:
        return Failure(code="tool_unknown", detail=f"no server offers the selected tools {', '.join(missing)}")
    return Toolbox((*functions, *(tool for tool, _ in offered)), {tool.name: source for tool, source in offered})


def told(call: ToolCall, outcome: Outcome | str) -> Message:
    """Return the message that tells the model what became of ``call``."""
    match outcome:
        case ToolResult(content=content, is_error=False):
            text = content
        case ToolResult(content=content):
            text = f"The tool failed: {content}"
        case Failure(code=code, detail=detail):
            text = f"The tool could not be called ({code}): {detail}"
        case str():
            text = f"Not called: {outcome}."
        case _:
            raise _unexpected(outcome)
    return Message(role="tool", content=text, tool_call_id=call.id)


def _unexpected(outcome: object) -> RuntimeError:
    return RuntimeError(f"a tool or its server was answered by {type(outcome).__name__}")
