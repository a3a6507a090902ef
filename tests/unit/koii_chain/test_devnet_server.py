from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from koii_chain import calls
from koii_chain.account import read_kpl
from koii_chain.addresses import token_account
from koii_chain.devnet.chain import DEVNET_MINT
from koii_chain.devnet.server import BATCH_MAX, BODY_MAX_BYTES, DevnetSettings, create_app, serve
from orca_protocol.errors import InvalidError
from tests.unit.koii_chain.devnets import STAKE, Devnet, Person
from tests.unit.koii_chain.processes import ROOT, command


class Asked:
    """Questions to a devnet's application, without a socket."""

    def __init__(self, app: ASGIApp) -> None:
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    async def post(self, content: bytes, **headers: str) -> httpx.Response:
        return await self.http.post("/", content=content, headers={"content-type": "application/json"} | headers)

    async def __call__(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": list(params)}
        answer = (await self.post(json.dumps(body).encode())).json()
        assert answer["id"] == "a"
        return answer.get("result", answer.get("error"))


@pytest.fixture
async def ask(net: Devnet) -> AsyncIterator[Asked]:
    asked = Asked(create_app(net.chain))
    yield asked
    await asked.http.aclose()


async def test_the_standard_questions_have_answers(net: Devnet, ask: Asked) -> None:
    node = net.nodes[0]
    assert await ask("getHealth") == "ok"
    assert await ask("getSlot") == net.chain.slot()
    assert (await ask("getBalance", node.main_key))["value"] > 0
    assert (await ask("getBalance", Person(20).key))["value"] == 0
    assert (await ask("getTokenSupply", DEVNET_MINT))["value"]["decimals"] == 6
    held = (await ask("getTokenAccountBalance", token_account(node.key, DEVNET_MINT)))["value"]
    assert held == {"amount": str(STAKE), "decimals": 6, "uiAmount": 1.0, "uiAmountString": "1"}
    (account,) = (await ask("getTokenAccountsByOwner", node.key, {"mint": DEVNET_MINT}, {"encoding": "jsonParsed"}))["value"]
    assert account["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"] == str(STAKE)
    latest = (await ask("getLatestBlockhash"))["value"]["blockhash"]
    assert latest == (await ask("getRecentBlockhash"))["value"]["blockhash"]
    assert (await ask("isBlockhashValid", latest))["value"] is True
    assert await ask("getMinimumBalanceForRentExemption", 165) == 2_039_280
    assert await ask("getBlockTime", 0) == net.chain.genesis.unix
    assert (await ask("getVersion"))["solana-core"] == "orca-devnet"
    assert isinstance(await ask("getGenesisHash"), str)


async def test_a_task_account_is_koiis_borsh(net: Devnet, ask: Asked) -> None:
    value = (await ask("getAccountInfo", net.task_id, {"encoding": "base64"}))["value"]
    assert read_kpl(base64.b64decode(value["data"][0]), net.task_id) == net.task
    assert (await ask("getAccountInfo", Person(20).key))["value"] is None


async def test_a_transaction_can_be_sent_and_found(net: Devnet, ask: Asked) -> None:
    raw = net.signed([calls.transfer_lamports(net.requester.main_key, Person(20).key, 10**9)], net.requester.main)
    text = base64.b64encode(raw).decode()
    signature = await ask("sendTransaction", text, {"encoding": "base64"})
    (status, unknown) = (await ask("getSignatureStatuses", [signature, "x"]))["value"]
    assert (status["err"], status["confirmationStatus"], unknown) == (None, "finalized", None)
    assert (await ask("getTransaction", signature))["transaction"] == [text, "base64"]
    assert await ask("getTransaction", "x") is None
    again = await ask("sendTransaction", text, {"encoding": "base64"})
    assert (again["code"], again["data"]["code"]) == (-32002, "already_processed")


@pytest.mark.parametrize(
    ("method", "params", "number"),
    [
        ("getEverything", [], -32601),
        ("getBalance", [], -32602),
        ("getBalance", [5], -32602),
        ("getBalance", ["not base58!"], -32602),
        ("getAccountInfo", [DEVNET_MINT, {"encoding": "base58"}], -32602),
        ("getAccountInfo", [DEVNET_MINT, "base64"], -32602),
        ("getBlockTime", [10**9], -32602),
        ("getTokenAccountBalance", [DEVNET_MINT], -32602),
        ("getTokenSupply", [Person(1).key], -32602),
        ("getMinimumBalanceForRentExemption", [10**12], -32602),
        ("getSignatureStatuses", [["x"] * 257], -32602),
        ("requestAirdrop", [Person(1).key, -5], -32602),
        ("requestAirdrop", [Person(1).key, 2**64], -32700),
        ("devnet_advance", [0], -32602),
        ("devnet_advance", [True], -32602),
        ("sendTransaction", ["%%%"], -32002),
        ("sendTransaction", ["A" * 5000], -32002),
        ("sendTransaction", [base64.b64encode(b"\x01" * 200).decode()], -32002),
        ("sendTransaction", ["AA==", {"encoding": "base58"}], -32002),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_a_code(ask: Asked, method: str, params: list[Any], number: int) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    error = (await ask.post(json.dumps(body).encode())).json()["error"]
    assert error["code"] == number
    assert error["data"]["code"]


async def test_batches_are_answered_in_order_and_bounded(net: Devnet, ask: Asked) -> None:
    one = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}
    silent = {"jsonrpc": "2.0", "method": "getHealth"}
    answer = (await ask.post(json.dumps([one, silent, 5, one | {"id": 2}]).encode())).json()
    assert [part["id"] for part in answer] == [1, None, 2]
    for wrong in ([], [one] * (BATCH_MAX + 1)):
        assert (await ask.post(json.dumps(wrong).encode())).json()["error"]["code"] == -32600
    assert (await ask.post(json.dumps(silent).encode())).status_code == 204


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1,"a":2}', b"[" * 100, b"\xff"])
async def test_what_is_not_json_is_said_so(ask: Asked, body: bytes) -> None:
    assert (await ask.post(body)).json()["error"]["code"] == -32700


async def test_bodies_are_bounded(ask: Asked) -> None:
    assert (await ask.post(b" " * (BODY_MAX_BYTES + 1))).status_code == 413


async def test_a_web_page_gets_nothing(ask: Asked) -> None:
    """A page may send text to any origin without asking, and can point a name of its own at loopback."""
    assert (await ask.post(b"{}", **{"content-type": "text/plain"})).status_code == 415
    assert (await ask.post(b"{}", host="evil.example")).status_code == 400


async def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="not_loopback"):
        await serve(DevnetSettings(tmp_path, host="0.0.0.0"), lambda _address, _chain: None)  # noqa: S104 - refused


def test_a_start_that_cannot_be_says_why(tmp_path: Path) -> None:
    (tmp_path / "chain.log").write_bytes(b"not a chain at all")
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not a devnet log" in done.stderr
    assert "Traceback" not in done.stderr
