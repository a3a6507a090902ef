"""What a run tells whoever follows it. Events are for people and progress bars; the journal is the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orca_agent.work.steps import Step
from orca_protocol.journal import Outcome, Path


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run was begun, or taken up again with ``answered`` entries already in the journal."""

    run_id: str
    answered: int
    #: calls that were under way when the run was interrupted; they are asked once more
    lost: int
    #: seconds until it is ended by its deadline, or None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class ModelResolved:
    """The spec's ``name`` will be answered by ``provider``'s ``model``; ``alias`` if an operator's rule said so."""

    name: str
    provider: str
    model: str
    alias: bool


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The first call of a step is about to be asked; those of a parallel step come together."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepFinished:
    """Every call of the step has its entry."""

    step: Step


@dataclass(frozen=True, slots=True)
class CallStarted:
    """An agent is being asked, or something for it; ``of`` is the spec's own name for the model that answers, or the tool's."""

    path: Path
    name: str
    of: str = ""
    #: ``model``, ``tool``, or what else the engine asks for
    asks: str = "model"


@dataclass(frozen=True, slots=True)
class Delta:
    """Some more text of an answer under way."""

    path: Path
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class CallRestarted:
    """The call is made again; the deltas so far are void."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class CallFinished:
    """The call's entry is in the journal."""

    path: Path
    name: str
    outcome: Outcome
    seconds: float
    #: of these, what it took to make the answer durable
    journal_seconds: float = 0.0


Event = RunStarted | ModelResolved | StepStarted | StepFinished | CallStarted | Delta | CallRestarted | CallFinished
OnEvent = Callable[[Event], None]
