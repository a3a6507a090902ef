from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from koii_chain import calls
from koii_chain.account import write_kpl
from koii_chain.addresses import KOII_PROGRAM, KPL_PROGRAM, TOKEN_PROGRAM
from koii_chain.client import ChainClient
from koii_chain.devnet.chain import DEVNET_MINT
from koii_chain.devnet.server import answer_to
from koii_chain.lists import write_lists
from koii_chain.rpc import JsonRpc, RpcSettings
from koii_chain.state import Submission
from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from tests.fakes.rpc_endpoint import RpcEndpoint
from tests.unit.koii_chain.devnets import Devnet
from tests.unit.koii_chain.tasks import MINT, TASK, key, task
from tests.unit.koii_chain.test_account import KOII

NODE = key(1)
STATE = task(stake_list={NODE: 5000}, submissions={3: {NODE: Submission(submission_value="x", slot=9, round=3)}})


def at(value: Any, slot: int = 1000) -> dict[str, Any]:
    return {"context": {"slot": slot}, "value": value}


def account(data: bytes, owner: str = KPL_PROGRAM) -> dict[str, Any]:
    content = [base64.b64encode(data).decode(), "base64"]
    return {"data": content, "owner": owner, "lamports": 5, "executable": False, "rentEpoch": 18446744073709551615}


class Clients:
    """Two endpoints, the clock they are asked by, and a client over them."""

    def __init__(self, first: RpcEndpoint, second: RpcEndpoint) -> None:
        self.first, self.second, self.now = first, second, 0.0
        settings = RpcSettings((first.address, second.address), call_seconds=5.0, body_bytes=100_000)
        self.client = ChainClient(JsonRpc(settings), stale_seconds=20.0, steady=lambda: self.now)

    def both(self, method: str, result: Any) -> None:
        self.first.results[method] = self.second.results[method] = result


@pytest.fixture
async def chain() -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(RpcEndpoint().running()) for _ in range(2)]
        clients = Clients(first, second)
        clients.both("getSlot", 7)
        clients.both("getAccountInfo", at(account(write_kpl(STATE))))
        stack.push_async_callback(clients.client.close)
        yield clients


async def failure(chain: Clients) -> OrcaError:
    with pytest.raises(OrcaError) as caught:
        await chain.client.slot()
    return caught.value


async def test_the_first_endpoint_that_answers_is_believed(chain: Clients) -> None:
    assert await chain.client.slot() == 7
    assert chain.second.calls == []


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 429},
        {"status": 404},
        {"body": b"<html>"},
        {"body": b'{"jsonrpc":"2.0","id":99,"result":1}'},
        {"body": b'{"jsonrpc":"2.0","id":1}'},
        {"body": b'{"jsonrpc":"2.0","id":1,"result":1,"result":2}'},
        {"body": b"x" * 200_000},
        {"cut": 5},
        {"status": 302, "headers": {"location": "/"}},
        {"results": {"getSlot": Exception({"code": -32005, "message": "node is behind"})}},
        {"results": {"getSlot": Exception({"code": -32601, "message": "no such method"})}},
        {"results": {"getSlot": Exception("nonsense")}},
    ],
    ids=str,
)
async def test_an_endpoint_that_fails_is_passed_over(chain: Clients, fault: dict[str, Any]) -> None:
    for name, value in fault.items():
        setattr(chain.first, name, value)
    chain.second.results["getSlot"] = 8
    assert await chain.client.slot() == 8


async def test_when_none_answers_that_is_unavailable(chain: Clients) -> None:
    chain.first.status, chain.second.status = 503, 429
    chain.first.headers = {"retry-after": "7"}
    error = await failure(chain)
    assert (type(error), error.code) == (UnavailableError, "rpc_http")
    assert isinstance(error, UnavailableError)
    assert error.retry_after == 7.0


async def test_silence_ends_with_the_time_for_a_call() -> None:
    async with RpcEndpoint().running() as silent:
        silent.hangs = True
        client = ChainClient(JsonRpc(RpcSettings((silent.address,), call_seconds=0.05)))
        with pytest.raises(UnavailableError, match="timeout"):
            await client.slot()
        await client.close()


async def test_nobody_there_is_unavailable() -> None:
    client = ChainClient(JsonRpc(RpcSettings(("http://127.0.0.1:1",))))
    with pytest.raises(UnavailableError, match="connect_failed"):
        await client.slot()
    await client.close()


async def test_when_all_that_comes_is_malformed_that_is_said(chain: Clients) -> None:
    chain.first.body = chain.second.body = b"<html>"
    error = await failure(chain)
    assert (type(error), error.code) == (InvalidError, "rpc_malformed")
    chain.first.body = chain.second.body = b"x" * 200_000
    error = await failure(chain)
    assert (type(error), error.code) == (LimitError, "rpc_oversize")


@pytest.mark.parametrize("result", [-1, "7", 7.0, True, None, [], {}])
async def test_a_slot_is_a_whole_number(chain: Clients, result: Any) -> None:
    chain.both("getSlot", result)
    assert (await failure(chain)).code == "rpc_malformed"


async def test_a_refusal_is_an_answer_and_nobody_else_is_asked(chain: Clients) -> None:
    chain.first.results["getSlot"] = Exception({"code": -32002, "message": "no\nway", "data": {"code": "late_submission"}})
    error = await failure(chain)
    assert (type(error), error.code) == (InvalidError, "late_submission")
    assert "\n" not in error.detail
    assert chain.second.calls == []


@pytest.mark.parametrize("said", [None, 5, "", "Spaces and CAPITALS", "x" * 100])
async def test_a_strangers_code_is_taken_only_when_it_looks_like_one(chain: Clients, said: Any) -> None:
    chain.first.results["getSlot"] = Exception({"code": -32602, "message": "no", "data": {"code": said}})
    assert (await failure(chain)).code == "rpc_refused"


async def test_an_endpoint_that_lags_is_passed_over(chain: Clients) -> None:
    await chain.client.task(TASK)
    chain.first.results["getAccountInfo"] = at(account(write_kpl(STATE)), slot=1000 - 151)
    chain.second.results["getAccountInfo"] = at(account(write_kpl(STATE)), slot=1001)
    assert (await chain.client.fresh_task(TASK)).slot == 1001
    chain.second.status = 503
    with pytest.raises(UnavailableError):
        await chain.client.fresh_task(TASK)


async def test_a_task_is_read_by_the_program_that_owns_it(chain: Clients) -> None:
    assert (await chain.client.fresh_task(TASK)).task == STATE
    chain.both("getAccountInfo", at(account(canonical(KOII), KOII_PROGRAM)))
    assert (await chain.client.fresh_task(TASK)).task.token_type is None
    chain.both("getAccountInfo", at(account(write_kpl(STATE), TOKEN_PROGRAM)))
    with pytest.raises(InvalidError, match="not_a_task"):
        await chain.client.fresh_task(TASK)
    chain.both("getAccountInfo", at(None))
    with pytest.raises(InvalidError, match="task_unknown"):
        await chain.client.fresh_task(TASK)


async def test_a_kept_state_is_never_older_than_the_bound(chain: Clients) -> None:
    await chain.client.task(TASK)
    chain.now = 19.9
    await chain.client.task(TASK)
    assert len(chain.first.calls) == 1
    chain.now = 20.0
    await chain.client.task(TASK)
    assert len(chain.first.calls) == 2
    chain.first.status = chain.second.status = 503
    chain.now = 39.9
    await chain.client.task(TASK)
    chain.now = 40.0
    with pytest.raises(UnavailableError):
        await chain.client.task(TASK)


async def test_the_age_of_a_state_counts_from_the_question(chain: Clients) -> None:
    """An endpoint that takes its time does not make its answer younger."""
    chain.first.status = 503
    answered = chain.second._answer

    def slowly(request: dict[str, Any]) -> bytes:
        chain.now += 15.0
        return answered(request)

    chain.second._answer = slowly  # type: ignore[method-assign]
    await chain.client.task(TASK)
    assert chain.now == 15.0
    chain.now = 20.0
    await chain.client.task(TASK)
    assert len(chain.second.calls) == 2


async def test_a_stake_is_said_with_its_terms(chain: Clients) -> None:
    stake = await chain.client.stake(TASK, NODE)
    assert (stake.amount, stake.minimum_stake_amount, stake.is_active, stake.is_migrated, stake.slot) == (
        5000,
        1000,
        True,
        False,
        1000,
    )
    assert (await chain.client.stake(TASK, key(2))).amount == 0
    assert (await chain.client.standing(TASK, NODE, mint=MINT, submitted=3)).is_staked
    assert (await chain.client.standing(TASK, NODE, submitted=4)).code == "not_a_submitter"
    assert sorted(await chain.client.submissions(TASK, 3)) == [NODE]


async def test_a_chain_that_cannot_be_read_approves_nobody(chain: Clients) -> None:
    chain.first.status = chain.second.status = 503
    with pytest.raises(UnavailableError):
        await chain.client.standing(TASK, NODE)


@pytest.mark.parametrize(
    "value",
    [
        {"data": "x", "owner": KPL_PROGRAM, "lamports": 5},
        {"data": ["x", "base64"], "owner": KPL_PROGRAM, "lamports": 5},
        {"data": ["", "base58"], "owner": KPL_PROGRAM, "lamports": 5},
        {"data": ["", "base64"], "owner": 5, "lamports": 5},
        {"data": ["", "base64"], "owner": KPL_PROGRAM, "lamports": -5},
        "account",
    ],
)
async def test_a_malformed_account_is_refused(chain: Clients, value: Any) -> None:
    chain.both("getAccountInfo", at(value))
    with pytest.raises(InvalidError, match="rpc_malformed"):
        await chain.client.account(TASK)


async def test_an_account_without_a_slot_is_refused(chain: Clients) -> None:
    chain.both("getAccountInfo", None)
    with pytest.raises(InvalidError, match="without a slot"):
        await chain.client.account(TASK)


async def test_tokens_are_read_from_the_account_itself(chain: Clients) -> None:
    data = bytes(64) + (77).to_bytes(8, "little") + bytes(93)
    chain.both("getAccountInfo", at(account(data, TOKEN_PROGRAM)))
    assert await chain.client.tokens(NODE, MINT) == 77
    chain.both("getAccountInfo", at(None))
    assert await chain.client.tokens(NODE, MINT) == 0
    chain.both("getAccountInfo", at(account(data, KPL_PROGRAM)))
    with pytest.raises(InvalidError, match="not_a_token_account"):
        await chain.client.tokens(NODE, MINT)


async def test_lists_are_read_from_their_accounts(chain: Clients) -> None:
    listed = {5: {NODE: Submission(submission_value=NODE, slot=1, round=5)}}
    await keep(chain, listed)
    chain.both("getAccountInfo", at(account(write_lists({5: {TASK: {NODE: 3}}}))))
    assert await chain.client.lists(TASK, 5) == {NODE: {NODE: 3}}
    assert await chain.client.lists(TASK, 6) == {}
    for data in (write_lists({4: {TASK: {NODE: 3}}}), b"\xff" * 9):
        chain.both("getAccountInfo", at(account(data)))
        with pytest.raises(InvalidError, match="distribution_list"):
            await chain.client.lists(TASK, 5)


async def keep(chain: Clients, listed: dict[int, dict[str, Submission]]) -> None:
    """Have the client keep a state with lists."""
    chain.both("getAccountInfo", at(account(write_kpl(STATE.model_copy(update={"distribution_rewards_submission": listed})))))
    await chain.client.task(TASK)


async def test_a_transaction_that_failed_on_chain_is_not_confirmed(chain: Clients) -> None:
    def status(err: Any, confirmation: str) -> dict[str, Any]:
        return {"slot": 1, "confirmations": None, "err": err, "confirmationStatus": confirmation}

    chain.both("getSignatureStatuses", at([None]))
    assert not await chain.client.is_confirmed("x")
    with pytest.raises(UnavailableError, match="unconfirmed"):
        await chain.client.confirmed("x", seconds=0.05, pause=0.01)
    chain.both("getSignatureStatuses", at([status(None, "processed")]))
    assert not await chain.client.is_confirmed("x")
    chain.both("getSignatureStatuses", at([status(None, "finalized")]))
    await chain.client.confirmed("x")
    chain.both("getSignatureStatuses", at([status({"InstructionError": [0, "Custom"]}, "finalized")]))
    with pytest.raises(InvalidError, match="transaction_failed"):
        await chain.client.confirmed("x")
    chain.both("getSignatureStatuses", at([]))
    with pytest.raises(InvalidError, match="rpc_malformed"):
        await chain.client.is_confirmed("x")


@pytest.mark.parametrize("endpoints", [(), ("ftp://x",), ("http://",), ("http://user:secret@x",)])
def test_endpoints_are_checked(endpoints: tuple[str, ...]) -> None:
    with pytest.raises(InvalidError) as caught:
        RpcSettings(endpoints)
    assert "secret" not in str(caught.value)


async def test_a_lost_answer_is_not_a_second_transaction(net: Devnet) -> None:
    """The first endpoint takes the transaction and breaks off; the second has seen it already."""
    lossy, sound = RpcEndpoint(), RpcEndpoint()

    def answered(endpoint: RpcEndpoint, request: dict[str, Any]) -> bytes:
        endpoint.cut = 5 if endpoint is lossy and request["method"] == "sendTransaction" else None
        return answer_to(net.chain, json.dumps(request).encode()) or b""

    for endpoint in (lossy, sound):
        endpoint._answer = partial(answered, endpoint)  # type: ignore[method-assign]
    transfer = [calls.transfer_tokens(net.requester.main_key, net.nodes[0].key, DEVNET_MINT, 5)]
    before = net.tokens(net.nodes[0].key)
    async with lossy.running(), sound.running():
        for endpoints in ((lossy.address, sound.address), (lossy.address,)):
            client = ChainClient(JsonRpc(RpcSettings(endpoints)))
            signature = await client.act(transfer, [net.requester.main])
            assert signature in net.chain.transactions
            with pytest.raises(InvalidError, match="already_processed"):
                await client.act(transfer, [net.requester.main])
            net.chain.advance(1)
            await client.close()
    assert net.tokens(net.nodes[0].key) == before + 10


async def test_a_refused_transaction_makes_the_kept_state_be_read_again(chain: Clients) -> None:
    await chain.client.task(TASK)
    chain.both("sendTransaction", Exception({"code": -32002, "message": "submitted_already"}))
    with pytest.raises(InvalidError):
        await chain.client.send(b"transaction")
    chain.both("getAccountInfo", at(account(write_kpl(STATE)), slot=1005))
    assert (await chain.client.task(TASK)).slot == 1005
