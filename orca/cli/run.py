"""``orca run``: run a SwarmSpec here, now."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orca import event_loop
from orca.cli.asking import Answers, asked, is_at_terminal
from orca.cli.show import AsJson, note, one_line, plain, show_error, show_json
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from orca.node import LocalNode
    from orca_agent.work.live import InputAwaitedError
    from orca_agent.work.runner import Finished, Runner
    from orca_engine.item import Item
    from orca_protocol.budget import Budget
    from orca_protocol.spec import ScheduleSpec
    from proof_store.cid import Cid

#: what makes ``--out`` a file instead of a folder
CAR = ".car"
#: the longest run, in seconds
YEAR = 365 * 24 * 3600.0


def _is_a_time(seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds <= YEAR:
        raise typer.BadParameter(f"--timeout takes seconds, more than 0 and at most {YEAR:.0f} (a year)")
    return seconds


def run(
    spec: Annotated[Path, typer.Argument(help="A SwarmSpec in JSON.")],
    follow: Annotated[bool, typer.Option("--follow", help="Show the answers on stderr as they are written.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the proof, signed by this node's key, to this new folder, or to this new file if it ends with .car."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the latest run of the same spec; ask nothing again.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(callback=_is_a_time, help="End the run after so many seconds; what was answered is kept.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="What a person says at the flow's next H; again for further ones.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run a swarm: progress on stderr, result on stdout. Exit 0 success, 1 partial, error, or a person must say something first."""
    try:
        return event_loop.run(_run(spec, follow, out, resume, timeout, tuple(inputs or ()), as_json))
    except OrcaError as error:
        show_error(error, as_json=as_json)
        return 1
    except KeyboardInterrupt:
        again = _again(spec, out)
        if as_json:
            show_json({"type": "urn:orca-node:problem:interrupted", "code": "interrupted", "detail": f"go on with: {again}"})
        note(f"interrupted; go on with: {again}")
        return 130


def _again(spec: Path, out: Path | None) -> str:
    """Return the command that goes on with a run of ``spec``."""
    return f"orca run {spec} --resume" + ("" if out is None else f" --out {out}")


async def _run(
    path: Path, follow: bool, out: Path | None, resume: bool, timeout: float | None, inputs: Sequence[str], as_json: bool
) -> int:
    from orca.cli.progress import Progress
    from orca.network_settings import load
    from orca.node import LocalNode
    from orca.observe_settings import ObserveSettings
    from orca.observing import observing
    from orca.settings import load_settings
    from orca_agent.work.live import InputAwaitedError
    from orca_agent.work.response import answers_of, completion
    from orca_agent.work.runner import Runner, RunOptions
    from orca_engine.bounds import inputs_at_most
    from orca_engine.item import Item
    from orca_engine.program import admit

    spec = _read(path)
    item = Item.local(spec, where=str(path))
    admit(item.spec)
    if len(inputs) > inputs_at_most(item.spec):
        raise InvalidError("input_unasked", f"--input: {path} asks a person {inputs_at_most(item.spec)} times at most")
    if item.spec.schedule is not None:
        await _until_due(item.spec.schedule, resume=resume)
    async with LocalNode(load_settings()) as node:
        key = None if out is None else _prepare_proof(node, out)
        options = RunOptions(follow=follow, in_flight=node.settings.max_in_flight)
        answers = Answers(inputs, is_terminal=is_at_terminal(as_json=as_json))
        try:
            with observing(load(ObserveSettings)) as watchers:
                watching = watchers.watch(item.id, Progress())
                runner = Runner(
                    node.journal,
                    node.registry,
                    node.secrets,
                    reach=node.runs.reach,
                    options=options,
                    on_event=watching,
                    on_finished=watching.ended,
                )
                finished = await _finish(runner, item, spec, timeout, resume, answers, node.runs.budget)
        except InputAwaitedError as waiting:
            _show_asked(waiting, _again(path, out), as_json)
            return 1
        response = completion(finished, await node.registry.bill(answers_of(finished)))
        code = 0 if finished.output.status == "success" else 1
        if out is not None and key is not None:
            try:
                response["proof"] = _prove(node, finished, key, out)
            except OrcaError as error:  # the answers were paid for: they are shown whatever became of the proof
                show_error(error, as_json=False)
                note(f"the run is in the journal; prove it again with: orca run {path} --resume --out {out}")
                code = 1
    if as_json:
        show_json(response)
    else:
        _show(response)
    return code


async def _finish(
    runner: Runner, item: Item, spec: bytes, timeout: float | None, resume: bool, answers: Answers, budget: Budget
) -> Finished:
    """Run to the end, answering what people are asked. Raises InputAwaitedError where there is no answer."""
    from orca_agent.work.live import InputAwaitedError

    while True:
        try:
            return await runner.run(item, spec, timeout=timeout, resume=resume, said=answers.said, budgets=(budget,))
        except InputAwaitedError as waiting:
            if not answers.answer(waiting.calls):
                raise
            resume = True


def _show_asked(waiting: InputAwaitedError, again: str, as_json: bool) -> None:
    """Say what a person is asked, and how the run goes on."""
    questions = [asked(call) for call in waiting.calls]
    go_on = f"go on with: {again} --input TEXT"
    if as_json:
        kind = {"type": "urn:orca-node:problem:awaiting_input", "code": "awaiting_input", "status": "awaiting_input"}
        show_json({**kind, "detail": f"a person must say something first; {go_on}", "asked": questions})
        return
    for question in questions:
        for message in question["messages"]:
            typer.echo(f"{message['role']}: {plain(message['content'])}\n")
        note(one_line(f"awaiting input: [{question['step']}] is asked to go on from this"))
    note(go_on)


async def _until_due(schedule: ScheduleSpec, *, resume: bool) -> None:
    """Wait for the moment that the spec names, which may be over where an interrupted run goes on."""
    import asyncio
    from datetime import UTC, datetime

    from orca_time.schedule import due_of, moment_of

    now = datetime.now(UTC)
    if resume and moment_of(schedule) <= now:
        return
    due = due_of(schedule, now)
    note(f"waits here until {due.document()['local']} ({due.zone}); an agent would wait in your place: orca submit SPEC")
    while (left := (due.at - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - the machine may sleep, its clock be set
        await asyncio.sleep(min(left, 1.0))


def _read(path: Path) -> bytes:
    from orca_protocol.spec import SPEC_MAX_BYTES

    try:
        with path.open("rb") as file:
            return file.read(SPEC_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnavailableError("spec_unreadable", f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _prepare_proof(node: LocalNode, out: Path) -> SigningKey:
    """Find out before anything is asked whether the proof can be signed and written; write nothing yet but a first key."""
    try:
        is_taken = out.exists() and (out.suffix == CAR or not out.is_dir() or any(out.iterdir()))
        nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        is_writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except OSError as error:
        raise UnavailableError("folder_unwritable", f"--out {out}: {error.strerror}; name another folder") from error
    if is_taken:
        raise InvalidError(
            "folder_not_empty", f"--out {out} exists and is not an empty folder; name a new folder or a new .car file"
        )
    if not is_writable:
        raise UnavailableError("folder_unwritable", f"--out {out}: {nearest} is not a folder that can be written to; name another")
    key, is_new = node.signing_key()
    if is_new:
        note(f"made a key for this node: {node.settings.key_path}")
    return key


def _prove(node: LocalNode, finished: Finished, key: SigningKey, out: Path) -> dict[str, str]:
    from orca_agent.work.proving import prove
    from orca_protocol.keys import public_key_of
    from proof_store.tree import write_tree

    cid, files = prove(finished, key, node.blocks, network=node.settings.network)
    if out.suffix == CAR:
        _write_car(cid, node, out)
    else:
        write_tree(files, out)
    return {"cid": str(cid), "path": str(out), "signer": public_key_of(key)}


def _write_car(cid: Cid, node: LocalNode, path: Path) -> None:
    from proof_store.car import write_car

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            write_car(cid, node.blocks, file)
    except OSError as error:
        raise UnavailableError("storage_failed", f"{path}: {error.strerror}") from error


def _show(response: dict[str, Any]) -> None:
    for number, part in enumerate(response["output"]):
        if isinstance(part, list):
            typer.echo(f"# {one_line(response['tasks'][number])}\n")
        for message in part if isinstance(part, list) else [part]:
            error = message.get("error")
            said = message["content"] if error is None else f"(no answer: {error['detail']} [{error['code']}])"
            typer.echo(f"## {one_line(message['role'])}\n\n{plain(said)}\n")
    for remark in response.get("notes", ()):
        note(plain(f"{remark['code']}: {remark['detail']}"))
    usage = response["usage"]
    note(
        f"{response['status']}: {usage['calls']} calls, {usage['input_tokens']} tokens in, {usage['output_tokens']} out, "
        f"{response['execution_time']:.1f} s" + (f", ended by {response['stopped']}" if response["stopped"] else "")
    )
    if "proof" in response:
        note(f"proof {response['proof']['cid']} in {response['proof']['path']}, signed by {response['proof']['signer']}")
