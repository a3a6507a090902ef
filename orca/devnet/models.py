"""Which models answer for a spec on a devnet, and so what its work item can demand.

A name that a configured server has is used as it is; for others the operator's aliases hold; else an alias is made here and
said. Open weights can be decoded again by every node, so inference is required of them, and only of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from orca.node import LocalNode
from orca.settings import Settings
from orca_agent.models.local import LOCAL_MODELS
from orca_agent.models.registry import Registry, Resolution
from orca_protocol.errors import OrcaError, UnavailableError
from orca_protocol.spec import SwarmSpec

LOCAL: Final = "local/smollm2-135m-instruct"
_CHECKS: Final = ("integrity", "authenticity", "eligibility", "replay")


@dataclass(frozen=True, slots=True)
class Answering:
    """What answers, as the nodes are told (``ORCA_MODEL_ALIASES``) and as the work item says."""

    aliases: str
    allowed: tuple[dict[str, Any], ...]
    checks: tuple[str, ...]
    #: a line for each name, for people
    said: tuple[str, ...]


async def answering(spec: SwarmSpec, settings: Settings) -> Answering:
    """Return what answers for ``spec``. Raises UnavailableError ``no_model`` where nothing can."""
    rules = dict(settings.model_aliases)
    said: list[str] = []
    allowed: dict[str, dict[str, Any]] = {}
    async with LocalNode(settings) as node:
        rows = await node.registry.catalogue()
        hosted = [row.name for row in rows if row.reachable and row.provider not in ("local", "alias") and row.name != "*"]
        fallback = hosted[0] if hosted else LOCAL
        for name in spec.model_names:
            found = await _resolved(node.registry, name)
            if found is None:
                rules[name] = fallback
                said.append(
                    f"{name} is answered by {fallback}: an alias made for this devnet, because no server that answers has {name}"
                )
                found = await _resolved(node.registry, fallback)
            else:
                said.append(f"{name} is answered by {found.model} (provider {found.provider.name})")
            if found is None:
                raise UnavailableError("no_model", f"nothing can answer for {name}: see `orca doctor`")
            allowed[found.model] = _allowed(found)
    is_open = all("digest" in model for model in allowed.values())
    checks = (*_CHECKS, "inference") if is_open else _CHECKS
    return Answering(",".join(f"{name}={target}" for name, target in rules.items()), tuple(allowed.values()), checks, tuple(said))


async def _resolved(registry: Registry, name: str) -> Resolution | None:
    try:
        return await registry.resolve(name)
    except OrcaError as error:
        if error.code == "model_unavailable":
            return None
        raise


def _allowed(found: Resolution) -> dict[str, Any]:
    weights = LOCAL_MODELS.get(found.model) if found.provider.name == "local" else None
    return {"name": found.model} | ({} if weights is None else {"digest": f"sha256:{weights.sha256}"})
