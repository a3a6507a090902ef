"""The round clock: which round a slot belongs to, and when what is done for a round.

Round R is worked on while it lasts. What came of it is submitted at the start of R+1, audited right after, and paid by a
distribution list that is made in R+2, once the submissions for R+1, which carry the verdicts on R, are all on chain:

    round R      | work ..........................................|
    round R+1    | submissions of R | audits of R | ..............|
    round R+2    | submissions of R+1 | list of R ................|
    round R+3    | payout of R, after everybody could vote on its list

Windows are half-open: ``first`` is in, ``end`` is out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orca_protocol.errors import InvalidError

Duty = Literal["work", "submission", "audit", "distribution"]
#: how many rounds later a duty is done than the round it is about
LAG: dict[Duty, int] = {"work": 0, "submission": 1, "audit": 1, "distribution": 2}


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The slots ``first <= slot < end``."""

    first: int
    end: int

    def __contains__(self, slot: int) -> bool:
        return self.first <= slot < self.end

    def __len__(self) -> int:
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class RoundClock:
    """The schedule of one task, in slots. Raises InvalidError ``schedule`` for one that cannot work."""

    starting_slot: int
    round_time: int
    submission_window: int
    audit_window: int

    def __post_init__(self) -> None:
        if self.starting_slot < 0 or self.submission_window < 1 or self.audit_window < 1:
            raise InvalidError("schedule", "a task starts at slot 0 or later and its windows have at least one slot each")
        if self.submission_window + self.audit_window > self.round_time:
            raise InvalidError(
                "schedule",
                f"windows of {self.submission_window} and {self.audit_window} slots do not fit a round of {self.round_time}",
            )

    def round_at(self, slot: int) -> int:
        """Return the round that lasts at ``slot``. Raises InvalidError ``before_start``."""
        if slot < self.starting_slot:
            raise InvalidError("before_start", f"slot {slot} is before the task's first slot, {self.starting_slot}")
        return (slot - self.starting_slot) // self.round_time

    def start_of(self, number: int) -> int:
        """Return the first slot of a round."""
        if number < 0:
            raise InvalidError("round", f"there is no round {number}")
        return self.starting_slot + number * self.round_time

    def work(self, number: int) -> Window:
        """Return the slots of the round itself."""
        return Window(self.start_of(number), self.start_of(number + 1))

    def submission(self, number: int) -> Window:
        """Return when the chain takes submissions for a round."""
        first = self.start_of(number + 1)
        return Window(first, first + self.submission_window)

    def audit(self, number: int) -> Window:
        """Return when the chain takes audit votes on a round's submissions."""
        first = self.submission(number).end
        return Window(first, first + self.audit_window)

    def distribution(self, number: int, retries: int = 0) -> Window:
        """Return when the chain takes a round's list: round R+2 after its submission window, and a round more for each retry."""
        return Window(self.submission(number + 1).end, self.start_of(number + 3 + retries))

    def payout_from(self, number: int, list_slot: int) -> int:
        """Return the first slot at which a list that came at ``list_slot`` may be paid; until then it can be voted on."""
        return max(self.start_of(number + 3), list_slot + self.submission_window + self.audit_window)

    def window(self, duty: Duty, number: int) -> Window:
        """Return the window of a duty about round ``number``."""
        match duty:
            case "work":
                return self.work(number)
            case "submission":
                return self.submission(number)
            case "audit":
                return self.audit(number)
            case "distribution":
                return self.distribution(number)

    def duties(self, slot: int) -> dict[Duty, int]:
        """Return what is to be done at ``slot``, and for which round each."""
        if slot < self.starting_slot:
            return {}
        current = self.round_at(slot)
        due = {duty: current - lag for duty, lag in LAG.items() if current >= lag}
        return {duty: number for duty, number in due.items() if slot in self.window(duty, number)}

    def next_window(self, duty: Duty, slot: int) -> tuple[int, Window]:
        """Return the round and the window of the first window of ``duty`` that begins after ``slot``."""
        current = self.round_at(slot) if slot >= self.starting_slot else 0
        number = max(0, current - LAG[duty])
        while self.window(duty, number).first <= slot:
            number += 1
        return number, self.window(duty, number)
