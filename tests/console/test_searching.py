"""The search: an event by its own id or by the journey execution that sent it, and how far back it looked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio
from playwright.sync_api import Route, expect

from tests.console.browsing import Site
from tests.console.showcase import opened
from tests.console.test_seeded_faults import connected, read
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import event

BEARER = {"Authorization": f"Bearer {ADMIN}"}


@pytest_asyncio.fixture
async def visitor(product: Product) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody signed in, who reads pages as a browser gets them."""
    headers = {"Accept": "text/html", "Origin": product.api}
    async with httpx.AsyncClient(base_url=product.api, headers=headers, timeout=20) as client:
        assert (await client.post("/console/sign-in", data={"key": ADMIN})).status_code == 303
        yield client


async def post(product: Product, *events: Any, key: str = ADMIN) -> None:
    async with httpx.AsyncClient(base_url=product.api, timeout=20) as client:
        answer = await client.post(
            "/events", json={"events": events}, headers={"Authorization": f"Bearer {key}"}
        )
        assert answer.status_code == 202, answer.text


async def test_events_are_found_by_the_execution_that_sent_them(
    product: Product, visitor: httpx.AsyncClient
) -> None:
    """All of it, over destinations, none of another's; each leads to its own page, which leads back."""
    first = await asyncio.to_thread(connected, product, "7100000001")
    second = await asyncio.to_thread(connected, product, "7100000002")
    run = {"id": "j1", "node_id": "n7", "execution_id": "run-7/ä"}
    await post(
        product,
        event(1, destination_id=first, journey=run),
        event(2, destination_id=first, journey={**run, "execution_id": "run-7/ä2"}),
        event(3, destination_id=second, journey=run),
        event(4, destination_id=second),
    )
    page = await visitor.get("/console/events", params={"q": "run-7/ä"})
    assert page.status_code == 200
    text = read(page)
    assert "ord-1" in text
    assert "ord-3" in text
    assert "ord-2" not in text
    assert "ord-4" not in text
    story = await visitor.get(f"/console/destinations/{second}/event", params={"id": "ord-3"})
    assert "q=run-7/%C3%A4" in story.text

    listed = await visitor.get(f"/console/destinations/{first}/events", params={"execution_id": "run-7/ä"})
    assert "ord-1" in listed.text
    assert "ord-2" not in listed.text


async def test_a_key_limited_to_destinations_finds_nothing_of_others(product: Product) -> None:
    """Neither by event id nor by execution id."""
    mine = await asyncio.to_thread(connected, product, "7100000003")
    other = await asyncio.to_thread(connected, product, "7100000004")
    run = {"execution_id": "shared-run"}
    await post(
        product,
        event(31, destination_id=mine, journey=run),
        event(32, destination_id=other, journey=run),
    )
    async with httpx.AsyncClient(base_url=product.api, timeout=20) as admin:
        body = {
            "name": "limited",
            "scopes": ["destinations:read", "events:read"],
            "destination_ids": [mine],
        }
        key = (await admin.post("/keys", json=body, headers=BEARER)).json()["key"]
    headers = {"Accept": "text/html", "Origin": product.api}
    async with httpx.AsyncClient(base_url=product.api, headers=headers, timeout=20) as client:
        assert (await client.post("/console/sign-in", data={"key": key})).status_code == 303
        text = read(await client.get("/console/events", params={"q": "shared-run"}))
        assert "ord-31" in text
        assert "ord-32" not in text
        assert "No event found" in read(await client.get("/console/events", params={"q": "ord-32"}))


def test_a_search_without_an_index_continues_until_it_finds_something(site: Site) -> None:
    """It shows how much it has searched, and ends when it is stopped."""
    case = opened(site.product)
    shop = case.destination("Searched", "1000000001", "NA", "USD")
    case.connect(shop)
    case.publish(shop)
    case.send(case.events(shop, 1))
    site.sign_in()
    asked = []

    def serve(route: Route) -> None:
        """Answer as a search of many events: nothing on the first two pages, then the newest events."""
        asked.append(route.request.url)
        if "cursor=second" in route.request.url:
            route.fulfill(response=route.fetch(url=f"{site.product.api}/console/events"))
            return
        following = "first" if "cursor" not in route.request.url else "second"
        page = route.fetch(url=f"{site.product.api}/console/events?status=expired").text()
        progress = (
            f'<p data-continues="/console/events?status=expired&amp;cursor={following}">'
            'Searched 12 of 30 days. <button type="button" data-stop hidden>Stop</button></p>'
        )
        html = page.replace('<div id="results">', f'<div id="results">{progress}')
        route.fulfill(body=html, content_type="text/html; charset=utf-8")

    site.page.route("**/console/events?status=expired**", serve)
    site.open("/console/events?status=expired")
    expect(site.page.locator("#results tbody tr").first).to_be_visible()
    assert len(asked) == 3
    assert site.page.url.endswith("cursor=second")

    site.page.unroute("**/console/events?status=expired**")

    def hang(route: Route) -> None:
        if "cursor" not in route.request.url:
            serve(route)

    site.page.route("**/console/events?status=expired**", hang)
    site.open("/console/events?status=expired")
    expect(site.page.get_by_text("Searched 12 of 30 days.")).to_be_visible()
    site.page.get_by_role("button", name="Stop").click()
    expect(site.page.get_by_role("button", name="Stop")).to_have_count(0)
