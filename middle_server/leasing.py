"""Making a lease: which one a claim gets, and the document that is signed for it. Runs in the caller's transaction."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timedelta

from middle_server.rules.leases import heartbeat_deadline
from middle_server.rules.moments import rfc3339
from middle_server.settings import MiddleSettings
from middle_server.store import leases as store
from middle_server.store.database import Connection
from middle_server.store.items import WorkItem, read_item
from middle_server.store.leases import Claim, LeaseRow
from orca_engine import REVISION
from orca_protocol.errors import InvalidError
from orca_protocol.keys import PUBLIC_KEY_BYTES, decode_base58
from orca_protocol.lease import AllowedModel, Lease, sign_lease
from orca_protocol.requests import LegacyRequest, NodeRequest


class Leasing:
    """Leases items by the settings' rules and signs with their key."""

    def __init__(self, settings: MiddleSettings) -> None:
        self._settings = settings

    async def lease_for(self, connection: Connection, asking: NodeRequest | LegacyRequest, now: datetime) -> LeaseRow:
        """Return the lease of this claim: the one it got before, or one on the oldest item there is for this key.

        Raises InvalidError ``claim_missing``, ``claim_reused``, ``lease_ended``, ``lease_held`` or ``nothing_available``.
        """
        worker = asking.stakingKey
        await store.begin_claim(connection, worker)
        await store.take_back_late(connection, attempts_at_most=self._settings.attempts_at_most, now=now)
        before = await self._lease_before(connection, asking)
        if before is not None:
            await _check_still_held(connection, before, asking)
            return before
        held = await store.count_held(connection, worker)
        if held >= self._settings.leases_per_key:
            raise InvalidError(
                "lease_held",
                f"this key holds {held} of at most {self._settings.leases_per_key} leases; finish one, give one back, or say "
                "the claimId that got it",
            )
        lease = await store.claim(connection, self._wanted(asking, now))
        if lease is None:
            raise InvalidError("nothing_available", "there is no work for this key now; ask again later")
        document = self._sign(await read_item(connection, lease.work_item), lease)
        await store.keep_document(connection, lease.id, document)
        return replace(lease, document=document)

    async def _lease_before(self, connection: Connection, asking: NodeRequest | LegacyRequest) -> LeaseRow | None:
        if isinstance(asking, LegacyRequest):
            # The original gave a key its unfinished assignment again.
            return await store.held_lease(connection, asking.stakingKey)
        if asking.claimId is None:
            raise InvalidError("claim_missing", "claimId: 16 to 64 characters of your choice; the same claim gets the same lease")
        return await store.lease_of_claim(connection, asking.stakingKey, asking.claimId)

    def _wanted(self, asking: NodeRequest | LegacyRequest, now: datetime) -> Claim:
        payout = asking.pubKey or asking.stakingKey
        decode_base58(payout, length=PUBLIC_KEY_BYTES, where="pubKey")
        expires = now + timedelta(seconds=self._settings.lease_seconds)
        lease_id = str(uuid.uuid4())
        claim_id = asking.claimId if isinstance(asking, NodeRequest) else None
        return Claim(
            lease_id=lease_id,
            task_id=asking.taskId,
            worker=asking.stakingKey,
            payout=payout,
            claim_id=claim_id or f"legacy-{lease_id}",
            github_username=asking.githubUsername,
            issued=now,
            expires=expires,
            deadline=heartbeat_deadline(now, expires, seconds=self._settings.heartbeat_seconds),
        )

    def _sign(self, item: WorkItem, lease: LeaseRow) -> bytes:
        document = Lease(
            lease_id=lease.id,
            work_item=item.id,
            spec_sha256=item.spec_sha256,
            requester=item.requester,
            price=str(item.price),
            worker=lease.worker,
            payout=lease.payout,
            fencing_token=str(lease.fencing_token),
            issued=rfc3339(lease.issued),
            expires=rfc3339(lease.expires),
            network=self._settings.network,
            task_id=item.task_id,
            engine_revision=REVISION,
            models=tuple(AllowedModel.model_validate(model) for model in item.models),
            required_checks=tuple(item.required_checks),
            pays_partial=item.pays_partial,
        )
        return sign_lease(document, self._settings.signing_key)


async def _check_still_held(connection: Connection, lease: LeaseRow, asking: NodeRequest | LegacyRequest) -> None:
    item = await read_item(connection, lease.work_item)
    if item.task_id != asking.taskId:
        raise InvalidError("claim_reused", "this claimId was used for another task; choose a new one")
    if lease.ending is not None:
        raise InvalidError(
            "lease_ended", f"the lease of this claim is {lease.ending.replace('_', ' ')}; fetch other work with a new claimId"
        )
