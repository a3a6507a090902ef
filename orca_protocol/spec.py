"""SwarmSpec, AgentSpec and ScheduleSpec: the work item as users write it.

Fields, defaults and spellings are those of the Swarms API of March 2025 (seed 002 §1-4), with what came since (``tasks``,
``messages``) and what single types need (``lead`` and below). Unknown fields are refused with their path; a field that the
type has no use for is refused by the engine. A type's name is echoed as it was given; ``canonical_type`` says which one is
meant. The digest of a spec is over the bytes received, never over a re-serialisation.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orca_protocol.budget import Budget
from orca_protocol.conversation import ChatTurn, broken_at
from orca_protocol.documents import read
from orca_protocol.model import Strict, ToolDefinition
from orca_protocol.world import Source

SPEC_MAX_BYTES = 4 * 1024 * 1024
#: of one answer, at most
MAX_TOKENS = 2_000_000

#: every name of the field that this protocol knows; which of them an engine runs is the engine's table
SWARM_TYPES = (
    "AgentRearrange",
    "MixtureOfAgents",
    "SpreadSheetSwarm",
    "SequentialWorkflow",
    "ConcurrentWorkflow",
    "GroupChat",
    "MultiAgentRouter",
    "AutoSwarmBuilder",
    "HierarchicalSwarm",
    "auto",
    "MajorityVoting",
    "RoundRobin",
    "DebateWithJudge",
    "LLMCouncil",
    "CouncilAsAJudge",
    "HeavySwarm",
    "PlannerWorkerSwarm",
    "BatchedGridWorkflow",
    "GraphWorkflow",
)
DEFAULT_SWARM_TYPE = "SequentialWorkflow"
#: spellings that are in use beside the right one
_SPELLINGS = {"HiearchicalSwarm": "HierarchicalSwarm", "SpreadsheetSwarm": "SpreadSheetSwarm"}

#: date and time of RFC 3339 without its time zone being obligatory (then ``timezone`` gives it)
_DATE_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?$"


def _known_type(name: str) -> str:
    if _SPELLINGS.get(name, name) not in SWARM_TYPES:
        raise ValueError(f"unknown swarm type {name[:60]!r}; known are {', '.join(SWARM_TYPES)}")
    return name


def _none_is_empty(value: Any) -> Any:
    return () if value is None else value


#: characters of a text
TEXT_MAX = 1_000_000
Text = Annotated[str, Field(max_length=TEXT_MAX)]
#: characters of an address, or of the image itself as a data URI: what a spec of ``SPEC_MAX_BYTES`` has room for beside the rest
IMAGE_URL_MAX = 3_500_000
ImageUrl = Annotated[str, Field(max_length=IMAGE_URL_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Loops = Annotated[int, Field(ge=1, le=1000)]
Task = Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]
MaxTokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]


class ScheduleSpec(Strict):
    """When to run. A time without an offset is local time in ``timezone`` (an IANA name)."""

    scheduled_time: Annotated[str, Field(pattern=_DATE_TIME)]
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"


class FunctionTool(Strict):
    """A function that the caller will call, in OpenAI's form: that the model wants it called is the agent's answer."""

    type: Literal["function"] = "function"
    function: ToolDefinition


class AgentSpec(Strict):
    """One agent: data, not an object with clients and memory."""

    agent_name: Name
    description: Text | None = None
    system_prompt: Text | None = None
    model_name: Name
    #: one more model call writes the system prompt
    auto_generate_prompt: bool = False
    max_tokens: MaxTokens = 8192
    temperature: Temperature = 0.5
    #: free text; anything but the default is told to the model
    role: Name = "worker"
    #: calls at each visit; only the last answer enters the transcript
    max_loops: Loops = 1
    #: arrays here are not strict, like ``SwarmSpec.agents``, within which they stand
    tools_list_dictionary: Annotated[tuple[FunctionTool, ...], Field(min_length=1, max_length=100, strict=False)] | None = None
    #: MCP servers whose tools the agent may call: the operator's name for one, or its URL if the operator admits that
    mcp_servers: Annotated[tuple[Source, ...], Field(min_length=1, max_length=20, strict=False)] | None = None
    #: one more of them, as the Swarms API spells it
    mcp_url: Source | None = None
    #: which of the servers' tools; absent: all that they offer
    selected_tools: Annotated[tuple[Name, ...], Field(min_length=1, max_length=200, strict=False)] | None = None
    #: how often an agent may call tools before it must answer; absent: 8
    max_tool_rounds: Annotated[int, Field(ge=1, le=50)] | None = None
    #: a JSON schema that each answer must fulfil; one that does not is pointed out to the model once
    response_schema: dict[str, Any] | None = None
    #: have the journal hold the log probability of each token, from a provider that gives them
    logprobs: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The MCP servers that offer the agent tools, each once."""
        if self.mcp_servers is None and self.mcp_url is None:  # asked for very often, and nearly always so
            return ()
        return tuple(dict.fromkeys((*(self.mcp_servers or ()), *(() if self.mcp_url is None else (self.mcp_url,)))))


class LeadSpec(Strict):
    """Who decides, or has the last word: router, director, consensus, chairman, planner, selector or builder of a swarm."""

    #: absent: the type's own name for it
    agent_name: Name | None = None
    model_name: Name
    #: absent: the type's own
    system_prompt: Text | None = None
    max_tokens: MaxTokens = 8192
    temperature: Temperature = 0.5


class NodeSpec(Strict):
    """A place in a graph, and the agent that stands there."""

    name: Name
    agent_name: Name


class Condition(Strict):
    """What the source's answer must be like: every part that is given must hold, letter for letter."""

    contains: Task | None = None
    lacks: Task | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Condition:
        if self.contains is None and self.lacks is None:
            raise ValueError("a condition says contains, lacks, or both")
        return self

    def holds(self, answer: str) -> bool:
        """Whether ``answer`` is so."""
        return (self.contains is None or self.contains in answer) and (self.lacks is None or self.lacks not in answer)


class EdgeSpec(Strict):
    """The target reads the source's answer, if there is one and the condition holds."""

    source: Name
    target: Name
    condition: Condition | None = None


class SwarmSpec(Strict):
    """A swarm and its task."""

    name: Annotated[str, Field(max_length=100)] | None = None
    description: Text | None = None
    #: not strict only so far as that a JSON array may become a tuple; null means none
    agents: Annotated[tuple[AgentSpec, ...], Field(max_length=10_000, strict=False), BeforeValidator(_none_is_empty)] = ()
    #: passes over the whole swarm; what a pass is depends on the type
    max_loops: Loops = 1
    swarm_type: Annotated[str, AfterValidator(_known_type)] | None = None
    rearrange_flow: Text | None = None
    #: one of ``task``, ``tasks`` and ``messages`` is needed; ``messages`` may stand before a task
    task: Task | None = None
    #: the swarm runs once for each, or as its type says
    tasks: Annotated[tuple[Task, ...], Field(min_length=1, max_length=1000)] | None = None
    #: a conversation before the task; without a task, what the user said last is the task
    messages: Annotated[tuple[ChatTurn, ...], Field(min_length=1, max_length=1000)] | None = None
    img: ImageUrl | None = None
    #: false: the answer holds only the messages of the last step
    return_history: bool = True
    #: appended to every agent's system message
    rules: Text | None = None
    schedule: ScheduleSpec | None = None
    #: what the run may use at most
    budget: Budget | None = None
    lead: LeadSpec | None = None
    #: MajorityVoting: a model's judgement (the default), or the count of equal answers
    voting: Literal["consensus", "exact"] | None = None
    #: GroupChat: everybody in listed order (the default), or who bids most
    speaker_selection: Literal["round_robin", "bidding"] | None = None
    #: HierarchicalSwarm: whether the director has the last word (the default)
    synthesis: bool | None = None
    #: the most agents or tasks that a model's plan may have; absent: 10
    plan_max: Annotated[int, Field(ge=1, le=100)] | None = None
    #: AutoSwarmBuilder: models that the agents may have; the first is the default; absent: the lead's
    allowed_models: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] | None = None
    #: GraphWorkflow: absent: one for each agent, by its name
    nodes: Annotated[tuple[NodeSpec, ...], Field(min_length=1, max_length=10_000)] | None = None
    edges: Annotated[tuple[EdgeSpec, ...], Field(max_length=10_000)] | None = None

    @model_validator(mode="after")
    def _agents_are_distinct(self) -> SwarmSpec:
        names: set[str] = set()
        for index, agent in enumerate(self.agents):
            if agent.agent_name in names:
                raise ValueError(f"agents[{index}].agent_name {agent.agent_name!r} is used twice; names key the transcript")
            names.add(agent.agent_name)
        if self.lead is not None and self.lead.agent_name in names:
            raise ValueError(f"lead.agent_name {self.lead.agent_name!r} is an agent's name already; names key the transcript")
        return self

    @model_validator(mode="after")
    def _there_is_a_task(self) -> SwarmSpec:
        if self.task is not None and self.tasks is not None:
            raise ValueError("task and tasks are given; one of them says what is to be done")
        if self.messages is None:
            if self.task is None and self.tasks is None:
                raise ValueError("task is missing; one of task, tasks and messages is needed")
            return self
        if self.messages[0].role != "user":
            raise ValueError("messages[0].role: a conversation begins with the user")
        broken = broken_at(self.messages)
        if broken is not None:
            raise ValueError(f"messages[{broken[0]}].{broken[1]}")
        if self.task is None and self.tasks is None and self.messages[-1].role == "assistant":
            raise ValueError(f"messages[{len(self.messages) - 1}].role: without a task the last message is the user's or a tool's")
        return self

    @property
    def asked(self) -> str:
        """What one run is to do: the task, or without one what the user said last; RuntimeError for ``tasks``."""
        if self.task is not None:
            return self.task
        if self.tasks is not None or self.messages is None:
            raise RuntimeError("a spec with tasks is not one run")
        return next(turn.content or "" for turn in reversed(self.messages) if turn.role == "user")

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every model that a run may ask, each once."""
        lead = () if self.lead is None else (self.lead.model_name,)
        return tuple(dict.fromkeys((*(agent.model_name for agent in self.agents), *lead, *(self.allowed_models or ()))))

    @property
    def canonical_type(self) -> str:
        """The type that is meant, in its right spelling."""
        given = self.swarm_type or DEFAULT_SWARM_TYPE
        return _SPELLINGS.get(given, given)


def read_spec(data: bytes, *, where: str = "spec") -> SwarmSpec:
    """Parse a SwarmSpec from the bytes a user sent. Raises InvalidError naming the field."""
    return read(SwarmSpec, data, max_bytes=SPEC_MAX_BYTES, where=where)
