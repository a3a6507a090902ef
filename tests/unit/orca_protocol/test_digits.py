"""Numbers that travel as text are written in ASCII digits: others would be read by one peer and refused by the next."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orca_protocol.lease import BaseUnits
from orca_protocol.model import Amount, TokenLogprob
from orca_protocol.requests import NodeRequest
from orca_protocol.spec import ScheduleSpec
from orca_protocol.statement import Rfc3339

ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def field(model: Any, name: str) -> Any:
    """A model's field as a type of its own."""
    known = model.model_fields[name]
    return Annotated[known.annotation, known]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Amount, "12.5"),
        (BaseUnits, "1000000"),
        (Rfc3339, "2026-01-01T00:00:00.000Z"),
        (field(TokenLogprob, "logprob"), "-0.25"),
        (field(NodeRequest, "fencingToken"), "3"),
        (field(ScheduleSpec, "scheduled_time"), "2026-12-01T09:00:00"),
    ],
)
def test_only_ascii_digits_are_a_number(kind: Any, text: str) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(kind)
    assert adapter.validate_python(text) == text
    for written in (text.translate(ARABIC), text[:-2] + text[-2:].translate(ARABIC)):
        with pytest.raises(ValidationError):
            adapter.validate_python(written)
