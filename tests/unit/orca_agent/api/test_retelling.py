"""Text that was sent stands: what a reader put together is what the answer says in the end, or they are told that it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.api.retelling import Retelling
from orca_protocol.errors import UnavailableError

pieces = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=5)


@given(st.lists(pieces, min_size=1, max_size=4))
def test_a_reader_has_the_last_telling_or_an_error(tellings: list[list[str]]) -> None:
    retelling, read = Retelling(), ""
    whole = "".join(tellings[-1])
    try:
        for telling in tellings:
            retelling.begin_again()
            for piece in telling:
                read += retelling.add(piece)
        read += retelling.whole(whole)
    except UnavailableError as error:
        assert error.code == "stream_restarted"
        told = ["".join(telling) for telling in tellings]
        assert any(not one.startswith(other) and not other.startswith(one) for one in told for other in told) or len(whole) < len(
            read
        )
    else:
        assert read == whole


def test_an_answer_that_ends_before_what_was_told_is_another_one() -> None:
    retelling = Retelling()
    assert retelling.add("Hello") == "Hello"
    with pytest.raises(UnavailableError):
        retelling.whole("Hell")
