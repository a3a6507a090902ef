"""Flows: ``A -> B, C``. Steps are separated by ``->``, the agents of a step by ``,``; blanks around names do not count.

A name that holds a separator, or begins with a quotation mark, is written as a JSON string: ``"B -> C" -> D``. A comma at the
end of a step is nothing; an empty step and an unknown name are errors that say where they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError
from orca_protocol.spec import AgentSpec

#: the step at which a person is asked, unless an agent has that name
HUMAN = "H"

_BLANKS = re.compile(r"\s*")
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")\s*(?=->|,|\Z)', re.DOTALL)
_MARK = re.compile(r"->|,|\Z")
_NAME_MAX_BYTES = 64 * 1024

#: a person, where an agent could stand
HUMAN_STEP: Final = "human"

Speaker = AgentSpec | Literal["human"]
Steps = tuple[tuple[Speaker, ...], ...]


def parse_flow(flow: str, agents: Mapping[str, AgentSpec]) -> Steps:
    """Return the speakers of each step. Raises InvalidError ``flow_…``."""
    steps: list[tuple[Speaker, ...]] = []
    step: list[Speaker] = []
    for name, at, mark in _parts(flow):
        where = f"rearrange_flow: step {len(steps) + 1}, at character {at + 1}"
        is_end_of_step = mark != ","
        if name:
            step.append(_speaker(name, agents, where))
        elif not (step and is_end_of_step):  # A comma may end a step; nothing else may stand for nothing.
            raise InvalidError(
                "flow_malformed", f"{where}: a name is missing; write names separated by , within and -> between steps"
            )
        if is_end_of_step:
            steps.append(tuple(step))
            step = []
    return tuple(steps)


def _parts(flow: str) -> Iterator[tuple[str, int, str]]:
    """Give each name with its place and the mark after it; "" after the last one."""
    at = 0
    while True:
        start = _end(_BLANKS.match(flow, at))
        quoted = _QUOTED.match(flow, start)
        mark = _MARK.search(flow, start if quoted is None else quoted.end())
        if mark is None:
            raise RuntimeError("the end of a flow is a mark")
        yield (_unquoted(quoted.group(1), start) if quoted else flow[start : mark.start()].rstrip()), start, mark.group()
        if not mark.group():
            return
        at = mark.end()


def _end(match: re.Match[str] | None) -> int:
    if match is None:
        raise RuntimeError("no blanks are blanks, too")
    return match.end()


def _unquoted(text: str, at: int) -> str:
    try:
        name = parse_json(text.encode(errors="surrogatepass"), max_bytes=_NAME_MAX_BYTES, where="a quoted name")
    except InvalidError as error:
        raise InvalidError(
            "flow_malformed", f"rearrange_flow: at character {at + 1}: what stands in quotation marks is no JSON string"
        ) from error
    return str(name)


def _speaker(name: str, agents: Mapping[str, AgentSpec], where: str) -> Speaker:
    agent = agents.get(name)
    if agent is not None:
        return agent
    if name == HUMAN:
        return HUMAN_STEP
    raise InvalidError(
        "flow_agent_unknown", f"{where}: no agent is named {canonical(name[:100]).decode()}; agents are {', '.join(agents)}"
    )
