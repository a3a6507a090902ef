"""The verdicts of one auditor on one round, as the folder whose CID stands in its next submission.

    <worker>-<cid>.verdict.dsse.json     one for each proof that was audited
    <worker>-<cid>.vsa.dsse.json         its summary, where the verdict is no abstention

A verdict that is wrong counts as not said; it takes nothing from the others in its folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orca_protocol.errors import InvalidError
from orca_protocol.verdict_statement import VerdictStatement, open_verdict

VERDICT = ".verdict.dsse.json"
VSA = ".vsa.dsse.json"


@dataclass(frozen=True, slots=True)
class SignedVerdict:
    """A verdict's own signed form, and its summary."""

    worker: str
    cid: str
    document: bytes
    vsa: bytes | None


def write_bundle(verdicts: Iterable[SignedVerdict]) -> dict[str, bytes]:
    """Return the folder's files. Raises InvalidError ``bundle_empty``: a folder of no verdicts is no submission."""
    files: dict[str, bytes] = {}
    for verdict in verdicts:
        stem = f"{verdict.worker}-{verdict.cid}"
        files[stem + VERDICT] = verdict.document
        if verdict.vsa is not None:
            files[stem + VSA] = verdict.vsa
    if not files:
        raise InvalidError("bundle_empty", "there are no verdicts to publish")
    return files


def read_bundle(files: Mapping[str, bytes], auditor: str) -> tuple[VerdictStatement, ...]:
    """Return the verdicts in a stranger's folder that ``auditor`` signed and that stand under their own names, sorted by name."""
    found = []
    for name in sorted(files):
        if name.endswith(VERDICT):
            try:
                verdict = open_verdict(files[name], auditor, where=name[:120])
            except InvalidError:
                continue
            if name == f"{verdict.predicate.worker}-{verdict.cid}{VERDICT}":
                found.append(verdict)
    return tuple(found)
