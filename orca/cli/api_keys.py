"""``orca key issue``, ``list``, ``revoke``: API keys for those who use this agent, in the agent's own database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orca.cli.show import AsJson, note, show_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from orca_agent.store.keys import ApiKey, KeyStore

_UNITS = {"m": 1 / 24 / 60, "h": 1 / 24, "d": 1.0, "w": 7.0}
_DAYS_MAX = 3650


def issue(
    name: Annotated[str, typer.Argument(help="Whom or what the key is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, run or admin; give it once for each. Without it: read and run.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="After how long it ends: 12h, 30d, 8w. Without it: never.")] = None,
    per_minute: Annotated[int, typer.Option(min=1, max=100_000, help="Requests in any minute.")] = 100,
    per_day: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Requests in any 24 hours.")] = None,
    concurrent: Annotated[int, typer.Option(min=1, max=100_000, help="Runs that have not ended, at a time.")] = 10,
    calls_per_day: Annotated[int | None, typer.Option(min=0, help="Model calls of all runs of a day (UTC).")] = None,
    input_tokens_per_day: Annotated[int | None, typer.Option(min=0, help="Tokens that models read in a day.")] = None,
    output_tokens_per_day: Annotated[int | None, typer.Option(min=0, help="Tokens that models write in a day.")] = None,
    cost_per_day: Annotated[str | None, typer.Option(help="US dollars that runs may cost in a day, as 2.50.")] = None,
    as_json: AsJson = False,
) -> int:
    """Make an API key for this agent; it is shown once and kept by its digest only."""
    from datetime import UTC, datetime

    from orca_agent.store.keys import KeyTerms

    terms = KeyTerms(
        scopes=_scopes(scope),
        per_minute=per_minute,
        per_day=per_day,
        concurrent=concurrent,
        calls_per_day=calls_per_day,
        input_tokens_per_day=input_tokens_per_day,
        output_tokens_per_day=output_tokens_per_day,
        cost_per_day=_money(cost_per_day),
    )
    end = None if expires is None else datetime.now(UTC) + duration_of(expires)
    key, secret = _with_keys(lambda keys: keys.issue(name, terms, expires=end))
    if as_json:
        show_json({**_document(key), "api_key": secret.get_secret_value()})
    else:
        typer.echo(secret.get_secret_value())
        note(f"this is {key.name} ({key.id}): {_said(key)}. Keep it now: it is shown once")
    return 0


def list_keys(as_json: AsJson = False) -> int:
    """List the API keys that were issued here, with their limits and last use; the secrets are kept nowhere."""
    keys = _with_keys(lambda store: store.keys())
    if as_json:
        show_json({"keys": [_document(key) for key in keys]})
    else:
        for key in keys:
            typer.echo(f"{key.id}  {key.name}  {_state(key)}  {_said(key)}")
        if not keys:
            note("no key was issued here; make one with: orca key issue NAME")
    return 0


def revoke(which: Annotated[str, typer.Argument(help="The key's name or id.")], as_json: AsJson = False) -> int:
    """Revoke an API key, from the next request on; its runs go on. Exit 1 if there is no such valid key."""
    key = _with_keys(lambda keys: keys.revoke(which))
    if as_json:
        show_json({"revoked": None if key is None else _document(key)})
    else:
        note(f"no valid key is called {which}; see: orca key list" if key is None else f"{key.name} ({key.id}) is revoked")
    return 1 if key is None else 0


def duration_of(text: str) -> timedelta:
    """Return how long ``12h``, ``30d`` or ``8w`` is. Raises InvalidError ``expires``."""
    from datetime import timedelta

    from orca_protocol.errors import InvalidError

    found = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", text)
    if found is None or (days := int(found[1]) * _UNITS[found[2]]) > _DAYS_MAX:
        raise InvalidError("expires", f"--expires {text[:40]!r}: a number and m, h, d or w, as 30d; {_DAYS_MAX} days at most")
    return timedelta(days=days)


def _with_keys(do: Callable[[KeyStore], Awaitable[Any]]) -> Any:
    """Return what ``do`` returns, given the keys of this machine's agent, whether it runs or not."""
    import asyncio

    from orca.postgres import join_database
    from orca.settings import load_settings
    from orca_agent.store.keys import KeyStore

    settings = load_settings()

    async def done() -> Any:
        async with join_database(settings.database_url, settings.home / "postgres") as url, KeyStore(url) as keys:
            return await do(keys)

    return asyncio.run(done())


def _scopes(given: list[str] | None) -> tuple[Any, ...]:
    from orca_agent.store.keys import SCOPES, KeyTerms
    from orca_protocol.errors import InvalidError

    if not given:
        return tuple(KeyTerms().scopes)
    unknown = [scope for scope in given if scope not in SCOPES]
    if unknown:
        raise InvalidError("scope_unknown", f"--scope {unknown[0][:40]!r}: one of {', '.join(SCOPES)}")
    return tuple(given)


def _money(text: str | None) -> Any:
    from decimal import Decimal

    from orca_protocol.errors import InvalidError

    if text is None:
        return None
    if not re.fullmatch(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?", text):
        raise InvalidError("cost", f"--cost-per-day {text[:40]!r}: US dollars as a decimal number, 2.50")
    return Decimal(text)


def _state(key: ApiKey) -> str:
    from datetime import UTC, datetime

    return key.state(datetime.now(UTC))


def _said(key: ApiKey) -> str:
    budgets = {"calls": key.calls_per_day, "tokens in": key.input_tokens_per_day, "tokens out": key.output_tokens_per_day}
    said = [
        "+".join(key.scopes),
        f"{key.per_minute}/min",
        *([] if key.per_day is None else [f"{key.per_day}/day"]),
        f"{key.concurrent} runs at a time",
        *(f"{limit} {what}/day" for what, limit in budgets.items() if limit is not None),
        *([] if key.cost_per_day is None else [f"{key.cost_per_day:f} USD/day"]),
        "never expires" if key.expires is None else f"until {key.expires:%Y-%m-%d %H:%M} UTC",
        *([] if key.last_used is None else [f"last used {key.last_used:%Y-%m-%d %H:%M} UTC"]),
    ]
    return ", ".join(said)


def _document(key: ApiKey) -> dict[str, Any]:
    from dataclasses import asdict
    from datetime import datetime
    from decimal import Decimal

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return f"{value:f}" if isinstance(value, Decimal) else value

    return {**{name: plain(value) for name, value in asdict(key).items()}, "state": _state(key)}
