from __future__ import annotations

import pytest

from koii_chain import calls
from koii_chain.devnet.rounds import KEPT_ROUNDS
from orca_protocol.errors import InvalidError
from tests.unit.koii_chain.devnets import BOUNTY, STAKE, Devnet, Person

PRICE = 3_000_000


def refused(code: str) -> pytest.RaisesExc[InvalidError]:
    return pytest.RaisesExc(InvalidError, check=lambda error: error.code == code)


def listed(net: Devnet, amounts: dict[str, int] | None = None) -> None:
    """Round 0: everybody submits; then node 1 makes a list that pays node 0."""
    net.to(100)
    for node in net.nodes:
        net.submit(node, 0)
    net.to(240)
    net.list(net.nodes[1], 0, {net.nodes[0].key: PRICE} if amounts is None else amounts)


def test_a_price_goes_from_the_pot_to_the_worker(net: Devnet) -> None:
    worker = net.nodes[0]
    before, pot = net.tokens(worker.key), net.in_pot()
    listed(net)
    net.to(320)
    net.payout(net.nodes[1], 0)
    assert net.task.distributions_audit_record == {0: "PayoutSuccessful"}
    assert net.task.available_balances == {worker.key: PRICE}
    assert net.is_sound()
    net.claim(worker)
    assert net.tokens(worker.key) == before + PRICE
    assert net.in_pot() == pot - PRICE
    assert net.task.available_balances == {}
    assert net.is_sound()


def test_submissions_are_taken_in_their_window_only(net: Devnet) -> None:
    worker = net.nodes[0]
    net.to(99)
    with refused("wrong_round"):
        net.submit(worker, 0)
    net.to(100)
    with refused("wrong_round"):
        net.submit(worker, 1)
    net.submit(worker, 0)
    with refused("submitted_already"):
        net.submit(worker, 0, "another")
    net.to(140)
    with refused("late_submission"):
        net.submit(net.nodes[1], 0)


def test_who_has_no_stake_submits_nothing(net: Devnet) -> None:
    stranger = Person(9)
    net.give(stranger)
    net.to(100)
    with refused("not_staked"):
        net.submit(stranger, 0)


def test_an_empty_submission_and_an_oversized_one_are_refused(net: Devnet) -> None:
    net.to(100)
    with refused("empty_submission"):
        net.submit(net.nodes[0], 0, "")
    with refused("instruction"):
        net.submit(net.nodes[0], 0, "x" * 513)


def test_a_dispute_opens_with_a_vote_against_and_counts_everybody_once(net: Devnet) -> None:
    first, second, third = net.nodes
    net.to(100)
    net.submit(first, 0)
    with refused("audit_closed"):
        net.vote(second, first, 0, is_valid=False)
    net.to(140)
    with refused("no_dispute"):
        net.vote(second, first, 0, is_valid=True)
    with refused("own_vote"):
        net.vote(first, first, 0, is_valid=False)
    with refused("not_a_submitter"):
        net.vote(first, second, 0, is_valid=False)
    net.vote(second, first, 0, is_valid=False)
    with refused("voted_already"):
        net.vote(second, first, 0, is_valid=True)
    net.vote(third, first, 0, is_valid=True)
    trigger = net.task.submissions_audit_trigger[0][first.key]
    assert trigger.trigger_by == second.key
    assert [(vote.voter, vote.is_valid) for vote in trigger.votes] == [(second.key, False), (third.key, True)]
    net.to(180)
    with refused("audit_closed"):
        net.vote(third, first, 0, is_valid=False)


def test_who_has_no_stake_votes_on_nothing(net: Devnet) -> None:
    stranger = Person(9)
    net.give(stranger)
    net.to(100)
    net.submit(net.nodes[0], 0)
    net.to(140)
    with refused("not_staked"):
        net.vote(stranger, net.nodes[0], 0, is_valid=False)


@pytest.mark.parametrize(
    "amounts",
    [{}, {"stranger": 5}, {"worker": 0}, {"worker": -1}, {"worker": BOUNTY + 1}],
    ids=["empty", "no key", "pays nobody", "only cuts", "beyond the bounty"],
)
def test_a_list_that_cannot_be_paid_is_refused(net: Devnet, amounts: dict[str, int]) -> None:
    with pytest.raises(InvalidError) as caught:
        listed(net, {net.nodes[0].key if name == "worker" else name: amount for name, amount in amounts.items()})
    assert caught.value.code in ("distribution_list", "base58")


def test_a_list_is_taken_from_a_submitter_in_its_window_and_once(net: Devnet) -> None:
    worker, maker, _ = net.nodes
    net.to(100)
    net.submit(maker, 0)
    with refused("not_a_submitter"):
        net.list(worker, 0, {worker.key: PRICE})
    net.to(239)
    with refused("list_closed"):
        net.list(maker, 0, {worker.key: PRICE})
    net.to(240)
    net.list(maker, 0, {worker.key: PRICE})
    net.chain.advance(1)  # the same pieces in the same slot would be the same transactions
    with refused("list_exists"):
        net.list(maker, 0, {maker.key: PRICE})
    assert net.chain.world.lists[maker.key][0][net.task_id] == {worker.key: PRICE}


def test_a_list_of_several_pieces_is_put_together(net: Devnet) -> None:
    amounts = {Person(number).key: 1 for number in range(30)}
    listed(net, amounts)
    assert net.chain.world.lists[net.nodes[1].key][0][net.task_id] == amounts


def test_pieces_come_in_order(net: Devnet) -> None:
    net.to(100)
    net.submit(net.nodes[0], 0)
    with refused("list_piece"):
        net.send([calls.upload_list(net.task_id, net.nodes[0].key, 1, b"x", 0)], net.nodes[0].main, net.nodes[0].staking)
    with refused("no_list"):
        net.to(240)
        net.send([calls.submit_list(net.task_id, net.nodes[0].key, 0)], net.nodes[0].main, net.nodes[0].staking)


def test_nothing_is_paid_before_the_vote_is_over_nor_twice(net: Devnet) -> None:
    listed(net)
    net.to(319)
    with refused("payout_early"):
        net.payout(net.nodes[1], 0)
    with refused("no_list"):
        net.payout(net.nodes[2], 0)
    net.to(320)
    with refused("audit_closed"):
        net.vote_on_list(net.nodes[2], net.nodes[1], 0, is_valid=False)
    net.payout(net.nodes[1], 0)
    net.chain.advance(1)
    with refused("paid_already"):
        net.payout(net.nodes[1], 0)


def test_a_list_that_was_voted_down_fails_and_another_may_follow(net: Devnet) -> None:
    thief, honest = net.nodes[1], net.nodes[2]
    listed(net, {thief.key: BOUNTY})
    net.vote_on_list(net.nodes[0], thief, 0, is_valid=False)
    net.vote_on_list(honest, thief, 0, is_valid=False)
    net.to(320)
    net.payout(thief, 0)
    assert net.task.distributions_audit_record == {0: "PayoutFailed"}
    assert net.task.available_balances == {}
    net.list(honest, 0, {net.nodes[0].key: PRICE})
    net.to(420)
    net.payout(honest, 0)
    assert net.task.distributions_audit_record == {0: "PayoutSuccessful"}
    assert net.task.available_balances == {net.nodes[0].key: PRICE}
    assert net.is_sound()


def test_a_lone_vote_against_does_not_outweigh_equal_stake(net: Devnet) -> None:
    listed(net)
    net.vote_on_list(net.nodes[0], net.nodes[1], 0, is_valid=False)
    net.vote_on_list(net.nodes[2], net.nodes[1], 0, is_valid=True)
    net.to(320)
    net.payout(net.nodes[1], 0)
    assert net.task.distributions_audit_record == {0: "PayoutSuccessful"}


def test_a_cut_takes_stake_and_gives_it_to_the_bounty(net: Devnet) -> None:
    worker, cheat = net.nodes[0], net.nodes[2]
    bounty = net.task.total_bounty_amount
    listed(net, {worker.key: PRICE, cheat.key: -700_000})
    net.to(320)
    net.payout(net.nodes[1], 0)
    assert net.task.stake_list[cheat.key] == STAKE - 700_000
    assert net.task.total_bounty_amount == bounty - PRICE + 700_000
    assert net.is_sound()
    net.to(340 + 60)
    with refused("stake_below_minimum"):
        net.submit(cheat, 3)


def test_a_cut_takes_no_more_than_there_is(net: Devnet) -> None:
    cheat = net.nodes[2]
    listed(net, {net.nodes[0].key: PRICE, cheat.key: -(10**12)})
    net.to(320)
    net.payout(net.nodes[1], 0)
    assert cheat.key not in net.task.stake_list
    assert net.is_sound()


def test_a_stake_comes_back_after_idle_rounds_only(net: Devnet) -> None:
    worker, idle, _ = net.nodes
    net.to(100)
    net.submit(worker, 0)
    net.withdraw(idle)
    assert idle.key not in net.task.stake_list
    with refused("stake_in_use"):
        net.withdraw(worker)
    net.to(399)
    with refused("stake_in_use"):
        net.withdraw(worker)
    net.to(400)
    before = net.tokens(worker.key)
    net.withdraw(worker)
    assert net.tokens(worker.key) == before + STAKE
    net.chain.advance(1)
    with refused("not_staked"):
        net.withdraw(worker)
    assert net.is_sound()


def test_nothing_credited_is_nothing_to_claim(net: Devnet) -> None:
    with refused("nothing_to_claim"):
        net.claim(net.nodes[0])


def test_a_closed_task_takes_nothing_and_its_manager_alone_closes_it(net: Devnet) -> None:
    net.to(100)
    with refused("not_the_manager"):
        net.send([calls.set_active(net.task_id, net.nodes[0].key, is_active=False)], net.nodes[0].main, net.nodes[0].staking)
    net.send([calls.set_active(net.task_id, net.requester.main_key, is_active=False)], net.requester.main)
    with refused("task_inactive"):
        net.submit(net.nodes[0], 0)


def test_old_rounds_are_let_go(net: Devnet) -> None:
    for number in range(KEPT_ROUNDS + 3):
        net.to(100 * (number + 1))
        net.submit(net.nodes[0], number)
    assert sorted(net.task.submissions) == list(range(3, KEPT_ROUNDS + 3))
