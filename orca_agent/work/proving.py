"""From a finished run to its proof: package, sign, keep in the block store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from audit.source import DEFAULT_LIMITS, PackageLimits
from orca_agent.models.retry import stamp
from orca_engine.bounds import ceilings_of
from orca_protocol.errors import InvalidError
from proof_store.builder import build_directory
from submission.package import LeasedTo, RunFacts, build_package

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from orca_agent.work.runner import Finished
    from proof_store.base import BlockStore
    from proof_store.cid import Cid


def prove(
    finished: Finished, key: SigningKey, blocks: BlockStore, *, network: str, leased: LeasedTo | None = None
) -> tuple[Cid, dict[str, bytes]]:
    """Return the proof's CID and files, having put its blocks into ``blocks``; ``leased`` makes it a claim to be paid.

    Raises InvalidError ``proof_too_large`` rather than sign what auditors refuse to read.
    """
    facts = facts_of(finished, network=network)
    files = build_package(finished.run.spec, finished.entries, finished.output, facts, key, leased)
    refuse_oversize(files)
    return build_directory(files, blocks).cid, files


def refuse_oversize(files: Mapping[str, bytes], limits: PackageLimits = DEFAULT_LIMITS) -> None:
    """Raise InvalidError ``proof_too_large`` for a package beyond what every auditor reads."""
    total = sum(map(len, files.values()))
    longest = max(map(len, files["journal.jsonl"].split(b"\n")))
    if total > limits.total_bytes or longest > limits.line_bytes:
        raise InvalidError(
            "proof_too_large",
            f"the proof would have {total} bytes and a journal line of {longest}; auditors read at most {limits.total_bytes} and "
            f"{limits.line_bytes}: in a chain every agent's request repeats what was said before, so use fewer or shorter turns",
        )


def facts_of(finished: Finished, *, network: str) -> RunFacts:
    """Return what the statement says of the run beside its files."""
    run, spec = finished.run, finished.item.spec
    seconds = None if run.deadline is None else f"{run.deadline - run.started:.3f}"
    return RunFacts(
        run_id=run.id,
        work_item=finished.item.id,
        started=_stamp(run.started),
        finished=_stamp(finished.finished),
        ceilings=(finished.item.ceilings or ceilings_of(spec)).model_copy(update={"seconds": seconds}),
        network=network,
    )


def _stamp(seconds: float) -> str:
    return stamp(datetime.fromtimestamp(seconds, UTC))
