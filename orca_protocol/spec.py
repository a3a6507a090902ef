"""SwarmSpec, AgentSpec and ScheduleSpec: the work item as users write it.

Fields, defaults and spellings are those of the Swarms API of March 2025 (seed 002 §1-4). Unknown fields are refused
with their path. A type's name is echoed as it was given; ``canonical_type`` says which one is meant.
The digest of a spec is over the bytes received, never over a re-serialisation.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orca_protocol.documents import read
from orca_protocol.model import Strict

SPEC_MAX_BYTES = 4 * 1024 * 1024

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
)
DEFAULT_SWARM_TYPE = "SequentialWorkflow"
#: spellings that are in use beside the right one
_SPELLINGS = {"HiearchicalSwarm": "HierarchicalSwarm", "SpreadsheetSwarm": "SpreadSheetSwarm"}

#: date and time of RFC 3339 without its time zone being obligatory (then ``timezone`` gives it)
_DATE_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?$"


def _known_type(name: str) -> str:
    if _SPELLINGS.get(name, name) not in SWARM_TYPES:
        raise ValueError(f"unknown swarm type {name[:60]!r}; known are {', '.join(SWARM_TYPES)}")
    return name


def _none_is_empty(value: Any) -> Any:
    return () if value is None else value


Text = Annotated[str, Field(max_length=1_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Loops = Annotated[int, Field(ge=1, le=1000)]


class ScheduleSpec(Strict):
    """When to run. A time without an offset is local time in ``timezone`` (an IANA name)."""

    scheduled_time: Annotated[str, Field(pattern=_DATE_TIME)]
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"


class AgentSpec(Strict):
    """One agent: data, not an object with clients and memory."""

    agent_name: Name
    description: Text | None = None
    system_prompt: Text | None = None
    model_name: Name
    #: one more model call writes the system prompt
    auto_generate_prompt: bool = False
    max_tokens: Annotated[int, Field(ge=1, le=2_000_000)] = 8192
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    #: free text; anything but the default is told to the model
    role: Name = "worker"
    #: calls at each visit; only the last answer enters the transcript
    max_loops: Loops = 1


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
    task: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    img: Text | None = None
    #: false: the answer holds only the messages of the last step
    return_history: bool = True
    #: appended to every agent's system message
    rules: Text | None = None
    schedule: ScheduleSpec | None = None

    @model_validator(mode="after")
    def _agents_are_distinct(self) -> SwarmSpec:
        names: set[str] = set()
        for index, agent in enumerate(self.agents):
            if agent.agent_name in names:
                raise ValueError(f"agents[{index}].agent_name {agent.agent_name!r} is used twice; names key the transcript")
            names.add(agent.agent_name)
        return self

    @property
    def canonical_type(self) -> str:
        """The type that is meant, in its right spelling."""
        given = self.swarm_type or DEFAULT_SWARM_TYPE
        return _SPELLINGS.get(given, given)


def read_spec(data: bytes, *, where: str = "spec") -> SwarmSpec:
    """Parse a SwarmSpec from the bytes a user sent. Raises InvalidError naming the field."""
    return read(SwarmSpec, data, max_bytes=SPEC_MAX_BYTES, where=where)
