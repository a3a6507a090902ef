"""Child processes of a devnet: started, waited for until they say where they listen, and ended.

The first line a child writes on stdout is a JSON document that says where it is; everything else it says is in its log. It
is told to end when this process does, however that is: the kernel sends it SIGTERM when its parent is gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from orca_protocol.errors import UnavailableError

_PR_SET_PDEATHSIG: Final = 1
_SAID_MAX_BYTES: Final = 64 * 1024
#: the end of a log that a failure shows
_TAIL: Final = 600


class Child:
    """One process and what it said when it was ready."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.said: dict[str, Any] = {}
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.returncode is not None

    async def ready(self, seconds: float) -> None:
        """Wait until it says where it is. Raises UnavailableError ``child_failed`` with the end of its log."""
        if self._process.stdout is None:
            raise RuntimeError("a child's stdout is read")
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except (TimeoutError, ValueError) as error:
            raise self.failed(f"was not ready in {seconds:g} s") from error
        try:
            said = json.loads(line)
        except ValueError as error:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 5)
            raise self.failed("did not start") from error
        if not isinstance(said, dict):
            raise self.failed("said something else than where it is")
        self.said = said

    async def end(self, seconds: float = 20.0) -> None:
        """End it in order; what does not end in time is killed."""
        if self.has_ended:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if not self.has_ended:
            self._process.kill()

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        return await self._process.wait()

    def failed(self, what: str) -> UnavailableError:
        """Return the error that says what happened to it."""
        try:
            tail = self.log.read_bytes()[-_TAIL:].decode(errors="replace").strip()
        except OSError:
            tail = ""
        return UnavailableError("child_failed", f"{self.name} {what}; {self.log} ends with: {tail or '(nothing)'}")


def orca(*arguments: str) -> list[str]:
    """Return the command line of one of our own commands, by this very interpreter."""
    return [sys.executable, "-c", "from orca.cli import main; main()", *arguments]


async def start(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], *, seconds: float = 60.0) -> Child:
    """Start a child and wait until it is ready."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=dict(environment),
            start_new_session=True,  # a Ctrl-C at the terminal is for this process, which ends its children in order
            preexec_fn=_die_with(os.getpid()),
            limit=_SAID_MAX_BYTES,
        )
    child = Child(name, process, log)
    try:
        await child.ready(seconds)
    except BaseException:
        await child.end(5.0)
        raise
    return child


def _die_with(parent: int) -> Callable[[], None]:
    """Return what a new child does first: ask the kernel for SIGTERM at its parent's end, and look whether that has been."""
    library = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
