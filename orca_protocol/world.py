"""What the engine asks of the world beside models, and what it is told: tools, images, people.

Each request stands at a path of its own and is journaled like a model call. What came from outside stands in the entry whole,
with the SHA-256 of its bytes, so that a proof holds everything the models were shown.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from orca_protocol.canonical import sha256_hex
from orca_protocol.model import Image, Message, ModelRequest, Strict, ToolDefinition

#: bytes of one tool's result that are shown to a model
RESULT_MAX_BYTES = 64 * 1024
#: bytes of one image
IMAGE_MAX_BYTES = 8 * 1024 * 1024
#: tools that one source may offer
OFFERED_MAX = 200

Source = Annotated[str, Field(min_length=1, max_length=2000)]


class OfferRequest(Strict):
    """Which tools does ``source`` (an MCP server, by the operator's name for it or its URL) offer?"""

    asks: Literal["offer"] = "offer"
    source: Source


class ToolRequest(Strict):
    """Call ``tool`` of ``source``. ``arguments`` is a JSON object, as the model wrote it."""

    asks: Literal["tool"] = "tool"
    source: Source
    tool: str
    arguments: str


class ImageRequest(Strict):
    """Fetch the image at ``url``, or read it out of a data URI."""

    asks: Literal["image"] = "image"
    url: str


class InputRequest(Strict):
    """Ask a person to go on from ``messages``, which is all that was said so far."""

    asks: Literal["input"] = "input"
    messages: tuple[Message, ...]


class Offer(Strict):
    """The tools of a source, in its own order."""

    tools: Annotated[tuple[ToolDefinition, ...], Field(max_length=OFFERED_MAX)]


class ToolResult(Strict):
    """What a tool returned, as text; ``is_error`` if the tool itself says that it failed."""

    content: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    is_error: bool = False

    @classmethod
    def of(cls, content: str, *, is_error: bool = False) -> ToolResult:
        """Return the result with its digest."""
        return cls(content=content, digest=sha256_hex(content.encode()), is_error=is_error)

    @model_validator(mode="after")
    def _digest_is_its_own(self) -> ToolResult:
        if len(self.content.encode()) > RESULT_MAX_BYTES:
            raise ValueError(f"a result has at most {RESULT_MAX_BYTES} bytes")
        if sha256_hex(self.content.encode()) != self.digest:
            raise ValueError("the digest is not that of the content")
        return self


class FetchedImage(Strict):
    """An image's bytes, in base64, under the digest by which messages name it."""

    image: Image
    data: Annotated[str, Field(max_length=4 * (IMAGE_MAX_BYTES + 2) // 3 + 4)]

    @classmethod
    def of(cls, media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"], data: bytes) -> FetchedImage:
        """Return the image with its digest."""
        image = Image(media_type=media_type, digest=sha256_hex(data))
        return cls(image=image, data=base64.b64encode(data).decode())

    @property
    def bytes(self) -> bytes:
        """The image itself."""
        return base64.b64decode(self.data, validate=True)

    @model_validator(mode="after")
    def _digest_is_its_own(self) -> FetchedImage:
        try:
            found = self.bytes
        except binascii.Error as error:
            raise ValueError("the data is not base64") from error
        if len(found) > IMAGE_MAX_BYTES:
            raise ValueError(f"an image has at most {IMAGE_MAX_BYTES} bytes")
        if sha256_hex(found) != self.image.digest:
            raise ValueError("the digest is not that of the data")
        return self


class Input(Strict):
    """What a person said."""

    content: Annotated[str, Field(min_length=1, max_length=1_000_000)]


def _what(value: Any) -> str:
    if isinstance(value, ModelRequest):  # nearly always; a model is slow to say that it has no such attribute
        return "model"
    asks = value.get("asks", "model") if isinstance(value, dict) else getattr(value, "asks", "model")
    return asks if isinstance(asks, str) else "model"


#: everything that the engine can ask; a model call has no ``asks``
Request = Annotated[
    Annotated[ModelRequest, Tag("model")]
    | Annotated[OfferRequest, Tag("offer")]
    | Annotated[ToolRequest, Tag("tool")]
    | Annotated[ImageRequest, Tag("image")]
    | Annotated[InputRequest, Tag("input")],
    Discriminator(_what),
]


def model_request(request: Request) -> ModelRequest:
    """Return ``request``, which is a model call; RuntimeError if it is none."""
    if not isinstance(request, ModelRequest):
        raise RuntimeError(f"a model call was expected, not a request for {request.asks!r}")
    return request
