"""The owner's eleven steps (R5 to R13) by the API and by one file, and a second database (docs/cells.md)."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import yaml

from app.store.database import migrate
from tests.pipeline.processes import Operator, Product, running_product
from tests.pipeline.rows import MAPPING
from tests.pipeline.world import World, event, make_world

NA_ADVERTISER, EU_ADVERTISER, STRANGER = "4000000000001", "4000000000002", "987654321"
GRANTED = {"amznAdStorage": "GRANTED", "amznUserData": "GRANTED"}
FIELDS = {**MAPPING["fields"], "phone": {"path": "user.phone"}, "first_name": {"path": "user.first_name"}}


@pytest.fixture
async def operator(database_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """Somebody with the admin key, the API, a worker and the sandbox, each a process."""
    async with running_product(
        Product(database_url, tmp_path / "everything.log"), workers=["worker"]
    ) as made:
        await made.advertisers(NA_ADVERTISER)
        await made.advertisers(EU_ADVERTISER, region="EU")
        await made.advertisers(STRANGER, hidden=True)
        yield made


async def send_one(operator: Operator, destination: str) -> None:
    """Let the journey send one event, and see it arrive as R11 and R12 want it."""
    one = event(1, destination_id=destination, user={"email": "ada@example.com", "phone": "+12025550173"})
    (result,) = await operator.post([one])
    assert result["status"] == "accepted", result
    await operator.until_delivered(destination, 1)
    (arrived,) = await operator.accepted()
    assert arrived["event"]["consent"]["amazonConsent"] == GRANTED
    assert arrived["event"]["eventDescription"]["name"] == MAPPING["event_name"]
    assert [key["type"] for key in arrived["event"]["matchKeys"]] == ["EMAIL", "PHONE"]


async def test_the_eleven_steps_by_the_api(operator: Operator) -> None:
    """From the catalogue of destinations to an event that Amazon took."""
    call = operator.call
    # R5, R7: found by searching, with its prerequisites and its form.
    (amazon,) = (await call("GET", "/catalog?q=amazon+conversions"))["items"]
    assert any("Advertiser" in one or "advertiser" in one for one in amazon["prerequisites"])
    assert {"name", "advertiser_id", "region", "currency"} <= {one["name"] for one in amazon["fields"]}
    # R6, R7: name, advertiser, region, currency.
    form = {"name": "Acme US", "advertiser_id": NA_ADVERTISER, "region": "NA", "currency": "USD"}
    made = await call("POST", "/destinations", form, status=201)
    path = f"/destinations/{made['id']}"
    assert made["state"] == "draft"
    # R8: connect, Allow, confirmed.
    await operator.allow((await call("POST", f"{path}/connect"))["authorize_url"])
    assert (await call("GET", path))["state"] == "connected"
    checks = {one["name"]: one["status"] for one in (await call("GET", f"{path}/preflight"))["checks"]}
    assert checks["sign_in"] == "ok"
    # R2, R3, R4, R9, R10, R11: the mapping with its action, fields, settings and consent.
    mapping = await call("POST", f"{path}/mappings", {**MAPPING, "fields": FIELDS}, status=201)
    assert mapping["problems"] == []
    place = f"{path}/mappings/{mapping['id']}"
    shown = await call("POST", f"{place}/preview", {"event": event(1)})
    assert shown["amazon_event"]["consent"]["amazonConsent"] == GRANTED
    await call("POST", f"{place}/publish")
    assert (await call("GET", path))["state"] == "active"
    # R12: a second name for the type is refused with the first.
    other = await call("POST", f"{path}/mappings", {**MAPPING, "event_name": "Added to Cart"}, status=201)
    refused = await call("POST", f"{path}/mappings/{other['id']}/publish", status=409)
    assert (refused["pinned_name"], refused["near_miss"]) == ("Added to cart", "case")
    # R13: the journey sends.
    await send_one(operator, made["id"])
    first = {one["name"]: one["status"] for one in (await call("GET", f"{path}/preflight"))["checks"]}
    assert first["first_event"] == "ok"


async def test_the_eleven_steps_by_one_file_and_a_change_that_would_lose_phones(operator: Operator) -> None:
    """plan says 2, apply makes it, plan says 0; after the sign-in an event arrives.

    Then a slip in the phone path: `--max-loss 1%` refuses it, with the number of events that lose PHONE.
    """
    product = operator.product

    def file(**changes: Any) -> str:
        mapping = {**MAPPING, "fields": {**FIELDS, **changes}}
        settings = {"name": "Acme US", "advertiser_id": NA_ADVERTISER, "region": "NA", "currency": "USD"}
        return yaml.safe_dump({"version": 1, "destinations": [{**settings, "mappings": [mapping]}]})

    async def run(*arguments: str, given: str) -> tuple[int, str]:
        done = await asyncio.to_thread(product.run, *arguments, given=given)
        return done.returncode, done.stdout + done.stderr

    assert (await run("plan", "-", given=file()))[0] == 2
    code, output = await run("apply", "-", given=file())
    assert code == 0, output
    assert "not connected" in output
    assert (await run("plan", "-", given=file()))[0] == 0
    ((destination,),) = [[one["id"] for one in (await operator.call("GET", "/destinations"))["items"]]]
    url = (await operator.call("POST", f"/destinations/{destination}/connect"))["authorize_url"]
    await operator.allow(url)
    await send_one(operator, destination)

    phones = [{"user": {"email": f"p{n}@example.com", "phone": f"+120255501{n:02}"}} for n in range(11)]
    batch = [event(100 + n, destination_id=destination, **one) for n, one in enumerate(phones)]
    assert {one["status"] for one in await operator.post(batch)} == {"accepted"}
    # The command reads samples from the database. The API writes them each second, and before it reads them.
    await operator.call("GET", f"/destinations/{destination}/event-schema")
    code, output = await run("apply", "-", "--max-loss", "1%", given=file(phone={"path": "user.fone"}))
    assert (code, "Of the last 12: 12 lose PHONE." in output) == (1, True), output
    exported = await asyncio.to_thread(product.run, "export")
    assert (await run("plan", "-", given=exported.stdout))[0] == 0


PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "cells.md"
CELL: Final = 127  # the last one
IDS: Final = """
    SELECT sequencename AS name, data_type::text, last_value FROM pg_sequences
    WHERE schemaname = current_schema() AND last_value IS NOT NULL
"""


async def test_a_new_cell_has_ids_of_its_own_and_recognises_the_first_ones_events(
    world: World, empty_database_url: str
) -> None:
    """Events pass through it with the highest ids it can have, and digests of contents are the same."""
    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    owner = await asyncpg.connect(empty_database_url.replace("+asyncpg", "", 1))
    [block] = re.findall(r"(?ms)^ *```sql\n(.*?)^ *```", PAGE.read_text())
    await owner.execute(block.replace("cell integer := 1;", f"cell integer := {CELL};"))
    await owner.executemany("INSERT INTO secrets VALUES ($1, $2)", await world.fetch("SELECT * FROM secrets"))
    async with make_world(empty_database_url) as cell:
        assert cell.resources.pepper == world.resources.pepper
        dst = await cell.destination()
        events = [event(number) for number in range(30)]
        await cell.post(dst, *events)
        await cell.work_until(dst, delivered=30)
        assert {result.status for result in await cell.post(dst, *events)} == {"duplicate"}
        for row in await owner.fetch(IDS):
            width = 44 if row["data_type"] == "bigint" else 24
            assert row["last_value"] >> width == CELL, row["name"]
            # JSON readers keep integers up to 2^53 exactly.
            assert row["last_value"] + (1 << width) <= (2**53 if width == 44 else 2**31), row["name"]
    first = {row["name"]: row["last_value"] for row in await world.fetch(IDS)}
    assert not any(value >> 44 for value in first.values())
    await owner.close()
