"""From an item to the program that runs it, and from the program's end to the output.

``admit`` refuses what this engine cannot do before anything was asked; nothing in a spec is accepted and then ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

from orca_engine.item import Item
from orca_engine.machine import Program
from orca_engine.swarm import Ended, prepare
from orca_engine.swarms import SWARMS
from orca_engine.transcript import Turn
from orca_protocol.errors import InvalidError
from orca_protocol.journal import ENTRIES_MAX, Entry, Stop
from orca_protocol.model import Answer, Failure
from orca_protocol.output import Output, OutputMessage, UsageSum
from orca_protocol.spec import DEFAULT_SWARM_TYPE, SwarmSpec

#: system messages of all agents together, in characters: an auditor holds them all at once
PROMPTS_MAX = 16 * 1024 * 1024


def calls_at_most(spec: SwarmSpec) -> int:
    """Return the upper bound on model calls of a run of ``spec``, known before the first one."""
    written = sum(agent.auto_generate_prompt for agent in spec.agents)
    return written + spec.max_loops * sum(agent.max_loops for agent in spec.agents)


def output_tokens_at_most(spec: SwarmSpec) -> int:
    """Return the upper bound on generated tokens of a run of ``spec``."""
    per_pass = sum(agent.max_loops * agent.max_tokens for agent in spec.agents)
    written = sum(agent.max_tokens for agent in spec.agents if agent.auto_generate_prompt)
    return written + spec.max_loops * per_pass


def prompt_characters(spec: SwarmSpec) -> int:
    """Return how many characters the agents' system messages have together: each agent gets its own copy of the rules."""
    return sum(len(agent.system_prompt or "") + len(spec.rules or "") + len(agent.role) for agent in spec.agents)


def admit(spec: SwarmSpec) -> None:
    """Raise InvalidError if this engine cannot run ``spec`` exactly as it is written; the detail names the field."""
    if spec.canonical_type not in SWARMS:
        raise InvalidError(
            "swarm_type_unsupported", f"swarm_type: {spec.swarm_type} is not run by this version; it runs {', '.join(SWARMS)}"
        )
    if not spec.agents:
        raise InvalidError("no_agents", f"agents: {spec.canonical_type} needs at least one agent")
    if spec.rearrange_flow is not None:
        raise InvalidError("flow_without_use", f"rearrange_flow: {spec.canonical_type} has no flow; only AgentRearrange does")
    if spec.img is not None:
        raise InvalidError("img_unsupported", "img: this version sends no images to models; leave the field out")
    if spec.schedule is not None:
        raise InvalidError("schedule_unsupported", "schedule: this version runs at once and has no scheduler; leave the field out")
    if prompt_characters(spec) > PROMPTS_MAX:
        raise InvalidError(
            "prompts_too_long",
            f"rules: with all prompts they make {prompt_characters(spec)} characters; at most {PROMPTS_MAX} are allowed",
        )
    if calls_at_most(spec) > ENTRIES_MAX:
        raise InvalidError(
            "too_many_calls",
            f"max_loops: this swarm would make up to {calls_at_most(spec)} calls; at most {ENTRIES_MAX} are allowed",
        )


def program_of(item: Item) -> Program[Ended]:
    """Return the program of ``item``, to be run by a Machine. Raises InvalidError as ``admit`` does, before anything runs."""
    admit(item.spec)
    return _run(item)


async def _run(item: Item) -> Ended:
    swarm = await prepare(item)
    return await SWARMS[item.spec.canonical_type](swarm)


def output_of(item: Item, end: Ended, entries: Iterable[Entry]) -> Output:
    """Return the output of a run that ended with ``end`` over ``entries``."""
    spec = item.spec
    turns = end.transcript.turns if spec.return_history else end.transcript.last_step
    entries = tuple(entries)
    return Output(
        status=end.status,
        swarm_type=spec.swarm_type or DEFAULT_SWARM_TYPE,
        resolved_swarm_type=spec.canonical_type,
        output=tuple(_message(turn) for turn in turns),
        usage=usage_of(entries),
        stopped=next((entry.stop for entry in entries if entry.stop is not None), None),
    )


def usage_of(entries: Iterable[Entry]) -> UsageSum:
    """Sum what the providers reported."""
    asked = [entry for entry in entries if entry.stop is None]
    usages = [entry.answer.usage for entry in asked if entry.answer is not None]
    reported = [usage for usage in usages if usage is not None]
    return UsageSum(  # cannot overflow: one usage and the number of entries are both bounded
        calls=len(asked),
        input_tokens=sum(usage.input_tokens for usage in reported),
        output_tokens=sum(usage.output_tokens for usage in reported),
        unreported_calls=len(usages) - len(reported),
    )


def _message(turn: Turn) -> OutputMessage:
    match turn.outcome:
        case Answer(content=content):
            return OutputMessage(role=turn.name, content=content)
        case Failure() as failure:
            return OutputMessage(role=turn.name, content=None, error=failure)
        case Stop(reason=reason):
            return OutputMessage(role=turn.name, content=None, error=Failure(code=reason, detail=_STOPPED[reason]))


_STOPPED = {
    "cancelled": "the run was cancelled before this agent answered",
    "deadline": "the run's time was up before this agent answered",
    "budget": "the run's budget was spent before this agent answered",
}
