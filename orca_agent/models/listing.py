"""Reading ``{"data": [{"id": …}]}``, in which the JSON wire formats list their models, and what some servers say beside the names.

OpenRouter: ``context_length``, ``pricing`` (dollars per token), ``architecture``. vLLM: ``max_model_len``. llama.cpp: ``meta``.
Ollama and LM Studio give the names alone. A name must be there; all else is read where it makes sense and passed over where not.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from orca_agent.models.base import excerpt
from orca_agent.models.facts import ModelFacts, Price, amount, scaled
from orca_agent.models.http import Endpoint, HttpClient
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError, UnavailableError

_MOST_TOKENS = 10_000_000_000
_MOST_INPUTS = 20
#: what OpenRouter charges besides tokens of text; where one is more than nothing, the price per token is not the whole price
_OTHER_CHARGES = ("request", "internal_reasoning")


class _Listed(BaseModel):
    id: str
    context_length: Any = None
    max_model_len: Any = None
    meta: Any = None
    pricing: Any = None
    architecture: Any = None


class _Listing(BaseModel):
    data: list[_Listed]


async def listed(http: HttpClient, endpoint: Endpoint, path: str) -> dict[str, ModelFacts]:
    """Return the names in the listing at ``path``, in its order, each once, with what is said of them."""
    with endpoint.hushed():
        data = await http.get(endpoint, path)
        try:
            listing = _Listing.model_validate_json(data)
        except ValidationError as error:
            raise UnavailableError(
                "malformed_answer", f"{endpoint.label} sent a listing that cannot be read: {excerpt(describe(error))}"
            ) from error
    source = f"the listing of {urlsplit(endpoint.base_url).hostname}"
    found: dict[str, ModelFacts] = {}
    for entry in listing.data:
        found.setdefault(entry.id, _facts(entry, source))
    limit = http.settings.caps.listed_models
    if len(found) > limit:
        raise UnavailableError("malformed_answer", f"{endpoint.label} lists {len(found)} models; at most {limit} are read")
    return found


def _facts(entry: _Listed, source: str) -> ModelFacts:
    contexts = (entry.context_length, entry.max_model_len, _member(entry.meta, "n_ctx"), _member(entry.meta, "n_ctx_train"))
    return ModelFacts(
        context=next((count for count in contexts if type(count) is int and 0 < count <= _MOST_TOKENS), None),
        price=_price(entry.pricing, source),
        inputs=_inputs(_member(entry.architecture, "input_modalities")),
        memory_bytes=0,
    )


def _price(pricing: object, source: str) -> Price | None:
    """OpenRouter says ``-1`` where the price depends on what its router chooses."""
    if not isinstance(pricing, dict):
        return None
    try:
        if any(amount(pricing.get(charge) or "0") for charge in _OTHER_CHARGES if charge in pricing):
            return None
        return Price(scaled(pricing.get("prompt")), scaled(pricing.get("completion")), source)
    except InvalidError:
        return None


def _inputs(said: object) -> tuple[str, ...]:
    names = said if isinstance(said, list) else []
    return tuple(name for name in names[:_MOST_INPUTS] if isinstance(name, str) and name.isascii() and name.isalnum())


def _member(document: object, name: str) -> object:
    return document.get(name) if isinstance(document, dict) else None
