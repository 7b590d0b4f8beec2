"""One trace from the post through batch and attempt to the callback, by the log and the callback's body."""

import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from app.domain.batch import expand
from app.domain.callback import FinalState, render
from app.telemetry import JsonLines, TextLines
from tests.pipeline.served import ADMIN, served_world
from tests.pipeline.world import event

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring.md"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def test_a_post_is_followed_to_its_attempt(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """`request_id` leads to the batches, these to the attempt; `tracestate` and `baggage` are nowhere."""
    caplog.set_level(logging.INFO)
    async with served_world(database_url) as (world, port):
        destination = await world.destination()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            response = await client.post(
                "/events",
                json={"destination_id": destination, **event(1)},
                headers={
                    "Authorization": f"Bearer {ADMIN}", "X-Request-Id": "order-1",
                    "traceparent": TRACEPARENT,
                    "tracestate": "vendor=secret", "baggage": "user=secret",
                },
            )  # fmt: skip
        assert response.status_code == 202
        assert response.headers["x-request-id"] == "order-1"
        await world.work_until(destination, delivered=1)
        await world.stop_workers()
        [stored] = await world.fetch("SELECT shapes FROM batches")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    [request] = [line for line in lines if line.get("request_id") == "order-1"]
    assert (request["event"], request["trace_id"], request["status"]) == ("http.request", TRACE, 202)
    [attempt] = [line for line in lines if line["event"] == "attempt.finished"]
    assert (attempt["batches"], attempt["destination_id"]) == (request["batches"], destination)
    for line in (request, attempt):
        assert _documented_fields(line["event"]) <= line.keys()
    assert TRACEPARENT.encode() in expand(stored["shapes"])
    assert "secret" not in json.dumps(lines)


def _documented_fields(event: str) -> set[str]:
    """Return the fields of a log line that docs/monitoring.md names."""
    [row] = re.findall(rf"^\| .*`{event}`.* \| (.+) \|$", MONITORING.read_text(), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", row)) - {"traceparent"}


def test_a_terminal_gets_text() -> None:
    """The same fields, for a person."""
    record = logging.LogRecord("app", logging.INFO, "", 0, "http.request", None, None)
    record.fields = {"status": 202, "request_id": "r1"}
    assert TextLines().format(record).endswith("info    http.request status=202 request_id=r1")
    line = json.loads(JsonLines().format(record))
    assert line["status"] == 202
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])


def test_a_callback_carries_the_trace_of_its_event() -> None:
    """A journey engine continues its own trace; an event without one has no such member."""
    at = datetime(2026, 11, 25, tzinfo=UTC)
    with_trace = FinalState("e", "d", None, "delivered", None, None, at, TRACEPARENT)
    without = FinalState("e", "d", None, "delivered", None, None, at)
    first, second = msgspec.json.decode(render([with_trace, without], made_at=at))["data"]["events"]
    assert first["traceparent"] == TRACEPARENT
    assert "traceparent" not in second
