"""Whatever is killed, and whenever: nothing that was answered is asked again, nothing is leased or paid twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from orca.devnet.layout import TASK_ID, Member
from orca_agent.rounds.middle import MiddleClient, Todo
from orca_agent.rounds.settings import Identity
from orca_protocol.round_value import proofs_in
from tests.network.harness import PRICE, Network, network_in, new_name, refused, spec_of

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(open_folder: Path) -> AsyncIterator[Network]:
    async with network_in(open_folder, nodes=4) as network:
        yield network


@pytest_asyncio.fixture(loop_scope="module")
async def network(running: Network) -> AsyncIterator[Network]:
    yield running
    await running.repair()


async def is_paid_once(network: Network, item: str, before: dict[str, int]) -> Member:
    """Whoever's result stands was paid the price, and nobody else anything; returns who."""
    worker = (await network.author_of(item)).member
    earned = await network.earned()
    assert {key: earned[key] - before[key] for key in before} == {key: PRICE if key == worker.key else 0 for key in before}
    return worker


async def test_a_worker_that_is_killed_and_started_again_goes_on_under_its_lease_and_asks_nothing_twice(network: Network) -> None:
    name, before = new_name(), await network.earned()
    network.script(**{f"{name}A1": {"first": 1, "kind": "held"}})
    item = await network.post(spec_of(name, agents=3))
    worker = await network.worker_of(item)
    await network.until_asked(f"{name}A1")
    await network.kill(worker)
    await network.start(worker.member)
    assert await network.wind_until_over(item) == ["done"]

    assert [network.asked(f"{name}{agent}") for agent in ("A0", "A1", "A2")] == [1, 2, 1]
    assert await is_paid_once(network, item, before) == worker.member
    shown = await network.item(item)
    assert (shown["attempts"], shown["fencing_token"]) == (1, "1")


async def test_a_worker_that_stays_away_loses_its_item_and_its_late_result_is_refused_by_its_fencing_token(
    network: Network,
) -> None:
    await network.restart_middle(ORCA_MIDDLE_HEARTBEAT_SECONDS="4")
    name, before = new_name(), await network.earned()
    network.script(**{f"{name}A1": {"first": 1, "kind": "held"}})
    item = await network.post(spec_of(name))
    first = await network.worker_of(item)
    await network.until_asked(f"{name}A1")
    await network.kill(first)
    assert await network.wind_until_over(item) == ["done"]
    paid = await is_paid_once(network, item, before)
    assert paid != first.member
    assert (await network.item(item))["fencing_token"] == "2"

    again = await network.start(first.member)

    async def is_lost() -> bool:
        return [one["ending"] for one in await network.history(again, item)] == ["lease_lost: fencing_token_stale"]

    await network.wait(is_lost, "the first worker learns that its lease is lost")
    lease = (await network.history(again, item))[0]
    late = Todo(id=item, leaseId=lease["lease_id"], fencingToken="1", heartbeatSeconds=4, lease="", spec="")
    client = MiddleClient(network.devnet.middle_url, TASK_ID, Identity(first.member.staking, first.member.account))
    async with refused("fencing_token_stale"):
        await client.report(late, (await network.result(item))["cid"])
    await client.close()
    assert await is_paid_once(network, item, before) == paid


async def test_a_middle_server_that_is_killed_forgets_no_lease_and_gives_none_twice(network: Network) -> None:
    name, before = new_name(), await network.earned()
    network.script(**{f"{name}A1": {"kind": "held"}})
    item = await network.post(spec_of(name))
    worker = await network.worker_of(item)
    await network.until_asked(f"{name}A1")
    await network.restart_middle()
    assert (await network.item(item))["status"] == "leased"
    network.models.release()
    assert await network.wind_until_over(item) == ["done"]
    assert await is_paid_once(network, item, before) == worker.member
    assert ((await network.item(item))["attempts"], network.asked(f"{name}A1")) == (1, 1)


async def test_a_chain_that_is_killed_comes_back_as_it_was_and_the_round_goes_on(network: Network) -> None:
    name, before = new_name(), await network.earned()
    network.script(**{f"{name}A1": {"kind": "held"}})
    item = await network.post(spec_of(name))
    worker = await network.worker_of(item)
    await network.until_asked(f"{name}A1")
    known = await network.digest()
    await network.kill(network.devnet.chain_process)
    await network.devnet.start_chain()
    assert await network.digest() == known
    network.models.release()
    await network.wait(network.is_(item, "in_review"), "the worker reports")
    number = (await network.result(item))["round"]

    async def is_submitted() -> bool:
        return (await network.task()).submitted(number, worker.member.key) is not None

    await network.wind(is_submitted, "the proof is on chain")
    await network.kill(network.devnet.chain_process)
    await network.devnet.start_chain()
    assert await is_submitted()
    assert await network.wind_until_over(item) == ["done"]
    assert await is_paid_once(network, item, before) == worker.member


async def test_two_processes_on_one_key_do_an_item_once_and_are_paid_once(network: Network) -> None:
    original = network.devnet.nodes[0]
    before = await network.earned()
    twin = Member(original.member.number, original.member.home.with_name("twin"))
    await network.start(twin, DATABASE_URL=network.devnet.database("orca_twin"))
    others = [node for node in network.living if node.member.number != original.member.number]
    with network.stopped(others):
        item = await network.post()
        await network.wait(network.is_(item, "in_review"), "one of the two does it")
    assert (await network.author_of(item)).member.number == twin.number
    number = (await network.result(item))["round"]
    assert await network.wind_until_over(item) == ["done"]

    assert ((await network.item(item))["attempts"], (await network.item(item))["fencing_token"]) == (1, "1")
    submitted = (await network.task()).submissions[number][original.member.key]
    assert proofs_in(submitted.submission_value) == ((await network.result(item))["cid"],)
    assert await network.amounts(number) == {original.member.key: PRICE}
    await is_paid_once(network, item, before)


async def test_an_absent_auditor_changes_nothing_for_the_others(network: Network) -> None:
    before = await network.earned()
    item = await network.post()
    worker = await network.worker_of(item)
    await network.wait(network.is_(item, "in_review"), "the worker reports")
    absent = next(node for node in network.living if node is not worker)
    await network.kill(absent)
    number = (await network.result(item))["round"]
    assert await network.wind_until_over(item) == ["done"]
    said = await network.verdicts(number)
    assert set(said) == {node.member.key for node in network.living if node is not worker}
    assert await is_paid_once(network, item, before) == worker.member


async def test_an_item_whose_worker_is_gone_before_it_submitted_ends_unpaid_and_does_not_wait_for_ever(network: Network) -> None:
    before = await network.earned()
    item = await network.post()
    await network.wait(network.is_(item, "in_review"), "the worker reports")
    await network.kill(await network.author_of(item))
    assert await network.wind_until_over(item) == ["unpaid"]
    assert await network.earned() == before


async def test_no_lease_is_given_while_the_chain_cannot_tell_who_is_staked(network: Network) -> None:
    before = await network.earned()
    await network.kill(network.devnet.chain_process)
    await network.restart_middle()  # it remembers for a moment who was staked
    item = await network.post()
    member = network.living[0].member
    client = MiddleClient(network.devnet.middle_url, TASK_ID, Identity(member.staking, member.account), patience=0.1)
    async with refused("connect_failed", "timeout", "chain_unavailable"):
        await client.fetch_todo("a-claim-of-the-test")
    await client.close()
    shown = await network.item(item)
    assert (shown["status"], shown["attempts"]) == ("queued", 0)

    await network.devnet.start_chain()
    await network.wait(network.is_(item, "leased", "reported", "in_review"), "somebody claims it")
    assert await network.wind_until_over(item) == ["done"]
    await is_paid_once(network, item, before)
