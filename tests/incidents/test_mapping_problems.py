"""`value_suspect` and `schema_drift`: opened from sampled events, resolved, and accepted by a person."""

from typing import Any

from tests.incidents.conftest import Watch
from tests.pipeline.world import MAPPING, event

SALES: dict[str, Any] = {**MAPPING, "event_type": "OFF_AMAZON_PURCHASES", "event_name": "Sale"}


def sale(number: int, total: float) -> dict[str, Any]:
    made = event(number)
    made["event"]["total"] = total
    return made


async def test_cents_among_units_open_an_incident_that_ends_with_them(watch: Watch) -> None:
    """Named within a hundred events, with the field; no amount is stored."""
    world = watch.world
    destination = await world.destination(mapping=SALES)
    async with world.new_intake() as intake:
        await world.post(destination, *(sale(n, 20 + n % 30) for n in range(75)))
        await intake.sampler.write()
        await watch.tick()
        assert "value_suspect" not in await watch.incidents()
        await world.post(destination, *(sale(100 + n, 100 * (20 + n)) for n in range(25)))
        await intake.sampler.write()
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
        await intake.sampler.write()
        await watch.resolved("value_suspect")


async def test_a_renamed_field_is_named_and_a_person_can_accept_it(watch: Watch) -> None:
    """The events are rejected then, because no match key is left; they are sampled too."""
    world = watch.world
    destination = await world.destination()
    async with world.new_intake() as intake:
        await world.post(destination, *(event(n) for n in range(60)))
        await intake.sampler.write()
        await watch.tick()
        assert "schema_drift" not in await watch.incidents()
        renamed = [{**event(100 + n), "user": {"mail": f"p{n}@example.com"}} for n in range(100)]
        results = await world.post(destination, *renamed)
        assert {result.status for result in results} == {"rejected"}
        await intake.sampler.write()
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


async def test_a_number_that_becomes_a_text_is_named(watch: Watch) -> None:
    """The amount of a shop that changed its export: its events are rejected until `to_number` reads it."""
    world = watch.world
    destination = await world.destination(mapping=SALES)
    async with world.new_intake() as intake:
        await world.post(destination, *(sale(n, 20 + n % 30) for n in range(60)))
        await intake.sampler.write()
        await watch.tick()
        assert "schema_drift" not in await watch.incidents()
        texts = [sale(100 + n, 0) for n in range(100)]
        for n, each in enumerate(texts):
            each["event"]["total"] = f"{20 + n}.50"
        await world.post(destination, *texts)
        await intake.sampler.write()
        found = await watch.until_open("schema_drift")
        assert found["summary"] == (
            "The last 100 events have event.total as a text, which was a number before."
        )


async def test_another_currency_is_named_with_its_own_path(watch: Watch) -> None:
    """An operator who is sent to the path of the amount would look at the wrong field."""
    world = watch.world
    fields = {**SALES["fields"], "currency": {"path": "event.money"}}
    destination = await world.destination(mapping={**SALES, "fields": fields})
    async with world.new_intake() as intake:
        sales = [sale(n, 20 + n % 30) for n in range(30)]
        for each in sales:
            each["event"]["money"] = "EUR"
        await world.post(destination, *sales)
        await intake.sampler.write()
        found = await watch.until_open("value_suspect")
        assert found["summary"].endswith("another currency than the account. Field: currency (event.money).")
