"""``orca devnet``: a whole network on this machine; with ``--once``, one work item through it to its payment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orca.cli.show import AsJson, note, one_line, show_json
from orca_protocol.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    from orca.devnet.layout import Layout
    from orca.devnet.models import Answering
    from orca.devnet.once import Paid
    from orca.settings import Settings

_DECIMALS = 6


def devnet(
    once: Annotated[Path | None, typer.Option(help="Take this SwarmSpec to payment, then stop.")] = None,
    nodes: Annotated[int, typer.Option(min=1, max=20, help="How many nodes; two of them must approve what is paid.")] = 3,
    data: Annotated[Path | None, typer.Option(help="Where its state is kept and found again; default $ORCA_HOME/devnet.")] = None,
    price: Annotated[str, typer.Option(help="What the item is worth, in $SWARMS.")] = "1.5",
    real_windows: Annotated[
        bool, typer.Option("--real-windows", help="Rounds as long as Koii's, about 34 minutes, on a clock that runs by itself.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Run a network on loopback: PostgreSQL, chain, middle server and nodes, each a process of its own."""
    import asyncio

    from orca.cli.logs import log_to_stderr
    from orca.devnet.layout import Layout
    from orca.network_settings import load
    from orca.run_settings import RunSettings
    from orca.settings import load_settings

    settings = load_settings()
    log_to_stderr((*settings.secrets, *load(RunSettings).secrets), level="WARNING")
    amount = base_units(price)
    layout = Layout((data or settings.home / "devnet").absolute(), nodes)
    if once is not None:
        return asyncio.run(_once(layout, settings, once, _read(once), amount, real_windows, as_json))
    return asyncio.run(_run(layout, settings, real_windows, as_json))


def _read(path: Path) -> bytes:
    from orca_protocol.spec import SPEC_MAX_BYTES

    try:
        with path.open("rb") as file:
            return file.read(SPEC_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnavailableError("spec_unreadable", f"{path}: {getattr(error, 'strerror', None) or error}") from error


async def _once(layout: Layout, settings: Settings, path: Path, spec: bytes, price: int, real_windows: bool, as_json: bool) -> int:
    from orca.cli.progress import RemoteProgress
    from orca.devnet.layout import QUICK, REAL
    from orca.devnet.models import answering
    from orca.devnet.network import Devnet
    from orca.devnet.once import Once, StepFailed
    from orca_engine.program import admit
    from orca_protocol.spec import read_spec

    parsed = read_spec(spec, where=str(path))
    admit(parsed)
    found = await answering(parsed, settings)
    _say(f"== 1. a network on this machine, in {layout.data}", as_json)
    kubo, stores = await _kubo()
    devnet = Devnet(
        layout, clock=REAL if real_windows else QUICK, real_time=real_windows, extra={"ORCA_MODEL_ALIASES": found.aliases} | kubo
    )
    async with devnet:
        _say_network(devnet, as_json)
        _say(f"  {stores}", as_json)
        _say_work(path, price, found, as_json)
        seconds = 8 * 3600.0 if real_windows else 1800.0
        try:
            paid = await Once(devnet, lambda text: _say(text, as_json), RemoteProgress().told, seconds=seconds).take(
                spec, found, price
            )
        except StepFailed as failed:
            _show_failure(failed.step, failed.why, as_json)
            return 1
        names = {node.member.key: node.member.name for node in devnet.nodes}
    _show_paid(paid, names, layout, as_json)
    return 0


async def _run(layout: Layout, settings: Settings, real_windows: bool, as_json: bool) -> int:
    """Run until it is told to stop; its clock goes on while there is work."""
    import asyncio

    from orca.devnet.idle import keep_going
    from orca.devnet.layout import QUICK, REAL
    from orca.devnet.network import Devnet
    from orca_http.serving import stop_on_signals

    stopping = asyncio.Event()
    kubo, stores = await _kubo()
    devnet = Devnet(layout, clock=REAL if real_windows else QUICK, real_time=real_windows, extra=_aliases(settings) | kubo)
    with stop_on_signals(stopping):
        async with devnet:
            _say_network(devnet, as_json)
            _say(f"  {stores}", as_json)
            if as_json:
                show_json({"middle_server": devnet.middle_url, "chain": devnet.endpoint, "api_key": devnet.api_key})
            else:
                typer.echo("\nPost work from another shell:\n")
                for name, value in devnet.requester_environment().items():
                    typer.echo(f"    export {name}={value}")
                typer.echo("    orca submit SPEC --price 1.5 --fund\n\nStop with Ctrl-C.")
            await keep_going(devnet, stopping, real_time=real_windows)
    return 0


async def _kubo() -> tuple[dict[str, str], str]:
    """Return what the nodes are told of a Kubo, and a sentence for people: the one that is configured, or one that runs here."""
    from orca.network_settings import load
    from orca.store_settings import StoreSettings
    from orca.stores import find_kubo

    url, said = await find_kubo(load(StoreSettings))
    return {} if url is None else {"ORCA_KUBO_URL": url}, said


def _aliases(settings: Settings) -> dict[str, str]:
    return {"ORCA_MODEL_ALIASES": ",".join(f"{name}={target}" for name, target in settings.model_aliases.items())}


def base_units(text: str) -> int:
    """Return an amount of $SWARMS, which has 6 decimals, in base units. Raises InvalidError ``price``."""
    found = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?", text)
    amount = 0 if found is None else int(found[1]) * 10**_DECIMALS + int((found[2] or "").ljust(_DECIMALS, "0") or 0)
    if amount == 0:
        raise InvalidError("price", f"--price {text!r}: an amount of $SWARMS above 0, with at most 6 decimals, such as 1.5")
    return amount


def swarms(amount: int) -> str:
    """Return base units as people read them."""
    whole, rest = divmod(abs(amount), 10**_DECIMALS)
    return f"{'-' if amount < 0 else ''}{whole}.{rest:0{_DECIMALS}d} $SWARMS"


def _say(text: str, as_json: bool) -> None:
    lines = [one_line(line) for line in text.split("\n")]
    typer.echo("\n".join(lines), err=as_json)


def _say_network(devnet: object, as_json: bool) -> None:
    from orca.devnet.network import Devnet

    if not isinstance(devnet, Devnet):
        raise TypeError("a devnet is shown")
    _say(f"  chain {devnet.endpoint}\n  middle server {devnet.middle_url}", as_json)
    for node in devnet.nodes:
        said = node.child.said
        _say(f"  {node.member.name} {said['key']}, {said['url']}, gateway {said['gateway']}", as_json)


def _say_work(path: Path, price: int, found: Answering, as_json: bool) -> None:
    _say(f"\n== 2. post {path} for {swarms(price)}", as_json)
    for line in found.said:
        _say(f"  {line}", as_json)


def _show_failure(step: str, why: str, as_json: bool) -> None:
    if as_json:
        show_json({"type": "urn:orca-node:problem:step_failed", "code": "step_failed", "step": step, "detail": why})
    note(one_line(f"FAILED at step “{step}”: {why}"))


def _show_paid(paid: Paid, names: dict[str, str], layout: Layout, as_json: bool) -> None:
    verify = f"{_own_name()} verify {paid.cid} --devnet {_shown(layout.data)}"
    if as_json:
        show_json(
            {
                "work_item": paid.work_item,
                "cid": paid.cid,
                "worker": paid.worker,
                "round": paid.round,
                "price": str(paid.price),
                "before": {key: str(amount) for key, amount in paid.before.items()},
                "after": {key: str(amount) for key, amount in paid.after.items()},
                "verify": verify,
            }
        )
        return
    typer.echo(f"\n== 6. paid for round {paid.round}")
    for key, before in paid.before.items():
        role = "  ← did the work" if key == paid.worker else ""
        typer.echo(f"  {names.get(key, key)}: {swarms(before)} before, {swarms(paid.after[key])} after{role}")
    typer.echo(f"\nVerify the proof yourself, from any shell:\n\n    {verify}\n")


def _own_name() -> str:
    """Return how this program is called from here: in a checkout it is not on the PATH."""
    import shutil
    import sys

    on_path = shutil.which("orca")
    own = Path(sys.argv[0])
    if own.name != "orca" or (on_path is not None and Path(on_path).resolve() == own.resolve()):
        return "orca"
    return str(_shown(own.absolute()))


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
