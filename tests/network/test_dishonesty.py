"""Whoever cheats is found out by the others, and whoever cannot be checked is neither paid nor cut."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from koii_chain.stake import is_upheld
from koii_chain.state import TaskState
from orca.devnet.layout import STAKE
from orca.devnet.network import NodeProcess
from orca_protocol.documents import read
from orca_protocol.journal import read_journal
from orca_protocol.output import OUTPUT_MAX_BYTES, Output
from orca_protocol.verdict_bundle import SignedVerdict
from orca_protocol.verdict_statement import VerdictStatement, open_verdict, sign_verdict
from proof_store.base import MemoryBlocks
from proof_store.blocks import DirectoryBlocks
from proof_store.cid import Cid
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.limits import ReadLimits
from proof_store.reader import read_directory
from tests.integration.proof_store.serving import scripted, served
from tests.network.harness import PRICE, Network, network_in
from tests.network.players import Player, copied_from, players_of, with_edited_answer

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
CUT = STAKE * 7 // 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(open_folder: Path) -> AsyncIterator[Network]:
    async with network_in(open_folder, nodes=3) as network:
        yield network


@pytest_asyncio.fixture(loop_scope="module")
async def network(running: Network) -> AsyncIterator[Network]:
    yield running
    await running.repair()


@dataclass(frozen=True)
class Served:
    """What the test's process gives away."""

    blocks: MemoryBlocks
    url: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Served]:
    blocks = MemoryBlocks()
    async with served(create_gateway(blocks, GatewaySettings())) as url:
        yield Served(blocks, url)


def files_of(node: NodeProcess, cid: str) -> dict[str, bytes]:
    """A package as it lies in a node's own store."""
    return read_directory(Cid.parse(cid), DirectoryBlocks(node.member.home / "blocks"), ReadLimits())


def found(said: Iterable[VerdictStatement], cid: str, check: str) -> list[tuple[str, str, str]]:
    """What verdicts say of a proof: the vote, and what one check found."""
    return [
        (one.predicate.vote, result.verdict, result.code)
        for one in said
        if one.cid == cid
        for result in one.predicate.checks
        if result.check == check
    ]


async def each_said(network: Network, number: int, cid: str, check: str) -> list[tuple[str, str, str]]:
    """What every auditor said of a proof, in its submission on chain."""
    said = await network.verdicts(number)
    return [one for verdicts in said.values() for one in found(verdicts, cid, check)]


async def is_disputed(network: Network, number: int, player: Player) -> bool:
    """Whether a rejection of a submission stands on chain."""
    task = await network.task()
    return is_upheld(task.submissions_audit_trigger.get(number, {}).get(player.key), task.stake_list)


async def stakes_of(network: Network, *keys: str) -> list[int]:
    task: TaskState = await network.task()
    return [task.stake_list.get(key, 0) for key in keys]


@dataclass(frozen=True)
class Trial:
    """One round with an honest item, an edited one, a copied one, and a lease that was claimed and paid in the round before.

    What the chain said of it is noted at once: it keeps the last rounds only.
    """

    edited: list[tuple[str, str, str]]
    edited_signature: list[tuple[str, str, str]]
    copied: list[tuple[str, str, str]]
    twice: list[tuple[str, str, str]]
    disputed: list[bool]
    stakes: list[int]
    earned: list[int]
    #: what was paid out for the round before, and for the round itself; the honest worker is ``worker``
    paid_before: dict[str, int]
    paid: dict[str, int]
    worker: str
    players: list[str]
    statuses: list[str]
    #: whose results stand in the end for the edited and the copied item
    successors: list[str]
    nodes: set[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trial(running: Network, gateway: Served) -> Trial:
    network = running
    async with players_of(network, gateway.url, gateway.blocks, 11, 12, 13) as players:
        editor, copier, repeater = players
        number = await network.round()
        twice = await repeater.take()
        await repeater.report(twice, number, repeater.work(twice, number))
        clock = (await network.task()).clock
        await network.wind_to(clock.start_of(number + 1))
        await repeater.submit(number)

        number += 1
        honest = await network.post()
        await network.wait(network.is_(honest, "in_review"), "a node works honestly")
        worker = await network.author_of(honest)
        edited, copied = await editor.take(), await copier.take()
        package = files_of(worker, str((await network.result(honest))["cid"]))
        output = read(Output, package["output.json"], max_bytes=OUTPUT_MAX_BYTES, where="output.json")
        copy = copied_from(read_journal(package["journal.jsonl"]), output)
        of_edited, of_copied = editor.work(edited, number, with_edited_answer), copier.work(copied, number, copy)
        of_twice = repeater.work(twice, number)
        await editor.report(edited, number, of_edited)
        await copier.report(copied, number, of_copied)
        await network.wind_to(clock.start_of(number + 1))
        for player in players:
            await player.submit(number)
        statuses = await network.wind_until_over(honest, edited.id, copied.id, twice.id)
        return Trial(
            edited=await each_said(network, number, of_edited, "replay"),
            edited_signature=await each_said(network, number, of_edited, "authenticity"),
            copied=await each_said(network, number, of_copied, "replay"),
            twice=await each_said(network, number, of_twice, "eligibility"),
            disputed=[await is_disputed(network, number, player) for player in players],
            stakes=await stakes_of(network, *(player.key for player in players)),
            earned=[await player.earned() for player in players],
            paid_before=await network.amounts(number - 1),
            paid=await network.amounts(number),
            worker=worker.member.key,
            players=[player.key for player in players],
            statuses=statuses,
            successors=[(await network.result(todo.id))["worker"] for todo in (edited, copied)],
            nodes={node.member.key for node in network.devnet.nodes},
        )


async def test_answers_that_were_edited_are_rejected_by_replay_though_all_of_it_is_signed(trial: Trial) -> None:
    assert trial.edited == [("reject", "mismatch", "request_differs")] * 3
    assert trial.edited_signature == [("reject", "valid", "ok")] * 3


async def test_somebody_elses_run_under_ones_own_label_is_rejected_by_replay(trial: Trial) -> None:
    assert trial.copied == [("reject", "mismatch", "request_differs")] * 3


async def test_a_lease_that_is_claimed_in_a_second_round_is_paid_for_the_first_and_rejected_in_the_second(trial: Trial) -> None:
    assert trial.twice == [("reject", "mismatch", "result_differs")] * 3
    assert trial.paid_before == {trial.players[2]: PRICE}


async def test_who_is_rejected_is_cut_and_earns_nothing_where_somebody_honest_is_paid(trial: Trial) -> None:
    assert trial.disputed == [True] * 3
    assert trial.paid == {trial.worker: PRICE, **dict.fromkeys(trial.players, -CUT)}
    assert trial.stakes == [STAKE - CUT] * 3
    assert trial.earned == [0, 0, PRICE]


async def test_a_rejected_item_goes_to_another_node(trial: Trial) -> None:
    assert trial.statuses == ["done"] * 4
    assert set(trial.successors) <= trial.nodes


async def test_a_round_that_pays_nobody_cuts_nobody(network: Network, gateway: Served) -> None:
    async with players_of(network, gateway.url, gateway.blocks, 14) as (player,):
        number = await network.round()
        todo = await player.take()
        cid = player.work(todo, number, with_edited_answer)
        await player.report(todo, number, cid)
        await network.wind_to((await network.task()).clock.start_of(number + 1))
        await player.submit(number)
        assert await network.wind_until_over(todo.id) == ["done"]
        assert await each_said(network, number, cid, "replay") == [("reject", "mismatch", "request_differs")] * 3
        assert await is_disputed(network, number, player)
        assert (await network.result(todo.id))["worker"] != player.key
        assert await player.earned() == 0
        assert await stakes_of(network, player.key) == [STAKE]


async def test_an_auditor_that_reads_less_abstains_and_its_worker_is_neither_paid_nor_cut(network: Network) -> None:
    worker, small, _ = network.devnet.nodes
    small = await network.restart(small, ORCA_PACKAGE_MAX_BYTES="1024")
    before = await network.earned()
    item = await network.post_for(worker)
    await network.wait(network.is_(item, "in_review"), "the worker reports")
    result = await network.result(item)
    assert await network.wind_until_over(item) == ["unpaid"]

    said = await network.verdicts(result["round"])
    assert found(said[small.member.key], result["cid"], "integrity") == [("abstain", "not_measured", "over_own_limits")]
    outcomes = await network.outcomes(worker, result["round"])
    assert outcomes["claims"][result["cid"]]["outcome"] == "too_few_approvals"
    assert await network.earned() == before
    assert await stakes_of(network, worker.member.key) == [STAKE]


async def test_no_forged_verdict_counts_beside_right_ones_that_do(network: Network, gateway: Served) -> None:
    worker, small, auditor = network.devnet.nodes
    small = await network.restart(small, ORCA_PACKAGE_MAX_BYTES="1024")
    number = await network.round()
    items = [await network.post_for(worker) for _ in range(2)]
    for item in items:
        await network.wait(network.is_(item, "in_review"), "the worker reports")
    unpaid, paid = items
    cids = {item: str((await network.result(item))["cid"]) for item in items}
    assert [(await network.result(item))["round"] for item in items] == [number, number]

    async def is_audited() -> bool:
        return len([await verdict_of(network, item, auditor) for item in items if await verdict_of(network, item, auditor)]) == 2

    await network.wind(is_audited, "the auditor has said what it found")
    await network.kill(worker)  # from here on the test signs with its key
    await network.wind_to((await network.task()).clock.start_of(number + 2))
    right = {item: await verdict_of(network, item, auditor) for item in items}

    def told(item: str, by: Player | NodeProcess, **changes: object) -> SignedVerdict:
        """An approval of an item's proof by somebody's own key."""
        known = right[item]
        assert known is not None
        predicate = known.predicate.model_copy(update={"auditor": by.member.key, **changes})
        document = sign_verdict(known.model_copy(update={"predicate": predicate}), by.member.staking)
        return SignedVerdict(worker.member.key, cids[item], document, None)

    async with players_of(network, gateway.url, gateway.blocks, 15, 16) as (passing, narrow):
        own = Player(network, worker.member, gateway.url, gateway.blocks)
        await own.submit(number + 1, [told(unpaid, worker)])
        await own.close()
        await passing.submit(number + 1, [told(unpaid, small), told(paid, passing)])
        await passing.middle.publish(told(paid, passing).document)
        await narrow.submit(number + 1, [told(unpaid, narrow, required=("integrity",))])
        assert await network.wind_until_over(*items) == ["unpaid", "done"]

        outcomes = await network.outcomes(auditor, number)
        assert outcomes["missing"] == []
        claims = {item: outcomes["claims"][cids[item]] for item in items}
        assert [(claim["outcome"], claim["approvals"]) for claim in claims.values()] == [
            ("too_few_approvals", [auditor.member.key]),
            ("paid", sorted([auditor.member.key, passing.key])),
        ]
        assert await network.amounts(number) == {worker.member.key: PRICE}


async def verdict_of(network: Network, item: str, auditor: NodeProcess) -> VerdictStatement | None:
    """What an auditor told the middle server of an item."""
    async with httpx.AsyncClient(base_url=network.devnet.middle_url, timeout=20.0, trust_env=False) as http:
        shown = (await http.get("/v1/verdicts", params={"work_item": item, "auditor": auditor.member.key})).json()["verdicts"]
    return open_verdict(base64.b64decode(shown[0]["document"]), auditor.member.key) if shown else None


async def test_a_right_list_that_somebody_votes_against_is_defended_by_the_others_and_paid(
    network: Network, gateway: Served
) -> None:
    async with players_of(network, gateway.url, gateway.blocks, 18) as (player,):
        item = await network.post()
        await network.wait(network.is_(item, "in_review"), "the worker reports")
        number = (await network.result(item))["round"]

        async def is_listed() -> bool:
            return bool((await network.task()).distribution_rewards_submission.get(number))

        await network.wind(is_listed, "the list is on chain")
        (maker,) = (await network.task()).distribution_rewards_submission[number]
        await player.acting.vote_on_list(number, maker, is_valid=False)
        assert await network.wind_until_over(item) == ["done"]
        assert await network.amounts(number) == {(await network.author_of(item)).member.key: PRICE}
        against = (await network.task()).distributions_audit_trigger[number][maker].votes
        assert {vote.voter: vote.is_valid for vote in against} == {player.key: False} | {
            node.member.key: True for node in network.devnet.nodes if node.member.key != maker
        }


async def test_a_package_whose_worker_is_gone_before_the_audit_is_neither_paid_nor_cut(network: Network) -> None:
    worker = network.devnet.nodes[0]
    before = await network.earned()
    item = await network.post_for(worker)
    await network.wait(network.is_(item, "in_review"), "the worker reports")
    result = await network.result(item)

    async def is_submitted() -> bool:
        return (await network.task()).submitted(result["round"], worker.member.key) is not None

    await network.wind(is_submitted, "the proof is on chain")
    await network.kill(worker)
    await is_left_alone(network, item, result["round"], result["cid"], worker.member.key)
    assert await network.earned() == before


async def test_a_gateway_that_gives_other_bytes_is_no_rejection_of_the_worker(network: Network, gateway: Served) -> None:
    async def lie(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.raw\r\nContent-Length: 5\r\n\r\nother")
        await writer.drain()

    async with scripted(lie) as url, players_of(network, url, MemoryBlocks(), 17) as (player,):
        number = await network.round()
        todo = await player.take()
        cid = player.work(todo, number)
        await player.report(todo, number, cid)
        await network.wind_to((await network.task()).clock.start_of(number + 1))
        await player.submit(number)
        await is_left_alone(network, todo.id, number, cid, player.key)
        assert await player.earned() == 0


async def is_left_alone(network: Network, item: str, number: int, cid: str, worker: str) -> None:
    """The item ends unpaid, because nobody could get its package, and its worker keeps its stake."""
    assert await network.wind_until_over(item) == ["unpaid"]
    said = await each_said(network, number, cid, "integrity")
    auditors = [node for node in network.devnet.nodes if node.member.key != worker]
    assert said == [("abstain", "not_measured", "data_unavailable")] * len(auditors)
    assert (await network.task()).submissions_audit_trigger.get(number, {}) == {}
    assert await stakes_of(network, worker) == [STAKE]
