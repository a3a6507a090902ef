"""Check 3: the node was entitled to do this work and to be paid for it.

1. the run kept to the lease: its time, its ceilings, the models it admits     (late, over budget, another model)
2. the fencing token is the current one, and this is the proof reported for it   (a holder who lost the lease, a second claim)
3. the key is staked, enough, in an active task, and submitted in this round   (nobody at stake)
4. the outcome is one that the lease pays for                                  (else: not measured, unpaid)

A run that nobody leased claims no payment: there is nothing to be entitled to. It does not see through rich Sybils.
"""

from __future__ import annotations

from audit.case import Case, Contents
from audit.finding import Finding
from audit.ports import ChainView, LeaseView
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Entry, Path
from orca_protocol.lease import Lease
from orca_protocol.model import ModelRequest


async def check_eligibility(case: Case) -> Finding:
    """Check the right to be paid. Raises InvalidError for a fault, UnavailableError where chain or middle server do not answer."""
    contents = case.require_contents()
    if not contents.is_leased:
        return Finding("nobody leased this run: it claims no payment", verdict="not_applicable", code="no_lease")
    if case.lease is None:
        raise UnavailableError("no_lease_verified", "the lease itself was not found sound: see the authenticity check")
    _check_times(contents, case.lease)
    _check_budget(contents)
    for entry in contents.entries:
        _check_model(entry, case.lease)
    await _check_lease_now(contents, case.lease, case.leases)
    await _check_standing(contents, case.lease, case.chain)
    if contents.output.status != "success" and not case.lease.pays_partial:
        raise UnavailableError(
            "partial_not_payable", f"the run ended with {contents.output.status!r}, and this lease pays for success only"
        )
    return Finding(f"lease {case.lease.lease_id}, token {case.lease.fencing_token}, staked and submitted in time")


def _check_times(contents: Contents, lease: Lease) -> None:  # 1; RFC 3339 in UTC with milliseconds sorts as text
    predicate = contents.statement.predicate
    if predicate.started < lease.issued:
        raise InvalidError("early", f"the run began at {predicate.started}, before its lease was issued at {lease.issued}")
    if predicate.finished > lease.expires:
        raise InvalidError("late", f"the run ended at {predicate.finished}, after its lease expired at {lease.expires}")


def _check_budget(contents: Contents) -> None:
    """Of an answer's tokens those count that were asked for: a provider that reports more is not the worker's fault.

    What the engine's ledger lets through cannot be above this: it reserves what is asked for, and settles no less than this.
    """
    ceilings = contents.statement.predicate.ceilings
    asked = [entry for entry in contents.entries if entry.stop is None and isinstance(entry.request, ModelRequest)]
    tokens = sum(_output_tokens(entry) for entry in asked)
    if len(asked) > ceilings.calls or tokens > ceilings.output_tokens:
        allowed = f"its ceilings are {ceilings.calls} and {ceilings.output_tokens}"
        raise InvalidError("over_budget", f"the run had {len(asked)} calls and {tokens} of the tokens that it asked for; {allowed}")


def _output_tokens(entry: Entry) -> int:
    if entry.answer is None:
        return 0
    usage, most = entry.answer.usage, entry.asked.max_tokens
    return most if usage is None else min(usage.output_tokens, most)


def _check_model(entry: Entry, lease: Lease) -> None:
    if entry.answer is not None and not lease.admits(entry.answer.model):
        named = entry.answer.model.model
        raise InvalidError(
            "model_not_leased", f"path {Path(*entry.path)} was answered by {named!r}, which the lease does not admit"
        )


async def _check_lease_now(contents: Contents, lease: Lease, leases: LeaseView | None) -> None:  # 2
    if leases is None:
        raise UnavailableError(
            "no_middle_server", "whether this lease is the current one is known to the middle server, and none is configured"
        )
    now = await leases.lease_now(lease.work_item)
    if now.fencing_token != lease.fencing_token:
        raise InvalidError("stale_token", f"the lease has token {lease.fencing_token}; the current one is {now.fencing_token}")
    if now.cid is None or now.round is None:
        raise UnavailableError("not_reported", "the middle server knows of no proof for this lease in a round yet")
    standing, this = (now.cid, now.round), (str(contents.received.cid), contents.statement.predicate.round)
    if standing != this:
        raise InvalidError("result_differs", f"for this lease {standing[0]} stands in round {standing[1]}; this is another claim")


async def _check_standing(contents: Contents, lease: Lease, chain: ChainView | None) -> None:  # 3
    if chain is None:
        raise UnavailableError("no_chain", "stake and submission can only be checked against a chain, and none is configured")
    standing = await chain.standing(lease.worker, lease.task_id, contents.statement.predicate.round or 0)
    if standing.stake_fault is not None:
        raise InvalidError("not_staked", standing.stake_fault)
    if standing.submission_fault is not None:
        raise InvalidError("not_submitted", standing.submission_fault)
