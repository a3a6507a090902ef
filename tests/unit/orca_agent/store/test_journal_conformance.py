"""What every journal promises: durable, first entry wins, one holder at a time, everyone is told the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path as FilePath

import pytest

from orca_agent.store.journal import FIRST_EPOCH, Hold, Journal, RunRecord
from orca_agent.store.postgres import PostgresJournal
from orca_agent.store.sqlite import SqliteJournal
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Path
from tests.unit.orca_agent.store.samples import AT, RUN, entry

Open = Callable[[], Journal]


@pytest.fixture(params=["sqlite", "postgres"])
def open_journal(request: pytest.FixtureRequest, tmp_path: FilePath) -> Open:
    """How to open one and the same journal, as several processes would."""
    if request.param == "sqlite":
        return lambda: SqliteJournal(tmp_path / "sub" / "journal.db")
    url = request.getfixturevalue("database_url")
    return lambda: PostgresJournal(url)


@pytest.fixture
async def journal(open_journal: Open) -> AsyncIterator[Journal]:
    journal = open_journal()
    yield journal
    await journal.close()


@pytest.fixture
async def another(open_journal: Open) -> AsyncIterator[Journal]:
    """The same journal, as another process has it."""
    journal = open_journal()
    yield journal
    await journal.close()


async def test_what_was_appended_is_there_for_the_next_process_in_path_order(journal: Journal, another: Journal) -> None:
    hold = await journal.begin(RUN)
    wanted = [entry(Path(1, step, 0)) for step in (10, 2, 0)]
    await asyncio.gather(*(journal.append(hold, one) for one in wanted))
    assert await another.entries("r1") == tuple(reversed(wanted))
    assert await another.latest("i") == RUN
    assert await another.latest("another item") is None


async def test_an_intent_without_an_entry_is_a_lost_call_and_counts_each_time(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    await journal.intend(hold, [Path(1, 0, 0), Path(1, 0, 1)], AT)
    await journal.intend(hold, [Path(1, 0, 1)], AT)
    await journal.append(hold, entry(Path(1, 0, 0)))
    (lost,) = await journal.lost("r1")
    assert (lost.path, lost.times, lost.asked_at) == (Path(1, 0, 1), 2, AT)


async def test_writes_are_kept_and_told_in_the_order_in_which_they_were_called(journal: Journal) -> None:
    """What is called first needs not be waited for: a run, its intents, an answer and the intent of what it led to."""
    hold, told = Hold(RUN.id, FIRST_EPOCH), list[str]()

    async def telling(name: str, write: Awaitable[object]) -> None:
        await write
        told.append(name)

    first, second = Path(1, 0, 0), Path(1, 1, 0)
    await asyncio.gather(
        telling("begin", journal.begin(RUN)),
        telling("intend", journal.intend(hold, [first], AT)),
        telling("append", journal.append(hold, entry(first))),
        telling("intend again", journal.intend(hold, [second], AT)),
        telling("append again", journal.append(hold, entry(second))),
    )
    assert told == ["begin", "intend", "append", "intend again", "append again"]
    assert await journal.entries("r1") == (entry(first), entry(second))
    assert await journal.lost("r1") == ()


async def test_where_a_write_fails_nothing_that_was_called_after_it_is_kept(journal: Journal) -> None:
    """Else there would be what followed from an answer, and no answer; whoever takes the run again goes on from what there is."""
    hold, other = await journal.begin(RUN), await journal.begin(replace(RUN, id="r2"))
    await journal.append(hold, entry(Path(1, 0, 0), "first"))
    results = await asyncio.gather(
        journal.append(hold, entry(Path(1, 0, 0), "second")),
        journal.append(other, entry(Path(1, 0, 0))),
        journal.append(hold, entry(Path(1, 1, 0))),
        journal.intend(hold, [Path(1, 2, 0)], AT),
        journal.finish(hold, "success", 120.0, 1),
        return_exceptions=True,
    )
    assert [isinstance(result, InvalidError) for result in results] == [True, False, True, True, True]
    with pytest.raises(InvalidError):
        await journal.append(hold, entry(Path(1, 1, 0)))
    assert await journal.entries("r1") == (entry(Path(1, 0, 0), "first"),)
    assert await journal.lost("r1") == ()
    assert await journal.entries("r2") == (entry(Path(1, 0, 0)),)
    await journal.append(await journal.take("r1"), entry(Path(1, 1, 0)))


async def test_whoever_writes_while_the_journal_closes_is_told_and_nobody_waits_for_ever(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    due = asyncio.create_task(journal.append(hold, entry(Path(1, 0, 0))))
    await asyncio.sleep(0)
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="closed"):
        await asyncio.wait_for(journal.append(hold, entry(Path(1, 1, 0))), 5)
    await asyncio.wait_for(asyncio.gather(due, closing), 10)


async def test_a_run_ends_with_the_write_that_keeps_its_last_entry_and_only_if_all_are_there(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    await asyncio.gather(journal.append(hold, entry(Path(1, 1, 0))), journal.finish(hold, "success", 120.0, 2))
    found = await journal.latest("i")
    assert found is not None
    assert (found.status, found.finished) == ("success", 120.0)


@pytest.mark.parametrize("entries", [0, 2])
async def test_a_run_whose_entries_are_not_all_there_does_not_end(journal: Journal, entries: int) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    with pytest.raises(InvalidError, match="journal_incomplete"):
        await journal.finish(hold, "success", 120.0, entries)
    assert await journal.latest("i") == RUN
    await journal.finish(await journal.take("r1"), "success", 130.0, 1)


async def test_any_text_that_a_model_can_write_is_kept_as_it_is(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    odd = entry(Path(1, 0, 0), '\x00 \\u0000 " \' \x1e \u2028 \U0001f433 {"a": [null]}')
    await journal.append(hold, odd)
    assert await journal.entries("r1") == (odd,)


async def test_the_first_entry_at_a_path_stays(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0), "first"))
    with pytest.raises(InvalidError):
        await journal.append(hold, entry(Path(1, 0, 0), "second"))
    (kept,) = await journal.entries("r1")
    assert kept == entry(Path(1, 0, 0), "first")


async def test_who_lost_the_run_to_another_process_is_refused_every_write(journal: Journal, another: Journal) -> None:
    zombie = await journal.begin(RUN)
    await journal.append(zombie, entry(Path(1, 0, 0)))
    hold = await another.take("r1")
    writes = [
        journal.append(zombie, entry(Path(1, 0, 1))),
        journal.intend(zombie, [Path(1, 0, 1)], AT),
        journal.finish(zombie, "success", 1.0, 0),
    ]
    for write in writes:
        with pytest.raises(InvalidError) as caught:
            await write
        assert caught.value.code == "run_taken_over"
    await another.append(hold, entry(Path(1, 0, 1)))
    assert len(await another.entries("r1")) == 2


async def test_two_hundred_writers_at_once_are_all_told_the_truth(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    stale = Hold("r1", hold.epoch - 1)
    results = await asyncio.gather(
        *(journal.append(hold if place % 2 else stale, entry(Path(1, 0, place))) for place in range(200)), return_exceptions=True
    )
    assert [result is None for result in results] == [bool(place % 2) for place in range(200)]
    assert [one.path[2] for one in await journal.entries("r1")] == list(range(1, 200, 2))


async def test_the_first_end_of_a_run_is_the_one_that_stays(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    await journal.finish(hold, "partial", 120.0, 0)
    await journal.finish(hold, "success", 130.0, 0)
    found = await journal.latest("i")
    assert found is not None
    assert (found.status, found.finished) == ("partial", 120.0)


async def test_the_run_begun_last_is_the_latest(journal: Journal) -> None:
    for number in (1, 2):
        await journal.begin(RunRecord(id=f"r{number}", item_id="i", spec=b"{}", started=100.0, deadline=None))
    found = await journal.latest("i")
    assert found is not None
    assert found.id == "r2"


async def test_a_run_that_was_never_begun_cannot_be_taken(journal: Journal) -> None:
    with pytest.raises(InvalidError, match="run_unknown"):
        await journal.take("r9")


async def test_of_two_entries_that_come_to_one_path_at_once_one_is_refused(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    both = (journal.append(hold, entry(Path(1, 0, 0), text)) for text in ("first", "second"))
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [isinstance(result, InvalidError) for result in results] == [False, True]
    assert await journal.entries("r1") == (entry(Path(1, 0, 0), "first"),)


async def test_a_former_holder_is_not_told_yes_because_the_new_one_wrote_in_the_same_batch(journal: Journal) -> None:
    former = await journal.begin(RUN)
    hold = await journal.take("r1")
    both = (journal.append(one, entry(Path(1, 0, 0), str(one.epoch))) for one in (former, hold))
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [isinstance(result, InvalidError) for result in results] == [True, False]
    assert await journal.entries("r1") == (entry(Path(1, 0, 0), "2"),)


async def test_nothing_of_a_former_holder_appears_after_the_run_was_taken(journal: Journal, another: Journal) -> None:
    hold = await journal.begin(RUN)
    writes = [asyncio.create_task(journal.append(hold, entry(Path(1, 0, place)))) for place in range(100)]
    await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    later = [asyncio.create_task(journal.append(hold, entry(Path(1, 1, place)))) for place in range(100)]
    await another.take("r1")
    seen = await another.entries("r1")
    results = await asyncio.gather(*writes, *later, return_exceptions=True)
    assert await another.entries("r1") == seen
    assert len(seen) == sum(result is None for result in results)


async def test_an_intent_at_a_path_that_has_its_entry_is_refused(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    with pytest.raises(InvalidError):
        await journal.intend(hold, [Path(1, 0, 0)], AT)


async def test_a_writer_that_was_cancelled_leaves_the_others_their_answers(journal: Journal) -> None:
    hold = await journal.begin(RUN)
    tasks = [asyncio.create_task(journal.append(hold, entry(Path(1, 0, place)))) for place in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
