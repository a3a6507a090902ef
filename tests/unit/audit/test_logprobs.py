"""Log probabilities in a journal are judged like the tokens they belong to, but for the rounding of a logarithm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orca_protocol.model import Answer, ModelRequest, TokenLogprob
from tests.unit.audit.packages import ITEM, PretendedWeights, decode, package, verdicts
from tests.unit.orca_engine.worlds import World


def with_logprobs(*values: str, text: str = "t") -> Callable[[ModelRequest], Answer]:
    """What weights answer that give log probabilities beside what they say."""
    said = tuple(TokenLogprob(token=text, logprob=value) for value in values) or None
    return lambda request: decode(request).model_copy(update={"logprobs": said})


def package_of(answer: Callable[[ModelRequest], Answer]) -> dict[str, bytes]:
    entries, _ = World(ITEM, answer=lambda call: answer(call.asked)).run()
    return package(entries)


@pytest.mark.parametrize(
    ("claimed", "detail"),
    [
        (with_logprobs("-0.5", "-2.3"), "the log probability of token 1 is -2.3 in the journal and -2.5 when decoded again"),
        (with_logprobs("-0.5"), "there are 1 log probabilities in the journal and 2 when decoded again"),
        (with_logprobs(), "there are 0 log probabilities in the journal and 2 when decoded again"),
        (with_logprobs("-0.5", "-2.5", "-1"), "there are 3 log probabilities"),
        (with_logprobs("-0.5", "-2.5", text="u"), "the text of token 0 beside its log probability is another"),
        (with_logprobs("-9999", "-2.5"), "the log probability of token 0 is -9999 in the journal"),
    ],
)
def test_log_probabilities_that_do_not_come_out_again_are_a_mismatch(
    claimed: Callable[[ModelRequest], Answer], detail: str
) -> None:
    weights = PretendedWeights(answer=with_logprobs("-0.5", "-2.5"))
    found = verdicts(package_of(claimed), redecoder=weights)
    assert found["inference"] == ("mismatch", "answer_differs")
    assert detail in found.results["inference"].detail


def test_log_probabilities_that_nobody_asked_for_are_a_mismatch() -> None:
    assert verdicts(package_of(with_logprobs("-0.5")))["inference"] == ("mismatch", "answer_differs")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("-2.500000238419", "-2.5"), ("0", "-0.000000119209"), ("-103.278929903432", "-9999")]
)
def test_another_rounding_of_a_logarithm_is_no_difference(theirs: str, ours: str) -> None:
    """C libraries round the last bit of a logarithm differently, or find the smallest probabilities to be 0."""
    weights = PretendedWeights(answer=with_logprobs(ours))
    assert verdicts(package_of(with_logprobs(theirs)), redecoder=weights)["inference"] == ("valid", "ok")


def test_a_node_whose_own_log_probabilities_differ_cannot_judge() -> None:
    values = iter(range(1, 1000))

    def unstable(request: ModelRequest) -> Answer:
        return with_logprobs(f"-{next(values)}")(request)

    weights = PretendedWeights(answer=unstable)
    assert verdicts(package_of(with_logprobs("-0.5")), redecoder=weights)["inference"] == ("not_measured", "decode_unstable")
