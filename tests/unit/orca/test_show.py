"""How the command line prints."""

from __future__ import annotations

import json

import pytest

from orca.cli.show import note, show_error, show_json
from orca_protocol.errors import InvalidError, LimitError, UnavailableError


def test_json_is_one_document_on_stdout_with_its_letters_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"text": "größer → 日本語", "nothing": None})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"text": "größer → 日本語", "nothing": None}
    assert "größer → 日本語" in said.out
    assert said.err == ""


@pytest.mark.parametrize("error", [InvalidError("a_code", "what to do"), UnavailableError("b", "c"), LimitError("d", "e")])
def test_an_error_is_a_line_on_stderr_or_a_problem_document_on_stdout(
    error: InvalidError, capsys: pytest.CaptureFixture[str]
) -> None:
    show_error(error, as_json=False)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"orca: {error.detail} [{error.code}]\n")
    show_error(error, as_json=True)
    said = capsys.readouterr()
    assert said.err == ""
    problem = json.loads(said.out)
    assert problem == {"type": f"urn:orca-node:problem:{error.code}", "code": error.code, "detail": error.detail}


def test_a_note_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    note("by the way")
    assert capsys.readouterr() == ("", "by the way\n")
