"""`/metrics` of an API process."""

import pytest
from prometheus_client import generate_latest

from app.telemetry import Telemetry
from tests.api.world import ApiWorld


async def test_metrics_count_by_route_template(world: ApiWorld) -> None:
    """No id and no key is a label."""
    made = await world.create_destination()
    await world.call("GET", f"/destinations/{made['id']}")
    await world.call("GET", "/ada@example.com")
    await world.call("GET", "/ada2@example.com")
    text = (await world.call("GET", "/metrics", key=None)).text
    requests = 'amazon_conversions_http_requests_total{method="GET"'
    assert f'{requests},route="/destinations/{{destination_id}}",status="200"}} 1.0' in text
    assert f'{requests},route="unknown",status="404"}} 2.0' in text
    assert made["id"] not in text
    assert "example.com" not in text


@pytest.mark.reads_only
async def test_metrics_are_computed_once_a_second(world: ApiWorld) -> None:
    """A flood of requests costs one computation."""

    async def metrics() -> str:
        return (await world.call("GET", "/metrics", key=None)).text

    first = await metrics()
    await world.call("GET", "/health/live", key=None)
    assert await metrics() == first
    world.elapsed += 1
    assert await metrics() != first


def test_the_metrics_of_the_interface_have_series_from_the_start() -> None:
    """Interface §12: every process has them, whatever it has done until now."""
    text = generate_latest(Telemetry().registry).decode()
    for wanted in (
        'events_received_total{result="accepted"}',
        'events_rejected_total{reason="timestamp_missing"}',
        'events_settled_total{status="delivered"}',
        'attempts_total{outcome="throttled"}',
        "request_duration_seconds_bucket",
        "flush_duration_seconds_bucket",
        "claim_duration_seconds_bucket",
        "build_info",
    ):
        assert f"\namazon_conversions_{wanted}" in text
