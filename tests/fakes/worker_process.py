"""A worker in a process of its own: ``python -m tests.fakes.worker_process DATABASE_URL MODEL_URL TTL BEAT``

Prints a JSON object per line: ``ready``, ``claimed``, ``appended``, and when a run was lost to another worker ``refused``
with the code that the journal gave a write of the former holder. SIGTERM stops it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from typing import Any

from orca_agent.models.http import HttpClient
from orca_agent.models.openai import OpenAIProvider, OpenAISettings
from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.events import EventLog
from orca_agent.store.journal import Hold
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Runner, RunOptions
from orca_agent.work.worker import Worker
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry


def say(event: str, **details: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, "pid": os.getpid(), **details}) + "\n")
    sys.stdout.flush()


class Telling(PostgresJournal):
    """Says what it wrote, and remembers the last of it."""

    last: tuple[Hold, Entry] | None = None

    async def append(self, hold: Hold, entry: Entry) -> None:
        await super().append(hold, entry)
        self.last = (hold, entry)
        say("appended", run=hold.run_id, epoch=hold.epoch, path=list(entry.path), agent=entry.name)


class Stubborn(Worker):
    """Writes once more to a run that it lost."""

    journal: Telling
    runs: RunQueue

    async def work(self, run_id: str) -> None:
        say("woken", run=run_id)
        await super().work(run_id)
        if self.journal.last is None:
            return
        hold, entry = self.journal.last
        if (await self.runs.state(hold.run_id)).epoch != hold.epoch:
            try:
                await self.journal.append(hold, entry.model_copy(update={"path": (9, 9, 9, 9, 9)}))
            except InvalidError as error:
                say("refused", code=error.code)


async def main(database: str, models: str, ttl: float, beat: float) -> None:
    http = HttpClient()
    registry = Registry([OpenAIProvider(OpenAISettings(models, models=("scripted",)), http)], {})
    journal = Telling(database)
    policy = LeasePolicy(ttl=ttl, beat=beat, sweep=0.2, announce_again=1.0)
    options = RunOptions(follow=True)
    async with RunQueue(database, policy) as queue, EventLog(database) as events:
        worker = Stubborn(
            queue, events, lambda run, on_event: Runner(journal, registry, Secrets(), options=options, on_event=on_event)
        )
        worker.journal, worker.runs = journal, queue
        serving = asyncio.create_task(worker.serve(grace=0.0))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        say("ready", name=worker.name)
        await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()
    await journal.close()
    await registry.close()
    await http.close()
    say("stopped")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
