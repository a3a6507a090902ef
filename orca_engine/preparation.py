"""What a run does before its first pass, all of it in loop 0: fetch the image, ask which tools there are, have prompts written.

The image and the tools are asked for once for the whole item, whatever runs of it follow; prompts once for each run. What could not
be had leaves the agents that need it unable to speak, and their turns say why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orca_engine.item import Item
from orca_engine.ledger import Allowance, Ledger
from orca_engine.machine import Call, all_of, ask, ask_model
from orca_engine.swarm import Swarm
from orca_engine.tools import toolbox
from orca_engine.transcript import system_message
from orca_engine.visit import Speaker, request_for
from orca_protocol.journal import Outcome, Path, Stop
from orca_protocol.model import Answer, Failure, Image, Message
from orca_protocol.spec import AgentSpec
from orca_protocol.world import FetchedImage, ImageRequest, OfferRequest

PREPARATION = 0
#: the last number of the paths of loop 0: prompts have none
_OFFER, _IMAGE = 1, 2

_PROMPT_WRITER = (
    "You write system prompts for AI agents. Answer with the prompt alone: no title, no quotes, no comment. "
    "Say who the agent is, what it must do, how it works and what its answer must look like."
)

#: an agent's system prompt, or what became of the attempt to have it written
Prompt = Answer | Failure | Stop | str | None


@dataclass(frozen=True, slots=True)
class Supplies:
    """What all runs of an item share."""

    image: Image | Failure | Stop | None = None
    #: by server
    offers: Mapping[str, Outcome] = field(default_factory=dict)
    ledger: Ledger | None = None


async def supply(item: Item, speakers: Sequence[AgentSpec], ledger: Ledger | None) -> Supplies:
    """Return what ``speakers`` need of the world."""
    sources = list(dict.fromkeys(source for agent in speakers for source in agent.sources))
    users = {source: next(agent.agent_name for agent in speakers if source in agent.sources) for source in sources}
    wanted = [
        Call(Path(PREPARATION, 0, place, 0, _OFFER), users[source], OfferRequest(source=source))
        for place, source in enumerate(sources)
    ]
    if item.spec.img is not None:
        wanted.append(Call(Path(PREPARATION, 0, 0, 0, _IMAGE), "img", ImageRequest(url=item.spec.img)))
    outcomes = await all_of(_asked(call) for call in wanted)
    image = None if item.spec.img is None else _image(outcomes.pop())
    return Supplies(image, dict(zip(sources, outcomes, strict=True)), ledger)


async def _asked(call: Call) -> Outcome:
    return await ask(call)


def _image(outcome: Outcome) -> Image | Failure | Stop:
    match outcome:
        case FetchedImage(image=image):
            return image
        case Failure() | Stop():
            return outcome
        case _:
            raise RuntimeError(f"an image was answered by {type(outcome).__name__}")


async def prepare(
    item: Item,
    supplies: Supplies,
    speakers: Sequence[AgentSpec],
    lead: AgentSpec | None,
    task_of: Callable[[int], str],
    *,
    loops_before: int = 0,
    step: int = 0,
) -> Swarm:
    """Return the swarm of ``speakers``, its prompts written: agents with ``auto_generate_prompt`` get theirs from their own model.

    ``task_of`` says what the listed agent at a place works on; ``loops_before`` are the loops that earlier runs of the same item
    have taken, ``step`` what its preparation has taken.
    """
    everybody = (*speakers, *(() if lead is None else (lead,)))
    prompts: dict[str, Prompt] = {agent.agent_name: agent.system_prompt for agent in everybody}
    writers = [
        (place, agent) for place, agent in enumerate(item.spec.agents) if agent.auto_generate_prompt and agent.agent_name in prompts
    ]
    before = loops_before + PREPARATION
    written = await all_of(
        _write_prompt(item, agent, task_of(place), Path(before, step, place), supplies.ledger) for place, agent in writers
    )
    prompts.update((agent.agent_name, outcome) for (_, agent), outcome in zip(writers, written, strict=True))
    ready = {agent.agent_name: _ready(agent, prompts[agent.agent_name], supplies, item.spec.rules) for agent in everybody}
    image = supplies.image if isinstance(supplies.image, Image) else None
    return Swarm(item, lead, ready, loops_before, image=image, ledger=supplies.ledger)


def _ready(agent: AgentSpec, prompt: Prompt, supplies: Supplies, rules: str | None) -> Speaker | Failure | Stop:
    if isinstance(supplies.image, Failure | Stop):
        return supplies.image
    if isinstance(prompt, Failure | Stop):
        return prompt
    box = toolbox(agent, supplies.offers)
    if isinstance(box, Failure | Stop):
        return box
    return Speaker(agent, system_message(agent, prompt.content if isinstance(prompt, Answer) else prompt, rules), box)


async def _write_prompt(item: Item, agent: AgentSpec, task: str, path: Path, ledger: Ledger | None) -> Answer | Failure | Stop:
    facts = [
        f"Agent: {agent.agent_name}",
        f"Role: {agent.role}",
        f"Description: {agent.description}" if agent.description else None,
        f"Prompt so far: {agent.system_prompt}" if agent.system_prompt else None,
        f"Task of the swarm: {task}",
    ]
    messages = (
        Message(role="system", content=_PROMPT_WRITER),
        Message(role="user", content="\n".join(fact for fact in facts if fact)),
    )
    request = request_for(item, agent, path, messages)
    if ledger is None:
        return _written(await _ask(Call(path, agent.agent_name, request), Allowance()))
    with ledger.allowing(request, 1) as allowance:
        return _written(await _ask(Call(path, agent.agent_name, request), allowance))


def _written(outcome: Answer | Failure | Stop) -> Answer | Failure | Stop:
    """A prompt that says nothing would take the place of the agent's own unseen."""
    if isinstance(outcome, Answer) and not outcome.content.strip():
        return Failure(code="prompt_empty", detail="the agent's model was to write its system prompt, and wrote nothing")
    return outcome


async def _ask(call: Call, allowance: Allowance) -> Answer | Failure | Stop:
    if not allowance.covers(call.asked):
        return Stop(reason="budget")
    outcome = await ask_model(call)
    allowance.charge(call.asked, outcome)
    return outcome
