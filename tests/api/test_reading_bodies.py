"""What is read rather than changed: audit, catalogue, preflight, health, metrics, description and docs."""

import re
from datetime import timedelta

import pytest

from app.api.health import Readiness
from tests.api.world import ApiWorld


async def test_the_audit_shows_what_changed_newest_first(world: ApiWorld) -> None:
    """`before` and `after` hold the members that changed and no others."""
    made = await world.create_destination()
    await world.call("PATCH", f"/destinations/{made['id']}", {"currency": "EUR"})
    items = (await world.call("GET", "/audit")).json()["items"]
    assert [item["action"] for item in items] == ["destination.changed", "destination.created"]
    assert (items[0]["before"], items[0]["after"]) == ({"currency": "USD"}, {"currency": "EUR"})
    assert (items[0]["actor"], items[0]["destination_id"]) == ("bootstrap", made["id"])


async def test_the_audit_is_read_in_pages_and_by_destination_and_act(world: ApiWorld) -> None:
    """Each act once."""
    first, second = await world.create_destination(name="a"), await world.create_destination(name="b")
    for _ in range(2):
        await world.call("POST", f"/destinations/{first['id']}/pause")
        await world.call("POST", f"/destinations/{first['id']}/resume")
    found, path = [], "/audit?limit=2"
    while True:
        answer = (await world.call("GET", path)).json()
        found += [item["id"] for item in answer["items"]]
        if answer["next_cursor"] is None:
            break
        path = f"/audit?limit=2&cursor={answer['next_cursor']}"
    assert len(found) == len(set(found)) == 6
    mine = (await world.call("GET", f"/audit?destination_id={second['id']}")).json()["items"]
    assert [item["action"] for item in mine] == ["destination.created"]
    paused = (await world.call("GET", "/audit?action=destination.paused")).json()["items"]
    assert len(paused) == 2


@pytest.mark.reads_only
@pytest.mark.parametrize(("q", "found"), [("amazon", 1), ("AMAZON conversions", 1), ("facebook", 0), ("", 1)])
async def test_the_catalogue_is_searched_by_words(world: ApiWorld, q: str, found: int) -> None:
    """In any case, every word somewhere in name or help."""
    answer = await world.call("GET", "/catalog", params={"q": q})
    assert len(answer.json()["items"]) == found


@pytest.mark.reads_only
async def test_the_catalogue_holds_what_a_form_needs(world: ApiWorld) -> None:
    """Fields with help, event types, sources, currencies, countries, in Amazon's numbers."""
    (kind,) = (await world.call("GET", "/catalog")).json()["items"]
    assert kind["name"] == "Amazon Conversions API"
    assert [field["name"] for field in kind["fields"]][:4] == ["name", "advertiser_id", "region", "currency"]
    assert all(field["help"] and field["label"] for field in kind["fields"])
    assert len(kind["event_types"]) == 12
    assert len(kind["event_sources"]) == 6
    assert len(kind["currencies"]) == 81
    assert len(kind["countries"]) == 252
    assert {"US", "DE"} <= {country["value"] for country in kind["countries"]}


async def test_preflight_lists_what_is_missing_and_who_can_help(world: ApiWorld) -> None:
    """From a draft to an active destination."""
    made = await world.create_destination()
    path = f"/destinations/{made['id']}/preflight"
    answer = (await world.call("GET", path)).json()
    assert answer["ready"] is False
    world.now += timedelta()
    assert {line["name"]: line["status"] for line in answer["checks"]} == {
        "credentials": "ok",
        "sign_in": "failed",
        "account": "unknown",
        "region": "unknown",
        "currency": "unknown",
        "permission": "unknown",
        "terms": "unknown",
        "mapping": "failed",
        "state": "failed",
        "first_event": "unknown",
        "clock": "failed",  # the test's clock stands still in 2026
    }
    assert all(line["detail"] and line["who"] for line in answer["checks"])

    await world.connect(made)
    await world.publish_mapping(made["id"])
    apart = await world.sql("SELECT clock_timestamp() AS at")
    world.now = apart[0].at
    answer = (await world.call("GET", path)).json()
    assert answer["ready"] is True, answer


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


async def settings_off(world: ApiWorld) -> set[str]:
    """Return the reasons that the cluster of this run gives: a throw-away one syncs nothing."""
    names = ("fsync", "synchronous_commit", "full_page_writes")
    return {
        f"{name}_off"
        for name in names
        if (await world.sql(f"SELECT current_setting('{name}') AS value"))[0].value == "off"
    }


async def test_ready_is_red_with_reasons(world: ApiWorld) -> None:
    """What durability rests on, each under its word, in the error's shape."""
    expected = await settings_off(world)
    answer = await world.call("GET", "/health/ready", key=None)
    assert answer.status_code == (503 if expected else 200)
    assert set(answer.json()["reasons"]) == expected
    if expected:
        assert set(answer.json()) >= {"error", "detail", "fields"}


async def test_ready_is_red_when_partitions_run_out(world: ApiWorld) -> None:
    """Under two days ahead."""
    days = await world.sql(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'attempts'::regclass"
    )
    for row in days:
        await world.sql(f"DROP TABLE {row.name}")
    answer = await world.call("GET", "/health/ready", key=None)
    assert answer.status_code == 503
    assert "partitions_short" in answer.json()["reasons"]


async def test_ready_is_red_when_the_database_refuses_the_row(world: ApiWorld) -> None:
    """A database that cannot be written to is not ready, whatever else it says."""
    await world.sql("DROP TABLE readiness")
    answer = await world.call("GET", "/health/ready", key=None)
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["database_refused"])


async def test_ready_is_red_when_the_database_is_away(world: ApiWorld) -> None:
    """And says so in bounded time."""
    from sqlalchemy.ext.asyncio import create_async_engine

    nowhere = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    assert await Readiness(nowhere, lambda: 0.0).reasons() == ("database_unavailable",)


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
    assert "ada" not in text


@pytest.mark.reads_only
async def test_the_description_covers_every_route_with_scope_and_errors(world: ApiWorld) -> None:
    """Security where a key is needed, the one error shape, no trace of the framework's own."""
    described = (await world.call("GET", "/openapi.json", key=None)).json()
    assert described["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(described)
    assert set(described["components"]["securitySchemes"]) == {"bearer", "api_key", "basic"}
    operations = 0
    for path, methods in described["paths"].items():
        for operation in methods.values():
            operations += 1
            assert operation["summary"], path
            assert operation["description"], path
            assert "500" in operation["responses"], path
            if operation["security"]:
                assert "401" in operation["responses"]
                assert "Scope: " in operation["description"]
            assert {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"} == set(
                re.findall(r"\{(\w+)", path)
            )
    assert operations >= 30
    body = described["paths"]["/destinations"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/NewDestination"}


@pytest.mark.reads_only
async def test_the_docs_need_no_outside_asset(world: ApiWorld) -> None:
    """Every address in the page is our own, and its policy allows nothing else, no inline script or style."""
    page = await world.call("GET", "/docs", key=None)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    addresses = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert all(address.startswith("/") for address in addresses), addresses
    assert not re.search(r"<style|<script>| style=| on\w+=", page.text)
    for address in addresses:
        if address.startswith("/console/static/"):
            assert (await world.call("GET", address, key=None)).status_code == 200
    assert "/destinations/{destination_id}/mappings" in page.text  # without JavaScript too
