from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError
from proof_store.cid import RAW, Cid
from proof_store.entity import ByteSpan, Scope
from proof_store.gateway_problem import problem_response, status_of
from proof_store.gateway_request import Asked, Form, matches, read_range, read_request

CID = Cid.of(RAW, b"block")
RAW_TYPE, CAR_TYPE = "application/vnd.ipld.raw", "application/vnd.ipld.car"


def read(query: str = "", accept: str | None = None, path: str = str(CID)) -> Asked:
    return read_request(path, query, {} if accept is None else {"accept": accept})


def refusal(query: str = "", accept: str | None = None, path: str = str(CID)) -> str:
    with pytest.raises(InvalidError) as caught:
        read(query, accept, path)
    return caught.value.code


@pytest.mark.parametrize(
    ("query", "accept", "form", "repeated"),
    [
        ("format=raw", None, Form.RAW, False),
        ("format=car", None, Form.CAR, False),
        ("", RAW_TYPE, Form.RAW, False),
        ("", CAR_TYPE, Form.CAR, False),
        ("", f"{CAR_TYPE};version=1;order=unk;dups=y", Form.CAR, True),
        ("format=raw", f"{CAR_TYPE}; dups=y", Form.RAW, False),  # the query goes before the header
        ("format=car", RAW_TYPE, Form.CAR, False),
        ("format=car", f"{CAR_TYPE}; dups=y", Form.CAR, True),
        ("format=car&car-dups=n", f"{CAR_TYPE}; dups=y", Form.CAR, False),
        ("", f"{RAW_TYPE};q=0.5, {CAR_TYPE}", Form.CAR, False),
        ("", f"{RAW_TYPE}, {CAR_TYPE}", Form.RAW, False),
        ("", f"{RAW_TYPE};q=0, {CAR_TYPE}", Form.CAR, False),
        ("", f"{CAR_TYPE};order=new, {CAR_TYPE};dups=y;q=0.5", Form.CAR, True),  # the specification's example of preferences
        ("", f"text/html, {RAW_TYPE};q=0.1, */*;q=0.9", Form.RAW, False),
        ("", "APPLICATION/VND.IPLD.CAR; Dups=Y", Form.CAR, True),
    ],
)
def test_how_the_form_is_negotiated(query: str, accept: str | None, form: Form, repeated: bool) -> None:
    asked = read(query, accept)
    assert (asked.form, asked.repeated) == (form, repeated)
    assert asked.negotiated == ("format" not in query or (repeated and "car-dups" not in query))


@pytest.mark.parametrize(
    ("query", "accept", "code"),
    [
        ("", None, "format_missing"),
        ("", "*/*", "format_missing"),
        ("", "application/*;q=0.5,*/*;q=0.1", "format_missing"),
        ("", ";;,,;q=x", "format_missing"),
        ("", "text/html,*/*;q=0.8", "format_not_offered"),
        ("", f"{CAR_TYPE};version=2", "format_not_offered"),
        ("format=car", f"{CAR_TYPE};order=new", "format_not_offered"),
        ("format=tar", None, "format_not_offered"),
        ("format=", None, "format_unknown"),
        ("format=RAW", None, "format_unknown"),
        ("format=raw&format=raw", None, "parameter_invalid"),
        ("&".join(f"p{number}=1" for number in range(40)), None, "parameter_invalid"),
        ("format=raw", "x" * 5000, "parameter_invalid"),
        ("format=car&entity-bytes=-0x1:2", None, "parameter_invalid"),
        ("format=car&entity-bytes=*:2", None, "parameter_invalid"),
        ("format=car&entity-bytes=0:٣", None, "parameter_invalid"),
        ("format=car&dag-scope=block&entity-bytes=0:1", None, "parameter_invalid"),
    ],
)
def test_what_cannot_be_answered(query: str, accept: str | None, code: str) -> None:
    assert refusal(query, accept) == code


def test_other_parameters_are_no_concern_of_ours() -> None:
    assert read("format=raw&filename=x.html&download=true") == read("format=raw")
    assert read("format=raw&dag-scope=nonsense") == read("format=raw")  # for CAR only


def test_paths_below_a_cid() -> None:
    assert read("format=car", path=f"{CID}/").path == ()
    assert read("format=raw", path=f"{CID}/").path == ()
    assert read("format=car", path=f"{CID}/a/b c/").path == ("a", "b c")
    assert read("format=car", path=f"{CID}/a b").content_path == f"/ipfs/{CID}/a%20b"
    for path in (f"{CID}///", f"{CID}/a//b", f"{CID}/..", f"{CID}/a\r\nb", f"{CID}/" + "a/" * 40):
        assert refusal("format=car", path=path) == "name_invalid"
    assert refusal("format=car", path="bafkqaaa/a") == "parameter_invalid"


def test_a_cid_of_another_spelling_is_the_same_resource() -> None:
    zero = Cid.parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")
    asked = read("format=raw", path="QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")
    assert asked.cid == zero
    assert asked.etag == f'"{zero}.raw"'


spans = st.builds(ByteSpan, st.integers(-50, 50), st.none() | st.integers(-50, 50))
questions = st.builds(
    Asked,
    st.just(CID),
    st.lists(st.text("ab/ %é", min_size=1).filter(lambda part: "/" not in part), max_size=3).map(tuple),
    st.just(Form.CAR),
    st.just(Scope.ENTITY),
    spans,
    st.booleans(),
)


@given(questions)
def test_the_url_that_is_said_to_be_the_same_is_the_same(asked: Asked) -> None:
    path = unquote(asked.content_path).removeprefix("/ipfs/")
    again = read_request(path, asked.query, {})
    assert again == asked
    assert again.etag == asked.etag
    assert asked.etag.isascii()
    assert "\n" not in asked.etag


@given(questions, questions)
def test_different_questions_have_different_etags(one: Asked, other: Asked) -> None:
    assert (one.etag == other.etag) == (one == other)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=200))
def test_any_request_is_understood_or_refused(path: str, query: str, accept: str) -> None:
    for form in ("", "&format=car", "&format=raw"):
        for cid in (path, f"{CID}/{path}"):
            try:
                read_request(cid, query + form, {"accept": accept})
            except InvalidError as error:
                assert 400 <= status_of(error) < 500
                assert problem_response(error).status_code == status_of(error)


@given(st.integers(0, 40), st.integers(0, 50), st.none() | st.integers(0, 50))
def test_a_range_is_a_slice(size: int, first: int, last: int | None) -> None:
    header = f"bytes={first}-{'' if last is None else last}"
    data = bytes(range(size))
    if last is not None and last < first:
        assert read_range(header, size) is None  # not a range at all
        return
    expected = data[first : size if last is None else last + 1]
    if not expected:
        with pytest.raises(InvalidError, match="range_not_satisfiable"):
            read_range(header, size)
    else:
        found = read_range(header, size)
        assert found is not None
        assert data[slice(*found)] == expected
        assert 0 <= found[0] < found[1] <= size


@given(st.integers(0, 40), st.integers(0, 50))
def test_a_suffix_range_is_the_end(size: int, suffix: int) -> None:
    data = bytes(range(size))
    if not data or not suffix:
        with pytest.raises(InvalidError, match="range_not_satisfiable"):
            read_range(f"bytes=-{suffix}", size)
    else:
        assert data[slice(*(read_range(f"bytes=-{suffix}", size) or ()))] == data[-suffix:]


@given(st.text(max_size=30))
def test_a_range_header_of_any_other_kind_is_ignored(text: str) -> None:
    for header in (text, f"items={text}", f"bytes={text},0-1"):
        assert read_range(header, 10) is None or header.strip().lower().startswith("bytes=")
    assert read_range(None, 10) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False), ("", False)],
)
def test_if_none_match_is_compared_weakly(header: str | None, expected: bool) -> None:
    assert matches(header, '"a"') == expected
