"""A collector that takes OTLP over HTTP on loopback, as a real one does, and keeps the spans that it was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; ids in hexadecimal digits."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    attributes: dict[str, Any]
    start: float
    end: float
    is_error: bool


@dataclass
class Collector:
    """What arrived, in its order."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: bytes = b""
    #: what it answers
    status: int = 200

    def named(self, start: str) -> list[Seen]:
        return [span for span in self.spans if span.name.startswith(start)]

    def until(self, count: int, seconds: float = 20.0) -> list[Seen]:
        """Wait until so many spans are here."""
        end = time.monotonic() + seconds
        while len(self.spans) < count and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self.spans) >= count, [span.name for span in self.spans]
        return self.spans

    def take(self, body: bytes) -> None:
        self.raw += body
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _attributes(of_resource.resource.attributes)
            self.spans += [_seen(span) for scope in of_resource.scope_spans for span in scope.spans]


@contextmanager
def collector() -> Iterator[Collector]:
    """Serve for the length of the block."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            if self.path != "/v1/traces":
                self.send_error(404)
                return
            if made.status == 200:
                made.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(made.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    serving.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def _seen(span: Span) -> Seen:
    return Seen(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        _attributes(span.attributes),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        span.status.code == 2,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    return found
