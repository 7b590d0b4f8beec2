"""One request to Amazon: the response, what was sent, and a retry before its time."""

import re

import asyncpg
import pytest

from tests.console.test_event_pages import Desk, desk
from tests.console.test_seeded_faults import read
from tests.pipeline.world import event

__all__ = ["desk"]

pytestmark = pytest.mark.process


async def newest_request(desk: Desk, shop: str) -> str:
    """Return the address of the page of a destination's newest request."""
    found = re.search(
        r'href="([^"]+/requests/att_[\w-]+)"', await desk.get(f"/console/destinations/{shop}/requests")
    )
    assert found is not None
    return found[1]


async def test_a_request_shows_the_response_and_what_was_sent(desk: Desk) -> None:
    """Codes and words of Amazon, some headers, and the conversions without a personal value."""
    shop = await desk.destination()
    await desk.fault(shop, kind="partial", indexes=[0], code="BAD_REQUEST")
    await desk.post(shop, event(1), event(2))
    await desk.until_counted(shop, delivered=1, dead=1)
    await desk.heal()
    address = await newest_request(desk, shop)
    answer = await desk.pages.get(address)
    words = read(answer)
    assert "Some refused" in words
    assert "BAD_REQUEST 1" in words
    assert "content-type application/json" in words
    assert "HTTP status 207" in words
    assert '"conversionType": "ADD_TO_SHOPPING_CART"' in words
    assert "Email in 2 events" in words
    assert re.search(r'"[0-9a-f]{6}…"', words), "a digest is cut"
    assert not re.search(r"[0-9a-f]{20,}", words.replace(shop, "")), "no digest and no other secret"
    assert "person1@example.com" not in answer.text


async def test_the_content_is_gone_with_its_key_and_counts_are_left(desk: Desk) -> None:
    shop = await desk.destination()
    await desk.post(shop, event(3))
    await desk.until_counted(shop, delivered=1)
    address = await newest_request(desk, shop)
    assert '"conversionType"' in read(await desk.pages.get(address))
    connection = await asyncpg.connect(desk.product.database_url.replace("+asyncpg", ""))
    await connection.execute("UPDATE batch_states SET data_key = NULL WHERE disposition = 'sent'")
    await connection.close()
    words = read(await desk.pages.get(address))
    assert "its key was deleted" in words
    assert '"conversionType"' not in words
    assert "Email in 1 event" in words
    assert "Amazon accepted all 1 event. Details of such a response are not stored." in words


async def test_a_request_of_another_destination_is_not_found(desk: Desk) -> None:
    shop, other = await desk.destination(), await desk.destination()
    await desk.post(shop, event(4))
    await desk.until_counted(shop, delivered=1)
    address = await newest_request(desk, shop)
    assert (await desk.pages.get(address.replace(shop, other))).status_code == 404
    assert (await desk.pages.get(f"/console/destinations/{shop}/requests/0")).status_code == 404


async def test_an_open_breaker_names_its_next_probe_and_a_button_sends_it_now(desk: Desk) -> None:
    """The page counts down. After the cause has ended, the button delivers without the wait."""
    shop = await desk.destination()
    await desk.fault(shop, kind="5xx")
    await desk.post(shop, event(5))
    page = ""

    async def opened() -> bool:
        nonlocal page
        page = await desk.get(f"/console/destinations/{shop}")
        left = re.search(r'data-until="[^"]+" role="timer">0:(\d\d)<', page)
        return left is not None and int(left[1]) >= 8

    await desk.until(opened, seconds=90)
    assert "Retry now" in page
    assert "tripped until" in page
    address = await newest_request(desk, shop)
    assert "HTTP status 503" in read(await desk.pages.get(address))
    await desk.heal()
    waited = await desk.get(f"/console/destinations/{shop}")
    answer = await desk.submit(waited, f"/console/destinations/{shop}/retry", [])
    assert answer.status_code == 303
    assert "Retry requested." in await desk.get(answer.headers["location"])
    await desk.until(lambda: delivered(desk, shop), seconds=5)
    rows = (await desk.api.get("/audit?action=events.retried")).json()["items"]
    assert [row["subject"] for row in rows] == [shop]


async def delivered(desk: Desk, shop: str) -> bool:
    """Return whether the destination's event was delivered."""
    counts = (await desk.api.get(f"/destinations/{shop}/stats")).json()["counts"]
    return bool(counts["delivered"] == 1)


async def test_nothing_is_retried_for_a_paused_destination(desk: Desk) -> None:
    shop = await desk.destination()
    assert (await desk.api.post(f"/destinations/{shop}/pause")).status_code == 200
    page = await desk.get(f"/console/destinations/{shop}")
    answer = await desk.submit(page, f"/console/destinations/{shop}/retry", [])
    assert answer.status_code == 409
