"""The loop: what is due is done, failures are tried again in their own time, and no duty stands in another's way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from koii_chain.client import ChainClient, Snapshot
from koii_chain.distribution import Claim, Distribution
from koii_chain.lists import Amounts
from koii_chain.rpc import JsonRpc, RpcSettings
from koii_chain.state import Submission, TaskState, Trigger, VoteRecord
from orca_agent.rounds.acting import Acting
from orca_agent.rounds.auditing import Auditing
from orca_agent.rounds.middle import Result
from orca_agent.rounds.node import NodeParts, RoundsNode, draw
from orca_agent.rounds.paying import Paying, Reading
from orca_agent.rounds.schedule import Duty
from orca_agent.rounds.status import Look, describe
from orca_agent.rounds.submitting import Submitting
from orca_agent.rounds.telling import Telling
from orca_agent.store.records import NodeRecords, Review
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.verdict import Vote
from tests.unit.koii_chain.tasks import task
from tests.unit.orca_agent.rounds.claims import QuietMiddle
from tests.unit.orca_agent.rounds.serving import identity, node_settings, until

ME, PEER, OTHER = (identity(number).key for number in (1, 2, 3))
CID, CID2 = (f"b{letter * 58}" for letter in "ac")
#: rounds of 100 slots: submissions for round 5 from 600 to 640, audits from 640, lists from 740, payouts from 800
ROUND = 5


def entry(value: str = CID, number: int = ROUND, slot: int = 600) -> Submission:
    return Submission(submission_value=value, slot=slot, round=number)


class World(ChainClient, Acting):
    """A chain, what this node does on it, and what goes wrong with it."""

    def __init__(self) -> None:
        ChainClient.__init__(self, JsonRpc(RpcSettings(("http://127.0.0.1:1",))))
        self.now = 610
        self.state: TaskState = task(stake_list=dict.fromkeys([ME, PEER, OTHER], 1000))
        #: an older state that is kept, with its slot
        self.kept: Snapshot | None = None
        self.amounts: dict[str, Amounts] = {}
        self.errors: dict[str, list[Exception]] = {}
        self.done: list[tuple[Any, ...]] = []

    async def slot(self) -> int:
        self._fail("slot")
        return self.now

    async def task(self, task_id: str) -> Snapshot:
        return self.kept or Snapshot(self.state, self.now, 0.0)

    async def fresh_task(self, task_id: str) -> Snapshot:
        self.kept = None
        return Snapshot(self.state, self.now, 0.0)

    async def lists(self, task_id: str, number: int) -> dict[str, Amounts]:
        return self.amounts

    def change(self, **fields: Any) -> None:
        self.state = self.state.model_copy(update=fields)

    async def submit(self, number: int, value: str) -> None:
        self._note("submit", number, value)
        self.change(submissions=self.state.submissions | {number: self.state.submissions.get(number, {}) | {ME: entry(value)}})

    async def vote(self, number: int, worker: str, *, is_valid: bool) -> None:
        self._note("vote", number, worker, is_valid)
        vote = VoteRecord(is_valid=is_valid, voter=ME, slot=1)
        self.change(submissions_audit_trigger={number: {worker: Trigger(trigger_by=ME, slot=1, votes=(vote,))}})

    async def put_list(self, number: int, amounts: Amounts) -> None:
        self._note("list", number, amounts)
        self.change(distribution_rewards_submission={number: {ME: entry(ME, number, self.now)}})

    async def vote_on_list(self, number: int, maker: str, *, is_valid: bool) -> None:
        self._note("for" if is_valid else "against", number, maker)
        votes = self.state.distributions_audit_trigger.get(number, {})
        vote = VoteRecord(is_valid=is_valid, voter=ME, slot=1)
        before = votes[maker].votes if maker in votes else ()
        self.change(distributions_audit_trigger={number: votes | {maker: Trigger(trigger_by=ME, slot=1, votes=(*before, vote))}})

    async def pay_out(self, number: int, maker: str) -> None:
        self._note("payout", number, maker)
        self.change(distributions_audit_record={number: "PayoutSuccessful"})

    async def collect(self, given: TaskState) -> None:
        self._note("collect")
        self.change(available_balances={})

    def _note(self, kind: str, *what: Any) -> None:
        self.done.append((kind, *what))
        self._fail(kind)

    def _fail(self, kind: str) -> None:
        waiting = self.errors.get(kind)
        if waiting:
            raise waiting.pop(0)

    def times(self, kind: str) -> int:
        return sum(1 for one in self.done if one[0] == kind)


class Judge(Auditing):
    """Says what it was told to."""

    def __init__(self, records: NodeRecords) -> None:
        self.records = records
        self.votes: dict[Claim, Vote] = {}
        self.asked: list[Claim] = []
        self.may_speak = asyncio.Event()
        self.may_speak.set()

    async def review(self, number: int, claim: Claim) -> Review:
        self.asked.append(claim)
        await self.may_speak.wait()
        made = Review(number, *claim, self.votes.get(claim, "approve"), "because", b"d", None)
        await self.records.keep_review(made)
        return made


class Values(Submitting):
    def __init__(self) -> None:
        self.value = "idle:no_work"

    async def value_for(self, number: int) -> str:
        return self.value


class Payer(Paying):
    def __init__(self) -> None:
        self.amounts: Amounts = {PEER: 5}
        self.missing: list[str] = []
        self.given: list[TaskState] = []

    async def distribution(self, given: TaskState, number: int) -> tuple[Distribution, Reading]:
        self.given.append(given)
        return Distribution(self.amounts, {(PEER, CID): "paid"}), Reading(missing=self.missing)


class Server(QuietMiddle):
    def __init__(self) -> None:
        super().__init__()
        self.announced = 0
        self.settled: list[int] = []
        self.errors: list[OrcaError] = []
        self.late: list[OrcaError] = []

    async def announce(self, gateway: str) -> None:
        self.announced += 1
        if self.errors:
            raise self.errors.pop(0)

    async def settle(self, number: int) -> None:
        self.settled.append(number)
        if self.late:
            raise self.late.pop(0)


class Heard(Telling):
    def __init__(self) -> None:
        self.rounds: list[int] = []

    async def tell(self, number: int, distribution: Distribution, reading: Reading) -> None:
        self.rounds.append(number)


class Scene:
    """A node that stands alone; ``time`` is what its waits are measured by."""

    def __init__(self, records: NodeRecords) -> None:
        self.records, self.world, self.middle = records, World(), Server()
        self.judge, self.values, self.payer, self.heard = Judge(records), Values(), Payer(), Heard()
        self.time = 0.0
        self.node = self.started()

    def started(self, **changed: Any) -> RoundsNode:
        parts = NodeParts(ME, self.world, self.middle, self.records, self.judge, self.values, self.payer, self.world, self.heard)
        self.node = RoundsNode(
            node_settings(**({"look_every": 0.01, "retry_after": 1.0} | changed)), parts, steady=lambda: self.time
        )
        return self.node

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self.node.serve())
        try:
            yield
            assert not serving.done(), "the node goes on"
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    async def looks(self, count: int = 3) -> None:
        """Wait until the node has looked so many times more."""
        goal = self.node.look.count + count
        await until(lambda: self.node.look.count >= goal)

    @property
    def busy(self) -> list[str]:
        return [duty.kind for duty in self.node.look.due]

    @property
    def troubles(self) -> dict[str, str]:
        return {duty.kind: reason for duty, reason in self.node.look.troubles.items()}


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with NodeRecords(database_url) as records:
        yield Scene(records)


async def test_what_is_due_is_done_once_and_then_there_is_nothing(scene: Scene) -> None:
    async with scene.serving():
        await until(lambda: scene.world.times("submit") == 1)
        await scene.looks()
    assert scene.world.done == [("submit", ROUND, "idle:no_work")]
    look = scene.node.look
    assert (look.slot, look.round, look.next_slot, look.due, look.troubles, look.blind) == (610, 6, 630, [], {}, None)
    assert (await scene.records.recent_rounds())[0]["submitted"] == "idle:no_work"


async def test_what_the_chain_took_is_kept_and_not_what_would_be_said_now(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken_before(number: int, value: str) -> None:
        scene.world.change(submissions={ROUND: {ME: entry("idle:earlier")}})

    monkeypatch.setattr(scene.world, "submit", taken_before)
    async with scene.serving():
        await until(lambda: scene.world.state.submitted(ROUND, ME) is not None)
        await scene.looks()
    assert (await scene.records.recent_rounds())[0]["submitted"] == "idle:earlier"


async def test_a_world_that_does_not_answer_is_asked_again_after_its_wish_and_waited_for(scene: Scene) -> None:
    scene.world.errors["submit"] = [UnavailableError("rpc_down", "away", retry_after=7.0), UnavailableError("rpc_down", "away")]
    async with scene.serving():
        await until(lambda: scene.world.times("submit") == 1)
        scene.time = 6.9
        await scene.looks()
        assert (scene.world.times("submit"), scene.busy, scene.troubles) == (1, ["submit"], {})
        scene.time = 7.0
        await until(lambda: scene.world.times("submit") == 2)
        scene.time = 7.9
        await scene.looks()
        assert scene.world.times("submit") == 2
        scene.time = 8.0
        await until(lambda: scene.world.state.submitted(ROUND, ME) is not None)
        await scene.looks()
        assert scene.busy == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidError("late_submission", "closed"), "late_submission: closed"),
        (LimitError("too_much", "of it"), "too_much: of it"),
        (RuntimeError("a secret"), "internal_error: RuntimeError"),
        (KeyError("bug"), "internal_error: KeyError"),
    ],
)
async def test_a_refusal_and_a_mistake_are_troubles_that_nobody_waits_for_and_tried_again_later(
    scene: Scene, error: Exception, reason: str
) -> None:
    scene.world.errors["submit"] = [error]
    scene.world.change(available_balances={ME: 5})
    async with scene.serving():
        await until(lambda: scene.troubles == {"submit": reason})
        await until(lambda: scene.world.times("collect") == 1)
        scene.time = 4.9
        await scene.looks()
        assert (scene.world.times("submit"), scene.busy) == (1, [])
        scene.time = 5.0
        await until(lambda: scene.world.times("submit") == 2)
        await scene.looks()
        assert scene.troubles == {}


async def test_a_trouble_is_forgotten_when_its_duty_is_due_no_more(scene: Scene) -> None:
    scene.world.errors["submit"] = [InvalidError("no", "no")]
    async with scene.serving():
        await until(lambda: scene.troubles != {})
        scene.world.now = 640
        await scene.looks()
        assert scene.troubles == {}
        assert describe(scene.node.look, key=ME, working=None, idle=None, run_id=None)["troubles"] == []


async def test_an_audit_that_takes_long_keeps_no_submission_from_its_window(scene: Scene) -> None:
    scene.judge.may_speak.clear()
    scene.world.change(submissions={ROUND - 1: {PEER: entry(number=ROUND - 1, slot=500)}})
    async with scene.serving():
        await until(lambda: scene.judge.asked == [(PEER, CID)])
        await scene.looks()
        assert (scene.busy, scene.world.done) == (["audit"], [])
        scene.world.now = 630
        await until(lambda: scene.world.times("submit") == 1)
        await scene.looks()
        assert scene.busy == ["audit"]
        scene.judge.may_speak.set()
        await scene.looks()
        assert scene.busy == []
    assert scene.judge.asked == [(PEER, CID)]


async def test_a_proof_that_is_not_reported_yet_is_waited_for(scene: Scene) -> None:
    claim = await scene.records.begin_claim("c")
    proved = await scene.records.move(claim, "proved", todo="{}", round=ROUND, cid=CID)
    async with scene.serving():
        await scene.looks()
        assert scene.world.done == []
        await scene.records.move(proved, "reported")
        await until(lambda: scene.world.times("submit") == 1)


async def test_a_chain_that_cannot_be_looked_at_is_said_and_looked_at_again(scene: Scene) -> None:
    scene.world.errors["slot"] = [InvalidError("rpc_malformed", "nonsense")] * 3
    async with scene.serving():
        await until(lambda: scene.node.look.blind == "rpc_malformed: nonsense")
        assert scene.node.look.count == 0
        await scene.looks()
        assert scene.node.look.blind is None


async def test_nothing_is_done_upon_a_state_that_is_older_than_the_slot(scene: Scene) -> None:
    old = scene.world.state
    scene.world.change(submissions={ROUND: {ME: entry(), PEER: entry()}, ROUND + 1: {PEER: entry("idle:x", ROUND + 1, 739)}})
    scene.world.now, scene.world.kept = 740, Snapshot(old.model_copy(update={"submissions": {ROUND: {ME: entry()}}}), 735, 0.0)
    for slot in (740, 800, 900):
        scene.world.now = slot
        async with scene.serving():
            await scene.looks()
    assert scene.world.times("list") == 1
    assert all(given.submissions.get(ROUND + 1) for given in scene.payer.given)


async def test_what_is_audited_is_drawn_when_everything_is_on_chain(scene: Scene) -> None:
    complete = {ROUND: {ME: entry(), PEER: entry(), OTHER: entry(CID2)}}
    scene.world.change(submissions=complete)
    scene.world.now = 640
    scene.world.kept = Snapshot(scene.world.state.model_copy(update={"submissions": {ROUND: {PEER: entry()}}}), 639, 0.0)
    async with scene.serving():
        await until(lambda: len(scene.judge.asked) == 2)
        await scene.looks()
    assert sorted(scene.judge.asked) == sorted([(PEER, CID), (OTHER, CID2)])


async def test_what_was_judged_before_a_restart_is_not_judged_again_and_counts_among_what_is_drawn(scene: Scene) -> None:
    await scene.records.keep_review(Review(ROUND, PEER, CID, "approve", "because", b"d", None))
    scene.world.change(submissions={ROUND: {ME: entry(), PEER: entry(), OTHER: entry(CID2)}})
    scene.world.now = 640
    scene.started(audits_per_round=1)
    async with scene.serving():
        await scene.looks()
    assert scene.judge.asked == []
    scene.started(audits_per_round=2)
    async with scene.serving():
        await until(lambda: scene.judge.asked == [(OTHER, CID2)])


def test_a_draw_is_of_others_and_not_of_more_than_was_told() -> None:
    claims = frozenset((worker, CID) for worker in (ME, PEER, OTHER))
    assert draw(claims, ME, 5) == {(PEER, CID), (OTHER, CID)}
    assert len(draw(claims, ME, 1)) == 1
    assert len({draw(claims, ME, 1) for _ in range(100)}) == 2, "nobody can foresee it"
    assert draw(claims, ME, 1, {(PEER, CID)}) == {(PEER, CID)}
    assert draw(claims, ME, 0) == frozenset()


async def test_a_fault_is_voted_against_and_a_dispute_about_a_good_submission_for(scene: Scene) -> None:
    scene.judge.votes[PEER, CID] = "reject"
    scene.world.change(submissions={ROUND: {ME: entry(), PEER: entry(), OTHER: entry(CID2)}})
    scene.world.now = 640
    async with scene.serving():
        await until(lambda: scene.world.times("vote") == 1)
        vote = VoteRecord(is_valid=False, voter=PEER, slot=1)
        triggers = scene.world.state.submissions_audit_trigger[ROUND]
        scene.world.change(submissions_audit_trigger={ROUND: triggers | {OTHER: Trigger(trigger_by=PEER, slot=1, votes=(vote,))}})
        await until(lambda: scene.world.times("vote") == 2)
    assert scene.world.done == [("vote", ROUND, PEER, False), ("vote", ROUND, OTHER, True)]


async def test_a_list_that_pays_nobody_is_not_put_on_chain(scene: Scene) -> None:
    scene.payer.amounts = {PEER: -5}
    scene.world.change(submissions={ROUND: {ME: entry()}})
    scene.world.now = 740
    async with scene.serving():
        await until(lambda: scene.payer.given != [])
        await scene.looks()
    assert scene.world.done == []
    assert len(scene.payer.given) == 1
    assert await scene.records.has_outcomes(ROUND)


@pytest.mark.parametrize(
    ("listed", "missing", "is_against"),
    [({PEER: 5}, [], False), ({PEER: 6}, [], True), ({OTHER: 5}, [], True), ({OTHER: 5}, ["verdicts of somebody"], False)],
    ids=["the same", "another price", "another worker", "this node cannot tell"],
)
async def test_a_list_is_voted_against_where_this_node_knows_that_it_is_wrong(
    scene: Scene, listed: Amounts, missing: list[str], is_against: bool
) -> None:
    scene.world.change(submissions={ROUND: {PEER: entry()}}, distribution_rewards_submission={ROUND: {PEER: entry(PEER, slot=741)}})
    scene.world.amounts = {PEER: listed}
    scene.payer.missing = missing
    scene.world.now = 745
    async with scene.serving():
        await until(lambda: scene.payer.given != [])
        await scene.looks()
    assert scene.world.done == ([("against", ROUND, PEER)] if is_against else [])
    assert len(scene.payer.given) == 1


async def test_a_list_that_this_node_knows_to_be_right_is_defended(scene: Scene) -> None:
    scene.world.change(submissions={ROUND: {PEER: entry()}}, distribution_rewards_submission={ROUND: {PEER: entry(PEER, slot=741)}})
    scene.world.amounts = {PEER: {PEER: 5}}
    scene.world.now = 745
    async with scene.serving():
        await until(lambda: scene.payer.given != [])
        await scene.looks()
        assert scene.world.done == []
        vote = VoteRecord(is_valid=False, voter=OTHER, slot=1)
        scene.world.change(distributions_audit_trigger={ROUND: {PEER: Trigger(trigger_by=OTHER, slot=1, votes=(vote,))}})
        await until(lambda: scene.world.times("for") == 1)
        await scene.looks()
    assert scene.world.done == [("for", ROUND, PEER)]


async def test_what_another_process_with_this_key_made_is_left_to_it_until_the_window_ends(scene: Scene) -> None:
    scene.middle.standing = [
        Result(work_item="w", worker=ME, cid=CID, required_checks=[]),
        Result(work_item="v", worker=PEER, cid=CID2, required_checks=[]),
    ]
    async with scene.serving():
        await until(lambda: scene.troubles.get("submit", "").startswith("key_used_twice: "))
        await scene.looks()
        assert scene.world.done == []
        scene.world.now, scene.time = 630, 5.0
        await until(lambda: scene.world.times("submit") == 1)


@pytest.mark.parametrize("error", [UnavailableError("middle_server_unavailable", "away"), InvalidError("round_unknown", "no")])
async def test_a_middle_server_that_does_not_tell_keeps_no_submission(scene: Scene, error: OrcaError) -> None:
    scene.middle.error = error
    async with scene.serving():
        await until(lambda: scene.world.times("submit") == 1)


async def test_a_round_ends_with_its_payout_its_reward_and_a_word_to_the_middle_server(scene: Scene) -> None:
    scene.world.change(
        submissions={ROUND: {ME: entry()}},
        distribution_rewards_submission={ROUND: {ME: entry(ME, slot=741)}},
        available_balances={ME: 5},
    )
    scene.world.now = 850
    async with scene.serving():
        await until(lambda: scene.middle.settled == [ROUND])
        await scene.looks()
        assert scene.busy == []
    assert sorted(scene.world.done) == [("collect",), ("payout", ROUND, ME)]
    assert await scene.records.settled_rounds() == {ROUND}
    (row,) = await scene.records.recent_rounds()
    assert json.loads(row["outcomes"])["claims"][0]["outcome"] == "paid"
    assert set(scene.heard.rounds) == {ROUND}
    scene.started()
    async with scene.serving():
        await scene.looks()
    assert scene.middle.settled == [ROUND]


async def test_a_server_that_reads_the_chain_a_moment_later_is_waited_for(scene: Scene) -> None:
    scene.world.change(submissions={ROUND: {PEER: entry()}}, distributions_audit_record={ROUND: "PayoutSuccessful"})
    scene.world.now = 850
    scene.middle.late = [InvalidError("distribution_absent", "not yet")]
    async with scene.serving():
        await until(lambda: scene.middle.settled == [ROUND])
        await scene.looks()
        assert (scene.busy, scene.troubles) == (["settle"], {})
        scene.time = 1.0
        await until(lambda: scene.middle.settled == [ROUND, ROUND])
        await scene.looks()
        assert scene.busy == []


async def test_a_server_that_did_not_hear_is_told_again_that_this_node_is_there(scene: Scene) -> None:
    scene.middle.errors = [UnavailableError("middle_server_unavailable", "away"), InvalidError("not_staked", "no stake")]
    scene.started(retry_after=0.01)
    async with scene.serving():
        await until(lambda: scene.middle.announced == 3)
        await scene.looks()
    assert scene.middle.announced == 3


async def test_before_the_task_begins_nothing_is_due(scene: Scene) -> None:
    scene.world.change(starting_slot=1000)
    async with scene.serving():
        await scene.looks()
    look = scene.node.look
    assert (look.round, look.next_slot, look.due, scene.world.done) == (None, 1000, [], [])


def test_a_status_says_what_is_done_and_why_a_node_is_idle() -> None:
    look = Look()
    assert describe(look, key="k", working=None, idle="nothing", run_id=None)["idle"] == "the chain was not looked at yet"
    look.blind, look.slot, look.due = None, 7, [Duty(5, "check_list", "maker"), Duty(6, "submit")]
    look.troubles = {Duty(6, "vote", "w"): "no: no"}
    said = describe(look, key="k", working="work item w", idle="nothing", run_id="r")
    assert said["busy"] == ["work item w", "check list round 5 (maker)", "submit round 6"]
    assert (said["idle"], said["run_id"], said["slot"]) == (None, "r", 7)
    assert said["troubles"] == [{"duty": "vote round 6 (w)", "reason": "no: no"}]
    assert describe(look, key="k", working=None, idle="nothing", run_id=None)["idle"] == "nothing"
