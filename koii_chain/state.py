"""A task as the chain holds it (the fields of Koii's own task account), immutable and bounded.

Rounds are integers here; on the wire they are strings. Maps are ordinary dicts that nobody changes: who needs another
state makes one with ``model_copy(update=…)``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from koii_chain.clock import RoundClock

MAX_U64 = 2**64 - 1
#: bytes of a submission on chain
SUBMISSION_BYTES = 512

U64 = Annotated[int, Field(ge=0, le=MAX_U64)]
Round = Annotated[int, Field(ge=0, le=2**53 - 1)]
#: a public key in base58; only compared, so that an odd one matches nobody instead of hiding the whole state
Key = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=4096)]
PayoutRecord = Literal["Uninitialized", "PayoutSuccessful", "PayoutFailed"]


class ChainValue(BaseModel):
    """Base of what is read from a chain: immutable, no coercion; unknown fields are passed over, a fork may add some."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Submission(ChainValue):
    """What a key put on chain for a round; for a list, the account that holds it."""

    submission_value: Annotated[str, Field(max_length=SUBMISSION_BYTES)]
    slot: U64
    round: Round


class VoteRecord(ChainValue):
    """One vote in an audit."""

    is_valid: bool
    voter: Key
    slot: U64


class Trigger(ChainValue):
    """An audit in dispute: it exists from the first vote against on."""

    trigger_by: Key
    slot: U64
    votes: tuple[VoteRecord, ...]


Submissions = dict[Round, dict[Key, Submission]]
Triggers = dict[Round, dict[Key, Trigger]]


class TaskState(ChainValue):
    """Everything the chain says about one task. Amounts are base units of ``token_type``."""

    task_id: Key
    task_name: Text
    task_description: Text = ""
    task_manager: Key
    is_allowlisted: bool
    is_active: bool
    task_audit_program: Text = ""
    stake_pot_account: Key
    #: seed and bump of the pot's authority, and the mint; a task paid in KOII has none of the three
    stake_pot_seed: Key | None = None
    stake_pot_bump: Annotated[int, Field(ge=0, le=255)] | None = None
    token_type: Key | None = None
    #: what is left to be distributed
    total_bounty_amount: U64
    bounty_amount_per_round: U64
    total_stake_amount: U64
    minimum_stake_amount: U64
    available_balances: dict[Key, U64] = Field(default_factory=dict)
    stake_list: dict[Key, U64] = Field(default_factory=dict)
    ip_address_list: dict[Key, Text] = Field(default_factory=dict)
    round_time: U64
    starting_slot: U64
    audit_window: U64
    submission_window: U64
    task_executable_network: Text = ""
    task_metadata: Text = ""
    task_vars: Text = ""
    is_migrated: bool
    migrated_to: Text = ""
    allowed_failed_distributions: U64
    submissions: Submissions = Field(default_factory=dict)
    submissions_audit_trigger: Triggers = Field(default_factory=dict)
    distribution_rewards_submission: Submissions = Field(default_factory=dict)
    distributions_audit_trigger: Triggers = Field(default_factory=dict)
    distributions_audit_record: dict[Round, PayoutRecord] = Field(default_factory=dict)

    @property
    def clock(self) -> RoundClock:
        """The task's schedule. Raises InvalidError ``schedule`` when the chain holds an impossible one."""
        return RoundClock(self.starting_slot, self.round_time, self.submission_window, self.audit_window)

    def submitted(self, number: int, key: str) -> Submission | None:
        """Return what ``key`` submitted for a round."""
        return self.submissions.get(number, {}).get(key)
