"""Routes without a key: health, metrics, and documents that never change."""

import re
from dataclasses import replace

import asyncpg
import pytest
from prometheus_client import generate_latest

from app.health import Readiness
from app.telemetry import Telemetry
from tests.api.world import JSON, ApiWorld, make_world


@pytest.mark.reads_only
async def test_live_says_nothing_of_the_database(world: ApiWorld) -> None:
    """200 as long as the process answers."""
    await world.engine.dispose()
    answer = await world.call("GET", "/health/live", key=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_commits_a_row_at_most_once_a_second(world: ApiWorld) -> None:
    """However many ask."""

    async def written() -> object:
        rows = await world.sql("SELECT xmin::text AS by FROM readiness")
        return rows[0].by if rows else None

    await world.call("GET", "/health/ready", key=None)
    first = await written()
    assert first is not None
    await world.call("GET", "/health/ready", key=None)
    assert await written() == first
    world.elapsed += 1.1
    await world.call("GET", "/health/ready", key=None)
    assert await written() != first


async def test_ready_is_red_with_reasons(world: ApiWorld) -> None:
    """What durability rests on, each under its word, in the error's shape: of a throw-away cluster none."""
    answer = await world.call("GET", "/health/ready", key=None, status=503)
    assert set(answer.json()["reasons"]) == {"fsync_off", "synchronous_commit_off", "full_page_writes_off"}
    assert set(answer.json()) >= {"error", "detail", "fields"}


async def test_ready_is_red_when_partitions_run_out(world: ApiWorld) -> None:
    """Under two days ahead."""
    days = await world.sql(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'attempts'::regclass"
    )
    for row in days:
        await world.sql(f"DROP TABLE {row.name}")
    answer = await world.call("GET", "/health/ready", key=None, status=503)
    assert "partitions_short" in answer.json()["reasons"]


async def test_ready_is_red_when_the_database_refuses_the_row(world: ApiWorld) -> None:
    """A database that cannot be written to is not ready, whatever else it says."""
    await world.sql("DROP TABLE readiness")
    answer = await world.call("GET", "/health/ready", key=None)
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["database_refused"])


async def test_ready_is_red_when_the_database_is_away(world: ApiWorld) -> None:
    """And says so in bounded time."""
    async with asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/none", min_size=0) as nowhere:
        assert await Readiness(nowhere, lambda: 0.0).reasons() == ("database_unavailable",)


async def test_metrics_count_by_route_template(world: ApiWorld, acme: JSON) -> None:
    """No id and no key is a label."""
    await world.call("GET", f"/destinations/{acme['id']}")
    await world.call("GET", "/ada@example.com")
    await world.call("GET", "/ada2@example.com")
    text = (await world.call("GET", "/metrics", key=None)).text
    requests = 'amazon_conversions_http_requests_total{method="GET"'
    assert f'{requests},route="/destinations/{{destination_id}}",status="200"}} 1.0' in text
    assert f'{requests},route="unknown",status="404"}} 2.0' in text
    assert acme["id"] not in text
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


PUBLISHED = ("/docs", "/openapi.json", "/metrics")


@pytest.mark.reads_only
@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_a_fixed_document_has_an_entity_tag_and_is_compressed(world: ApiWorld, path: str) -> None:
    """A client that has the document gets 304; a client without gzip gets the same content."""
    plain = await world.call("GET", path, key=None, headers={"Accept-Encoding": "identity"})
    packed = await world.call("GET", path, key=None, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert packed.content == plain.content
    etag = plain.headers["etag"]
    known = await world.call("GET", path, key=None, headers={"If-None-Match": f'"other", {etag}'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    await world.call("GET", path, key=None, headers={"If-None-Match": '"other"'}, status=200)


@pytest.mark.reads_only
async def test_what_is_not_published_is_not_found_and_not_linked(world: ApiWorld) -> None:
    """As in production, where only the monitoring port has metrics."""
    hidden = make_world(world.engine)
    hidden.app.state.context = replace(hidden.app.state.context, publishes_reference=False)
    for path in PUBLISHED:
        assert (await world.call("GET", path, key=None)).status_code == 200
        assert (await hidden.call("GET", path, key=None)).status_code == 404
    for is_published, each in ((True, world), (False, hidden)):
        page = await each.call("GET", "/console/sign-in", key=None)
        assert ("/docs" in page.text) is is_published
    await hidden.client.aclose()


@pytest.mark.reads_only
async def test_the_docs_need_no_outside_asset(world: ApiWorld) -> None:
    """Every address in the page is our own, and its policy allows nothing else, no inline script or style."""
    page = await world.call("GET", "/docs", key=None, status=200)
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    addresses = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert all(address.startswith(("/", "#")) for address in addresses), addresses
    assert not re.search(r"<style|<script>| style=| on\w+=", page.text)
    for address in addresses:
        if address.startswith("/console/static/"):
            assert (await world.call("GET", address, key=None)).status_code == 200
    assert "/destinations/{destination_id}/mappings" in page.text  # without JavaScript too
