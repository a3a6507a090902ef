"""Events over HTTP: everything once and in order, from where the reader was, and no reader is waited for."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing

import httpx
import pytest

from orca_agent.store.events import NewEvent
from tests.unit.orca_agent.api.service import Service, code, service, spec_of

WHOLE = [
    "queued",
    "started",
    "step_started",
    "call_started",
    "model_resolved",
    "delta",
    "call_finished",
    "step_finished",
    "step_started",
    "call_started",
    "delta",
    "call_finished",
    "step_finished",
    "finished",
]


async def test_a_run_is_followed_from_its_first_event_to_its_last(agent: Service) -> None:
    agent.model.latency["B"] = 0.1
    run_id = await agent.store(spec_of("A", "B"))
    events = await agent.follow(run_id)
    assert [event.id for event in events] == list(range(1, len(WHOLE) + 1))
    assert [event.kind for event in events] == WHOLE
    assert {event.data["run"] for event in events} == {run_id}
    assert [event.data["text"] for event in events if event.kind == "delta"] == ["out(A,1)", "out(B,1)"]
    assert events[-1].data["status"] == "success"


async def test_a_reader_that_comes_again_misses_nothing_and_gets_nothing_twice(agent: Service) -> None:
    agent.model.latency["*"] = 0.2
    run_id = await agent.store(spec_of("A", "B"))
    async with aclosing(agent.following(run_id)) as following:
        first = [await anext(following) for _ in range(4)]
    rest = await agent.follow(run_id, **{"Last-Event-ID": str(first[-1].id)})
    assert [event.id for event in [*first, *rest]] == list(range(1, len(WHOLE) + 1))
    assert [event.kind for event in [*first, *rest]] == WHOLE


async def test_after_the_end_everything_can_be_read_again_or_from_a_place(agent: Service) -> None:
    run_id = await agent.store(spec_of("A", "B"))
    await agent.ended(run_id)
    assert [event.kind for event in await agent.follow(run_id)] == WHOLE
    answer = await agent.client.get(f"/v1/runs/{run_id}/events", params={"after": "8"})
    assert "id: 9\n" in answer.text
    assert "id: 8\n" not in answer.text


async def test_who_has_everything_is_told_not_to_come_again(agent: Service) -> None:
    run_id = await agent.store(spec_of("A", "B"))
    await agent.follow(run_id)
    answer = await agent.client.get(f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": str(len(WHOLE))})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_events_that_were_forgotten_are_said_to_be(agent: Service) -> None:
    run_id = await agent.store(spec_of("A"))
    await agent.follow(run_id)
    await agent.services.events.forget(-100.0)
    assert code(await agent.client.get(f"/v1/runs/{run_id}/events")) == (410, "events_forgotten")


@pytest.mark.parametrize("last", ["x", "-1", "9" * 19])
async def test_a_place_that_is_none_is_refused(idle: Service, last: str) -> None:
    run_id = await idle.store(spec_of("A"))
    for headers, query in (({"Last-Event-ID": last}, ""), ({}, f"?after={last}")):
        assert code(await idle.client.get(f"/v1/runs/{run_id}/events{query}", headers=headers)) == (400, "query")


async def test_a_silent_stream_gives_signs_of_life_and_outlasts_the_bound_on_requests(database_url: str) -> None:
    async with service(database_url, works=False, heartbeat_seconds=0.5, request_seconds=0.3) as idle:
        run_id = await idle.store(spec_of("A"))
        async with idle.client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
            lines = answer.aiter_lines()
            async with asyncio.timeout(10):
                while await anext(lines) != ": alive":
                    pass


async def test_the_run_of_another_process_is_followed(database_url: str) -> None:
    async with service(database_url, works=False) as here, service(database_url, works=False) as there:
        run_id = await here.store(spec_of("A", "B"))
        following = asyncio.create_task(here.follow(run_id))
        await asyncio.sleep(0.1)
        await there.worker.work(run_id)
        async with asyncio.timeout(5):
            assert [event.kind for event in await following] == WHOLE
        assert here.model.calls == []


async def test_more_readers_than_there_is_room_for_are_sent_away(database_url: str) -> None:
    async with service(database_url, works=False, followers=2) as idle:
        run_id = await idle.store(spec_of("A"))
        async with aclosing(idle.following(run_id)) as one, aclosing(idle.following(run_id)) as two:
            await anext(one)
            await anext(two)
            assert code(await idle.client.get(f"/v1/runs/{run_id}/events")) == (429, "too_many_followers")
        async with asyncio.timeout(10):  # who has gone is noticed
            while (await _status(idle, run_id)) != 200:
                await asyncio.sleep(0.05)


async def _status(idle: Service, run_id: str) -> int:
    async with idle.client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
        return answer.status_code


async def test_a_stream_has_an_end_of_its_own(database_url: str) -> None:
    async with service(database_url, works=False, stream_seconds=0.1) as idle:
        run_id = await idle.store(spec_of("A"))
        async with asyncio.timeout(10):
            assert [event.kind for event in await idle.follow(run_id)] == ["queued"]


async def test_a_service_that_stops_ends_its_streams(idle: Service) -> None:
    run_id = await idle.store(spec_of("A"))
    following = asyncio.create_task(idle.follow(run_id))
    await asyncio.sleep(0.2)
    idle.services.stopping.set()
    async with asyncio.timeout(5):
        assert [event.kind for event in await following] == ["queued"]


async def test_a_reader_that_does_not_read_is_cut_off_and_makes_room(database_url: str) -> None:
    async with service(database_url, works=False, send_seconds=0.3, followers=1) as idle:
        run_id = await idle.store(spec_of("A"))
        claim = await idle.services.queue.claim(run_id, "me")
        assert claim is not None
        more_than_any_buffer = [NewEvent("delta", {"text": "x" * 200_000}, 0.0)] * 100
        await idle.services.events.append(claim.hold, more_than_any_buffer, batch=1)
        host, port = httpx.URL(idle.address).host, httpx.URL(idle.address).port
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((host, port))
            reader.sendall(f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            assert await asyncio.to_thread(reader.recv, 12) == b"HTTP/1.1 200"
            assert await _status(idle, run_id) == 429
            async with asyncio.timeout(10):
                while await _status(idle, run_id) == 429:
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize(("wish", "stopped"), [("cancel", "cancelled"), ("continue", None), (None, None)])
async def test_a_reader_that_goes_away_ends_the_run_only_if_it_said_so(
    agent: Service, wish: str | None, stopped: str | None
) -> None:
    agent.model.latency["A"] = 60.0 if wish == "cancel" else 1.0
    run_id = await agent.store(spec_of("A"))
    params = {} if wish is None else {"on_disconnect": wish}
    async with agent.client.stream("GET", f"/v1/runs/{run_id}/events", params=params) as answer:
        assert answer.status_code == 200
        await agent.until(lambda: agent.model.in_flight == 1)
    ended = await agent.ended(run_id)
    assert (await agent.client.get(ended["output"])).json()["stopped"] == stopped
    assert ended["cancel_requested"] is (wish == "cancel")


async def test_a_reader_that_saw_the_end_cancels_nothing(agent: Service) -> None:
    run_id = await agent.store(spec_of("A"))
    async with agent.client.stream("GET", f"/v1/runs/{run_id}/events", params={"on_disconnect": "cancel"}) as answer:
        assert "event: finished" in (await answer.aread()).decode()
    assert (await agent.run(run_id))["status"] == "success"


async def test_a_service_that_stops_cancels_no_run_of_its_readers(idle: Service) -> None:
    run_id = await idle.store(spec_of("A"))
    async with idle.client.stream("GET", f"/v1/runs/{run_id}/events", params={"on_disconnect": "cancel"}) as answer:
        idle.services.stopping.set()
        await answer.aread()
    assert not (await idle.services.queue.state(run_id)).is_cancelled


async def test_a_wrong_choice_is_refused(idle: Service) -> None:
    run_id = await idle.store(spec_of("A"))
    answer = await idle.client.get(f"/v1/runs/{run_id}/events", params={"on_disconnect": "maybe"})
    assert code(answer) == (400, "query")
