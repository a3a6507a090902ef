"""Signed requests: for one audience, one action, one short time, by the key that signed."""

from __future__ import annotations

from typing import Any

import pytest
from nacl.signing import SigningKey

from orca_protocol.envelope import seal
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of
from orca_protocol.requests import CLOCK_SKEW, LIFE_MAX, OURS, LegacyRequest, open_legacy_request, open_request

KEY = SigningKey(bytes(range(32)))
SIGNER = public_key_of(KEY)
NOW = 1_800_000_000
AUDIENCE = "orca.example/summarizer/worker/fetch-todo"


def payload(**fields: Any) -> dict[str, Any]:
    known = {
        "taskId": "T",
        "action": "fetch-todo",
        "stakingKey": SIGNER,
        "claimId": "c" * 16,
        "aud": AUDIENCE,
        "nonce": "0" * 32,
        "iat": NOW,
        "exp": NOW + 60,
    }
    return {name: value for name, value in {**known, **fields}.items() if value is not None}


def opened(now: int = NOW, **fields: Any) -> Any:
    return open_request(seal(payload(**fields), KEY), SIGNER, audience=AUDIENCE, action="fetch-todo", now=now)


def test_a_request_opens_for_its_audience_action_and_time() -> None:
    request = opened(githubUsername="someone", roundNumber=7)
    assert (request.taskId, request.stakingKey, request.roundNumber) == ("T", SIGNER, 7)


@pytest.mark.parametrize(
    ("now", "fields", "code"),
    [
        (NOW + 60, {}, "request_expired"),
        (NOW + 10_000, {}, "request_expired"),
        (NOW - CLOCK_SKEW - 1, {}, "request_early"),
        (NOW, {"exp": NOW}, "request_life"),
        (NOW, {"exp": NOW + LIFE_MAX + 1}, "request_life"),
        (NOW, {"exp": NOW - 1}, "request_life"),
        (NOW, {"aud": "evil.example/summarizer/worker/fetch-todo"}, "request_audience"),
        (NOW, {"aud": "orca.example/summarizer/worker/add-todo-pr"}, "request_audience"),
        (NOW, {"action": "add-todo-pr"}, "request_action"),
        (NOW, {"stakingKey": public_key_of(SigningKey(bytes(32)))}, "request_key"),
        (NOW, {"nonce": None}, "request_schema"),
        (NOW, {"nonce": "0" * 31}, "request_schema"),
        (NOW, {"aud": None}, "request_schema"),
        (NOW, {"iat": "now"}, "request_schema"),
        (NOW, {"surprise": 1}, "request_schema"),
    ],
)
def test_anything_else_is_refused_with_its_reason(now: int, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        opened(now, **fields)
    assert caught.value.code == code


def test_a_request_signed_by_another_key_is_refused() -> None:
    with pytest.raises(InvalidError, match="signature"):
        open_request(seal(payload(), SigningKey(bytes(32))), SIGNER, audience=AUDIENCE, action="fetch-todo", now=NOW)


def legacy(action: str = "fetch-todo", **fields: Any) -> LegacyRequest | None:
    document = {"taskId": "T", "action": action, "stakingKey": SIGNER, **fields}
    return open_legacy_request(seal(document, KEY), SIGNER, action="fetch-todo")


def test_an_original_nodes_payload_opens_as_what_it_is() -> None:
    opened = legacy(githubUsername="someone", publicKey=SIGNER, roundNumber=3)
    assert isinstance(opened, LegacyRequest)
    assert opened.roundNumber == 3
    assert legacy("fetch") is not None


@pytest.mark.parametrize("field", sorted(OURS))
def test_a_payload_with_any_of_our_fields_is_no_original(field: str) -> None:
    fields: dict[str, Any] = {field: 1}
    assert legacy(**fields) is None


@pytest.mark.parametrize(
    ("action", "fields", "code"),
    [
        ("heartbeat", {}, "request_action"),
        ("fetch-todo", {"leaseId": "l"}, "request_schema"),
        ("fetch-todo", {"stakingKey": public_key_of(SigningKey(bytes(32)))}, "request_key"),
    ],
)
def test_an_original_payload_is_checked_as_far_as_it_can_be(action: str, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        legacy(action, **fields)
    assert caught.value.code == code


def test_no_text_carries_a_nul() -> None:
    for field in ("githubUsername", "swarmBountyId", "prUrl", "status", "error", "taskId"):
        with pytest.raises(InvalidError, match="request_schema"):
            opened(NOW, **{field: "a\0b"})
