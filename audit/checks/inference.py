"""Check 6: answers of open-weight models come out again, token for token, from the journaled request and seed.

Exact comparison is a promise only between equal arithmetic: same weights digest, engine build, sampler and numerics id.
Anything else is ``not_measured``. A difference counts only when two decodes of our own agree with each other. Hosted
models cannot be decoded again by anyone: ``closed_model``. Journaled failures are taken as the node told them.

Log probabilities that a journal holds need not be equal to the last bit: the engine takes the logarithm from the machine's C
library, and those round differently, one value in a few hundred, which the few values in a numerics id may not show.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from random import SystemRandom
from typing import TypeVar

from audit.case import Case
from audit.finding import Finding
from audit.ports import Redecoder
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.journal import Entry, Path
from orca_protocol.model import Answer, ModelIdentity, TokenLogprob, Usage

T = TypeVar("T")

#: fields of an identity that must be equal for exact comparison to mean anything
_ARITHMETIC = ("digest", "engine", "numerics", "sampler")
#: how far two log probabilities may be apart: a hundred times what rounding does, and nothing that a forger could use
_ROUNDING = 1e-4
#: smaller ones count as this: near the least number of 32 bits, a probability has few digits left, or none
_LEAST = -80.0


async def check_inference(case: Case) -> Finding:
    """Decode answers again. Raises InvalidError ``answer_differs``; UnavailableError where this node cannot tell."""
    answered = [entry for entry in case.require_contents().entries if entry.answer is not None]
    if not answered:
        return Finding("no model answered in this run", verdict="not_applicable", code="no_answers")
    open_weight = [entry for entry in answered if entry.answer is not None and entry.answer.model.digest is not None]
    chosen = _sample(open_weight, case.inference_rate)
    if chosen and case.redecoder is None:
        raise UnavailableError("no_redecoder", "this node has no local models to decode with; install one (orca doctor)")
    tokens = 0
    cannot_tell: UnavailableError | None = None
    for entry in chosen:
        if entry.answer is not None and case.redecoder is not None:
            try:
                tokens += await _decode_again(entry, entry.answer, case.redecoder)
            except UnavailableError as error:  # looked at last: one answer that cannot be judged must not hide one that is wrong
                cannot_tell = cannot_tell or error
    if cannot_tell is not None:
        raise cannot_tell
    if open_weight and not chosen:
        raise UnavailableError(
            "not_sampled", f"none of {len(open_weight)} answers was drawn to be decoded again (rate {case.inference_rate:g})"
        )
    if len(open_weight) < len(answered):
        closed = len(answered) - len(open_weight)
        raise UnavailableError(
            "closed_model", f"{closed} of {len(answered)} answers are of hosted models, which nobody can decode again"
        )
    return Finding(f"{len(chosen)} of {len(answered)} answers decoded again, all equal", tokens=tokens)


def _sample(entries: Sequence[Entry], rate: float) -> list[Entry]:
    """Choose a share of the entries that the worker could not foresee."""
    count = math.ceil(len(entries) * rate)
    return sorted(SystemRandom().sample(entries, count), key=lambda entry: entry.path)


async def _decode_again(entry: Entry, claimed: Answer, redecoder: Redecoder) -> int:
    """Return how many tokens were decoded. Raises as ``inference`` does."""
    model = claimed.model.model
    _refuse_other_arithmetic(claimed.model, await _own(redecoder.identity(model)))
    first = await _own(redecoder.decode(entry.asked, model))
    if _are_alike(claimed, first):
        return _length(first)
    second = await _own(redecoder.decode(entry.asked, model))
    if not _are_alike(first, second):
        raise UnavailableError("decode_unstable", "two decodes on this node differ from each other, so it cannot judge others")
    raise InvalidError("answer_differs", f"path {Path(*entry.path)} ({entry.name!r}): {_difference(claimed, first)}")


async def _own(work: Awaitable[T]) -> T:
    """Whatever goes wrong in decoding is this node's trouble, never the worker's fault."""
    try:
        return await work
    except OrcaError as error:
        raise UnavailableError(error.code, f"this node could not decode: {error.detail}") from error


def _refuse_other_arithmetic(claimed: ModelIdentity, ours: ModelIdentity) -> None:
    for field in _ARITHMETIC:
        if getattr(claimed, field) != getattr(ours, field):
            raise UnavailableError(
                "numerics_differ", f"{claimed.model}: its {field} differs from this node's, so answers may honestly differ"
            )


def _said(answer: Answer) -> tuple[str, tuple[int, ...] | None, str, Usage | None]:
    return answer.content, answer.tokens, answer.finish_reason, answer.usage


def _are_alike(one: Answer, other: Answer) -> bool:
    return _said(one) == _said(other) and _unlike(one.logprobs or (), other.logprobs or ()) is None


def _length(answer: Answer) -> int:
    return len(answer.tokens or ())


def _difference(claimed: Answer, ours: Answer) -> str:
    for place, (theirs, token) in enumerate(zip(claimed.tokens or (), ours.tokens or (), strict=False)):
        if theirs != token:
            return f"token {place} is {theirs} in the journal and {token} when decoded again"
    for place, (theirs_char, char) in enumerate(zip(claimed.content, ours.content, strict=False)):
        if theirs_char != char:
            return f"the text differs from character {place} on"
    if claimed.usage != ours.usage:
        return f"the usage is {_counts(claimed)} in the journal and {_counts(ours)} when decoded again"
    return _unlike(claimed.logprobs or (), ours.logprobs or ()) or "the answer is cut or continued differently"


def _unlike(claimed: Sequence[TokenLogprob], ours: Sequence[TokenLogprob]) -> str | None:
    """Return the first difference between log probabilities that no rounding explains."""
    for place, (theirs, own) in enumerate(zip(claimed, ours, strict=False)):
        if not math.isclose(_value(theirs), _value(own), rel_tol=0, abs_tol=_ROUNDING):
            return f"the log probability of token {place} is {theirs.logprob} in the journal and {own.logprob} when decoded again"
        if theirs.token != own.token:
            return f"the text of token {place} beside its log probability is another when decoded again"
    if len(claimed) != len(ours):
        return f"there are {len(claimed)} log probabilities in the journal and {len(ours)} when decoded again"
    return None


def _value(said: TokenLogprob) -> float:
    return max(float(said.logprob), _LEAST)


def _counts(answer: Answer) -> str:
    return "unsaid" if answer.usage is None else f"{answer.usage.input_tokens} in, {answer.usage.output_tokens} out"
