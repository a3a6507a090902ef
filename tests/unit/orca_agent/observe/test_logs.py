"""Log lines: what is in each, and that no secret comes out by one, wherever it was put."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orca_agent.observe.about import about, trace_id_of, what
from orca_agent.observe.logs import OURS, LogFormat, LogLevel, write_log
from orca_agent.observe.secrets import STRUCK, Secrets

KEY = "hunter2-correct-horse-battery"
RUN = "6a0f9a3e-3a53-4b0e-9d57-0c5a2b1d7e11"

Written = Callable[[], str]


@pytest.fixture
def log() -> Iterator[Callable[..., Written]]:
    """Set the log up as a command does; everything is put back afterwards."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in ("", *OURS)}

    def set_up(style: LogFormat = "json", level: LogLevel = "INFO") -> Written:
        stream = io.StringIO()
        write_log(stream, Secrets([SecretStr(KEY)]), style=style, level=level)
        return stream.getvalue

    yield set_up
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _in_args() -> None:
    logging.getLogger("orca_agent.x").info("asked with %s", {"authorization": f"Bearer {KEY}"})


def _in_message() -> None:
    logging.getLogger("orca.x").warning(f"the key is {KEY}")


def _in_exception() -> None:
    try:
        raise ValueError(f"bad address http://me:{KEY}@host")
    except ValueError as error:
        try:
            raise RuntimeError("while asking") from error
        except RuntimeError:
            logging.getLogger("orca_agent.x").exception("it went wrong")


def _in_a_library() -> None:
    logging.getLogger("httpx").error("HTTP Request: GET https://host/?key=%s", KEY)


def _in_a_stack() -> None:
    named = KEY  # noqa: F841 - frames are written with their source lines
    logging.getLogger("orca.x").warning("here %s", KEY, stack_info=True)


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("say", [_in_args, _in_message, _in_exception, _in_a_library, _in_a_stack])
def test_a_secret_does_not_come_out(log: Callable[..., Written], style: LogFormat, say: Callable[[], None]) -> None:
    written = log(style)
    say()
    assert STRUCK in written()
    assert KEY not in written()


def test_a_json_line_says_when_what_where_and_of_which_run_item_and_proof(log: Callable[..., Written]) -> None:
    written = log()
    with about(run_id=RUN, work_item="item-1"), about(cid="bafy"):
        logging.getLogger("orca_agent.work").info("done\nwith %s", "it")
    logging.getLogger("orca_agent.work").info("of nothing")
    first, second = lines(written())
    assert first.pop("time").endswith("Z")
    ids = {"run_id": RUN, "trace_id": RUN.replace("-", ""), "work_item": "item-1", "cid": "bafy"}
    assert first == {"level": "INFO", "logger": "orca_agent.work", "message": "done\nwith it", **ids}
    assert set(second) == {"time", "level", "logger", "message"}


def test_an_exception_is_in_its_line_and_a_line_has_an_end(log: Callable[..., Written]) -> None:
    written = log()
    _in_exception()
    logging.getLogger("orca.x").info("x" * 100_000)
    first, second = lines(written())
    assert "RuntimeError: while asking" in first["exception"]
    assert "ValueError: bad address" in first["exception"]
    assert len(second["message"]) < 40_000


def test_a_text_line_names_the_run(log: Callable[..., Written]) -> None:
    written = log("text")
    with about(run_id=RUN):
        logging.getLogger("orca.x").info("done")
    assert written().endswith(f"INFO orca.x: done [run {RUN}]\n")


@pytest.mark.parametrize(("level", "wanted"), [("DEBUG", 4), ("WARNING", 2), ("ERROR", 1)])
def test_a_level_holds_for_our_own_and_others_speak_from_warnings_on(
    log: Callable[..., Written], level: LogLevel, wanted: int
) -> None:
    written = log("json", level)
    for speak in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("audit.x"), speak)("said")
        if speak in ("debug", "info"):
            getattr(logging.getLogger("uvicorn"), speak)("not said")
    assert [line["message"] for line in lines(written())] == ["said"] * wanted


async def test_tasks_know_what_they_were_begun_for_and_not_what_others_are() -> None:
    async def told() -> dict[str, str]:
        await asyncio.sleep(0)
        return what()

    with about(run_id="one"):
        first = asyncio.create_task(told())
    with about(run_id="two"):
        second = asyncio.create_task(told())
    assert [(await first)["run_id"], (await second)["run_id"], what()] == ["one", "two", {}]


@given(st.uuids(allow_nil=False))
def test_a_runs_trace_is_its_own_id(run: uuid.UUID) -> None:
    assert f"{trace_id_of(str(run)):032x}" == run.hex


@given(st.text(max_size=50) | st.just(str(uuid.UUID(int=0))))
def test_whatever_an_id_is_it_has_a_trace(run: str) -> None:
    assert 0 < trace_id_of(run) < 2**128
