"""The lease: the middle server's signed promise that one node may do one work item and be paid its price.

It binds everything a payment will later be argued about: the item's bytes, the price and who owes it, the worker and where
it is paid, until when, under which engine and models, and which checks must be valid. The fencing token rises with every
lease of an item, so that the work of a holder who lost it is refused. DSSE payload of type ``LEASE_TYPE``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from nacl.signing import SigningKey
from pydantic import Field

from orca_protocol import dsse
from orca_protocol.documents import read, write
from orca_protocol.errors import InvalidError
from orca_protocol.model import ModelIdentity, Natural, Strict
from orca_protocol.statement import Rfc3339, Sha256
from orca_protocol.verdict import CHECK_NAMES

LEASE_TYPE = "application/vnd.orca-node.lease+json"
LEASE_MAX_BYTES = 64 * 1024

PublicKey = Annotated[str, Field(pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}$")]
#: base units of the mint, as a decimal string: integers beyond 2^53 are not JSON's
BaseUnits = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,19})$")]
CheckName = Literal["integrity", "authenticity", "eligibility", "replay", "re-execution", "inference", "outcome"]


class AllowedModel(Strict):
    """A model whose answers count for payment; ``digest`` pins the weights where they are known."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None


class Lease(Strict):
    """What the middle server signs."""

    lease_id: Annotated[str, Field(min_length=1, max_length=64)]
    work_item: Annotated[str, Field(min_length=1, max_length=200)]
    spec_sha256: Sha256
    #: a proof is public; an item that wants otherwise is refused when it is created
    visibility: Literal["public"] = "public"
    requester: PublicKey
    price: BaseUnits
    worker: PublicKey
    payout: PublicKey
    fencing_token: BaseUnits
    issued: Rfc3339
    expires: Rfc3339
    network: Annotated[str, Field(min_length=1, max_length=64)]
    task_id: Annotated[str, Field(min_length=1, max_length=64)]
    engine_revision: Natural
    models: Annotated[tuple[AllowedModel, ...], Field(min_length=1, max_length=100)]
    required_checks: Annotated[tuple[CheckName, ...], Field(min_length=1, max_length=len(CHECK_NAMES))]
    pays_partial: bool

    def admits(self, answered: ModelIdentity) -> bool:
        """Whether an answer of that model counts for payment.

        Hosted servers answer under the name of a dated snapshot (``gpt-4o`` as ``gpt-4o-2024-08-06``): the plain name admits
        them. Where a digest is named, nothing but the digest and the exact name counts.
        """
        return any(_is_admitted(allowed, answered) for allowed in self.models)


#: what hosted servers put behind a model's name for the snapshot of a day
_SNAPSHOT = re.compile(r"-([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4})")


def _is_admitted(allowed: AllowedModel, answered: ModelIdentity) -> bool:
    if allowed.name == answered.model:
        return allowed.digest in (None, answered.digest)
    is_hosted = allowed.digest is None and answered.digest is None
    suffix = answered.model.removeprefix(allowed.name)
    return is_hosted and suffix != answered.model and _SNAPSHOT.fullmatch(suffix) is not None


def sign_lease(lease: Lease, key: SigningKey) -> bytes:
    """Return ``lease.dsse.json``."""
    return dsse.sign(write(lease), key, payload_type=LEASE_TYPE)


def open_lease(data: bytes, signer: str, *, where: str = "lease.dsse.json") -> Lease:
    """Return the lease that the middle server ``signer`` signed. Raises InvalidError as ``dsse.open_envelope`` and ``read`` do."""
    payload = dsse.open_envelope(data, signer, where=where, payload_type=LEASE_TYPE)
    return read(Lease, payload, max_bytes=LEASE_MAX_BYTES, where=where, canonical_only=True)


def refuse_impossible_checks(models: tuple[AllowedModel, ...], required: tuple[str, ...]) -> None:
    """Raise InvalidError ``checks_impossible`` for a list that no proof could ever meet: it would promise pay and never pay."""
    if len(set(required)) != len(required):
        raise InvalidError("checks_impossible", "required_checks names a check twice")
    if "inference" in required and any(model.digest is None for model in models):
        raise InvalidError(
            "checks_impossible",
            "required_checks asks for inference, but a model without a weights digest can never be decoded again",
        )
    if unbuilt := sorted({"re-execution", "outcome"} & set(required)):
        raise InvalidError(
            "checks_impossible", f"required_checks asks for {', '.join(unbuilt)}, which no node of this version runs"
        )
