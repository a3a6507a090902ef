"""Leases: signed by the middle server, bound to everything a payment is argued about, and payable at all."""

from __future__ import annotations

from typing import Any

import pytest
from nacl.signing import SigningKey

from orca_protocol import dsse
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of
from orca_protocol.lease import AllowedModel, Lease, open_lease, refuse_impossible_checks, sign_lease
from orca_protocol.model import ModelIdentity

SERVER = SigningKey(bytes(range(32)))
SIGNER = public_key_of(SERVER)
OPEN = AllowedModel(name="local/m", digest="sha256:" + "a" * 64)
CLOSED = AllowedModel(name="gpt-4o")


def lease(**fields: Any) -> Lease:
    key = public_key_of(SigningKey(bytes(32)))
    known: dict[str, Any] = {
        "lease_id": "l1",
        "work_item": "w1",
        "spec_sha256": "0" * 64,
        "requester": key,
        "price": "1500000",
        "worker": key,
        "payout": key,
        "fencing_token": "1",
        "issued": "2026-01-01T00:00:00.000Z",
        "expires": "2026-01-01T00:10:00.000Z",
        "network": "devnet-1",
        "task_id": "T",
        "engine_revision": 1,
        "models": (OPEN,),
        "required_checks": ("integrity", "authenticity", "eligibility", "replay", "inference"),
        "pays_partial": False,
    }
    return Lease(**{**known, **fields})


def test_a_lease_opens_for_the_server_that_signed_it_and_no_other() -> None:
    data = sign_lease(lease(), SERVER)
    assert open_lease(data, SIGNER) == lease()
    with pytest.raises(InvalidError, match="signer"):
        open_lease(data, public_key_of(SigningKey(bytes(range(1, 33)))))


def test_any_changed_byte_of_a_lease_is_refused() -> None:
    data = sign_lease(lease(), SERVER)
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(InvalidError):
            open_lease(bytes(changed), SIGNER)


def test_a_statement_is_no_lease() -> None:
    with pytest.raises(InvalidError, match="payload_type"):
        open_lease(dsse.sign(b"{}", SERVER), SIGNER)


@pytest.mark.parametrize(
    "fields",
    [
        {"price": "-1"},
        {"price": "1.5"},
        {"price": "01"},
        {"models": ()},
        {"required_checks": ()},
        {"required_checks": ("luck",)},
        {"worker": "0OIl"},
    ],
)
def test_what_could_not_be_paid_or_checked_is_no_lease(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        lease(**fields)


@pytest.mark.parametrize(
    ("models", "required"),
    [
        ((CLOSED,), ("integrity", "inference")),
        ((OPEN, CLOSED), ("inference",)),
        ((OPEN,), ("outcome",)),
        ((OPEN,), ("re-execution",)),
        ((OPEN,), ("replay", "replay")),
    ],
)
def test_checks_that_no_proof_could_meet_are_refused(models: tuple[AllowedModel, ...], required: tuple[str, ...]) -> None:
    with pytest.raises(InvalidError, match="checks_impossible"):
        refuse_impossible_checks(models, required)


def test_checks_that_a_proof_can_meet_are_taken() -> None:
    refuse_impossible_checks((OPEN,), ("integrity", "replay", "inference"))
    refuse_impossible_checks((CLOSED,), ("integrity", "replay"))


def answered(model: str, digest: str | None = None) -> ModelIdentity:
    return ModelIdentity(provider="p", model=model, digest=digest)


@pytest.mark.parametrize(
    ("model", "is_admitted"),
    [
        ("gpt-4o", True),
        ("gpt-4o-2024-08-06", True),
        ("gpt-4o-20240806", True),
        ("gpt-4o-0806", True),
        ("gpt-4o-mini", False),
        ("gpt-4o-mini-2024-07-18", False),
        ("gpt-4o-2024-08-06-x", False),
        ("gpt-4", False),
        ("", False),
    ],
)
def test_a_plain_name_admits_the_snapshots_of_its_model_and_no_other(model: str, is_admitted: bool) -> None:
    assert lease(models=(CLOSED,), required_checks=("replay",)).admits(answered(model)) is is_admitted


def test_open_weights_are_admitted_by_name_and_digest_exactly() -> None:
    assert lease().admits(answered("local/m", OPEN.digest))
    assert not lease().admits(answered("local/m"))
    assert not lease().admits(answered("local/m", "sha256:" + "b" * 64))
    assert not lease().admits(answered("local/m-20240806", OPEN.digest))
    assert lease(models=(CLOSED,), required_checks=("replay",)).admits(answered("gpt-4o", OPEN.digest))
    assert not lease(models=(CLOSED,), required_checks=("replay",)).admits(answered("gpt-4o-20240806", OPEN.digest))
