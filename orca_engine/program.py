"""From an item to the program that runs it, and from the program's end to the output.

``admit`` refuses what this engine cannot do before anything was asked; nothing in a spec is accepted and then ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from orca_engine import schema
from orca_engine.bounds import Bound, bound_of, cast, ceilings_of, ledger_of, runs_of, settled, speakers, type_of
from orca_engine.item import Item
from orca_engine.ledger import Ledger
from orca_engine.machine import Program
from orca_engine.preparation import Supplies, prepare, supply
from orca_engine.swarm import Ended, Onward, Status, Swarm, at_best_partial, was_stopped
from orca_engine.swarm_type import SPECIAL_FIELDS
from orca_engine.swarms import SWARMS
from orca_engine.transcript import Said, Transcript, Turn
from orca_protocol.errors import InvalidError
from orca_protocol.journal import ENTRIES_MAX, Entry, Stop, StopReason
from orca_protocol.model import Answer, Failure, ModelRequest
from orca_protocol.output import Output, OutputMessage, UsageSum
from orca_protocol.spec import DEFAULT_SWARM_TYPE, AgentSpec, SwarmSpec

#: system messages of all agents together, in characters: an auditor holds them all at once
PROMPTS_MAX = 16 * 1024 * 1024
#: where what a model decided goes on within loop 0, after the decision and its repair
_ONWARD_STEP = 2


def calls_at_most(spec: SwarmSpec) -> int:
    """Return the upper bound on model calls of a run of ``spec``, known before the first one."""
    return bound_of(spec).calls


def output_tokens_at_most(spec: SwarmSpec) -> int:
    """Return the upper bound on generated tokens of a run of ``spec``."""
    return bound_of(spec).output_tokens


def admit(spec: SwarmSpec) -> Bound:
    """Return what a run of ``spec`` uses at most.

    Raises InvalidError if this engine cannot run it exactly as it is written; the detail names the field.
    """
    spec = settled(spec)
    _admit_agents(spec)
    _admit_fields(spec)
    for index, agent in enumerate(spec.agents):
        _admit_tools(agent, f"agents[{index}]")
    type_of(spec).check(spec)
    bound = bound_of(spec)
    if bound.prompt_characters > PROMPTS_MAX:
        raise InvalidError(
            "prompts_too_long",
            f"rules: with all prompts they make {bound.prompt_characters} characters; at most {PROMPTS_MAX} are allowed",
        )
    if bound.entries > ENTRIES_MAX:
        raise InvalidError(
            "too_many_calls",
            f"max_loops: this swarm would make up to {bound.entries} calls, of models and tools; at most {ENTRIES_MAX} are allowed",
        )
    return bound


def _admit_agents(spec: SwarmSpec) -> None:
    name, count = spec.canonical_type, len(spec.agents)
    least, most = type_of(spec).agents
    if count < least and not count:
        raise InvalidError("no_agents", f"agents: {name} needs at least {_agents(least)}")
    if count < least:
        raise InvalidError("agents_too_few", f"agents: {name} needs at least {_agents(least)}, not {count}")
    if most is not None and count > most:
        why = f"makes its own from lead; leave agents out, not {count}" if not most else f"has at most {_agents(most)}, not {count}"
        raise InvalidError("agents_too_many", f"agents: {name} {why}")


def _agents(count: int) -> str:
    return "one agent" if count == 1 else f"{count} agents"


def _admit_fields(spec: SwarmSpec) -> None:
    name, kind = spec.canonical_type, type_of(spec)
    for field in SPECIAL_FIELDS:
        if getattr(spec, field) is not None and field not in kind.uses:
            users = ", ".join(other for other, row in SWARMS.items() if field in row.uses)
            raise InvalidError("field_without_use", f"{field}: {name} does not use it; it is for {users}")
    if spec.max_loops != 1 and not kind.has_loops:
        raise InvalidError("field_without_use", f"max_loops: {name} has no loops; leave the field out")
    if spec.tasks is not None and kind.tasks == "refused":
        raise InvalidError("field_without_use", f"tasks: {name} decides for one task; give task, or one spec for each")
    if spec.img is not None and not spec.img.startswith(("https://", "http://", "data:image/")):
        raise InvalidError("img_malformed", "img: an https:// or http:// URL or a data:image/…;base64, URI is needed")


def _admit_tools(agent: AgentSpec, where: str) -> None:
    for field in ("selected_tools", "max_tool_rounds"):
        if getattr(agent, field) is not None and not agent.sources:
            raise InvalidError("field_without_use", f"{where}.{field}: the agent has no mcp_servers; leave the field out")
    names = [tool.function.name for tool in agent.tools_list_dictionary or ()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidError("tool_twice", f"{where}.tools_list_dictionary: two functions are named {twice!r}; rename one of them")
    if agent.response_schema is not None:
        schema.refuse(agent.response_schema, f"{where}.response_schema")


def program_of(item: Item, admitted: Bound | None = None) -> Program[Ended]:
    """Return the program of ``item``, to be run by a Machine; ``admitted`` is what ``admit`` gave for its spec, if it was asked.

    Raises InvalidError as ``admit`` and ``ceilings_of`` do, before anything runs.
    """
    bound = admitted or admit(item.spec)
    ledger = ledger_of(bound, item.ceilings or ceilings_of(item.spec, bound=bound))
    return _run(replace(item, spec=settled(item.spec)), ledger)


async def _run(item: Item, ledger: Ledger | None) -> Ended:
    """Run the swarm once, or once for each task, one after the other: no run knows of another one."""
    spec, ends = item.spec, list[Ended]()
    supplies = await supply(item, cast(spec), ledger)
    for number, one in enumerate(runs_of(spec)):
        ends.append(await _run_once(replace(item, spec=one), supplies, loops_before=number * (spec.max_loops + 1)))
        if was_stopped(ends[-1].transcript.turns):
            break
    return ends[0] if spec.tasks is None or type_of(spec).tasks == "own" else _together(ends, len(spec.tasks))


async def _run_once(item: Item, supplies: Supplies, loops_before: int) -> Ended:
    decided = await type_of(item.spec).run(await _prepared(item, supplies, loops_before))
    if isinstance(decided, Ended):
        return decided
    item = replace(item, spec=decided.spec)
    end = await type_of(item.spec).run(await _prepared(item, supplies, loops_before, _ONWARD_STEP))
    if isinstance(end, Onward):
        raise RuntimeError(f"{item.spec.canonical_type} was chosen by a decision and may not decide again")
    return _after(decided, end)


async def _prepared(item: Item, supplies: Supplies, loops_before: int, step: int = 0) -> Swarm:
    kind, spec = type_of(item.spec), item.spec
    lead, task_of = kind.lead_of(spec), partial(kind.task_of, spec)
    return await prepare(item, supplies, speakers(spec), lead, task_of, loops_before=loops_before, step=step)


def _after(before: Onward, end: Ended) -> Ended:
    """Return ``end`` with what was said before it."""
    turns = (*before.turns, *end.transcript.turns)
    whole = replace(end, transcript=replace(end.transcript, turns=turns), notes=(*before.notes, *end.notes), ran=before.spec)
    return at_best_partial(whole) if any(turn.text is None for turn in before.turns) else whole


def _together(ends: Sequence[Ended], tasks: int) -> Ended:
    """Return one end for the runs of all tasks: each turn says which task it is about."""
    turns = tuple(turn.about(number) for number, end in enumerate(ends) for turn in end.transcript.turns)
    last = tuple(turn.about(number) for number, end in enumerate(ends) for turn in end.transcript.last_step)
    statuses: set[Status] = {end.status for end in ends}
    if len(ends) < tasks or len(statuses) > 1:
        statuses = {"partial" if any(turn.text is not None for turn in turns) else "error"}
    return Ended(
        Transcript((), turns, last),
        statuses.pop(),
        tuple(note.model_copy(update={"task": number}) for number, end in enumerate(ends) for note in end.notes),
        completed=sum(end.status == "success" for end in ends),
    )


def output_of(item: Item, end: Ended, entries: Iterable[Entry]) -> Output:
    """Return the output of a run that ended with ``end`` over ``entries``."""
    spec = item.spec
    ran = end.ran or settled(spec)
    turns = end.transcript.turns if spec.return_history else end.transcript.last_step
    entries = tuple(entries)
    return Output(
        status=end.status,
        swarm_type=spec.swarm_type or DEFAULT_SWARM_TYPE,
        resolved_swarm_type=ran.canonical_type,
        output=tuple(_message(turn) for turn in turns),
        usage=usage_of(entries),
        stopped=_stopped(entries, end.transcript.turns),
        notes=end.notes or None,
        tasks_completed=end.completed,
        votes=end.votes,
        generated_spec=end.ran if end.ran is not None and end.ran.agents != spec.agents else None,
    )


def usage_of(entries: Iterable[Entry]) -> UsageSum:
    """Sum what the providers reported."""
    asked = [entry for entry in entries if entry.stop is None and isinstance(entry.request, ModelRequest)]
    usages = [entry.answer.usage for entry in asked if entry.answer is not None]
    reported = [usage for usage in usages if usage is not None]
    return UsageSum(  # cannot overflow: one usage and the number of entries are both bounded
        calls=len(asked),
        input_tokens=sum(usage.input_tokens for usage in reported),
        output_tokens=sum(usage.output_tokens for usage in reported),
        unreported_calls=len(usages) - len(reported),
    )


def _stopped(entries: Iterable[Entry], turns: Iterable[Turn]) -> StopReason | None:
    """Return what ended the run: a stop from outside, or a budget that was spent before something was asked."""
    of_entries = (entry.stop for entry in entries if entry.stop is not None)
    of_turns = (turn.outcome.reason for turn in turns if isinstance(turn.outcome, Stop))
    return next(chain(of_entries, of_turns), None)


def _message(turn: Turn) -> OutputMessage:
    match turn.outcome:
        case Answer(tool_calls=calls):
            return OutputMessage(role=turn.name, content=turn.text, task=turn.task, tool_calls=calls)
        case Said(content=content):
            return OutputMessage(role=turn.name, content=content, task=turn.task)
        case Failure() as failure:
            return OutputMessage(role=turn.name, content=None, error=failure, task=turn.task)
        case Stop(reason=reason):
            failure = Failure(code=reason, detail=_STOPPED[reason])
            return OutputMessage(role=turn.name, content=None, error=failure, task=turn.task)


_STOPPED = {
    "cancelled": "the run was cancelled before this agent answered",
    "deadline": "the run's time was up before this agent answered",
    "budget": "the run's budget was spent before this agent answered",
}
