"""`value_suspect` and `schema_drift`: opened from sampled events, resolved, and accepted by a person."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.domain.conversion.results import DeploymentRules
from app.ingest.schema_sampler import SchemaSampler
from app.processes import api
from tests.incidents.conftest import Watch
from tests.pipeline.world import MAPPING, World, event

SALES: dict[str, Any] = {**MAPPING, "event_type": "OFF_AMAZON_PURCHASES", "event_name": "Sale"}


@asynccontextmanager
async def sampling(
    world: World, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[SchemaSampler]:
    """Let the world's intake sample its events, with the rights of the API."""
    resources = world.receiving
    assert resources is not None
    before = world.intake
    world.intake = api.build_ingest(resources, DeploymentRules())
    sampler = world.intake.sampler
    sampler.monotonic = monotonic
    task = asyncio.create_task(world.intake.run())
    try:
        yield sampler
    finally:
        world.intake.close()
        await task
        world.intake = before


def sale(number: int, total: float) -> dict[str, Any]:
    made = event(number)
    made["event"]["total"] = total
    return made


async def test_cents_among_units_open_an_incident_that_ends_with_them(watch: Watch) -> None:
    """Named within a hundred events, with the field; no amount is stored."""
    world = watch.world
    destination = await world.destination(mapping=SALES)
    async with sampling(world) as sampler:
        await world.post(destination, *(sale(n, 20 + n % 30) for n in range(75)))
        await sampler.write()
        await watch.tick()
        assert "value_suspect" not in await watch.incidents()
        await world.post(destination, *(sale(100 + n, 100 * (20 + n)) for n in range(25)))
        await sampler.write()
        found = await watch.until_open("value_suspect")
        assert found["severity"] == "warning"
        assert found["summary"] == (
            "25 of the last 100 purchases are about 100 times the usual amount or its hundredth: cents and "
            "units are mixed. Field: value (event.total)."
        )
        assert [
            dict(row) for row in await world.fetch("SELECT suspect_rule, suspects FROM mapping_checks")
        ] == [{"suspect_rule": "hundredfold", "suspects": 25}]
        await world.post(destination, *(sale(200 + n, 20 + n % 30) for n in range(100)))
        await sampler.write()
        await watch.resolved("value_suspect")


async def test_a_renamed_field_is_named_and_a_person_can_accept_it(watch: Watch) -> None:
    """The events are rejected then, because no match key is left; they are sampled too."""
    world = watch.world
    destination = await world.destination()
    async with sampling(world) as sampler:
        await world.post(destination, *(event(n) for n in range(60)))
        await sampler.write()
        await watch.tick()
        assert "schema_drift" not in await watch.incidents()
        renamed = [{**event(100 + n), "user": {"mail": f"p{n}@example.com"}} for n in range(100)]
        results = await world.post(destination, *renamed)
        assert {result.status for result in results} == {"rejected"}
        await sampler.write()
        found = await watch.until_open("schema_drift")
        assert found["severity"] == "info"
        assert found["summary"] == (
            "The last 100 events do not have user.email, which most events before them had. "
            "user.mail looks like its new name."
        )
        await world.fetch("UPDATE incidents SET state = 'acknowledged', acknowledged_at = now()")
        await watch.resolved("schema_drift")
        for days, state in ((0, "resolved"), (29, "resolved"), (2, "open")):
            await world.fetch(
                f"UPDATE incidents SET resolved_at = resolved_at - interval '{days} days', "
                f"acknowledged_at = acknowledged_at - interval '{days} days'"
            )
            await watch.tick()
            assert (await watch.incidents())["schema_drift"]["state"] == state, days


async def test_a_renamed_field_is_named_within_a_minute(watch: Watch) -> None:
    """Two events a second; the service writes samples each second and computes incidents every three."""
    world, seconds = watch.world, 0.0
    destination = await world.destination()
    async with sampling(world, lambda: seconds) as sampler:
        await world.post(destination, *(event(n) for n in range(60)))
        for number in range(100, 220):
            seconds += 0.5
            await world.post(destination, {**event(number), "user": {"mail": f"p{number}@example.com"}})
            if seconds % 3 == 0:
                await sampler.write()
                await watch.tick()
                if "schema_drift" in await watch.incidents():
                    break
        assert "schema_drift" in await watch.incidents()
        assert seconds <= 60


async def test_a_number_that_becomes_a_text_is_named(watch: Watch) -> None:
    """The amount of a shop that changed its export: its events are rejected until `to_number` reads it."""
    world = watch.world
    destination = await world.destination(mapping=SALES)
    async with sampling(world) as sampler:
        await world.post(destination, *(sale(n, 20 + n % 30) for n in range(60)))
        await sampler.write()
        await watch.tick()
        assert "schema_drift" not in await watch.incidents()
        texts = [sale(100 + n, 0) for n in range(100)]
        for n, each in enumerate(texts):
            each["event"]["total"] = f"{20 + n}.50"
        await world.post(destination, *texts)
        await sampler.write()
        found = await watch.until_open("schema_drift")
        assert found["summary"] == (
            "The last 100 events have event.total as a text, which was a number before."
        )


async def test_another_currency_is_named_with_its_own_path(watch: Watch) -> None:
    """An operator who is sent to the path of the amount would look at the wrong field."""
    world = watch.world
    fields = {**SALES["fields"], "currency": {"path": "event.money"}}
    destination = await world.destination(mapping={**SALES, "fields": fields})
    async with sampling(world) as sampler:
        sales = [sale(n, 20 + n % 30) for n in range(30)]
        for each in sales:
            each["event"]["money"] = "EUR"
        await world.post(destination, *sales)
        await sampler.write()
        found = await watch.until_open("value_suspect")
        assert found["summary"].endswith("another currency than the account. Field: currency (event.money).")
