"""Task states for tests: a small one to change, the golden account bytes, and strategies."""

from __future__ import annotations

from typing import Any

import base58
from hypothesis import strategies as st

from koii_chain.state import Submission, TaskState, Trigger, VoteRecord


def key(number: int) -> str:
    """A public key's base58, the same for the same number."""
    return base58.b58encode(number.to_bytes(32, "big")).decode()


MANAGER, MINT, POT, SEED = key(1001), key(1002), key(1003), key(1004)
TASK = key(1000)

#: what Koii's own decoder was fed with (reference vector, 328 bytes)
GOLDEN = bytes.fromhex(
    "010101000000540100000044010101010101010101010101010101010101010101010101010101010101010101000000430202020202020202020202020202020202020202020202020202"
    "0202020202020303030303030303030303030303030303030303030303030303030303030303fa01000000010000003701000000010000004b010000005663000000000000000700000000"
    "0000000000000064000000000000000a0000000000000004040404040404040404040404040404040404040404040404040404040404040500000000000000010000000000000000000000"
    "01000000010000004b050000000000000000000000881300000000000006000000000000009808000000000000980800000000000004000000495046530000000000000000010000000100"
    "00003601010000004d020000007b7d00000000000300000000000000"
)


def task(**changes: Any) -> TaskState:
    fields: dict[str, Any] = {
        "task_id": TASK,
        "task_name": "swarms",
        "task_manager": MANAGER,
        "is_allowlisted": True,
        "is_active": True,
        "stake_pot_account": POT,
        "stake_pot_seed": SEED,
        "stake_pot_bump": 255,
        "token_type": MINT,
        "total_bounty_amount": 1_000_000,
        "bounty_amount_per_round": 100_000,
        "total_stake_amount": 0,
        "minimum_stake_amount": 1000,
        "round_time": 100,
        "starting_slot": 0,
        "audit_window": 40,
        "submission_window": 40,
        "is_migrated": False,
        "allowed_failed_distributions": 3,
    }
    return TaskState(**(fields | changes))


_KEYS = st.integers(0, 50).map(key)
_ROUNDS = st.integers(0, 10_000)
_U64 = st.integers(0, 2**64 - 1)
_SUBMISSIONS = st.dictionaries(
    _ROUNDS,
    st.dictionaries(
        _KEYS, st.builds(Submission, submission_value=st.text("abcé", max_size=20), slot=_U64, round=_ROUNDS), max_size=3
    ),
    max_size=3,
)
_LISTS = st.dictionaries(
    _ROUNDS, st.dictionaries(_KEYS, st.builds(Submission, submission_value=_KEYS, slot=_U64, round=_ROUNDS), max_size=3), max_size=3
)
_VOTES = st.lists(st.builds(VoteRecord, is_valid=st.booleans(), voter=_KEYS, slot=_U64), max_size=3).map(tuple)
_TRIGGERS = st.dictionaries(
    _ROUNDS, st.dictionaries(_KEYS, st.builds(Trigger, trigger_by=_KEYS, slot=_U64, votes=_VOTES), max_size=3), max_size=3
)


@st.composite
def tasks(draw: st.DrawFn) -> TaskState:
    amounts = st.dictionaries(_KEYS, _U64, max_size=4)
    return task(
        task_name=draw(st.text(max_size=10)),
        is_active=draw(st.booleans()),
        is_migrated=draw(st.booleans()),
        total_bounty_amount=draw(_U64),
        stake_list=draw(amounts),
        available_balances=draw(amounts),
        ip_address_list=draw(st.dictionaries(_KEYS, st.text(max_size=10), max_size=3)),
        submissions=draw(_SUBMISSIONS),
        submissions_audit_trigger=draw(_TRIGGERS),
        distribution_rewards_submission=draw(_LISTS),
        distributions_audit_trigger=draw(_TRIGGERS),
        distributions_audit_record=draw(
            st.dictionaries(_ROUNDS, st.sampled_from(["Uninitialized", "PayoutSuccessful", "PayoutFailed"]), max_size=3)
        ),
    )
