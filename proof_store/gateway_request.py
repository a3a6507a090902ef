"""What a request to the gateway asks for, read from its path, query and headers. Pure: no store is looked at.

After the IPFS Trustless Gateway and Path Gateway specifications (specs.ipfs.tech/http-gateways), "HTTP Request", and RFC 9110
for ``Accept``, ``Range`` and ``If-None-Match``. A query parameter goes before the header that says the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from orca_protocol.errors import InvalidError
from proof_store.cid import Cid
from proof_store.entity import ByteSpan, Scope
from proof_store.names import split_name

#: the identity CID of no bytes, which clients ask for to see whether this is a gateway ("Dedicated Probe Paths")
PROBE: Final = "bafkqaaa"
PROBE_BYTES: Final = b"\x01\x55\x00\x00"

_MAX_ACCEPT: Final = 4_096
_MAX_PARAMETERS: Final = 32
_SPAN: Final = re.compile(r"(-?[0-9]{1,18}):(\*|-?[0-9]{1,18})")
_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.IGNORECASE)
_QUALITY: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
#: what a path gateway may offer and this one does not
_NOT_OFFERED: Final = frozenset({"cbor", "dag-cbor", "dag-json", "html", "ipns-record", "json", "tar"})


class Form(Enum):
    """How blocks are sent."""

    RAW = "raw"
    CAR = "car"

    @property
    def media_type(self) -> str:
        """The type by which it is asked for in ``Accept``."""
        return f"application/vnd.ipld.{self.value}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was understood. ``cid`` is None for the probe."""

    cid: Cid | None
    path: tuple[str, ...]
    form: Form
    scope: Scope = Scope.ALL
    span: ByteSpan | None = None
    repeated: bool = False
    #: whether the URL alone does not say all this, but ``Accept`` had to be read
    negotiated: bool = False

    @property
    def name(self) -> str:
        """The root CID in its one spelling."""
        return PROBE if self.cid is None else str(self.cid)

    @property
    def content_path(self) -> str:
        """``/ipfs/…`` as it may stand in a header."""
        return "/ipfs/" + "/".join((self.name, *(quote(part, safe="") for part in self.path)))

    @property
    def query(self) -> str:
        """The query that asks for the same without any header."""
        if self.form is Form.RAW:
            return "format=raw"
        said: dict[str, str] = {"format": "car", "dag-scope": self.scope.value}
        if self.span is not None:
            said["entity-bytes"] = _spelled(self.span)
        return urlencode(said | {"car-version": "1", "car-order": "dfs", "car-dups": _dups(self.repeated)}, safe=":*")

    @property
    def content_type(self) -> str:
        """The type of the answer."""
        if self.form is Form.RAW:
            return self.form.media_type
        return f"{self.form.media_type}; version=1; order=dfs; dups={_dups(self.repeated)}"

    @property
    def etag(self) -> str:
        """A strong validator: the same request gives the same bytes for ever."""
        if self.form is Form.RAW:
            return f'"{self.name}.raw"'
        scope = self.scope.value if self.span is None else f"{self.scope.value}.{_spelled(self.span).replace('*', 'end')}"
        way = f".{hashlib.sha256('/'.join(self.path).encode()).hexdigest()[:32]}" if self.path else ""
        return f'"{scope}.dups-{_dups(self.repeated)}.{self.name}{way}.car"'

    @property
    def filename(self) -> str:
        """What a browser calls it when it saves it."""
        return f"{self.name}.{'bin' if self.form is Form.RAW else 'car'}"


def read_request(path: str, query: str, headers: Mapping[str, str]) -> Asked:
    """Return what is asked for; ``path`` is decoded and begins after ``/ipfs/``.

    Raises InvalidError ``cid_malformed`` or ``cid_unsupported``, ``name_invalid`` for the path, ``parameter_invalid``,
    ``format_missing``, ``format_unknown``, ``format_not_offered`` or ``service_worker``.
    """
    given = _parameters(query)
    if headers.get("service-worker", "").strip().lower() == "script":
        raise InvalidError("service_worker", "no service worker may be registered for what a gateway serves")
    form, wished = _form(given, headers.get("accept", ""))
    text, _, rest = path.partition("/")
    rest = rest.removesuffix("/")
    parts = tuple(split_name(rest)) if rest else ()
    cid = None if text == PROBE else Cid.parse(text)
    if form is Form.RAW or cid is None:
        if parts:
            raise InvalidError(
                "parameter_invalid", "a path below the CID is resolved for format=car only; ask for the block by its own CID"
            )
        if form is Form.RAW:
            return Asked(cid, (), form, negotiated="format" not in given)
    scope, span = _scope(given)
    repeated, negotiated = _car_options(given, wished)
    return Asked(cid, parts, form, scope, span, repeated, negotiated or "format" not in given)


def matches(header: str | None, etag: str) -> bool:
    """Say whether ``If-None-Match`` names ``etag``, compared weakly (RFC 9110, section 13.1.2)."""
    if header is None:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return header.strip() == "*" or any(tag == etag for tag in tags)


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the (start, stop) that ``Range`` selects of ``size`` bytes, or None when all of them are to be sent.

    A header that is malformed, of another unit, or names several ranges is ignored, as RFC 9110 (section 14.2) allows.
    Raises InvalidError ``range_not_satisfiable``.
    """
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, stop = max(size - int(suffix), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= min(stop, size):
        raise InvalidError("range_not_satisfiable", f"the block has {size} bytes and none of the range asked for")
    return start, stop


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidError("parameter_invalid", f"the query has more than {_MAX_PARAMETERS} parameters") from error
    given = dict(pairs)
    if len(given) != len(pairs):
        raise InvalidError("parameter_invalid", "a query parameter is given twice")
    return given


def _form(given: Mapping[str, str], accept: str) -> tuple[Form, Mapping[str, str]]:
    """Return the form, and the parameters that ``Accept`` gave with it."""
    ranges = _accepted(accept)
    if "format" in given:
        if given["format"] in _NOT_OFFERED:
            raise _not_offered(f"format={given['format']}")
        try:
            form = Form(given["format"])
        except ValueError:
            raise InvalidError("format_unknown", f"there is no format {given['format'][:40]!r}; ask for raw or car") from None
        wishes = [wish for media_type, wish in ranges if media_type == form.media_type]
        if form is Form.RAW or not wishes:
            return form, {}
        return form, _first_offered(wishes)
    if all("*" in media_type for media_type, _ in ranges):
        raise InvalidError("format_missing", "say what to send: ?format=raw or ?format=car, or the media type in Accept")
    for media_type, wish in ranges:
        if media_type == Form.RAW.media_type:
            return Form.RAW, {}
        if media_type == Form.CAR.media_type and _is_offered(wish):
            return Form.CAR, wish
    raise _not_offered("what Accept names")


def _accepted(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the media ranges with their parameters, the most wanted first. What is malformed in it is passed over."""
    if len(header) > _MAX_ACCEPT:
        raise InvalidError("parameter_invalid", f"Accept has more than {_MAX_ACCEPT} characters")
    ranges: list[tuple[float, str, dict[str, str]]] = []
    for item in header.split(","):
        media_type, *rest = (part.strip().lower() for part in item.split(";"))
        wish = {name.strip(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in rest)}
        quality = wish.pop("q", "1")
        if media_type and _QUALITY.fullmatch(quality) and float(quality):
            ranges.append((float(quality), media_type, wish))
    return [(media_type, wish) for _, media_type, wish in sorted(ranges, key=lambda found: -found[0])]


def _is_offered(wish: Mapping[str, str]) -> bool:
    return wish.get("version", "1") == "1" and wish.get("order", "dfs") in ("dfs", "unk") and wish.get("dups", "n") in ("y", "n")


def _first_offered(wishes: list[dict[str, str]]) -> dict[str, str]:
    for wish in wishes:
        if _is_offered(wish):
            return wish
    raise _not_offered("the CAR that Accept names")


def _scope(given: Mapping[str, str]) -> tuple[Scope, ByteSpan | None]:
    try:
        scope = Scope(given["dag-scope"]) if "dag-scope" in given else None
    except ValueError:
        raise InvalidError("parameter_invalid", "dag-scope is block, entity or all") from None
    if "entity-bytes" not in given:
        return scope or Scope.ALL, None
    found = _SPAN.fullmatch(given["entity-bytes"])
    if found is None:
        raise InvalidError("parameter_invalid", "entity-bytes is from:to, two offsets, of which the second may be *")
    if scope not in (None, Scope.ENTITY):
        raise InvalidError("parameter_invalid", "entity-bytes is a part of an entity; it goes with dag-scope=entity only")
    return Scope.ENTITY, ByteSpan(int(found[1]), None if found[2] == "*" else int(found[2]))


def _car_options(given: Mapping[str, str], wished: Mapping[str, str]) -> tuple[bool, bool]:
    """Return whether blocks are repeated, and whether that was read from ``Accept``."""
    if given.get("car-version", "1") != "1":
        raise _not_offered("car-version other than 1")
    if given.get("car-order", "dfs") not in ("dfs", "unk"):
        raise InvalidError("parameter_invalid", "car-order is dfs or unk")
    dups = given.get("car-dups", wished.get("dups", "n"))
    if dups not in ("y", "n"):
        raise InvalidError("parameter_invalid", "car-dups is y or n")
    return dups == "y", "car-dups" not in given and "dups" in wished


def _not_offered(what: str) -> InvalidError:
    return InvalidError(
        "format_not_offered",
        f"{what} is not offered: blocks are sent as raw or as CAR version 1, for you to verify; nothing is rendered",
    )


def _dups(repeated: bool) -> str:
    return "y" if repeated else "n"


def _spelled(span: ByteSpan) -> str:
    return f"{span.first}:{'*' if span.last is None else span.last}"
