"""Leased packages: the lease and the submission bind the proof, and check 3 says who is entitled to be paid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nacl.signing import SigningKey

from audit.case import Expected
from audit.ports import LeaseStanding, Standing
from orca_engine import REVISION
from orca_engine.bounds import ceilings_of
from orca_engine.item import Item
from orca_engine.replay import replay
from orca_protocol.budget import Ceilings
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import UnavailableError
from orca_protocol.keys import public_key_of
from orca_protocol.lease import AllowedModel, Lease, sign_lease
from orca_protocol.model import Usage
from orca_protocol.spec import read_spec
from orca_protocol.submission import Submission, open_submission, sign_submission
from proof_store.builder import root_of
from submission.package import LeasedTo, RunFacts, build_package
from tests.unit.audit.packages import KEY, OPEN, OTHER_KEY, SIGNER, SPEC, Verdicts, decode, verdicts
from tests.unit.orca_engine.worlds import World, agent, failing

SERVER = SigningKey(bytes([7]) * 32)
ITEM = Item("item-1", read_spec(SPEC))
EXPECTED = Expected("koii", "TASK", 5)
MODEL = AllowedModel(name="open", digest=f"sha256:{'a' * 64}")
IDENTITY = OPEN.model_copy(update={"digest": MODEL.digest})


def lease(**fields: Any) -> Lease:
    known: dict[str, Any] = {
        "lease_id": "lease-1",
        "work_item": ITEM.id,
        "spec_sha256": sha256_hex(SPEC),
        "requester": SIGNER,
        "price": "1000000",
        "worker": SIGNER,
        "payout": SIGNER,
        "fencing_token": "3",
        "issued": "2026-01-01T00:00:00.000Z",
        "expires": "2026-01-01T00:10:00.000Z",
        "network": "koii",
        "task_id": "TASK",
        "engine_revision": REVISION,
        "models": (MODEL,),
        "required_checks": ("integrity", "authenticity", "eligibility", "replay", "inference"),
        "pays_partial": False,
    }
    return Lease(**{**known, **fields})


def leased(
    given: Lease | None = None,
    *,
    claimed: Lease | None = None,
    signed_by: SigningKey = SERVER,
    answer: Any = None,
    spec: bytes = SPEC,
    **facts: Any,
) -> dict[str, bytes]:
    """A package under ``given``; ``claimed`` is what its statement says the lease is, if that is another."""
    given = given or lease(spec_sha256=sha256_hex(spec))
    item = Item(ITEM.id, read_spec(spec))
    entries, _ = World(item, answer=answer or (lambda call: decode(call.request, IDENTITY))).run()
    kept = tuple(sorted(entries, key=lambda entry: entry.path))
    known = {
        "run_id": "r",
        "work_item": ITEM.id,
        "started": "2026-01-01T00:01:00.000Z",
        "finished": "2026-01-01T00:02:00.000Z",
        "ceilings": ceilings_of(item.spec),
        "network": "koii",
    }
    under = LeasedTo(sign_lease(given, signed_by), claimed or given, round=facts.pop("round", 5), account=SIGNER)
    return build_package(spec, kept, replay(item, kept), RunFacts(**{**known, **facts}), KEY, under)


class Chain:
    """A chain that says what it was told to say."""

    def __init__(self, standing: Standing | None = None) -> None:
        self.standing_ = standing
        self.asked: tuple[str, str, int] | None = None

    async def standing(self, key: str, task_id: str, round_number: int) -> Standing:
        self.asked = (key, task_id, round_number)
        if self.standing_ is None:
            raise UnavailableError("rpc_down", "no endpoint answered")
        return self.standing_


class Leases:
    """A middle server that knows the current token, and that ``files`` were reported for a round."""

    def __init__(self, files: dict[str, bytes], token: str = "3", *, number: int | None = 5) -> None:
        self.now = LeaseStanding(token, str(root_of(files)), number)

    async def lease_now(self, work_item: str) -> LeaseStanding:
        return self.now


GOOD = Standing(stake_fault=None, submission_fault=None)


def audited(files: dict[str, bytes], **case: Any) -> Verdicts:
    from tests.unit.audit.packages import PretendedWeights

    weights = PretendedWeights(IDENTITY, answer=lambda request: decode(request, IDENTITY))
    known = {
        "lease_signer": public_key_of(SERVER),
        "expected": EXPECTED,
        "chain": Chain(GOOD),
        "leases": Leases(files),
        "redecoder": weights,
    }
    return verdicts(files, **{**known, **case})


def test_an_honest_leased_package_is_valid_in_every_check() -> None:
    chain = Chain(GOOD)
    found = audited(leased(), chain=chain)
    assert {name: found[name] for name in found.results} == dict.fromkeys(found.results, ("valid", "ok"))
    assert chain.asked == (SIGNER, "TASK", 5)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (leased(signed_by=OTHER_KEY), "signer"),
        (leased(lease(worker=public_key_of(OTHER_KEY))), "lease_differs"),
        (leased(lease(spec_sha256="0" * 64)), "lease_differs"),
        (leased(lease(work_item="item-2")), "lease_differs"),
        (leased(lease(network="elsewhere")), "lease_differs"),
        (leased(lease(task_id="TOSK"), claimed=lease()), "lease_differs"),
        (leased(lease(fencing_token="2"), claimed=lease()), "lease_differs"),
        (leased(lease(engine_revision=REVISION + 1)), "lease_differs"),
    ],
    ids=[
        "another server",
        "another worker",
        "another spec",
        "another item",
        "another network",
        "another task",
        "another token",
        "another engine",
    ],
)
def test_a_lease_that_is_not_this_packages_is_caught_by_authenticity(files: dict[str, bytes], code: str) -> None:
    assert audited(files)["authenticity"] == ("mismatch", code)


@pytest.mark.parametrize("expected", [Expected("koii", "TASK", 6), Expected("koii", "TOSK", 5), Expected("other", "TASK", 5)])
def test_a_proof_copied_from_another_round_task_or_network_is_caught_by_authenticity(expected: Expected) -> None:
    assert audited(leased(), expected=expected)["authenticity"] == ("mismatch", "round_differs")


def resubmitted(key: SigningKey = KEY, **fields: Any) -> dict[str, bytes]:
    files = leased()
    true = open_submission(files["submission.json"], SIGNER)
    return {**files, "submission.json": sign_submission(true.model_copy(update=fields), key)}


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (resubmitted(roundNumber=6), "submission_differs"),
        (resubmitted(taskId="TOSK"), "submission_differs"),
        (resubmitted(workItemId="item-2"), "submission_differs"),
        (resubmitted(statementSha256="0" * 64), "submission_differs"),
        (resubmitted(OTHER_KEY), "signature"),
        ({name: data for name, data in leased().items() if name != "submission.json"}, "submission_missing"),
    ],
    ids=["round", "task", "item", "statement", "another key", "none"],
)
def test_a_submission_that_is_not_this_packages_is_caught_by_authenticity(files: dict[str, bytes], code: str) -> None:
    assert audited(files)["authenticity"] == ("mismatch", code)


def test_a_submission_must_be_spelt_as_it_is_written() -> None:
    files = leased()
    loose = json.dumps(json.loads(files["submission.json"]), indent=1).encode()
    assert audited({**files, "submission.json": loose})["authenticity"] == ("mismatch", "not_canonical")


def test_an_unknown_middle_server_is_not_measured() -> None:
    found = audited(leased(), lease_signer=None)
    assert found["authenticity"] == ("not_measured", "lease_signer_unknown")
    assert found["eligibility"] == ("not_measured", "no_lease_verified")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"started": "2025-12-31T23:59:59.999Z"}, "early"),
        ({"finished": "2026-01-01T00:10:00.001Z"}, "late"),
        ({"ceilings": Ceilings(calls=1, output_tokens=1)}, "over_budget"),
    ],
)
def test_a_run_outside_of_its_lease_is_caught_by_eligibility(facts: dict[str, Any], code: str) -> None:
    assert audited(leased(**facts))["eligibility"] == ("mismatch", code)


def reporting(written: int | None) -> Any:
    """A world whose provider says that each answer took so many tokens; None: it says nothing."""
    usage = None if written is None else Usage(input_tokens=5, output_tokens=written)
    return lambda call: decode(call.request, IDENTITY).model_copy(update={"usage": usage})


@pytest.mark.parametrize("budget", [None, {"output_tokens": 30}, {"calls": 2}])
@pytest.mark.parametrize("written", [None, 0, 4, 10, 11, 1000])
def test_a_worker_that_kept_to_its_ceilings_is_eligible_whatever_its_provider_reports(
    budget: dict[str, int] | None, written: int | None
) -> None:
    team = [agent(name, max_tokens=10) for name in "ABC"]
    spec = json.dumps({"task": "TASK", "agents": team, "max_loops": 2, "budget": budget}).encode()
    given = lease(spec_sha256=sha256_hex(spec), pays_partial=True)
    found = audited(leased(given, spec=spec, answer=reporting(written)))
    assert (found["eligibility"], found["replay"]) == (("valid", "ok"), ("valid", "ok"))


@pytest.mark.parametrize("ceilings", [{"calls": 5}, {"output_tokens": 23}])
def test_one_call_or_one_token_beyond_the_ceilings_is_caught_by_eligibility(ceilings: dict[str, int]) -> None:
    used = Ceilings(calls=6, output_tokens=24).model_copy(update=ceilings)  # six answers of four tokens
    assert audited(leased(ceilings=used))["eligibility"] == ("mismatch", "over_budget")


@pytest.mark.parametrize("model", [AllowedModel(name="other"), AllowedModel(name="open", digest="sha256:" + "b" * 64)])
def test_a_model_that_the_lease_does_not_admit_is_caught_by_eligibility(model: AllowedModel) -> None:
    assert audited(leased(lease(models=(model,))))["eligibility"] == ("mismatch", "model_not_leased")


def test_a_model_admitted_by_name_alone_may_have_any_weights() -> None:
    assert audited(leased(lease(models=(AllowedModel(name="open"),))))["eligibility"] == ("valid", "ok")


def test_a_stale_token_is_caught_by_eligibility() -> None:
    assert audited(leased(), leases=Leases(leased(), "4"))["eligibility"] == ("mismatch", "stale_token")


def test_a_second_proof_under_one_lease_is_not_paid_again() -> None:
    other = leased(finished="2026-01-01T00:03:00.000Z")
    assert audited(other, leases=Leases(leased()))["eligibility"] == ("mismatch", "result_differs")


def test_the_same_lease_claimed_again_in_a_later_round_is_not_paid_again() -> None:
    later = {"leases": Leases(leased(), number=5), "expected": Expected("koii", "TASK", 6)}
    assert audited(leased(round=6), **later)["eligibility"] == ("mismatch", "result_differs")


def test_a_proof_that_was_not_reported_yet_is_not_measured() -> None:
    assert audited(leased(), leases=Leases(leased(), number=None))["eligibility"] == ("not_measured", "not_reported")


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        (Standing(stake_fault="stake 1 is below the minimum of 5", submission_fault=None), "not_staked"),
        (Standing(stake_fault=None, submission_fault="not among the submitters of round 5"), "not_submitted"),
    ],
)
def test_a_key_without_standing_is_caught_by_eligibility(standing: Standing, code: str) -> None:
    assert audited(leased(), chain=Chain(standing))["eligibility"] == ("mismatch", code)


@pytest.mark.parametrize(
    ("case", "code"),
    [({"chain": None}, "no_chain"), ({"chain": Chain(None)}, "rpc_down"), ({"leases": None}, "no_middle_server")],
)
def test_what_cannot_be_asked_is_not_measured_and_never_approved(case: dict[str, Any], code: str) -> None:
    assert audited(leased(), **case)["eligibility"] == ("not_measured", code)


def test_a_partial_result_is_unpaid_unless_the_lease_pays_for_it_but_no_fault() -> None:
    def answer(call: Any) -> Any:
        return failing("A")(call) if call.name == "A" else decode(call.request, IDENTITY)

    assert audited(leased(answer=answer))["eligibility"] == ("not_measured", "partial_not_payable")
    assert audited(leased(lease(pays_partial=True), answer=answer))["eligibility"] == ("valid", "ok")


def test_a_submission_opens_for_its_key_only() -> None:
    payload = Submission(taskId="T", roundNumber=1, stakingKey=SIGNER, pubKey=SIGNER, workItemId="w", statementSha256="0" * 64)
    data = sign_submission(payload, KEY)
    assert open_submission(data, SIGNER) == payload
