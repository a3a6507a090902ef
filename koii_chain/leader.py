"""Who makes a round's distribution list: the rule that every Koii node computes for itself, on the same bytes.

Koii hashes JSON as its nodes happen to write it, so the order of keys decides. Here keys are sorted, as the account keeps them,
and the fields of a submission stand in the account's order. Koii's rule for the round after a failed list names nobody, or
somebody wrong, when the scores come in ascending order; here it is the second-highest score whatever their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from koii_chain.state import Submission, TaskState
from orca_protocol.canonical import sha256_hex


def leader_of(task: TaskState, number: int, *, is_previous_failed: bool = False) -> str | None:
    """Return the key that makes the list of a round, or None when nobody can.

    Candidates submitted in this round and the two before; if there is none such, everybody who submitted in this round. After
    a failed list, who already made one for the round is out. ``is_previous_failed``: the list of the round before failed.
    """
    submitted = task.submissions.get(number, {})
    candidates = set(submitted)
    for earlier in (number - 1, number - 2):
        if earlier >= 0:
            candidates &= task.submissions.get(earlier, {}).keys()
    if not candidates:
        candidates = set(submitted)
    if task.distributions_audit_record.get(number) == "PayoutFailed":
        candidates -= task.distribution_rewards_submission.get(number, {}).keys()
    return choose({key: submitted[key] for key in sorted(candidates)}, second=is_previous_failed)


def successors(task: TaskState, number: int) -> list[str]:
    """Return everybody who may make the list of a round, in the order in which they take over from one who makes none.

    The first is ``leader_of`` before any list failed. Koii names one key and waits; a chain that takes anybody's list needs not.
    """
    submitted = task.submissions.get(number, {})
    # As if nothing had failed: an order that changed with each failed list would pass over the one whose turn it is.
    first = leader_of(task.model_copy(update={"distributions_audit_record": {}}), number)
    rest = sorted(submitted, key=lambda key: (-score(submitted, key), key))
    return [] if first is None else [first, *(key for key in rest if key != first)]


def choose(submissions: Mapping[str, Submission], *, second: bool = False) -> str | None:
    """Return the candidate whose hash lies farthest from the hash of all, or the second farthest; the first of equals."""
    if not submissions:
        return None
    ranked = sorted(submissions, key=lambda key: -score(submissions, key))
    return ranked[min(int(second), len(ranked) - 1)]


def score(submissions: Mapping[str, Submission], key: str) -> int:
    """Return how far a candidate's hash is from the hash of all, both as sums of the characters of their hexadecimal form."""
    everyone = sha256_hex(_stringified([_fields(entry) for entry in submissions.values()]))
    own = sha256_hex(_stringified({key: _fields(submissions[key])}))
    return abs(sum(everyone.encode()) - sum(own.encode()))


def _fields(entry: Submission) -> dict[str, Any]:
    return {"submission_value": entry.submission_value, "slot": entry.slot, "round": entry.round}


def _stringified(document: Any) -> bytes:
    """JSON.stringify: insertion order, no blanks, no escapes beyond what JSON needs."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
