"""The Swarms API's requests in our own terms. Its field names end here: the engine and the protocol know only ours.

A field that means something here is carried over, null means absent, and a value that asks for what is done anyway is let in.
Everything else is refused by name as ``field_unsupported`` with what to do instead: nothing is accepted and then ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from orca_protocol.canonical import canonical, parse_json
from orca_protocol.conversation import ChatTurn
from orca_protocol.documents import read
from orca_protocol.errors import InvalidError
from orca_protocol.model import Strict
from orca_protocol.spec import SPEC_MAX_BYTES, AgentSpec, ImageUrl, Task


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to do instead of a field; its values that ask for nothing, and those that are carried over: without ``instead``, all."""

    instead: str | None
    harmless: tuple[Any, ...] = ()
    carried: tuple[Any, ...] = ()


Refusals = Mapping[str, Refusal]

_NO_LABELS = Refusal("there is no marketplace here; leave it out", (False, [], ""))
_NO_REASONING = Refusal("this version sends no reasoning settings to models; leave it out, or choose a model by model_name")

OF_SWARMS: Refusals = {
    "service_tier": Refusal('there is one tier; leave it out or send "standard"', ("standard",)),
    "multi_agent_collab_prompt": Refusal("no text is added to prompts; put yours into rules", (False,)),
    "list_all_agents": Refusal("no roster is added to prompts; put yours into rules", (False,)),
    "director_settings": Refusal("describe the director in lead: model_name, system_prompt, max_tokens, temperature"),
    "heavy_swarm_loops_per_agent": Refusal("leave it out: each specialist speaks once", (1,)),
    "heavy_swarm_question_agent_model_name": Refusal("HeavySwarm has one model: name it in lead.model_name"),
    "heavy_swarm_worker_model_name": Refusal("HeavySwarm has one model: name it in lead.model_name"),
}
OF_AGENTS: Refusals = {
    "streaming_on": Refusal("say stream: true for the whole request", (False,)),
    "tools_dictionary": Refusal("its name is tools_list_dictionary", ([],)),
    "tools_list_dictionary": Refusal(None, ([],)),
    "selected_tools": Refusal(None, ([],)),
    "mcp_config": Refusal("name servers in mcp_servers, or one in mcp_url"),
    "mcp_configs": Refusal("name servers in mcp_servers, or one in mcp_url", ([],)),
    "tool_call_summary": Refusal("what tools answered is in the transcript as it is; leave it out", (False,)),
    "handoffs": Refusal("use the swarm type MultiAgentRouter or HierarchicalSwarm", ([],)),
    "llm_args": Refusal("say temperature and max_tokens in the agent; other settings are not sent", ({},)),
    "dynamic_temperature_enabled": Refusal("a temperature is sent as it is given and never drawn; leave it out", (False,)),
    "reasoning_effort": _NO_REASONING,
    "thinking_tokens": _NO_REASONING,
    "reasoning_enabled": Refusal(_NO_REASONING.instead, (False,)),
    **dict.fromkeys(
        (
            *("marketplace_prompt_id", "publish_to_marketplace", "use_cases", "tags"),
            *("capabilities", "category", "is_free", "price_usd"),
        ),
        _NO_LABELS,
    ),
}
OF_AGENT_REQUESTS: Refusals = {
    "imgs": Refusal("a run takes one image: img", ([],)),
    "tools_enabled": Refusal("the node has no tools of its own; name servers in agent_config.mcp_servers", ([],)),
}
#: who leads a type, as that API names it
LEADS = {
    "director_model_name": "HierarchicalSwarm",
    "chairman_model": "LLMCouncil",
    "council_judge_model_name": "CouncilAsAJudge",
}


def turns_of(value: Any) -> Any:
    """Return a conversation as a list: it may come as one message, or as an object whose members are messages, in their order."""
    if not isinstance(value, dict):
        return value
    return [value] if "role" in value or "content" in value else list(value.values())


@dataclass(frozen=True, slots=True)
class Wanted:
    """A swarm that is to be run: its spec, and whether its caller wants to watch."""

    spec: bytes
    is_streamed: bool


class AgentRequest(Strict):
    """One agent and what it is asked; without a task the last message of ``history`` is the task."""

    agent_config: AgentSpec
    task: Task | None = None
    #: a conversation before the task
    history: Annotated[tuple[ChatTurn, ...], Field(max_length=1000, strict=False), BeforeValidator(turns_of)] = ()
    img: ImageUrl | None = None
    stream: bool = False

    @model_validator(mode="after")
    def _something_is_asked(self) -> AgentRequest:
        if self.task is None and not self.history:
            raise ValueError("task is missing; one of task and history is needed")
        return self

    def spec(self) -> bytes:
        """Return the agent as a swarm of one."""
        fields: dict[str, Any] = {
            "name": self.agent_config.agent_name,
            "swarm_type": "SequentialWorkflow",
            "agents": [self.agent_config.document()],
            "task": self.task,
            "messages": [turn.document() for turn in self.history] or None,
            "img": self.img,
        }
        return canonical({name: value for name, value in fields.items() if value is not None})


def swarm_in(body: bytes) -> Wanted:
    """Return the swarm that a body describes; where nothing has to be translated its spec is the body, byte for byte.

    Raises InvalidError ``field_unsupported``, ``field_without_use``, ``schema``.
    """
    document = parse_json(body, max_bytes=SPEC_MAX_BYTES, where="body")
    if not isinstance(document, dict):
        raise InvalidError("schema", "body: a swarm is an object")
    wanted = swarm_of(document)
    return replace(wanted, spec=body) if wanted.spec == canonical(document) else wanted


def swarm_of(document: Mapping[str, Any]) -> Wanted:
    """Return the swarm that an object describes. Raises as ``swarm_in`` does."""
    spec = without(document, OF_SWARMS, "")
    is_streamed = _flag(spec.pop("stream", False), "stream")
    if "messages" in spec:
        spec["messages"] = turns_of(spec["messages"])
    if isinstance(spec.get("agents"), list):
        spec["agents"] = [_agent(agent, f"agents[{index}].") for index, agent in enumerate(spec["agents"])]
    _name_the_lead(spec)
    return Wanted(canonical(spec), is_streamed)


def agent_in(document: Any, where: str) -> AgentRequest:
    """Return what an agent is asked by an object of the Swarms API. Raises InvalidError naming the field."""
    if isinstance(document, dict):
        document = without(document, OF_AGENT_REQUESTS, "")
        config = document.get("agent_config")
        if isinstance(config, dict):
            streams = _flag(config.get("streaming_on") or False, "agent_config.streaming_on")
            rest = {name: value for name, value in config.items() if name != "streaming_on"}
            document["agent_config"] = _agent(rest, "agent_config.")
            document["stream"] = document.get("stream", False) or streams
    return read(AgentRequest, canonical(document), max_bytes=SPEC_MAX_BYTES, where=where)


def without(document: Mapping[str, Any], refusals: Refusals, where: str) -> dict[str, Any]:
    """Return ``document`` without nulls and without what asks for nothing. Raises InvalidError ``field_unsupported``."""
    kept = {name: value for name, value in document.items() if value is not None}
    for name in kept.keys() & refusals.keys():
        refusal = refusals[name]
        if _is_among(kept[name], refusal.harmless):
            del kept[name]
        elif refusal.instead is not None and not _is_among(kept[name], refusal.carried):
            raise InvalidError("field_unsupported", f"{where}{name}: {refusal.instead}")
    return kept


def _is_among(given: Any, values: tuple[Any, ...]) -> bool:
    return any(type(given) is type(value) and given == value for value in values)


def _agent(agent: Any, where: str) -> Any:
    return without(agent, OF_AGENTS, where) if isinstance(agent, dict) else agent


def _name_the_lead(spec: dict[str, Any]) -> None:
    """Carry the name of a leader's model over to ``lead``."""
    for name, kind in LEADS.items():
        if name not in spec:
            continue
        model = spec.pop(name)
        if _canonical_type(spec.get("swarm_type")) != kind:
            raise InvalidError("field_without_use", f"{name}: it is for {kind}")
        if "lead" in spec:
            raise InvalidError("field_unsupported", f"{name}: lead is given as well; name the model in lead.model_name alone")
        spec["lead"] = {"model_name": model}


def _canonical_type(name: Any) -> Any:
    return "HierarchicalSwarm" if name == "HiearchicalSwarm" else name


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidError("schema", f"body: {name}: Input should be a valid boolean")
    return value
