"""Spans reach an OTLP collector, if the extra is installed: request, request to Amazon, callback."""

import asyncio
import sys
from collections.abc import Iterator
from typing import ClassVar

import pytest

from app.domain.trace import is_sampled
from app.processes import resources
from app.settings import Settings, SettingsError
from app.telemetry import OtlpSpans
from dev.postgres.postmaster import free_port
from tests.listening import SilentHandler, handling
from tests.pipeline.world import settings_of

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = TRACEPARENT[:-2] + "00"


class Collector(SilentHandler):
    """Keeps the body of each export."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        """Accept an export."""
        assert self.path == "/v1/traces"
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A collector on this machine."""
    Collector.bodies = []
    with handling(Collector) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_the_caller_decides_what_is_sampled() -> None:
    """The flag of `traceparent`."""
    assert is_sampled(TRACEPARENT)
    assert not is_sampled(UNSAMPLED)


def test_spans_reach_the_collector_with_their_trace(endpoint: str) -> None:
    """A sampled parent is continued, an unsampled one is not; without one the percentage decides."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra otlp is not installed")
    spans = OtlpSpans(endpoint, sample_percent=0, role="api")
    status = {"http.response.status_code": 202, "batches": [7], "request_id": None}
    spans.record("POST /events", duration_s=0.01, attributes=status, parent=TRACEPARENT)
    spans.record("unsampled", duration_s=0.01, attributes={}, parent=UNSAMPLED)
    spans.record("no parent", duration_s=0.01, attributes={})
    spans.record("amazon.request", duration_s=0.1, attributes={}, links=[TRACEPARENT])
    spans.close()
    sent = b"".join(Collector.bodies)
    assert b"POST /events" in sent
    assert b"amazon.request" in sent
    assert bytes.fromhex(TRACEPARENT[3:35]) in sent
    assert b"unsampled" not in sent
    assert b"no parent" not in sent


def settings_with(endpoint: str) -> Settings:
    """Return settings with a collector and without a database."""
    url = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none"
    return settings_of(url).model_copy(update={"otlp_endpoint": endpoint})


async def test_a_missing_extra_is_one_sentence(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback at start."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="OTLP_ENDPOINT: the extra"):
        async with resources.open_resources(settings_with(endpoint), role="api", pool_size=1):
            pass


class OpenExporter:
    """Counts the exporters that were opened and not closed."""

    count = 0
    opened = asyncio.Event()

    def __init__(self, endpoint: str, *, sample_percent: int, role: str) -> None:
        assert (endpoint, sample_percent, role) == ("http://127.0.0.1:1", 1, "api")
        OpenExporter.count += 1
        OpenExporter.opened.set()

    def close(self) -> None:
        """Close the exporter."""
        OpenExporter.count -= 1


async def test_a_start_that_ends_before_the_database_answers_closes_the_exporter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its thread would outlive the start."""
    monkeypatch.setattr(resources, "OtlpSpans", OpenExporter)
    settings = settings_with("http://127.0.0.1:1")

    async def start() -> None:
        async with resources.open_resources(settings, role="api", pool_size=1):
            pytest.fail("no database listens here")

    starting = asyncio.create_task(start())
    await OpenExporter.opened.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert OpenExporter.count == 0
